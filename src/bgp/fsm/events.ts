/**
 * Events and actions of one connection's state machine (RFC 4271 8.1.2, 8.1.3, 8.1.4, 8.1.5; numbers of its events in
 * brackets). Both are plain values, so that a session can be recorded and replayed.
 */

/** RFC 4271 8.2.2. */
export type FsmState = 'Idle' | 'Connect' | 'Active' | 'OpenSent' | 'OpenConfirm' | 'Established'

export type TimerName = 'connectRetry' | 'hold' | 'keepalive' | 'sendHold' | 'idleHold' | 'stable' | 'delayOpen'

/** Octets as plain numbers: events and actions survive JSON. */
export type Octets = readonly number[]

export type FsmEvent =
  /** Start by configuration; skips idle hold. [1, 3] */
  | { readonly type: 'start' }
  /** Stop with a Cease. [2, 8] */
  | { readonly type: 'stop'; readonly subcode: number; readonly data: Octets }
  /** Stop without a NOTIFICATION: a restart under graceful restart (RFC 4724). */
  | { readonly type: 'abandon' }
  | { readonly type: 'idleHoldExpired' } // [13]
  | { readonly type: 'connectRetryExpired' } // [9]
  | { readonly type: 'holdExpired' } // [10]
  | { readonly type: 'keepaliveExpired' } // [11]
  | { readonly type: 'sendHoldExpired' } // RFC 9687
  /** Established for twice the hold time: earlier failures are forgiven. */
  | { readonly type: 'stableExpired' }
  | { readonly type: 'delayOpenExpired' } // [12]
  | { readonly type: 'tcpUp' } // [16, 17]
  | { readonly type: 'tcpFailed'; readonly reason: string } // [18]
  /** An acceptable OPEN, negotiated. [19] */
  | { readonly type: 'openReceived'; readonly holdTimeSec: number; readonly keepaliveSec: number }
  /**
   * Anything that RFC 4271 section 6 answers by a NOTIFICATION. [21, 22, 28] `idleHoldSec`: the next attempt waits at
   * least so long.
   */
  | {
      readonly type: 'fault'
      readonly code: number
      readonly subcode: number
      readonly data: Octets
      readonly idleHoldSec?: number
    }
  /** Another connection of this peer was kept. [23] */
  | { readonly type: 'collisionDump' }
  | {
      readonly type: 'notificationReceived'
      readonly code: number
      readonly subcode: number
      readonly data: Octets
    } // [24, 25]
  | { readonly type: 'keepaliveReceived' } // [26]
  | { readonly type: 'updateReceived' } // [27]
  | { readonly type: 'routeRefreshReceived' } // RFC 2918
  /** A message that the state does not expect, of which nothing was read but its type (RFC 6608 4). */
  | { readonly type: 'unexpectedMessage'; readonly messageType: number }
  /**
   * The configuration changed; `changed`: fields of the neighbor, `keepaliveSec`: of the session, where there is one.
   */
  | { readonly type: 'configured'; readonly changed: readonly string[]; readonly keepaliveSec?: number }

export type FsmAction =
  | { readonly do: 'dial' }
  | { readonly do: 'sendOpen' }
  | { readonly do: 'sendKeepalive' }
  | { readonly do: 'notify'; readonly code: number; readonly subcode: number; readonly data: Octets }
  /** Closes the connection or aborts the dial; what was queued before (a NOTIFICATION) is flushed for a short grace. */
  | { readonly do: 'close' }
  | { readonly do: 'arm'; readonly timer: TimerName; readonly sec: number }
  | { readonly do: 'disarm'; readonly timer: TimerName }
  | { readonly do: 'sessionUp' }
  /** Hands the UPDATE or ROUTE-REFRESH that caused the event to the speaker. */
  | { readonly do: 'deliver' }

/** What the machine remembers beside its state. */
export interface FsmFacts {
  readonly passive: boolean
  /** TCP is up: in Connect and Active only while DelayOpen runs. */
  readonly isConnected: boolean
  /** The peer has just opened a connection, on which its OPEN may come in a moment. */
  readonly isPeerConnected: boolean
  /** Upper bound of the wait between two dials, seconds. */
  readonly connectRetrySec: number
  /** RFC 4271 8.1.1 DelayOpenTime, seconds; 0: OPEN is sent at once. */
  readonly delayOpenSec: number
  /** Dials that failed in a row, and failures of whole sessions in a row: exponents of the back-offs. */
  readonly dialFailures: number
  readonly sessionFailures: number
  /** As negotiated; 0 is off. */
  readonly holdTimeSec: number
  readonly keepaliveSec: number
  /** Uniform in [0, 1), drawn anew by the caller for each event. */
  readonly random: number
}

export interface Transition {
  readonly next: FsmState
  readonly actions: readonly FsmAction[]
  /** Facts that change. */
  readonly facts?: Partial<Pick<FsmFacts, 'dialFailures' | 'sessionFailures' | 'holdTimeSec' | 'keepaliveSec'>>
}
