/**
 * RFC 4271 4.1: marker(16 x ff) length(2) type(1). Framing (RFC 4271 6.1) checks marker, length bounds by type and by
 * what was
 * negotiated, and type, before it waits for the body.
 */
import { Writer } from './writer.ts'
import { ErrorCode, MessageType } from './numbers.ts'
import type { NotificationFault } from './types.ts'

export const headerBytes = 19
export const defaultMaxMessageBytes = 4096
/** RFC 8654. */
export const extendedMaxMessageBytes = 65535

/** NOTIFICATION data is a bounded copy: nothing a peer sends is echoed at length. */
export const maxFaultDataBytes = 64

export type Frame =
  | { readonly kind: 'more' }
  /** `body` is a view without the header; `length` is that of the whole message. */
  | { readonly kind: 'frame'; readonly type: number; readonly body: Uint8Array; readonly length: number }
  | { readonly kind: 'fault'; readonly fault: NotificationFault }

const minimumUpdateBytes = 23

const minimumBytes: Readonly<Record<number, number>> = {
  [MessageType.open]: 29,
  [MessageType.update]: minimumUpdateBytes,
  [MessageType.notification]: 21,
  [MessageType.keepalive]: headerBytes,
  [MessageType.routeRefresh]: 23,
}

const more: Frame = { kind: 'more' }

/** The message that starts at `start`, as far as `end` shows it. */
export function frameMessage(bytes: Uint8Array, start: number, end: number, maxMessageBytes: number): Frame {
  const available = end - start
  for (let i = 0; i < 16 && i < available; i++) {
    if (bytes[start + i] !== 0xff) return fault(1, new Uint8Array(0), 'the marker is not all ones')
  }
  if (available < headerBytes) return more
  const length = ((bytes[start + 16] as number) << 8) | (bytes[start + 17] as number)
  const type = bytes[start + 18] as number
  const isKnown = minimumBytes[type] !== undefined
  // OPEN and KEEPALIVE stay at 4096 (RFC 8654 4).
  const maximum = type === MessageType.open || type === MessageType.keepalive ? defaultMaxMessageBytes : maxMessageBytes
  const isBad =
    length < (minimumBytes[type] ?? headerBytes) ||
    length > maximum ||
    (type === MessageType.keepalive && length !== headerBytes)
  if (isBad)
    return fault(2, bytes.slice(start + 16, start + 18), `length ${length} is out of bounds for message type ${type}`)
  if (!isKnown) return fault(3, Uint8Array.of(type), `unknown message type ${type}`)
  if (available < length) return more
  return { kind: 'frame', type, body: bytes.subarray(start + headerBytes, start + length), length }
}

/**
 * The length of the message that starts at `start` when it is an UPDATE, all of it is there and nothing is wrong with
 * its header; else 0, and {@link frameMessage} tells.
 */
export function wholeUpdate(bytes: Uint8Array, start: number, end: number, maxMessageBytes: number): number {
  if (end - start < minimumUpdateBytes || bytes[start + 18] !== MessageType.update) return 0
  for (let at = start; at < start + 16; at++) if (bytes[at] !== 0xff) return 0
  const length = ((bytes[start + 16] as number) << 8) | (bytes[start + 17] as number)
  return length < minimumUpdateBytes || length > maxMessageBytes || length > end - start ? 0 : length
}

function fault(subcode: number, data: Uint8Array, reason: string): Frame {
  return { kind: 'fault', fault: { code: ErrorCode.messageHeader, subcode, data, reason } }
}

/** A writer that holds the header of a message; {@link finishMessage} sets its length. */
export function startMessage(type: number, capacity = 256): Writer {
  const writer = new Writer(capacity)
  writer.u32(0xffffffff).u32(0xffffffff).u32(0xffffffff).u32(0xffffffff)
  return writer.u16(0).u8(type)
}

export function finishMessage(writer: Writer): Uint8Array {
  return writer.patch16(16, writer.length).finish()
}
