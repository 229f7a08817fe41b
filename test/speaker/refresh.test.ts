/** ROUTE-REFRESH as a speaker takes it: what does not belong to the session means nothing. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { keepaliveBytes } from '../../src/bgp/messages/keepalive.ts'
import { encodeEndOfRib } from '../../src/bgp/messages/pack.ts'
import type { Capability } from '../../src/bgp/messages/capabilities.ts'
import { RefreshSubtype } from '../../src/bgp/messages/numbers.ts'
import { encodeRouteRefresh } from '../../src/bgp/messages/route-refresh.ts'
import { type AfiSafi, ipv4Unicast, ipv6Unicast } from '../../src/bgp/messages/types.ts'
import type { Neighbor } from '../../src/desired/model.ts'
import { parseAddress } from '../../src/ip/address.ts'
import { InMemoryNetwork } from '../../src/speaker/session/in-memory.ts'
import { neighborOf, Recorded } from './pair.ts'
import { bytes, marker, peerOpen } from './session/fixture.ts'
import { ScriptedPeer, seen } from './virtual.ts'

const address = (text: string) => parseAddress(text) ?? assert.fail(text)
const fresh = { isRestart: false, isForwardingPreserved: false }
const enhanced: readonly Capability[] = [{ type: 'routeRefresh' }, { type: 'enhancedRouteRefresh' }]
const graceful: Capability = {
  type: 'gracefulRestart',
  restartState: false,
  notification: false,
  restartTimeSec: 120,
  families: [{ family: ipv4Unicast, forwarding: true }],
}
/** 198.51.100.0/24 by way of 192.0.2.9, AS path 64513. */
const update = bytes(`${marker} 002f 02 0000 0014 400101 00 4002 06 0201 0000fc01 4003 04 c0000209 18c63364`)
const refresh = (family: AfiSafi, subtype: number): Uint8Array =>
  encodeRouteRefresh({ type: 'routeRefresh', family, subtype })

/** A node that announces one route to a script that has said these capabilities and one route. */
async function facing(capabilities: readonly Capability[], more: Partial<Neighbor> = {}) {
  const network = new InMemoryNetwork()
  const node = new Recorded(undefined, fresh, network.host(address('192.0.2.1')))
  const peer = new ScriptedPeer(network.host(address('192.0.2.2')), address('192.0.2.1'), (connection) =>
    connection.say(peerOpen(capabilities, 90), keepaliveBytes, update),
  )
  await node.speaker.start()
  node.speaker.handle({
    type: 'routes',
    prefixes: [{ prefix: '203.0.113.1/32', routes: [{ neighbors: ['64512/192.0.2.2'], attributes: {} }] }],
  })
  node.speaker.handle({
    type: 'configure',
    neighbors: [
      neighborOf(64_512, 64_513, '192.0.2.2', {
        nextHops: {},
        holdTimeSec: 90,
        families: ['ipv4-unicast', 'ipv6-unicast'],
        ...more,
      }),
    ],
  })
  await seen(network, 'the route of the peer', () => node.peers[0]?.families[0]?.received === 1)
  await network.advance(1)
  const say = async (...messages: readonly Uint8Array[]): Promise<readonly string[]> => {
    const before = peer.last?.messages.length ?? 0
    peer.last?.say(...messages)
    await network.advance(1)
    return (peer.last?.messages.slice(before) ?? []).filter((message) => message !== '04')
  }
  return { node, say }
}

const ignored = ({ peers }: Recorded): number => peers[0]?.refreshesIgnored ?? 0

test('a refresh of a family that the session does not have is ignored and counted (RFC 2918 4)', async () => {
  const { node, say } = await facing(enhanced)
  const strange = [ipv6Unicast, { afi: 1, safi: 128 }, { afi: 25, safi: 70 }]
  for (const family of strange)
    for (const subtype of Object.values(RefreshSubtype)) assert.deepEqual(await say(refresh(family, subtype)), [])
  assert.equal(ignored(node), 9)
  assert.deepEqual([node.peers[0]?.state, node.peers[0]?.families[0]?.received], ['Established', 1])
  assert.ok(node.said.some((message) => message.type === 'log' && message.message.includes('(RFC 2918 4)')))
  const answered = await say(refresh(ipv4Unicast, RefreshSubtype.request))
  assert.deepEqual(
    answered.map((message) => message.slice(0, 2)),
    ['05', '02', '05'],
  )
})

test('BoRR and EoRR without RFC 7313 on both sides, and subtypes that nobody knows, mean nothing (RFC 7313 5)', async () => {
  const { node, say } = await facing([{ type: 'routeRefresh' }])
  await say(refresh(ipv4Unicast, RefreshSubtype.begin), refresh(ipv4Unicast, RefreshSubtype.end))
  assert.deepEqual(await say(refresh(ipv4Unicast, 7)), [])
  assert.deepEqual([ignored(node), node.peers[0]?.families[0]?.received], [3, 1])
})

test('an EoRR without BoRR removes nothing, one behind a BoRR what was not sent again (RFC 7313 4)', async () => {
  const { node, say } = await facing(enhanced)
  await say(refresh(ipv4Unicast, RefreshSubtype.end))
  assert.equal(node.peers[0]?.families[0]?.received, 1)
  await say(refresh(ipv4Unicast, RefreshSubtype.begin))
  await say(refresh(ipv4Unicast, RefreshSubtype.begin), update, refresh(ipv4Unicast, RefreshSubtype.end))
  assert.equal(node.peers[0]?.families[0]?.received, 1)
  await say(refresh(ipv4Unicast, RefreshSubtype.begin), refresh(ipv4Unicast, RefreshSubtype.end))
  assert.equal(node.peers[0]?.families[0]?.received, 0)
  assert.equal(ignored(node), 0)
})

test('a BoRR before the End-of-RIB of a peer with graceful restart is ignored (RFC 7313 4)', async () => {
  const { node, say } = await facing([...enhanced, graceful])
  const both = [refresh(ipv4Unicast, RefreshSubtype.begin), refresh(ipv4Unicast, RefreshSubtype.end)]
  await say(...both)
  assert.deepEqual([ignored(node), node.peers[0]?.families[0]?.received], [1, 1])
  await say(encodeEndOfRib(ipv4Unicast), ...both)
  assert.deepEqual([ignored(node), node.peers[0]?.families[0]?.received], [1, 0])
})

test('with graceful restart a refresh before our End-of-RIB is answered without BoRR (RFC 7313 4)', async () => {
  const more = { gracefulRestart: { restartTimeSec: 120, notification: false } }
  const { node, say } = await facing([...enhanced, graceful], more)
  const kinds = (messages: readonly string[]): readonly string[] => messages.map((message) => message.slice(0, 2))
  assert.deepEqual(kinds(await say(refresh(ipv4Unicast, RefreshSubtype.request))), ['02'])
  node.speaker.handle({ type: 'synced' })
  assert.deepEqual(kinds(await say()), ['02'], 'End-of-RIB')
  assert.deepEqual(kinds(await say(refresh(ipv4Unicast, RefreshSubtype.request))), ['05', '02', '05'])
})

test('512 BoRR in one segment leave the turn after them to others, and the routes where they are (RFC 7313 4)', async () => {
  const { node, say } = await facing(enhanced)
  await say(...Array.from({ length: 512 }, () => refresh(ipv4Unicast, RefreshSubtype.begin)))
  assert.equal(node.peers[0]?.families[0]?.received, 1)
  await say(update, refresh(ipv4Unicast, RefreshSubtype.end))
  assert.deepEqual([node.peers[0]?.families[0]?.received, ignored(node)], [1, 0])
})
