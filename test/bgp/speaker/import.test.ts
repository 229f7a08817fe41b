/** Imports, the decision between them and how it is shown, between speakers of our own. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RouteSnapshot } from '../../../src/bgp/speaker/protocol.ts'
import { waitFor } from '../../wait.ts'
import { Rack, type Recorded } from './pair.ts'

const paths = (recorded: Recorded, prefix: string): readonly RouteSnapshot[] => recorded.ask({ what: 'paths', prefix }).routes ?? []

test('of what two routers announce only the named prefixes are imported, the best path is chosen, and each other path says what decided', async () => {
  await using rack = await Rack.open(2, { importPrefixes: [{ prefix: '198.51.100.0/24' }] })
  await rack.connect()
  const [first, second] = rack.routers as [Recorded, Recorded]
  const say = (router: Recorded, prefix: string, asPathPrepend?: number): void => router.speaker.handle({ type: 'routes', prefixes: [{ prefix, routes: [{ neighbors: [router.peers[0]?.id ?? ''], attributes: asPathPrepend === undefined ? {} : { asPathPrepend } }] }] })
  say(first, '198.51.100.0/24', 2)
  say(second, '198.51.100.0/24')
  say(first, '203.0.113.0/24')
  await waitFor('three paths', () => rack.node.routes('received').length === 3)
  const byPeer = new Map(paths(rack.node, '198.51.100.0/24').map((path) => [path.peer, path]))
  assert.deepEqual([...byPeer.values()].map(({ best }) => best), [false, true])
  assert.equal(byPeer.get('65001/127.0.0.11')?.decision, 'shorter AS_PATH: 1 against 3')
  assert.equal(byPeer.get('65001/127.0.0.12')?.decision, 'best of 2')
  assert.match(paths(rack.node, '203.0.113.0/24')[0]?.decision ?? '', /no importPrefixes of the neighbor names it/)

  rack.node.speaker.handle({ type: 'configure', neighbors: rack.neighbors.map((neighbor) => ({ ...neighbor, importPrefixes: [{ prefix: '0.0.0.0/0', le: 32 }] })) })
  assert.equal(paths(rack.node, '203.0.113.0/24')[0]?.decision, 'the only path', 'a changed policy is in force at once')
  assert.deepEqual(rack.node.peers.map(({ flaps }) => flaps), [0, 0])

  await second.stop()
  await waitFor('the other path is chosen', () => paths(rack.node, '198.51.100.0/24')[0]?.best === true)
  rack.announce('198.51.100.0/24')
  assert.deepEqual(paths(rack.node, '198.51.100.0/24').map(({ best, decision }) => [best, decision]), [[true, 'originated by this node'], [false, 'locally originated: of this node against received']])
})
