/**
 * The octets of map keys and values, beside bpf/layout.h; a test compares both through the object's BTF. Addresses and
 * ports are in network order, everything else in that of the host (little endian on every platform we run on).
 */
import { formatAddress, parseIpv4 } from '../ip/address.ts'
import type { Backend, Protocol } from '../desired/model.ts'
import type { FrontendCounters } from './datapath.ts'
import { familyNames, reasonNames } from './reasons.ts'

/** Part of the pin path: changes with any layout, so that programs and maps of two versions never meet. */
export const schema = 2

const ipProtocols: Readonly<Record<Protocol, number>> = { TCP: 6, UDP: 17 }

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

interface TablePlace {
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
  /** References of backends that rest, in the map of tables. */
  readonly resting: TablePlace
}

/** How many VIPs a `struct source` names. */
const vipsPerSource = 4

/** `struct source`: the VIPs behind which a backend stands. */
export interface SourceRecord {
  /** The first {@link vipsPerSource} are written, all are counted. */
  readonly vips: readonly { readonly address: string; readonly port: number }[]
  readonly backend: BackendRef
  readonly settledNs: bigint
}

export const sizes = {
  addressKey: 4,
  address: 8,
  frontendKey: 8,
  frontend: 48,
  backend: 24,
  backendRef: 8,
  endpoint: 8,
  source: 56,
  counters: 40,
  reason: 8,
} as const

interface MapShape {
  /**
   * `memory` is an array that lies in the agent's memory too, `array` a per-CPU array, `perCpu` a per-CPU hash, `lru` a
   * hash that forgets.
   */
  readonly kind: 'hash' | 'lru' | 'array' | 'perCpu' | 'memory'
  readonly keyBytes: number
  /** Of one CPU. */
  readonly valueBytes: number
  readonly maxEntries: number
}

/** Every map of the programs, by its name there. */
export const mapShapes = {
  addresses: { kind: 'hash', keyBytes: sizes.addressKey, valueBytes: sizes.address, maxEntries: 1 << 17 },
  frontends: { kind: 'hash', keyBytes: sizes.frontendKey, valueBytes: sizes.frontend, maxEntries: 1 << 18 },
  backends: { kind: 'memory', keyBytes: 4, valueBytes: sizes.backend, maxEntries: 1 << 18 },
  tables: { kind: 'memory', keyBytes: 4, valueBytes: sizes.backendRef, maxEntries: 1 << 22 },
  sources: { kind: 'hash', keyBytes: sizes.frontendKey, valueBytes: sizes.source, maxEntries: 1 << 18 },
  openings: { kind: 'lru', keyBytes: 16, valueBytes: 40, maxEntries: 1 << 17 },
  connections: { kind: 'lru', keyBytes: 16, valueBytes: 40, maxEntries: 1 << 19 },
  datagrams: { kind: 'lru', keyBytes: 16, valueBytes: 40, maxEntries: 1 << 17 },
  fragments: { kind: 'lru', keyBytes: 12, valueBytes: 4, maxEntries: 8_192 },
  counters: { kind: 'perCpu', keyBytes: 4, valueBytes: sizes.counters, maxEntries: 1 << 18 },
  drops: {
    kind: 'array',
    keyBytes: 4,
    valueBytes: sizes.reason,
    maxEntries: reasonNames.length * familyNames.length,
  },
  limits: { kind: 'array', keyBytes: 4, valueBytes: 8, maxEntries: 5 << 8 },
} as const satisfies Readonly<Record<string, MapShape>>

export type MapName = keyof typeof mapShapes

/** Maps that the programs write; in the order in which a flow moves from one to the next. */
export const flowNames = ['openings', 'connections', 'datagrams', 'fragments'] as const satisfies readonly MapName[]

export const mapNames = Object.keys(mapShapes) as readonly MapName[]

/** Byte offsets of each field, by the C names. */
export const offsets = {
  address: { frontends: 0, sources: 4 },
  frontend_key: { address: 0, port: 4, protocol: 6, reserved: 7 },
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
  },
  backend_ref: { id: 0, generation: 4 },
  backend: { address: 0, port: 4, protocol: 6, reserved: 7, generation: 8, reserved2: 12, drain_until_ns: 16 },
  endpoint: { address: 0, port: 4, reserved: 6 },
  source: { vips: 0, count: 32, backend: 36, reserved: 44, settled_ns: 48 },
  counters: { packets_in: 0, bytes_in: 8, packets_out: 16, bytes_out: 24, new_connections: 32 },
} as const

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** The 4 octets of an IPv4 address; undefined when the text is none. */
export function encodeAddressKey(address: string): Uint8Array | undefined {
  const value = parseIpv4(address)
  if (value === undefined) return undefined
  const key = new Uint8Array(sizes.addressKey)
  viewOf(key).setUint32(0, value)
  return key
}

export function decodeAddressKey(key: Uint8Array): string {
  return formatAddress(viewOf(key).getUint32(0))
}

/** What an address is to the programs: a VIP while it has frontends, a backend's while it has sources. */
export interface AddressRecord {
  readonly frontends: number
  readonly sources: number
}

