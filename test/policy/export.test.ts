import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Address, parseAddress } from '../../src/ip/address.ts'
import { chooseNextHop, exportAttributes, type ExportView, type SessionFacts } from '../../src/policy/export.ts'

const address = (text: string): Address => parseAddress(text) ?? assert.fail(text)
const v4 = address('192.0.2.1')
const v6 = address('2001:db8::1')
const external: ExportView = { localAsn: 4_200_000_001, isExternal: true, nextHops: { 'ipv4-unicast': v4 } }
const internal: ExportView = { ...external, isExternal: false }

test('eBGP sends our AS in AS_PATH and no LOCAL_PREF (RFC 4271 5.1.2, 5.1.5)', () => {
  assert.deepEqual(exportAttributes({ localPreference: 200 }, external, v4), {
    origin: 0,
    asPath: [{ type: 2, asns: [4_200_000_001] }],
    nextHop: v4,
  })
})

test('iBGP sends an empty AS_PATH and LOCAL_PREF, 100 unless the route says otherwise', () => {
  assert.deepEqual(exportAttributes({}, internal, v4), { origin: 0, asPath: [], nextHop: v4, localPref: 100 })
  assert.equal(exportAttributes({ localPreference: 0 }, internal, v4).localPref, 0)
})

test('communities go out ascending and once (RFC 1997, RFC 8092); a MED of 0 is a MED', () => {
  const sent = exportAttributes(
    { communities: [0xffffff01, 5, 5], largeCommunities: ['10:0:1', '9:4294967295:0', '10:0:1'], med: 0 },
    external,
    v4,
  )
  assert.deepEqual(sent.communities, [5, 0xffffff01])
  assert.deepEqual(sent.largeCommunities, [
    [9, 4_294_967_295, 0],
    [10, 0, 1],
  ])
  assert.equal(sent.med, 0)
})

test('what is no large community is left out', () => {
  assert.equal(
    exportAttributes({ largeCommunities: ['1:2', '1:2:4294967296', '1:2:x', '01:2:3'] }, external, v4).largeCommunities,
    undefined,
  )
})

const over = (localAddress: Address, more: Partial<SessionFacts> = {}): SessionFacts => ({
  localAddress,
  extendedNextHop: false,
  interfaceAddresses: () => [],
  ...more,
})

test('the next hop is the address of the session where its family fits (RFC 4271 5.1.3)', () => {
  assert.deepEqual(chooseNextHop('ipv4-unicast', {}, over(v4)), { ok: true, nextHop: v4 })
  assert.deepEqual(chooseNextHop('ipv6-unicast', {}, over(v6)), { ok: true, nextHop: v6 })
})

test('a family that neither session, interface nor node has an address of is left out, with what to do', () => {
  const refused = chooseNextHop('ipv6-unicast', {}, over(v4, { interfaceAddresses: () => [v4] }))
  assert.deepEqual(refused, {
    ok: false,
    reason:
      'ipv6-unicast is not announced: the session runs over IPv4, and neither its interface nor the Node has an ' +
      'IPv6 address; give the neighbor a next hop of this family',
  })
  const configured = (family: 'ipv4-unicast' | 'ipv6-unicast', text: string, session: SessionFacts) =>
    chooseNextHop(family, { nextHops: { [family]: text } }, session)
  assert.deepEqual(configured('ipv6-unicast', '2001:db8::1', over(v4)), { ok: true, nextHop: v6 })
  assert.equal(configured('ipv6-unicast', '192.0.2.9', over(v4)).ok, false)
  assert.equal(chooseNextHop('ipv4-unicast', {}, over(v6)).ok, false)
  assert.deepEqual(configured('ipv4-unicast', '192.0.2.1', over(v6)), { ok: true, nextHop: v4 })
})

