/**
 * The two connections that one peer may have for a while (RFC 4271 6.8, 8.2.1), and which of them is the session.
 *
 *     session    the connection that we dial, wait with, or that carries the session
 *     candidate  one that the peer opened, or ours that met one: nobody's until an OPEN proves who speaks on it
 *
 *     peer connects --admit--> candidate --OPEN--> judgeOpen --> becomes the session, or yields to it
 *
 * Trust comes with an OPEN: a connection without one displaces nothing, is shown nowhere, and what it does is charged
 * to nobody.
 */
import { isHardReset, isDecision } from './cease.ts'
import type { FsmAction, FsmEvent, FsmState } from './events.ts'
import type { Agreement } from './negotiate.ts'

export type Direction = 'outgoing' | 'incoming'

export interface Speaker {
  /** BGP Identifier, unsigned. */
  readonly bgpId: number
  readonly asn: number
}

/** What counts of a connection. */
export interface ConnectionView {
  readonly state: FsmState
  readonly direction: Direction
  /** TCP is up. */
  readonly isConnected: boolean
  /** An acceptable OPEN of the peer arrived on it. */
  readonly hasOpen: boolean
  /** An acceptable OPEN arrived on it that is answered later, see {@link CollisionVerdict}. */
  readonly isWaiting?: boolean
}

/** The other connection, when an OPEN arrives on one. */
export interface Rival extends ConnectionView {
  /** RFC 4724 was negotiated on it. */
  readonly gracefulRestart: boolean
  /** How long it has been Established, seconds. */
  readonly establishedSec: number
}

/**
 * What becomes of the connection with the new OPEN and of its rival:
 * `alone` there is no rival; `wait` the rival would be kept and may have its OPEN in a moment: the new one is not
 * answered before; `both` go on until the rival has its OPEN too, or ends; `dump` the rival gets Cease 6/7; `supersede`
 * the rival is closed without a word; `yield` the new one gets Cease 6/7.
 */
export type CollisionVerdict = 'alone' | 'wait' | 'both' | 'dump' | 'supersede' | 'yield'

/** A connection that was opened in parallel may show up this late; before, it is no sign of a restarted peer. */
export const collisionWindowSec = 5

/** The connection that the side with the larger identifier opened; of equal identifiers, the larger AS decides. */
export function keptDirection(local: Speaker, remote: Speaker): Direction {
  const isLocalDominant = local.bgpId > remote.bgpId || (local.bgpId === remote.bgpId && local.asn > remote.asn)
  return isLocalDominant ? 'outgoing' : 'incoming'
}

/** To be asked for each acceptable OPEN, and again after a wait. RFC 6286 2.3 for equal identifiers. */
export function judgeOpen(
  local: Speaker,
  remote: Speaker,
  direction: Direction,
  rival: Rival | undefined,
  hasWaited = false,
): CollisionVerdict {
  if (rival === undefined) return 'alone'
  // Nothing was said on it yet: a dial under way is dropped.
  if (!rival.isConnected) return 'supersede'
  if (rival.state === 'Established')
    // RFC 4724 4.2: the peer restarted and we have not noticed that its old connection is dead.
    return rival.gracefulRestart && direction === 'incoming' && rival.establishedSec >= collisionWindowSec
      ? 'supersede'
      : 'yield'
  // Who opens a second connection has given up the first: it is dead, and only we do not know yet.
  if (direction === rival.direction || direction === keptDirection(local, remote)) return 'dump'
  if (rival.hasOpen) return 'yield'
  return hasWaited ? 'both' : 'wait'
}

export type Admission =
  | 'refuse'
  /** As `speak`, and the idle hold ends for it. */
  | 'begin'
  /** It is the candidate; one that was there without an OPEN goes. Our OPEN goes out as configured. */
  | 'speak'
  /**
   * It is the candidate, and our OPEN waits for the peer's: with one OPEN of ours, on the connection that we dialled,
   * the two sides cannot choose differently.
   */
  | 'listen'

/** Whether a connection that the peer opened is taken. `isAwaited`: see {@link isAwaitedAfter}. */
export function admit(
  session: ConnectionView,
  candidate: ConnectionView | undefined,
  { isStopped, isAwaited }: { readonly isStopped: boolean; readonly isAwaited: boolean },
): Admission {
  // In Idle a peer that errs cannot spin.
  if (isStopped || (session.state === 'Idle' && !isAwaited)) return 'refuse'
  if (session.state === 'Idle') return 'begin'
  if (candidate?.hasOpen === true || candidate?.isWaiting === true || candidate?.direction === 'outgoing')
    return 'refuse'
  return session.isConnected || session.state === 'Connect' ? 'listen' : 'speak'
}

/** The end of a session, as far as it matters for what comes after. */
export interface SessionEnd {
  readonly event: FsmEvent
  readonly actions: readonly FsmAction[]
  /** Of the session that ended; undefined when it never was one. */
  readonly agreement: Pick<Agreement, 'gracefulRestart' | 'notificationRestart'> | undefined
  readonly isStopped: boolean
}

/**
 * Whether the peer's routes are kept for a while. RFC 4724 4.2: a lost connection; RFC 8538 4: with the N bit also a
 * NOTIFICATION of either side that is no Hard Reset.
 */
export function keepsRoutes({ event, actions, agreement, isStopped }: SessionEnd): boolean {
  if (agreement?.gracefulRestart !== true || isStopped) return false
  const said = event.type === 'notificationReceived' ? event : actions.find((action) => action.do === 'notify')
  return said === undefined || (agreement.notificationRestart && !isHardReset(said))
}

/**
 * Ends by decision after which a peer is let in at once, in so many seconds; nobody clears sessions by hand so often.
 */
const decisionsAtOnce = 15
const decisionWindowSec = 60

/**
 * When the last of them were: a peer that comes up and says that it ends, again and again, has to wait like any other.
 */
export class DecisionBudget {
  #taken: number[] = []

  /** True where there are some left. */
  take(nowSec: number): boolean {
    this.#taken = this.#taken.filter((at) => nowSec - at < decisionWindowSec)
    if (this.#taken.length >= decisionsAtOnce) return false
    this.#taken.push(nowSec)
    return true
  }
}

/**
 * Whether the peer is let in at once, without idle hold. One that restarts gracefully, since its routes are stale until
 * then (RFC 4724 4.2), once for each session that was stable; and one whose operator ended the session (RFC 4486).
 */
export function isAwaitedAfter(
  end: SessionEnd,
  sessionFailures: number,
  decisions: DecisionBudget,
  nowSec: number,
): boolean {
  if (end.event.type === 'notificationReceived' && isDecision(end.event)) return decisions.take(nowSec)
  return keepsRoutes(end) && sessionFailures <= 1
}
