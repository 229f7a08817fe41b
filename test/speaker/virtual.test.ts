/** Whole speakers over the network in memory: what they come to, and how fast the clock goes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseAddress } from '../../src/ip/address.ts'
import { keepaliveBytes } from '../../src/bgp/messages/keepalive.ts'
import { InMemoryNetwork } from '../../src/speaker/session/in-memory.ts'
import { peerOpen } from './session/fixture.ts'
import { neighborOf, Recorded } from './pair.ts'
import { ScriptedPeer, seen } from './virtual.ts'

const address = (text: string) => parseAddress(text) ?? assert.fail(text)
const fresh = { isRestart: false, isForwardingPreserved: false }
const any = { host: '::', port: 179 }

async function twoSpeakers(): Promise<readonly string[]> {
  const network = new InMemoryNetwork()
  const a = new Recorded(any, fresh, network.host(address('192.0.2.1')))
  const b = new Recorded(any, fresh, network.host(address('192.0.2.2')))
  await a.speaker.start()
  await b.speaker.start()
  const routes = [{ neighbors: ['64512/192.0.2.2'], attributes: {} }]
  a.speaker.handle({ type: 'configure', neighbors: [neighborOf(64_512, 64_513, '192.0.2.2')] })
  b.speaker.handle({ type: 'configure', neighbors: [neighborOf(64_513, 64_512, '192.0.2.1')] })
  a.speaker.handle({ type: 'routes', prefixes: [{ prefix: '203.0.113.1/32', routes }] })
  await seen(network, 'the route', () => b.prefixes.length === 1)
  await network.advance(3600)
  assert.deepEqual(
    [a, b].map(({ peers }) => [peers[0]?.state, peers[0]?.flaps]),
    [
      ['Established', 0],
      ['Established', 0],
    ],
  )
  return [...a.said, ...b.said].map((message) => JSON.stringify(message))
}

test('two speakers over the network in memory keep their session for an hour, and two runs are the same', async () => {
  const first = await twoSpeakers()
  assert.deepEqual(await twoSpeakers(), first)
})

test('a speaker and a script talk over the network in memory', async () => {
  const network = new InMemoryNetwork()
  const node = new Recorded(any, fresh, network.host(address('192.0.2.1')))
  const peer = new ScriptedPeer(network.host(address('192.0.2.2')), address('192.0.2.1'), (connection) =>
    connection.say(peerOpen(), keepaliveBytes),
  )
  await node.speaker.start()
  node.speaker.handle({ type: 'configure', neighbors: [neighborOf(64_512, 64_513, '192.0.2.2')] })
  await seen(network, 'Established', () => node.peers[0]?.state === 'Established')
  await seen(network, 'the OPEN of the speaker', () => peer.last?.messages[0]?.startsWith('01'))
  await network.advance(10)
  assert.equal(peer.connections[0]?.messages.at(-1), '030400', 'the silent peer is let go (RFC 4271 6.5)')
})
