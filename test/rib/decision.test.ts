import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { PathAttributes } from '../../src/bgp/messages/types.ts'
import { parsePrefix } from '../../src/ip/prefix.ts'
import { type Candidate, decide } from '../../src/rib/decision.ts'
import { LocRib } from '../../src/rib/loc-rib.ts'

const base: PathAttributes = { origin: 0, asPath: [{ type: 2, asns: [65010, 65020] }], nextHop: 1 }
const candidate = (
  peer: string | undefined,
  attributes: PathAttributes = {},
  more: Partial<Candidate> = {},
): Candidate => ({
  peer,
  attributes: { ...base, ...attributes },
  isExternal: true,
  bgpId: 100,
  peerAddress: 0x0a000001,
  pathId: 0,
  ...more,
})

/** Winner first; the clause of the step that decides. */
const duels: readonly (readonly [title: string, step: string, winner: Candidate, loser: Candidate])[] = [
  [
    'a route of this node',
    'locally originated',
    candidate(undefined, { asPath: [] }),
    candidate('b', { localPref: 1000, asPath: [] }),
  ],
  [
    'the higher LOCAL_PREF (RFC 4271 9.1.1)',
    'higher LOCAL_PREF',
    candidate('a', { localPref: 200, asPath: [{ type: 2, asns: [1, 2, 3, 4] }] }),
    candidate('b'),
  ],
  [
    'the shorter AS_PATH (RFC 4271 9.1.2.2 a)',
    'shorter AS_PATH',
    candidate('a', { asPath: [{ type: 2, asns: [1] }], origin: 2 }),
    candidate('b'),
  ],
  [
    'a set counts as one AS, confederations as none (RFC 4271 9.1.2.2 a)',
    'shorter AS_PATH',
    candidate('a', {
      asPath: [
        { type: 3, asns: [7, 8, 9] },
        { type: 1, asns: [1, 2, 3] },
      ],
    }),
    candidate('b'),
  ],
  [
    'the lower ORIGIN (RFC 4271 9.1.2.2 b)',
    'lower ORIGIN',
    candidate('a', { med: 500 }),
    candidate('b', { origin: 2 }),
  ],
  [
    'the lower MED of one neighbor AS (RFC 4271 9.1.2.2 c)',
    'lower MED of the same neighbor AS',
    candidate('a', { med: 10 }, { isExternal: false }),
    candidate('b', { med: 20 }),
  ],
  [
    'a missing MED is 0 (RFC 4271 9.1.2.2 c)',
    'lower MED of the same neighbor AS',
    candidate('a', {}, { bgpId: 900 }),
    candidate('b', { med: 1 }),
  ],
  [
    'eBGP before iBGP (RFC 4271 9.1.2.2 d)',
    'eBGP before iBGP',
    candidate('a', {}, { bgpId: 900 }),
    candidate('b', {}, { isExternal: false }),
  ],
  [
    'the shorter CLUSTER_LIST (RFC 4456 9)',
    'shorter CLUSTER_LIST',
    candidate('a', { clusterList: [1] }, { peerAddress: 0x0a000009 }),
    candidate('b', { clusterList: [1, 2] }),
  ],
  [
    'the lower BGP Identifier (RFC 4271 9.1.2.2 f)',
    'lower BGP Identifier',
    candidate('a', { clusterList: [1, 2, 3] }, { bgpId: 99, peerAddress: 0x0a000009 }),
    candidate('b'),
  ],
  [
    'ORIGINATOR_ID in its place (RFC 4456 9)',
    'lower BGP Identifier',
    candidate('a', { originatorId: 1 }, { bgpId: 900 }),
    candidate('b'),
  ],
  [
    'the lower peer address (RFC 4271 9.1.2.2 g)',
    'lower peer address',
    candidate('a'),
    candidate('b', {}, { peerAddress: 0x0a000002 }),
  ],
  [
    'the lower path identifier (RFC 7911 3)',
    'lower path identifier',
    candidate('a', {}, { pathId: 1 }),
    candidate('a', {}, { pathId: 2 }),
  ],
]

for (const [title, step, winner, loser] of duels) {
  test(`${title}, whichever came first`, () => {
    for (const both of [
      [winner, loser],
      [loser, winner],
    ]) {
      const decision = decide(both)
      assert.equal(decision?.best, winner)
      assert.match(decision?.losses[0]?.reason ?? '', new RegExp(`^${step}: .+ against .+`))
    }
  })
}

