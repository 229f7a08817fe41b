/**
 * Which of the announced prefixes at least one peer has: an octet per prefix in memory that both threads see, so that
 * nobody has to ask for a table to know it.
 *
 *     agent: prefix -> mark --in `routes`--> speaker: Loc-RIB entry -> mark
 *     agent <--reads the octet at the mark-- speaker writes it when the first peer has the prefix, or none any more
 *
 * A mark that is free again is given to another prefix; the speaker writes its octet anew when it hears of that one.
 */
import type { Prefix } from '../ip/prefix.ts'
import type { LocRib } from '../rib/loc-rib.ts'
import type { PrefixRoutes } from './protocol.ts'

const firstMarks = 4_096
/** Address space only, until marks are in use. Prefixes beyond count as being at no peer. */
const maxMarks = 4 * 1024 * 1024

/** The agent's side. */
export class PrefixMarks {
  readonly buffer: SharedArrayBuffer
  readonly #octets: Uint8Array
  readonly #marks = new Map<string, number>()
  readonly #free: number[] = []
  #used = 0

  constructor() {
    this.buffer = new SharedArrayBuffer(firstMarks, { maxByteLength: maxMarks })
    this.#octets = new Uint8Array(this.buffer)
  }

  /** With which mark a prefix is to be posted; one that is wanted no more gives it back. */
  markOf({ prefix, routes }: PrefixRoutes): number | undefined {
    if (routes.length > 0) return this.#markOf(prefix)
    this.#release(prefix)
    return undefined
  }

  isAtAnyPeer(prefix: string): boolean {
    const mark = this.#marks.get(prefix)
    return mark !== undefined && this.#octets[mark] === 1
  }

  #markOf(prefix: string): number | undefined {
    const known = this.#marks.get(prefix)
    if (known !== undefined) return known
    const mark = this.#free.pop() ?? this.#used
    if (mark >= maxMarks) return undefined
    if (mark === this.#used) this.#used++
    if (mark >= this.buffer.byteLength) this.buffer.grow(Math.min(maxMarks, this.buffer.byteLength * 2))
    // Until the speaker has heard of it.
    this.#octets[mark] = 0
    this.#marks.set(prefix, mark)
    return mark
  }

  #release(prefix: string): void {
    const mark = this.#marks.get(prefix)
    if (mark === undefined) return
    this.#marks.delete(prefix)
    this.#free.push(mark)
  }
}

/** The speaker's side. */
export class Presence {
  readonly #octets: Uint8Array | undefined
  readonly #locRib: LocRib
  readonly #isAtAnyPeer: (prefix: Prefix) => boolean

  constructor(buffer: SharedArrayBuffer | undefined, locRib: LocRib, isAtAnyPeer: (prefix: Prefix) => boolean) {
    this.#octets = buffer === undefined ? undefined : new Uint8Array(buffer)
    this.#locRib = locRib
    this.#isAtAnyPeer = isAtAnyPeer
  }

  /** Some update group began or ceased to have the prefix at its members. */
  readonly changed = (prefix: Prefix, isPresent: boolean): void => {
    const mark = this.#octets === undefined ? undefined : this.#locRib.get(prefix)?.mark
    if (mark !== undefined) this.#write(mark, isPresent || this.#isAtAnyPeer(prefix))
  }

  /** The agent has said which mark a prefix has. */
  marked(prefix: Prefix, mark: number | undefined): void {
    if (mark !== undefined) this.#write(mark, this.#isAtAnyPeer(prefix))
  }

  #write(mark: number, isPresent: boolean): void {
    if (this.#octets !== undefined) this.#octets[mark] = isPresent ? 1 : 0
  }
}
