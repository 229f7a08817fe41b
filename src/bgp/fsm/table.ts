/**
 * The state machine of one connection: every state meets every event (RFC 4271 8.2.2, RFC 6608, RFC 9687).
 *
 *     Idle --start, idleHoldExpired--> Connect --tcpUp--> OpenSent --OPEN--> OpenConfirm --KEEPALIVE--> Established
 *                         `--passive--> Active --tcpUp-------^
 *
 * With DelayOpen (8.1.1) a connection first waits in Connect or Active for its timer or for the peer's OPEN.
 *
 * A cell answers the next state and orders; timers are orders and come back as events. A missing cell does not compile.
 * Every way into Idle is `toIdle`, which closes, disarms everything and arms the idle hold with its back-off.
 */
import { Cease, ErrorCode, MessageType } from '../messages/numbers.ts'
import { isDecision } from './cease.ts'
import type { FsmAction, FsmEvent, FsmFacts, FsmState, Octets, TimerName, Transition } from './events.ts'
import {
  confirmHoldSec,
  collisionWaitSec,
  connectRetrySec,
  decisionHoldSec,
  dialTimeoutSec,
  idleHoldSec,
  keepaliveIntervalSec,
  openHoldSec,
  sendHoldSec,
} from './timers.ts'

type Cell<T extends FsmEvent['type']> = (facts: FsmFacts, event: Extract<FsmEvent, { type: T }>) => Transition
type MessageEvent = 'openReceived' | 'updateReceived' | 'keepaliveReceived' | 'routeRefreshReceived'
/** `unexpected`: the state's cell for an unexpected message answers, and the body is never read. */
type Row = { readonly [T in FsmEvent['type']]: Cell<T> | (T extends MessageEvent ? 'unexpected' : never) }

const allTimers: readonly TimerName[] = [
  'connectRetry',
  'hold',
  'keepalive',
  'sendHold',
  'idleHold',
  'stable',
  'delayOpen',
]
const disarmAll: readonly FsmAction[] = allTimers.map((timer) => ({ do: 'disarm', timer }))

const arm = (timer: TimerName, sec: number): FsmAction[] =>
  sec > 0 ? [{ do: 'arm', timer, sec }] : [{ do: 'disarm', timer }]
const notify = (code: number, subcode: number, data: Octets = []): FsmAction => ({ do: 'notify', code, subcode, data })
const to = (next: FsmState, ...actions: FsmAction[]): Transition => ({ next, actions })

/** The one way into Idle. `holdSec` 0: nothing brings the connection back by itself. */
function toIdle(
  facts: FsmFacts,
  first: readonly FsmAction[],
  { holdSec, isFailure }: { readonly holdSec: number; readonly isFailure: boolean },
): Transition {
  return {
    next: 'Idle',
    actions: [...first, { do: 'close' }, ...disarmAll, ...(holdSec > 0 ? arm('idleHold', holdSec) : [])],
    facts: {
      holdTimeSec: 0,
      keepaliveSec: 0,
      dialFailures: 0,
      ...(isFailure ? { sessionFailures: facts.sessionFailures + 1 } : {}),
    },
  }
}

const end = (facts: FsmFacts, ...first: FsmAction[]): Transition =>
  toIdle(facts, first, { holdSec: 0, isFailure: false })
const fail = (facts: FsmFacts, ...first: FsmAction[]): Transition =>
  toIdle(facts, first, { holdSec: idleHoldSec(facts.sessionFailures, facts.random), isFailure: true })

/** In Connect the connect retry timer bounds the dial: an unanswered SYN is not waited for minutes. */
const dial: readonly FsmAction[] = [{ do: 'dial' }, { do: 'arm', timer: 'connectRetry', sec: dialTimeoutSec }]

/**
 * What the peer has just opened may be the session in a moment, and a dial would only collide with it (RFC 4271 6.8): a
 * peer may have confirmed an OPEN there before it takes ours, and not each one gets over that.
 */
function dialUnlessMet(facts: FsmFacts, ...first: FsmAction[]): Transition {
  return facts.isPeerConnected
    ? to('Active', ...first, ...arm('connectRetry', collisionWaitSec))
    : to('Connect', ...first, ...dial)
}

/** Dials, or waits for the peer to dial. */
function begin(facts: FsmFacts): Transition {
  const awake: FsmAction = { do: 'disarm', timer: 'idleHold' }
  return facts.passive ? to('Active', awake) : dialUnlessMet(facts, awake)
}

