import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FsmAction, FsmEvent, FsmFacts, TimerName } from '../../../src/bgp/fsm/events.ts'
import { isExpected, step, table } from '../../../src/bgp/fsm/table.ts'
import type { FsmState } from '../../../src/bgp/fsm/events.ts'

const facts: FsmFacts = {
  passive: false,
  isConnected: false,
  isPeerConnected: false,
  connectRetrySec: 120,
  delayOpenSec: 0,
  dialFailures: 0,
  sessionFailures: 0,
  holdTimeSec: 90,
  keepaliveSec: 30,
  random: 0,
}
const timers: readonly TimerName[] = [
  'connectRetry',
  'hold',
  'keepalive',
  'sendHold',
  'idleHold',
  'stable',
  'delayOpen',
]

const events: { readonly [T in FsmEvent['type']]: Extract<FsmEvent, { type: T }> } = {
  start: { type: 'start' },
  stop: { type: 'stop', subcode: 2, data: [0] },
  abandon: { type: 'abandon' },
  idleHoldExpired: { type: 'idleHoldExpired' },
  connectRetryExpired: { type: 'connectRetryExpired' },
  holdExpired: { type: 'holdExpired' },
  keepaliveExpired: { type: 'keepaliveExpired' },
  sendHoldExpired: { type: 'sendHoldExpired' },
  stableExpired: { type: 'stableExpired' },
  delayOpenExpired: { type: 'delayOpenExpired' },
  tcpUp: { type: 'tcpUp' },
  tcpFailed: { type: 'tcpFailed', reason: 'reset' },
  openReceived: { type: 'openReceived', holdTimeSec: 9, keepaliveSec: 3 },
  fault: { type: 'fault', code: 2, subcode: 6, data: [0, 1] },
  collisionDump: { type: 'collisionDump' },
  notificationReceived: { type: 'notificationReceived', code: 4, subcode: 0, data: [] },
  keepaliveReceived: { type: 'keepaliveReceived' },
  updateReceived: { type: 'updateReceived' },
  routeRefreshReceived: { type: 'routeRefreshReceived' },
  unexpectedMessage: { type: 'unexpectedMessage', messageType: 4 },
  configured: { type: 'configured', changed: ['maxPrefixes'] },
}

/** Clause of each event: RFC 4271 8.1 number where it has one. */
const clauses: Readonly<Record<FsmEvent['type'], string>> = {
  start: 'RFC 4271 8.1.2 event 1',
  stop: 'RFC 4271 8.1.2 event 2, RFC 9003',
  abandon: 'RFC 4724 4.1',
  idleHoldExpired: 'RFC 4271 8.1.3 event 13',
  connectRetryExpired: 'RFC 4271 8.1.3 event 9',
  holdExpired: 'RFC 4271 8.1.3 event 10',
  keepaliveExpired: 'RFC 4271 8.1.3 event 11',
  sendHoldExpired: 'RFC 9687',
  stableExpired: 'RFC 4271 8.1.1 DampPeerOscillations',
  delayOpenExpired: 'RFC 4271 8.1.3 event 12',
  tcpUp: 'RFC 4271 8.1.4 events 16 and 17',
  tcpFailed: 'RFC 4271 8.1.4 event 18',
  openReceived: 'RFC 4271 8.1.5 event 19, RFC 6608',
  fault: 'RFC 4271 8.1.5 events 21, 22 and 28',
  collisionDump: 'RFC 4271 8.1.5 event 23',
  notificationReceived: 'RFC 4271 8.1.5 events 24 and 25',
  keepaliveReceived: 'RFC 4271 8.1.5 event 26, RFC 6608',
  updateReceived: 'RFC 4271 8.1.5 event 27, RFC 6608',
  routeRefreshReceived: 'RFC 2918, RFC 6608',
  unexpectedMessage: 'RFC 6608 4',
  configured: 'RFC 4271 8.1.1',
}

