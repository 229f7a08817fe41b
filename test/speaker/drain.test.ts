import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseAddress } from '../../src/ip/address.ts'
import { InMemoryNetwork } from '../../src/speaker/session/in-memory.ts'
import { neighborOf, Recorded } from './pair.ts'
import { Router } from './router.ts'
import { seen } from './virtual.ts'

const address = (text: string) => parseAddress(text) ?? assert.fail(text)

test('a node that is drained from its start on announces nothing, not for a moment (RFC 8326 4)', async () => {
  const network = new InMemoryNetwork()
  const restarted = { isRestart: true, isForwardingPreserved: true }
  const node = new Recorded(undefined, restarted, network.host(address('192.0.2.1')))
  const router = new Router(network.host(address('192.0.2.2')), 64_513, address('192.0.2.1'), [])
  await node.speaker.start()
  const gracefulRestart = { restartTimeSec: 120, notification: false }
  const neighbors = [
    neighborOf(64_512, 64_513, '192.0.2.2', { gracefulRestart, families: ['ipv4-unicast'], nextHops: {} }),
  ]
  const routes = [{ neighbors: neighbors.map(({ id }) => id), attributes: {} }]
  let most = 0
  const isEnded = (): boolean => {
    most = Math.max(most, router.session?.table.size ?? 0)
    return router.session?.endOfRibs === 1
  }
  node.speaker.handle({ type: 'configure', neighbors, isDraining: true })
  node.speaker.handle({ type: 'routes', prefixes: [{ prefix: '198.51.100.1/32', routes }] })
  node.speaker.handle({ type: 'synced' })
  await seen(network, 'End-of-RIB', isEnded, 30)
  assert.equal(most, 0)
  node.speaker.handle({ type: 'configure', neighbors, isDraining: false })
  await seen(network, 'the route', () => router.session?.table.size === 1, 5)
})
