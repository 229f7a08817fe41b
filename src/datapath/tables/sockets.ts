/**
 * What sockets on this node are connected to, written and read back through the maps of the socket programs. A socket
 * meets the old backends of a frontend or the new ones; a crash between any two steps leaves what was in force, and
 * what is superfluous goes when the table is built again. Pure.
 *
 *     upsert:  members, a new list of backends -> frontend -> the old list and members go
 *     remove:  frontend -> list and members
 *
 * A backend of a weight is in its list as often as that: one of them is drawn. A list is written beside the one that
 * it replaces: a part of the room is kept for that. Where the rest is taken a frontend gets no more backends than it
 * had, of those that are wanted; a backend that is gone is always taken out.
 */
import { HeraldError } from '../../errors.ts'
import { frontendId, type Backend, type Frontend } from '../../desired/model.ts'
import { sameValue } from '../../desired/same-value.ts'
import { compareAddresses, parseAddress } from '../../ip/address.ts'
import type { MapUsage, SocketChoice } from '../datapath.ts'
import { encodeAddressKey } from '../address-octets.ts'
import { decodeFrontendKey, encodeFrontendKey } from '../layout.ts'
import { slotsOf } from '../maglev.ts'
import type { MapStore } from '../maps.ts'
import {
  decodeEndpoint,
  decodeMember,
  decodePlace,
  decodeSocketFrontend,
  decodeStanding,
  encodeEndpoint,
  encodeMember,
  encodePlace,
  encodeSocketFrontend,
  encodeStanding,
  type SocketFrontendRecord,
  type SocketStoreName,
  type Standing,
} from '../socket-layout.ts'

export interface SocketMaps {
  store(name: SocketStoreName): MapStore
}

/** What the maps hold of a frontend. */
export interface HeldSockets {
  readonly id: string
  /** Sorted by address and port. */
  readonly backends: readonly Backend[]
  readonly resting: readonly Backend[]
  /** 0: a client stays with no backend. */
  readonly affinitySec: number
}

type State = Standing['state']

interface Member {
  readonly endpoint: Uint8Array
  readonly state: State
  /** How often the list of those that take new connections has it. */
  readonly places: number
}

/** By the octets of the endpoint. */
type Members = ReadonlyMap<string, Member>

interface Entry {
  readonly key: Uint8Array
  readonly record: SocketFrontendRecord
  readonly members: Members
  /** How often sockets were led to backends that are gone, as far as this process knows. */
  readonly past: bigint
}

const isNode = Uint8Array.of(1, 0, 0, 0)

/** Of a map, for lists that are written beside those that they replace: one of sixteen entries. */
const keptForChanges = 1 / 16

export class SocketTable {
  readonly #frontends: MapStore
  readonly #backends: MapStore
  readonly #members: MapStore
  readonly #nodes: MapStore
  readonly #entries = new Map<string, Entry>()
  #nextService = 1
  #listed = 0
  #memberCount = 0

  /** Takes over what the maps hold. */
  constructor(maps: SocketMaps) {
    this.#frontends = maps.store('socket_frontends')
    this.#backends = maps.store('socket_backends')
    this.#members = maps.store('socket_members')
    this.#nodes = maps.store('socket_nodes')
    this.#adopt()
  }

