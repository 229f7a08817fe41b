/** Why a session changed its state, in words, and the last of these changes. Pure. */
import type { FsmAction, FsmEvent, FsmState } from '../../bgp/fsm/events.ts'
import { notificationText } from '../../bgp/messages/notification.ts'
import type { ResetReason, SessionTransition } from '../protocol.ts'
import { dialTimeoutSec } from '../../bgp/fsm/timers.ts'

const kept = 20

export class TransitionLog {
  #entries: readonly SessionTransition[] = []

  get entries(): readonly SessionTransition[] {
    return this.#entries
  }

  /**
   * A peer that cannot be reached goes round in circles: what is among the last ones already is counted, not repeated.
   */
  add(at: string, from: FsmState, to: FsmState, reason: string): void {
    const recent = this.#entries.slice(-3)
    const same = recent.find((entry) => entry.from === from && entry.to === to && entry.reason === reason)
    this.#entries = [
      ...this.#entries.filter((entry) => entry !== same),
      { at, from, to, reason, times: (same?.times ?? 0) + 1 },
    ].slice(-kept)
  }
}

/** What a connection knows of an event beside the event. */
export interface EventFacts {
  /** Of the last fault, in words. */
  readonly detail: string | undefined
  readonly isStopped: boolean
}

/** The end of a connection on which something was said; undefined when there is nothing to tell of it. */
export function resetReason(
  at: string,
  event: FsmEvent,
  actions: readonly FsmAction[],
  facts: EventFacts,
): ResetReason | undefined {
  const sent = actions.find((action) => action.do === 'notify')
  if (event.type === 'notificationReceived') {
    const { code, subcode, data } = event
    return {
      at,
      direction: 'received',
      code,
      subcode,
      text: `peer closed: ${notificationText(code, subcode, Uint8Array.from(data))}`,
    }
  }
  if (sent !== undefined) {
    const { code, subcode } = sent
    return {
      at,
      direction: 'sent',
      code,
      subcode,
      text: `${notificationText(code, subcode, Uint8Array.from(sent.data))}${whySent(event, facts)}`,
    }
  }
  if (event.type === 'tcpFailed') return { at, direction: 'local', text: event.reason }
  if (event.type === 'abandon' && !facts.isStopped) return undefined
  return { at, direction: 'local', text: facts.isStopped ? 'stopped here' : 'the peer sent what does not fit' }
}

function whySent(event: FsmEvent, { detail }: EventFacts): string {
  if (event.type === 'holdExpired') return ': nothing heard from the peer'
  if (event.type === 'sendHoldExpired') return ': the peer does not read'
  return detail === undefined ? '' : `: ${detail}`
}

/** What is said of a session that is not Established; undefined when it is. */
export function stateReason(
  state: FsmState,
  now: {
    readonly isStopped: boolean
    /** Address and port. */
    readonly dialling: string
    /** Why dials, or connections of the peer, come to nothing. */
    readonly problem: string | undefined
    readonly lastReset: string | undefined
    /** A connection of the peer waits for its OPEN. */
    readonly isPeerConnected: boolean
    /** What is left of the wait. */
    readonly idleSec: number
  },
): string | undefined {
  switch (state) {
    case 'Established':
      return undefined
    case 'Connect':
      return now.problem ?? `dialling ${now.dialling}`
    case 'Active':
      if (now.isPeerConnected) return 'the peer connected, waiting for its OPEN'
      // A passive session waits; what an earlier connection died of says more.
      return now.problem ?? now.lastReset ?? 'waiting for the peer to dial'
    case 'OpenSent':
      return 'connected, waiting for the OPEN of the peer'
    case 'OpenConfirm':
      return 'waiting for the KEEPALIVE that confirms the OPEN'
    case 'Idle': {
      if (now.isStopped) return 'stopped'
      const leftSec = Math.max(0, Math.ceil(Math.round(now.idleSec * 1000) / 1000))
      return `${now.lastReset ?? 'starting'}; the next attempt follows after ${leftSec} s`
    }
  }
}

/** Why the state changed, where no connection ended. */
export function progressReason(event: FsmEvent, direction: 'incoming' | 'outgoing'): string {
  switch (event.type) {
    case 'start':
      return 'started by the configuration'
    case 'idleHoldExpired':
      return 'the idle hold time is over'
    case 'connectRetryExpired':
      return `dialled again: no connection within the connect retry time or ${dialTimeoutSec} s`
    case 'delayOpenExpired':
      return 'the wait before our OPEN is over (DelayOpen)'
    case 'tcpUp':
      return direction === 'incoming' ? 'the peer connected' : 'connected to the peer'
    case 'tcpFailed':
      return event.reason
    case 'openReceived':
      return `OPEN of the peer accepted, hold time ${event.holdTimeSec} s`
    case 'keepaliveReceived':
      return 'the peer confirmed our OPEN'
    case 'collisionDump':
      return 'two connections met, the other one is kept (RFC 4271 6.8)'
    case 'stop':
    case 'abandon':
      return 'stopped here'
    case 'configured':
      return 'the configuration changed'
    default:
      return event.type
  }
}