/** Waits for the next dial; a connection from the peer is taken meanwhile. */
function retry(facts: FsmFacts): Transition {
  const wait = facts.passive
    ? []
    : arm('connectRetry', connectRetrySec(facts.dialFailures, facts.connectRetrySec, facts.random))
  return {
    next: 'Active',
    actions: [{ do: 'close' }, ...disarmAll, ...wait],
    facts: { dialFailures: facts.dialFailures + 1 },
  }
}

function sayOpen(): Transition {
  return {
    next: 'OpenSent',
    actions: [
      { do: 'disarm', timer: 'connectRetry' },
      { do: 'disarm', timer: 'delayOpen' },
      { do: 'sendOpen' },
      ...arm('hold', openHoldSec),
    ],
    facts: { dialFailures: 0 },
  }
}

/** RFC 4271 8.2.2, events 16 and 17: OPEN goes out at once, or when DelayOpenTimer has expired. */
const connectedIn =
  (state: 'Connect' | 'Active') =>
  (facts: FsmFacts): Transition =>
    facts.delayOpenSec === 0
      ? sayOpen()
      : to(state, { do: 'disarm', timer: 'connectRetry' }, { do: 'arm', timer: 'delayOpen', sec: facts.delayOpenSec })

/** The answer to an acceptable OPEN. */
function confirm(
  facts: FsmFacts,
  { holdTimeSec, keepaliveSec }: { readonly holdTimeSec: number; readonly keepaliveSec: number },
  ...first: FsmAction[]
): Transition {
  return {
    next: 'OpenConfirm',
    actions: [
      ...first,
      { do: 'sendKeepalive' },
      ...arm('hold', confirmHoldSec(holdTimeSec)),
      ...arm('keepalive', keepaliveIntervalSec(keepaliveSec, facts.random)),
      ...arm('sendHold', sendHoldSec(holdTimeSec)),
    ],
    facts: { holdTimeSec, keepaliveSec, dialFailures: 0 },
  }
}

const stay = (state: FsmState) => (): Transition => to(state)
const failCell = (facts: FsmFacts): Transition => fail(facts)
const faultCell: Cell<'fault'> = (facts, { code, subcode, data, idleHoldSec: atLeastSec = 0 }) =>
  toIdle(facts, [notify(code, subcode, data)], {
    holdSec: Math.max(atLeastSec, idleHoldSec(facts.sessionFailures, facts.random)),
    isFailure: true,
  })
const stopCell: Cell<'stop'> = (facts, { subcode, data }) => end(facts, notify(ErrorCode.cease, subcode, data))
/** Nothing is connected, or nothing may be said (RFC 4724 4.1). */
const silentStop = (facts: FsmFacts): Transition => end(facts)
/** A lost collision is no failure; the connection that was kept carries on. */
const dumpCell: Cell<'collisionDump'> = (facts) => end(facts, notify(ErrorCode.cease, Cease.connectionCollision))
/** A NOTIFICATION is never answered (RFC 4271 6.4). */
const notificationIn =
  (state: FsmState): Cell<'notificationReceived'> =>
  (facts, event) =>
    isDecision(event)
      ? toIdle(facts, [], { holdSec: decisionHoldSec(state === 'Established', facts.random), isFailure: false })
      : fail(facts)
/** Finite State Machine Error with the type of the message that did not fit (RFC 6608 4). */
const misfit =
  (subcode: number): Cell<'unexpectedMessage'> =>
  (facts, { messageType }) =>
    fail(facts, notify(ErrorCode.finiteStateMachine, subcode, [messageType]))
const unexpectedTimer =
  (subcode: number) =>
  (facts: FsmFacts): Transition =>
    fail(facts, notify(ErrorCode.finiteStateMachine, subcode))

const idle: Row = {
  start: begin,
  stop: silentStop,
  abandon: silentStop,
  idleHoldExpired: begin,
  connectRetryExpired: stay('Idle'),
  holdExpired: stay('Idle'),
  keepaliveExpired: stay('Idle'),
  sendHoldExpired: stay('Idle'),
  stableExpired: stay('Idle'),
  delayOpenExpired: stay('Idle'),
  tcpUp: () => to('Idle', { do: 'close' }),
  tcpFailed: stay('Idle'),
  openReceived: 'unexpected',
  fault: stay('Idle'),
  collisionDump: stay('Idle'),
  notificationReceived: stay('Idle'),
  keepaliveReceived: 'unexpected',
  updateReceived: 'unexpected',
  routeRefreshReceived: 'unexpected',
  unexpectedMessage: stay('Idle'),
  configured: stay('Idle'),
}

