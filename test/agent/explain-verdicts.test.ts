/** Why a route is not where it is meant to be: one verdict, one cause, whatever else is the case. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  announcedVerdicts,
  brokenVersionVerdicts,
  peerVerdicts,
  podCidrVerdicts,
  receivedVerdicts,
  type Surroundings,
} from '../../src/agent/explain.ts'
import type { RouteView } from '../../src/api/types.ts'
import { verdictCodes } from '../../src/desired/codes.ts'
import type { DesiredPodCidr, Neighbor, Problem, Route, Verdict } from '../../src/desired/model.ts'
import type { PeerSnapshot } from '../../src/speaker/protocol.ts'
import { neighborOf } from '../speaker/pair.ts'

const ids = ['65001/192.0.2.1', '65001/192.0.2.2', '65002/2001:db8::3'] as const
const prefixes = ['203.0.113.1/32', '203.0.113.2/32', '2001:db8:f::1/128'] as const
type Families = PeerSnapshot['families']
const both: Families = [
  { family: 'ipv4-unicast', received: 0, advertised: 1 },
  { family: 'ipv6-unicast', received: 0, advertised: 1 },
]

function peerOf(id: string, more: Partial<PeerSnapshot> = {}): PeerSnapshot {
  return {
    id,
    virtualRouter: 'rack0',
    localAsn: 65_001,
    peerAsn: 65_010,
    peerAddress: id.slice(id.indexOf('/') + 1),
    peerPort: 179,
    state: 'Established',
    since: '2026-01-01T00:00:00.000Z',
    routerId: '192.0.2.9',
    capabilities: [],
    gracefulRestart: false,
    families: both,
    messagesIn: 0,
    messagesOut: 0,
    updatesIn: 0,
    updatesOut: 0,
    flaps: 0,
    transitions: [],
    ...more,
  }
}

const routeTo = (prefix: string, ...neighbors: readonly string[]): Route => ({ prefix, neighbors, attributes: {} })
const around = (more: Partial<Surroundings> = {}): Surroundings => ({
  peers: ids.map((id) => peerOf(id)),
  neighbors: ids.map((id) => neighborOf(65_001, 65_010, id.slice(id.indexOf('/') + 1), { id })),
  isDraining: false,
  ...more,
})
const codes = (verdicts: readonly Verdict[]): readonly string[] => verdicts.map(({ code }) => code)

test('a route that reached all whom it is for is one yes', () => {
  const sent = [{ peer: ids[0], prefix: prefixes[0] }]
  const verdicts = announcedVerdicts([routeTo(prefixes[0], ids[0])], sent, around())
  assert.deepEqual(verdicts, [{ step: 'announced', ok: true, code: 'Announced', message: 'Sent to 192.0.2.1' }])
})

test('a route that is for nobody says what to write, and is no success', () => {
  const [verdict] = announcedVerdicts([routeTo(prefixes[0])], [], around())
  assert.deepEqual([verdict?.ok, verdict?.code], [false, 'NoNeighbor'])
  assert.match(verdict?.remedy ?? '', /serviceSelector/)
})

/** Each cause alone, then together with all that come behind it: the first one is told. */
const causes: readonly (readonly [string, string, (before: Surroundings) => Surroundings])[] = [
  ['NotConfigured', 'is no neighbor', (before) => ({ ...before, peers: before.peers.slice(1) })],
  ['NotEstablished', 'no answer', (before) => withPeer(before, { state: 'Active', reason: 'no answer' })],
  ['Drained', 'drained', (before) => ({ ...before, isDraining: true })],
  ['FamilyNotConfigured', 'not configured for ipv4', (before) => withPeer(before, { families: both.slice(1) })],
  [
    'FamilyNotSent',
    'no IPv4 address',
    (before) =>
      withPeer(before, {
        families: [{ ...(both[0] as Families[number]), problem: 'no IPv4 address' }, ...both.slice(1)],
      }),
  ],
  ['AtPrefixLimit', 'maxPrefixesOut 1', (before) => withNeighbor(before, { maxPrefixesOut: 1 })],
  ['Sending', 'on its way', (before) => before],
]

function withPeer(before: Surroundings, more: Partial<PeerSnapshot>): Surroundings {
  return { ...before, peers: before.peers.map((peer) => (peer.id === ids[0] ? { ...peer, ...more } : peer)) }
}

function withNeighbor(before: Surroundings, more: Partial<Neighbor>): Surroundings {
  return { ...before, neighbors: before.neighbors.map((one) => (one.id === ids[0] ? { ...one, ...more } : one)) }
}

for (const [i, [code, text, make]] of causes.entries())
  test(`a route that a peer does not have for ${code} says so, alone and with every later cause beside it`, () => {
    const alone = make(around())
    const withAll = causes.slice(i).reduceRight((before, [, , cause]) => cause(before), around())
    for (const surroundings of [alone, withAll]) {
      const [summary, verdict, ...more] = announcedVerdicts([routeTo(prefixes[0], ids[0])], [], surroundings)
      assert.deepEqual([summary?.code, verdict?.code, more], ['NotAnnounced', code, []])
      assert.ok(verdict?.message.includes(text), verdict?.message)
      assert.ok((verdict?.remedy ?? '').length > 5)
      assert.ok(verdict?.message.startsWith(`${prefixes[0]} is not sent to 192.0.2.1: `))
    }
  })

