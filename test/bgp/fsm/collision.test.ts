import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  type CollisionVerdict,
  collisionWindowSec,
  type Direction,
  judgeCollision,
  keptDirection,
  type Rival,
} from '../../../src/bgp/fsm/collision.ts'
import type { FsmState } from '../../../src/bgp/fsm/events.ts'

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
    title: 'we are dominant: the incoming one yields to ours in OpenSent',
    direction: 'incoming',
    rival: rival('OpenSent', 'outgoing'),
    verdict: 'yield',
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
    title: 'of two incoming ones the later yields',
    direction: 'incoming',
    rival: rival('OpenConfirm', 'incoming'),
    verdict: 'yield',
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
  test(title, () => assert.equal(judgeCollision(high, low, direction, other), verdict))
}

test('the peer is dominant: the incoming connection dumps ours, ours yields', () => {
  assert.equal(judgeCollision(low, high, 'incoming', rival('OpenSent', 'outgoing')), 'dump')
  assert.equal(judgeCollision(low, high, 'outgoing', rival('OpenConfirm', 'incoming')), 'yield')
})
