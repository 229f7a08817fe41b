/**
 * Backends: each is an address, port and protocol, whatever frontends it has, and readiness is a state of it.
 *
 *     a frontend uses it ----> takes new flows
 *     all let it rest    ----> established flows go on, for however long
 *     nobody names it    ----> established flows have a while; who comes back meanwhile is the same backend
 *     that is over       ----> gone: its id is free, for another generation
 *
 * One on another node is written for its packets to be handed on: nothing of it leaves here, so there is no source.
 *
 * Ids are free again only when the while is over, also for a successor that finds them so in the maps. Pure.
 */
import { type Backend, isAnyNodeAddress, type Protocol } from '../../desired/model.ts'
import { HeraldError } from '../../errors.ts'
import {
  decodeSettled,
  encodeFrontendKey,
  encodeSource,
  readBackend,
  readDrain,
  readGeneration,
  resting,
  sizes,
  usedSlots,
  writeBackend,
  writeDrain,
  writeNode,
  type BackendRecord,
  type BackendRef,
} from '../layout.ts'
import type { Maps, MapStore, SharedMemory } from '../maps.ts'
import { IdPool } from '../slots.ts'
import type { TrafficCounters } from '../datapath.ts'
import type { AddressTable } from './addresses.ts'
import { BackendCounterTable } from './counters.ts'
import { Few } from './few.ts'
import { Places } from './places.ts'
import type { Place } from './table-space.ts'

export interface TableTimes {
  /** CLOCK_MONOTONIC, as the programs see it. */
  readonly nowNs: () => bigint
  /** How long established TCP connections go on to a backend that was removed. */
  readonly drainNs: bigint
  /** So long after a pod became a backend its unknown flows are taken for older ones, with the pod itself. */
  readonly settleNs: bigint
  /** How long after a change of backends the table before it is asked for segments of unknown flows. */
  readonly previousNs: bigint
}

export interface VipEndpoint {
  readonly address: string
  readonly port: number
}

/** By a frontend. */
export interface Use extends VipEndpoint {
  readonly rests: boolean
}

export interface Used {
  readonly backend: Backend
  readonly use: Use
}

/** What a frontend uses, by the names of backends. */
export type Uses = ReadonlyMap<string, Used>

/** It is its own reference: of thousands one object each is enough. */
interface Held extends BackendRef {
  backend: Backend
  readonly protocol: Protocol
  readonly settledNs: bigint
  /** By frontend. */
  readonly uses: Few<Use>
  /** Nobody uses it: until then its flows go on. */
  leavesNs: bigint | undefined
  /** No packet can have met it yet. */
  isFresh: boolean
  /** Somebody else changed the entry by which its replies are known. */
  isSourceEdited: boolean
}

/** Of {@link BackendTable.areIntact}. */
const sourcesAtOnce = 4

export class BackendTable {
  readonly #shared: SharedMemory
  /** As far as any id was taken. */
  #memory: DataView
  readonly #places: Places
  readonly #sources: MapStore
  readonly #addresses: AddressTable
  readonly #times: TableTimes
  readonly #ids: IdPool
  readonly #counters: BackendCounterTable
  readonly #held = new Map<string, Held>()
  readonly #byId: (Held | undefined)[] = []
  /** In the order in which they may go. */
  readonly #leaving = new Map<string, Held>()
  #nextSource = 0
  #lastSettledNs = 0n

  constructor(maps: Maps, addresses: AddressTable, times: TableTimes) {
    this.#shared = maps.shared('backends')
    const last = this.#shared.whole((memory) => usedSlots(memory).at(-1) ?? -1)
    this.#memory = this.#shared.reach((last + 1) * sizes.backend)
    this.#places = new Places(() => this.#memory)
    this.#sources = maps.store('sources')
    this.#addresses = addresses
    this.#times = times
    this.#counters = new BackendCounterTable(maps.store('backend_counts'))
    this.#ids = new IdPool('backend slots', this.maxEntries, this.#counters.maxEntries)
  }

  get used(): number {
    return this.#held.size - this.#leaving.size
  }

  get maxEntries(): number {
    return this.#shared.byteLength / sizes.backend
  }

