/**
 * What the kernel serves, written and read back through the maps. The order of writes is the point: whatever a packet
 * meets in between is the old state or the new one, and a crash between any two steps leaves one that is served or one
 * that {@link ServiceTable} finishes or gives back when it is built again.
 *
 *     upsert:  backends -> Maglev table -> frontend -> vip -> read back -> old backends drain, old table rests
 *     remove:  frontend -> vip (with the last frontend on it)           -> backends drain, table rests
 *
 * The state lies in the maps alone; what is kept here beside them (who owns which slot) is derived from them.
 */
import { HeraldError } from '../../errors.ts'
import { compareAddresses, parseIpv4 } from '../../ip/address.ts'
import { frontendId, type Backend, type Frontend } from '../../desired/model.ts'
import { isHeld } from '../../reconcile/frontends.ts'
import type { FrontendCounters, MapUsage, ProgrammedFrontend } from '../datapath.ts'
import {
  decodeFrontend,
  decodeFrontendKey,
  encodeFrontend,
  encodeFrontendKey,
  encodeVip,
  encodeVipKey,
  decodeVipKey,
  readBackend,
  sizes,
  writeBackend,
  writeDrain,
  type BackendRef,
  type FrontendRecord,
} from '../layout.ts'
import { maglevTable, tableLength } from '../maglev.ts'
import type { Maps, MapStore } from '../maps.ts'
import { IdPool, StretchPool } from '../slots.ts'
import { CounterTable } from './counters.ts'

export interface TableTimes {
  /** CLOCK_MONOTONIC, as the programs see it. */
  readonly nowNs: () => bigint
  /** How long established TCP connections go on to a backend that was removed. */
  readonly drainNs: bigint
}

const noBackend: BackendRef = { id: 0, generation: 0 }
const stretchGraceNs = 1_000_000_000n
const wordsPerSlot = sizes.backendRef / 4

interface Entry {
  readonly id: string
  readonly address: string
  readonly key: Uint8Array
  record: FrontendRecord
}

export class ServiceTable {
  readonly #vips: MapStore
  readonly #frontends: MapStore
  readonly #backends: DataView
  /** Slots of all Maglev tables, two words each: backend id, generation. */
  readonly #tables: Uint32Array
  readonly #counters: CounterTable
  readonly #times: TableTimes
  readonly #entries = new Map<string, Entry>()
  readonly #frontendsOf = new Map<string, number>()
  readonly #services: IdPool
  readonly #backendIds: IdPool
  readonly #stretches: StretchPool