export function encodeAddress({ frontends, sources }: AddressRecord): Uint8Array {
  const value = new Uint8Array(sizes.address)
  viewOf(value).setUint32(offsets.address.frontends, frontends, true)
  viewOf(value).setUint32(offsets.address.sources, sources, true)
  return value
}

export function decodeAddress(value: Uint8Array): AddressRecord {
  const view = viewOf(value)
  return {
    frontends: view.getUint32(offsets.address.frontends, true),
    sources: view.getUint32(offsets.address.sources, true),
  }
}

export interface FrontendKey {
  readonly address: string
  readonly protocol: Protocol
  readonly port: number
}

/** undefined when the address is not IPv4. */
export function encodeFrontendKey(frontend: FrontendKey): Uint8Array | undefined {
  const address = parseIpv4(frontend.address)
  if (address === undefined) return undefined
  const key = new Uint8Array(sizes.frontendKey)
  const view = viewOf(key)
  view.setUint32(offsets.frontend_key.address, address)
  view.setUint16(offsets.frontend_key.port, frontend.port)
  view.setUint8(offsets.frontend_key.protocol, ipProtocols[frontend.protocol])
  return key
}

export function decodeFrontendKey(key: Uint8Array): FrontendKey {
  const view = viewOf(key)
  const isTcp = view.getUint8(offsets.frontend_key.protocol) === ipProtocols.TCP
  return {
    address: formatAddress(view.getUint32(offsets.frontend_key.address)),
    port: view.getUint16(offsets.frontend_key.port),
    protocol: isTcp ? 'TCP' : 'UDP',
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
  const value = new Uint8Array(sizes.frontend)
  const view = viewOf(value)
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
  return value
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
  }
}

export function encodeSource({ vips, backend, settledNs }: SourceRecord): Uint8Array {
  const value = new Uint8Array(sizes.source)
  const view = viewOf(value)
  for (const [i, { address, port }] of vips.slice(0, vipsPerSource).entries()) {
    view.setUint32(i * sizes.endpoint + offsets.endpoint.address, parseIpv4(address) ?? 0)
    view.setUint16(i * sizes.endpoint + offsets.endpoint.port, port)
  }
  view.setUint32(offsets.source.count, vips.length, true)
  writeRef(view, offsets.source.backend, backend)
  view.setBigUint64(offsets.source.settled_ns, settledNs, true)
  return value
}

/** When what is unknown at a source is no older flow any more. */
export function decodeSettled(value: Uint8Array): bigint {
  return viewOf(value).getBigUint64(offsets.source.settled_ns, true)
}

export function readGeneration(array: DataView, id: number): number {
  return array.getUint32(id * sizes.backend + offsets.backend.generation, true)
}

/** Address, port and protocol of a backend as the array holds them: in the order of addresses, then of ports. */
export function placeOf(array: DataView, id: number): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset + id * sizes.backend, offsets.backend.generation).slice()
}

export function isAtPlace(array: DataView, id: number, place: Uint8Array): boolean {
  const at = id * sizes.backend
  for (let i = 0; i < place.length; i++) if (array.getUint8(at + i) !== place[i]) return false
  return true
}

export function readBackend(array: DataView, id: number): BackendRecord {
  const at = id * sizes.backend
  return {
    address: formatAddress(array.getUint32(at + offsets.backend.address)),
    port: array.getUint16(at + offsets.backend.port),
    protocol: array.getUint8(at + offsets.backend.protocol) === ipProtocols.TCP ? 'TCP' : 'UDP',
    generation: array.getUint32(at + offsets.backend.generation, true),
    drainUntilNs: array.getBigUint64(at + offsets.backend.drain_until_ns, true),
  }
}

/** The generation goes first and the end of draining last: whoever reads half of it holds no reference that matches. */
export function writeBackend(array: DataView, id: number, record: BackendRecord): void {
  const at = id * sizes.backend
  array.setUint32(at + offsets.backend.generation, record.generation, true)
  array.setUint32(at + offsets.backend.address, parseIpv4(record.address) ?? 0)
  array.setUint16(at + offsets.backend.port, record.port)
  array.setUint8(at + offsets.backend.protocol, ipProtocols[record.protocol])
  array.setBigUint64(at + offsets.backend.drain_until_ns, record.drainUntilNs, true)
}

/** Ends new flows to a backend now and established ones at a time of CLOCK_MONOTONIC; 0n: it takes new ones. */
export function writeDrain(array: DataView, id: number, untilNs: bigint): void {
  array.setBigUint64(id * sizes.backend + offsets.backend.drain_until_ns, untilNs, true)
}

/** Sums the values of all CPUs, as a per-CPU map answers with them. */
export function decodeCounters(perCpu: Uint8Array): FrontendCounters {
  const view = viewOf(perCpu)
  const total = (field: keyof typeof offsets.counters): number => {
    let sum = 0
    for (let at = 0; at < perCpu.length; at += sizes.counters)
      sum += Number(view.getBigUint64(at + offsets.counters[field], true))
    return sum
  }
  return {
    packetsIn: total('packets_in'),
    bytesIn: total('bytes_in'),
    packetsOut: total('packets_out'),
    bytesOut: total('bytes_out'),
    newConnections: total('new_connections'),
  }
}
