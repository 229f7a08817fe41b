/** A careless operator at the speaker: what is configured in haste converges on the last word, and nobody else is disturbed. */
import assert from 'node:assert/strict'
import net from 'node:net'
import { test } from 'node:test'
import { encodeOpen } from '../../../src/bgp/messages/open.ts'
import { keepaliveBytes } from '../../../src/bgp/messages/keepalive.ts'
import { waitFor } from '../../wait.ts'
import { hostRoutes, neighborOf, nodeAddress, nodeAsn, Rack, Recorded } from './pair.ts'

const [slow, other] = ['127.0.0.61', '127.0.0.62']

test('100 reconfigurations in one turn end with the last one, and a neighbor that they leave alone notices nothing', async () => {
  await using rack = await Rack.open(2)
  await rack.connect()
  const [changed, untouched] = rack.neighbors as [typeof rack.neighbors[0] & object, typeof rack.neighbors[0] & object]
  for (let i = 0; i < 100; i++) rack.node.speaker.handle({ type: 'configure', neighbors: [{ ...changed, holdTimeSec: 30 + i }, untouched] })
  await waitFor('the last configuration in force', () => rack.node.peers.find(({ id }) => id === changed.id)?.state === 'Established', { deadlineMs: 20_000 })
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
  await waitFor('the session again', () => router.peers[0]?.state === 'Established', { deadlineMs: 20_000 })
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
  await waitFor('the session with the first password', () => rack.node.peers[0]?.state === 'Established' && rack.routers[0]?.peers[0]?.state === 'Established', { deadlineMs: 30_000 })
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
  for (const [router, asn] of [[first, nodeAsn], [second, nodeAsn + 1]] as const) {
    router.speaker.handle({ type: 'configure', neighbors: [neighborOf(65_100, asn, nodeAddress, { passive: true, routerId: '127.0.0.63' })] })
  }
  const neighbors = [[first, nodeAsn], [second, nodeAsn + 1]] as const
  node.speaker.handle({ type: 'configure', neighbors: neighbors.map(([router, asn]) => neighborOf(asn, 65_100, '127.0.0.63', { peerPort: router.speaker.port ?? 0, sourceAddress: nodeAddress, routerId: nodeAddress, virtualRouter: `as${asn}` })) })
  await waitFor('both sessions', () => node.peers.every(({ state }) => state === 'Established'))
  node.speaker.handle({ type: 'routes', prefixes: [{ prefix: '192.0.2.1/32', routes: [{ neighbors: [`${nodeAsn + 1}/127.0.0.63`], attributes: {} }] }] })
  await waitFor('the route at the second', () => second.prefixes.length === 1)
  assert.deepEqual(first.prefixes, [])
  await Promise.all([first, second, node].map((recorded) => recorded.stop()))
})

test('a peer that never reads while 50 000 routes change costs bounded memory and its own session, and the other one has every route', async () => {
  const router = new Recorded(other)
  await router.speaker.start()
  router.speaker.handle({ type: 'configure', neighbors: [neighborOf(65_012, nodeAsn, nodeAddress, { passive: true, routerId: other, holdTimeSec: 3, keepaliveSec: 1 })] })
  const deaf = net.createServer((socket) => {
    socket.on('error', () => socket.destroy())
    socket.write(encodeOpen({ type: 'open', version: 4, myAs: 65_011, holdTimeSec: 3, bgpId: 0x7f00003d, capabilities: [{ type: 'fourOctetAs', asn: 65_011 }] }))
    const alive = setInterval(() => socket.write(keepaliveBytes), 500)
    socket.write(keepaliveBytes)
    socket.on('close', () => clearInterval(alive))
    socket.pause()
  })
  await new Promise<void>((resolve) => deaf.listen(0, slow, resolve))
  const address = deaf.address()
  const deafPort = typeof address === 'object' && address !== null ? address.port : 0
  const node = new Recorded(undefined)
  await node.speaker.start()
  const of = (asn: number, at: string, peerPort: number) => neighborOf(nodeAsn, asn, at, { peerPort, sourceAddress: nodeAddress, routerId: nodeAddress, holdTimeSec: 3, keepaliveSec: 1 })
  const neighbors = [of(65_011, slow, deafPort), of(65_012, other, router.speaker.port ?? 0)]
  node.speaker.handle({ type: 'configure', neighbors })
  await waitFor('both sessions', () => node.peers.every(({ state }) => state === 'Established'))
  const prefixes = hostRoutes(50_000)
  const before = process.memoryUsage()
  let buffered = 0
  for (let med = 1; med <= 12; med++) {
    node.speaker.handle({ type: 'routes', prefixes: prefixes.map((prefix) => ({ prefix, routes: [{ neighbors: neighbors.map(({ id }) => id), attributes: { med } }] })) })
    await waitFor(`round ${med} at the other router`, () => router.peers[0]?.families[0]?.received === prefixes.length && router.routes('received').at(-1)?.med === med, { deadlineMs: 20_000 })
    buffered = Math.max(buffered, process.memoryUsage().external - before.external)
  }
  // 12 rounds are 3 MB of UPDATEs for each; what waits for the deaf one is one high-water mark and one turn.
  assert.ok(buffered < 48 * 2 ** 20, `${Math.round(buffered / 2 ** 20)} MB outside the heap`)
  assert.equal(router.peers[0]?.flaps, 0)
  await Promise.all([router, node].map((recorded) => recorded.stop()))
  deaf.close()
})
