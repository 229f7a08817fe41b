/**
 * A careless operator at the speaker: what is configured in haste converges on the last word, and nobody else is
 * disturbed.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { waitFor } from '../wait.ts'
import { neighborOf, nodeAddress, nodeAsn, Rack, Recorded } from './pair.ts'

test('100 reconfigurations in one turn end with the last one, and a neighbor that they leave alone notices nothing', async () => {
  await using rack = await Rack.open(2)
  await rack.connect()
  const [changed, untouched] = rack.neighbors as [
    (typeof rack.neighbors)[0] & object,
    (typeof rack.neighbors)[0] & object,
  ]
  for (let i = 0; i < 100; i++)
    rack.node.speaker.handle({ type: 'configure', neighbors: [{ ...changed, multihopTtl: 2 + i }, untouched] })
  await waitFor(
    'the last configuration in force',
    () => rack.node.peers.find(({ id }) => id === changed.id)?.state === 'Established',
  )
  assert.equal(rack.node.peers.length, 2)
  assert.equal(rack.routers[1]?.peers[0]?.flaps, 0)
  assert.equal(rack.routers[0]?.peers[0]?.flaps, 1)
})

test('a neighbor that is removed and added again within its idle hold comes up and has its routes', async () => {
  await using rack = await Rack.open(1)
  await rack.connect()
  rack.announce('192.0.2.1/32')
  const [router] = rack.routers as [Recorded]
  for (let i = 0; i < 3; i++) {
    rack.node.speaker.handle({ type: 'configure', neighbors: [] })
    rack.node.speaker.handle({ type: 'configure', neighbors: rack.neighbors })
  }
  await waitFor('the Cease', () => router.peers[0]?.lastReset?.subcode === 3)
  await waitFor('the session again', () => router.peers[0]?.state === 'Established')
  await waitFor('the route again', () => router.prefixes.length === 1)
  assert.equal(rack.node.peers.length, 1)
})

test('a password that changes and changes back, with the router one step behind, ends in a session', async () => {
  await using rack = await Rack.open(1, { password: 'one' }, { password: 'one' })
  await rack.connect()
  const [neighbor] = rack.neighbors
  if (neighbor === undefined) return assert.fail('no neighbor')
  rack.node.speaker.handle({ type: 'configure', neighbors: [{ ...neighbor, password: 'two' }] })
  rack.node.speaker.handle({ type: 'configure', neighbors: [{ ...neighbor, password: 'one' }] })
  await waitFor(
    'the session with the first password',
    () => rack.node.peers[0]?.state === 'Established' && rack.routers[0]?.peers[0]?.state === 'Established',
  )
  assert.equal(JSON.stringify(rack.node.said).includes('"password"'), false)
})

test('two virtual routers with one peer address and different local ASes: each has a session of its own', async () => {
  const first = new Recorded('127.0.0.63')
  await first.speaker.start()
  const node = new Recorded(undefined)
  await node.speaker.start()
  // One router address, two routers behind it on ports of their own: each knows one of the node's ASes.
  const second = new Recorded('127.0.0.63')
  await second.speaker.start()
  for (const [router, asn] of [
    [first, nodeAsn],
    [second, nodeAsn + 1],
  ] as const) {
    router.speaker.handle({
      type: 'configure',
      neighbors: [neighborOf(65_100, asn, nodeAddress, { passive: true, routerId: '127.0.0.63' })],
    })
  }
  const neighbors = [
    [first, nodeAsn],
    [second, nodeAsn + 1],
  ] as const
  node.speaker.handle({
    type: 'configure',
    neighbors: neighbors.map(([router, asn]) =>
      neighborOf(asn, 65_100, '127.0.0.63', {
        peerPort: router.speaker.port ?? 0,
        sourceAddress: nodeAddress,
        routerId: nodeAddress,
        virtualRouter: `as${asn}`,
      }),
    ),
  })
  await waitFor('both sessions', () => node.peers.every(({ state }) => state === 'Established'))
  node.speaker.handle({
    type: 'routes',
    prefixes: [{ prefix: '192.0.2.1/32', routes: [{ neighbors: [`${nodeAsn + 1}/127.0.0.63`], attributes: {} }] }],
  })
  await waitFor('the route at the second', () => second.prefixes.length === 1)
  assert.deepEqual(first.prefixes, [])
  await Promise.all([first, second, node].map((recorded) => recorded.stop()))
})

test('a key that the kernel refuses is told, and the neighbor beside it comes up', async () => {
  const router = new Recorded('127.0.0.64')
  await router.speaker.start()
  router.speaker.handle({
    type: 'configure',
    neighbors: [
      neighborOf(65_100, nodeAsn, '127.0.0.65', { passive: true, password: 'x'.repeat(81) }),
      neighborOf(65_100, nodeAsn, nodeAddress, { passive: true, routerId: '127.0.0.64' }),
    ],
  })
  const node = new Recorded(undefined)
  await node.speaker.start()
  node.speaker.handle({
    type: 'configure',
    neighbors: [
      neighborOf(nodeAsn, 65_100, '127.0.0.64', {
        peerPort: router.speaker.port ?? 0,
        sourceAddress: nodeAddress,
        routerId: nodeAddress,
      }),
    ],
  })
  await waitFor('the session', () => node.peers[0]?.state === 'Established')
  assert.ok(
    router.said.some(
      (message) =>
        message.type === 'problems' && message.texts.some((text) => text.startsWith('TCP-MD5 key of 127.0.0.65')),
    ),
  )
  // The warning goes with its cause, and comes with it.
  const problems = (): readonly string[] => {
    const last = router.said.findLast((message) => message.type === 'problems')
    return last?.type === 'problems' ? last.texts : []
  }
  assert.equal(problems().length, 1)
  const keyed = (password: string): void =>
    router.speaker.handle({
      type: 'configure',
      neighbors: [
        neighborOf(65_100, nodeAsn, '127.0.0.65', { passive: true, password }),
        neighborOf(65_100, nodeAsn, nodeAddress, { passive: true, routerId: '127.0.0.64' }),
      ],
    })
  keyed('right')
  assert.deepEqual(problems(), [])
  keyed('y'.repeat(81))
  assert.equal(problems().length, 1)
  await Promise.all([router, node].map((recorded) => recorded.stop()))
})
