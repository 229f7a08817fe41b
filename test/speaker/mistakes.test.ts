/**
 * What went wrong in other engines, each as a test that it does not go wrong here. The rest of that list has its tests
 * beside the code.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { keepaliveBytes } from '../../src/bgp/messages/keepalive.ts'
import { ipv4Unicast } from '../../src/bgp/messages/types.ts'
import { LocRib } from '../../src/rib/loc-rib.ts'
import { UpdateGroup } from '../../src/speaker/update-group.ts'
import { parsePrefix } from '../../src/ip/prefix.ts'
import { waitFor } from '../wait.ts'
import { bytes, faster, marker, Pair, peerOpen, RawPeer, side } from './session/fixture.ts'
import { neighborOf, nodeAddress, nodeAsn, Rack, Recorded } from './pair.ts'

test('the end of a connection that lost a collision takes nothing from the one that won: routes go on arriving', async () => {
  for (let round = 0; round < 20; round++) {
    const [a, b] = ['127.0.0.67', '127.0.0.68'].map((address) => new Recorded(address)) as [Recorded, Recorded]
    await Promise.all([a.speaker.start(), b.speaker.start()])
    const of = (own: string, asn: number, peer: string, peerAsn: number, port: number | undefined) =>
      neighborOf(asn, peerAsn, peer, { peerPort: port ?? 0, sourceAddress: own, routerId: own })
    a.speaker.handle({
      type: 'configure',
      neighbors: [of('127.0.0.67', 65_001, '127.0.0.68', 65_002, b.speaker.port)],
    })
    b.speaker.handle({
      type: 'configure',
      neighbors: [of('127.0.0.68', 65_002, '127.0.0.67', 65_001, a.speaker.port)],
    })
    await waitFor('the session', () => [a, b].every(({ peers }) => peers[0]?.state === 'Established'), { everyMs: 2 })
    for (const prefix of ['192.0.2.1/32', '192.0.2.2/32']) {
      a.speaker.handle({
        type: 'routes',
        prefixes: [{ prefix, routes: [{ neighbors: ['65001/127.0.0.68'], attributes: {} }] }],
      })
      await waitFor(`round ${round}: ${prefix}`, () => b.prefixes.includes(prefix), { everyMs: 2 })
    }
    assert.deepEqual([a.peers[0]?.flaps, b.peers[0]?.flaps], [0, 0])
    await Promise.all([a.stop(), b.stop()])
  }
})

test('a stop at the moment at which the peer goes away is for good, and the next session of the peer comes up', async () => {
  for (const order of ['stop first', 'loss first']) {
    await using peer = await RawPeer.listen((socket) => void socket.write(Buffer.concat([peerOpen(), keepaliveBytes])))
    const { session } = side({ peerPort: peer.port }, { environment: faster(20) })
    session.start()
    await waitFor('Established', () => session.state === 'Established')
    if (order === 'loss first') peer.socket?.resetAndDestroy()
    const stopped = session.stop({ subcode: 2, text: '' })
    if (order === 'stop first') peer.socket?.resetAndDestroy()
    await stopped
    assert.equal(session.state, 'Idle')
    session.start()
    assert.equal(session.reason, 'stopped')
    const next = side({ peerPort: peer.port })
    next.session.start()
    await waitFor(`Established again, ${order}`, () => next.session.state === 'Established')
    assert.equal(peer.connections, 2)
    await next.session.stop('silent')
  }
})

test('a NOTIFICATION with a code that nobody knows is shown as it came', async () => {
  await using peer = await RawPeer.listen(
    (socket) => void socket.write(Buffer.concat([peerOpen(), keepaliveBytes, bytes(`${marker} 0015 03 6307`)])),
  )
  const { session } = side({ peerPort: peer.port })
  session.start()
  const reset = await waitFor('the end', () => session.lastReset)
  assert.deepEqual(
    [reset.direction, reset.code, reset.subcode, reset.text],
    ['received', 0x63, 7, 'peer closed: code 99/subcode 7'],
  )
  await session.stop('silent')
})

test('two speakers that restart do not wait for the End-of-RIB of each other (RFC 4724 4.1)', async () => {
  const restart = { isRestart: true, isForwardingPreserved: true }
  // The second KEEPALIVE comes in 45 s at the earliest, and counts for nothing here.
  const slow = { holdTimeSec: 90, keepaliveSec: 30, gracefulRestart: { restartTimeSec: 120, notification: false } }
  const [a, b] = ['127.0.0.67', '127.0.0.68'].map((address) => new Recorded(address, restart)) as [Recorded, Recorded]
  await Promise.all([a.speaker.start(), b.speaker.start()])
  a.speaker.handle({
    type: 'configure',
    neighbors: [
      neighborOf(65_001, 65_002, '127.0.0.68', {
        peerPort: b.speaker.port ?? 0,
        sourceAddress: '127.0.0.67',
        routerId: '127.0.0.67',
        ...slow,
      }),
    ],
  })
  b.speaker.handle({
    type: 'configure',
    neighbors: [neighborOf(65_002, 65_001, '127.0.0.67', { passive: true, routerId: '127.0.0.68', ...slow })],
  })
  for (const [speaker, id] of [
    [a, '65001/127.0.0.68'],
    [b, '65002/127.0.0.67'],
  ] as const) {
    speaker.speaker.handle({
      type: 'routes',
      prefixes: [{ prefix: `192.0.2.${id.length}/32`, routes: [{ neighbors: [id], attributes: {} }] }],
    })
    speaker.speaker.handle({ type: 'synced' })
  }
  // OPEN, KEEPALIVE, the route and End-of-RIB.
  await waitFor('End-of-RIB of both', () => [a, b].every(({ peers }) => (peers[0]?.messagesOut ?? 0) >= 4))
  await Promise.all([a.stop(), b.stop()])
})

test('a hold timer that expires keeps the routes where both set the N bit (RFC 8538 4)', async () => {
  await using peer = await RawPeer.listen(
    (socket) =>
      void socket.write(
        Buffer.concat([
          peerOpen(
            [
              {
                type: 'gracefulRestart',
                restartState: false,
                notification: true,
                restartTimeSec: 120,
                families: [{ family: ipv4Unicast, forwarding: true }],
              },
            ],
            3,
          ),
          keepaliveBytes,
        ]),
      ),
  )
  const { session, events } = side(
    { peerPort: peer.port, gracefulRestart: { restartTimeSec: 120, notification: true } },
    { environment: faster(20) },
  )
  session.start()
  const down = await waitFor('the hold timer', () => events.downs[0])
  assert.deepEqual([down.reason.code, down.isRestart], [4, true])
  await session.stop('silent')
})

test('a refresh that was under way when the session was lost leaves nothing to the next session (RFC 7313 4)', () => {
  const locRib = new LocRib()
  const codec = {
    fourOctetAs: true,
    isExternal: true,
    families: [ipv4Unicast],
    maxMessageBytes: 4096,
    extendedNextHop: false,
    addPathReceive: [],
  }
  const group = new UpdateGroup(
    { localAsn: 65_001, isExternal: true, nextHops: { 'ipv4-unicast': 0xc6336401 } },
    codec,
    locRib,
  )
  const prefix = parsePrefix('192.0.2.1/32') ?? assert.fail()
  locRib.set(prefix, [{ neighbors: ['a'], attributes: {} }], 1)
  const types: number[] = []
  const member = {
    id: 'a',
    isRefreshFramed: true,
    send: (message: Uint8Array): boolean => types.push(message[18] ?? 0) > 0,
  }
  const settle = (): void => {
    while (group.isBusy) group.step(10, 1)
  }
  group.join(member)
  settle()
  group.refresh('a', 'ipv4-unicast')
  group.leave('a')
  types.length = 0
  group.join(member)
  settle()
  assert.deepEqual(types, [2], 'the route, and no ROUTE-REFRESH')
})

test('a session between two of ours has the same counters on both sides after routes came and went', async () => {
  await using rack = await Rack.open(1)
  await rack.connect()
  rack.announce('192.0.2.1/32', '192.0.2.2/32')
  rack.withdraw('192.0.2.1/32')
  const [router] = rack.routers as [Recorded]
  await waitFor(
    'one route on both sides',
    () => rack.node.peers[0]?.families[0]?.advertised === 1 && router.peers[0]?.families[0]?.received === 1,
  )
  assert.equal(router.peers[0]?.peerAddress, nodeAddress)
  assert.equal(router.peers[0]?.peerAsn, nodeAsn)
})

const simultaneous = 50

test(`${simultaneous} sessions are never left without a connection when both sides dial and one keeps failing`, async () => {
  const pairs = await Promise.all(Array.from({ length: simultaneous }, () => Pair.open()))
  for (const pair of pairs) pair.start()
  await waitFor('all Established', () =>
    pairs.every(({ a, b }) => a.session.state === 'Established' && b.session.state === 'Established'),
  )
  for (const pair of pairs) await pair[Symbol.asyncDispose]()
})
