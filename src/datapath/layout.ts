/**
 * The octets of map keys and values, beside bpf/layout.h; a test compares both through the object's BTF. Addresses and
 * ports are in network order, everything else in that of the host (little endian on every platform we run on).
 */
import { formatAddress } from '../ip/address.ts'
import { parsePrefix, prefixAddress, prefixFamily, prefixLength } from '../ip/prefix.ts'
import type { Backend, Protocol } from '../desired/model.ts'
import {
  addressOf,
  drafted,
  encodeAddressKey,
  passingOf,
  putAddress,
  readAddress,
  readOptional,
  viewOf,
  writeAddress,
  writeOptional,
} from './address-octets.ts'
import { familyNames, reasonNames } from './reasons.ts'

/** Part of the pin path: changes with any layout, so that programs and maps of two versions never meet. */
export const schema = 5

/** As IANA numbers them. */
export const ipProtocols: Readonly<Record<Protocol, number>> = { TCP: 6, UDP: 17, SCTP: 132 }

/** Of a key or record that this program wrote; anything else is read as UDP. */
function protocolOf(number: number): Protocol {
  return number === ipProtocols.TCP ? 'TCP' : number === ipProtocols.SCTP ? 'SCTP' : 'UDP'
}

/** `struct backend_ref`: a slot of a Maglev table. */
export interface BackendRef {
  readonly id: number
  readonly generation: number
}

/** `struct backend`: an address, port and protocol, whatever frontends it has. */
export interface BackendRecord extends Backend {
  readonly protocol: Protocol
  readonly generation: number
  /** 0n while it takes new flows, {@link resting} while only established ones go on, else the end of those. */
  readonly drainUntilNs: bigint
}

/** RESTING: established flows go on, for however long. */
export const resting = 0xffff_ffff_ffff_ffffn

export interface TablePlace {
  readonly offset: number
  readonly length: number
}

/** `struct frontend` */
export interface FrontendRecord {
  readonly service: number
  readonly backends: number
  /** The backend when there is exactly one. */
  readonly only: BackendRef
  readonly table: TablePlace
  /** What was in force before: for packets of flows whose state is not here. */
  readonly previous: TablePlace
  readonly previousOnly: BackendRef
  /** CLOCK_MONOTONIC: until then it is asked. */
  readonly previousUntilNs: bigint
  /** References of backends that rest, in the map of tables. */
  readonly resting: TablePlace
  /** The set of ranges from which flows may come; 0: from anywhere. */
  readonly ranges: number
  /** How long a client stays with its backend; 0: not at all. */
  readonly affinitySec: number
  /** With which backends it may stay, in the map of tables: see tables/members.ts. */
  readonly members: TablePlace
  /** CLOCK_MONOTONIC: what clients chose before does not count. */
  readonly affinitySinceNs: bigint
}

/** How many VIPs a `struct source` names. */
const vipsPerSource = 4

/** `struct source`: the VIPs behind which a backend stands. */
export interface SourceRecord {
  /** The first {@link vipsPerSource} are written. */
  readonly vips: Iterable<{ readonly address: string; readonly port: number }>
  readonly count: number
  readonly backend: BackendRef
  readonly settledNs: bigint
}

export const sizes = {
  ipAddress: 16,
  address: 16,
  frontendKey: 20,
  frontend: 80,
  rangeKey: 24,
  affinityKey: 20,
  affinity: 16,
  backend: 48,
  backendRef: 8,
  endpoint: 20,
  source: 104,
  counters: 56,
  backendCounters: 64,
  tunnel: 40,
  node: 4,
  forward: 16,
  translation: 68,
  snatDraft: 220,
  heldFragment: 2_052,
  reason: 8,
  event: 64,
  observation: 16,
  eventLimit: 24,
} as const

/** Kinds of events that have a limit of their own: the types, then the reasons of drops. */
const eventKinds = 4 + reasonNames.length
const dropKinds = reasonNames.length * familyNames.length

interface MapShape {
  /**
   * `memory` is an array that lies in the agent's memory too, `array` a per-CPU array of a fixed size, `perCpu` one
   * that grows, `lru` a hash that forgets, `lpm` a trie in which the longest prefix is found, `ring` a ring buffer,
   * whose entries are octets.
   */
  readonly kind: 'hash' | 'lru' | 'lpm' | 'array' | 'perCpu' | 'memory' | 'ring'
  readonly keyBytes: number
  /** Of one CPU. */
  readonly valueBytes: number
  readonly maxEntries: number
}