test('what is odd about a next hop is told of a peer beside its yes, and is no reason for a route that is missing', () => {
  const odd: Families[number] = { ...(both[0] as Families[number]), problem: 'the next hop is odd', isAnnounced: true }
  const peer = { families: [odd, ...both.slice(1)] }
  const verdicts = peerVerdicts(peerOf(ids[0], peer), undefined)
  assert.deepEqual(
    verdicts.map(({ ok, code }) => [ok, code]),
    [
      [true, 'Configured'],
      [true, 'Established'],
      [true, 'ForeignNextHop'],
    ],
  )
  assert.equal(verdicts.at(-1)?.message, 'the next hop is odd')
  const limited = withNeighbor(withPeer(around(), peer), { maxPrefixesOut: 1 })
  const [, missing] = announcedVerdicts([routeTo(prefixes[0], ids[0])], [], limited)
  assert.equal(missing?.code, 'AtPrefixLimit')
})

const routesArbitrary = fc.array(
  fc.record({ prefix: fc.constantFrom(...prefixes), neighbors: fc.subarray([...ids]) }),
  { maxLength: 6 },
)
const pairsArbitrary = fc.subarray(ids.flatMap((peer) => prefixes.map((prefix) => ({ peer, prefix }))))

test('whatever is wanted and sent: yes when all is there, else one reason for each that is missing', () => {
  fc.assert(
    fc.property(routesArbitrary, pairsArbitrary, (wanted, sent) => {
      const routes = wanted.map(({ prefix, neighbors }) => routeTo(prefix, ...neighbors))
      const [summary, ...reasons] = announcedVerdicts(routes, sent, around())
      const pairs = new Set(wanted.flatMap(({ prefix, neighbors }) => neighbors.map((id) => `${prefix} ${id}`)))
      const there = new Set(sent.map(({ peer, prefix }) => `${prefix} ${peer}`))
      const missing = [...pairs].filter((pair) => !there.has(pair))
      const expected =
        pairs.size === 0
          ? 'NoNeighbor'
          : missing.length === 0
            ? 'Announced'
            : missing.length === pairs.size
              ? 'NotAnnounced'
              : 'AnnouncedToSome'
      assert.equal(summary?.code, expected)
      assert.equal(summary?.ok, expected === 'Announced')
      assert.equal(reasons.length, pairs.size === 0 ? 0 : missing.length)
      for (const [i, pair] of missing.entries()) {
        const [prefix = '', id = ''] = pair.split(' ')
        assert.ok(reasons[i]?.message.startsWith(`${prefix} is not sent to ${id.slice(id.indexOf('/') + 1)}: `))
      }
      // Who is named as reached was sent it.
      if (expected === 'AnnouncedToSome')
        for (const pair of pairs) {
          const [prefix = '', id = ''] = pair.split(' ')
          const name = id.slice(id.indexOf('/') + 1)
          const isNamed = (summary?.message ?? '').includes(`${name} (${prefix})`)
          if (new Set(wanted.filter(({ neighbors }) => neighbors.length > 0).map((one) => one.prefix)).size > 1)
            assert.equal(isNamed, there.has(pair), summary?.message)
        }
      for (const verdict of [summary, ...reasons]) {
        const { yes, no } = verdictCodes.announced
        assert.ok(verdict && [...yes, ...no].some((one) => one === verdict.code), verdict?.code)
        assert.equal(verdict.remedy === undefined, verdict.ok, 'a no has a remedy')
      }
    }),
  )
})

test('a session that is down says its state, its last end, what waits and how long its hold still lasts', () => {
  const states = ['Idle', 'Connect', 'Active', 'OpenSent', 'OpenConfirm'] as const
  for (const state of states) {
    const [configured, down] = peerVerdicts(peerOf(ids[0], { state, reason: 'no answer within 10 s' }), undefined)
    assert.deepEqual([configured?.ok, down?.code, down?.ok], [true, `State${state}`, false])
    assert.equal(down?.message, 'no answer within 10 s')
    assert.match(down?.remedy ?? '', /192\.0\.2\.1 port 179/)
  }
  const lastReset = {
    at: '2026-01-02T00:00:00.000Z',
    direction: 'received',
    code: 6,
    subcode: 2,
    text: 'Cease',
  } as const
  const held = peerVerdicts(peerOf(ids[0], { state: 'Idle', idleHoldSec: 3.2, lastReset }), undefined)
  assert.deepEqual(codes(held), ['Configured', 'StateIdle', 'IdleHold'])
  assert.equal(held[1]?.message, 'Idle; last reset 2026-01-02T00:00:00.000Z: Cease')
  assert.match(held[2]?.message ?? '', /in 4 s/)
  const pending = peerVerdicts(peerOf(ids[0], { pending: ['hold time 90 s -> 30 s'] }), undefined)
  assert.deepEqual(codes(pending), ['Configured', 'WaitsForNextSession', 'Established'])
  assert.ok(
    pending.every(({ ok }) => ok),
    'what waits is no fault',
  )
})

