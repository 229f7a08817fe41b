/** What an operator tells a speaker to do with its peers. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { keepaliveBytes } from '../../src/bgp/messages/keepalive.ts'
import type { Capability } from '../../src/bgp/messages/capabilities.ts'
import type { CommandAnswer, SpeakerCommand } from '../../src/speaker/protocol.ts'
import { waitFor } from '../wait.ts'
import { hostRoutes, Rack, Recorded } from './pair.ts'
import { neighbor, peerOpen, RawPeer } from './session/fixture.ts'

function command({ speaker, said }: Recorded, wanted: SpeakerCommand): CommandAnswer {
  speaker.handle({ type: 'command', id: 77, command: wanted })
  const answer = said.findLast((message) => message.type === 'answer')
  assert.equal(answer?.id, 77)
  return answer?.command ?? assert.fail('no answer')
}

/** A node with one Established session to a peer of raw bytes that offers these capabilities, and one route. */
async function facing(t: { after(done: () => Promise<void>): void }, capabilities: readonly Capability[], more = {}) {
  const peer = await RawPeer.listen((socket) => socket.write(Buffer.concat([peerOpen(capabilities), keepaliveBytes])))
  const node = new Recorded(undefined)
  t.after(async () => {
    await node.stop()
    await peer[Symbol.asyncDispose]()
  })
  node.speaker.handle({
    type: 'routes',
    prefixes: [{ prefix: '192.0.2.1/32', routes: [{ neighbors: ['64512/127.0.0.2'], attributes: {} }] }],
  })
  node.speaker.handle({
    type: 'configure',
    neighbors: [
      neighbor({
        peerPort: peer.port,
        sourceAddress: '127.0.0.1',
        nextHops: { 'ipv4-unicast': '198.51.100.1' },
        ...more,
      }),
    ],
  })
  await waitFor('the route', () => announcements(peer).length === 1)
  return { peer, node }
}

const announcements = ({ messages }: RawPeer): readonly string[] =>
  messages.filter((message) => message.startsWith('02') && message.endsWith('20c0000201'))

test('a reset says Cease/Administrative Reset 6/4 and dials at once, however often it is given (RFC 4486 4)', async (t) => {
  const { peer, node } = await facing(t, [])
  for (let round = 1; round <= 6; round++) {
    let said = ''
    peer.socket?.on('data', (chunk: Buffer) => (said += chunk.toString('hex')))
    assert.deepEqual(command(node, { what: 'reset', peer: '*' }), { applied: ['64512/127.0.0.2'], refused: [] })
    await waitFor('the Cease', () => said.endsWith('0015030604'))
    await waitFor('the next session', () => peer.connections === round + 1 && announcements(peer).length === 1)
    assert.equal(node.peers[0]?.flaps, round)
  }
  assert.ok(!(node.peers[0]?.transitions ?? []).some(({ reason }) => reason.includes('idle hold')))
})

test('a peer is named by its address, its id or *, and a name that nobody has is refused', async () => {
  await using rack = await Rack.open(2)
  await rack.connect()
  const ids = rack.neighbors.map((one) => one.id)
  assert.deepEqual(command(rack.node, { what: 'refresh', peer: '127.0.0.11' }).applied, [ids[0]])
  assert.deepEqual(command(rack.node, { what: 'refresh', peer: ids[1] ?? '' }).applied, [ids[1]])
  assert.deepEqual(command(rack.node, { what: 'refresh', peer: '*' }).applied, ids)
  assert.deepEqual(command(rack.node, { what: 'reset', peer: '127.0.0.99' }), {
    applied: [],
    refused: [{ peer: '127.0.0.99', reason: 'no such neighbor' }],
  })
})

