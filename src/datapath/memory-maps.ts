/**
 * Maps in memory that keep the kernel's rules: capacity, sizes of keys and values, what exists and what must not, and
 * arrays of which every entry exists. For tests there is {@link MemoryMaps.dump} and {@link MemoryMaps.check}. Pure.
 */
import { type Errno, HeraldError } from '../errors.ts'
import { frontendId } from '../desired/model.ts'
import { decodeAddressKey } from './address-octets.ts'
import {
  decodeFrontend,
  decodeFrontendKey,
  decodeAddress,
  mapNames,
  mapShapes,
  readBackend,
  sizes,
  type FrontendRecord,
  type MapName,
} from './layout.ts'
import {
  indexKey,
  type MapEntry,
  type Maps,
  type MapStore,
  type MemoryName,
  type PutMode,
  type SharedMemory,
  type StoreName,
  type WindowedMemory,
} from './maps.ts'

function refusal(name: string, call: string, errno: Errno): HeraldError {
  return new HeraldError('ERR_SYSCALL', `${call} ${name}: ${errno}`, { errno })
}

type MemoryShape = Pick<MapStore, 'keyBytes' | 'valueBytes'>

abstract class MemoryStore implements MapStore {
  readonly name: string
  readonly keyBytes: number
  readonly valueBytes: number
  readonly maxEntries: number

  constructor(name: string, { keyBytes, valueBytes }: MemoryShape, maxEntries: number) {
    this.name = name
    this.keyBytes = keyBytes
    this.valueBytes = valueBytes
    this.maxEntries = maxEntries
  }

  abstract get(key: Uint8Array): Uint8Array | undefined
  abstract put(key: Uint8Array, value: Uint8Array, mode?: PutMode): void
  abstract delete(key: Uint8Array): boolean
  abstract entries(): Iterable<MapEntry>
  abstract used(): number

  putAll(entries: readonly MapEntry[]): void {
    // Before anything is written, as with one.
    for (const [key, value] of entries) this.checkSizes('write to', key, value)
    for (const [written, [key, value]] of entries.entries()) {
      try {
        this.put(key, value)
      } catch (error) {
        if (!(error instanceof HeraldError) || error.errno === undefined) throw error
        throw new HeraldError(error.code, error.message, { errno: error.errno, written })
      }
    }
  }

  protected checkSizes(call: string, key: Uint8Array, value?: Uint8Array): void {
    if (key.length !== this.keyBytes || (value !== undefined && value.length !== this.valueBytes))
      throw refusal(this.name, call, 'EINVAL')
  }

  protected full(): HeraldError {
    const message = `map ${this.name} takes no more than ${this.maxEntries} entries (E2BIG)`
    return new HeraldError('ERR_MAP_FULL', message, { errno: 'E2BIG' })
  }
}

/** BPF_MAP_TYPE_HASH; also the LRU maps, of which only the programs write. */
export class MemoryHash extends MemoryStore {
  readonly #entries = new Map<string, MapEntry>()

  /** Not copied. */
  protected get held(): Iterable<MapEntry> {
    return this.#entries.values()
  }

  get(key: Uint8Array): Uint8Array | undefined {
    this.checkSizes('look up in', key)
    return this.#entries.get(key.join())?.[1].slice()
  }