// `clean`: the connection is closed and every timer disarmed. At random 0, jitter gives 0.75 of each wait.
const failed = 'clean; arm idleHold 0.75'
const failure = (notification: string): string => `Idle: notify ${notification}; ${failed}`
const dial = 'dial; arm connectRetry 10'
const ignored = (state: FsmState): string => `${state}:`
const sayOpen = 'OpenSent: disarm connectRetry; disarm delayOpen; sendOpen; arm hold 30'
const retry = 'Active: clean; arm connectRetry 3.75'
const goOn = (state: FsmState): string => `${state}: sendKeepalive; arm keepalive 22.5`

const noConnection = (state: FsmState): Omit<Record<FsmEvent['type'], string>, 'connectRetryExpired'> => ({
  unexpectedMessage: `Idle: ${failed}`,
  configured: ignored(state),
  start: ignored(state),
  stop: 'Idle: clean',
  abandon: 'Idle: clean',
  idleHoldExpired: ignored(state),
  stableExpired: ignored(state),
  holdExpired: `Idle: ${failed}`,
  keepaliveExpired: `Idle: ${failed}`,
  sendHoldExpired: `Idle: ${failed}`,
  delayOpenExpired: sayOpen,
  tcpUp: sayOpen,
  tcpFailed: retry,
  openReceived: `Idle: ${failed}`,
  fault: `Idle: ${failed}`,
  collisionDump: 'Idle: clean',
  notificationReceived: `Idle: ${failed}`,
  keepaliveReceived: `Idle: ${failed}`,
  updateReceived: `Idle: ${failed}`,
  routeRefreshReceived: `Idle: ${failed}`,
})

const connected = (
  state: FsmState,
): Pick<
  Record<FsmEvent['type'], string>,
  | 'start'
  | 'stop'
  | 'abandon'
  | 'idleHoldExpired'
  | 'stableExpired'
  | 'holdExpired'
  | 'tcpUp'
  | 'fault'
  | 'collisionDump'
  | 'notificationReceived'
  | 'configured'
> => ({
  configured: ignored(state),
  start: ignored(state),
  stop: 'Idle: notify 6/2 [0]; clean',
  abandon: 'Idle: clean',
  idleHoldExpired: ignored(state),
  stableExpired: ignored(state),
  holdExpired: failure('4/0'),
  tcpUp: ignored(state),
  fault: failure('2/6 [0,1]'),
  collisionDump: 'Idle: notify 6/7; clean',
  notificationReceived: `Idle: ${failed}`,
})

const expected: Readonly<Record<FsmState, Readonly<Record<FsmEvent['type'], string>>>> = {
  Idle: {
    start: `Connect: disarm idleHold; ${dial}`,
    idleHoldExpired: `Connect: disarm idleHold; ${dial}`,
    stop: 'Idle: clean',
    abandon: 'Idle: clean',
    tcpUp: 'Idle: close',
    connectRetryExpired: 'Idle:',
    holdExpired: 'Idle:',
    keepaliveExpired: 'Idle:',
    sendHoldExpired: 'Idle:',
    stableExpired: 'Idle:',
    delayOpenExpired: 'Idle:',
    tcpFailed: 'Idle:',
    openReceived: 'Idle:',
    fault: 'Idle:',
    collisionDump: 'Idle:',
    notificationReceived: 'Idle:',
    keepaliveReceived: 'Idle:',
    updateReceived: 'Idle:',
    routeRefreshReceived: 'Idle:',
    unexpectedMessage: 'Idle:',
    configured: 'Idle:',
  },
  Connect: { ...noConnection('Connect'), connectRetryExpired: `Connect: close; ${dial}` },
  Active: { ...noConnection('Active'), connectRetryExpired: `Connect: ${dial}` },
  OpenSent: {
    ...connected('OpenSent'),
    connectRetryExpired: failure('5/1'),
    unexpectedMessage: failure('5/1 [4]'),
    delayOpenExpired: failure('5/1'),
    keepaliveExpired: failure('5/1'),
    sendHoldExpired: failure('5/1'),
    tcpFailed: retry,
    openReceived: 'OpenConfirm: sendKeepalive; arm hold 9; arm keepalive 2.25; arm sendHold 30',
    keepaliveReceived: failure('5/1 [4]'),
    updateReceived: failure('5/1 [2]'),
    routeRefreshReceived: failure('5/1 [5]'),
  },
  OpenConfirm: {
    ...connected('OpenConfirm'),
    connectRetryExpired: failure('5/2'),
    unexpectedMessage: failure('5/2 [4]'),
    delayOpenExpired: failure('5/2'),
    keepaliveExpired: goOn('OpenConfirm'),
    sendHoldExpired: failure('8/0'),
    tcpFailed: `Idle: ${failed}`,
    openReceived: failure('5/2 [1]'),
    updateReceived: failure('5/2 [2]'),
    routeRefreshReceived: failure('5/2 [5]'),
    keepaliveReceived: 'Established: arm hold 90; arm stable 180; sessionUp',
  },
  Established: {
    ...connected('Established'),
    connectRetryExpired: failure('5/3'),
    unexpectedMessage: failure('5/3 [4]'),
    delayOpenExpired: failure('5/3'),
    keepaliveExpired: goOn('Established'),
    sendHoldExpired: failure('8/0'),
    tcpFailed: `Idle: ${failed}`,
    openReceived: failure('5/3 [1]'),
    keepaliveReceived: 'Established: arm hold 90',
    updateReceived: 'Established: arm hold 90; deliver',
    routeRefreshReceived: 'Established: arm hold 90; deliver',
  },
}

