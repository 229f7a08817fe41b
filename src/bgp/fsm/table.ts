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
import { MessageType } from '../messages/types.ts'
import type { FsmAction, FsmEvent, FsmFacts, FsmState, Octets, TimerName, Transition } from './events.ts'
import {
  connectRetrySec,
  dialTimeoutSec,
  idleHoldSec,
  keepaliveIntervalSec,
  openHoldSec,
  sendHoldSec,
} from './timers.ts'

type Cell<T extends FsmEvent['type']> = (facts: FsmFacts, event: Extract<FsmEvent, { type: T }>) => Transition
type Row = { readonly [T in FsmEvent['type']]: Cell<T> }

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

/**
 * The one way into Idle. `wait` false: nothing brings the connection back by itself; a number: not before so many
 * seconds.
 */
function toIdle(
  facts: FsmFacts,
  first: readonly FsmAction[],
  { wait, isFailure }: { readonly wait: boolean | number; readonly isFailure: boolean },
): Transition {
  const idleSec =
    wait === false ? 0 : Math.max(wait === true ? 0 : wait, idleHoldSec(facts.sessionFailures, facts.random))
  return {
    next: 'Idle',
    actions: [...first, { do: 'close' }, ...disarmAll, ...(idleSec > 0 ? arm('idleHold', idleSec) : [])],
    facts: {
      holdTimeSec: 0,
      keepaliveSec: 0,
      dialFailures: 0,
      ...(isFailure ? { sessionFailures: facts.sessionFailures + 1 } : {}),
    },
  }
}

const fail = (facts: FsmFacts, ...first: FsmAction[]): Transition =>
  toIdle(facts, first, { wait: true, isFailure: true })

/** In Connect the connect retry timer bounds the dial: an unanswered SYN is not waited for minutes. */
const dial: readonly FsmAction[] = [{ do: 'dial' }, { do: 'arm', timer: 'connectRetry', sec: dialTimeoutSec }]

/** Dials, or waits for the peer to dial. */
function begin(facts: FsmFacts): Transition {
  return facts.passive
    ? to('Active', { do: 'disarm', timer: 'idleHold' })
    : to('Connect', { do: 'disarm', timer: 'idleHold' }, ...dial)
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
      ...arm('hold', holdTimeSec),
      ...arm('keepalive', keepaliveIntervalSec(keepaliveSec, facts.random)),
      ...arm('sendHold', sendHoldSec(holdTimeSec)),
    ],
    facts: { holdTimeSec, keepaliveSec, dialFailures: 0 },
  }
}

const stay = (state: FsmState) => (): Transition => to(state)
const failCell = (facts: FsmFacts): Transition => fail(facts)
const faultCell: Cell<'fault'> = (facts, { code, subcode, data, idleHoldSec: wait }) =>
  toIdle(facts, [notify(code, subcode, data)], { wait: wait ?? true, isFailure: true })
const stopCell: Cell<'stop'> = (facts, { subcode, data }) =>
  toIdle(facts, [notify(6, subcode, data)], { wait: false, isFailure: false })
/** Nothing is connected, or nothing may be said (RFC 4724 4.1). */
const silentStop = (facts: FsmFacts): Transition => toIdle(facts, [], { wait: false, isFailure: false })
/** A lost collision is no failure; the connection that was kept carries on. */
const dumpCell: Cell<'collisionDump'> = (facts) => toIdle(facts, [notify(6, 7)], { wait: false, isFailure: false })
/** A NOTIFICATION is never answered (RFC 4271 6.4). The peer's side of a lost collision is no failure either. */
const notificationCell: Cell<'notificationReceived'> = (facts, { code, subcode }) =>
  toIdle(facts, [], { wait: true, isFailure: !(code === 6 && subcode === 7) })
/** Finite State Machine Error with the type of the message that did not fit (RFC 6608 4). */
const unexpected =
  (subcode: number, messageType: number) =>
  (facts: FsmFacts): Transition =>
    fail(facts, notify(5, subcode, [messageType]))
const unexpectedTimer =
  (subcode: number) =>
  (facts: FsmFacts): Transition =>
    fail(facts, notify(5, subcode))

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
  openReceived: stay('Idle'),
  fault: stay('Idle'),
  collisionDump: stay('Idle'),
  notificationReceived: stay('Idle'),
  keepaliveReceived: stay('Idle'),
  updateReceived: stay('Idle'),
  routeRefreshReceived: stay('Idle'),
}

/**
 * Connect and Active: a connection is there only while DelayOpen runs, and then only an OPEN is right on it (RFC 4271
 * 8.2.2, event 20). What is wrong with it, and a lost collision, is said also before our own OPEN
 * (SendNOTIFICATIONwithoutOPEN); whatever else comes is an error that is not answered.
 */
const withoutConnection = {
  stop: silentStop,
  abandon: silentStop,
  holdExpired: failCell,
  keepaliveExpired: failCell,
  sendHoldExpired: failCell,
  delayOpenExpired: sayOpen,
  openReceived: (facts: FsmFacts, event: Extract<FsmEvent, { type: 'openReceived' }>) =>
    facts.delayOpenSec === 0
      ? fail(facts)
      : confirm(facts, event, { do: 'disarm', timer: 'delayOpen' }, { do: 'sendOpen' }),
  fault: (facts: FsmFacts, event: Extract<FsmEvent, { type: 'fault' }>) =>
    facts.delayOpenSec === 0 ? fail(facts) : faultCell(facts, event),
  collisionDump: (facts: FsmFacts, event: Extract<FsmEvent, { type: 'collisionDump' }>) =>
    facts.delayOpenSec === 0 ? silentStop(facts) : dumpCell(facts, event),
  notificationReceived: failCell,
  keepaliveReceived: failCell,
  updateReceived: failCell,
  routeRefreshReceived: failCell,
} satisfies Partial<Row>

