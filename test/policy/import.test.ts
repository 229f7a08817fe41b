import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { PathAttributes } from '../../src/bgp/messages/types.ts'
import type { BgpRole } from '../../src/desired/model.ts'
import { parsePrefix } from '../../src/ip/prefix.ts'
import {
  compileImport,
  egressOtc,
  type ImportFacts,
  importVerdict,
  ingressProblem,
  isMartian,
  isUnsuspicious,
} from '../../src/policy/import.ts'

const facts: ImportFacts = {
  isExternal: true,
  ownAsns: [65001, 64999],
  peerAsn: 65010,
  bgpId: 0x0a000001,
  localAddress: 0xc0000201,
}
const inside: ImportFacts = { ...facts, isExternal: false, peerAsn: 65001 }
const path: PathAttributes = { origin: 0, asPath: [{ type: 2, asns: [65010, 65020] }], nextHop: 0xc0000202 }
const through = (...asns: number[]): PathAttributes => ({ ...path, asPath: [{ type: 2, asns }] })

test(
  'a path through our own AS, also the one shown to this neighbor, counts as withdrawn (RFC 4271 9.1.2, RFC ' +
    '7705 4)',
  () => {
    assert.deepEqual([ingressProblem(path, facts), importVerdict(path, facts).ok], [undefined, true])
    for (const own of facts.ownAsns) assert.match(ingressProblem(through(65010, own), facts) ?? '', /our own AS/)
    assert.deepEqual(
      [1, 2, 3].map(
        (times) =>
          ingressProblem(through(65010, ...Array<number>(times).fill(65001)), facts, { allowAsIn: 2 }) === undefined,
      ),
      [true, true, false],
    )
  },
)

test('AS_SET and AS_CONFED_SET count as withdrawn (RFC 9774 3, RFC 6472)', () => {
  for (const type of [1, 4])
    assert.match(
      ingressProblem(
        {
          ...path,
          asPath: [
            { type: 2, asns: [65010] },
            { type, asns: [1, 2] },
          ],
        },
        { ...facts, isExternal: type === 1 },
      ) ?? '',
      /AS_SET/,
    )
  assert.equal(
    ingressProblem(
      {
        ...path,
        asPath: [
          { type: 2, asns: [65010] },
          { type: 1, asns: [1, 2] },
        ],
      },
      facts,
      { rejectAsSets: false },
    ),
    undefined,
  )
})

test("on eBGP the first AS must be the neighbor's, but for the route server of a client (RFC 4271 6.3)", () => {
  for (const strange of [through(65020, 65010), through(), { ...path, asPath: [] }])
    assert.match(ingressProblem(strange, facts) ?? '', /first AS/)
  assert.equal(ingressProblem(through(65020), { ...facts, role: 'rs-client' }), undefined)
  assert.equal(ingressProblem(through(65020, 65010), facts, { enforceFirstAs: false }), undefined)
  assert.equal(ingressProblem({ ...path, asPath: [] }, inside), undefined)
})

test('a route of ours that comes back from a route reflector is not eligible (RFC 4456 8)', () => {
  const refused = (more: PathAttributes, where = inside): boolean => !importVerdict({ ...path, ...more }, where).ok
  assert.equal(refused({ originatorId: facts.bgpId }), true)
  assert.equal(refused({ originatorId: 1, clusterList: [2, facts.bgpId] }), true)
  assert.equal(refused({ originatorId: 1, clusterList: [2, 3] }), false)
})

test('a path whose next hop is our own address is not eligible (RFC 4271 5.1.3)', () => {
  assert.equal(importVerdict({ ...path, nextHop: facts.localAddress }, facts).ok, false)
})

test('a route with GRACEFUL_SHUTDOWN is the last choice (RFC 8326 4.3)', () => {
  const verdict = importVerdict({ ...path, communities: [0xffff0000], localPref: 300 }, facts)
  assert.equal(verdict.ok && verdict.attributes.localPref, 0)
})

