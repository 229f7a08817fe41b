/** RFC 7606 attribute by attribute: what a malformed one leads to, and that the session goes on or not. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeUpdate, encodeUpdate } from '../../../src/bgp/messages/update.ts'
import { decodeRouteRefresh, encodeRouteRefresh } from '../../../src/bgp/messages/route-refresh.ts'
import { type CodecContext, ipv6Unicast, type PathAttributes } from '../../../src/bgp/messages/types.ts'
import { prefixOf } from '../../../src/ip/prefix.ts'
import { ctxOf } from './arbitraries.ts'

const route = { origin: '40010100', asPath: '40020602010000fde9', nextHop: '4003040a000001' }
const nlri = '180a0a0a'

/** The outcome of an UPDATE with these attribute elements in place of, or beside, those of a good route. */
function outcome(
  elements: Partial<typeof route> & { readonly more?: string; readonly routes?: string; readonly withdrawn?: string },
  ctx: CodecContext = ctxOf(),
): string {
  const { more = '', routes = nlri, withdrawn = '', ...own } = elements
  const attributes = Object.values({ ...route, ...own }).join('') + more
  const length = (hex: string): string => (hex.length / 2).toString(16).padStart(4, '0')
  const decoded = decodeUpdate(
    Buffer.from(`${length(withdrawn)}${withdrawn}${length(attributes)}${attributes}${routes}`, 'hex'),
    ctx,
  )
  if (!decoded.ok) return `reset ${decoded.fault.code}/${decoded.fault.subcode}`
  const actions = decoded.value.problems.map(({ action }) => action)
  return actions.includes('treat-as-withdraw')
    ? 'withdraw'
    : actions.includes('attribute-discard')
      ? 'discard'
      : 'accept'
}

const inside = ctxOf({ isExternal: false })
const localPref = '40050400000064'

