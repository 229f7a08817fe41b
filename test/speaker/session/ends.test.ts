/** How sessions end, and how soon they are back: on a network in memory, against a script. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { keepaliveBytes } from '../../../src/bgp/messages/keepalive.ts'
import type { Capability } from '../../../src/bgp/messages/capabilities.ts'
import { parseAddress } from '../../../src/ip/address.ts'
import { InMemoryNetwork } from '../../../src/speaker/session/in-memory.ts'
import { neighborOf, Recorded } from '../pair.ts'
import { agreeable, ScriptedPeer, seen, sessionStage } from '../virtual.ts'
import { bytes, marker, neighbor, peerOpen } from './fixture.ts'

const address = (text: string) => parseAddress(text) ?? assert.fail(text)
const gracefulRestart = (notification: boolean): Capability => ({
  type: 'gracefulRestart',
  restartState: false,
  notification,
  restartTimeSec: 120,
  families: [{ family: { afi: 1, safi: 1 }, forwarding: true }],
})

/** NOTIFICATIONs that an operator's action at the router makes. */
const decisions: readonly (readonly [string, string])[] = [
  ['Administrative Shutdown 6/2', `${marker} 0015 03 0602`],
  ['Administrative Shutdown with a text', `${marker} 0021 03 0602 0b 6d61696e74656e616e6365`],
  ['Peer De-configured 6/3', `${marker} 0015 03 0603`],
  ['Administrative Reset 6/4', `${marker} 0015 03 0604`],
  ['Other Configuration Change 6/6', `${marker} 0015 03 0606`],
  ['Hard Reset around Administrative Reset', `${marker} 0017 03 0609 0604`],
]

for (const [what, hex] of decisions)
  test(`twelve times in a row ${what} costs no more than 5 s each (RFC 4486 4, RFC 8538 3)`, async () => {
    const { network, session, peer } = await sessionStage({}, agreeable())
    session.start()
    for (let round = 1; round <= 12; round++) {
      await seen(network, `Established, round ${round}`, () => session.state === 'Established', 5)
      peer.last?.say(bytes(hex))
      await seen(network, 'the end', () => session.state !== 'Established', 1)
    }
    await seen(network, 'Established again', () => session.state === 'Established', 5)
    assert.equal(session.flaps, 12)
  })

test('a passive session is back at once when the operator of the peer has ended it (RFC 4486 4)', async () => {
  const { network, session, peer } = await sessionStage({ passive: true })
  session.start()
  for (let round = 0; round < 12; round++) {
    const connection = peer.dial()
    await network.advance(0.1)
    agreeable()(connection)
    await network.advance(0.1)
    assert.equal(session.state, 'Established')
    connection.say(bytes(`${marker} 0015 03 0604`))
    await network.advance(0.1)
  }
})

test('a peer that comes up and ends its session by decision, without end, is let in at a bounded rate', async () => {
  const { network, session, peer } = await sessionStage({ passive: true })
  session.start()
  for (let tenth = 0; tenth < 200; tenth++) {
    const connection = peer.dial()
    await network.advance(0.05)
    agreeable()(connection)
    connection.say(bytes(`${marker} 0015 03 0604`))
    await network.advance(0.05)
  }
  assert.ok(session.flaps >= 15 && session.flaps <= 15 + 20, `${session.flaps} sessions in 20 s`)
})

test('a fault of the peer is retried less and less often, and the reason says how long that still lasts (RFC 4271 8.1.1)', async () => {
  const { network, session, peer } = await sessionStage({}, (connection) => {
    agreeable()(connection)
    connection.say(bytes(`${marker} 0013 09`))
  })
  session.start()
  await seen(network, 'seven attempts', () => peer.connections.length === 7, 600)
  await seen(network, 'Idle', () => session.state === 'Idle')
  const leftSec = (): number => Number(/follows after (\d+) s/.exec(session.reason ?? '')?.[1])
  const first = leftSec()
  assert.ok(first >= 45, `${first} s`)
  await network.advance(20)
  assert.equal(leftSec(), first - 20)
  await network.advance(first - 21)
  assert.equal(leftSec(), 1)
})

test('a peer that never confirms our OPEN is let go, whatever hold time it offers (RFC 4271 8.2.2)', async () => {
  for (const holdTimeSec of [0, 3, 90, 65_535]) {
    const { network, session, peer } = await sessionStage({ holdTimeSec: 65_535 }, (connection) =>
      connection.say(peerOpen([], holdTimeSec)),
    )
    session.start()
    await seen(network, 'OpenConfirm', () => session.state === 'OpenConfirm')
    const [first] = peer.connections
    await seen(
      network,
      `Hold Timer Expired after an offer of ${holdTimeSec} s`,
      () => first?.messages.at(-1) === '030400',
      31,
    )
  }
})

test('with hold time 0 a confirmed session has no hold timer (RFC 4271 4.2)', async () => {
  const { network, session } = await sessionStage({}, agreeable([], 0x0a000002, 0))
  session.start()
  await seen(network, 'Established', () => session.state === 'Established')
  await network.advance(7 * 24 * 3600)
  assert.deepEqual([session.state, session.flaps], ['Established', 0])
})

