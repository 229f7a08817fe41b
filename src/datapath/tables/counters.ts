/** Packets, octets and connections by service id. Pure. */
import { decodeCounters, sizes } from '../layout.ts'
import { indexKey, type MapStore } from '../maps.ts'
import type { FrontendCounters } from '../datapath.ts'

export class CounterTable {
  readonly #store: MapStore

  constructor(store: MapStore) {
    this.#store = store
  }

  get maxEntries(): number {
    return this.#store.maxEntries
  }

  read(service: number): FrontendCounters {
    return decodeCounters(this.#store.get(indexKey(service)) ?? new Uint8Array(sizes.counters))
  }

  /** A service id begins at nothing, whoever had it before. Throws ERR_MAP_FULL. */
  clear(service: number): void {
    this.#store.put(indexKey(service), new Uint8Array(this.#store.valueBytes))
  }

  remove(service: number): void {
    this.#store.delete(indexKey(service))
  }
}
