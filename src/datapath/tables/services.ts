/**
 * What the kernel serves, written and read back through the maps. The order of writes is the point: whatever a packet
 * meets in between is the old state or the new one, and a crash between any two steps leaves one that is served or one
 * that {@link ServiceTable} finishes or gives back when it is built again.
 *
 *     upsert:  ranges -> backends -> Maglev table | frontend | address | old backends drain -> read back
 *     remove:  frontend -> address (with the last frontend on it)           -> backends drain, tables rest
 *
 * Many are written abreast: what all of them write up to a bar is in the maps before one of them goes on behind it.
 *
 * The state lies in the maps alone; what is kept here beside them (who owns which slot) is derived from them.
 */
import { HeraldError } from '../../errors.ts'
import { allOf, type Work } from '../../allocation/work.ts'
import type { Backend, Frontend } from '../../desired/model.ts'
import { isHeld } from '../../reconcile/frontends.ts'
import {
  maxCountedBackends,
  type ClusterNodes,
  type FrontendCounters,
  type MapUsage,
  type ProgrammedFrontend,
} from '../datapath.ts'
import { isKeyAddress } from '../address-octets.ts'
import {
  decodeFrontend,
  decodeFrontendKey,
  encodeFrontend,
  encodeFrontendKey,
  sizes,
  type AddressRecord,
  type BackendRef,
  type FrontendRecord,
} from '../layout.ts'
import type { Maps, MapStore } from '../maps.ts'
import { IdPool } from '../slots.ts'
import { AddressTable, nothing } from './addresses.ts'
import { BackendTable, nameOf, type TableTimes, type Used, type Uses } from './backends.ts'
import { CounterTable } from './counters.ts'
import {
  type Entry,
  entryOf,
  idOf,
  isFrontendKey,
  keyOf,
  recordOf,
  tableName,
  usesBefore,
  usesOf,
  weighed,
} from './entries.ts'
import { NodeTable } from './nodes.ts'
import { normalised } from './normalised.ts'
import { RangeTable } from './ranges.ts'
import { StagedMaps } from './staged-maps.ts'
import { soundRecords } from './sound-records.ts'
import { TableSpace, type Named } from './table-space.ts'
import { VipRanges } from './vip-ranges.ts'

/** Of {@link ServiceTable.upsertAll}: the bars of its order. */
const bars = 3

export class ServiceTable {
  readonly #staged: StagedMaps
  readonly #frontends: MapStore
  readonly #addresses: AddressTable
  readonly #nodes: NodeTable
  readonly #backends: BackendTable
  readonly #space: TableSpace
  readonly #ranges: RangeTable
  readonly #vipRanges: VipRanges
  readonly #counters: CounterTable
  readonly #times: TableTimes
  readonly #entries = new Map<string, Entry>()
  readonly #services: IdPool