/** Every map of the programs, by its name there. */
export const mapShapes = {
  addresses: { kind: 'hash', keyBytes: sizes.ipAddress, valueBytes: sizes.address, maxEntries: 1 << 17 },
  frontends: { kind: 'hash', keyBytes: sizes.frontendKey, valueBytes: sizes.frontend, maxEntries: 1 << 18 },
  backends: { kind: 'memory', keyBytes: 4, valueBytes: sizes.backend, maxEntries: 1 << 18 },
  tables: { kind: 'memory', keyBytes: 4, valueBytes: sizes.backendRef, maxEntries: 1 << 22 },
  nodes: { kind: 'hash', keyBytes: sizes.ipAddress, valueBytes: sizes.node, maxEntries: 1 << 13 },
  tunnels: { kind: 'memory', keyBytes: 4, valueBytes: sizes.tunnel, maxEntries: 1 },
  links: { kind: 'hash', keyBytes: 4, valueBytes: 4, maxEntries: 1 << 12 },
  permit: { kind: 'memory', keyBytes: 4, valueBytes: 8, maxEntries: 1 },
  sources: { kind: 'hash', keyBytes: sizes.frontendKey, valueBytes: sizes.source, maxEntries: 1 << 18 },
  openings: { kind: 'lru', keyBytes: 40, valueBytes: 52, maxEntries: 1 << 17 },
  connections: { kind: 'lru', keyBytes: 40, valueBytes: 52, maxEntries: 1 << 19 },
  datagrams: { kind: 'lru', keyBytes: 40, valueBytes: 52, maxEntries: 1 << 17 },
  forwards: { kind: 'lru', keyBytes: 40, valueBytes: sizes.forward, maxEntries: 1 << 17 },
  snat_openings: { kind: 'lru', keyBytes: 40, valueBytes: sizes.translation, maxEntries: 1 << 15 },
  snat: { kind: 'lru', keyBytes: 40, valueBytes: sizes.translation, maxEntries: 1 << 16 },
  snat_drafts: { kind: 'array', keyBytes: 4, valueBytes: sizes.snatDraft, maxEntries: 1 },
  fragments: { kind: 'lru', keyBytes: 40, valueBytes: 8, maxEntries: 8_192 },
  held: { kind: 'lru', keyBytes: 44, valueBytes: sizes.heldFragment, maxEntries: 2_048 },
  holders: { kind: 'lru', keyBytes: sizes.ipAddress, valueBytes: 8, maxEntries: 4_096 },
  held_draft: { kind: 'array', keyBytes: 4, valueBytes: sizes.heldFragment, maxEntries: 1 },
  ranges: { kind: 'lpm', keyBytes: sizes.rangeKey, valueBytes: 4, maxEntries: 1 << 16 },
  affinity: { kind: 'lru', keyBytes: sizes.affinityKey, valueBytes: sizes.affinity, maxEntries: 1 << 16 },
  counters: { kind: 'perCpu', keyBytes: 4, valueBytes: sizes.counters, maxEntries: 1 << 14 },
  backend_counts: { kind: 'perCpu', keyBytes: 4, valueBytes: sizes.backendCounters, maxEntries: 1 << 15 },
  drops: { kind: 'array', keyBytes: 4, valueBytes: sizes.reason, maxEntries: dropKinds },
  limits: { kind: 'array', keyBytes: 4, valueBytes: 8, maxEntries: 7 << 8 },
  unkept: { kind: 'memory', keyBytes: 4, valueBytes: 8, maxEntries: 3 },
  scratch: { kind: 'array', keyBytes: 4, valueBytes: 72, maxEntries: 2 },
  passages: { kind: 'array', keyBytes: 4, valueBytes: 224, maxEntries: 1 },
  choices: { kind: 'array', keyBytes: 4, valueBytes: 112, maxEntries: 1 },
  events: { kind: 'ring', keyBytes: 0, valueBytes: 0, maxEntries: 1 << 20 },
  observation: { kind: 'memory', keyBytes: 4, valueBytes: sizes.observation, maxEntries: 1 },
  event_limits: { kind: 'array', keyBytes: 4, valueBytes: sizes.eventLimit, maxEntries: eventKinds },
  event_draft: { kind: 'array', keyBytes: 4, valueBytes: sizes.event, maxEntries: 1 },
} as const satisfies Readonly<Record<string, MapShape>>