function describe(action: FsmAction): string {
  switch (action.do) {
    case 'arm':
      return `arm ${action.timer} ${action.sec}`
    case 'disarm':
      return `disarm ${action.timer}`
    case 'notify':
      return `notify ${action.code}/${action.subcode}${action.data.length === 0 ? '' : ` [${action.data.join()}]`}`
    default:
      return action.do
  }
}

const clean = ['close', ...timers.map((timer) => `disarm ${timer}`)].join('; ')
const show = (next: FsmState, actions: readonly FsmAction[]): string =>
  `${next}: ${actions.map(describe).join('; ').replace(clean, 'clean')}`.trimEnd()

for (const state of Object.keys(expected) as FsmState[]) {
  for (const type of Object.keys(expected[state]) as FsmEvent['type'][]) {
    test(`${state} x ${type} leads to "${expected[state][type]}" (${clauses[type]})`, () => {
      const { next, actions } = step(state, facts, events[type])
      assert.equal(show(next, actions), expected[state][type])
    })
  }
}

test('every cell of the table is expected here', () => {
  const cells = (rows: Readonly<Record<FsmState, object>>): string[] =>
    Object.entries(rows)
      .flatMap(([state, row]) => Object.keys(row as object).map((type) => `${state} ${type}`))
      .sort()
  assert.deepEqual(cells(table), cells(expected))
})

test('a passive session starts into Active without dialling (RFC 4271 8.1.1 PassiveTcpEstablishment)', () => {
  const { next, actions } = step('Idle', { ...facts, passive: true }, events.start)
  assert.equal(show(next, actions), 'Active: disarm idleHold')
  const lost = step('OpenSent', { ...facts, passive: true }, events.tcpFailed)
  assert.equal(show(lost.next, lost.actions), 'Active: clean')
})

test('hold time 0 arms neither hold, keepalive nor send hold once it is confirmed (RFC 4271 4.2, RFC 9687)', () => {
  const { actions } = step('OpenSent', facts, { type: 'openReceived', holdTimeSec: 0, keepaliveSec: 0 })
  assert.equal(
    show('OpenConfirm', actions),
    'OpenConfirm: sendKeepalive; arm hold 30; disarm keepalive; disarm sendHold',
  )
  const up = step('OpenConfirm', { ...facts, holdTimeSec: 0, keepaliveSec: 0 }, events.keepaliveReceived)
  assert.equal(show(up.next, up.actions), 'Established: disarm hold; arm stable 10; sessionUp')
})

