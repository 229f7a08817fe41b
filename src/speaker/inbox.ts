/**
 * What the agent posts, in its order and a bounded part of it in each turn of the loop, so that timers and sockets have
 * theirs between two turns. A port by itself hands over up to a thousand messages in one turn: all that came while the
 * thread was busy, and each question that is posted while the answer to the one before is on its way.
 *
 *     port --message--> inbox --in a turn of its own--> speaker
 */
import { type Posted, unpackRoutes } from './packed-routes.ts'
import type { Environment } from './session/environment.ts'
import type { ToSpeaker } from './protocol.ts'

/** A unit is about a microsecond. */
export const unitsPerTurn = 2_048
/** A prefix that is wanted, or not any more. */
const unitsPerPrefix = 4
/** A neighbor that is new costs its tables and its first dial. */
const unitsPerNeighbor = 32

export class Inbox {
  readonly #soon: Environment['soon']
  readonly #handle: (message: ToSpeaker) => void
  readonly #waiting: Posted[] = []

  constructor({ soon }: Pick<Environment, 'soon'>, handle: (message: ToSpeaker) => void) {
    this.#soon = soon
    this.#handle = handle
  }

  take(message: Posted): void {
    if (this.#waiting.push(message) === 1) this.#soon(() => this.#turn())
  }

  /** At least one message; another only where both together are no more than a turn's work. */
  #turn(): void {
    let [units, done] = [0, 0]
    // What comes while these are handled is for the next turn.
    const waiting = this.#waiting.slice(0, unitsPerTurn)
    for (const message of waiting) {
      units += unitsOf(message)
      if (done > 0 && units > unitsPerTurn) break
      this.#handle(message.type === 'packed routes' ? unpackRoutes(message) : message)
      done++
    }
    this.#waiting.splice(0, done)
    if (this.#waiting.length > 0) this.#soon(() => this.#turn())
  }
}

/** A question or a command has a turn of its own: its answer may be as much work as a turn has. */
function unitsOf(message: Posted): number {
  switch (message.type) {
    case 'routes':
      return 1 + message.prefixes.length * unitsPerPrefix
    case 'packed routes':
      return 1 + message.marks.length * unitsPerPrefix
    case 'configure':
      return 1 + message.neighbors.length * unitsPerNeighbor
    case 'query':
    case 'command':
      return unitsPerTurn
    case 'syncing':
    case 'synced':
    case 'stop':
      return 1
  }
}