export type MapName = keyof typeof mapShapes

/** Maps that the programs write; in the order in which a flow moves from one to the next. */
export const flowNames = [
  'openings',
  'connections',
  'datagrams',
  'forwards',
  'snat_openings',
  'snat',
  'fragments',
  'affinity',
] as const satisfies readonly MapName[]

export const mapNames = Object.keys(mapShapes) as readonly MapName[]

/** Byte offsets of each field, by the C names. */
export const offsets = {
  address: { frontends: 0, sources: 4, ranges: 8, tunnel: 12, node_ports: 14 },
  ip_address: { high: 0, low: 12 },
  frontend_key: { address: 0, port: 16, protocol: 18, reserved: 19 },
  frontend: {
    service: 0,
    backends: 4,
    only: 8,
    table_offset: 16,
    table_length: 20,
    previous_offset: 24,
    previous_length: 28,
    previous_only: 32,
    resting_offset: 40,
    resting: 44,
    ranges: 48,
    affinity_sec: 52,
    members_offset: 56,
    members_length: 60,
    affinity_since_ns: 64,
    previous_until_ns: 72,
  },
  range_key: { prefix_length: 0, set: 4, source: 8 },
  affinity_key: { client: 0, service: 16 },
  affinity: { backend: 0, begun_ns: 8 },
  backend_ref: { id: 0, generation: 4 },
  backend: { address: 0, port: 16, protocol: 18, reserved: 19, node: 20, generation: 36, drain_until_ns: 40 },
  tunnel: { ipv4: 0, ipv6: 16, port: 32, snat_first: 34, snat_ports: 36, reserved: 38 },
  node: { flags: 0 },
  forward: { backend: 0, service: 8, flags: 12 },
  endpoint: { address: 0, port: 16, reserved: 18 },
  source: { vips: 0, count: 80, backend: 84, reserved: 92, settled_ns: 96 },
  counters: {
    packets_in: 0,
    bytes_in: 8,
    packets_out: 16,
    bytes_out: 24,
    new_connections: 32,
    packets_forwarded: 40,
    bytes_forwarded: 48,
  },
  backend_counters: { generation: 0, reserved: 4, counters: 8 },
  event: {
    source: 0,
    destination: 16,
    backend: 32,
    time: 48,
    source_port: 52,
    destination_port: 54,
    backend_port: 56,
    length: 58,
    type: 60,
    detail: 61,
    protocol: 62,
    tcp_flags: 63,
  },
  observation: { until_ns: 0, interval_ns: 8 },
  event_limit: { debt_until_ns: 0, limited: 8, full: 16 },
} as const

/**
 * What an address is to the programs: a VIP while it has frontends, a backend's while it has sources, this node's own
 * for packets that other nodes hand on.
 */
export interface AddressRecord {
  readonly frontends: number
  readonly sources: number
  /** The set of ranges to which the VIP itself answers; 0: everybody. */
  readonly ranges: number
  readonly tunnel: number
  /** 1: node ports are served there. */
  readonly nodePorts: number
}

export function encodeAddress({ frontends, sources, ranges, tunnel, nodePorts }: AddressRecord): Uint8Array {
  const view = drafted(sizes.address)
  view.setUint32(offsets.address.frontends, frontends, true)
  view.setUint32(offsets.address.sources, sources, true)
  view.setUint32(offsets.address.ranges, ranges, true)
  view.setUint16(offsets.address.tunnel, tunnel, true)
  view.setUint16(offsets.address.node_ports, nodePorts, true)
  return passingOf(sizes.address)
}

export function decodeAddress(value: Uint8Array): AddressRecord {
  const view = viewOf(value)
  return {
    frontends: view.getUint32(offsets.address.frontends, true),
    sources: view.getUint32(offsets.address.sources, true),
    ranges: view.getUint32(offsets.address.ranges, true),
    tunnel: view.getUint16(offsets.address.tunnel, true),
    nodePorts: view.getUint16(offsets.address.node_ports, true),
  }
}

export interface FrontendKey {
  readonly address: string
  readonly protocol: Protocol
  readonly port: number
}