/** What the configuration changed while there is no session: a wait or a dial that is no longer wanted ends. */
const configuredIn =
  (state: 'Connect' | 'Active'): Cell<'configured'> =>
  (facts, { changed }) => {
    if (facts.isConnected) {
      if (!changed.includes('delayOpenSec')) return to(state)
      return facts.delayOpenSec === 0 ? sayOpen() : to(state, ...arm('delayOpen', facts.delayOpenSec))
    }
    if (facts.passive) return to('Active', { do: 'close' }, { do: 'disarm', timer: 'connectRetry' })
    if (state === 'Connect') return to('Connect')
    if (changed.includes('passive')) return dialUnlessMet(facts)
    if (!changed.includes('connectRetrySec')) return to('Active')
    const failures = Math.max(0, facts.dialFailures - 1)
    return to('Active', ...arm('connectRetry', connectRetrySec(failures, facts.connectRetrySec, facts.random)))
  }

/**
 * Connect and Active: a connection is there only while DelayOpen runs, and then only an OPEN is right on it (RFC 4271
 * 8.2.2, event 20). What is wrong with it, and a lost collision, is said also before our own OPEN
 * (SendNOTIFICATIONwithoutOPEN); whatever else comes is an error that is not answered.
 */
const withoutSession = {
  stop: silentStop,
  abandon: silentStop,
  holdExpired: failCell,
  keepaliveExpired: failCell,
  sendHoldExpired: failCell,
  delayOpenExpired: sayOpen,
  // 8.2.2 goes to Idle; a router that is not up yet is no reason for idle hold, so we wait in Active for it to dial.
  tcpFailed: retry,
  openReceived: (facts: FsmFacts, event: Extract<FsmEvent, { type: 'openReceived' }>) =>
    facts.isConnected ? confirm(facts, event, { do: 'disarm', timer: 'delayOpen' }, { do: 'sendOpen' }) : fail(facts),
  fault: (facts: FsmFacts, event: Extract<FsmEvent, { type: 'fault' }>) =>
    facts.isConnected ? faultCell(facts, event) : fail(facts),
  collisionDump: (facts: FsmFacts, event: Extract<FsmEvent, { type: 'collisionDump' }>) =>
    facts.isConnected ? dumpCell(facts, event) : silentStop(facts),
  notificationReceived: failCell,
  keepaliveReceived: 'unexpected',
  updateReceived: 'unexpected',
  routeRefreshReceived: 'unexpected',
  unexpectedMessage: failCell,
} as const

const connect: Row = {
  ...withoutSession,
  start: stay('Connect'),
  idleHoldExpired: stay('Connect'),
  stableExpired: stay('Connect'),
  connectRetryExpired: (facts) => dialUnlessMet(facts, { do: 'close' }),
  tcpUp: connectedIn('Connect'),
  configured: configuredIn('Connect'),
}

const active: Row = {
  ...withoutSession,
  start: stay('Active'),
  idleHoldExpired: stay('Active'),
  stableExpired: stay('Active'),
  connectRetryExpired: (facts) => dialUnlessMet(facts),
  tcpUp: connectedIn('Active'),
  configured: configuredIn('Active'),
}

const openSent: Row = {
  start: stay('OpenSent'),
  stop: stopCell,
  abandon: silentStop,
  idleHoldExpired: stay('OpenSent'),
  connectRetryExpired: unexpectedTimer(1),
  holdExpired: (facts) => fail(facts, notify(ErrorCode.holdTimerExpired, 0)),
  keepaliveExpired: unexpectedTimer(1),
  sendHoldExpired: unexpectedTimer(1),
  stableExpired: stay('OpenSent'),
  delayOpenExpired: unexpectedTimer(1),
  tcpUp: stay('OpenSent'),
  tcpFailed: retry,
  openReceived: (facts, event) => confirm(facts, event),
  fault: faultCell,
  collisionDump: dumpCell,
  notificationReceived: notificationIn('OpenSent'),
  keepaliveReceived: 'unexpected',
  updateReceived: 'unexpected',
  routeRefreshReceived: 'unexpected',
  unexpectedMessage: misfit(1),
  configured: stay('OpenSent'),
}

const keepGoing =
  (state: FsmState) =>
  (facts: FsmFacts): Transition =>
    to(state, { do: 'sendKeepalive' }, ...arm('keepalive', keepaliveIntervalSec(facts.keepaliveSec, facts.random)))