test('a reset is a Hard Reset 6/9 around 6/4 where routes outlive a NOTIFICATION (RFC 8538 3.1)', async (t) => {
  const restart: Capability = {
    type: 'gracefulRestart',
    restartState: false,
    notification: true,
    restartTimeSec: 120,
    families: [{ family: { afi: 1, safi: 1 }, forwarding: true }],
  }
  const { peer, node } = await facing(t, [restart], { gracefulRestart: { restartTimeSec: 120, notification: true } })
  const socket = peer.socket
  let said = Buffer.alloc(0)
  socket?.on('data', (chunk: Buffer) => (said = Buffer.concat([said, chunk])))
  command(node, { what: 'reset', peer: '*' })
  await waitFor('the Cease', () => said.toString('hex').endsWith('0017030609' + '0604'))
  await waitFor('the next session', () => peer.connections === 2)
  assert.equal(node.peers[0]?.lastReset?.subcode, 9)
})

test('a soft reset out sends every route again, between BoRR and EoRR (RFC 7313 4, initiated locally)', async (t) => {
  const { peer, node } = await facing(t, [{ type: 'routeRefresh' }, { type: 'enhancedRouteRefresh' }])
  assert.deepEqual(command(node, { what: 'reset', peer: '127.0.0.2', soft: 'out' }).applied, ['64512/127.0.0.2'])
  await waitFor('the route again', () => announcements(peer).length === 2)
  await waitFor('EoRR', () => peer.messages.at(-1) === '0500010201')
  assert.equal(peer.messages.filter((message) => message === '0500010101').length, 1)
  assert.equal(node.peers[0]?.flaps, 0)
})

test('a soft reset out needs no route refresh of the peer and is not framed without RFC 7313', async (t) => {
  const { peer, node } = await facing(t, [])
  command(node, { what: 'reset', peer: '*', soft: 'out' })
  await waitFor('the route again', () => announcements(peer).length === 2)
  assert.ok(!peer.messages.some((message) => message.startsWith('05')))
})

test('a refresh and a soft reset in ask for every family of the session (RFC 2918 3)', async (t) => {
  const { peer, node } = await facing(t, [{ type: 'routeRefresh' }])
  command(node, { what: 'refresh', peer: '*' })
  command(node, { what: 'reset', peer: '*', soft: 'in' })
  await waitFor('two requests', () => peer.messages.filter((message) => message === '0500010001').length === 2)
})

test('a peer without route refresh cannot be asked, and a session that is not Established not be refreshed', async (t) => {
  const { node } = await facing(t, [])
  const [refusal] = command(node, { what: 'refresh', peer: '*' }).refused
  assert.match(refusal?.reason ?? '', /offers no route refresh \(RFC 2918\)/)
  const lonely = new Recorded(undefined)
  t.after(() => lonely.stop())
  assert.match(command(lonely, { what: 'reset', peer: '*' }).refused[0]?.reason ?? '', /there is no neighbor/)
  lonely.speaker.handle({ type: 'configure', neighbors: [neighbor({ passive: true, sourceAddress: '127.0.0.1' })] })
  for (const soft of ['in', 'out'] as const)
    assert.match(
      command(lonely, { what: 'reset', peer: '*', soft }).refused[0]?.reason ?? '',
      /^the session is not Established: waiting for the peer to dial/,
    )
  assert.equal(command(lonely, { what: 'reset', peer: '*' }).applied.length, 1)
  assert.equal(lonely.peers[0]?.transitions.at(-1)?.reason, 'reset by command')
})

test('a reset during the wait after a failure dials at once', async (t) => {
  await using rack = await Rack.open(1)
  await rack.connect()
  const [router] = rack.routers as [Recorded]
  rack.announce(...hostRoutes(3))
  for (let round = 0; round < 3; round++) {
    const flaps = rack.node.peers[0]?.flaps ?? 0
    command(router, { what: 'reset', peer: '*' })
    await waitFor('down', () => (rack.node.peers[0]?.flaps ?? 0) > flaps)
    command(rack.node, { what: 'reset', peer: '*' })
    await waitFor('up', () => rack.node.peers[0]?.state === 'Established')
  }
  await waitFor('the routes', () => router.prefixes.length === 3)
  t.diagnostic(`${rack.node.peers[0]?.flaps} flaps`)
})