/** undefined when the address is none that {@link encodeAddressKey} knows. */
export function encodeFrontendKey(frontend: FrontendKey): Uint8Array | undefined {
  const address = addressOf(frontend.address)
  if (address === undefined) return undefined
  const view = drafted(sizes.frontendKey)
  putAddress(view, offsets.frontend_key.address, address)
  view.setUint16(offsets.frontend_key.port, frontend.port)
  view.setUint8(offsets.frontend_key.protocol, ipProtocols[frontend.protocol])
  return passingOf(sizes.frontendKey)
}

export function decodeFrontendKey(key: Uint8Array): FrontendKey {
  const view = viewOf(key)
  return {
    address: readAddress(view, offsets.frontend_key.address),
    port: view.getUint16(offsets.frontend_key.port),
    protocol: protocolOf(view.getUint8(offsets.frontend_key.protocol)),
  }
}

function writeRef(view: DataView, at: number, { id, generation }: BackendRef): void {
  view.setUint32(at + offsets.backend_ref.id, id, true)
  view.setUint32(at + offsets.backend_ref.generation, generation, true)
}

function readRef(view: DataView, at: number): BackendRef {
  return {
    id: view.getUint32(at + offsets.backend_ref.id, true),
    generation: view.getUint32(at + offsets.backend_ref.generation, true),
  }
}

export function encodeFrontend(record: FrontendRecord): Uint8Array {
  const view = drafted(sizes.frontend)
  view.setUint32(offsets.frontend.service, record.service, true)
  view.setUint32(offsets.frontend.backends, record.backends, true)
  writeRef(view, offsets.frontend.only, record.only)
  writeRef(view, offsets.frontend.previous_only, record.previousOnly)
  view.setUint32(offsets.frontend.table_offset, record.table.offset, true)
  view.setUint32(offsets.frontend.table_length, record.table.length, true)
  view.setUint32(offsets.frontend.previous_offset, record.previous.offset, true)
  view.setUint32(offsets.frontend.previous_length, record.previous.length, true)
  view.setUint32(offsets.frontend.resting_offset, record.resting.offset, true)
  view.setUint32(offsets.frontend.resting, record.resting.length, true)
  view.setUint32(offsets.frontend.ranges, record.ranges, true)
  view.setUint32(offsets.frontend.affinity_sec, record.affinitySec, true)
  view.setUint32(offsets.frontend.members_offset, record.members.offset, true)
  view.setUint32(offsets.frontend.members_length, record.members.length, true)
  view.setBigUint64(offsets.frontend.affinity_since_ns, record.affinitySinceNs, true)
  view.setBigUint64(offsets.frontend.previous_until_ns, record.previousUntilNs, true)
  return passingOf(sizes.frontend)
}

export function decodeFrontend(value: Uint8Array): FrontendRecord {
  const view = viewOf(value)
  const word = (offset: number): number => view.getUint32(offset, true)
  return {
    service: word(offsets.frontend.service),
    backends: word(offsets.frontend.backends),
    only: readRef(view, offsets.frontend.only),
    table: { offset: word(offsets.frontend.table_offset), length: word(offsets.frontend.table_length) },
    previous: { offset: word(offsets.frontend.previous_offset), length: word(offsets.frontend.previous_length) },
    previousOnly: readRef(view, offsets.frontend.previous_only),
    resting: { offset: word(offsets.frontend.resting_offset), length: word(offsets.frontend.resting) },
    ranges: word(offsets.frontend.ranges),
    affinitySec: word(offsets.frontend.affinity_sec),
    members: { offset: word(offsets.frontend.members_offset), length: word(offsets.frontend.members_length) },
    affinitySinceNs: view.getBigUint64(offsets.frontend.affinity_since_ns, true),
    previousUntilNs: view.getBigUint64(offsets.frontend.previous_until_ns, true),
  }
}

/** `struct range_key`: a source range of a set. The family of a prefix is that of the set. */
export interface RangeKey {
  readonly set: number
  readonly prefix: string
}

const setBits = 32
const mappedBits = 96