  ids(): readonly string[] {
    return [...this.#entries.keys()]
  }

  /** As the maps hold it now; undefined when a socket would not be translated. */
  read(id: string): HeldSockets | undefined {
    const entry = this.#entries.get(id)
    const value = entry === undefined ? undefined : this.#frontends.get(entry.key)
    if (entry === undefined || value === undefined) return undefined
    const { service, table, backends, affinitySec } = decodeSocketFrontend(value)
    const list = Array.from({ length: backends }, (_, index) =>
      this.#backends.get(encodePlace({ service, table, index })),
    )
    const listed = list.flatMap((endpoint) => (endpoint === undefined ? [] : [endpoint]))
    const resting = [...entry.members.values()].filter(
      ({ endpoint }) => this.#standing(entry.key, endpoint)?.state === 'resting',
    )
    return {
      id,
      backends: sorted(listed.filter((each) => this.#standing(entry.key, each) !== undefined).map(decodeEndpoint)),
      resting: sorted(resting.map(({ endpoint }) => decodeEndpoint(endpoint))),
      affinitySec,
    }
  }

  /** Who is behind a frontend, and how often sockets were led there; undefined when it is not held. */
  choices(id: string): SocketChoice | undefined {
    const entry = this.#entries.get(id)
    if (entry === undefined) return undefined
    const backends = [...entry.members.values()].flatMap(({ endpoint }) => {
      const standing = this.#standing(entry.key, endpoint)
      if (standing === undefined) return []
      return { ...decodeEndpoint(endpoint), state: standing.state, chosen: Number(standing.chosen) }
    })
    const chosen = backends.reduce((sum, each) => sum + each.chosen, Number(entry.past))
    return { chosen, backends: backends.sort(byPlace) }
  }

  /** The maps hold exactly what is wanted. Throws ERR_ADDRESS. */
  isHeld(frontend: Frontend): boolean {
    const { id, affinitySec = 0 } = frontend
    const members = membersOf(frontend)
    const known = this.#entries.get(id)?.members
    if (known === undefined || !sameMembers(known, members)) return false
    const named = (wanted: State): readonly Backend[] =>
      sorted(
        [...members.values()].flatMap(({ endpoint, state }) => (state === wanted ? [decodeEndpoint(endpoint)] : [])),
      )
    return sameValue(this.read(id), { id, backends: named('active'), resting: named('resting'), affinitySec })
  }

  /**
   * Of a frontend that is held as it is wanted nothing is written. Throws ERR_ADDRESS and ERR_SYSCALL: what was in
   * force still is. Throws ERR_MAP_FULL: so many of the wanted ones are in force as there were before.
   */
  upsert(frontend: Frontend): void {
    const key = encodeFrontendKey(frontend)?.slice()
    if (key === undefined) throw new HeraldError('ERR_ADDRESS', `${frontend.address} is no address that can be served`)
    const members = membersOf(frontend)
    if (this.isHeld(frontend)) return
    const before = this.#entries.get(frontend.id)
    try {
      this.#checkRoom(frontend, members, before)
      this.#write(frontend, key, members, before)
    } catch (error) {
      if (before !== undefined && isFull(error)) this.#fit(frontend, before, members)
      throw error
    }
  }

  /** Idempotent. */
  remove(id: string): void {
    const entry = this.#entries.get(id)
    if (entry === undefined) return
    this.#frontends.delete(entry.key)
    this.#entries.delete(id)
    this.#forget(entry, new Map())
  }

  /**
   * Exactly these are addresses of other nodes, at which a frontend of any address of a node is asked for; what is no
   * address is none. Throws ERR_MAP_FULL and ERR_SYSCALL: none that is not wanted is held then.
   */
  setNodes(addresses: readonly string[]): void {
    const keys = addresses.flatMap((address) => encodeAddressKey(address) ?? [])
    const wanted = new Map(keys.map((key) => [key.join(), key]))
    for (const [key] of [...this.#nodes.entries()]) if (!wanted.delete(key.join())) this.#nodes.delete(key)
    for (const key of wanted.values()) this.#nodes.put(key, isNode)
  }

  usage(): readonly MapUsage[] {
    const fill: readonly (readonly [MapStore, number])[] = [
      [this.#frontends, this.#entries.size],
      [this.#backends, this.#listed],
      [this.#members, this.#memberCount],
      [this.#nodes, this.#nodes.used()],
    ]
    return fill.map(([{ name, maxEntries }, entries]) => ({ name, entries, maxEntries }))
  }

  #standing(frontend: Uint8Array, endpoint: Uint8Array): Required<Standing> | undefined {
    const value = this.#members.get(encodeMember(frontend, endpoint))
    return value === undefined ? undefined : decodeStanding(value)
  }

  /** Throws ERR_MAP_FULL for what would take more of the maps than before. */
  #checkRoom({ service }: Frontend, members: Members, before: Entry | undefined): void {
    const active = listOf(members).length
    for (const [{ name, maxEntries }, taken, had, wanted] of [
      [this.#backends, this.#listed, before?.record.backends ?? 0, active],
      [this.#members, this.#memberCount, before?.members.size ?? 0, members.size],
    ] as const) {
      const room = maxEntries - Math.floor(maxEntries * keptForChanges) - (taken - had)
      if (wanted <= had || wanted <= room) continue
      const message = `map ${name} has room for ${Math.max(0, room)} more of its ${maxEntries} entries`
      throw new HeraldError('ERR_MAP_FULL', `${service} has ${wanted} backends at this port, and ${message}`)
    }
  }

  #write({ id, affinitySec = 0 }: Frontend, key: Uint8Array, members: Members, before: Entry | undefined): void {
    const list = listOf(members)
    const record: SocketFrontendRecord = {
      service: before?.record.service ?? this.#nextService,
      // 0 is the list of none; after 2^32 changes the first ones are long gone.
      table: ((before?.record.table ?? 0) + 1) >>> 0,
      backends: list.length,
      affinitySec,
    }
    const entry: Entry = { key, record, members, past: before?.past ?? 0n }
    try {
      for (const member of members.values()) this.#putMember(key, member)
      for (const [index, { endpoint }] of list.entries())
        this.#backends.put(encodePlace({ ...record, index }), endpoint)
      this.#frontends.put(key, encodeSocketFrontend(record))
    } catch (error) {
      this.#takeBack(entry, before)
      throw error
    }
    if (before === undefined) this.#nextService++
    this.#count(entry, 1)
    const past = before === undefined ? 0n : before.past + this.#forget(before, members)
    this.#entries.set(id, { ...entry, past })
  }

  /** Who stays keeps his count, but for what is counted in this moment. */
  #putMember(frontend: Uint8Array, { endpoint, state }: Member): void {
    const held = this.#standing(frontend, endpoint)
    if (held?.state === state) return
    this.#members.put(encodeMember(frontend, endpoint), encodeStanding({ state, chosen: held?.chosen ?? 0n }))
  }

  /** There is no room for all that is wanted. */
  #fit(frontend: Frontend, before: Entry, members: Members): void {
    const fitting = fittingOf(members, before)
    if (sameMembers(fitting, before.members)) return
    try {
      this.#write(frontend, before.key, fitting, before)
    } catch (error) {
      if (!isFull(error)) throw error
      this.#prune(frontend.id, before, members)
    }
  }

  /** Whoever is gone is taken by no socket any more: the list names him, and the members do not. */
  #prune(id: string, before: Entry, members: Members): void {
    const left = new Map([...before.members].filter(([name]) => members.has(name)))
    const entry = { ...before, members: left, past: before.past + this.#forgetMembers(before, left) }
    this.#memberCount += left.size - before.members.size
    this.#entries.set(id, entry)
  }

  /** What a failed write wrote; members that were there before are as they were. */
  #takeBack(entry: Entry, before: Entry | undefined): void {
    for (let index = 0; index < entry.record.backends; index++)
      this.#backends.delete(encodePlace({ ...entry.record, index }))
    for (const [name, { endpoint }] of entry.members) {
      const member = before?.members.get(name)
      if (member === undefined) this.#members.delete(encodeMember(entry.key, endpoint))
      else this.#putMember(entry.key, member)
    }
  }

  /** The list of an entry, and its members but for those that stay; answers how often those that went were chosen. */
  #forget(entry: Entry, stay: Members): bigint {
    for (let index = 0; index < entry.record.backends; index++)
      this.#backends.delete(encodePlace({ ...entry.record, index }))
    this.#count(entry, -1)
    return this.#forgetMembers(entry, stay)
  }

  #forgetMembers({ key, members }: Entry, stay: Members): bigint {
    let chosen = 0n
    for (const [name, { endpoint }] of members) {
      if (stay.has(name)) continue
      chosen += this.#standing(key, endpoint)?.chosen ?? 0n
      this.#members.delete(encodeMember(key, endpoint))
    }
    return chosen
  }

  #count({ record, members }: Entry, sign: 1 | -1): void {
    this.#listed += sign * record.backends
    this.#memberCount += sign * members.size
  }

  #adopt(): void {
    const found = [...this.#frontends.entries()].map(([key, value]) => ({ key, record: decodeSocketFrontend(value) }))
    const members = new Map(found.map(({ key }) => [key.join(), new Map<string, Member>()]))
    for (const [key, value] of this.#members.entries()) {
      const { frontend, endpoint } = decodeMember(key)
      const group = members.get(frontend.join())
      // Of a frontend that a crash kept from being written, or that was removed.
      if (group === undefined) this.#members.delete(key)
      else group.set(endpoint.join(), { endpoint, state: decodeStanding(value).state, places: 0 })
    }
    const records = new Map(found.map((each) => [each.record.service, each]))
    for (const [key, endpoint] of [...this.#backends.entries()]) {
      const { service, table, index } = decodePlace(key)
      const { record, key: frontend } = records.get(service) ?? {}
      const group = members.get(frontend?.join() ?? '')
      const member = group?.get(endpoint.join())
      if (record?.table !== table || index >= record.backends) this.#backends.delete(key)
      else if (member !== undefined) group?.set(endpoint.join(), { ...member, places: member.places + 1 })
    }
    for (const { key, record } of found) {
      const { address, protocol, port } = decodeFrontendKey(key)
      const entry = { key, record, members: members.get(key.join()) ?? new Map<string, Member>(), past: 0n }
      this.#entries.set(frontendId(address, protocol, port), entry)
      this.#count(entry, 1)
      this.#nextService = Math.max(this.#nextService, record.service + 1)
    }
  }
}

const isFull = (error: unknown): boolean => error instanceof HeraldError && error.code === 'ERR_MAP_FULL'

/** Those that take new connections, each as often as it has places. */
function listOf(members: Members): readonly Member[] {
  return [...members.values()].flatMap((member) => new Array<Member>(member.places).fill(member))
}

/** Of those that are wanted as many as there are now, each in one place: first who is there already. */
function fittingOf(members: Members, { record, members: known }: Entry): Members {
  const active = [...members].filter(([, { state }]) => state === 'active')
  const [there, others] = [active.filter(([name]) => known.has(name)), active.filter(([name]) => !known.has(name))]
  const resting = [...members].filter(([name, { state }]) => state === 'resting' && known.has(name))
  const room = known.size - resting.length
  const kept = [...there, ...others].slice(0, Math.min(record.backends, room))
  return new Map([...resting, ...kept.map(([name, member]) => [name, { ...member, places: 1 }] as const)])
}

/** Each once; who takes new connections does not rest. Throws ERR_ADDRESS. */
function membersOf({ address, backends, resting = [] }: Frontend): Members {
  const members = new Map<string, Member>()
  const isIpv6 = address.includes(':')
  const places = placesOf(backends)
  for (const [list, state] of [
    [resting, 'resting'],
    [backends, 'active'],
  ] as const)
    for (const [index, backend] of list.entries()) {
      const endpoint = encodeEndpoint(backend)
      if (endpoint === undefined || backend.address.includes(':') !== isIpv6)
        throw new HeraldError('ERR_ADDRESS', `${backend.address} cannot be a backend of ${address}`)
      members.set(endpoint.join(), { endpoint, state, places: state === 'active' ? (places[index] ?? 1) : 0 })
    }
  return members
}

/** With many or with large weights a list is no longer than this, and shares are right to one of its places. */
const [leastPlaces, placesEach] = [64, 16]

/** How often each is in the list; none: once each. */
function placesOf(backends: readonly Backend[]): ArrayLike<number> {
  if (backends.every(({ weight }) => weight === undefined)) return []
  const weights = backends.map(({ weight = 1 }) => weight)
  const divisor = weights.reduce(commonDivisor)
  const sum = weights.reduce((total, weight) => total + weight, 0) / divisor
  return slotsOf(weights, Math.min(sum, Math.max(leastPlaces, placesEach * weights.length)))
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b)
}

function sameMembers(a: Members, b: Members): boolean {
  const isSame = ([name, { state, places }]: readonly [string, Member]): boolean =>
    b.get(name)?.state === state && b.get(name)?.places === places
  return a.size === b.size && [...a].every(isSame)
}

function byPlace(a: Backend, b: Backend): number {
  return compareAddresses(parseAddress(a.address) ?? 0, parseAddress(b.address) ?? 0) || a.port - b.port
}

function sorted(backends: readonly Backend[]): readonly Backend[] {
  const unique = new Map(backends.map(({ address, port }) => [`${address} ${port}`, { address, port }]))
  return [...unique.values()].sort(byPlace)
}
