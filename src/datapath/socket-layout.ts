/**
 * The octets of the maps of the socket programs, beside bpf/socket.h; a test compares both through the object's BTF.
 * Pure.
 */
import type { Backend } from '../desired/model.ts'
import { decodeAddressKey, encodeAddressKey } from './address-octets.ts'
import { sizes } from './layout.ts'

/** Part of the pin path: changes with any layout. */
export const socketSchema = 2

export const socketSizes = {
  frontend: 16,
  place: 12,
  endpoint: 20,
  member: 40,
  standing: 16,
  client: 16,
  choice: 32,
  connected: 48,
  pair: 48,
  sent: 784,
  event: 88,
} as const

/** Byte offsets of each field, by the C names. */
export const socketOffsets = {
  socket_frontend: { service: 0, table: 4, backends: 8, affinity_sec: 12 },
  socket_place: { service: 0, table: 4, index: 8 },
  socket_member: { frontend: 0, backend: 20 },
  socket_standing: { state: 0, reserved: 4, chosen: 8 },
  socket_client: { netns: 0, service: 8, reserved: 12 },
  socket_choice: { begun_ns: 0, backend: 8, reserved: 28 },
  socket_connected: { lock: 0, reserved: 4, frontend: 8, backend: 28 },
  socket_pair: { frontend: 0, backend: 20, used: 40 },
  socket_sent: { lock: 0, reserved: 4, count: 8, pairs: 16 },
  socket_event: {
    ...{ time_ns: 0, cookie: 8, cgroup: 16, frontend: 24, backend: 44, process: 64 },
    ...{ type: 68, protocol: 69, reserved: 70, command: 72 },
  },
} as const

export interface SocketMapShape {
  /** `storage`: what sockets keep for themselves, of which nobody has a list. `array`: per CPU; `word`: of all. */
  readonly kind: 'hash' | 'lru' | 'array' | 'word' | 'storage' | 'ring'
  readonly keyBytes: number
  /** Of one CPU. */
  readonly valueBytes: number
  readonly maxEntries: number
}

/** Every map of the socket programs, by its name there. */
export const socketMapShapes = {
  socket_frontends: { kind: 'hash', keyBytes: 20, valueBytes: socketSizes.frontend, maxEntries: 1 << 18 },
  socket_backends: {
    kind: 'hash',
    keyBytes: socketSizes.place,
    valueBytes: socketSizes.endpoint,
    maxEntries: 1 << 20,
  },
  socket_members: {
    kind: 'hash',
    keyBytes: socketSizes.member,
    valueBytes: socketSizes.standing,
    maxEntries: 1 << 20,
  },
  socket_nodes: { kind: 'hash', keyBytes: 16, valueBytes: 4, maxEntries: 1 << 14 },
  socket_affinity: {
    kind: 'lru',
    keyBytes: socketSizes.client,
    valueBytes: socketSizes.choice,
    maxEntries: 1 << 16,
  },
  sockets_connected: { kind: 'storage', keyBytes: 4, valueBytes: socketSizes.connected, maxEntries: 0 },
  sockets_sent: { kind: 'storage', keyBytes: 4, valueBytes: socketSizes.sent, maxEntries: 0 },
  socket_counts: { kind: 'array', keyBytes: 4, valueBytes: 8, maxEntries: 3 },
  socket_events: { kind: 'ring', keyBytes: 0, valueBytes: 0, maxEntries: 1 << 18 },
  socket_observation: { kind: 'word', keyBytes: 4, valueBytes: sizes.observation, maxEntries: 1 },
  socket_event_limits: { kind: 'array', keyBytes: 4, valueBytes: sizes.eventLimit, maxEntries: 3 },
} as const satisfies Readonly<Record<string, SocketMapShape>>

