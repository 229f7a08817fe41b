import assert from 'node:assert/strict'
import net from 'node:net'
import { test } from 'node:test'
import { waitFor } from '../../wait.ts'
import { encodeUpdate } from '../../../src/bgp/messages/update.ts'
import { bytes, faster, marker, Pair, peerOpen, RawPeer, side } from './fixture.ts'
import { keepaliveBytes } from '../../../src/bgp/messages/keepalive.ts'
import { prefixOf } from '../../../src/ip/prefix.ts'

const both = (pair: Pair) => (): boolean =>
  pair.a.session.state === 'Established' && pair.b.session.state === 'Established'

test('two of our own sessions that dial each other come to Established, and an UPDATE arrives', async () => {
  await using pair = await Pair.open()
  pair.start()
  await waitFor('both Established', both(pair))
  const codec = pair.a.session.negotiated?.codec
  assert.ok(codec)
  const update = encodeUpdate(
    {
      type: 'update',
      withdrawn: [],
      attributes: { origin: 0, asPath: [{ type: 2, asns: [64512] }], nextHop: 0x7f000001 },
      nlri: [prefixOf(0x0a010203, 32)],
    },
    codec,
  )
  assert.equal(pair.a.session.send(update, 1), true)
  const message = await waitFor('the UPDATE', () => pair.b.events.updates[0])
  assert.deepEqual(message.nlri, [prefixOf(0x0a010203, 32)])
  assert.deepEqual(pair.a.events.negotiations[0]?.families, [{ afi: 1, safi: 1 }])
  assert.equal(pair.a.session.reason, undefined)
})

test('a stop says Cease with its subcode and the text of RFC 9003, and the peer reports it', async () => {
  await using pair = await Pair.open()
  pair.start()
  await waitFor('both Established', both(pair))
  await pair.a.session.stop({ subcode: 2, text: 'maintenance' })
  const down = await waitFor('the end at the peer', () => pair.b.events.downs[0])
  assert.equal(down.wasEstablished, true)
  assert.equal(down.reason.direction, 'received')
  assert.deepEqual([down.reason.code, down.reason.subcode], [6, 2])
  assert.match(down.reason.text, /Cease\/Administrative Shutdown "maintenance"/)
  assert.equal(pair.a.session.state, 'Idle')
  assert.equal(pair.b.session.flaps, 1)
})

test('where both sides set the N bit, a stop is a Hard Reset that carries the reason (RFC 8538 2, 3.1)', async () => {
  const kept = { restartTimeSec: 120, notification: true }
  for (const { theirs, code } of [
    { theirs: kept, code: [6, 9] },
    { theirs: { ...kept, notification: false }, code: [6, 3] },
  ]) {
    await using pair = await Pair.open({}, { gracefulRestart: kept }, { gracefulRestart: theirs })
    pair.start()
    await waitFor('both Established', both(pair))
    await pair.a.session.stop({ subcode: 3, text: '' })
    const { reason } = await waitFor('the end at the peer', () => pair.b.events.downs[0])
    assert.deepEqual([reason.code, reason.subcode], code)
  }
})

test('a silent stop closes TCP without NOTIFICATION (RFC 4724 4.1)', async () => {
  await using pair = await Pair.open()
  pair.start()
  await waitFor('both Established', both(pair))
  await pair.a.session.stop('silent')
  const down = await waitFor('the end at the peer', () => pair.b.events.downs[0])
  assert.equal(down.reason.direction, 'local')
  assert.equal(down.reason.code, undefined)
})

test('two hundred rounds of both sides dialling at once always leave exactly one session (RFC 4271 6.8)', async () => {
  for (let round = 0; round < 200; round++) {
    await using pair = await Pair.open()
    pair.start()
    await waitFor(`round ${round}: both Established`, both(pair), { everyMs: 2 })
    const [a, b] = [pair.a.session.negotiated, pair.b.session.negotiated]
    await waitFor(
      `round ${round}: both on one connection`,
      () =>
        both(pair)() &&
        pair.a.session.negotiated?.localPort === pair.b.session.negotiated?.remotePort &&
        pair.a.session.negotiated?.remotePort === pair.b.session.negotiated?.localPort,
      { everyMs: 2 },
    )
    assert.deepEqual([pair.a.session.negotiated, pair.b.session.negotiated], [a, b])
    assert.deepEqual([pair.a.session.flaps, pair.b.session.flaps], [0, 0])
  }
})

test('a passive session waits in Active and takes the connection of the peer', async () => {
  await using pair = await Pair.open({}, { passive: true })
  pair.a.session.start()
  assert.equal(pair.a.session.state, 'Active')
  pair.b.session.start()
  await waitFor('both Established', both(pair))
  assert.equal(pair.a.session.negotiated?.localPort, pair.listeners[0]?.port)
})

test('a peer that refuses connections is named in the reason and dialled again', async () => {
  const port = await closedPort()
  const { session } = side({ peerPort: port })
  session.start()
  await waitFor('the reason', () => session.reason?.includes('refuses connections'))
  assert.equal(session.state, 'Active')
  await using peer = await RawPeer.listen()
  const late = side({ peerPort: peer.port })
  late.session.start()
  await waitFor('a dial', () => peer.connections === 1)
  await Promise.all([session.stop('silent'), late.session.stop('silent')])
})

