/** The maps of the kernel, of a loaded object. */
import { HeraldError } from '../errors.ts'
import type { BpfMap, BpfObject } from '../sys/bpf.ts'
import type { MemoryWindows, ReachedMemory } from '../sys/map-memory.ts'
import type { MapName } from './layout.ts'
import {
  type MapEntry,
  type Maps,
  type MapStore,
  type MemoryName,
  passingOctets,
  type PutMode,
  type SharedMemory,
  type StoreName,
  type WindowedMemory,
} from './maps.ts'

export class KernelMap implements MapStore {
  readonly name: string
  readonly keyBytes: number
  readonly valueBytes: number
  readonly maxEntries: number
  readonly #map: BpfMap
  /** Of {@link putAll}, which begins at their start each time. */
  #keys = new Uint8Array(0)
  #values = new Uint8Array(0)

  constructor(name: string, map: BpfMap) {
    this.name = name
    this.#map = map
    this.keyBytes = map.info.keySize
    this.valueBytes = map.valueBytes
    this.maxEntries = map.info.maxEntries
  }

  get(key: Uint8Array): Uint8Array | undefined {
    this.#check('look up in', key)
    const value = passingOctets(this.valueBytes)
    return this.#map.lookup(key, value) ? value : undefined
  }

  put(key: Uint8Array, value: Uint8Array, mode: PutMode = 'any'): void {
    this.#check('write to', key, value)
    this.#map.update(key, value, mode)
  }

  putAll(entries: readonly MapEntry[]): void {
    for (const entry of entries) this.#check('write to', entry[0], entry[1])
    if (this.#keys.length < entries.length * this.keyBytes) {
      this.#keys = new Uint8Array(entries.length * this.keyBytes)
      this.#values = new Uint8Array(entries.length * this.valueBytes)
    }
    const [keys, values] = [this.#keys, this.#values]
    // Each by its index: taken apart they would be as much garbage as they are themselves.
    for (let n = 0; n < entries.length; n++) {
      const entry = entries[n]
      if (entry === undefined) continue
      keys.set(entry[0], n * this.keyBytes)
      values.set(entry[1], n * this.valueBytes)
    }
    this.#map.updateBatch(keys, values, entries.length)
  }

  delete(key: Uint8Array): boolean {
    this.#check('delete from', key)
    return this.#map.delete(key)
  }

  entries(): Iterable<MapEntry> {
    return this.#map.entries()
  }

  used(): number {
    return this.#map.estimateEntries()
  }

  /** The kernel takes the sizes that it knows, wherever the octets end. */
  #check(call: string, key: Uint8Array, value?: Uint8Array): void {
    if (key.length === this.keyBytes && (value === undefined || value.length === this.valueBytes)) return
    throw new HeraldError('ERR_SYSCALL', `${call} ${this.name}: EINVAL`, { errno: 'EINVAL' })
  }
}

export class KernelMaps implements Maps {
  readonly #object: BpfObject
  readonly #stores = new Map<MapName, MapStore>()
  readonly #memories = new Map<MapName, ReachedMemory>()
  readonly #windows = new Map<MapName, MemoryWindows>()
  #isClosed = false

  /** Takes over the object: it lives until {@link close}. */
  constructor(object: BpfObject) {
    this.#object = object
  }

  store(name: StoreName): MapStore {
    this.#checkOpen()
    const store = this.#stores.get(name) ?? new KernelMap(name, this.#object.openMap(name))
    this.#stores.set(name, store)
    return store
  }

  memory(name: MemoryName): DataView {
    return this.shared(name).reach(Infinity)
  }

  shared(name: MemoryName): SharedMemory {
    this.#checkOpen()
    const memory = this.#memories.get(name) ?? this.#object.openMap(name).reserveMemory()
    this.#memories.set(name, memory)
    return memory
  }

  windows(name: MemoryName): WindowedMemory {
    this.#checkOpen()
    const windows = this.#windows.get(name) ?? this.#object.openMap(name).memoryWindows()
    this.#windows.set(name, windows)
    return windows
  }

  /** Of the map itself. */
  descriptor(name: MapName | 'stages'): number {
    this.#checkOpen()
    return this.#object.openMap(name).fd
  }

  /** What came from {@link memory} and {@link windows} must not be touched afterwards. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    for (const memory of [...this.#memories.values(), ...this.#windows.values()]) memory.unmap()
    this.#object.close()
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new HeraldError('ERR_SYSCALL', 'the datapath was closed', { errno: 'EBADF' })
  }
}