const cases: readonly (readonly [
  title: string,
  outcome: string,
  ...elements: readonly (readonly [Parameters<typeof outcome>[0], CodecContext?])[],
])[] = [
  [
    'wrong Optional or Transitive bits withdraw (RFC 7606 3 c)',
    'withdraw',
    [{ origin: 'c0010100' }],
    [{ asPath: '80020602010000fde9' }],
    [{ more: '400804fde90001' }],
    [{ more: 'c0040400000001' }],
    [{ more: 'c00600' }],
    [{ more: '400708000000010a000001' }],
  ],
  [
    'a missing ORIGIN, AS_PATH, NEXT_HOP or, inside, LOCAL_PREF withdraws (RFC 7606 3 d)',
    'withdraw',
    [{ origin: '' }],
    [{ asPath: '' }],
    [{ nextHop: '' }],
    [{}, inside],
  ],
  [
    'of a repeated attribute the first one counts (RFC 7606 3 g)',
    'discard',
    [{ more: '40010102' }],
    [{ more: '8004040000000180040400000002' }],
  ],
  [
    'a repeated MP_REACH_NLRI or MP_UNREACH_NLRI resets with 3/1 (RFC 7606 3 g)',
    'reset 3/1',
    [{ more: '800f03000201800f03000201' }],
  ],
  [
    'of several errors the strongest decides (RFC 7606 3 h)',
    'withdraw',
    [{ origin: '40010107', more: '400601ff' }],
    [{ more: '400601ffc00803fde900' }],
  ],
  [
    'an attribute that runs past the end withdraws, and one with prefixes resets (RFC 7606 3 j)',
    'reset 3/1',
    [{ more: '800eff0002' }],
    [{ more: '800f09000201' }],
  ],
  [
    'the length of all attributes rules (RFC 7606 4)',
    'withdraw',
    [{ more: 'c008ff0001' }],
    [{ more: 'c0' }],
    [{ more: 'd00801' }],
  ],
  [
    'an error with no route announced resets (RFC 7606 5.2)',
    'reset 3/6',
    [{ origin: '40010107', routes: '' }],
    [{ origin: '40010107', routes: '', withdrawn: nlri }],
  ],
  [
    'prefixes that cannot be read reset with 3/10 (RFC 7606 5.3)',
    'reset 3/10',
    [{ routes: '210a0a0a0a00' }],
    [{ routes: '180a0a' }],
    [{ withdrawn: '180a0a' }],
    [{ origin: '40010107', routes: '210a' }],
  ],
  [
    'a malformed ORIGIN withdraws (RFC 7606 7.1)',
    'withdraw',
    [{ origin: '40010103' }],
    [{ origin: '400100' }],
    [{ origin: '4001020000' }],
  ],
  [
    'a malformed AS_PATH withdraws (RFC 7606 7.2)',
    'withdraw',
    [{ asPath: '40020605010000fde9' }],
    [{ asPath: '4002020200' }],
    [{ asPath: '40020602050000fde9' }],
    [{ asPath: '40020702010000fde9ff' }],
    [{ asPath: '40020603010000fde9' }],
  ],
  [
    'a malformed NEXT_HOP withdraws (RFC 7606 7.3)',
    'withdraw',
    [{ nextHop: '4003030a0000' }],
    [{ nextHop: '40030400000000' }],
    [{ nextHop: '400304e0000001' }],
    [{ nextHop: '4003047f000001' }],
  ],
  [
    'a malformed MULTI_EXIT_DISC withdraws (RFC 7606 7.4)',
    'withdraw',
    [{ more: '800403000007' }],
    [{ more: '800400' }],
  ],
  ['LOCAL_PREF of another AS is dropped (RFC 7606 7.5)', 'discard', [{ more: localPref }], [{ more: '400503000001' }]],
  ['a malformed LOCAL_PREF inside the AS withdraws (RFC 7606 7.5)', 'withdraw', [{ more: '40050300012c' }, inside]],
  ['a malformed ATOMIC_AGGREGATE is dropped (RFC 7606 7.6)', 'discard', [{ more: '40060100' }]],
  [
    'a malformed AGGREGATOR is dropped (RFC 7606 7.7)',
    'discard',
    [{ more: 'c00706fde90a000001' }],
    [{ more: 'c00708000000000a000001' }],
  ],
  ['malformed COMMUNITIES withdraw (RFC 7606 7.8)', 'withdraw', [{ more: 'c00805fde9000100' }], [{ more: 'c00800' }]],
  ['ORIGINATOR_ID of another AS is dropped (RFC 7606 7.9)', 'discard', [{ more: '80090401010101' }]],
  [
    'a malformed ORIGINATOR_ID inside the AS withdraws (RFC 7606 7.9)',
    'withdraw',
    [{ more: `${localPref}800903010101` }, inside],
  ],
  ['CLUSTER_LIST of another AS is dropped (RFC 7606 7.10)', 'discard', [{ more: '800a0401010101' }]],
  [
    'a malformed CLUSTER_LIST inside the AS withdraws (RFC 7606 7.10)',
    'withdraw',
    [{ more: `${localPref}800a050101010101` }, inside],
    [{ more: `${localPref}800a00` }, inside],
  ],
  [
    'an MP_REACH_NLRI whose next hop does not fit resets with 3/9 (RFC 7606 7.11)',
    'reset 3/9',
    [{ more: '800e0400020100' }],
    [{ more: '800e0700020109010203' }],
    [{ more: '800e060002011100ff' }],
  ],
  [
    'an MP_UNREACH_NLRI whose prefixes do not fit resets with 3/9 (RFC 7606 7.12)',
    'reset 3/9',
    [{ more: '800f020002' }],
    [{ more: '800f0400020181' }],
  ],
  [
    'malformed EXTENDED COMMUNITIES withdraw (RFC 7606 7.14)',
    'withdraw',
    [{ more: 'c010070002fde9000001' }],
    [{ more: 'c01000' }],
  ],
  [
    'malformed IPv6 EXTENDED COMMUNITIES withdraw (RFC 7606 7.15)',
    'withdraw',
    [{ more: `c01913${'00'.repeat(19)}` }],
    [{ more: 'c01900' }],
  ],
  ['AS 0 in AS_PATH withdraws (RFC 7607 2)', 'withdraw', [{ asPath: '40020602010000000' + '0' }]],
  ['AS 0 in AGGREGATOR drops it (RFC 7607 2)', 'discard', [{ more: 'c00708000000000a000001' }]],
  [
    'malformed large communities withdraw (RFC 8092 3)',
    'withdraw',
    [{ more: 'c0200b0000000000000000000000' }],
    [{ more: 'c02000' }],
  ],
  [
    'a malformed ONLY_TO_CUSTOMER withdraws (RFC 9234 5)',
    'withdraw',
    [{ more: 'c023050000000001' }],
    [{ more: 'c02300' }],
  ],
  [
    'an AS4_PATH or AS4_AGGREGATOR of a four-octet speaker is dropped (RFC 6793 6)',
    'discard',
    [{ more: 'c01106020100000001' }],
    [{ more: 'c01208000000010a000001' }],
  ],
]

