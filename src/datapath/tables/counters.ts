/**
 * Packets, octets and connections by the id of a Service, and by that of a backend: a place for every id, so that a
 * packet finds it by index. Pure.
 */
import { offsets, sizes, type BackendRef } from '../layout.ts'
import { indexKey, type MapStore, passingOctets } from '../maps.ts'
import type { TrafficCounters } from '../datapath.ts'

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

  read(service: number): TrafficCounters {
    return sumOf(partsOf(this.#store.get(indexKey(service)) ?? new Uint8Array(), sizes.counters))
  }

  /** A service id begins at nothing, whoever had it before. */
  clear(service: number): void {
    this.#store.put(indexKey(service), this.#nothing)
  }
}

/**
 * Of a backend, whatever frontends it has. What counts for a generation is not counted for the next one of the same id:
 * a pod that is gone may still send on flows of its own.
 */
export class BackendCounterTable {
  readonly #store: MapStore

  constructor(store: MapStore) {
    this.#store = store
  }

  /** Backends with ids from there on are not counted. */
  get maxEntries(): number {
    return this.#store.maxEntries
  }

  /** A backend begins at nothing, whoever had its id before. */
  begin({ id, generation }: BackendRef): void {
    if (id >= this.maxEntries) return
    const value = passingOctets(this.#store.valueBytes)
    const view = new DataView(value.buffer, value.byteOffset, value.length)
    for (let at: number = offsets.backend_counters.generation; at < value.length; at += sizes.backendCounters)
      view.setUint32(at, generation, true)
    this.#store.put(indexKey(id), value)
  }

  /** One that was found: what it has counted stays; where nothing was counted for it, it begins. */
  adopt(ref: BackendRef): void {
    if (ref.id < this.maxEntries && this.#partsOf(ref).length === 0) this.begin(ref)
  }

  /** undefined: it is not counted. */
  read(ref: BackendRef): TrafficCounters | undefined {
    const parts = ref.id < this.maxEntries ? this.#partsOf(ref) : []
    return parts.length === 0 ? undefined : sumOf(parts, offsets.backend_counters.counters)
  }

  #partsOf({ id, generation }: BackendRef): readonly DataView[] {
    const value = this.#store.get(indexKey(id)) ?? new Uint8Array()
    return partsOf(value, sizes.backendCounters).filter(
      (part) => part.getUint32(offsets.backend_counters.generation, true) === generation,
    )
  }
}

/** The values of all CPUs, as a per-CPU map answers with them. */
function partsOf({ buffer, byteOffset, length }: Uint8Array, partBytes: number): readonly DataView[] {
  return Array.from(
    { length: length / partBytes },
    (_, i) => new DataView(buffer, byteOffset + i * partBytes, partBytes),
  )
}

function sumOf(parts: readonly DataView[], from = 0): TrafficCounters {
  const total = (field: keyof typeof offsets.counters): number =>
    parts.reduce((sum, part) => sum + Number(part.getBigUint64(from + offsets.counters[field], true)), 0)
  return {
    packetsIn: total('packets_in'),
    bytesIn: total('bytes_in'),
    packetsOut: total('packets_out'),
    bytesOut: total('bytes_out'),
    newConnections: total('new_connections'),
    packetsForwarded: total('packets_forwarded'),
    bytesForwarded: total('bytes_forwarded'),
  }
}