async function closedPort(): Promise<number> {
  const peer = await RawPeer.listen()
  const { port } = peer
  await peer[Symbol.asyncDispose]()
  return port
}

/** What a peer may send wrongly: state reached first, bytes sent, NOTIFICATION expected (from the type octet on). */
const faults: readonly {
  readonly title: string
  readonly before: 'OpenSent' | 'OpenConfirm' | 'Established'
  readonly hex: string
  readonly answer: string
}[] = [
  {
    title: 'a marker that is not all ones: 1/1 (RFC 4271 6.1)',
    before: 'OpenSent',
    hex: `${'ff'.repeat(15)}00 0013 04`,
    answer: '030101',
  },
  {
    title: 'a length below 19: 1/2 with that length',
    before: 'OpenSent',
    hex: `${marker} 0012 04`,
    answer: '0301020012',
  },
  {
    title: 'a length above 4096: 1/2 with that length',
    before: 'Established',
    hex: `${marker} 1001 02`,
    answer: '0301021001',
  },
  { title: 'an unknown type: 1/3 with that type', before: 'OpenSent', hex: `${marker} 0013 09`, answer: '03010309' },
  {
    title: 'a version other than 4: 2/1 with version 4',
    before: 'OpenSent',
    hex: `${marker} 001d 01 03 fc01 005a 0a000002 00`,
    answer: '0302010004',
  },
  {
    title: 'a hold time of 1 s: 2/6',
    before: 'OpenSent',
    hex: `${marker} 001d 01 04 fc01 0001 0a000002 00`,
    answer: '0302060001',
  },
  {
    title: 'the wrong AS: 2/2',
    before: 'OpenSent',
    hex: `${marker} 001d 01 04 fc77 005a 0a000002 00`,
    answer: '030202',
  },
  {
    title: 'a KEEPALIVE in OpenSent: 5/1 with type 4 (RFC 6608 4)',
    before: 'OpenSent',
    hex: `${marker} 0013 04`,
    answer: '03050104',
  },
  {
    title: 'an UPDATE in OpenSent: 5/1 with type 2',
    before: 'OpenSent',
    hex: `${marker} 0017 02 0000 0000`,
    answer: '03050102',
  },
  {
    title: 'an UPDATE in OpenConfirm: 5/2 with type 2',
    before: 'OpenConfirm',
    hex: `${marker} 0017 02 0000 0000`,
    answer: '03050202',
  },
  {
    title: 'a second OPEN in OpenConfirm: 5/2 with type 1',
    before: 'OpenConfirm',
    hex: `${marker} 001d 01 04 fc01 005a 0a000002 00`,
    answer: '03050201',
  },
  {
    title: 'an OPEN in Established: 5/3 with type 1',
    before: 'Established',
    hex: `${marker} 001d 01 04 fc01 005a 0a000002 00`,
    answer: '03050301',
  },
]

for (const { title, before, hex, answer } of faults) {
  test(`${title}, sent in ${before}`, async () => {
    await using peer = await RawPeer.listen()
    const { session, events } = side({ peerPort: peer.port })
    session.start()
    await waitFor('our OPEN', () => peer.messages[0]?.startsWith('01'))
    if (before !== 'OpenSent') peer.socket?.write(peerOpen())
    if (before !== 'OpenSent') await waitFor('OpenConfirm', () => session.state === 'OpenConfirm')
    if (before === 'Established') peer.socket?.write(keepaliveBytes)
    await waitFor(before, () => session.state === before)
    peer.socket?.write(bytes(hex))
    await waitFor('the NOTIFICATION', () => peer.messages.find((message) => message.startsWith('03')))
    assert.equal(peer.messages.at(-1), answer)
    assert.equal(session.state, 'Idle')
    assert.equal(events.downs[0]?.wasEstablished, before === 'Established')
    assert.equal(session.lastReset?.direction, 'sent')
    await session.stop('silent')
  })
}

test('a peer that sends one octet at a time is understood', async () => {
  await using peer = await RawPeer.listen()
  const { session } = side({ peerPort: peer.port })
  session.start()
  await waitFor('our OPEN', () => peer.messages[0]?.startsWith('01'))
  for (const octet of Buffer.concat([peerOpen(), keepaliveBytes])) {
    peer.socket?.write(Uint8Array.of(octet))
    await new Promise((resolve) => setImmediate(resolve))
  }
  await waitFor('Established', () => session.state === 'Established')
  await session.stop('silent')
})

test('many messages in one segment are all handled, in turns', async () => {
  await using peer = await RawPeer.listen()
  const { session, events } = side({ peerPort: peer.port })
  session.start()
  await waitFor('our OPEN', () => peer.messages[0]?.startsWith('01'))
  const endOfRib = bytes(`${marker} 0017 02 0000 0000`)
  peer.socket?.write(
    Buffer.concat([
      peerOpen(),
      keepaliveBytes,
      ...Array.from({ length: 1000 }, () => endOfRib),
      bytes(`${marker} 0015 03 0602`),
    ]),
  )
  const down = await waitFor('the NOTIFICATION behind them', () => events.downs[0])
  assert.equal(events.updates.length, 1000)
  assert.deepEqual([down.reason.direction, down.reason.code, down.reason.subcode], ['received', 6, 2])
  await session.stop('silent')
})

