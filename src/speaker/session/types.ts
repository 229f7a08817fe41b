/**
 * The seam between sessions (sockets, timers, FSM) and the speaker (RIB, update groups).
 *
 *     speaker --PeerSession calls--> session --bytes--> peer
 *     speaker <---SessionEvents----- session <--bytes-- peer
 */
import type { FsmState } from '../../bgp/fsm/events.ts'
import type { ResetReason, SessionTransition } from '../protocol.ts'
import type { Agreement } from '../../bgp/fsm/negotiate.ts'
import type { NotificationFault, OpenMessage, RouteRefreshMessage } from '../../bgp/messages/types.ts'
import type { DecodedUpdate } from '../../bgp/messages/update.ts'
import type { Neighbor } from '../../desired/model.ts'
import type { Address } from '../../ip/address.ts'

/** What the OPENs agreed on, and the connection that it holds for. Times in seconds, 0 is off. */
export interface NegotiatedSession extends Agreement {
  readonly localAddress: Address
  readonly localPort: number
  readonly remotePort: number
  readonly remoteOpen: OpenMessage
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
  /** Messages came or went, or what they led to is done. */
  counted(): void
  /** A connection came, went or took a step, which may show in what is told of the session. */
  stepped(): void
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
  /** What comes into force with the next OPEN only, in words (see ./neighbor-effects.ts). */
  readonly pending: readonly string[]
  /** The last changes of state, oldest first, at most 20. */
  readonly transitions: readonly SessionTransition[]
  readonly messagesIn: number
  readonly messagesOut: number
  readonly updatesIn: number
  readonly updatesOut: number
  readonly flaps: number
  /** Begins to dial or to wait; nothing after a stop. */
  start(): void
  /** Takes what may change without a new session; see ./neighbor-effects.ts. */
  configure(neighbor: Neighbor): void
  /**
   * Ends the session with this NOTIFICATION, a Cease as a Hard Reset where RFC 8538 asks for one; the next attempt
   * waits at least so long, also one of the peer.
   */
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