  /** Of those that are counted, and of how many that is so at most. */
  get counted(): { readonly entries: number; readonly maxEntries: number } {
    const { maxEntries } = this.#counters
    return { entries: Math.min(this.#ids.used, maxEntries), maxEntries }
  }

  /** By its name; undefined when it is gone, or not counted. */
  counters(name: string): (TrafficCounters & { readonly backend: Backend }) | undefined {
    const held = this.#held.get(name)
    const counted = held === undefined ? undefined : this.#counters.read(held)
    return held === undefined || counted === undefined ? undefined : { backend: held.backend, ...counted }
  }

  /** What a reference names; undefined when it is gone, or of another generation. */
  at(ref: BackendRef): BackendRecord | undefined {
    if (!this.#isReached(ref.id) || ref.generation === 0) return undefined
    const record = readBackend(this.#memory, ref.id)
    return record.generation === ref.generation ? record : undefined
  }

  /** Where the backend of an id is, or was until its while is over. */
  placeOf(id: number): Place {
    const held = this.#byId[id]
    if (held === undefined) return undefined
    return held.backend.node === undefined ? 'here' : 'elsewhere'
  }

  /** By address and port, as the map holds them. */
  compare(a: BackendRef, b: BackendRef): number {
    if (!this.#isReached(a.id) || !this.#isReached(b.id)) return 0
    return this.#places.compare(a.id, b.id)
  }

  /** Whether the map holds what a reference names. */
  isThere({ id, generation }: BackendRef): boolean {
    return this.#isReached(id) && readGeneration(this.#memory, id) === generation
  }

  /** Behind it no backend ever was. */
  #isReached(id: number): boolean {
    return (id + 1) * sizes.backend <= this.#memory.byteLength
  }

  /** What references name and the map holds, by address and port; those that are gone are left out. */
  named(refs: readonly BackendRef[]): readonly Backend[] {
    const found: { readonly id: number; readonly backend: Backend }[] = []
    for (const { id, generation } of refs) {
      if (!this.isThere({ id, generation })) continue
      const held = this.#byId[id]
      const isKnown = held?.generation === generation && this.#isIntact(held)
      found.push({ id, backend: isKnown ? held.backend : placed(readBackend(this.#memory, id)) })
    }
    const compare = (a: { readonly id: number }, b: { readonly id: number }): number => this.#places.compare(a.id, b.id)
    // Of two, as thousands have, a sort leaves more garbage than they are.
    const [first, second, third] = found
    if (third !== undefined) found.sort(compare)
    else if (first !== undefined && second !== undefined && compare(first, second) > 0) found.reverse()
    return found.map(({ backend }) => backend)
  }

  /**
   * Whether the map holds the backends of these names as they were written, and each in its state. Of the entries by
   * which their replies are known some are looked up with each call: a frontend may have hundreds.
   */
  areIntact(names: Iterable<string>): boolean {
    const all = [...names].map((name) => this.#held.get(name))
    for (const held of all)
      if (held === undefined || !this.#isIntact(held) || readDrain(this.#memory, held.id) !== this.#stateOf(held))
        return false
    const first = (this.#nextSource += sourcesAtOnce)
    for (let n = 0; n < Math.min(sourcesAtOnce, all.length); n++) {
      const held = all[(first + n) % all.length]
      if (held === undefined || this.#isSourceIntact(held)) continue
      // Where one is gone others may be, and all are written together.
      for (const each of all) if (each !== undefined) each.isSourceEdited = !this.#isSourceIntact(each)
      return false
    }
    return true
  }

  /**
   * The reference of a backend, by its name, for a frontend that will use it; what new flows need is written. Throws
   * ERR_MAP_FULL.
   */
  take(name: string, { backend, use }: Used, protocol: Protocol, frontend: string): BackendRef {
    const held = this.#held.get(name) ?? this.#make(name, backend, protocol)
    if (held.backend.node !== backend.node) this.#move(held, backend)
    const before = held.uses.get(frontend)
    held.uses.set(frontend, use)
    try {
      const isNew = before?.address !== use.address || before.port !== use.port
      if (isNew || held.isSourceEdited) this.#writeSource(held)
    } catch (error) {
      if (before === undefined) held.uses.delete(frontend)
      else held.uses.set(frontend, before)
      if (held.isFresh && held.uses.size === 0) this.#free(name, held)
      throw error
    }
    this.#leaving.delete(name)
    held.leavesNs = undefined
    if (!this.#isIntact(held)) this.#write(held)
    // A backend that is to rest rests once no packet can choose it any more.
    if (!use.rests) this.#writeState(held)
    return held
  }

  /** After the frontend was written: what it uses, and in which state; it gives up everything else of `before`. */
  settle(frontend: string, uses: ReadonlyMap<string, Pick<Used, 'use'>>, before: Iterable<string>): void {
    for (const [name, { use }] of uses) {
      const held = this.#held.get(name)
      if (held === undefined) continue
      held.uses.set(frontend, use)
      held.isFresh = false
      this.#writeState(held)
    }
    for (const name of before) if (!uses.has(name)) this.#leave(frontend, name)
  }

  #leave(frontend: string, name: string): void {
    const held = this.#held.get(name)
    if (held === undefined) return
    const isLeft = held.uses.delete(frontend)
    if (held.uses.size === 0) {
      if (held.isFresh) return this.#free(name, held)
      held.leavesNs = this.#times.nowNs() + this.#times.drainNs
      this.#leaving.set(name, held)
    } else held.isFresh = false
    this.#writeState(held)
    if (isLeft) this.#writeSource(held)
  }

  /** Ends what nobody uses and whose while is over. */
  purge(): void {
    if (this.#leaving.size === 0) return
    const now = this.#times.nowNs()
    for (const [name, held] of this.#leaving) {
      if ((held.leavesNs ?? now) > now) return
      this.#free(name, held)
    }
  }

  /** Before the first {@link take}: a frontend that was found uses this. */
  adopt(frontend: string, ref: BackendRef, use: Use): void {
    const record = this.at(ref)
    if (record === undefined) return
    const held = this.#adopted(record, ref)
    held.uses.set(frontend, use)
  }

  /** After every {@link adopt}: what nobody uses leaves, at the time that is written or from now on. */
  finishAdoption(): void {
    const now = this.#times.nowNs()
    const ids = new Set([...this.#held.values()].map(({ id }) => id))
    const left: (readonly [string, Held])[] = []
    for (const id of usedSlots(this.#memory)) {
      if (ids.has(id)) continue
      const record = readBackend(this.#memory, id)
      // No while is longer than ours: such an end was written by somebody else.
      const isForever = record.drainUntilNs === 0n || record.drainUntilNs > now + this.#times.drainNs
      if (!isForever && record.drainUntilNs <= now) continue
      // Two slots of one name: the one that is in use is the backend, the other one waits for its end.
      const name = this.#held.has(nameOf(record, record.protocol)) ? `slot ${id}` : nameOf(record, record.protocol)
      const held = this.#adopted(record, { id, generation: record.generation }, name)
      held.leavesNs = isForever ? now + this.#times.drainNs : record.drainUntilNs
      if (isForever) writeDrain(this.#memory, id, held.leavesNs)
      left.push([name, held])
    }
    left.sort(([, a], [, b]) => Number((a.leavesNs ?? 0n) - (b.leavesNs ?? 0n)))
    for (const [name, held] of left) this.#leaving.set(name, held)
    this.#adoptSources()
  }

  /** By address: how many backends it has; for the table of addresses. */
  *sources(): Iterable<string> {
    for (const [name, held] of this.#held) if (isSource(name, held)) yield held.backend.address
  }

  #adopted(record: BackendRecord, ref: BackendRef, name = nameOf(record, record.protocol)): Held {
    const known = this.#held.get(name)
    if (known !== undefined) return known
    const held: Held = {
      backend: placed(record),
      protocol: record.protocol,
      id: ref.id,
      generation: ref.generation,
      settledNs: 0n,
      uses: new Few(),
      leavesNs: undefined,
      isFresh: false,
      isSourceEdited: false,
    }
    this.#places.keep(ref.id)
    this.#held.set(name, held)
    this.#byId[ref.id] = held
    this.#ids.reserve(ref.id)
    this.#counters.adopt(ref)
    return held
  }

  #adoptSources(): void {
    const keys = new Map<string, Held>()
    for (const [name, held] of this.#held) {
      const key = keyOf(held)
      if (key !== undefined && isSource(name, held)) keys.set(key.join(), held)
    }
    for (const [key, value] of [...this.#sources.entries()]) {
      const held = keys.get(key.join())
      if (held === undefined) this.#sources.delete(key)
      else Object.assign(held, { settledNs: decodeSettled(value) })
    }
    for (const held of keys.values()) this.#writeSource(held)
  }

  #make(name: string, backend: Backend, protocol: Protocol): Held {
    if (this.#addresses.of(backend.address).frontends > 0)
      throw new HeraldError('ERR_ADDRESS', `${backend.address} is a served address and cannot be one of a backend too`)
    if (backend.node === undefined) this.#addresses.add(backend.address, 'sources', 1)
    try {
      const now = this.#times.nowNs()
      const id = this.#ids.take(now)
      const last = this.#lastGeneration(id)
      // 0 is what a slot that was never used holds.
      const generation = last === 0xffffffff ? 1 : last + 1
      this.#counters.begin({ id, generation })
      writeBackend(this.#memory, id, { ...backend, protocol, generation, drainUntilNs: resting })
      const held: Held = {
        backend: backendOf(backend),
        protocol,
        id,
        generation,
        settledNs: this.#settledNs(now),
        uses: new Few(),
        leavesNs: undefined,
        isFresh: true,
        isSourceEdited: false,
      }
      this.#places.keep(id)
      this.#held.set(name, held)
      this.#byId[id] = held
      return held
    } catch (error) {
      if (backend.node === undefined) this.#addresses.add(backend.address, 'sources', -1)
      throw error
    }
  }

  /** Of those that come in one millisecond it is one number: each is memory, and there are thousands. */
  #settledNs(nowNs: bigint): bigint {
    const settledNs = nowNs + this.#times.settleNs
    if (settledNs - this.#lastSettledNs > 1_000_000n) this.#lastSettledNs = settledNs
    return this.#lastSettledNs
  }

  /** Of an id that was taken. */
  #lastGeneration(id: number): number {
    try {
      if (!this.#isReached(id)) this.#memory = this.#shared.reach((id + 1) * sizes.backend)
    } catch (error) {
      this.#ids.give(id, this.#times.nowNs())
      throw error
    }
    return readGeneration(this.#memory, id)
  }

  /** False when somebody else wrote over it. */
  #isIntact({ id, generation }: BackendRef): boolean {
    return readGeneration(this.#memory, id) === generation && this.#places.isAsWritten(id)
  }

  #write({ backend, protocol, id, generation }: Held): void {
    writeBackend(this.#memory, id, { ...backend, protocol, generation, drainUntilNs: resting })
  }

  /** Its node has another address now: what is handed on to it goes there from here on, flows that exist too. */
  #move(held: Held, backend: Backend): void {
    writeNode(this.#memory, held.id, backend.node)
    held.backend = backendOf(backend)
    this.#places.keep(held.id)
  }

  #free(name: string, held: Held): void {
    this.#held.delete(name)
    this.#byId[held.id] = undefined
    this.#leaving.delete(name)
    const now = this.#times.nowNs()
    writeDrain(this.#memory, held.id, now)
    this.#ids.give(held.id, now)
    if (!isSource(name, held)) return
    const key = keyOf(held)
    if (key !== undefined) this.#sources.delete(key)
    this.#addresses.add(held.backend.address, 'sources', -1)
  }

  #stateOf({ uses, leavesNs }: Held): bigint {
    if (uses.size === 0) return leavesNs ?? this.#times.nowNs()
    for (const { rests } of uses.values()) if (!rests) return 0n
    return resting
  }

  #writeState(held: Held): void {
    writeDrain(this.#memory, held.id, this.#stateOf(held))
  }

  #isSourceIntact(held: Held): boolean {
    if (held.backend.node !== undefined) return true
    const key = keyOf(held)
    const value = key === undefined ? undefined : this.#sources.get(key)
    return value !== undefined && Buffer.compare(value, this.#sourceOf(held)) === 0
  }

  #sourceOf(held: Held): Uint8Array {
    const { settledNs, uses } = held
    return encodeSource({ vips: vipsOf(held), count: uses.size, backend: held, settledNs })
  }

  #writeSource(held: Held): void {
    if (held.backend.node !== undefined) return
    const key = keyOf(held)
    if (key !== undefined) this.#sources.put(key, this.#sourceOf(held))
    held.isSourceEdited = false
  }
}

/** Node ports behind all others: only of those a pod may be the only one. */
function vipsOf({ uses }: Held): Iterable<Use> {
  if (uses.size === 1) return uses.values()
  const all = [...uses.values()]
  const isOfNode = ({ address }: Use): boolean => isAnyNodeAddress(address)
  return all.some(isOfNode) ? [...all.filter((use) => !isOfNode(use)), ...all.filter(isOfNode)] : all
}

/** What was here and is elsewhere now is another backend: a pod does not move. */
export function nameOf(backend: Backend, protocol: Protocol): string {
  return backend.node === undefined ? placeName(backend, protocol) : `${placeName(backend, protocol)} elsewhere`
}

/** The same on every node, for the table. */
export function placeName({ address, port }: Backend, protocol: Protocol): string {
  return `${address}:${port}/${protocol}`
}

/** Without a weight; where it has none the same one: of thousands one object each is enough. */
function backendOf(backend: Backend): Backend {
  return backend.weight === undefined ? backend : placed(backend)
}

function placed({ address, port, node }: Backend): Backend {
  return node === undefined ? { address, port } : { address, port, node }
}

function keyOf({ backend: { address, port }, protocol }: Held): Uint8Array | undefined {
  return encodeFrontendKey({ address, port, protocol })
}

/** Whether its replies leave here. */
function isSource(name: string, { backend }: Held): boolean {
  return backend.node === undefined && !name.startsWith('slot ')
}
