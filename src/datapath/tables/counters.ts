/** Packets, octets and connections by service id; the programs make an entry with the first packet. Pure. */
import { decodeCounters, sizes } from '../layout.ts'
import { indexKey, indexOf, type MapStore } from '../maps.ts'
import type { FrontendCounters } from '../datapath.ts'

export class CounterTable {
  readonly #store: MapStore
  /** Ids that an earlier process or Service may have counters of. */
  readonly #made: Set<number>

  constructor(store: MapStore) {
    this.#store = store
    this.#made = new Set([...store.entries()].map(([key]) => indexOf(key)))
  }

  get maxEntries(): number {
    return this.#store.maxEntries
  }

  read(service: number): FrontendCounters {
    return decodeCounters(this.#store.get(indexKey(service)) ?? new Uint8Array(sizes.counters))
  }

  /** A service id begins at nothing, whoever had it before. */
  clear(service: number): void {
    if (this.#made.has(service)) this.remove(service)
    this.#made.add(service)
  }

  remove(service: number): void {
    this.#store.delete(indexKey(service))
  }
}