const connect: Row = {
  ...withoutConnection,
  start: stay('Connect'),
  idleHoldExpired: stay('Connect'),
  stableExpired: stay('Connect'),
  connectRetryExpired: () => to('Connect', { do: 'close' }, ...dial),
  tcpUp: connectedIn('Connect'),
  // 8.2.2 goes to Idle; a router that is not up yet is no reason for idle hold, so we wait in Active for it to dial.
  tcpFailed: retry,
}

const active: Row = {
  ...withoutConnection,
  start: stay('Active'),
  idleHoldExpired: stay('Active'),
  stableExpired: stay('Active'),
  connectRetryExpired: () => to('Connect', ...dial),
  tcpUp: connectedIn('Active'),
  tcpFailed: retry,
}

const openSent: Row = {
  start: stay('OpenSent'),
  stop: stopCell,
  abandon: silentStop,
  idleHoldExpired: stay('OpenSent'),
  connectRetryExpired: unexpectedTimer(1),
  holdExpired: (facts) => fail(facts, notify(4, 0)),
  keepaliveExpired: unexpectedTimer(1),
  sendHoldExpired: unexpectedTimer(1),
  stableExpired: stay('OpenSent'),
  delayOpenExpired: unexpectedTimer(1),
  tcpUp: stay('OpenSent'),
  tcpFailed: retry,
  openReceived: (facts, event) => confirm(facts, event),
  fault: faultCell,
  collisionDump: dumpCell,
  notificationReceived: notificationCell,
  keepaliveReceived: unexpected(1, MessageType.keepalive),
  updateReceived: unexpected(1, MessageType.update),
  routeRefreshReceived: unexpected(1, MessageType.routeRefresh),
}

const keepGoing =
  (state: FsmState) =>
  (facts: FsmFacts): Transition =>
    to(state, { do: 'sendKeepalive' }, ...arm('keepalive', keepaliveIntervalSec(facts.keepaliveSec, facts.random)))
const heard = (facts: FsmFacts): FsmAction[] => arm('hold', facts.holdTimeSec)
/** RFC 9687: the NOTIFICATION leaves only if the peer reads again within the short grace of a close. */
const sendHoldCell = (facts: FsmFacts): Transition => fail(facts, notify(8, 0))

const openConfirm: Row = {
  start: stay('OpenConfirm'),
  stop: stopCell,
  abandon: silentStop,
  idleHoldExpired: stay('OpenConfirm'),
  connectRetryExpired: unexpectedTimer(2),
  holdExpired: (facts) => fail(facts, notify(4, 0)),
  keepaliveExpired: keepGoing('OpenConfirm'),
  sendHoldExpired: sendHoldCell,
  stableExpired: stay('OpenConfirm'),
  delayOpenExpired: unexpectedTimer(2),
  tcpUp: stay('OpenConfirm'),
  tcpFailed: failCell,
  openReceived: unexpected(2, MessageType.open),
  fault: faultCell,
  collisionDump: dumpCell,
  notificationReceived: notificationCell,
  keepaliveReceived: (facts) =>
    to('Established', ...heard(facts), ...arm('stable', Math.max(2 * facts.holdTimeSec, 10)), { do: 'sessionUp' }),
  updateReceived: unexpected(2, MessageType.update),
  routeRefreshReceived: unexpected(2, MessageType.routeRefresh),
}

const established: Row = {
  start: stay('Established'),
  stop: stopCell,
  abandon: silentStop,
  idleHoldExpired: stay('Established'),
  connectRetryExpired: unexpectedTimer(3),
  holdExpired: (facts) => fail(facts, notify(4, 0)),
  keepaliveExpired: keepGoing('Established'),
  sendHoldExpired: sendHoldCell,
  stableExpired: () => ({ next: 'Established', actions: [], facts: { sessionFailures: 0 } }),
  delayOpenExpired: unexpectedTimer(3),
  tcpUp: stay('Established'),
  tcpFailed: failCell,
  openReceived: unexpected(3, MessageType.open),
  fault: faultCell,
  collisionDump: dumpCell,
  notificationReceived: notificationCell,
  keepaliveReceived: (facts) => to('Established', ...heard(facts)),
  updateReceived: (facts) => to('Established', ...heard(facts), { do: 'deliver' }),
  routeRefreshReceived: (facts) => to('Established', ...heard(facts), { do: 'deliver' }),
}

export const table: Readonly<Record<FsmState, Row>> = {
  Idle: idle,
  Connect: connect,
  Active: active,
  OpenSent: openSent,
  OpenConfirm: openConfirm,
  Established: established,
}

export function step(state: FsmState, facts: FsmFacts, event: FsmEvent): Transition {
  const cell = table[state][event.type] as Cell<FsmEvent['type']>
  return cell(facts, event as never)
}