const heard = (facts: FsmFacts): FsmAction[] => arm('hold', facts.holdTimeSec)
/** The keepalive interval is ours alone: no OPEN carries it. */
const keepaliveConfigured =
  (state: FsmState): Cell<'configured'> =>
  (facts, { changed, keepaliveSec = facts.keepaliveSec }) =>
    changed.includes('keepaliveSec')
      ? {
          next: state,
          actions: arm('keepalive', keepaliveIntervalSec(keepaliveSec, facts.random)),
          facts: { keepaliveSec },
        }
      : to(state)
/** RFC 9687: the NOTIFICATION leaves only if the peer reads again within the short grace of a close. */
const sendHoldCell = (facts: FsmFacts): Transition => fail(facts, notify(ErrorCode.sendHoldTimerExpired, 0))

const openConfirm: Row = {
  start: stay('OpenConfirm'),
  stop: stopCell,
  abandon: silentStop,
  idleHoldExpired: stay('OpenConfirm'),
  connectRetryExpired: unexpectedTimer(2),
  holdExpired: (facts) => fail(facts, notify(ErrorCode.holdTimerExpired, 0)),
  keepaliveExpired: keepGoing('OpenConfirm'),
  sendHoldExpired: sendHoldCell,
  stableExpired: stay('OpenConfirm'),
  delayOpenExpired: unexpectedTimer(2),
  tcpUp: stay('OpenConfirm'),
  tcpFailed: failCell,
  openReceived: 'unexpected',
  fault: faultCell,
  collisionDump: dumpCell,
  notificationReceived: notificationIn('OpenConfirm'),
  keepaliveReceived: (facts) =>
    to('Established', ...heard(facts), ...arm('stable', Math.max(2 * facts.holdTimeSec, 10)), { do: 'sessionUp' }),
  updateReceived: 'unexpected',
  routeRefreshReceived: 'unexpected',
  unexpectedMessage: misfit(2),
  configured: keepaliveConfigured('OpenConfirm'),
}

const established: Row = {
  start: stay('Established'),
  stop: stopCell,
  abandon: silentStop,
  idleHoldExpired: stay('Established'),
  connectRetryExpired: unexpectedTimer(3),
  holdExpired: (facts) => fail(facts, notify(ErrorCode.holdTimerExpired, 0)),
  keepaliveExpired: keepGoing('Established'),
  sendHoldExpired: sendHoldCell,
  stableExpired: () => ({ next: 'Established', actions: [], facts: { sessionFailures: 0 } }),
  delayOpenExpired: unexpectedTimer(3),
  tcpUp: stay('Established'),
  tcpFailed: failCell,
  openReceived: 'unexpected',
  fault: faultCell,
  collisionDump: dumpCell,
  notificationReceived: notificationIn('Established'),
  keepaliveReceived: (facts) => to('Established', ...heard(facts)),
  updateReceived: (facts) => to('Established', ...heard(facts), { do: 'deliver' }),
  routeRefreshReceived: (facts) => to('Established', ...heard(facts), { do: 'deliver' }),
  unexpectedMessage: misfit(3),
  configured: keepaliveConfigured('Established'),
}

export const table: Readonly<Record<FsmState, Row>> = {
  Idle: idle,
  Connect: connect,
  Active: active,
  OpenSent: openSent,
  OpenConfirm: openConfirm,
  Established: established,
}

const messageTypes: Readonly<Record<MessageEvent, number>> = {
  openReceived: MessageType.open,
  updateReceived: MessageType.update,
  keepaliveReceived: MessageType.keepalive,
  routeRefreshReceived: MessageType.routeRefresh,
}

const messageEvents: ReadonlyMap<number, MessageEvent> = new Map(
  (Object.keys(messageTypes) as MessageEvent[]).map((event) => [messageTypes[event], event]),
)

/** Whether a message of this type fits the state: the body of another one is not read (RFC 4271 8.2.2, RFC 6608 4). */
export function isExpected(state: FsmState, messageType: number): boolean {
  const event = messageEvents.get(messageType)
  return event === undefined || table[state][event] !== 'unexpected'
}

export function step(state: FsmState, facts: FsmFacts, event: FsmEvent): Transition {
  const cell = table[state][event.type] as Cell<FsmEvent['type']> | 'unexpected'
  if (cell !== 'unexpected') return cell(facts, event as never)
  return step(state, facts, { type: 'unexpectedMessage', messageType: messageTypes[event.type as MessageEvent] })
}
