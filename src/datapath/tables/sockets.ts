/**
 * What sockets on this node are connected to, written and read back through the maps of the socket programs. A socket
 * meets the old backends of a frontend or the new ones; a crash between any two steps leaves what was in force, and
 * what is superfluous goes when the table is built again. Pure.
 *
 *     upsert:  members, a new list of backends -> frontend -> the old list and members go
 *     remove:  frontend -> list and members
 */
import { HeraldError } from '../../errors.ts'
import { frontendId, type Backend, type Frontend } from '../../desired/model.ts'
import { sameValue } from '../../desired/same-value.ts'
import { compareAddresses, parseAddress } from '../../ip/address.ts'
import type { MapUsage, SocketChoice } from '../datapath.ts'
import { decodeFrontendKey, encodeFrontendKey } from '../layout.ts'
import type { MapStore } from '../maps.ts'
import {
  decodeEndpoint,
  decodeMember,
  decodePlace,
  decodeSocketFrontend,
  encodeEndpoint,
  encodeMember,
  encodePlace,
  encodeSocketFrontend,
  encodeState,
  isResting,
  type memberStates,
  type SocketFrontendRecord,
  type SocketMapName,
} from '../socket-layout.ts'

export interface SocketMaps {
  store(name: SocketMapName): MapStore
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

type State = keyof typeof memberStates
/** By the octets of the endpoint. */
type Members = ReadonlyMap<string, { readonly endpoint: Uint8Array; readonly state: State }>

interface Entry {
  readonly key: Uint8Array
  readonly record: SocketFrontendRecord
  readonly members: Members
}

export class SocketTable {
  readonly #frontends: MapStore
  readonly #backends: MapStore
  readonly #members: MapStore
  readonly #entries = new Map<string, Entry>()
  #nextService = 1
  #listed = 0
  #memberCount = 0

  /** Takes over what the maps hold. */
  constructor(maps: SocketMaps) {
    this.#frontends = maps.store('socket_frontends')
    this.#backends = maps.store('socket_backends')
    this.#members = maps.store('socket_members')
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
    const resting = [...entry.members.values()].filter(({ endpoint }) => {
      const state = this.#members.get(encodeMember(service, endpoint))
      return state !== undefined && isResting(state)
    })
    return {
      id,
      backends: sorted(list.flatMap((each) => (each === undefined ? [] : [decodeEndpoint(each)]))),
      resting: sorted(resting.map(({ endpoint }) => decodeEndpoint(endpoint))),
      affinitySec,
    }
  }

