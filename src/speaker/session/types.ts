/**
 * The seam between sessions (sockets, timers, FSM) and the speaker (RIB, update groups).
 *
 *     speaker --PeerSession calls--> session --bytes--> peer
 *     speaker <---SessionEvents----- session <--bytes-- peer
 */
import type { FsmState } from '../../bgp/fsm/events.ts'
import type { ResetReason, SessionTransition } from '../protocol.ts'
import type {
  AfiSafi,
  Capability,
  CodecContext,
  NotificationFault,
  OpenMessage,
  RouteRefreshMessage,
} from '../../bgp/messages/types.ts'
import type { DecodedUpdate } from '../../bgp/messages/update.ts'
import type { Neighbor } from '../../desired/model.ts'
import type { Address } from '../../ip/address.ts'

/** What OPEN negotiation settled. Times in seconds, 0 is off. */
export interface NegotiatedSession {
  readonly codec: CodecContext
  readonly holdTimeSec: number
  readonly keepaliveSec: number
  readonly localAddress: Address
  readonly localPort: number
  readonly remotePort: number
  readonly remoteOpen: OpenMessage
  /** Resolved AS of the peer. */
  readonly peerAsn: number
  readonly families: readonly AfiSafi[]
  readonly routeRefresh: boolean
  /** RFC 4724 as Herald counts it: enabled here and capability 64 in the peer's OPEN, with families or not. */
  readonly gracefulRestart: boolean
  /** What the peer's OPEN says of it, where it is enabled here. */
  readonly peerRestart?: Extract<Capability, { readonly type: 'gracefulRestart' }>
  /** Both set the N bit: routes outlive a NOTIFICATION that is no Hard Reset (RFC 8538 4). */
  readonly notificationRestart: boolean
  /** RFC 7313: a refresh is framed by BoRR and EoRR. */
  readonly enhancedRouteRefresh: boolean
  /** Short names for display: `4-octet-as`, `route-refresh`, `graceful-restart`, `mp-ipv4-unicast` ... */
  readonly capabilities: readonly string[]
}

export interface SessionEvents {
  stateChanged(state: FsmState, previous: FsmState): void
  established(negotiated: NegotiatedSession): void
  /** A decoded UPDATE; with a treat-as-withdraw problem its prefixes must be withdrawn. */
  update(update: DecodedUpdate): void
  routeRefresh(message: RouteRefreshMessage): void
  /**
   * The session left Established (or never reached it: `wasEstablished` false). `isRestart`: it ended in a way after
   * which the peer's routes are kept for a while (RFC 4724 4.2, RFC 8538 4).
   */
  down(reason: ResetReason, end: { readonly wasEstablished: boolean; readonly isRestart: boolean }): void
  /** The address of an unnumbered peer is known now, or another one. */
  peerFound(): void
  /** The send queue fell below its low-water mark after `send` had answered false. */
  drained(): void
  log(level: 'info' | 'warn' | 'error', message: string): void
}

export interface PeerSession {
  readonly state: FsmState
  readonly negotiated: NegotiatedSession | undefined
  /** Why the session is not Established, in words; undefined when it is. */
  readonly reason: string | undefined
  readonly lastReset: ResetReason | undefined
  /** The last changes of state, oldest first, at most 20. */
  readonly transitions: readonly SessionTransition[]
  readonly messagesIn: number
  readonly messagesOut: number
  readonly flaps: number
  start(): void
  /** Takes what may change while a session is up; see {@link ./session-parameters.ts}. */
  configure(neighbor: Neighbor): void
  /** Ends the session with this NOTIFICATION; the next attempt waits at least so long. */
  fail(fault: NotificationFault, idleHoldSec: number): void
  /** Queues whole encoded messages (never retained writable); false: stop until `drained`. Only while Established. */
  send(messages: Uint8Array, count: number): boolean
  /**
   * Ends the session with Cease and this subcode and begins anew, without idle hold; answers why not, when it is
   * stopped. Nothing of it is kept on either side (RFC 8538 3.1).
   */
  reset(subcode: number): string | undefined
  /** Ends the session for good: with Cease and this subcode and text (RFC 9003), or silently for a graceful restart. */
  stop(cease: { readonly subcode: number; readonly text: string } | 'silent'): Promise<void>
}
