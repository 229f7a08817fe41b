/**
 * What the kernel serves, written and read back through the maps. The order of writes is the point: whatever a packet
 * meets in between is the old state or the new one, and a crash between any two steps leaves one that is served or one
 * that {@link ServiceTable} finishes or gives back when it is built again.
 *
 *     upsert:  backends -> Maglev table -> frontend -> address -> read back -> old backends drain
 *     remove:  frontend -> address (with the last frontend on it)           -> backends drain, tables rest
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
  type AddressRecord,
  type BackendRef,
  type FrontendRecord,
} from '../layout.ts'
import type { Maps, MapStore } from '../maps.ts'
import { IdPool } from '../slots.ts'
import { AddressTable } from './addresses.ts'
import { BackendTable, nameOf, type TableTimes } from './backends.ts'
import { CounterTable } from './counters.ts'
import { TableSpace } from './table-space.ts'

type Uses = ReadonlyMap<string, Backend & { readonly rests: boolean }>

interface Entry {
  readonly id: string
  readonly address: string
  readonly key: Uint8Array
  record: FrontendRecord
  /** By name. */
  uses: Uses
}

export class ServiceTable {
  readonly #frontends: MapStore
  readonly #addresses: AddressTable
  readonly #backends: BackendTable
  readonly #space: TableSpace
  readonly #counters: CounterTable
  readonly #times: TableTimes
  readonly #entries = new Map<string, Entry>()
  readonly #services: IdPool