for (const { bit, said } of [
  { bit: true, said: '03060906010001010000000a' },
  { bit: false, said: '0306010001010000000a' },
])
  test(`too many prefixes ${bit ? 'with' : 'without'} the N bit: nothing is kept, and the wait holds for a peer that dials (RFC 8538 3.1, RFC 4486 4)`, async () => {
    const { network, session, events, peer } = await sessionStage(
      { gracefulRestart: { restartTimeSec: 120, notification: bit } },
      agreeable([gracefulRestart(bit)]),
    )
    session.start()
    await seen(network, 'Established', () => session.state === 'Established')
    const [first] = peer.connections
    const silent = peer.dial()
    await network.advance(0.1)
    session.fail({ code: 6, subcode: 1, data: bytes('0001 01 0000000a'), reason: '11 prefixes, at most 10' }, 300)
    await network.advance(0.1)
    assert.equal(first?.messages.at(-1), said)
    assert.equal(events.downs[0]?.isRestart, false)
    assert.notEqual(silent.end, undefined, 'a connection that was there before is no way round the wait')
    for (let dial = 0; dial < 10; dial++) {
      const connection = peer.dial()
      await network.advance(28)
      assert.notEqual(connection.end, undefined)
      assert.deepEqual([connection.messages, session.state], [[], 'Idle'])
    }
    await seen(network, 'the session again', () => session.state === 'Established', 30)
  })

test('nothing is dialled after a stop, in whatever state it comes (RFC 4271 8.1.2 event 2)', async () => {
  for (const prepare of ['Idle', 'Connect', 'Active', 'OpenSent', 'Established', 'never started'] as const) {
    const { network, host, session, peer } = await sessionStage({}, (connection) => {
      if (prepare === 'Established') agreeable()(connection)
      if (prepare === 'Idle') connection.say(bytes(`${marker} 0013 09`))
    })
    if (prepare === 'Connect') peer.host.isUnplugged = true
    if (prepare === 'Active') host.dialProblem = 'no such device'
    if (prepare !== 'never started') session.start()
    await network.advance(0.1)
    if (prepare !== 'never started') assert.equal(session.state, prepare)
    const dials = host.dialled.length
    void session.stop({ subcode: 2, text: '' })
    session.start()
    session.configure({ ...neighbor({ peerAddress: '192.0.2.2' }), passive: false, connectRetrySec: 1 })
    host.dialProblem = undefined
    await network.advance(3600)
    assert.deepEqual([host.dialled.length, session.state, session.reason], [dials, 'Idle', 'stopped'])
    peer.host.isUnplugged = false
    const late = peer.dial()
    await network.advance(1)
    assert.notEqual(late.end, undefined)
  }
})

for (const mode of ['restart', 'shutdown'] as const)
  test(`a ${mode} while the predecessor of a changed peer still closes dials nothing afterwards`, async () => {
    const network = new InMemoryNetwork()
    const host = network.host(address('192.0.2.1'))
    const node = new Recorded(undefined, { isRestart: false, isForwardingPreserved: false }, host)
    const peer = new ScriptedPeer(network.host(address('192.0.2.2')), address('192.0.2.1'), agreeable())
    await node.speaker.start()
    const config = neighborOf(64_512, 64_513, '192.0.2.2')
    node.speaker.handle({ type: 'configure', neighbors: [config] })
    await seen(network, 'Established', () => node.peers[0]?.state === 'Established')
    // It takes a second to close, since the peer does not read.
    peer.last?.transport.pause()
    node.speaker.handle({ type: 'configure', neighbors: [{ ...config, routerId: '10.9.9.9' }] })
    node.speaker.handle({ type: 'stop', mode, text: '' })
    const dials = host.dialled.length
    await seen(network, 'stopped', () => node.said.some(({ type }) => type === 'stopped'))
    await network.advance(3600)
    assert.equal(host.dialled.length, dials)
    assert.equal(node.said.at(-1)?.type, 'stopped', 'nothing is said after it')
  })

test('a session that was stable starts from zero, however often it failed before (RFC 4271 8.1.1)', async () => {
  let isGood = false
  const { network, session, peer } = await sessionStage({}, (connection) => {
    if (isGood) agreeable([], 0x0a000002, 0)(connection)
    else connection.say(bytes(`${marker} 0013 09`))
  })
  session.start()
  await seen(network, 'eight failures', () => peer.connections.length === 8, 3600)
  isGood = true
  await seen(network, 'Established', () => session.state === 'Established', 100)
  await network.advance(60)
  peer.last?.transport.destroy()
  await seen(network, 'back', () => session.state !== 'Established')
  await seen(network, 'Established again', () => session.state === 'Established', 3)
  peer.last?.say(keepaliveBytes)
})

test('a router that keeps a session shut down and ends connections without a word does not hide what it has said', async () => {
  let isShut = false
  const { network, session, peer } = await sessionStage({}, (connection) =>
    isShut ? connection.transport.destroy() : agreeable()(connection),
  )
  session.start()
  await seen(network, 'Established', () => session.state === 'Established')
  isShut = true
  peer.last?.say(bytes(`${marker} 0021 03 0602 0b 6d61696e74656e616e6365`))
  await seen(network, 'five dials', () => peer.connections.length >= 6)
  assert.match(session.lastReset?.text ?? '', /^peer closed: .*Administrative Shutdown.*maintenance/)
  assert.equal(session.lastReset?.subcode, 2)
  isShut = false
  await seen(network, 'Established again', () => session.state === 'Established')
  peer.last?.transport.destroy()
  await seen(network, 'the end', () => session.state !== 'Established', 1)
  assert.equal(session.lastReset?.direction, 'local')
})
