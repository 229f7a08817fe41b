/** NOTIFICATION, RFC 4271 4.5:  code:u8 subcode:u8 data */
import { finishMessage, startMessage } from './header.ts'
import { Cease, ErrorCode, errorNames, MessageType } from './numbers.ts'
import type { NotificationMessage } from './types.ts'

export function encodeNotification(notification: {
  readonly code: number
  readonly subcode: number
  readonly data: Uint8Array
}): Uint8Array {
  const writer = startMessage(MessageType.notification, 21 + notification.data.length)
  return finishMessage(writer.u8(notification.code).u8(notification.subcode).bytes(notification.data))
}

/**
 * A hard reset (RFC 8538 3) that wraps the longest shutdown communication (RFC 9003 2): code, subcode, length, text.
 */
const maxDataBytes = 2 + 1 + 255

/** `body` has at least two octets (framing saw to it). Data beyond what any RFC puts there is cut. */
export function decodeNotification(body: Uint8Array): NotificationMessage {
  return { type: 'notification', code: body[0] ?? 0, subcode: body[1] ?? 0, data: body.slice(2, 2 + maxDataBytes) }
}

/**
 * `Cease/Administrative Shutdown "text"`: names of RFC 4271, 4486, 6608, 9003, 9384, 9687; unknown numbers stay
 * numbers.
 * A hard reset names what it wraps: `Cease/Hard Reset: Cease/Administrative Reset` (RFC 8538 3).
 */
export function notificationText(code: number, subcode: number, data: Uint8Array): string {
  const [wrappedCode, wrappedSubcode] = data
  const isWrapping =
    code === ErrorCode.cease && subcode === Cease.hardReset && wrappedCode !== undefined && wrappedSubcode !== undefined
  // Once, and no deeper: a hard reset in a hard reset is nothing that anybody means.
  return isWrapping
    ? `${oneText(code, subcode, data)}: ${oneText(wrappedCode, wrappedSubcode, data.subarray(2))}`
    : oneText(code, subcode, data)
}

function oneText(code: number, subcode: number, data: Uint8Array): string {
  const [name, subcodes] = errorNames[code] ?? [`code ${code}`, {}]
  const detail = subcodes[subcode] ?? (subcode === 0 ? undefined : `subcode ${subcode}`)
  const text =
    code === ErrorCode.cease && (subcode === Cease.administrativeShutdown || subcode === Cease.administrativeReset)
      ? shutdownText(data)
      : undefined
  return `${name}${detail === undefined ? '' : `/${detail}`}${text === undefined || text === '' ? '' : ` "${text}"`}`
}

/** RFC 9003 shutdown communication: length:u8 text, at most 255 octets of UTF-8, cut at a character. */
export function encodeShutdownText(text: string): Uint8Array {
  const room = new Uint8Array(255)
  const { written } = new TextEncoder().encodeInto(text, room)
  const data = new Uint8Array(1 + written)
  data[0] = written
  data.set(room.subarray(0, written), 1)
  return data
}

/**
 * What a terminal, a log or a page would act on instead of showing: control, format (direction, joiners), private
 * and unassigned characters, separators of lines, and the two that quoting needs.
 */
const unshown = /[\p{C}\p{Zl}\p{Zp}"\\]/gu

/** The text of a shutdown communication, in one line that is safe to show; undefined when its length is wrong. */
export function shutdownText(data: Uint8Array): string | undefined {
  const length = data[0]
  if (length === undefined || length > data.length - 1) return undefined
  const text = new TextDecoder().decode(data.subarray(1, 1 + length))
  return text.replace(unshown, (character) => {
    const hex = (character.codePointAt(0) ?? 0).toString(16)
    return hex.length > 4 ? `\\u{${hex}}` : `\\u${hex.padStart(4, '0')}`
  })
}