test('OpenSent and OpenConfirm are bounded, whatever hold time was offered (RFC 4271 8.2.2)', () => {
  const bound = (state: FsmState, event: FsmEvent): number[] =>
    step(state, facts, event).actions.flatMap((action) =>
      action.do === 'arm' && action.timer === 'hold' ? [action.sec] : [],
    )
  assert.deepEqual(bound('Connect', events.tcpUp), [30])
  for (const [holdTimeSec, sec] of [
    [0, 30],
    [3, 3],
    [90, 30],
    [65535, 30],
  ] as const)
    assert.deepEqual(bound('OpenSent', { type: 'openReceived', holdTimeSec, keepaliveSec: 1 }), [sec])
})

test('idle hold doubles from 1 s to 60 s with jitter of a quarter either way (RFC 4271 8.1.1, 10)', () => {
  const wait = (sessionFailures: number, random: number): number => {
    const { actions } = step('Established', { ...facts, sessionFailures, random }, events.holdExpired)
    const armed = actions.find((action) => action.do === 'arm' && action.timer === 'idleHold')
    return armed?.do === 'arm' ? armed.sec : NaN
  }
  assert.deepEqual(
    [0, 1, 2, 3, 4, 5, 6, 7, 1000].map((failures) => wait(failures, 0.5)),
    [1, 2, 4, 8, 16, 32, 60, 60, 60],
  )
  assert.deepEqual([wait(3, 0), wait(3, 1)], [6, 10])
})

test('a failure counts, twice the hold time in Established forgives, a lost collision does not count', () => {
  const failures = (state: FsmState, event: FsmEvent): number | undefined =>
    step(state, { ...facts, sessionFailures: 3 }, event).facts?.sessionFailures
  assert.equal(failures('Established', events.holdExpired), 4)
  assert.equal(failures('OpenSent', events.fault), 4)
  assert.equal(failures('Established', events.stableExpired), 0)
  assert.equal(failures('OpenConfirm', events.collisionDump), undefined)
  assert.equal(failures('OpenConfirm', { type: 'notificationReceived', code: 6, subcode: 7, data: [] }), undefined)
  assert.equal(failures('Established', events.stop), undefined)
})

test('dials wait 5, 10, 20, 30 s, never longer than configured', () => {
  const wait = (dialFailures: number, connectRetrySec: number): number => {
    const { actions } = step('Connect', { ...facts, dialFailures, connectRetrySec, random: 1 }, events.tcpFailed)
    const armed = actions.find((action) => action.do === 'arm')
    return armed?.do === 'arm' ? armed.sec : NaN
  }
  assert.deepEqual(
    [0, 1, 2, 3, 50].map((failures) => wait(failures, 120)),
    [5, 10, 20, 30, 30],
  )
  assert.deepEqual([wait(0, 3), wait(9, 12)], [3, 12])
})

test(
  'with DelayOpen a connection waits for its timer or for the OPEN of the peer (RFC 4271 8.1.1, 8.2.2 events ' +
    '12 and 20)',
  () => {
    const delayed = { ...facts, delayOpenSec: 2, isConnected: true }
    for (const state of ['Connect', 'Active'] as const) {
      const up = step(state, delayed, events.tcpUp)
      assert.equal(show(up.next, up.actions), `${state}: disarm connectRetry; arm delayOpen 2`)
      const first = step(state, delayed, events.openReceived)
      assert.equal(
        show(first.next, first.actions),
        'OpenConfirm: disarm delayOpen; sendOpen; sendKeepalive; arm hold 9; arm keepalive 2.25; arm sendHold 30',
      )
      for (const wrong of [events.keepaliveReceived, events.updateReceived, events.fault])
        assert.equal(show(step(state, delayed, wrong).next, []), 'Idle:')
    }
  },
)

test('a fault may ask for a longer wait, which never shortens the back-off', () => {
  const wait = (sessionFailures: number): number | undefined =>
    step(
      'Established',
      { ...facts, sessionFailures, random: 0.5 },
      { ...events.fault, idleHoldSec: 30 },
    ).actions.flatMap((action) => (action.do === 'arm' && action.timer === 'idleHold' ? [action.sec] : []))[0]
  assert.deepEqual([wait(0), wait(9)], [30, 60])
})

