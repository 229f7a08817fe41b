/** Imports, the decision between them and how it is shown, between speakers of our own. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Neighbor } from '../../src/desired/model.ts'
import type { RouteSnapshot } from '../../src/speaker/protocol.ts'
import { waitFor } from '../wait.ts'
import { Rack, type Recorded } from './pair.ts'

const paths = (recorded: Recorded, prefix: string): readonly RouteSnapshot[] =>
  recorded.ask({ what: 'paths', prefix }).routes ?? []

test(
  'of what two routers announce only the named prefixes are imported, the best path is chosen, and each ' +
    'other path says what decided',
  async () => {
    await using rack = await Rack.open(2, { importPrefixes: [{ prefix: '198.51.100.0/24' }] })
    await rack.connect()
    const [first, second] = rack.routers as [Recorded, Recorded]
    const say = (router: Recorded, prefix: string, asPathPrepend?: number): void =>
      router.speaker.handle({
        type: 'routes',
        prefixes: [
          {
            prefix,
            routes: [
              {
                neighbors: [router.peers[0]?.id ?? ''],
                attributes: asPathPrepend === undefined ? {} : { asPathPrepend },
              },
            ],
          },
        ],
      })
    say(first, '198.51.100.0/24', 2)
    say(second, '198.51.100.0/24')
    say(first, '203.0.113.0/24')
    await waitFor('three paths', () => rack.node.routes('received').length === 3)
    const byPeer = new Map(paths(rack.node, '198.51.100.0/24').map((path) => [path.peer, path]))
    assert.deepEqual(
      [...byPeer.values()].map(({ best }) => best),
      [false, true],
    )
    assert.equal(byPeer.get('65001/127.0.0.11')?.decision, 'shorter AS_PATH: 1 against 3')
    assert.equal(byPeer.get('65001/127.0.0.12')?.decision, 'best of 2')
    assert.match(paths(rack.node, '203.0.113.0/24')[0]?.decision ?? '', /no importPrefixes of the neighbor names it/)

    rack.node.speaker.handle({
      type: 'configure',
      neighbors: rack.neighbors.map((neighbor) => ({ ...neighbor, importPrefixes: [{ prefix: '0.0.0.0/0', le: 32 }] })),
    })
    assert.equal(
      paths(rack.node, '203.0.113.0/24')[0]?.decision,
      'the only path',
      'a changed policy is in force at once',
    )
    assert.deepEqual(
      rack.node.peers.map(({ flaps }) => flaps),
      [0, 0],
    )

    await second.stop()
    await waitFor('the other path is chosen', () => paths(rack.node, '198.51.100.0/24')[0]?.best === true)
    rack.announce('198.51.100.0/24')
    assert.deepEqual(
      paths(rack.node, '198.51.100.0/24').map(({ best, decision }) => [best, decision]),
      [
        [true, 'originated by this node'],
        [false, 'locally originated: of this node against received'],
      ],
    )
  },
)

test('a check that is relaxed asks the router for its routes again, and no session is reset (RFC 2918 3)', async () => {
  // The router is of the node's own AS and shows another one: its routes have the path 65011 65001.
  await using rack = await Rack.open(
    1,
    { importPrefixes: [{ prefix: '0.0.0.0/0', le: 32 }] },
    { localAsn: 65_001, localAs: 65_011 },
  )
  await rack.connect()
  const [router] = rack.routers as [Recorded]
  const neighbors = [router.peers[0]?.id ?? '']
  const judge = (checks: Partial<Neighbor>): void =>
    rack.node.speaker.handle({
      type: 'configure',
      neighbors: rack.neighbors.map((neighbor) => ({ ...neighbor, ...checks })),
    })
  router.speaker.handle({
    type: 'routes',
    prefixes: ['198.51.100.0/24', '127.0.0.0/8'].map((prefix) => ({ prefix, routes: [{ neighbors, attributes: {} }] })),
  })
  await waitFor('the UPDATE', () => (rack.node.peers[0]?.messagesIn ?? 0) > 2)
  const shown = (): unknown => rack.node.routes('received').map(({ prefix, decision }) => [prefix, decision])
  assert.deepEqual(shown(), [])
  assert.deepEqual(rack.node.peers[0]?.updateErrors, { treatedAsWithdraw: 0, attributeDiscarded: 0, ownAsInPath: 1 })
  judge({ allowAsIn: 1 })
  await waitFor('both prefixes', () => rack.node.prefixes.length === 2)
  assert.equal(paths(rack.node, '198.51.100.0/24')[0]?.decision, 'the only path')
  assert.match(paths(rack.node, '127.0.0.0/8')[0]?.decision ?? '', /^not eligible: nobody routes loopback/)
  judge({})
  await waitFor('nothing again', () => rack.node.prefixes.length === 0)
  assert.deepEqual(paths(rack.node, '198.51.100.0/24'), [])
  assert.deepEqual(
    rack.node.peers.map(({ flaps }) => flaps),
    [0],
  )
})