  /** Takes over what the maps hold. */
  constructor(maps: Maps, times: TableTimes) {
    this.#vips = maps.store('vips')
    this.#frontends = maps.store('frontends')
    this.#backends = maps.memory('backends')
    const tablesMemory = maps.memory('tables')
    this.#tables = new Uint32Array(tablesMemory.buffer, tablesMemory.byteOffset, tablesMemory.byteLength / 4)
    this.#counters = new CounterTable(maps.store('counters'))
    this.#times = times
    this.#services = new IdPool('service ids', this.#counters.maxEntries)
    this.#backendIds = new IdPool('backend slots', this.#backends.byteLength / sizes.backend)
    for (const [key, value] of this.#frontends.entries()) this.#adopt(key, decodeFrontend(value))
    const tables = [...this.#entries.values()].map(({ record }) => ({
      offset: record.tableOffset,
      length: record.tableLength,
    }))
    this.#stretches = new StretchPool(
      this.#tables.length / wordsPerSlot,
      stretchGraceNs,
      tables.filter(({ length }) => length > 0),
    )
    this.#finishWhatWasBegun()
  }

  readAll(): readonly ProgrammedFrontend[] {
    return [...this.#entries.keys()].map((id) => this.read(id)).filter((frontend) => frontend !== undefined)
  }

  /** As the maps hold it now; undefined when a packet would not be served. */
  read(id: string): ProgrammedFrontend | undefined {
    const entry = this.#entries.get(id)
    if (entry === undefined) return undefined
    const value = this.#frontends.get(entry.key)
    const vip = encodeVipKey(entry.address)
    if (value === undefined || vip === undefined || this.#vips.get(vip) === undefined) return undefined
    const record = decodeFrontend(value)
    return { id, ...decodeFrontendKey(entry.key), backends: this.#backendsOf(record), serviceId: record.service }
  }

  /** See {@link Datapath.upsert}. */
  upsert(frontend: Frontend): void {
    const key = encodeFrontendKey(frontend)
    if (key === undefined)
      throw new HeraldError('ERR_ADDRESS', `${frontend.address} is not IPv4; this datapath serves IPv4 only`)
    const held = this.#entries.get(frontend.id)
    if (held !== undefined && isHeld(frontend, this.read(frontend.id))) return
    const taken = { service: held?.record.service ?? this.#takeService(), backends: [] as number[] }
    let record: FrontendRecord
    try {
      record = this.#writeBackends(frontend, held?.record, taken)
      this.#publish(frontend, key, record, held?.record)
    } catch (error) {
      this.#giveBack(taken, held === undefined)
      throw error
    }
    const before = held?.record
    this.#entries.set(frontend.id, { id: frontend.id, address: frontend.address, key, record })
    if (before !== undefined) this.#retire(before, new Set(this.#refsOf(record).map(({ id }) => id)))
    this.#readBack(frontend)
  }

  /** See {@link Datapath.remove}. */
  remove(id: string): void {
    const entry = this.#entries.get(id)
    if (entry === undefined) return
    this.#frontends.delete(entry.key)
    this.#entries.delete(id)
    this.#setVip(entry.address, (this.#frontendsOf.get(entry.address) ?? 1) - 1)
    this.#retire(entry.record, new Set())
    this.#services.give(entry.record.service)
  }

  counters(id: string): FrontendCounters | undefined {
    const entry = this.#entries.get(id)
    return entry === undefined ? undefined : this.#counters.read(entry.record.service)
  }

  usage(): readonly MapUsage[] {
    return [
      { name: 'vips', entries: this.#frontendsOf.size, maxEntries: this.#vips.maxEntries },
      { name: 'frontends', entries: this.#entries.size, maxEntries: this.#frontends.maxEntries },
      { name: 'backends', entries: this.#backendIds.used, maxEntries: this.#backends.byteLength / sizes.backend },
      { name: 'tables', entries: this.#stretches.used, maxEntries: this.#tables.length / wordsPerSlot },
    ]
  }

  #adopt(key: Uint8Array, record: FrontendRecord): void {
    const { address, protocol, port } = decodeFrontendKey(key)
    const id = frontendId(address, protocol, port)
    this.#entries.set(id, { id, address, key, record })
    this.#frontendsOf.set(address, (this.#frontendsOf.get(address) ?? 0) + 1)
    this.#services.reserve(record.service)
    for (const ref of this.#refsOf(record)) this.#backendIds.reserve(ref.id)
  }

  /** A crash may have left a VIP without its last frontend, or backends that no frontend names yet or any more. */
  #finishWhatWasBegun(): void {
    for (const [key] of [...this.#vips.entries()]) {
      if (!this.#frontendsOf.has(decodeVipKey(key))) this.#vips.delete(key)
    }
    const named = new Set([...this.#entries.values()].flatMap(({ record }) => this.#refsOf(record).map(({ id }) => id)))
    const now = this.#times.nowNs()
    for (let id = 0; id < this.#backends.byteLength / sizes.backend; id++) {
      const { generation, drainUntilNs } = readBackend(this.#backends, id)
      if (!named.has(id) && generation !== 0 && drainUntilNs === 0n)
        writeDrain(this.#backends, id, now + this.#times.drainNs)
    }
  }

  #takeService(): number {
    const service = this.#services.take()
    this.#counters.clear(service)
    return service
  }

  /** Slots for every backend, known ones kept, and the Maglev table over them. */
  #writeBackends(
    frontend: Frontend,
    before: FrontendRecord | undefined,
    taken: { readonly service: number; readonly backends: number[] },
  ): FrontendRecord {
    const known = new Map(
      (before === undefined ? [] : this.#activeOf(before)).map(({ ref, backend }) => [nameOf(backend), ref]),
    )
    const wanted = [...new Map(frontend.backends.map((backend) => [nameOf(backend), backend])).values()].sort(
      compareBackends,
    )
    const refs = wanted.map((backend) => known.get(nameOf(backend)) ?? this.#takeBackend(backend, taken))
    const length = tableLength(refs.length)
    const offset = length === 0 ? 0 : this.#stretches.take(length, this.#times.nowNs())
    if (length > 0) this.#writeTable(offset, maglevTable(wanted.map(nameOf), length), refs)
    return {
      service: taken.service,
      backends: refs.length,
      only: (refs.length === 1 ? refs[0] : undefined) ?? noBackend,
      tableOffset: offset,
      tableLength: length,
    }
  }

  #takeBackend(backend: Backend, taken: { readonly service: number; readonly backends: number[] }): BackendRef {
    const id = this.#backendIds.take()
    taken.backends.push(id)
    const { generation: last } = readBackend(this.#backends, id)
    // 0 is what a slot that was never used holds.
    const generation = last === 0xffffffff ? 1 : last + 1
    writeBackend(this.#backends, id, { ...backend, generation, service: taken.service, drainUntilNs: 0n })
    return { id, generation }
  }

  #writeTable(offset: number, table: Uint32Array, refs: readonly BackendRef[]): void {
    for (let slot = 0; slot < table.length; slot++) {
      const ref = refs[table[slot] ?? 0] ?? noBackend
      this.#tables[(offset + slot) * wordsPerSlot] = ref.id
      this.#tables[(offset + slot) * wordsPerSlot + 1] = ref.generation
    }
  }

  /** From the first update on packets meet the new state; when the map of VIPs is full it is taken back. */
  #publish(frontend: Frontend, key: Uint8Array, record: FrontendRecord, before: FrontendRecord | undefined): void {
    try {
      this.#frontends.put(key, encodeFrontend(record))
      try {
        this.#setVip(frontend.address, (this.#frontendsOf.get(frontend.address) ?? 0) + (before === undefined ? 1 : 0))
      } catch (error) {
        if (before === undefined) this.#frontends.delete(key)
        else this.#frontends.put(key, encodeFrontend(before))
        throw error
      }
    } catch (error) {
      if (record.tableLength > 0) this.#stretches.give(record.tableOffset, record.tableLength, this.#times.nowNs())
      throw error
    }
  }

  #setVip(address: string, frontends: number): void {
    const key = encodeVipKey(address)
    if (key === undefined) return
    if (frontends > 0) this.#vips.put(key, encodeVip(frontends))
    else this.#vips.delete(key)
    if (frontends > 0) this.#frontendsOf.set(address, frontends)
    else this.#frontendsOf.delete(address)
  }

  #giveBack(taken: { readonly service: number; readonly backends: readonly number[] }, isNew: boolean): void {
    for (const id of taken.backends) this.#drain(id, 0n)
    if (isNew) this.#services.give(taken.service)
  }

  /** What `before` used and `kept` does not goes out of use. */
  #retire(before: FrontendRecord, kept: ReadonlySet<number>): void {
    for (const { id } of this.#refsOf(before)) if (!kept.has(id)) this.#drain(id, this.#times.drainNs)
    if (before.tableLength > 0) this.#stretches.give(before.tableOffset, before.tableLength, this.#times.nowNs())
  }

  #drain(id: number, forNs: bigint): void {
    writeDrain(this.#backends, id, this.#times.nowNs() + forNs)
    this.#backendIds.give(id)
  }

  #readBack(frontend: Frontend): void {
    const held = this.read(frontend.id)
    const wanted = {
      ...frontend,
      backends: [...new Map(frontend.backends.map((backend) => [nameOf(backend), backend])).values()].sort(
        compareBackends,
      ),
    }
    if (isHeld(wanted, held)) return
    throw new HeraldError(
      'ERR_READ_BACK',
      `${frontend.id} holds ${held === undefined ? 'nothing' : held.backends.map(nameOf).join(', ')}`,
    )
  }

  /** The references that packets of this frontend meet, each once. */
  #refsOf(record: FrontendRecord): BackendRef[] {
    if (record.backends === 0) return []
    if (record.tableLength === 0) return [record.only]
    const refs = new Map<number, number>()
    const end = (record.tableOffset + record.tableLength) * wordsPerSlot
    for (let word = record.tableOffset * wordsPerSlot; word < end; word += wordsPerSlot)
      refs.set(this.#tables[word] ?? 0, this.#tables[word + 1] ?? 0)
    return [...refs].map(([id, generation]) => ({ id, generation }))
  }

  #activeOf(record: FrontendRecord): { readonly ref: BackendRef; readonly backend: Backend }[] {
    return this.#refsOf(record)
      .map((ref) => ({ ref, held: readBackend(this.#backends, ref.id) }))
      .filter(({ ref, held }) => held.generation === ref.generation && held.drainUntilNs === 0n)
      .map(({ ref, held }) => ({ ref, backend: { address: held.address, port: held.port } }))
  }

  #backendsOf(record: FrontendRecord): readonly Backend[] {
    return this.#activeOf(record)
      .map(({ backend }) => backend)
      .sort(compareBackends)
  }
}

function nameOf(backend: Backend): string {
  return `${backend.address}:${backend.port}`
}

function compareBackends(a: Backend, b: Backend): number {
  return compareAddresses(parseIpv4(a.address) ?? 0, parseIpv4(b.address) ?? 0) || a.port - b.port
}