for (const [title, expected, ...inputs] of cases) {
  test(title, () => {
    for (const [elements, ctx] of inputs) assert.equal(outcome(elements, ctx), expected, JSON.stringify(elements))
  })
}

test('what these cases change is all that is wrong with them', () => {
  assert.equal(outcome({}), 'accept')
  assert.equal(outcome({ more: localPref }, inside), 'accept')
  assert.equal(outcome({ more: '800f03000201' }), 'accept')
})

/** What a receiver makes of what we send. */
function sent(attributes: PathAttributes): PathAttributes | undefined {
  const decoded = decodeUpdate(
    encodeUpdate({ type: 'update', withdrawn: [], attributes, nlri: [prefixOf(0x0a0a0a00, 24)] }, ctxOf()).subarray(19),
    ctxOf(),
  )
  return decoded.ok ? decoded.value.message.attributes : undefined
}
const base: PathAttributes = { origin: 0, asPath: [{ type: 2, asns: [65001] }], nextHop: 0x0a000001 }

test('ORIGIN goes out as the originator set it (RFC 4271 5.1.1)', () => {
  for (const origin of [0, 1, 2]) assert.equal(sent({ ...base, origin })?.origin, origin)
})

test('MULTI_EXIT_DISC goes out as configured, 0 too (RFC 4271 5.1.4)', () => {
  for (const med of [0, 7, 4_294_967_295]) assert.equal(sent({ ...base, med })?.med, med)
  assert.equal(sent(base)?.med, undefined)
})

test('ATOMIC_AGGREGATE is there or not, without a value (RFC 4271 5.1.6)', () => {
  assert.deepEqual(
    [sent({ ...base, atomicAggregate: true })?.atomicAggregate, sent(base)?.atomicAggregate],
    [true, undefined],
  )
})

test('a repeated large community is removed silently (RFC 8092 5)', () => {
  assert.deepEqual(
    sent({
      ...base,
      largeCommunities: [
        [1, 2, 3],
        [1, 2, 3],
        [1, 2, 4],
      ],
    })?.largeCommunities,
    [
      [1, 2, 3],
      [1, 2, 4],
    ],
  )
})

test('MP_UNREACH_NLRI withdraws the routes of its family (RFC 4760 4)', () => {
  const prefixes = [`${'\u0020\u0001'.padEnd(16, '\u0000')}\u0020`]
  const decoded = decodeUpdate(
    encodeUpdate(
      { type: 'update', withdrawn: [], attributes: {}, nlri: [], mpUnreach: { family: ipv6Unicast, prefixes } },
      ctxOf(),
    ).subarray(19),
    ctxOf(),
  )
  assert.deepEqual(decoded.ok && decoded.value.message.mpUnreach?.prefixes, prefixes)
})

test('a ROUTE-REFRESH is AFI, subtype and SAFI in four octets (RFC 2918 3)', () => {
  const bytes = encodeRouteRefresh({ type: 'routeRefresh', family: ipv6Unicast, subtype: 0 })
  assert.equal(Buffer.from(bytes.subarray(18)).toString('hex'), '0500020001')
  assert.deepEqual(decodeRouteRefresh(bytes.subarray(19)), {
    ok: true,
    value: { type: 'routeRefresh', family: ipv6Unicast, subtype: 0 },
  })
})
