import assert from 'node:assert/strict'
import net from 'node:net'
import { test } from 'node:test'
import { keepaliveBytes } from '../../../src/bgp/messages/keepalive.ts'
import type { Transport } from '../../../src/speaker/session/environment.ts'
import { openListener } from '../../../src/speaker/session/listener.ts'
import { parseAddress } from '../../../src/ip/address.ts'
import { createDialSocket } from '../../../src/sys/tcp-socket.ts'
import { waitFor } from '../../wait.ts'
import { faster, Pair, peerOpen, RawPeer, side } from './fixture.ts'

const both = (pair: Pair) => (): boolean =>
  pair.a.session.state === 'Established' && pair.b.session.state === 'Established'

async function dial(
  port: number,
  host: string,
  localAddress: string,
): Promise<{ readonly socket: net.Socket; readonly received: () => string; readonly isClosed: () => boolean }> {
  const socket = net.connect({ port, host, localAddress })
  let received = ''
  let isClosed = false
  socket.on('data', (chunk: Buffer) => (received += chunk.toString('hex')))
  // A reset is one way to be refused.
  socket.on('error', () => {})
  socket.on('close', () => (isClosed = true))
  await waitFor('the connection', () => !socket.connecting)
  return { socket, received: () => received, isClosed: () => isClosed }
}

test('a connection from an unknown source is closed at once and told once', async () => {
  const refused: string[] = []
  const listener = await openListener({ host: '127.0.0.1', port: 0, onRefused: (address) => refused.push(address) })
  for (let i = 0; i < 3; i++) {
    const stranger = await dial(listener.port, '127.0.0.1', '127.0.0.9')
    await waitFor('the close', stranger.isClosed)
    assert.equal(stranger.received(), '')
  }
  assert.deepEqual(refused, ['127.0.0.9'])
  await listener.close()
})

test('a dual-stack listener knows an IPv4 neighbor by its mapped address, and an IPv6 neighbor too', async () => {
  const listener = await openListener({ host: '::', port: 0, onRefused: () => {} })
  const accepted: string[] = []
  const take = (name: string) => (transport: Transport) => {
    accepted.push(name)
    transport.destroy()
  }
  listener.setPeers([
    { address: parseAddress('127.0.0.2') ?? 0, accept: take('ipv4') },
    { address: parseAddress('::1') ?? 0, accept: take('ipv6') },
  ])
  await dial(listener.port, '127.0.0.1', '127.0.0.2')
  await waitFor('the IPv4 neighbor', () => accepted.includes('ipv4'))
  await dial(listener.port, '::1', '::1')
  await waitFor('the IPv6 neighbor', () => accepted.includes('ipv6'))
  await listener.close()
})

test('one link-local address on two interfaces can have one TCP-MD5 key only, which is told', async () => {
  const problems: string[] = []
  const listener = await openListener({
    host: '::',
    port: 0,
    onRefused: () => {},
    onProblem: (problem) => problems.push(problem),
  })
  const address = parseAddress('fe80::2') ?? 0
  const accept = (transport: Transport): void => transport.destroy()
  listener.setPeers([
    { address, device: 'eth0', password: 'one', accept },
    { address, device: 'eth1', password: 'one', accept },
  ])
  assert.deepEqual(problems, [])
  listener.setPeers([
    { address, device: 'eth0', password: 'one', accept },
    { address, device: 'eth1', accept },
  ])
  assert.equal(problems.length, 1)
  assert.match(problems[0] ?? '', /^TCP-MD5 key of fe80::2%eth1: fe80::2 on another interface has another one/)
  await listener.close()
})

test('a port that is taken is ERR_BGP_LISTEN naming it', async () => {
  const first = await openListener({ host: '127.0.0.1', port: 0, onRefused: () => {} })
  await assert.rejects(
    openListener({ host: '127.0.0.1', port: first.port, onRefused: () => {} }),
    (error: Error & { code?: string }) =>
      error.code === 'ERR_BGP_LISTEN' &&
      error.message.includes(String(first.port)) &&
      error.message.includes('EADDRINUSE'),
  )
  await first.close()
})

test('sessions with one TCP-MD5 key come up in both directions (RFC 2385)', async () => {
  for (const passive of [
    { a: true, b: false },
    { a: false, b: true },
  ]) {
    await using pair = await Pair.open({ password: 'secret' }, { passive: passive.a }, { passive: passive.b })
    pair.start()
    await waitFor('both Established', both(pair))
  }
})