test('a peer is told with the object that it is of, and with what each of its families lacks', () => {
  const neighbor = neighborOf(65_001, 65_010, '192.0.2.1', { source: { kind: 'BGPPeer', name: 'tor' } })
  assert.match(peerVerdicts(peerOf(ids[0]), neighbor)[0]?.message ?? '', /of BGPPeer tor, local AS 65001$/)
  assert.match(peerVerdicts(peerOf(ids[0]), undefined)[0]?.message ?? '', /of policy rack0/)
  const families = both.map((one) => ({ ...one, problem: `${one.family}: no next hop` }))
  const verdicts = peerVerdicts(peerOf(ids[0], { families }), neighbor)
  assert.deepEqual(codes(verdicts), ['Configured', 'Established', 'FamilyNotSent', 'FamilyNotSent'])
  assert.deepEqual(
    verdicts.slice(2).map(({ message }) => message),
    ['ipv4-unicast: no next hop', 'ipv6-unicast: no next hop'],
  )
})

test('errors of UPDATEs are told of a session that is down, too', () => {
  const updateErrors = { treatedAsWithdraw: 0, attributeDiscarded: 4, ownAsInPath: 0 }
  const [, down] = peerVerdicts(peerOf(ids[0], { state: 'Active', updateErrors }), undefined)
  assert.equal(down?.message, 'Active; 4 UPDATEs lost an attribute')
})

const view = (more: Partial<RouteView>): RouteView => ({
  ...{ node: 'n', virtualRouter: 'rack0', prefix: '198.51.100.0/24', nextHop: '192.0.2.1', ageSeconds: 1 },
  ...{ origin: 'IGP', asPath: '65010', communities: [], largeCommunities: [], extendedCommunities: [] },
  ...more,
})

test('a prefix that only peers know is imported by whom the decision chose, or not used for the reason of the first', () => {
  const [used] = receivedVerdicts([
    view({ peer: ids[1], decision: 'longer AS path' }),
    view({ peer: ids[0], best: true, decision: 'shorter AS path' }),
  ])
  assert.deepEqual([used?.ok, used?.code], [true, 'Imported'])
  assert.match(used?.message ?? '', /^Received from 65001\/192\.0\.2\.1 and imported; shorter AS path\./)
  const [only] = receivedVerdicts([view({ peer: ids[0], best: true })])
  assert.match(only?.message ?? '', /the only path/)
  const [unused] = receivedVerdicts([view({ peer: ids[0] }), view({ peer: ids[1], decision: 'our own AS' })])
  assert.deepEqual([unused?.ok, unused?.code], [false, 'NotImported'])
  assert.match(unused?.message ?? '', /192\.0\.2\.1, 65001\/192\.0\.2\.2, and not used: no importPrefixes/)
})

test('a PodCIDR that is not selected says only that, and one that is says who has it', () => {
  const podCidr = (ok: boolean): DesiredPodCidr => ({
    prefix: prefixes[0],
    routes: ok ? [routeTo(prefixes[0], ids[0])] : [],
    verdicts: [
      { step: 'selected', ok, code: 'ExportPodCIDR', message: 'rack0', ...(ok ? {} : { remedy: 'label it' }) },
    ],
  })
  assert.deepEqual(codes(podCidrVerdicts(podCidr(false), [], around())), ['ExportPodCIDR'])
  const sent = [view({ peer: ids[0], prefix: prefixes[0] })]
  assert.deepEqual(codes(podCidrVerdicts(podCidr(true), sent, around())), ['ExportPodCIDR', 'Announced'])
  const given = podCidr(true)
  assert.notEqual(podCidrVerdicts(given, sent, around())[0], given.verdicts[0], 'what is held is not handed out')
})

test('of an object whose last version is broken each error is told with its field, and no warning', () => {
  const problem = (more: Partial<Problem>): Problem => ({
    object: { kind: 'Service', namespace: 'shop', name: 'web' },
    field: 'spec.ports[0].port',
    severity: 'error',
    code: 'InvalidField',
    message: '70000 is no port',
    remedy: 'Write 1 to 65535',
    ...more,
  })
  const verdicts = brokenVersionVerdicts([
    problem({}),
    problem({ severity: 'warning', message: 'a warning' }),
    problem({ field: '', message: 'the whole of it' }),
  ])
  assert.deepEqual(
    verdicts.map(({ step, ok, message, remedy }) => [step, ok, message, remedy]),
    ['spec.ports[0].port: 70000 is no port', 'the whole of it'].map((said) => [
      'valid',
      false,
      `What was written last of Service web is not in force as it is written: ${said}`,
      'Write 1 to 65535',
    ]),
  )
})