/** undefined when the prefix is none. */
export function encodeRangeKey({ set, prefix }: RangeKey): Uint8Array | undefined {
  const parsed = parsePrefix(prefix)
  const source = parsed === undefined ? undefined : encodeAddressKey(formatAddress(prefixAddress(parsed)))
  if (parsed === undefined || source === undefined) return undefined
  const key = new Uint8Array(sizes.rangeKey)
  const view = viewOf(key)
  const bits = prefixLength(parsed) + (prefixFamily(parsed) === 'ipv4' ? mappedBits : 0)
  view.setUint32(offsets.range_key.prefix_length, setBits + bits, true)
  view.setUint32(offsets.range_key.set, set, true)
  key.set(source, offsets.range_key.source)
  return key
}

export function decodeRangeKey(key: Uint8Array): RangeKey {
  const view = viewOf(key)
  const address = readAddress(view, offsets.range_key.source)
  const bits = view.getUint32(offsets.range_key.prefix_length, true) - setBits
  const length = address.includes(':') ? bits : bits - mappedBits
  return { set: view.getUint32(offsets.range_key.set, true), prefix: `${address}/${length}` }
}

export function encodeSource({ vips, count, backend, settledNs }: SourceRecord): Uint8Array {
  const view = drafted(sizes.source)
  let at = 0
  for (const { address, port } of vips) {
    if (at === vipsPerSource * sizes.endpoint) break
    writeAddress(view, at + offsets.endpoint.address, address)
    view.setUint16(at + offsets.endpoint.port, port)
    at += sizes.endpoint
  }
  view.setUint32(offsets.source.count, count, true)
  writeRef(view, offsets.source.backend, backend)
  view.setBigUint64(offsets.source.settled_ns, settledNs, true)
  return passingOf(sizes.source)
}

/** When what is unknown at a source is no older flow any more. */
export function decodeSettled(value: Uint8Array): bigint {
  return viewOf(value).getBigUint64(offsets.source.settled_ns, true)
}

/** 0n, {@link resting}, or the end of draining. */
export function readDrain(array: DataView, id: number): bigint {
  return array.getBigUint64(id * sizes.backend + offsets.backend.drain_until_ns, true)
}

export function readGeneration(array: DataView, id: number): number {
  return array.getUint32(id * sizes.backend + offsets.backend.generation, true)
}

/** Of all slots that were ever used; there may be hundreds of thousands. */
export function usedSlots(array: DataView): readonly number[] {
  const words = new Uint32Array(array.buffer, array.byteOffset, array.byteLength / 4)
  const slots: number[] = []
  const wordsPerSlot = sizes.backend / 4
  for (let slot = 0, word = offsets.backend.generation / 4; word < words.length; slot++, word += wordsPerSlot)
    if (words[word] !== 0) slots.push(slot)
  return slots
}

export function readBackend(array: DataView, id: number): BackendRecord {
  const at = id * sizes.backend
  const node = readOptional(array, at + offsets.backend.node)
  return {
    ...(node === undefined ? {} : { node }),
    address: readAddress(array, at + offsets.backend.address),
    port: array.getUint16(at + offsets.backend.port),
    protocol: protocolOf(array.getUint8(at + offsets.backend.protocol)),
    generation: array.getUint32(at + offsets.backend.generation, true),
    drainUntilNs: array.getBigUint64(at + offsets.backend.drain_until_ns, true),
  }
}

/** The generation goes first and the end of draining last: whoever reads half of it holds no reference that matches. */
export function writeBackend(array: DataView, id: number, record: BackendRecord): void {
  const at = id * sizes.backend
  array.setUint32(at + offsets.backend.generation, record.generation, true)
  writeAddress(array, at + offsets.backend.address, record.address)
  array.setUint16(at + offsets.backend.port, record.port)
  array.setUint8(at + offsets.backend.protocol, ipProtocols[record.protocol])
  array.setUint8(at + offsets.backend.reserved, 0)
  writeNode(array, id, record.node)
  array.setBigUint64(at + offsets.backend.drain_until_ns, record.drainUntilNs, true)
}

export function writeNode(array: DataView, id: number, node: string | undefined): void {
  writeOptional(array, id * sizes.backend + offsets.backend.node, node)
}

/** Ends new flows to a backend now and established ones at a time of CLOCK_MONOTONIC; 0n: it takes new ones. */
export function writeDrain(array: DataView, id: number, untilNs: bigint): void {
  array.setBigUint64(id * sizes.backend + offsets.backend.drain_until_ns, untilNs, true)
}