test('a silent peer gets Hold Timer Expired 4/0 after the negotiated time (RFC 4271 6.5)', async () => {
  await using peer = await RawPeer.listen()
  const { session } = side({ peerPort: peer.port }, { environment: faster(20) })
  session.start()
  await waitFor('our OPEN', () => peer.messages[0]?.startsWith('01'))
  peer.socket?.write(Buffer.concat([peerOpen(), keepaliveBytes]))
  await waitFor('Established', () => session.state === 'Established')
  await waitFor('the NOTIFICATION', () => peer.messages.at(-1) === '030400')
  await session.stop('silent')
})

test('a peer that stays silent after TCP is let go long before 240 s, also in OpenConfirm', async () => {
  await using peer = await RawPeer.listen()
  const { session } = side({ peerPort: peer.port }, { environment: faster(50) })
  session.start()
  await waitFor('the NOTIFICATION', () => peer.messages.at(-1) === '030400')
  await waitFor('the next dial', () => peer.connections === 2)
  peer.socket?.write(peerOpen())
  await waitFor('the NOTIFICATION in OpenConfirm', () => peer.connections === 2 && peer.messages.at(-1) === '030400')
  await session.stop('silent')
})

test('a peer that does not read is let go by the send hold timer (RFC 9687), and send answers false before', async () => {
  await using peer = await RawPeer.listen((socket) => void socket.write(Buffer.concat([peerOpen(), keepaliveBytes])))
  const { session, events } = side({ peerPort: peer.port }, { environment: faster(20) })
  session.start()
  await waitFor('Established', () => session.state === 'Established')
  peer.socket?.pause()
  const alive = setInterval(() => peer.socket?.write(keepaliveBytes), 100)
  try {
    const chunk = new Uint8Array(65536).fill(0xff)
    let sent = 0
    while (session.send(chunk, 1)) assert.ok(++sent < 1000, 'the queue has no bound')
    const down = await waitFor('the end', () => events.downs[0])
    assert.deepEqual([down.reason.code, down.reason.subcode], [8, 0])
    assert.match(down.reason.text, /does not read/)
  } finally {
    clearInterval(alive)
    await session.stop('silent')
  }
})

test('send answers true again after drained', async () => {
  await using peer = await RawPeer.listen((socket) => void socket.write(Buffer.concat([peerOpen(), keepaliveBytes])))
  const { session, events } = side({ peerPort: peer.port })
  session.start()
  await waitFor('Established', () => session.state === 'Established')
  peer.socket?.pause()
  const chunk = new Uint8Array(65536).fill(0xff)
  for (let sent = 0; session.send(chunk, 1); sent++) assert.ok(sent < 1000, 'the queue has no bound')
  assert.equal(events.drainedCount, 0)
  peer.socket?.resume()
  await waitFor('drained', () => events.drainedCount === 1)
  assert.equal(session.send(keepaliveBytes, 1), true)
  await session.stop('silent')
})

test('an OPEN that is refused again and again is not retried without a pause (idle hold 1 s, doubling)', async () => {
  await using peer = await RawPeer.listen(
    (socket) => void socket.write(bytes(`${marker} 001d 01 04 fc77 005a 0a000002 00`)),
  )
  const { session } = side({ peerPort: peer.port }, { environment: faster(20) })
  const startedAt = performance.now()
  session.start()
  await waitFor('four dials', () => peer.connections === 4)
  // 1 + 2 + 4 s of idle hold at the least jitter, on a clock that runs twenty times as fast.
  assert.ok(performance.now() - startedAt >= (7 * 0.75 * 1000) / 20 - 5)
  await session.stop('silent')
})

test('a peer that restarts gracefully is let in at once, but not again and again (RFC 4724 4.2)', async () => {
  // Idle hold takes minutes on this clock.
  await using pair = await Pair.open(
    { gracefulRestart: { restartTimeSec: 120, notification: false } },
    { passive: true },
    {},
    { environment: faster(0.01) },
  )
  const { session } = pair.a
  session.start()
  const connect = async (): Promise<net.Socket> => {
    const socket = net.connect({ port: pair.listeners[0]?.port ?? 0, host: '127.0.0.1', localAddress: '127.0.0.2' })
    socket.on('error', () => {})
    socket.on('data', () => {})
    socket.write(
      peerOpen([
        { type: 'gracefulRestart', restartState: false, notification: false, restartTimeSec: 120, families: [] },
      ]),
    )
    socket.write(keepaliveBytes)
    return socket
  }
  for (const _round of [1, 2]) {
    const socket = await connect()
    await waitFor('Established', () => session.state === 'Established')
    socket.destroy()
    await waitFor('the loss', () => session.state !== 'Established')
  }
  const refused = await connect()
  await waitFor('the refusal', () => refused.closed)
  assert.equal(session.state, 'Idle')
})
