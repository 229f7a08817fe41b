/** An address book in memory: for one agent alone, and for tests. It forgets by number and never by time. Pure. */
import {
  type AddressBook,
  type Allocations,
  type Allotment,
  type BookWarning,
  type Choose,
  nothingUnclear,
  releasedLimit,
} from './address-book.ts'
import type { Work } from './work.ts'

export class MemoryBook implements AddressBook {
  readonly #entries = new Map<string, Allotment>()
  readonly #released = new Set<string>()
  #isFirst = true
  /** Lines that had to go since the exchange before. */
  #forgotten = new Map<string, undefined>()
  readonly warning: BookWarning | undefined = undefined

  constructor(entries: Allocations = new Map()) {
    for (const [key, allotment] of entries) this.#entries.set(key, allotment)
  }

  *exchange(choose: Choose): Work<'recorded'> {
    const news = this.#isFirst ? new Map(this.#entries) : this.#forgotten
    this.#isFirst = false
    this.#forgotten = new Map()
    const changes = yield* choose({ entries: this.#entries, news, released: this.#released, unclear: nothingUnclear })
    for (const [key, change] of changes) {
      yield
      this.#released.delete(key)
      if (change === 'forget') this.#entries.delete(key)
      else if (change !== 'release') this.#entries.set(key, change)
      else if (this.#entries.has(key)) this.#released.add(key)
    }
    for (const key of this.#released) {
      if (this.#released.size <= releasedLimit) break
      this.#released.delete(key)
      this.#entries.delete(key)
      this.#forgotten.set(key, undefined)
    }
    return 'recorded'
  }

  *peek(): Work<Allocations> {
    yield
    return this.#entries
  }
}
