/**
 * The octets of map keys and values, beside bpf/layout.h; a test compares both through the object's BTF. Addresses and
 * ports are in network order, everything else in that of the host (little endian on every platform we run on).
 */
import { formatAddress, parseIpv4 } from '../ip/address.ts'
import type { Backend, Protocol } from '../desired/model.ts'
import type { FrontendCounters } from './datapath.ts'

/** Part of the pin path: changes with any layout, so that programs and maps of two versions never meet. */
export const schema = 2

const ipProtocols: Readonly<Record<Protocol, number>> = { TCP: 6, UDP: 17 }

/** In the order of `enum reason`. */
export const reasonNames = [
  'echo_answered',
  'unowned_port',
  'unowned_protocol',
  'no_backend',
  'backend_gone',
  'answer_limited',
  'not_answerable',
  'bad_header',
  'fragment',
  'icmp_unmatched',
  'connections_full',
  'rewrite_failed',
] as const

/** `struct backend_ref`: a slot of a Maglev table. */
export interface BackendRef {
  readonly id: number
  readonly generation: number
}

/** `struct backend` */
export interface BackendRecord extends Backend {
  readonly generation: number
  readonly service: number
  /** 0n while it takes new connections. */
  readonly drainUntilNs: bigint
}

/** `struct frontend` */
export interface FrontendRecord {
  readonly service: number
  readonly backends: number
  /** The backend when there is exactly one. */
  readonly only: BackendRef
  readonly tableOffset: number
  readonly tableLength: number
}

export const sizes = {
  vipKey: 4,
  vip: 4,
  frontendKey: 8,
  frontend: 24,
  backend: 24,
  backendRef: 8,
  counters: 40,
  reason: 8,
} as const

interface MapShape {
  /** `memory` is an array that lies in the agent's memory too, `array` a per-CPU array, `lru` a hash that forgets. */
  readonly kind: 'hash' | 'lru' | 'array' | 'memory'
  readonly keyBytes: number
  /** Of one CPU. */
  readonly valueBytes: number
  readonly maxEntries: number
}

/** Every map of the programs, by its name there. */
export const mapShapes = {
  vips: { kind: 'hash', keyBytes: sizes.vipKey, valueBytes: sizes.vip, maxEntries: 16_384 },
  frontends: { kind: 'hash', keyBytes: sizes.frontendKey, valueBytes: sizes.frontend, maxEntries: 32_768 },
  backends: { kind: 'memory', keyBytes: 4, valueBytes: sizes.backend, maxEntries: 65_536 },
  tables: { kind: 'memory', keyBytes: 4, valueBytes: sizes.backendRef, maxEntries: 1 << 22 },
  connections: { kind: 'lru', keyBytes: 16, valueBytes: 32, maxEntries: 1 << 19 },
  fragments: { kind: 'lru', keyBytes: 12, valueBytes: 4, maxEntries: 8_192 },
  counters: { kind: 'array', keyBytes: 4, valueBytes: sizes.counters, maxEntries: 32_768 },
  reasons: { kind: 'array', keyBytes: 4, valueBytes: sizes.reason, maxEntries: reasonNames.length },
  limits: { kind: 'array', keyBytes: 4, valueBytes: 8, maxEntries: 5 << 8 },
} as const satisfies Readonly<Record<string, MapShape>>

export type MapName = keyof typeof mapShapes

export const mapNames = Object.keys(mapShapes) as readonly MapName[]

/** Byte offsets of each field, by the C names. */
export const offsets = {
  vip: { frontends: 0 },
  frontend_key: { address: 0, port: 4, protocol: 6, reserved: 7 },
  frontend: { service: 0, backends: 4, only: 8, table_offset: 16, table_length: 20 },
  backend_ref: { id: 0, generation: 4 },
  backend: { address: 0, port: 4, reserved: 6, generation: 8, service: 12, drain_until_ns: 16 },
  counters: { packets_in: 0, bytes_in: 8, packets_out: 16, bytes_out: 24, new_connections: 32 },
} as const

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** The 4 octets of an IPv4 address; undefined when the text is none. */
export function encodeVipKey(address: string): Uint8Array | undefined {
  const value = parseIpv4(address)
  if (value === undefined) return undefined
  const key = new Uint8Array(sizes.vipKey)
  viewOf(key).setUint32(0, value)
  return key
}

export function decodeVipKey(key: Uint8Array): string {
  return formatAddress(viewOf(key).getUint32(0))
}

export function encodeVip(frontends: number): Uint8Array {
  const value = new Uint8Array(sizes.vip)
  viewOf(value).setUint32(offsets.vip.frontends, frontends, true)
  return value
}

export function decodeVip(value: Uint8Array): number {
  return viewOf(value).getUint32(offsets.vip.frontends, true)
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

export function encodeFrontend(record: FrontendRecord): Uint8Array {
  const value = new Uint8Array(sizes.frontend)
  const view = viewOf(value)
  view.setUint32(offsets.frontend.service, record.service, true)
  view.setUint32(offsets.frontend.backends, record.backends, true)
  view.setUint32(offsets.frontend.only + offsets.backend_ref.id, record.only.id, true)
  view.setUint32(offsets.frontend.only + offsets.backend_ref.generation, record.only.generation, true)
  view.setUint32(offsets.frontend.table_offset, record.tableOffset, true)
  view.setUint32(offsets.frontend.table_length, record.tableLength, true)
  return value
}

export function decodeFrontend(value: Uint8Array): FrontendRecord {
  const view = viewOf(value)
  const word = (offset: number): number => view.getUint32(offset, true)
  return {
    service: word(offsets.frontend.service),
    backends: word(offsets.frontend.backends),
    only: { id: word(offsets.frontend.only), generation: word(offsets.frontend.only + offsets.backend_ref.generation) },
    tableOffset: word(offsets.frontend.table_offset),
    tableLength: word(offsets.frontend.table_length),
  }
}

export function readBackend(array: DataView, id: number): BackendRecord {
  const at = id * sizes.backend
  return {
    address: formatAddress(array.getUint32(at + offsets.backend.address)),
    port: array.getUint16(at + offsets.backend.port),
    generation: array.getUint32(at + offsets.backend.generation, true),
    service: array.getUint32(at + offsets.backend.service, true),
    drainUntilNs: array.getBigUint64(at + offsets.backend.drain_until_ns, true),
  }
}

/** The generation goes first and the end of draining last: whoever reads half of it holds no reference that matches. */
export function writeBackend(array: DataView, id: number, record: BackendRecord): void {
  const at = id * sizes.backend
  array.setUint32(at + offsets.backend.generation, record.generation, true)
  array.setUint32(at + offsets.backend.address, parseIpv4(record.address) ?? 0)
  array.setUint16(at + offsets.backend.port, record.port)
  array.setUint32(at + offsets.backend.service, record.service, true)
  array.setBigUint64(at + offsets.backend.drain_until_ns, record.drainUntilNs, true)
}

/** Ends new connections to a backend now and established ones at a time of CLOCK_MONOTONIC. */
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