test('MED is compared only among paths of one neighbor AS (RFC 4271 9.1.2.2 c)', () => {
  const other = candidate('b', { med: 5, asPath: [{ type: 2, asns: [65011, 65020] }] }, { bgpId: 50 })
  assert.equal(decide([candidate('a', { med: 1 }), other])?.best, other)
})

test('two links to one router, alike in everything, are told apart by the neighbor, whichever came first', () => {
  const links = [candidate('eth0'), candidate('eth1')] as const
  for (const order of [links, [links[1], links[0]]])
    assert.deepEqual(decide(order), {
      best: links[0],
      losses: [{ candidate: links[1], reason: 'first neighbor by name: eth0 against eth1' }],
    })
})

test('where pairs would go round in a circle by MED, every order of arrival says the same (RFC 4271 9.1.2.2 c)', () => {
  // Pair by pair: a before b and b before c by identifier, c before a by MED.
  const a = candidate('a', { med: 20 }, { bgpId: 1 })
  const b = candidate('b', { asPath: [{ type: 2, asns: [65011, 65020] }] }, { bgpId: 2 })
  const c = candidate('c', { med: 10 }, { bgpId: 3 })
  for (const order of [
    [a, b, c],
    [a, c, b],
    [b, a, c],
    [b, c, a],
    [c, a, b],
    [c, b, a],
  ]) {
    const decision = decide(order)
    assert.equal(decision?.best, b)
    assert.deepEqual(
      decision.losses.map(({ candidate: { peer }, reason }) => [peer, reason]),
      [
        ['a', 'lower MED of the same neighbor AS: 10 against 20'],
        ['c', 'lower BGP Identifier: 0.0.0.2 against 0.0.0.3'],
      ],
    )
  }
})

test('the words say both values', () => {
  assert.equal(
    decide([candidate('a', { asPath: [{ type: 2, asns: [1] }] }), candidate('b')])?.losses[0]?.reason,
    'shorter AS_PATH: 1 against 2',
  )
})

const anyCandidate: fc.Arbitrary<Candidate> = fc.record({
  peer: fc.option(fc.constantFrom('a', 'b', 'c'), { nil: undefined }),
  attributes: fc.record({
    origin: fc.nat({ max: 2 }),
    asPath: fc.array(
      fc.record({
        type: fc.constantFrom(1, 2, 3),
        asns: fc.array(fc.constantFrom(65010, 65011), { minLength: 1, maxLength: 2 }),
      }),
      { maxLength: 2 },
    ),
    med: fc.nat({ max: 2 }),
    localPref: fc.constantFrom(100, 200),
    clusterList: fc.array(fc.nat({ max: 3 }), { maxLength: 2 }),
  }),
  isExternal: fc.boolean(),
  bgpId: fc.nat({ max: 3 }),
  peerAddress: fc.nat({ max: 3 }),
  pathId: fc.nat({ max: 3 }),
})

test('the choice does not depend on the order of arrival, and everything but the best is accounted for', () => {
  const cases = fc
    .uniqueArray(anyCandidate, { minLength: 1, maxLength: 8, selector: ({ peer, pathId }) => `${peer}/${pathId}` })
    .chain((all) =>
      fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length, maxLength: all.length })),
    )
  fc.assert(
    fc.property(cases, ([all, shuffled]) => {
      const one = decide(all)
      assert.deepEqual(decide(shuffled), one)
      assert.equal((one?.losses.length ?? 0) + 1, all.length)
    }),
    { numRuns: 1000 },
  )
})

test('the Loc-RIB keeps what each peer offers, decides anew when it changes, and forgets a peer (RFC 4271 3.2)', () => {
  const rib = new LocRib()
  const prefix = parsePrefix('192.0.2.0/24') ?? assert.fail()
  assert.equal(rib.decision(prefix), undefined)
  rib.setImported(prefix, 'a', [candidate('a')])
  rib.setImported(prefix, 'b', [candidate('b', { localPref: 200 }), candidate('b', {}, { pathId: 7 })])
  assert.equal(rib.decision(prefix)?.best.peer, 'b')
  assert.equal(rib.decision(prefix)?.losses.length, 2)
  rib.set(prefix, [{ neighbors: ['a'], attributes: {} }], 1)
  assert.equal(rib.decision(prefix)?.best.peer, undefined)
  rib.set(prefix, [], 1)
  assert.deepEqual([rib.isOffered(prefix, 'b'), rib.isOffered(prefix, 'c')], [true, false])
  rib.setImported(prefix, 'b', [])
  assert.equal(rib.decision(prefix)?.best.peer, 'a')
  rib.setImported(prefix, 'a', [])
  assert.deepEqual([rib.decision(prefix), [...rib.imported()]], [undefined, []])
})