test('a dual-stack listener holds the key of an IPv4 neighbor under its mapped address', async () => {
  const listener = await openListener({ host: '::', port: 0, onRefused: () => {} })
  let accepted = 0
  const peer = {
    address: parseAddress('127.0.0.2') ?? 0,
    accept: (transport: Transport) => {
      accepted++
      transport.destroy()
    },
  }
  const dialSigned = (): net.Socket => {
    const socket = createDialSocket({
      peer: parseAddress('127.0.0.1') ?? 0,
      ttl: 1,
      password: 'secret',
      source: parseAddress('127.0.0.2') ?? 0,
    })
    // It is reset when the listener closes it first.
    socket.on('error', () => {})
    return socket.connect(listener.port, '127.0.0.1')
  }
  listener.setPeers([{ ...peer, password: 'secret' }])
  dialSigned()
  await waitFor('the signed connection', () => accepted === 1)
  listener.setPeers([peer])
  await dial(listener.port, '127.0.0.1', '127.0.0.2')
  await waitFor('an unsigned one after the key was removed', () => accepted === 2)
  await listener.close()
})

test('with different keys nothing comes up, and the reason suspects the key', async () => {
  await using pair = await Pair.open({}, { password: 'secret' }, { password: 'other' }, { environment: faster(50) })
  pair.start()
  await waitFor('the suspicion', () => pair.a.session.reason?.includes('MD5 key mismatch suspected'))
  assert.deepEqual([pair.a.events.negotiations.length, pair.b.events.negotiations.length], [0, 0])
})

test('GTSM on both sides lets a directly connected peer in (RFC 5082)', async () => {
  for (const passive of [
    { a: true, b: false },
    { a: false, b: true },
  ]) {
    await using pair = await Pair.open({ ttlSecurityHops: 1 }, { passive: passive.a }, { passive: passive.b })
    pair.start()
    await waitFor('both Established', both(pair))
  }
})

test('GTSM drops a peer that sends with a smaller TTL', async () => {
  await using pair = await Pair.open(
    {},
    { ttlSecurityHops: 1 },
    { multihopTtl: 64, passive: true },
    { environment: faster(50) },
  )
  pair.b.session.start()
  pair.a.session.start()
  await waitFor(
    'the first attempt is over',
    () => pair.a.events.states.includes('OpenSent') && pair.a.session.state !== 'OpenSent',
  )
  assert.deepEqual(pair.a.events.negotiations, [])
})

const gracefulRestart = {
  type: 'gracefulRestart',
  restartState: true,
  notification: false,
  restartTimeSec: 120,
  families: [],
} as const

/** A session that is Established with a hand-made peer at 127.0.0.2, which can connect a second time. */
async function restartable(withGracefulRestart: boolean, secondsPerSecond: number) {
  const listener = await openListener({ host: '127.0.0.1', port: 0, onRefused: () => {} })
  const { session, events } = side(
    {
      passive: true,
      holdTimeSec: 0,
      keepaliveSec: 0,
      ...(withGracefulRestart ? { gracefulRestart: { restartTimeSec: 120, notification: false } } : {}),
    },
    { environment: faster(secondsPerSecond) },
  )
  listener.setPeers([{ address: parseAddress('127.0.0.2') ?? 0, accept: (transport) => session.accept(transport) }])
  session.start()
  const connect = async () => {
    const peer = await dial(listener.port, '127.0.0.1', '127.0.0.2')
    peer.socket.write(peerOpen(withGracefulRestart ? [gracefulRestart] : [], 0))
    return peer
  }
  const first = await connect()
  first.socket.write(keepaliveBytes)
  await waitFor('Established', () => session.state === 'Established')
  return { listener, session, events, first, connect }
}

test('a second connection of an Established peer loses with Cease/Connection Collision Resolution (RFC 4271 6.8)', async () => {
  const { listener, session, events, first, connect } = await restartable(false, 100)
  const second = await connect()
  await waitFor('6/7', () => second.received().endsWith('0015030607'))
  assert.equal(session.state, 'Established')
  assert.deepEqual(events.downs, [])
  second.socket.write('what a loser says later reaches nobody')
  await waitFor('the loser is closed', second.isClosed)
  assert.equal(session.state, 'Established')
  assert.equal(first.isClosed(), false)
  await session.stop('silent')
  await listener.close()
})