  put(key: Uint8Array, value: Uint8Array, mode: PutMode = 'any'): void {
    this.checkSizes('write to', key, value)
    const isThere = this.#entries.has(key.join())
    if (isThere && mode === 'new') throw refusal(this.name, 'write to', 'EEXIST')
    if (!isThere && mode === 'existing') throw refusal(this.name, 'write to', 'ENOENT')
    if (!isThere && this.#entries.size >= this.maxEntries) throw this.full()
    this.#entries.set(key.join(), [key.slice(), value.slice()])
  }

  delete(key: Uint8Array): boolean {
    this.checkSizes('delete from', key)
    return this.#entries.delete(key.join())
  }

  entries(): Iterable<MapEntry> {
    return [...this.#entries.values()].map(([key, value]) => [key.slice(), value.slice()] as const)
  }

  used(): number {
    return this.#entries.size
  }
}

/**
 * BPF_MAP_TYPE_LPM_TRIE: a key begins with the length of its prefix in bits, and finds the longest one that holds it.
 */
class MemoryTrie extends MemoryHash {
  override get(key: Uint8Array): Uint8Array | undefined {
    this.checkSizes('look up in', key)
    let best: MapEntry | undefined
    for (const entry of this.held)
      if (holdsKey(entry[0], key) && (best === undefined || bitsOf(entry[0]) > bitsOf(best[0]))) best = entry
    return best?.[1].slice()
  }

  override put(key: Uint8Array, value: Uint8Array, mode: PutMode = 'any'): void {
    this.checkSizes('write to', key, value)
    if (bitsOf(key) > (this.keyBytes - 4) * 8) throw refusal(this.name, 'write to', 'EINVAL')
    super.put(key, value, mode)
  }
}

const bitsOf = (key: Uint8Array): number => new DataView(key.buffer, key.byteOffset).getUint32(0, true)

function holdsKey(outer: Uint8Array, inner: Uint8Array): boolean {
  const bits = bitsOf(outer)
  if (bits > bitsOf(inner)) return false
  for (let at = 0; at * 8 < bits; at++) {
    const mask = bits - at * 8 >= 8 ? 0xff : (0xff00 >> (bits - at * 8)) & 0xff
    if ((((outer[4 + at] ?? 0) ^ (inner[4 + at] ?? 0)) & mask) !== 0) return false
  }
  return true
}

/** BPF_MAP_TYPE_PERCPU_ARRAY on a machine with one CPU: every entry exists, none can be deleted. */
export class MemoryArray extends MemoryStore {
  /** By index, of those that were written. */
  readonly #values = new Map<number, Uint8Array>()

  #indexOf(call: string, key: Uint8Array, value?: Uint8Array): number {
    this.checkSizes(call, key, value)
    return new DataView(key.buffer, key.byteOffset).getUint32(0, true)
  }

  get(key: Uint8Array): Uint8Array | undefined {
    const index = this.#indexOf('look up in', key)
    return index < this.maxEntries ? (this.#values.get(index)?.slice() ?? new Uint8Array(this.valueBytes)) : undefined
  }

  put(key: Uint8Array, value: Uint8Array, mode: PutMode = 'any'): void {
    const index = this.#indexOf('write to', key, value)
    if (index >= this.maxEntries) throw this.full()
    if (mode === 'new') throw refusal(this.name, 'write to', 'EEXIST')
    this.#values.set(index, value.slice())
  }

  delete(key: Uint8Array): boolean {
    this.#indexOf('delete from', key)
    throw refusal(this.name, 'delete from', 'EINVAL')
  }

  entries(): Iterable<MapEntry> {
    return Array.from({ length: this.maxEntries }, (_, index) => {
      const key = indexKey(index)
      return [key, this.get(key) ?? new Uint8Array(this.valueBytes)] as const
    })
  }

  used(): number {
    return this.maxEntries
  }
}

const isPerCpu = (kind: string): boolean => kind === 'array' || kind === 'perCpu'

/** As particular as can be: what is not reached is not there. */
class ReachedInMemory implements SharedMemory {
  readonly #buffer: ArrayBuffer
  #reached = 0

  constructor(octets: number) {
    this.#buffer = new ArrayBuffer(octets)
  }

  get byteLength(): number {
    return this.#buffer.byteLength
  }

  reach(octets: number): DataView {
    this.#reached = Math.min(this.byteLength, Math.max(this.#reached, octets))
    return new DataView(this.#buffer, 0, this.#reached)
  }

  whole<Result>(read: (memory: DataView) => Result): Result {
    return read(new DataView(this.#buffer))
  }

  windows(): WindowedMemory {
    return { byteLength: this.byteLength, words: new Uint32Array(this.#buffer), hold: () => {} }
  }
}

export class MemoryMaps implements Maps {
  readonly #stores = new Map<MapName, MapStore>()
  readonly #memories = new Map<MapName, ReachedInMemory>()

  constructor(maxEntries: Readonly<Partial<Record<MapName, number>>> = {}) {
    for (const name of mapNames) {
      const shape = mapShapes[name]
      const { kind, valueBytes } = shape
      const entries = maxEntries[name] ?? shape.maxEntries
      if (kind === 'memory') this.#memories.set(name, new ReachedInMemory(entries * valueBytes))
      // Nobody tells anything of packets that are none.
      else if (kind === 'lpm') this.#stores.set(name, new MemoryTrie(name, shape, entries))
      else if (kind !== 'ring')
        this.#stores.set(
          name,
          isPerCpu(kind) ? new MemoryArray(name, shape, entries) : new MemoryHash(name, shape, entries),
        )
    }
  }

  store(name: StoreName): MapStore {
    const store = this.#stores.get(name)
    if (store === undefined) throw refusal(name, 'open map', 'ENOENT')
    return store
  }

  memory(name: MemoryName): DataView {
    return this.shared(name).whole((memory) => memory)
  }

  windows(name: MemoryName): WindowedMemory {
    return this.#memory(name).windows()
  }

  shared(name: MemoryName): SharedMemory {
    return this.#memory(name)
  }

  #memory(name: MemoryName): ReachedInMemory {
    const memory = this.#memories.get(name)
    if (memory === undefined) throw refusal(name, 'open map', 'ENOENT')
    return memory
  }

  /** What the maps hold, one line per VIP and frontend, sorted. */
  dump(): string {
    const vips = [...this.store('addresses').entries()].flatMap(([key, value]) => {
      const { frontends: count } = decodeAddress(value)
      return count === 0 ? [] : `vip ${decodeAddressKey(key)} frontends ${count}`
    })
    const frontends = this.#frontends().map(({ id, record }) => {
      const backends = this.#refsOf(record).map(({ id: slot, generation }) => {
        const held = readBackend(this.memory('backends'), slot)
        const state = held.generation !== generation ? ' other' : held.drainUntilNs === 0n ? '' : ' draining'
        return `${held.address}:${held.port}${state}`
      })
      const rest = record.resting.length === 0 ? '' : `, ${record.resting.length} rest`
      return `frontend ${id} -> ${backends.sort().join(' ') || 'nothing'}${rest}`
    })
    return [...vips, ...frontends].sort().join('\n')
  }

  /** What does not fit together, in words; empty when every packet would be served as the maps say. */
  check(): readonly string[] {
    const frontends = this.#frontends()
    const addresses = [...this.store('addresses').entries()].map(
      ([key, value]) => [decodeAddressKey(key), decodeAddress(value)] as const,
    )
    const vips = new Map(
      addresses.flatMap(([address, { frontends: count }]) => (count === 0 ? [] : [[address, count] as const])),
    )
    const onVip = Map.groupBy(frontends, ({ address }) => address)
    const wrong = [...vips]
      .filter(([address, count]) => count !== (onVip.get(address)?.length ?? 0))
      .map(([address, count]) => `VIP ${address} counts ${count} frontends, ${onVip.get(address)?.length ?? 0} exist`)
    for (const address of onVip.keys()) if (!vips.has(address)) wrong.push(`${address} has frontends and is no VIP`)
    const services = Map.groupBy(frontends, ({ record }) => record.service)
    for (const [service, users] of services)
      if (users.length > 1) wrong.push(`service id ${service} is used by ${users.map(({ id }) => id).join(', ')}`)
    return [...wrong, ...this.#wrongTables(frontends), ...frontends.flatMap((found) => this.#wrongBackends(found))]
  }

  #frontends(): { readonly id: string; readonly address: string; readonly record: FrontendRecord }[] {
    return [...this.store('frontends').entries()].map(([key, value]) => {
      const { address, protocol, port } = decodeFrontendKey(key)
      return { id: frontendId(address, protocol, port), address, record: decodeFrontend(value) }
    })
  }

  #wrongTables(frontends: readonly { readonly id: string; readonly record: FrontendRecord }[]): string[] {
    const slots = this.memory('tables').byteLength / sizes.backendRef
    const stretches = frontends
      .flatMap(({ id, record }) =>
        [record.table, record.previous, record.resting, record.members].map((place) => ({ id, ...place })),
      )
      .filter(({ length }) => length > 0)
      .sort((a, b) => a.offset - b.offset)
    return stretches.flatMap(({ id, offset, length }, i) => {
      const next = stretches[i + 1]
      return [
        ...(offset + length > slots ? [`the table of ${id} ends behind the map`] : []),
        ...(next !== undefined && next.offset < offset + length ? [`the tables of ${id} and ${next.id} overlap`] : []),
      ]
    })
  }

  #wrongBackends({ id, record }: { readonly id: string; readonly record: FrontendRecord }): string[] {
    const refs = this.#refsOf(record)
    const wrong = refs
      .filter((ref) => {
        const held = readBackend(this.memory('backends'), ref.id)
        return held.generation !== ref.generation || held.drainUntilNs !== 0n
      })
      .map((ref) => `${id} names backend ${ref.id}.${ref.generation}, which is not there for it`)
    return refs.length === record.backends ? wrong : [...wrong, `${id} names ${refs.length} of ${record.backends}`]
  }

  #refsOf(record: FrontendRecord): readonly { readonly id: number; readonly generation: number }[] {
    if (record.backends === 0) return []
    if (record.table.length === 0) return [record.only]
    const tables = this.memory('tables')
    const refs = new Map<number, number>()
    const end = Math.min(record.table.offset + record.table.length, tables.byteLength / sizes.backendRef)
    for (let slot = record.table.offset; slot < end; slot++)
      refs.set(
        tables.getUint32(slot * sizes.backendRef, true),
        tables.getUint32(slot * sizes.backendRef + sizes.backendRef / 2, true),
      )
    return [...refs].map(([id, generation]) => ({ id, generation }))
  }
}
