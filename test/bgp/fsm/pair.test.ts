import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  admit,
  type CollisionVerdict,
  collisionWindowSec,
  type Direction,
  DecisionBudget,
  isAwaitedAfter,
  judgeOpen,
  keepsRoutes,
  keptDirection,
  type Rival,
} from '../../../src/bgp/fsm/pair.ts'
import type { FsmEvent, FsmState } from '../../../src/bgp/fsm/events.ts'

const low = { bgpId: 0x0a000001, asn: 64512 }
const high = { bgpId: 0xc0a80001, asn: 64513 }

test('identifiers are compared as unsigned numbers (RFC 4271 6.8)', () => {
  assert.equal(keptDirection(high, low), 'outgoing')
  assert.equal(keptDirection(low, high), 'incoming')
})

test('with equal identifiers the larger AS decides, four octets wide (RFC 6286 2.3)', () => {
  assert.equal(keptDirection({ bgpId: 7, asn: 4200000001 }, { bgpId: 7, asn: 65000 }), 'outgoing')
  assert.equal(keptDirection({ bgpId: 7, asn: 65000 }, { bgpId: 7, asn: 4200000001 }), 'incoming')
})

test('both sides always keep the same connection', () => {
  for (const [a, b] of [
    [low, high],
    [high, low],
    [
      { bgpId: 7, asn: 1 },
      { bgpId: 7, asn: 2 },
    ],
  ] as const) {
    assert.notEqual(keptDirection(a, b), keptDirection(b, a))
  }
})

const rival = (state: FsmState, direction: Direction, more: Partial<Rival> = {}): Rival => ({
  state,
  direction,
  isConnected: state !== 'Idle' && state !== 'Connect' && state !== 'Active',
  hasOpen: state === 'OpenConfirm' || state === 'Established',
  gracefulRestart: false,
  establishedSec: 0,
  ...more,
})
const later = { gracefulRestart: true, establishedSec: collisionWindowSec }

const cases: readonly {
  readonly title: string
  readonly direction: Direction
  readonly rival: Rival | undefined
  readonly verdict: CollisionVerdict
}[] = [
  { title: 'without a rival there is no collision', direction: 'incoming', rival: undefined, verdict: 'alone' },
  {
    title: 'a dial under way is dropped without a word',
    direction: 'incoming',
    rival: rival('Connect', 'outgoing'),
    verdict: 'supersede',
  },
  {
    title: 'we are dominant, and the peer has said nothing on ours yet: the answer waits (RFC 4271 6.8)',
    direction: 'incoming',
    rival: rival('OpenSent', 'outgoing'),
    verdict: 'wait',
  },
  {
    title: 'a silent connection never displaces one with an OPEN, though the peer is dominant (RFC 4271 6.8)',
    direction: 'outgoing',
    rival: rival('Active', 'incoming', { isConnected: true }),
    verdict: 'dump',
  },
  {
    title: 'we are dominant: the incoming one yields to ours in OpenConfirm',
    direction: 'incoming',
    rival: rival('OpenConfirm', 'outgoing'),
    verdict: 'yield',
  },
  {
    title: 'we are dominant: ours dumps the incoming one',
    direction: 'outgoing',
    rival: rival('OpenConfirm', 'incoming'),
    verdict: 'dump',
  },
  {
    title: 'of two incoming ones the later is kept: the peer has given up the first',
    direction: 'incoming',
    rival: rival('OpenConfirm', 'incoming'),
    verdict: 'dump',
  },
  {
    title: 'of two incoming ones the one with the OPEN is kept',
    direction: 'incoming',
    rival: rival('OpenSent', 'incoming'),
    verdict: 'dump',
  },
  {
    title: 'an Established session is kept',
    direction: 'incoming',
    rival: rival('Established', 'incoming', { establishedSec: 1000 }),
    verdict: 'yield',
  },
  {
    title: 'with graceful restart a new connection means that the peer restarted (RFC 4724 4.2)',
    direction: 'incoming',
    rival: rival('Established', 'outgoing', later),
    verdict: 'supersede',
  },
  {
    title: 'with graceful restart a connection that was opened in parallel is still a collision',
    direction: 'incoming',
    rival: rival('Established', 'outgoing', { ...later, establishedSec: collisionWindowSec - 1 }),
    verdict: 'yield',
  },
  {
    title: 'our own late dial never replaces an Established session',
    direction: 'outgoing',
    rival: rival('Established', 'incoming', later),
    verdict: 'yield',
  },
]

for (const { title, direction, rival: other, verdict } of cases) {
  test(title, () => assert.equal(judgeOpen(high, low, direction, other), verdict))
}