test('OTC: leaks are refused by role, and what comes from above is marked (RFC 9234 5, ingress)', () => {
  const otcOf = (role: BgpRole, otc?: number): number | string | undefined => {
    const verdict = importVerdict({ ...path, ...(otc === undefined ? {} : { otc }) }, { ...facts, role })
    return verdict.ok ? verdict.attributes.otc : 'leak'
  }
  // Our role, and a route with OTC of another AS, of the neighbor's, and without.
  assert.deepEqual(
    (['provider', 'rs', 'peer', 'customer', 'rs-client'] as const).map((role) => [
      otcOf(role, 65020),
      otcOf(role, 65010),
      otcOf(role),
    ]),
    [
      ['leak', 'leak', undefined],
      ['leak', 'leak', undefined],
      ['leak', 65010, 65010],
      [65020, 65010, 65010],
      [65020, 65010, 65010],
    ],
  )
  assert.equal(importVerdict({ ...path, otc: 1 }, facts).ok, true, 'without a role OTC means nothing')
})

test('OTC is added to what goes to a customer, a peer or a route server client (RFC 9234 5, egress)', () => {
  assert.deepEqual(
    (['provider', 'rs', 'peer', 'customer', 'rs-client', undefined] as const).map((role) => egressOtc(role, 65001)),
    [65001, 65001, 65001, undefined, undefined, undefined],
  )
})

test('nothing is imported that no list names; ge and le bound the length as in a prefix-list (RFC 8212 2)', () => {
  const matches = (entries: Parameters<typeof compileImport>[0], ...prefixes: string[]): boolean[] =>
    prefixes.map((text) => compileImport(entries)(parsePrefix(text) ?? assert.fail(text)))
  assert.deepEqual(matches(undefined, '0.0.0.0/0', '10.0.0.0/8'), [false, false])
  assert.deepEqual(matches([{ prefix: '10.0.0.0/8' }], '10.0.0.0/8', '10.1.0.0/16', '0.0.0.0/0'), [true, false, false])
  assert.deepEqual(
    matches([{ prefix: '10.0.0.0/8', le: 16 }], '10.0.0.0/8', '10.1.0.0/16', '10.1.1.0/24', '11.0.0.0/16'),
    [true, true, false, false],
  )
  assert.deepEqual(matches([{ prefix: '10.0.0.0/8', ge: 16 }], '10.0.0.0/8', '10.1.0.0/16', '10.1.1.1/32'), [
    false,
    true,
    true,
  ])
  assert.deepEqual(
    matches(
      [{ prefix: '2001:db8::/32', ge: 48, le: 64 }],
      '2001:db8::/32',
      '2001:db8:1::/48',
      '2001:db8:1::1/128',
      '10.0.0.0/8',
    ),
    [false, true, false, false],
  )
  assert.deepEqual(matches([{ prefix: '0.0.0.0/0' }], '0.0.0.0/0', '10.0.0.0/8', '::/0'), [true, false, false])
})

test('loopback, multicast and class E prefixes are never imported, what holds them is', () => {
  const judged = (...prefixes: string[]): boolean[] =>
    prefixes.map((text) => isMartian(parsePrefix(text) ?? assert.fail(text)))
  assert.deepEqual(
    judged(
      '127.0.0.0/8',
      '127.0.0.1/32',
      '224.0.0.0/4',
      '239.1.1.1/32',
      '240.0.0.0/4',
      '255.255.255.255/32',
      '::1/128',
      'ff00::/8',
      'ff02::1/128',
    ),
    Array(9).fill(true),
  )
  assert.deepEqual(
    judged('0.0.0.0/0', '126.0.0.0/8', '128.0.0.0/1', '223.255.255.0/24', '::/0', '2001:db8::/32', 'fd00::/8'),
    Array(7).fill(false),
  )
})

test('a path that is unsuspicious has no ingress problem, whatever is relaxed, and most paths are', () => {
  const asn = fc.oneof(fc.constantFrom(65_001, 64_999, 65_010), fc.integer({ min: 1, max: 0xffffffff }))
  const seen = { unsuspicious: 0, other: 0 }
  fc.assert(
    fc.property(fc.array(asn, { maxLength: 4 }), fc.boolean(), fc.boolean(), (asns, isExternal, isAtServer) => {
      const these: ImportFacts = { ...facts, isExternal, ...(isAtServer ? { role: 'rs-client' } : {}) }
      const plain = { firstAs: asns[0] ?? 0, passes: (wanted: number) => asns.includes(wanted) }
      const strict = ingressProblem(asns.length === 0 ? { ...path, asPath: [] } : through(...asns), these)
      if (isUnsuspicious(plain, these)) assert.equal(strict, undefined)
      seen[isUnsuspicious(plain, these) ? 'unsuspicious' : 'other']++
    }),
    { numRuns: 1_000 },
  )
  assert.ok(seen.unsuspicious > 50 && seen.other > 50, JSON.stringify(seen))
})
