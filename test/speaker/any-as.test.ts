/** Neighbors whose AS is learned of their OPEN: any (peerASN 0), any but our own (MetalLB's dynamicASN external). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeOpen } from '../../src/bgp/messages/open.ts'
import { keepaliveBytes } from '../../src/bgp/messages/keepalive.ts'
import { asTrans } from '../../src/bgp/messages/numbers.ts'
import { ipv4Unicast } from '../../src/bgp/messages/types.ts'
import { parseAddress } from '../../src/ip/address.ts'
import { InMemoryNetwork } from '../../src/speaker/session/in-memory.ts'
import { neighborOf, Recorded } from './pair.ts'
import { ScriptedPeer, seen } from './virtual.ts'

const address = (text: string) => parseAddress(text) ?? assert.fail(text)
const own = 64_512

/** The OPEN of a router of an AS, with the AS in its capability where that is asked for (RFC 6793 4.1). */
function openOf(asn: number, hasFourOctets: boolean): Uint8Array {
  return encodeOpen({
    type: 'open',
    version: 4,
    myAs: asn > 0xffff ? asTrans : asn,
    holdTimeSec: 9,
    bgpId: 0xc0_00_02_02,
    capabilities: [
      { type: 'multiprotocol', family: ipv4Unicast },
      ...(hasFourOctets ? [{ type: 'fourOctetAs', asn } as const] : []),
    ],
  })
}

/** What comes of a session with a router of that AS: the state and the AS, or the NOTIFICATION that it got. */
async function sessionWith(open: Uint8Array, refusesOwnAs: boolean): Promise<string> {
  const network = new InMemoryNetwork()
  const start = { isRestart: false, isForwardingPreserved: false }
  const node = new Recorded({ host: '::', port: 179 }, start, network.host(address('192.0.2.1')))
  const router = new ScriptedPeer(network.host(address('192.0.2.2')), address('192.0.2.1'), (connection) =>
    connection.say(open, keepaliveBytes),
  )
  await node.speaker.start()
  const more = { refusesOwnAs, routerId: '192.0.2.1' }
  node.speaker.handle({ type: 'configure', neighbors: [neighborOf(own, 0, '192.0.2.2', more)] })
  const notification = (): string | undefined => router.connections[0]?.messages.find((each) => each.startsWith('03'))
  const outcome = await seen(network, 'an end of it', () => {
    const [peer] = node.peers
    return peer?.state === 'Established' ? `Established with AS ${peer.peerAsn}` : notification()?.slice(0, 6)
  })
  return outcome
}

for (const [asn, hasFourOctets] of [
  [64_513, true],
  [64_513, false],
  [4_200_000_001, true],
] as const) {
  const how = hasFourOctets ? 'in its capability' : 'in two octets'
  test(`any AS but our own: a router of AS ${asn} ${how} has a session (RFC 4271 6.2)`, async () => {
    assert.equal(await sessionWith(openOf(asn, hasFourOctets), true), `Established with AS ${asn}`)
  })
}

test('any AS but our own: our own AS is refused as Bad Peer AS, in two octets and in four (RFC 4271 6.2)', async () => {
  for (const hasFourOctets of [true, false])
    assert.equal(await sessionWith(openOf(own, hasFourOctets), true), '030202', String(hasFourOctets))
})

test('any AS: a router of our own AS has a session as well', async () => {
  assert.equal(await sessionWith(openOf(own, true), false), `Established with AS ${own}`)
})
