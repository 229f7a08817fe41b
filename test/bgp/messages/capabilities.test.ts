/** What several instances of one capability mean (RFC 5492 4), whether in one parameter or in several. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { negotiate } from '../../../src/bgp/fsm/negotiate.ts'
import { type Capability, capabilityOf, encodeCapability } from '../../../src/bgp/messages/capabilities.ts'
import { decodeOpen } from '../../../src/bgp/messages/open.ts'
import { Writer } from '../../../src/bgp/messages/writer.ts'
import type { Neighbor } from '../../../src/desired/model.ts'
import { bytes, neighbor } from '../../speaker/session/fixture.ts'

const octets = (capability: Capability): Uint8Array => {
  const out = new Writer(64)
  encodeCapability(capability, out)
  return out.finish()
}

/** An OPEN of AS 64513 with these capabilities as octets: all in one parameter, or each in its own. */
function open(capabilities: readonly Uint8Array[], isSplit: boolean) {
  const groups = isSplit ? capabilities : [Buffer.concat(capabilities)]
  const parameters = Buffer.concat(groups.map((group) => Buffer.from([2, group.length, ...group])))
  const body = Buffer.concat([bytes('04 fc01 005a 0a000002'), Buffer.from([parameters.length]), parameters])
  const decoded = decodeOpen(body)
  return decoded.ok ? decoded.value : assert.fail(decoded.fault.reason)
}

const both = (capabilities: readonly Capability[], check: (found: ReturnType<typeof open>) => void): void => {
  for (const isSplit of [false, true]) check(open(capabilities.map(octets), isSplit))
}

const agreed = (config: Partial<Neighbor>, remote: ReturnType<typeof open>) => {
  const answer = negotiate(neighbor(config), remote)
  return answer.ok ? answer.value : assert.fail(answer.fault.reason)
}

const ipv4 = { afi: 1, safi: 1 }
const ipv6 = { afi: 2, safi: 1 }
const restart = (restartTimeSec: number, ...families: readonly (typeof ipv4)[]): Capability => ({
  type: 'gracefulRestart',
  restartState: false,
  notification: false,
  restartTimeSec,
  families: families.map((family) => ({ family, forwarding: true })),
})

test('of several graceful restart capabilities the last one counts (RFC 4724 3)', () => {
  both([restart(10), restart(120, ipv4)], (found) => {
    const { peerRestart } = agreed({ gracefulRestart: { restartTimeSec: 60, notification: false } }, found)
    assert.deepEqual([peerRestart?.restartTimeSec, peerRestart?.families.length], [120, 1])
  })
  both([restart(120, ipv4), restart(10)], (found) =>
    assert.deepEqual(capabilityOf(found.capabilities, 'gracefulRestart'), restart(10)),
  )
})

test('a malformed instance is as if it had not been sent: the one before it counts (RFC 5492 3)', () => {
  for (const isSplit of [false, true]) {
    const found = open([octets(restart(120, ipv4)), bytes('40 03 000a00')], isSplit)
    assert.deepEqual(capabilityOf(found.capabilities, 'gracefulRestart'), restart(120, ipv4))
  }
})

const addPath = (...entries: readonly (readonly [typeof ipv4, number])[]): Capability => ({
  type: 'addPath',
  entries: entries.map(([family, mode]) => ({ family, mode })),
})

test('entries of several ADD-PATH capabilities add up, and for one family the later wins (RFC 5492 4, RFC 7911 4)', () => {
  const families = (capabilities: readonly Capability[]): readonly number[][] => {
    const all: number[][] = []
    const multiprotocol = [ipv4, ipv6].map((family): Capability => ({ type: 'multiprotocol', family }))
    both([...multiprotocol, ...capabilities], (found) => {
      const { codec } = agreed({ addPathReceive: true, families: ['ipv4-unicast', 'ipv6-unicast'] }, found)
      all.push(codec.addPathReceive.map(({ afi }) => afi))
    })
    return all
  }
  const twice = (...afis: number[]): number[][] => [afis, afis]
  assert.deepEqual(families([addPath([ipv4, 2]), addPath([ipv6, 3])]), twice(1, 2))
  assert.deepEqual(families([addPath([ipv4, 1]), addPath([ipv4, 2])]), twice(1))
  assert.deepEqual(families([addPath([ipv4, 3], [ipv6, 3]), addPath([ipv4, 1])]), twice(2))
  assert.deepEqual(families([addPath([ipv4, 1], [ipv4, 3])]), twice(1), 'also inside one capability')
  assert.deepEqual(families([addPath([ipv4, 3]), addPath([ipv4, 9])]), twice(1), 'another mode is ignored')
})

test('entries of several extended next hop capabilities add up (RFC 5492 4, RFC 8950 4)', () => {
  const hop = (safi: number): Capability => ({
    type: 'extendedNextHop',
    entries: [{ family: { afi: 1, safi }, nextHopAfi: 2 }],
  })
  for (const order of [
    [hop(1), hop(128)],
    [hop(128), hop(1)],
  ])
    both(order, (found) => {
      const { codec } = agreed({ peerAddress: '2001:db8::2' }, found)
      assert.equal(codec.extendedNextHop, true)
      assert.equal(capabilityOf(found.capabilities, 'extendedNextHop')?.entries.length, 2)
    })
})

test('of several 4-octet AS capabilities the last one counts, as of any that does not say otherwise (RFC 5492 4)', () => {
  both(
    [
      { type: 'fourOctetAs', asn: 64_999 },
      { type: 'fourOctetAs', asn: 64_513 },
    ],
    (found) => assert.equal(agreed({}, found).peerAsn, 64_513),
  )
})

test('a capability without a value that is sent twice is the same as once (RFC 5492 4, RFC 2918 2, RFC 7313 3.1, RFC 8654 3)', () => {
  for (const type of ['routeRefresh', 'enhancedRouteRefresh', 'extendedMessage'] as const)
    both([{ type }, { type }], (found) => assert.deepEqual(capabilityOf(found.capabilities, type), { type }))
})

test('several multiprotocol capabilities are several families, and one that is sent twice is one (RFC 4760 8)', () => {
  both(
    [ipv6, ipv4, ipv6].map((family): Capability => ({ type: 'multiprotocol', family })),
    (found) => assert.deepEqual(agreed({ families: ['ipv4-unicast', 'ipv6-unicast'] }, found).families, [ipv4, ipv6]),
  )
})

test('of several roles only equal ones are one (RFC 9234 4.2)', () => {
  const roles = (...all: number[]): Capability[] => all.map((role) => ({ type: 'role', role }))
  both(roles(0, 0), (found) => assert.equal(negotiate(neighbor({ role: 'customer' }), found).ok, true))
  both(roles(0, 4), (found) => assert.equal(negotiate(neighbor({ role: 'customer' }), found).ok, false))
})