  /** Takes over what the maps hold. */
  constructor(maps: Maps, times: TableTimes) {
    this.#frontends = maps.store('frontends')
    this.#addresses = new AddressTable(maps.store('addresses'))
    this.#backends = new BackendTable(maps, this.#addresses, times)
    this.#counters = new CounterTable(maps.store('counters'))
    this.#times = times
    this.#services = new IdPool('service ids', this.#counters.maxEntries)
    const found = [...this.#frontends.entries()].map(([key, value]) => ({ key, record: decodeFrontend(value) }))
    const records = new Map(found.map(({ key, record }) => [idOf(key), record]))
    this.#space = new TableSpace(maps.memory('tables'), this.#backends.maxEntries, records)
    for (const { key, record } of found) this.#adopt(key, record)
    this.#finishAdoption()
  }

  readAll(): readonly ProgrammedFrontend[] {
    return [...this.#entries.keys()].map((id) => this.read(id)).filter((frontend) => frontend !== undefined)
  }

  /** As the maps hold it now; undefined when a packet would not be served. */
  read(id: string): ProgrammedFrontend | undefined {
    const entry = this.#entries.get(id)
    const value = entry === undefined ? undefined : this.#frontends.get(entry.key)
    if (entry === undefined || value === undefined || !this.#addresses.isVip(entry.address)) return undefined
    const record = decodeFrontend(value)
    const resting = this.#existing(this.#space.resting(record))
    const frontend = { id, ...decodeFrontendKey(entry.key), serviceId: record.service }
    const backends = this.#existing(this.#space.active(record))
    return resting.length === 0 ? { ...frontend, backends } : { ...frontend, backends, resting }
  }

  /** See {@link Datapath.upsert}. */
  upsert(frontend: Frontend): void {
    const key = encodeFrontendKey(frontend)
    if (key === undefined)
      throw new HeraldError('ERR_ADDRESS', `${frontend.address} is not IPv4; this datapath serves IPv4 only`)
    this.#backends.purge()
    if (this.#addresses.of(frontend.address).sources > 0)
      throw new HeraldError('ERR_ADDRESS', `${frontend.address} is the address of a backend and cannot be served`)
    const wanted = normalised(frontend)
    const held = this.#entries.get(frontend.id)
    if (held !== undefined && isHeld(wanted, this.read(frontend.id))) return
    const uses = usesOf(wanted)
    const before: Uses = held?.uses ?? new Map()
    const service = held?.record.service ?? this.#takeService()
    try {
      const record = this.#write(wanted, key, service, uses, held)
      this.#entries.set(frontend.id, { id: frontend.id, address: frontend.address, key, record, uses })
    } catch (error) {
      this.#backends.settle(frontend.id, endpointsOf(before, frontend), uses.keys())
      if (held === undefined) this.#giveService(service)
      throw error
    }
    this.#backends.settle(frontend.id, endpointsOf(uses, frontend), before.keys())
    if (!isHeld(wanted, this.read(frontend.id)))
      throw new HeraldError('ERR_READ_BACK', `${frontend.id}: the maps do not hold the backends that were written`)
  }

  /** See {@link Datapath.remove}. */
  remove(id: string): void {
    const entry = this.#entries.get(id)
    if (entry === undefined) return
    this.#frontends.delete(entry.key)
    this.#entries.delete(id)
    this.#addresses.add(entry.address, 'frontends', -1)
    this.#backends.settle(id, new Map(), entry.uses.keys())
    this.#backends.purge()
    this.#space.giveResting(entry.record, this.#times.nowNs())
    this.#space.giveRooms(id, this.#times.nowNs())
    this.#giveService(entry.record.service)
  }

  counters(id: string): FrontendCounters | undefined {
    const entry = this.#entries.get(id)
    return entry === undefined ? undefined : this.#counters.read(entry.record.service)
  }

  usage(): readonly MapUsage[] {
    return [
      { name: 'addresses', entries: this.#addresses.used, maxEntries: this.#addresses.maxEntries },
      { name: 'frontends', entries: this.#entries.size, maxEntries: this.#frontends.maxEntries },
      { name: 'backends', entries: this.#backends.used, maxEntries: this.#backends.maxEntries },
      { name: 'tables', entries: this.#space.used, maxEntries: this.#space.size },
    ]
  }

  #adopt(key: Uint8Array, record: FrontendRecord): void {
    const { address, port } = decodeFrontendKey(key)
    const id = idOf(key)
    const uses = new Map<string, Backend & { readonly rests: boolean }>()
    const adopt = (ref: BackendRef, rests: boolean): void => {
      const found = this.#backends.at(ref)
      if (found === undefined) return
      uses.set(nameOf(found, found.protocol), { address: found.address, port: found.port, rests })
      this.#backends.adopt(id, ref, { address, port, rests })
    }
    for (const ref of this.#space.resting(record)) adopt(ref, true)
    for (const ref of this.#space.active(record)) adopt(ref, false)
    this.#entries.set(id, { id, address, key, record, uses })
    this.#services.reserve(record.service)
  }

  /** A crash may have left an address without its last frontend, or backends that no frontend names yet or any more. */
  #finishAdoption(): void {
    this.#backends.finishAdoption()
    const counted = new Map<string, AddressRecord>()
    const count = (address: string, part: keyof AddressRecord): void => {
      const before = counted.get(address) ?? { frontends: 0, sources: 0 }
      counted.set(address, { ...before, [part]: before[part] + 1 })
    }
    for (const { address } of this.#entries.values()) count(address, 'frontends')
    for (const address of this.#backends.counted()) count(address, 'sources')
    this.#addresses.adopt(counted)
  }

  #takeService(): number {
    const service = this.#services.take(this.#times.nowNs())
    try {
      this.#counters.clear(service)
    } catch (error) {
      this.#services.give(service, this.#times.nowNs())
      throw error
    }
    return service
  }

  /** Flows of the Service, if there were any, may go on to be counted for a while. */
  #giveService(service: number): void {
    const isUnused = this.#counters.read(service).packetsIn === 0
    this.#counters.remove(service)
    this.#services.give(service, this.#times.nowNs() + (isUnused ? 0n : this.#times.drainNs))
  }

  /** From the frontend's update on packets meet the new state; what fails before or after it is taken back. */
  #write(frontend: Frontend, key: Uint8Array, service: number, uses: Uses, held: Entry | undefined): FrontendRecord {
    const refs = new Map<string, BackendRef>()
    for (const [name, { address, port, rests }] of uses) {
      const use = { address: frontend.address, port: frontend.port, rests }
      refs.set(name, this.#backends.take({ address, port }, frontend.protocol, frontend.id, use))
    }
    const refsThat = (rest: boolean): readonly (readonly [string, BackendRef])[] =>
      [...refs].filter(([name]) => uses.get(name)?.rests === rest)
    const now = this.#times.nowNs()
    const written = this.#space.write(
      frontend.id,
      refsThat(false),
      refsThat(true).map(([, ref]) => ref),
      held?.record,
      now,
    )
    const record = { service, ...written }
    try {
      this.#frontends.put(key, encodeFrontend(record))
      if (held === undefined) this.#announce(frontend.address, key)
    } catch (error) {
      this.#space.giveResting(record, now)
      if (held === undefined) this.#space.giveRooms(frontend.id, now)
      throw error
    }
    if (held !== undefined) this.#space.giveResting(held.record, now)
    return record
  }

  /** The address is ours from here on. */
  #announce(address: string, key: Uint8Array): void {
    try {
      this.#addresses.add(address, 'frontends', 1)
    } catch (error) {
      this.#frontends.delete(key)
      throw error
    }
  }

  #existing(refs: readonly BackendRef[]): readonly Backend[] {
    return refs
      .flatMap((ref) => this.#backends.at(ref) ?? [])
      .map(({ address, port }) => ({ address, port }))
      .sort(compareBackends)
  }
}

function idOf(key: Uint8Array): string {
  const { address, protocol, port } = decodeFrontendKey(key)
  return frontendId(address, protocol, port)
}

/** Sorted, each once, and none that rests among those that do not. */
function normalised(frontend: Frontend): Frontend {
  const textOf = ({ address, port }: Backend): string => `${address}:${port}`
  const unique = (backends: readonly Backend[]): readonly Backend[] =>
    [...new Map(backends.map((backend) => [textOf(backend), backend])).values()].sort(compareBackends)
  const active = new Set(frontend.backends.map(textOf))
  return {
    ...frontend,
    backends: unique(frontend.backends),
    resting: unique(frontend.resting ?? []).filter((backend) => !active.has(textOf(backend))),
  }
}

function usesOf({ backends, resting = [], protocol }: Frontend): Uses {
  const named = (list: readonly Backend[], rests: boolean): [string, Backend & { readonly rests: boolean }][] =>
    list.map(({ address, port }) => [nameOf({ address, port }, protocol), { address, port, rests }])
  return new Map([...named(backends, false), ...named(resting, true)])
}

/** What a backend has to know of a frontend that uses it. */
function endpointsOf(
  uses: Uses,
  { address, port }: Frontend,
): Map<string, { address: string; port: number; rests: boolean }> {
  return new Map([...uses].map(([name, { rests }]) => [name, { address, port, rests }]))
}

function compareBackends(a: Backend, b: Backend): number {
  return compareAddresses(parseIpv4(a.address) ?? 0, parseIpv4(b.address) ?? 0) || a.port - b.port
}
