/**
 * Packets, octets and connections by service id: a place for every id, so that a packet finds it by index. Pure.
 */
import { decodeCounters, sizes } from '../layout.ts'
import { indexKey, type MapStore } from '../maps.ts'
import type { FrontendCounters } from '../datapath.ts'

export class CounterTable {
  readonly #store: MapStore
  readonly #nothing: Uint8Array

  constructor(store: MapStore) {
    this.#store = store
    this.#nothing = new Uint8Array(store.valueBytes)
  }

  get maxEntries(): number {
    return this.#store.maxEntries
  }

  read(service: number): FrontendCounters {
    return decodeCounters(this.#store.get(indexKey(service)) ?? new Uint8Array(sizes.counters))
  }

  /** A service id begins at nothing, whoever had it before. */
  clear(service: number): void {
    this.#store.put(indexKey(service), this.#nothing)
  }
}
