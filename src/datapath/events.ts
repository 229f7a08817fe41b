/** `struct event` of bpf/layout.h: what the programs tell of flows. Pure. */
import { formatAddress } from '../ip/address.ts'
import { offsets } from './layout.ts'
import { reasonNames, type ReasonName } from './reasons.ts'

/** In the order of `enum event_type`. */
export const packetEventTypes = ['new', 'close', 'rehash', 'drop'] as const

/** `led`: a socket was led to a backend; see socket-events.ts. */
export const eventTypes = [...packetEventTypes, 'led'] as const

export type EventType = (typeof eventTypes)[number]

/** In the order of `enum event_detail`. */
export const eventDetails = [
  'by_client',
  'by_pod',
  'fin',
  'reset_by_client',
  'reset_by_pod',
  'previous_table',
  'current_table',
  'half_restored',
  'forwarded',
  'second_chance',
] as const

export type EventDetail = (typeof eventDetails)[number]

export interface Endpoint {
  readonly address: string
  readonly port: number
}

/** How a socket asked. */
export type SocketEventDetail = 'by_connect' | 'by_send'

/** Of which socket an event is. */
export interface ClientSocket {
  readonly cookie: bigint
  /** Of cgroup v2: the inode of its folder. */
  readonly cgroup: bigint
  /** The id of the process on the host, and the name of its thread. */
  readonly process: number
  readonly command: string
}

/** One event as the kernel told it, without names. */
export interface DatapathEvent {
  /** CLOCK_MONOTONIC. */
  readonly timeNs: bigint
  readonly type: EventType
  readonly detail: EventDetail | SocketEventDetail | ReasonName
  readonly protocol: number
  readonly source: Endpoint
  readonly destination: Endpoint
  /** The pod of a flow; undefined for a packet that was dropped. */
  readonly backend: Endpoint | undefined
  readonly tcpFlags: number
  /** 0: not known. */
  readonly length: number
  /** Undefined: it is of a packet. Of a socket nothing else is known of whom it is: it has no address yet. */
  readonly socket?: ClientSocket
}

/** EVENT_TIME_SHIFT */
const timeShift = 10n
const timeMask = 0xffff_ffffn
const mappedPrefix = 0xffff

/** undefined for what this version does not know. `nowNs` is later than the event by less than an hour. */
export function decodeEvent(view: DataView, at: number, nowNs: bigint): DatapathEvent | undefined {
  const place = offsets.event
  const type = packetEventTypes[view.getUint8(at + place.type)]
  const number = view.getUint8(at + place.detail)
  const detail = type === 'drop' ? reasonNames[number] : eventDetails[number]
  if (type === undefined || detail === undefined) return undefined
  const endpoint = (address: number, port: number): Endpoint => ({
    address: addressText(view, at + address),
    port: view.getUint16(at + port),
  })
  const hasBackend = view.getUint32(at + place.backend + 8) !== 0 || view.getBigUint64(at + place.backend) !== 0n
  return {
    timeNs: fullTime(view.getUint32(at + place.time, true), nowNs),
    type,
    detail,
    protocol: view.getUint8(at + place.protocol),
    source: endpoint(place.source, place.source_port),
    destination: endpoint(place.destination, place.destination_port),
    backend: hasBackend ? endpoint(place.backend, place.backend_port) : undefined,
    tcpFlags: view.getUint8(at + place.tcp_flags),
    length: view.getUint16(at + place.length, true),
  }
}

/** The moment before now that ends in these bits. */
function fullTime(time: number, nowNs: bigint): bigint {
  const now = nowNs >> timeShift
  return (now - ((now - BigInt(time)) & timeMask)) << timeShift
}

/** An IPv4 address is mapped (RFC 4291 2.5.5.2). */
function addressText(view: DataView, at: number): string {
  const isMapped = view.getBigUint64(at) === 0n && view.getUint32(at + 8) === mappedPrefix
  if (isMapped) return formatAddress(view.getUint32(at + 12))
  let octets = ''
  for (let i = 0; i < 16; i++) octets += String.fromCharCode(view.getUint8(at + i))
  return formatAddress(octets)
}

/** `struct observation` with its end: what the programs compare with CLOCK_MONOTONIC. */
export function encodeObservation(untilNs: bigint, intervalNs: bigint): Uint8Array {
  const value = new DataView(new ArrayBuffer(16))
  value.setBigUint64(offsets.observation.until_ns, untilNs, true)
  value.setBigUint64(offsets.observation.interval_ns, intervalNs, true)
  return new Uint8Array(value.buffer)
}

/** `struct event_limit` of all CPUs: events that were not told, since the map was made. */
export function decodeUntold(perCpu: Uint8Array): number {
  const view = new DataView(perCpu.buffer, perCpu.byteOffset, perCpu.byteLength)
  let untold = 0n
  for (let at = 0; at < perCpu.length; at += 24)
    untold +=
      view.getBigUint64(at + offsets.event_limit.limited, true) + view.getBigUint64(at + offsets.event_limit.full, true)
  return Number(untold)
}