  /** Who is behind a frontend; undefined when it is not held. */
  choices(id: string): SocketChoice | undefined {
    const held = this.read(id)
    if (held === undefined) return undefined
    const of = (list: readonly Backend[], state: SocketChoice[number]['state']): SocketChoice =>
      list.map((backend) => ({ ...backend, state }))
    return [...of(held.backends, 'active'), ...of(held.resting, 'resting')].sort(byPlace)
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
   * Of a frontend that is held as it is wanted nothing is written. Throws ERR_ADDRESS, ERR_MAP_FULL, ERR_SYSCALL; then
   * what was in force still is.
   */
  upsert(frontend: Frontend): void {
    const key = encodeFrontendKey(frontend)
    if (key === undefined) throw new HeraldError('ERR_ADDRESS', `${frontend.address} is no address that can be served`)
    const members = membersOf(frontend)
    const before = this.#entries.get(frontend.id)
    if (this.isHeld(frontend)) return
    const active = [...members.values()].filter(({ state }) => state === 'active')
    const record: SocketFrontendRecord = {
      service: before?.record.service ?? this.#nextService,
      // 0 is the list of none; after 2^32 changes the first ones are long gone.
      table: ((before?.record.table ?? 0) + 1) >>> 0,
      backends: active.length,
      affinitySec: frontend.affinitySec ?? 0,
    }
    const entry: Entry = { key, record, members }
    try {
      for (const { endpoint, state } of members.values())
        this.#members.put(encodeMember(record.service, endpoint), encodeState(state))
      for (const [index, { endpoint }] of active.entries())
        this.#backends.put(encodePlace({ ...record, index }), endpoint)
      this.#frontends.put(key, encodeSocketFrontend(record))
    } catch (error) {
      this.#takeBack(entry, before)
      throw error
    }
    if (before === undefined) this.#nextService++
    this.#entries.set(frontend.id, entry)
    this.#count(entry, 1)
    if (before !== undefined) this.#forget(before, members)
  }

  /** Idempotent. */
  remove(id: string): void {
    const entry = this.#entries.get(id)
    if (entry === undefined) return
    this.#frontends.delete(entry.key)
    this.#entries.delete(id)
    this.#forget(entry, new Map())
  }

  usage(): readonly MapUsage[] {
    const fill: readonly (readonly [MapStore, number])[] = [
      [this.#frontends, this.#entries.size],
      [this.#backends, this.#listed],
      [this.#members, this.#memberCount],
    ]
    return fill.map(([{ name, maxEntries }, entries]) => ({ name, entries, maxEntries }))
  }

  /** What a failed upsert wrote; members that were there before are as they were. */
  #takeBack(entry: Entry, before: Entry | undefined): void {
    const { service } = entry.record
    for (let index = 0; index < entry.record.backends; index++)
      this.#backends.delete(encodePlace({ ...entry.record, index }))
    for (const [name, { endpoint }] of entry.members) {
      const state = before?.members.get(name)?.state
      if (state === undefined) this.#members.delete(encodeMember(service, endpoint))
      else this.#members.put(encodeMember(service, endpoint), encodeState(state))
    }
  }

  /** The list of an entry, and its members but for those that stay. */
  #forget(entry: Entry, stay: Members): void {
    const { record, members } = entry
    for (let index = 0; index < record.backends; index++) this.#backends.delete(encodePlace({ ...record, index }))
    for (const [name, { endpoint }] of members)
      if (!stay.has(name)) this.#members.delete(encodeMember(record.service, endpoint))
    this.#count(entry, -1)
  }

  #count({ record, members }: Entry, sign: 1 | -1): void {
    this.#listed += sign * record.backends
    this.#memberCount += sign * members.size
  }

  #adopt(): void {
    const records = new Map<number, SocketFrontendRecord>()
    const members = new Map<number, Map<string, { endpoint: Uint8Array; state: State }>>()
    const found = [...this.#frontends.entries()].map(([key, value]) => ({ key, record: decodeSocketFrontend(value) }))
    for (const { record } of found) records.set(record.service, record)
    for (const [key, value] of this.#members.entries()) {
      const { service } = decodeMember(key)
      const endpoint = key.slice(0, key.length - 4)
      const state: State = isResting(value) ? 'resting' : 'active'
      const group = members.get(service) ?? new Map<string, { endpoint: Uint8Array; state: State }>()
      members.set(service, group.set(endpoint.join(), { endpoint, state }))
      // Of a frontend that a crash kept from being written, or that was removed.
      if (!records.has(service)) this.#members.delete(key)
    }
    for (const [key] of this.#backends.entries()) {
      const { service, table, index } = decodePlace(key)
      const record = records.get(service)
      if (record?.table !== table || index >= record.backends) this.#backends.delete(key)
    }
    for (const { key, record } of found) {
      const { address, protocol, port } = decodeFrontendKey(key)
      const entry = { key, record, members: members.get(record.service) ?? new Map() }
      this.#entries.set(frontendId(address, protocol, port), entry)
      this.#count(entry, 1)
      this.#nextService = Math.max(this.#nextService, record.service + 1)
    }
  }
}

/** Each once; who takes new connections does not rest. Throws ERR_ADDRESS. */
function membersOf({ address, backends, resting = [] }: Frontend): Members {
  const members = new Map<string, { readonly endpoint: Uint8Array; readonly state: State }>()
  const isIpv6 = address.includes(':')
  for (const [list, state] of [
    [resting, 'resting'],
    [backends, 'active'],
  ] as const)
    for (const backend of list) {
      const endpoint = encodeEndpoint(backend)
      if (endpoint === undefined || backend.address.includes(':') !== isIpv6)
        throw new HeraldError('ERR_ADDRESS', `${backend.address} cannot be a backend of ${address}`)
      members.set(endpoint.join(), { endpoint, state })
    }
  return members
}

function sameMembers(a: Members, b: Members): boolean {
  return a.size === b.size && [...a].every(([name, { state }]) => b.get(name)?.state === state)
}

function sorted(backends: readonly Backend[]): readonly Backend[] {
  const unique = new Map(backends.map(({ address, port }) => [`${address} ${port}`, { address, port }]))
  return [...unique.values()].sort(byPlace)
}

function byPlace(a: Backend, b: Backend): number {
  return compareAddresses(parseAddress(a.address) ?? 0, parseAddress(b.address) ?? 0) || a.port - b.port
}