test('the peer is dominant and its connection is silent: ours goes on beside it (RFC 4271 6.8)', () => {
  for (const state of ['Active', 'OpenSent'] as const) {
    const silent = rival(state, 'incoming', { isConnected: true })
    assert.deepEqual(
      [false, true].map((hasWaited) => judgeOpen(low, high, 'outgoing', silent, hasWaited)),
      ['wait', 'both'],
    )
  }
})

test('the peer is dominant: the incoming connection dumps ours, ours yields', () => {
  assert.equal(judgeOpen(low, high, 'incoming', rival('OpenSent', 'outgoing')), 'dump')
  assert.equal(judgeOpen(low, high, 'outgoing', rival('OpenConfirm', 'incoming')), 'yield')
})

const view = (state: FsmState, more: Partial<Rival> = {}): Rival => rival(state, 'outgoing', more)
const running = { isStopped: false, isAwaited: false }

test('a connection of the peer is taken unless we idle, and hears our OPEN first only where nothing else is there', () => {
  const states: readonly FsmState[] = ['Idle', 'Connect', 'Active', 'OpenSent', 'OpenConfirm', 'Established']
  assert.deepEqual(
    states.map((state) => admit(view(state), undefined, running)),
    ['refuse', 'listen', 'speak', 'listen', 'listen', 'listen'],
  )
  assert.deepEqual(
    states.map((state) => admit(view(state), undefined, { isStopped: true, isAwaited: true })),
    states.map(() => 'refuse'),
  )
  assert.equal(admit(view('Idle'), undefined, { isStopped: false, isAwaited: true }), 'begin')
})

test('a silent candidate does not keep the next one out; one with an OPEN, and ours, do', () => {
  const candidate = (more: Partial<Rival>): Rival => rival('OpenSent', 'incoming', more)
  assert.equal(admit(view('Active'), candidate({}), running), 'speak')
  assert.equal(admit(view('Established'), candidate({}), running), 'listen')
  assert.equal(admit(view('Established'), candidate({ hasOpen: true }), running), 'refuse')
  assert.equal(admit(view('OpenConfirm'), candidate({ direction: 'outgoing' }), running), 'refuse')
})

const agreement = { gracefulRestart: true, notificationRestart: false }
const lost: FsmEvent = { type: 'tcpFailed', reason: 'reset' }
const cease = (subcode: number, data: readonly number[] = []): FsmEvent => ({
  type: 'notificationReceived',
  code: 6,
  subcode,
  data,
})

test('routes are kept over a loss with graceful restart, over a NOTIFICATION with the N bit (RFC 4724 4.2, RFC 8538 4)', () => {
  const kept = (event: FsmEvent, more: Partial<typeof agreement> = {}, isStopped = false): boolean =>
    keepsRoutes({ event, actions: [], agreement: { ...agreement, ...more }, isStopped })
  assert.deepEqual(
    [kept(lost), kept(lost, { gracefulRestart: false }), kept(lost, {}, true), kept(cease(4))],
    [true, false, false, false],
  )
  const notificationRestart = true
  assert.deepEqual(
    [kept(cease(4), { notificationRestart }), kept(cease(9, [6, 4]), { notificationRestart })],
    [true, false],
  )
  const sent = (subcode: number): boolean =>
    keepsRoutes({
      event: { type: 'holdExpired' },
      actions: [{ do: 'notify', code: 6, subcode, data: [] }],
      agreement: { gracefulRestart: true, notificationRestart },
      isStopped: false,
    })
  assert.deepEqual([sent(6), sent(9)], [true, false])
})

test('a peer is let in at once after a loss that it may restart from, and after an end that its operator decided', () => {
  const awaited = (event: FsmEvent, failures: number, gracefulRestart = true): boolean =>
    isAwaitedAfter(
      { event, actions: [], agreement: { gracefulRestart, notificationRestart: false }, isStopped: false },
      failures,
      budget,
      0,
    )
  const budget = new DecisionBudget()
  assert.deepEqual([awaited(lost, 1), awaited(lost, 2), awaited(lost, 1, false)], [true, false, false])
  assert.deepEqual([awaited(cease(4), 9, false), awaited(cease(1), 1, false)], [true, false])
})

test('decisions are believed fifteen times a minute: who ends more sessions than that waits like any other', () => {
  const budget = new DecisionBudget()
  const taken = (at: number): number => Array.from({ length: 40 }, () => budget.take(at)).filter(Boolean).length
  assert.deepEqual([taken(0), taken(59), taken(60), taken(90)], [15, 0, 15, 0])
})