export type SocketMapName = keyof typeof socketMapShapes
export const socketMapNames = Object.keys(socketMapShapes) as readonly SocketMapName[]
/** Those of sockets themselves, and of who looks. */
const noStores = [
  ...['sockets_connected', 'sockets_sent'],
  ...['socket_events', 'socket_observation', 'socket_event_limits'],
] as const
/** Those that say what sockets are led to, and how many were. */
export type SocketStoreName = Exclude<SocketMapName, (typeof noStores)[number]>
export const socketStoreNames = socketMapNames.filter(
  (name): name is SocketStoreName => !(noStores as readonly SocketMapName[]).includes(name),
)

/** enum socket_state: takes new connections; or only what goes on. */
const memberStates = { active: 1, resting: 2 } as const

export interface SocketFrontendRecord {
  readonly service: number
  /** Which list of its backends is in force. */
  readonly table: number
  readonly backends: number
  readonly affinitySec: number
}

export interface SocketPlace {
  readonly service: number
  readonly table: number
  readonly index: number
}

const viewOf = (octets: Uint8Array): DataView => new DataView(octets.buffer, octets.byteOffset, octets.byteLength)

function words(values: readonly number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer)
}

const wordAt = (octets: Uint8Array, at: number): number => viewOf(octets).getUint32(at, true)

export function encodeSocketFrontend({ service, table, backends, affinitySec }: SocketFrontendRecord): Uint8Array {
  return words([service, table, backends, affinitySec])
}

export function decodeSocketFrontend(value: Uint8Array): SocketFrontendRecord {
  const { service, table, backends, affinity_sec } = socketOffsets.socket_frontend
  return {
    service: wordAt(value, service),
    table: wordAt(value, table),
    backends: wordAt(value, backends),
    affinitySec: wordAt(value, affinity_sec),
  }
}

export function encodePlace({ service, table, index }: SocketPlace): Uint8Array {
  return words([service, table, index])
}

export function decodePlace(key: Uint8Array): SocketPlace {
  const { service, table, index } = socketOffsets.socket_place
  return { service: wordAt(key, service), table: wordAt(key, table), index: wordAt(key, index) }
}

/** `struct endpoint`; undefined when the address is none. */
export function encodeEndpoint({ address, port }: Backend): Uint8Array | undefined {
  const octets = encodeAddressKey(address)
  if (octets === undefined) return undefined
  const value = new Uint8Array(socketSizes.endpoint)
  value.set(octets)
  viewOf(value).setUint16(octets.length, port)
  return value
}

export function decodeEndpoint(value: Uint8Array): Backend {
  return { address: decodeAddressKey(value), port: viewOf(value).getUint16(16) }
}

/** Both as {@link encodeFrontendKey} and {@link encodeEndpoint} have them. */
export function encodeMember(frontend: Uint8Array, endpoint: Uint8Array): Uint8Array {
  const key = new Uint8Array(socketSizes.member)
  key.set(frontend)
  key.set(endpoint, socketOffsets.socket_member.backend)
  return key
}

export function decodeMember(key: Uint8Array): { readonly frontend: Uint8Array; readonly endpoint: Uint8Array } {
  const { frontend, backend } = socketOffsets.socket_member
  return { frontend: key.slice(frontend, backend), endpoint: key.slice(backend) }
}

export interface Standing {
  readonly state: keyof typeof memberStates
  /** How often sockets were led to it; `undefined` counts as never. */
  readonly chosen?: bigint
}

export function encodeStanding({ state, chosen = 0n }: Standing): Uint8Array {
  const value = new Uint8Array(socketSizes.standing)
  const { state: stateAt, chosen: chosenAt } = socketOffsets.socket_standing
  viewOf(value).setUint32(stateAt, memberStates[state], true)
  viewOf(value).setBigUint64(chosenAt, chosen, true)
  return value
}

export function decodeStanding(value: Uint8Array): Required<Standing> {
  const { state, chosen } = socketOffsets.socket_standing
  return {
    state: wordAt(value, state) === memberStates.resting ? 'resting' : 'active',
    chosen: viewOf(value).getBigUint64(chosen, true),
  }
}
