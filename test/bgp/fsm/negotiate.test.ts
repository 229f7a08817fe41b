import assert from 'node:assert/strict'
import { test } from 'node:test'
import { localOpen, negotiate } from '../../../src/bgp/fsm/negotiate.ts'
import { ipv4Unicast, ipv6Unicast, type OpenMessage } from '../../../src/bgp/messages/types.ts'
import type { Capability } from '../../../src/bgp/messages/capabilities.ts'
import type { Neighbor } from '../../../src/desired/model.ts'
import { neighbor } from '../../speaker/session/fixture.ts'

const multiprotocol4: Capability = { type: 'multiprotocol', family: ipv4Unicast }
const multiprotocol6: Capability = { type: 'multiprotocol', family: ipv6Unicast }
const helper: Capability = {
  type: 'gracefulRestart',
  restartState: true,
  notification: true,
  restartTimeSec: 120,
  families: [],
}
const gracefulRestart = { restartTimeSec: 120, notification: false }

const open = (overrides: Partial<OpenMessage> = {}): OpenMessage => ({
  type: 'open',
  version: 4,
  myAs: 64513,
  holdTimeSec: 90,
  bgpId: 0x0a000002,
  capabilities: [multiprotocol4, { type: 'fourOctetAs', asn: 64513 }],
  ...overrides,
})

function agree(local: Partial<Neighbor>, remote: Partial<OpenMessage>) {
  const answer = negotiate(neighbor(local), open(remote))
  assert.ok(answer.ok, answer.ok ? '' : answer.fault.reason)
  return answer.value
}

function refusal(local: Partial<Neighbor>, remote: Partial<OpenMessage>): string {
  const answer = negotiate(neighbor(local), open(remote))
  assert.ok(!answer.ok, 'the OPEN was accepted')
  const { code, subcode, data } = answer.fault
  return `${code}/${subcode} ${Buffer.from(data).toString('hex')}`.trimEnd()
}

const fourOctet = (asn: number): Partial<OpenMessage> => ({
  myAs: asn > 65535 ? 23456 : asn,
  capabilities: [multiprotocol4, { type: 'fourOctetAs', asn }],
})

test('an AS other than configured is refused by 2/2 (RFC 4271 6.2)', () => {
  assert.equal(refusal({ peerAsn: 64514 }, {}), '2/2')
  assert.equal(
    refusal({ peerAsn: 64513 }, { capabilities: [multiprotocol4, { type: 'fourOctetAs', asn: 4200000000 }] }),
    '2/2',
  )
})

test('the 4-octet AS capability decides over My Autonomous System (RFC 6793 4.1)', () => {
  assert.equal(agree({ peerAsn: 4200000000 }, fourOctet(4200000000)).peerAsn, 4200000000)
  assert.equal(agree({}, { capabilities: [multiprotocol4] }).codec.fourOctetAs, false)
})

test('a dynamic AS takes what the OPEN says', () => {
  const agreement = agree({ peerAsn: 0 }, fourOctet(64999))
  assert.deepEqual([agreement.peerAsn, agreement.codec.isExternal], [64999, true])
  assert.equal(agree({ peerAsn: 0 }, fourOctet(64512)).codec.isExternal, false)
})

test('our own BGP Identifier is refused by 2/3 inside our AS only (RFC 6286 2.2)', () => {
  assert.equal(refusal({ peerAsn: 64512 }, { ...fourOctet(64512), bgpId: 0x0a000001 }), '2/3')
  assert.equal(agree({}, { bgpId: 0x0a000001 }).peerAsn, 64513)
})

test('no family in common is refused by 2/7 with the capabilities wanted (RFC 5492 5)', () => {
  assert.equal(refusal({ families: ['ipv6-unicast'] }, {}), '2/7 010400020001')
  assert.equal(refusal({ families: ['ipv4-unicast'] }, { capabilities: [multiprotocol6] }), '2/7 010400010001')
})

test('a peer without multiprotocol capability speaks IPv4 unicast (RFC 4760 8)', () => {
  assert.deepEqual(agree({ families: ['ipv4-unicast', 'ipv6-unicast'] }, { capabilities: [] }).families, [ipv4Unicast])
})

test('families are those of both sides', () => {
  assert.deepEqual(
    agree(
      { families: ['ipv4-unicast', 'ipv6-unicast'] },
      { capabilities: [multiprotocol6, multiprotocol4, { type: 'multiprotocol', family: { afi: 25, safi: 70 } }] },
    ).families,
    [ipv4Unicast, ipv6Unicast],
  )
})

test('the smaller hold time holds; keepalives at a third of it, never 0 while there is one (RFC 4271 4.2, 4.4)', () => {
  const times = (local: number, keepaliveSec: number, remote: number): readonly number[] => {
    const { holdTimeSec, keepaliveSec: agreed } = agree({ holdTimeSec: local, keepaliveSec }, { holdTimeSec: remote })
    return [holdTimeSec, agreed]
  }
  assert.deepEqual(times(90, 30, 9), [9, 3])
  assert.deepEqual(times(9, 3, 180), [9, 3])
  assert.deepEqual(times(90, 10, 90), [90, 10])
  assert.deepEqual(times(90, 0, 3), [3, 1])
  assert.deepEqual(times(0, 30, 90), [0, 0])
  assert.deepEqual(times(90, 30, 0), [0, 0])
})

test('graceful restart counts when we enable it and the peer sends capability 64, with families or without', () => {
  const capabilities = [multiprotocol4, helper]
  assert.equal(agree({ gracefulRestart }, { capabilities }).gracefulRestart, true)
  assert.equal(agree({}, { capabilities }).gracefulRestart, false)
  assert.equal(agree({ gracefulRestart }, {}).gracefulRestart, false)
})

test('what was agreed has short names for people', () => {
  assert.deepEqual(
    agree(
      { gracefulRestart },
      { capabilities: [multiprotocol4, { type: 'fourOctetAs', asn: 64513 }, { type: 'routeRefresh' }, helper] },
    ).capabilities,
    ['mp-ipv4-unicast', '4-octet-as', 'route-refresh', 'graceful-restart'],
  )
})

const restart = { isRestart: true, isForwardingPreserved: true }
const fresh = { isRestart: false, isForwardingPreserved: false }

test('our OPEN carries AS_TRANS and the capability for an AS beyond two octets (RFC 6793 9)', () => {
  const message = localOpen(neighbor({ localAsn: 4200000000 }), fresh)
  assert.equal(message.myAs, 23456)
  assert.ok(
    message.capabilities.some((capability) => capability.type === 'fourOctetAs' && capability.asn === 4200000000),
  )
  assert.equal(message.bgpId, 0x0a000001)
})

test('our OPEN has capability 64 only where configured, with R and F as given (RFC 4724 3)', () => {
  const find = (config: Partial<Neighbor>, flags: typeof restart): Capability | undefined =>
    localOpen(neighbor(config), flags).capabilities.find(({ type }) => type === 'gracefulRestart')
  assert.equal(find({}, restart), undefined)
  assert.deepEqual(find({ gracefulRestart }, restart), {
    type: 'gracefulRestart',
    restartState: true,
    notification: false,
    restartTimeSec: 120,
    families: [{ family: ipv4Unicast, forwarding: true }],
  })
  assert.deepEqual(find({ gracefulRestart }, fresh), {
    type: 'gracefulRestart',
    restartState: false,
    notification: false,
    restartTimeSec: 120,
    families: [{ family: ipv4Unicast, forwarding: false }],
  })
})