test(
  'an end that the peer decided is no failure, also inside a Hard Reset, and its wait does not grow (RFC 4486, ' +
    'RFC 8538 3)',
  () => {
    const outcome = (subcode: number, data: readonly number[] = [], state: FsmState = 'Established'): string => {
      const event: FsmEvent = { type: 'notificationReceived', code: 6, subcode, data }
      const { actions, facts: changed } = step(state, { ...facts, sessionFailures: 5, random: 0.5 }, event)
      const wait = actions.find((action) => action.do === 'arm')
      return `${wait?.do === 'arm' ? wait.sec : 0} s, ${changed?.sessionFailures === undefined ? 'no ' : ''}failure`
    }
    // Administrative Shutdown, De-configured, Administrative Reset, Other Configuration Change, Collision.
    for (const decision of [2, 3, 4, 6, 7]) {
      assert.equal(outcome(decision), '1 s, no failure')
      assert.equal(outcome(9, [6, decision]), '1 s, no failure')
      assert.equal(outcome(decision, [], 'OpenConfirm'), '3 s, no failure')
    }
    // Maximum Number of Prefixes, Connection Rejected, Out of Resources, BFD Down.
    for (const fault of [1, 5, 8, 10]) {
      assert.equal(outcome(fault), '32 s, failure')
      assert.equal(outcome(9, [6, fault]), '32 s, failure')
    }
    assert.equal(outcome(9, [4, 0]), '32 s, failure')
    assert.equal(outcome(9), '32 s, failure')
  },
)

test('a changed fact is in force at once where nothing is connected (RFC 4271 8.1.1 PassiveTcpEstablishment)', () => {
  const outcome = (state: FsmState, changed: string, more: Partial<FsmFacts> = {}): string => {
    const { next, actions } = step(state, { ...facts, ...more }, { type: 'configured', changed: [changed] })
    return show(next, actions)
  }
  assert.equal(outcome('Active', 'passive'), `Connect: ${dial}`)
  assert.equal(outcome('Active', 'passive', { passive: true }), 'Active: close; disarm connectRetry')
  assert.equal(outcome('Connect', 'passive', { passive: true }), 'Active: close; disarm connectRetry')
  assert.equal(outcome('Connect', 'connectRetrySec'), 'Connect:', 'the dial under way has its own bound')
  assert.equal(outcome('Active', 'connectRetrySec', { connectRetrySec: 4 }), 'Active: arm connectRetry 3')
  for (const state of ['Connect', 'Active'] as const) {
    assert.equal(outcome(state, 'delayOpenSec', { isConnected: true }), sayOpen)
    assert.equal(outcome(state, 'delayOpenSec', { isConnected: true, delayOpenSec: 7 }), `${state}: arm delayOpen 7`)
    assert.equal(outcome(state, 'passive', { isConnected: true, passive: true }), ignored(state))
  }
})

test('a changed keepalive interval is in force at once, since no OPEN carries it (RFC 4271 4.4)', () => {
  for (const state of ['OpenConfirm', 'Established'] as const) {
    const {
      next,
      actions,
      facts: changed,
    } = step(state, facts, {
      type: 'configured',
      changed: ['keepaliveSec'],
      keepaliveSec: 4,
    })
    assert.equal(show(next, actions), `${state}: arm keepalive 3`)
    assert.equal(changed?.keepaliveSec, 4)
  }
})

test('one table says what a state expects: the body of anything else is not read (RFC 6608 4)', () => {
  const expectedIn = (state: FsmState): number[] => [1, 2, 3, 4, 5].filter((type) => isExpected(state, type))
  assert.deepEqual(expectedIn('OpenSent'), [1, 3])
  assert.deepEqual(expectedIn('OpenConfirm'), [3, 4])
  assert.deepEqual(expectedIn('Established'), [2, 3, 4, 5])
  for (const state of ['Connect', 'Active'] as const) assert.deepEqual(expectedIn(state), [1, 3])
})
