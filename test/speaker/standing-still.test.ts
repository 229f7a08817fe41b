/** A speaker whose process stands still, and one whose clock on the wall is put right. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeUpdate } from '../../src/bgp/messages/update.ts'
import { keepaliveBytes } from '../../src/bgp/messages/keepalive.ts'
import { parseAddress } from '../../src/ip/address.ts'
import { parsePrefix } from '../../src/ip/prefix.ts'
import { InMemoryNetwork } from '../../src/speaker/session/in-memory.ts'
import { neighborOf, Recorded } from './pair.ts'
import { Router } from './router.ts'
import { peerOpen } from './session/fixture.ts'
import { ScriptedPeer, seen } from './virtual.ts'

const address = (text: string) => parseAddress(text) ?? assert.fail(text)
const fresh = { isRestart: false, isForwardingPreserved: false }

for (const { when, ranSec } of [
  { when: 'at once', ranSec: 0 },
  { when: 'after three seconds', ranSec: 3 },
  { when: 'just before the end', ranSec: 9.5 },
])
  test(`a drain whose process stands still ${when} goes on as if it had not: routers need the time (RFC 8326 4)`, async () => {
    const network = new InMemoryNetwork()
    const node = new Recorded(undefined, fresh, network.host(address('192.0.2.1')))
    const router = new Router(network.host(address('192.0.2.2')), 64_513, address('192.0.2.1'), [])
    await node.speaker.start()
    const neighbors = [
      neighborOf(64_512, 64_513, '192.0.2.2', { holdTimeSec: 90, keepaliveSec: 30, families: ['ipv4-unicast'] }),
    ]
    const routes = [{ neighbors: neighbors.map(({ id }) => id), attributes: {} }]
    node.speaker.handle({ type: 'configure', neighbors, isDraining: false })
    node.speaker.handle({ type: 'routes', prefixes: [{ prefix: '198.51.100.1/32', routes }] })
    await seen(network, 'the route', () => router.session?.table.size === 1, 30)
    node.speaker.handle({ type: 'configure', neighbors, isDraining: true })
    await network.advance(ranSec)
    network.standStill(15)
    const communities = (): readonly number[] => [...(router.session?.table.values() ?? [])][0]?.communities ?? []
    const wentOnSec = network.sec
    await seen(network, 'the community at the router', () => communities().includes(0xffff0000), 1)
    await seen(network, 'the withdrawal', () => router.session?.table.size === 0, 20)
    const servedSec = ranSec + network.sec - wentOnSec
    assert.ok(servedSec >= 9.5 && servedSec <= 11.5, `announced for ${servedSec} s of running`)
    assert.equal(router.session?.notification, undefined)
  })

for (const jumpMs of [-3_600_000, 3_600_000])
  test(`lines about a peer are counted by time that passes, also when the clock goes ${jumpMs < 0 ? 'back' : 'on'} an hour`, async () => {
    const network = new InMemoryNetwork()
    const host = network.host(address('192.0.2.1'))
    const node = new Recorded(undefined, fresh, host)
    const peer = new ScriptedPeer(network.host(address('192.0.2.2')), address('192.0.2.1'), (connection) =>
      connection.say(peerOpen([], 90, 0x0a000002), keepaliveBytes),
    )
    await node.speaker.start()
    const neighbors = [neighborOf(64_512, 64_513, '192.0.2.2', { holdTimeSec: 90, keepaliveSec: 30 })]
    node.speaker.handle({ type: 'configure', neighbors, isDraining: false })
    await seen(network, 'Established', () => node.peers[0]?.state === 'Established', 30)
    const wrong = encodeUpdate(
      {
        type: 'update',
        withdrawn: [],
        attributes: { origin: 9, asPath: [{ type: 2, asns: [64_513] }], nextHop: address('192.0.2.2') },
        nlri: [parsePrefix('203.0.113.0/24') ?? assert.fail()],
      },
      {
        ...{ fourOctetAs: false, isExternal: true, families: [], maxMessageBytes: 4096 },
        ...{ extendedNextHop: false, addPathReceive: [] },
      },
    )
    const lines = (): number =>
      node.said.filter((said) => said.type === 'log' && said.message.includes('UPDATE error tolerated')).length
    const flood = async (): Promise<number> => {
      const before = lines()
      for (let i = 0; i < 30; i++) peer.last?.say(wrong)
      await network.advance(0.1)
      return lines() - before
    }
    await network.advance(20)
    assert.equal(await flood(), 10)
    host.wallErrorMs = jumpMs
    assert.equal(await flood(), 0, 'the same ten seconds')
    await network.advance(10)
    assert.equal(await flood(), 10, 'ten seconds later')
  })