  /** Takes over what the maps hold. */
  constructor(maps: Maps, times: TableTimes) {
    const staged = new StagedMaps(maps)
    this.#staged = staged
    this.#frontends = staged.store('frontends')
    this.#addresses = new AddressTable(staged.store('addresses'))
    this.#nodes = new NodeTable(maps, this.#addresses)
    this.#backends = new BackendTable(staged, this.#addresses, times)
    this.#ranges = new RangeTable(maps.store('ranges'), times)
    this.#vipRanges = new VipRanges(this.#ranges)
    this.#counters = new CounterTable(staged.store('counters'))
    this.#times = times
    this.#services = new IdPool('service ids', this.#counters.maxEntries)
    const found = [...this.#frontends.entries()].flatMap(([key, value]) => {
      if (isFrontendKey(key)) return { key, record: decodeFrontend(value) }
      // No version writes such a one, and no packet has it.
      this.#frontends.delete(key)
      return []
    })
    const memory = maps.windows('tables')
    const records = soundRecords(
      new Map(found.map(({ key, record }) => [idOf(key), record])),
      memory.byteLength / sizes.backendRef,
    )
    this.#space = new TableSpace(memory, this.#backends.maxEntries, times.previousNs, records)
    // In the order of their tables, as they are read from then on: of these little is mapped at a time.
    const adopted = found.map(({ key, record }) => ({ key, record: records.get(idOf(key)) ?? record }))
    adopted.sort((a, b) => a.record.table.offset - b.record.table.offset)
    for (const { key, record } of adopted) this.#adopt(key, record)
    this.#finishAdoption()
  }

  /** Not compared with what was written: that is for a look at one. */
  readAll(): readonly ProgrammedFrontend[] {
    return [...this.#entries.keys()].map((id) => this.#read(id)).filter((frontend) => frontend !== undefined)
  }

  /** As the maps hold it now; undefined when a packet would not be served. */
  read(id: string): ProgrammedFrontend | undefined {
    const found = this.#read(id)
    const entry = this.#entries.get(id)
    if (found === undefined || entry === undefined || this.#isIntact(entry)) return found
    return { ...found, isEdited: true }
  }

  /** Whether nothing of it was changed by somebody else. */
  #isIntact({ address, port, protocol, record, names }: Entry): boolean {
    const value = this.#frontends.get(keyOf({ address, port, protocol }))
    const active = this.#space.active(record)
    return (
      value !== undefined &&
      Buffer.compare(value, encodeFrontend(record)) === 0 &&
      active.length === record.backends &&
      active.every((ref) => this.#backends.isThere(ref)) &&
      this.#backends.areIntact(names) &&
      this.#addresses.isIntact(address)
    )
  }

  #read(id: string): ProgrammedFrontend | undefined {
    const entry = this.#entries.get(id)
    const value = entry === undefined ? undefined : this.#frontends.get(keyOf(entry))
    if (entry === undefined || value === undefined || !this.#addresses.isVip(entry.address)) return undefined
    const record = decodeFrontend(value)
    const active = this.#space.active(record)
    const resting = this.#backends.named(this.#space.resting(record))
    const sources = this.#ranges.read(record.ranges)
    const isKept = record.affinitySec > 0 && this.#space.hasMembers(record, active)
    return {
      id,
      address: entry.address,
      protocol: entry.protocol,
      port: entry.port,
      serviceId: record.service,
      backends: weighed(this.#backends.named(active), entry),
      ...(resting.length === 0 ? {} : { resting }),
      ...(sources === undefined ? {} : { sources }),
      ...(isKept ? { affinitySec: record.affinitySec } : {}),
    }
  }

  /** See {@link Datapath.upsert}. */
  upsert(frontend: Frontend): ProgrammedFrontend {
    return allOf(this.#upserting(frontend))
  }

  /**
   * The same for many, in their order. undefined: it was not written and what was before is in force; {@link upsert}
   * says why, or writes it.
   */
  upsertAll(frontends: readonly Frontend[]): readonly (ProgrammedFrontend | undefined)[] {
    const firsts = new Map(frontends.toReversed().map((frontend) => [frontend.id, frontend]))
    // Of two changes of one frontend the second follows the first.
    const works = frontends.map((each) => (firsts.get(each.id) === each ? this.#upserting(each) : undefined))
    this.#ranges.beginRow()
    try {
      return this.#staged.abreast(works, bars)
    } finally {
      this.#ranges.endRow()
    }
  }

  *#upserting(frontend: Frontend): Work<ProgrammedFrontend> {
    const key = encodeFrontendKey(frontend)
    if (key === undefined) throw new HeraldError('ERR_ADDRESS', `${frontend.address} is no address that can be served`)
    this.#backends.purge()
    this.#ranges.purge()
    const { sources, tunnel, nodePorts } = this.#addresses.of(frontend.address)
    if (sources > 0)
      throw new HeraldError('ERR_ADDRESS', `${frontend.address} is the address of a backend and cannot be served`)
    if (tunnel > 0 || nodePorts > 0)
      throw new HeraldError('ERR_ADDRESS', `${frontend.address} is an address of this node and cannot be served`)
    const wanted = normalised(frontend)
    const isStrange = ({ address, node }: Backend): boolean =>
      !isKeyAddress(address) ||
      address.includes(':') !== frontend.address.includes(':') ||
      (node !== undefined && !isKeyAddress(node))
    const stranger = wanted.backends.find(isStrange) ?? wanted.resting?.find(isStrange)
    if (stranger !== undefined)
      throw new HeraldError('ERR_ADDRESS', `${textOf(stranger)} cannot be a backend of ${frontend.address}`)
    const held = this.#entries.get(frontend.id)
    const found = held === undefined ? undefined : this.#read(frontend.id)
    if (held !== undefined && found !== undefined && isHeld(wanted, found) && this.#isIntact(held)) return found
    const uses = usesOf(wanted)
    const service = held?.record.service ?? this.#takeService()
    try {
      const record = yield* this.#write(wanted, key, uses, { service, held })
      this.#entries.set(frontend.id, entryOf(frontend, record, uses))
    } catch (error) {
      this.#backends.settle(frontend.id, usesBefore(held), uses.keys())
      if (held === undefined) this.#giveService(service)
      throw error
    }
    this.#backends.settle(frontend.id, uses, held?.names ?? [])
    const written = this.#read(frontend.id)
    if (written === undefined || !isHeld(wanted, written))
      throw new HeraldError('ERR_READ_BACK', `${frontend.id}: the maps do not hold the backends that were written`)
    return written
  }

  /** See {@link Datapath.remove}. */
  remove(id: string): void {
    const entry = this.#entries.get(id)
    if (entry === undefined) return
    this.#frontends.delete(keyOf(entry))
    this.#entries.delete(id)
    const answered = this.#vipRanges.change(entry.address, entry.record.ranges, undefined)
    this.#addresses.add(entry.address, 'frontends', -1, answered)
    this.#backends.settle(id, new Map(), entry.names)
    this.#backends.purge()
    this.#ranges.give(entry.record.ranges)
    this.#ranges.purge()
    this.#space.giveLists(entry.record, this.#times.nowNs())
    this.#space.giveRooms(id, this.#times.nowNs())
    this.#giveService(entry.record.service)
  }

  counters(id: string): FrontendCounters | undefined {
    const entry = this.#entries.get(id)
    if (entry === undefined) return undefined
    const backends = entry.names.slice(0, maxCountedBackends).flatMap((name) => {
      const counted = this.#backends.counters(name)
      if (counted === undefined) return []
      return weighed([counted.backend], entry).map((backend) => ({ ...counted, backend }))
    })
    return { ...this.#counters.read(entry.record.service), backends }
  }

  usage(): readonly MapUsage[] {
    return [
      { name: 'addresses', entries: this.#addresses.used, maxEntries: this.#addresses.maxEntries },
      { name: 'frontends', entries: this.#entries.size, maxEntries: this.#frontends.maxEntries },
      { name: 'backends', entries: this.#backends.used, maxEntries: this.#backends.maxEntries },
      { name: 'tables', entries: this.#space.used, maxEntries: this.#space.size },
      { name: 'counters', entries: this.#services.used, maxEntries: this.#counters.maxEntries },
      { name: 'backend_counts', ...this.#backends.counted },
      { name: 'ranges', entries: this.#ranges.used, maxEntries: this.#ranges.maxEntries },
      { name: 'nodes', entries: this.#nodes.used, maxEntries: this.#nodes.maxEntries },
    ]
  }

  /** See {@link Datapath.setNodes}. */
  setNodes(nodes: ClusterNodes): void {
    this.#nodes.set(nodes)
  }

  /** Where node ports are served. */
  get nodePorts(): readonly string[] {
    return this.#nodes.nodePorts
  }

  #adopt(key: Uint8Array, record: FrontendRecord): void {
    const found = decodeFrontendKey(key)
    const { address, port, protocol } = found
    const id = idOf(key)
    const uses = new Map<string, Used>()
    const adopt = (ref: BackendRef, use: Used['use'], weight?: number): void => {
      const backendAt = this.#backends.at(ref)
      if (backendAt === undefined) return
      const { address: at, port: on, node } = backendAt
      const backend = {
        address: at,
        port: on,
        ...(node === undefined ? {} : { node }),
        ...(weight === undefined ? {} : { weight }),
      }
      uses.set(nameOf(backendAt, backendAt.protocol), { backend, use })
      this.#backends.adopt(id, ref, use)
    }
    for (const ref of this.#space.resting(record)) adopt(ref, { address, port, rests: true })
    // In place of weights, which are not written: the first write makes the same table once more.
    const { refs, slots } = this.#space.weighed(record, (a, b) => this.#backends.compare(a, b))
    for (const [index, ref] of refs.entries()) adopt(ref, { address, port, rests: false }, slots?.[index])
    this.#entries.set(id, entryOf({ id, address, port, protocol }, record, uses))
    if (record.service < this.#counters.maxEntries) this.#services.reserve(record.service)
    this.#ranges.adopt(record.ranges)
  }

  /** A crash may have left an address without its last frontend, or backends that no frontend names yet or any more. */
  #finishAdoption(): void {
    this.#backends.finishAdoption()
    const counted = new Map<string, AddressRecord>()
    const count = (address: string, part: Exclude<keyof AddressRecord, 'ranges'>, ranges?: number): void => {
      const before = counted.get(address) ?? nothing
      counted.set(address, { ...before, [part]: before[part] + 1, ranges: ranges ?? before.ranges })
    }
    for (const { address, record } of this.#entries.values())
      count(address, 'frontends', this.#vipRanges.change(address, undefined, record.ranges))
    for (const address of this.#backends.sources()) count(address, 'sources')
    for (const address of this.#nodes.own) count(address, 'tunnel')
    for (const address of this.#nodes.nodePorts) count(address, 'nodePorts')
    this.#addresses.adopt(counted)
    this.#ranges.finishAdoption()
    const services = new Set<number>()
    for (const entry of this.#entries.values()) this.#amend(entry, services)
  }

  /**
   * An id of an earlier schema may be beyond the counters, and one that somebody else wrote another's: such a Service
   * gets one of its own. And its table before had no end, or one of another clock. `services`: ids of those before it.
   */
  #amend(entry: Entry, services: Set<number>): void {
    const now = this.#times.nowNs()
    const latestNs = now + this.#times.previousNs
    const { service, previousUntilNs, affinitySinceNs } = entry.record
    const isCounted = service < this.#counters.maxEntries && !services.has(service)
    const [hasEnd, hasBegun] = [previousUntilNs <= latestNs, affinitySinceNs <= now]
    services.add(service)
    if (isCounted && hasEnd && hasBegun) return
    entry.record = {
      ...entry.record,
      service: isCounted ? service : this.#takeService(),
      previousUntilNs: hasEnd ? previousUntilNs : latestNs,
      affinitySinceNs: hasBegun ? affinitySinceNs : now,
    }
    this.#frontends.put(keyOf(entry), encodeFrontend(entry.record), 'existing')
  }

  #takeService(): number {
    const service = this.#services.take(this.#times.nowNs())
    this.#counters.clear(service)
    return service
  }

  /** Flows of the Service, if there were any, may go on to be counted for a while. */
  #giveService(service: number): void {
    const isUnused = this.#counters.read(service).packetsIn === 0
    this.#services.give(service, this.#times.nowNs() + (isUnused ? 0n : this.#times.drainNs))
  }

  /** From the frontend's update on packets meet the new state; what fails before or after it is taken back. */
  *#write(
    frontend: Frontend,
    key: Uint8Array,
    uses: Uses,
    { service, held }: { readonly service: number; readonly held: Entry | undefined },
  ): Work<FrontendRecord> {
    const { id, address, sources, affinitySec = 0 } = frontend
    const { active, formerly, resting } = this.#partsOf(frontend, uses)
    const now = this.#times.nowNs()
    const before = held?.record
    const ranges = this.#takeRanges(sources, key, held)
    const undo: (() => void)[] = [() => this.#ranges.give(ranges)]
    try {
      const options = { before, formerly, hasMembers: affinitySec > 0 }
      const { places, older } = this.#space.write(id, active, resting, options, now)
      undo.push(() => this.#space.giveLists(places, now))
      if (held === undefined) undo.push(() => this.#space.giveRooms(id, now))
      yield
      const affinitySinceNs = before !== undefined && before.affinitySec > 0 ? before.affinitySinceNs : now
      const record = recordOf(places, { service, ranges, affinitySec, affinitySinceNs })
      this.#frontends.put(key, encodeFrontend(record))
      undo.push(() => this.#restore(key, before))
      yield
      undo.push(this.#announce(address, ranges, before))
      yield
      this.#space.settle(record, older, (slot) => this.#backends.placeOf(slot))
      if (before === undefined) return record
      this.#space.giveLists(before, this.#times.nowNs())
      this.#ranges.give(before.ranges)
      return record
    } catch (error) {
      for (const step of undo.reverse()) step()
      throw error
    }
  }

  #partsOf(frontend: Frontend, uses: Uses): Parts {
    const active: Named[] = []
    const elsewhere: Named[] = []
    const resting: BackendRef[] = []
    for (const [name, used] of uses) {
      const { backend, use } = used
      const ref = this.#backends.take(name, used, frontend.protocol, frontend.id)
      // Pods by their addresses: so a client meets the same one by every port of a Service.
      const named = [tableName(frontend, name, backend), ref, backend.weight] as const
      if (use.rests) resting.push(ref)
      else active.push(named)
      if (!use.rests && backend.node !== undefined) elsewhere.push(named)
    }
    // A node may hear of a frontend with its first pod, and the others had it without that one.
    return { active, formerly: elsewhere.length < active.length ? elsewhere : [], resting }
  }

  #restore(key: Uint8Array, before: FrontendRecord | undefined): void {
    if (before === undefined) this.#frontends.delete(key)
    else this.#frontends.put(key, encodeFrontend(before))
  }

  /** A frontend that lets everybody in lets nobody in when what it is to be limited to finds no room. */
  #takeRanges(sources: Frontend['sources'], key: Uint8Array, held: Entry | undefined): number {
    try {
      return this.#ranges.take(sources)
    } catch (error) {
      const isFull = error instanceof HeraldError && error.code === 'ERR_MAP_FULL'
      if (isFull && held !== undefined && held.record.ranges === 0) {
        const record = { ...held.record, ranges: this.#ranges.take([]) }
        this.#frontends.put(key, encodeFrontend(record))
        try {
          this.#announce(held.address, record.ranges, held.record)
        } catch (failure) {
          this.#restore(key, held.record)
          throw failure
        }
        held.record = record
      }
      throw error
    }
  }

  /** The address is ours from here on, and answers to those whom its frontends let in. Answers how to undo it. */
  #announce(address: string, ranges: number, before: FrontendRecord | undefined): () => void {
    const answered = this.#vipRanges.change(address, before?.ranges, ranges)
    const back = (): number => this.#vipRanges.change(address, ranges, before?.ranges)
    const isNew = before === undefined
    try {
      if (isNew || this.#addresses.of(address).ranges !== answered) {
        this.#addresses.add(address, 'frontends', isNew ? 1 : 0, answered)
        return () => this.#addresses.add(address, 'frontends', isNew ? -1 : 0, back())
      }
      if (!this.#addresses.isIntact(address)) this.#addresses.restore(address)
      return back
    } catch (error) {
      back()
      throw error
    }
  }
}

/** What a frontend is written of. */
interface Parts {
  readonly active: readonly Named[]
  readonly formerly: readonly Named[]
  readonly resting: readonly BackendRef[]
}

function textOf({ address, port, node }: Backend): string {
  return node === undefined ? `${address}:${port}` : `${address}:${port} on ${node}`
}