test('the next hop of the other family: configured, else of the interface, else of the node, as FRR takes it', () => {
  const [a, b, c] = ['2001:db8::a', '2001:db8::b', '2001:db8::c'] as const
  const session = over(v4, { interfaceAddresses: () => [v4, address(b)] })
  const nodeAddresses = { 'ipv6-unicast': c }
  assert.deepEqual(chooseNextHop('ipv6-unicast', { nextHops: { 'ipv6-unicast': a }, nodeAddresses }, session), {
    ok: true,
    nextHop: address(a),
  })
  assert.deepEqual(chooseNextHop('ipv6-unicast', { nodeAddresses }, session), { ok: true, nextHop: address(b) })
  assert.deepEqual(chooseNextHop('ipv6-unicast', { nodeAddresses }, over(v4)), { ok: true, nextHop: address(c) })
  // Of the session's own family its own address is better than any of them.
  assert.deepEqual(
    chooseNextHop('ipv6-unicast', { nodeAddresses }, over(v6, { interfaceAddresses: () => [address(b)] })),
    {
      ok: true,
      nextHop: v6,
    },
  )
  for (const wrong of ['192.0.2.7', 'node-a', ''])
    assert.equal(chooseNextHop('ipv6-unicast', { nodeAddresses: { 'ipv6-unicast': wrong } }, over(v4)).ok, false)
})

test('IPv4 routes carry an IPv6 next hop where RFC 8950 was negotiated', () => {
  assert.deepEqual(chooseNextHop('ipv4-unicast', {}, over(v6, { extendedNextHop: true })), { ok: true, nextHop: v6 })
})

test(
  'between link-local neighbors the link-local address is the next hop, of IPv4 routes where RFC 8950 4 was ' +
    'negotiated',
  () => {
    const linkLocal = over(address('fe80::1'))
    assert.deepEqual(chooseNextHop('ipv6-unicast', {}, linkLocal), { ok: true, nextHop: address('fe80::1') })
    assert.equal(chooseNextHop('ipv4-unicast', {}, linkLocal).ok, false)
    assert.equal(chooseNextHop('ipv4-unicast', {}, { ...linkLocal, extendedNextHop: true }).ok, true)
  },
)

test('prepends put our AS in front once more, on eBGP only (RFC 4271 5.1.2)', () => {
  assert.deepEqual(
    exportAttributes({ asPathPrepend: 2 }, { localAsn: 65001, isExternal: true, nextHops: {} }, 1).asPath,
    [{ type: 2, asns: [65001, 65001, 65001] }],
  )
  assert.deepEqual(
    exportAttributes({ asPathPrepend: 2 }, { localAsn: 65001, isExternal: false, nextHops: {} }, 1).asPath,
    [],
  )
})

test('the AS shown to a neighbor stands in front of our own (RFC 7705 4)', () => {
  const view = { localAsn: 65001, localAs: 64999, isExternal: true, nextHops: {} }
  assert.deepEqual(exportAttributes({}, view, 1).asPath, [{ type: 2, asns: [64999, 65001] }])
  assert.deepEqual(exportAttributes({ asPathPrepend: 1 }, view, 1).asPath, [{ type: 2, asns: [64999, 64999, 65001] }])
})

test('a drained node adds GRACEFUL_SHUTDOWN, and LOCAL_PREF 0 inside the AS (RFC 8326 4)', () => {
  const outside = exportAttributes(
    { communities: [7] },
    { localAsn: 65001, isExternal: true, isGracefulShutdown: true, nextHops: {} },
    1,
  )
  assert.deepEqual([outside.communities, outside.localPref], [[7, 0xffff0000], undefined])
  assert.equal(
    exportAttributes(
      { localPreference: 300 },
      { localAsn: 65001, isExternal: false, isGracefulShutdown: true, nextHops: {} },
      1,
    ).localPref,
    0,
  )
})

test('extended communities go out ascending and once, and OTC as the role wants it (RFC 4360 3, RFC 9234 5)', () => {
  const found = exportAttributes(
    { extendedCommunities: ['0003fde800000064', '0002fde800000064', '0002fde800000064'] },
    { localAsn: 65001, isExternal: true, otc: 65001, nextHops: {} },
    1,
  )
  assert.deepEqual([found.extendedCommunities, found.otc], [['0002fde800000064', '0003fde800000064'], 65001])
})
