/**
 * What a Cease means beyond its words (RFC 4486, RFC 8538): whether it is a fault, and what a real end looks like where
 * both sides keep routes over a NOTIFICATION.
 */
import { Cease, ErrorCode } from '../messages/numbers.ts'
import type { Octets } from './events.ts'

interface Notification {
  readonly code: number
  readonly subcode: number
  readonly data: Octets
}

/**
 * Somebody's decision, or the outcome of a collision: no fault, so that a router operator who clears the session has it
 * back every time. The others of RFC 4486 tell what would happen again at once (Maximum Number of Prefixes, Connection
 * Rejected, Out of Resources) and BFD Down (RFC 9384) a path that is broken: these back off like any fault.
 */
const decisions: ReadonlySet<number> = new Set([
  Cease.administrativeShutdown,
  Cease.peerDeconfigured,
  Cease.administrativeReset,
  Cease.otherConfigurationChange,
  Cease.connectionCollision,
])

/** Also inside a Hard Reset (RFC 8538 3). */
export function isDecision({ code, subcode, data }: Notification): boolean {
  if (code !== ErrorCode.cease) return false
  const [wrappedCode, wrappedSubcode = 0] = data
  return subcode === Cease.hardReset
    ? wrappedCode === ErrorCode.cease && decisions.has(wrappedSubcode)
    : decisions.has(subcode)
}

/** RFC 8538 3: ends the session for good, whatever was negotiated. */
export function isHardReset({ code, subcode }: Pick<Notification, 'code' | 'subcode'>): boolean {
  return code === ErrorCode.cease && subcode === Cease.hardReset
}

/**
 * RFC 8538 3.1: where both sides keep routes over a NOTIFICATION, a real end is a Hard Reset that carries the reason.
 * Every Cease of ours is one: shutdown, reset, de-configured, other configuration, too many prefixes. After none of
 * them do we keep what the peer sent, so it has to keep nothing either.
 */
export function finalCease(subcode: number, data: Octets, isNotificationRestart: boolean): Notification {
  return isNotificationRestart
    ? { code: ErrorCode.cease, subcode: Cease.hardReset, data: [ErrorCode.cease, subcode, ...data] }
    : { code: ErrorCode.cease, subcode, data }
}
