/** What two of our own sessions, or one and a hand-made peer, agree on beyond the base protocol. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Neighbor } from '../../../src/desired/model.ts'
import type { Capability } from '../../../src/bgp/messages/capabilities.ts'
import { keepaliveBytes } from '../../../src/bgp/messages/keepalive.ts'
import { waitFor } from '../../wait.ts'
import { bytes, faster, marker, neighbor, Pair, peerOpen, RawPeer, side } from './fixture.ts'
import { negotiate } from '../../../src/bgp/fsm/negotiate.ts'
import { decodeOpen } from '../../../src/bgp/messages/open.ts'

const both = (pair: Pair) => (): boolean =>
  pair.a.session.state === 'Established' && pair.b.session.state === 'Established'

/** What our configuration makes of a peer's OPEN. */
function agreed(config: Partial<Neighbor>, capabilities: readonly Capability[]) {
  const open = decodeOpen(peerOpen(capabilities).subarray(19))
  return open.ok ? negotiate(neighbor(config), open.value) : assert.fail(open.fault.reason)
}

test('extended messages hold when both sides offer them, else 4096 octets (RFC 8654 4)', async () => {
  await using pair = await Pair.open()
  pair.start()
  await waitFor('both Established', both(pair))
  assert.equal(pair.a.session.negotiated?.codec.maxMessageBytes, 65_535)
  const alone = agreed({}, [])
  assert.equal(alone.ok && alone.value.codec.maxMessageBytes, 4096)
})

test(
  'several paths are taken of a family for which the peer says send or both, and only where it is wanted ' +
    '(RFC 7911 4)',
  () => {
    const offer = (mode: number): Capability => ({ type: 'addPath', entries: [{ family: { afi: 1, safi: 1 }, mode }] })
    const families = (config: Partial<Neighbor>, mode: number): number => {
      const found = agreed(config, [offer(mode)])
      return found.ok ? found.value.codec.addPathReceive.length : Number.NaN
    }
    assert.deepEqual(
      [1, 2, 3].map((mode) => families({ addPathReceive: true }, mode)),
      [0, 1, 1],
    )
    assert.equal(families({}, 3), 0)
  },
)

test(
  'roles that do not fit, or several of them, are Role Mismatch 2/11, and a peer without a role is taken ' +
    '(RFC 9234 4.2)',
  () => {
    const say = (...roles: number[]): Capability[] => roles.map((role) => ({ type: 'role', role }))
    const verdict = (role: Neighbor['role'] & string, ...theirs: number[]): string => {
      const found = agreed({ role }, say(...theirs))
      return found.ok ? 'ok' : `${found.fault.code}/${found.fault.subcode}`
    }
    // Provider 0, RS 1, RS-Client 2, Customer 3, Peer 4.
    assert.deepEqual(
      [0, 1, 2, 3, 4, 9].map((theirs) => verdict('customer', theirs)),
      ['ok', '2/11', '2/11', '2/11', '2/11', '2/11'],
    )
    assert.deepEqual(
      [verdict('provider', 3), verdict('rs', 2), verdict('rs-client', 1), verdict('peer', 4)],
      ['ok', 'ok', 'ok', 'ok'],
    )
    assert.deepEqual([verdict('customer', 0, 0), verdict('customer', 0, 4), verdict('customer')], ['ok', '2/11', 'ok'])
    const internal = agreed({ role: 'customer', localAsn: 64_513, peerAsn: 64_513 }, say(4))
    assert.equal(internal.ok, true, 'inside an AS roles mean nothing')
  },
)

test(
  'a role is offered where it is configured, and a mismatch ends the session with 2/11 and names both (RFC ' +
    '9234 4.1, 4.2)',
  async () => {
    await using pair = await Pair.open({}, { role: 'customer' }, { role: 'customer' }, { environment: faster(10) })
    pair.start()
    const reason = await waitFor('the refusal', () => pair.a.session.lastReset ?? pair.b.session.lastReset)
    assert.deepEqual([reason.code, reason.subcode], [2, 11])
    await waitFor('the words', () =>
      [pair.a, pair.b].some(({ session }) =>
        session.lastReset?.text.includes('the peer is a customer; a customer needs a provider'),
      ),
    )
  },
)

test('the AS shown to a neighbor is the one of the OPEN, and decides what is external (RFC 7705 4)', async () => {
  await using pair = await Pair.open({}, { localAs: 64_999 }, { peerAsn: 64_999 })
  pair.start()
  await waitFor('both Established', both(pair))
  assert.equal(pair.b.session.negotiated?.peerAsn, 64_999)
  assert.equal(pair.b.session.negotiated?.codec.isExternal, true)
})

test('AS 0 as the peer AS takes whatever AS the peer has', async () => {
  await using pair = await Pair.open({}, { peerAsn: 0 })
  pair.start()
  await waitFor('both Established', both(pair))
  assert.equal(pair.a.session.negotiated?.peerAsn, 64_513)
})

test('with DelayOpen our OPEN waits for the one of the peer, or for its timer (RFC 4271 8.1.1)', async () => {
  await using peer = await RawPeer.listen()
  const { session } = side({ peerPort: peer.port, delayOpenSec: 240 })
  session.start()
  await waitFor('the connection', () => peer.connections === 1)
  assert.equal(session.state, 'Connect')
  peer.socket?.write(peerOpen())
  await waitFor('our OPEN and KEEPALIVE', () => peer.messages.map((message) => message.slice(0, 2)).join() === '01,04')
  peer.socket?.write(keepaliveBytes)
  await waitFor('Established', () => session.state === 'Established')
  await session.stop('silent')

  await using silent = await RawPeer.listen()
  const late = side({ peerPort: silent.port, delayOpenSec: 2 }, { environment: faster(20) })
  late.session.start()
  await waitFor('our OPEN', () => silent.messages[0]?.startsWith('01'))
  await late.session.stop('silent')
})