test('a good OPEN of a restarted peer replaces the old connection without NOTIFICATION (RFC 4724 4.2)', async () => {
  const { listener, session, events, first, connect } = await restartable(true, 1000)
  const before = first.received()
  const openedAt = performance.now()
  await waitFor('the collision window to pass', () => performance.now() - openedAt > 20)
  const second = await connect()
  await waitFor('the old one is closed', first.isClosed)
  assert.equal(first.received(), before)
  second.socket.write(keepaliveBytes)
  await waitFor('Established again', () => session.state === 'Established')
  assert.equal(events.negotiations.length, 2)
  assert.match(events.downs[0]?.reason.text ?? '', /restarted/)
  assert.equal(session.negotiated?.remotePort, second.socket.localPort)
  await session.stop('silent')
  await listener.close()
})

for (const { title, bgpId, outgoingLoses } of [
  {
    title: 'the peer with the larger BGP Identifier keeps the connection that it opened',
    bgpId: 0x0a000002,
    outgoingLoses: true,
  },
  {
    title: 'with the larger BGP Identifier on our side the connection that we opened is kept',
    bgpId: 0x09000001,
    outgoingLoses: false,
  },
]) {
  test(`${title} (RFC 4271 6.8)`, async () => {
    await using peer = await RawPeer.listen()
    const listener = await openListener({ host: '127.0.0.1', port: 0, onRefused: () => {} })
    const { session, events } = side({ peerPort: peer.port, sourceAddress: '127.0.0.1' })
    listener.setPeers([{ address: parseAddress('127.0.0.2') ?? 0, accept: (transport) => session.accept(transport) }])
    session.start()
    await waitFor('our OPEN', () => peer.messages[0]?.startsWith('01'))
    peer.socket?.write(peerOpen([], 9, bgpId))
    await waitFor('OpenConfirm', () => session.state === 'OpenConfirm')
    const incoming = await dial(listener.port, '127.0.0.1', '127.0.0.2')
    incoming.socket.write(peerOpen([], 9, bgpId))
    const collision = '0015030607'
    await waitFor('the Cease 6/7', () =>
      (outgoingLoses ? peer.received.toString('hex') : incoming.received()).endsWith(collision),
    )
    const winner = outgoingLoses ? incoming.socket : peer.socket
    winner?.write(keepaliveBytes)
    await waitFor('Established', () => session.state === 'Established')
    assert.equal((outgoingLoses ? incoming.received() : peer.received.toString('hex')).includes(collision), false)
    assert.equal(session.negotiated?.remotePort, outgoingLoses ? incoming.socket.localPort : peer.port)
    assert.deepEqual(events.downs, [])
    await session.stop('silent')
    await listener.close()
  })
}

test('right after Established a second connection is a collision and no restart, also with graceful restart', async () => {
  const { listener, session, events, connect } = await restartable(true, 1)
  const second = await connect()
  await waitFor('6/7', () => second.received().endsWith('0015030607'))
  assert.deepEqual([session.state, events.downs.length], ['Established', 0])
  await session.stop('silent')
  await listener.close()
})

test(
  'R and F are set in the OPENs of a restarted process, for one restart time and never on a first start (RFC ' +
    '4724 3)',
  async () => {
    const config = { gracefulRestart: { restartTimeSec: 120, notification: false } }
    const cases = [
      { isRestart: true, uptimeSec: 1, want: { restartState: true, forwarding: true } },
      { isRestart: true, uptimeSec: 121, want: { restartState: false, forwarding: false } },
      { isRestart: false, uptimeSec: 1, want: { restartState: false, forwarding: false } },
    ]
    for (const { isRestart, uptimeSec, want } of cases) {
      await using pair = await Pair.open(
        config,
        {},
        {},
        { isRestart, isForwardingPreserved: true, environment: { ...faster(1), uptimeSec: () => uptimeSec } },
      )
      pair.start()
      await waitFor('both Established', both(pair))
      const capability = pair.a.session.negotiated?.remoteOpen.capabilities.find(
        ({ type }) => type === 'gracefulRestart',
      )
      assert.ok(capability?.type === 'gracefulRestart')
      assert.deepEqual({ restartState: capability.restartState, forwarding: capability.families[0]?.forwarding }, want)
    }
  },
)
