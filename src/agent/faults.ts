/**
 * What fails now and is tried again: counted, said once when it begins and once when it is mended, and shown for as
 * long as its cause lasts. Failures of one kind are one fault, whatever number of objects they strike.
 */
import type { Clock } from '../clock/clock.ts'
import type { AgentLog } from './agent-log.ts'

/** One thing that is wrong now. `key` is stable; `since` is ISO 8601; `times` counts failures, retries included. */
export interface CurrentFault {
  readonly key: string
  readonly text: string
  readonly since: string
  readonly times: number
}

interface Group {
  readonly since: string
  times: number
  /** The last message by subject, in the order in which they began to fail. */
  readonly subjects: Map<string, string>
}

/** Named in a text; the others are counted. */
const namedSubjects = 3

export class Faults {
  readonly #clock: Clock
  readonly #log: Pick<AgentLog, 'error' | 'info'>
  readonly #groups = new Map<string, Group>()
  /** Failures since the start, by key. */
  readonly #totals = new Map<string, number>()

  constructor(clock: Clock, log: Pick<AgentLog, 'error' | 'info'>) {
    this.#clock = clock
    this.#log = log
  }

  /** `subject` failed, once more or for the first time; one fault holds all subjects of a key. */
  raise(key: string, subject: string, message: string): void {
    this.#totals.set(key, (this.#totals.get(key) ?? 0) + 1)
    const group = this.#groups.get(key)
    if (group !== undefined) {
      group.times++
      group.subjects.set(subject, message)
      return
    }
    this.#groups.set(key, {
      since: new Date(this.#clock.now()).toISOString(),
      times: 1,
      subjects: new Map([[subject, message]]),
    })
    this.#log.error({ fault: key }, `${textOf(subject, message)}; it is tried again`)
  }

  /** `subject` is well again, or gone: with the last one the fault ends. */
  clear(key: string, subject: string): void {
    const group = this.#groups.get(key)
    if (group?.subjects.delete(subject) !== true || group.subjects.size > 0) return
    this.#groups.delete(key)
    this.#log.info({ fault: key, times: group.times }, `${key}: mended`)
  }

  get current(): readonly CurrentFault[] {
    return [...this.#groups].map(([key, { since, times, subjects }]) => {
      const [first] = subjects
      const others = [...subjects.keys()].slice(1, namedSubjects)
      const more = subjects.size - 1 - others.length
      const also = [...others, ...(more > 0 ? [`${more} more`] : [])]
      const text = first === undefined ? key : textOf(...first)
      return { key, text: also.length === 0 ? text : `${text}; also ${also.join(', ')}`, since, times }
    })
  }

  /** Failures since the start, by key. */
  get totals(): ReadonlyMap<string, number> {
    return this.#totals
  }
}

function textOf(subject: string, message: string): string {
  return subject === '' ? message : `${subject}: ${message}`
}