test('a message that is no OPEN while DelayOpen runs ends the connection without an answer (RFC 4271 8.2.2)', async () => {
  await using peer = await RawPeer.listen()
  const { session } = side({ peerPort: peer.port, delayOpenSec: 240 })
  session.start()
  await waitFor('the connection', () => peer.connections === 1)
  peer.socket?.write(keepaliveBytes)
  await waitFor('Idle', () => session.state === 'Idle')
  assert.deepEqual(peer.messages, [])
  await session.stop('silent')
})

const gracefulRestart = (notification: boolean): Capability => ({
  type: 'gracefulRestart',
  restartState: false,
  notification,
  restartTimeSec: 120,
  families: [{ family: { afi: 1, safi: 1 }, forwarding: true }],
})

/** Established with a peer that offers graceful restart; then it does something, and the routes are kept or not. */
for (const { title, ours, theirs, act, isRestart } of [
  { title: 'a lost connection keeps the routes (RFC 4724 4.2)', ours: false, theirs: false, act: '', isRestart: true },
  {
    title: 'a NOTIFICATION ends them without the N bit (RFC 4724 4)',
    ours: false,
    theirs: true,
    act: `${marker} 0015 03 0604`,
    isRestart: false,
  },
  {
    title: 'a NOTIFICATION keeps them with the N bit of both (RFC 8538 4)',
    ours: true,
    theirs: true,
    act: `${marker} 0015 03 0604`,
    isRestart: true,
  },
  {
    title: 'a Hard Reset ends them also with the N bit (RFC 8538 3)',
    ours: true,
    theirs: true,
    act: `${marker} 0017 03 0609 0602`,
    isRestart: false,
  },
  {
    title: 'our own NOTIFICATION keeps them with the N bit of both (RFC 8538 4)',
    ours: true,
    theirs: true,
    act: `${marker} 0013 09`,
    isRestart: true,
  },
  {
    title: 'our own NOTIFICATION ends them without the N bit of the peer (RFC 8538 4)',
    ours: true,
    theirs: false,
    act: `${marker} 0013 09`,
    isRestart: false,
  },
]) {
  test(title, async () => {
    await using peer = await RawPeer.listen(
      (socket) => void socket.write(Buffer.concat([peerOpen([gracefulRestart(theirs)]), keepaliveBytes])),
    )
    const { session, events } = side({
      peerPort: peer.port,
      gracefulRestart: { restartTimeSec: 120, notification: ours },
    })
    session.start()
    await waitFor('Established', () => session.state === 'Established')
    if (act === '') peer.socket?.destroy()
    else peer.socket?.write(bytes(act))
    const down = await waitFor('the end', () => events.downs[0])
    assert.deepEqual([down.wasEstablished, down.isRestart], [true, isRestart])
    await session.stop('silent')
  })
}

test(
  'the last 20 changes of state are kept with a reason, and a peer that cannot be reached fills no more than ' +
    'its place',
  async () => {
    await using peer = await RawPeer.listen()
    const { session } = side({ peerPort: peer.port }, { environment: faster(200) })
    session.start()
    await waitFor('our OPEN', () => peer.messages[0]?.startsWith('01'))
    peer.socket?.write(Buffer.concat([peerOpen(), keepaliveBytes]))
    await waitFor('Established', () => session.state === 'Established')
    assert.deepEqual(
      session.transitions.map(({ from, to, reason }) => `${from} ${to}: ${reason}`),
      [
        'Idle Connect: started by the configuration',
        'Connect OpenSent: connected to the peer',
        'OpenSent OpenConfirm: OPEN of the peer accepted, hold time 9 s',
        'OpenConfirm Established: the peer confirmed our OPEN',
      ],
    )
    await peer[Symbol.asyncDispose]()
    const refused = (): number =>
      session.transitions.filter(({ reason }) => reason.includes('refuses')).reduce((sum, { times }) => sum + times, 0)
    await waitFor('thirty refused dials', () => refused() >= 30)
    assert.ok(session.transitions.length <= 20)
    assert.ok(
      session.transitions.some(({ to }) => to === 'Established'),
      'what matters is still there',
    )
    await session.stop('silent')
  },
)

test(
  'a session that is ended for its prefixes waits, says why, and starts at once when its limit is changed ' +
    '(RFC 4486 4)',
  async () => {
    await using pair = await Pair.open()
    pair.start()
    await waitFor('both Established', both(pair))
    pair.a.session.fail(
      { code: 6, subcode: 1, data: bytes('0001 01 00000001'), reason: '2 prefixes, at most 1 are taken' },
      300,
    )
    const down = await waitFor('the end at the peer', () => pair.b.events.downs[0])
    assert.equal(down.reason.text, 'peer closed: Cease/Maximum Number of Prefixes Reached')
    assert.match(pair.a.session.reason ?? '', /at most 1 are taken; the next attempt follows after 300 s/)
    pair.a.session.configure(
      neighbor({ peerPort: pair.listeners[1]?.port ?? 0, sourceAddress: '127.0.0.1', maxPrefixes: 5 }),
    )
    await waitFor('both Established again', both(pair))
  },
)
