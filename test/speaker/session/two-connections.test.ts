/** Two connections of one peer, and what each may do to the other: on a network in memory, against a script. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { keepaliveBytes } from '../../../src/bgp/messages/keepalive.ts'
import { InMemoryNetwork } from '../../../src/speaker/session/in-memory.ts'
import { seededRandom } from '../../../src/speaker/session/random.ts'
import type { Capability } from '../../../src/bgp/messages/capabilities.ts'
import { agreeable, type ScriptedConnection, seen, sessionStage } from '../virtual.ts'
import { bytes, marker, neighbor, peerOpen, side } from './fixture.ts'

const collision = '030607'
const administrativeReset = bytes(`${marker}0015030604`)
const keepAlive = (connection: ScriptedConnection | undefined): void => connection?.say(keepaliveBytes)
const restartable: Capability = {
  type: 'gracefulRestart',
  restartState: false,
  notification: false,
  restartTimeSec: 120,
  families: [{ family: { afi: 1, safi: 1 }, forwarding: true }],
}

for (const who of ['peer', 'node'] as const)
  test(`a silent connection does not displace the one with the OPEN, the ${who} dominant (RFC 4271 6.8)`, async () => {
    const bgpId = who === 'peer' ? 0x0a000009 : 0x09000001
    for (const when of ['before the OPEN', 'after the OPEN'] as const) {
      const { network, session, events, peer } = await sessionStage()
      session.start()
      const good = await seen(network, 'our dial', () => peer.last)
      const silent = when === 'before the OPEN' ? peer.dial() : undefined
      await network.advance(1)
      good.say(peerOpen([], 9, bgpId))
      await network.advance(1)
      const late = silent ?? peer.dial()
      await network.advance(1)
      assert.equal(late.isUp, true)
      keepAlive(good)
      await seen(network, 'Established', () => session.state === 'Established')
      for (let minute = 0; minute < 40; minute++) {
        await network.advance(3)
        keepAlive(good)
      }
      assert.equal(good.messages.includes(collision), false, when)
      assert.deepEqual([session.state, session.flaps, events.downs], ['Established', 0, []])
      assert.notEqual(late.end, undefined, 'the silent one is let go some time')
    }
  })

test('in passive mode the peer that comes back is not refused for its own dead connection (RFC 4271 6.8)', async () => {
  for (const reached of ['OpenSent', 'OpenConfirm'] as const) {
    const { network, session, peer } = await sessionStage({ passive: true })
    session.start()
    const dead = peer.dial()
    await network.advance(1)
    if (reached === 'OpenConfirm') dead.say(peerOpen())
    await network.advance(1)
    const back = peer.dial()
    await network.advance(1)
    back.say(peerOpen(), keepaliveBytes)
    await network.advance(1)
    assert.equal(session.state, 'Established', reached)
    assert.equal(back.end, undefined)
  }
})

test('a silent connection does not keep the next one of the peer out', async () => {
  for (const passive of [true, false]) {
    const { network, session, peer } = await sessionStage({ passive, peerPort: 1 })
    session.start()
    for (let silent = 0; silent < 3; silent++) peer.dial()
    await network.advance(0.1)
    const good = peer.dial()
    await network.advance(0.1)
    agreeable()(good)
    await network.advance(1)
    assert.equal(session.state, 'Established')
  }
})

/** What somebody behind the peer's address may say before it goes away. */
const garbage: readonly (readonly [string, string])[] = [
  ['nothing', ''],
  ['no BGP', '474554202f20485454502f312e310d0a0d0a0000000000000000'],
  ['an unknown type', `${marker} 0013 09`],
  ['a KEEPALIVE', `${marker} 0013 04`],
  ['an UPDATE', `${marker} 0017 02 0000 0000`],
  ['an OPEN of version 3', `${marker} 001d 01 03 fc01 005a 0a000002 00`],
  ['an OPEN of another AS', `${marker} 001d 01 04 fc77 005a 0a000002 00`],
  ['a Cease', `${marker} 0015 03 0602`],
]

/** A session that the peer's operator has just cleared, and a count of our dials. */
async function cleared() {
  let dials = 0
  const stage = await sessionStage({}, (connection) => {
    dials++
    if (dials === 1) agreeable()(connection)
  })
  stage.session.start()
  await seen(stage.network, 'Established', () => stage.session.state === 'Established')
  stage.peer.last?.say(administrativeReset)
  await seen(stage.network, 'the end', () => stage.session.state === 'Idle')
  return { ...stage, dials: () => dials }
}

test('a peer that comes back is not dialled while its own connection may bring an OPEN (RFC 4271 6.8)', async () => {
  for (const bgpId of [0x0a000009, 0x09000001]) {
    const { network, session, peer, dials } = await cleared()
    const back = peer.dial()
    await network.advance(0.01)
    assert.deepEqual([session.state, back.isUp, dials()], ['Active', true, 1])
    agreeable([], bgpId)(back)
    await network.advance(5)
    assert.deepEqual([session.state, back.end, dials()], ['Established', undefined, 1])
  }
})

test('a silent connection of the peer puts our dial off for 2 s and no longer, whatever would begin it', async () => {
  const letIn = await cleared()
  letIn.peer.dial()
  await letIn.network.advance(1.9)
  assert.equal(letIn.dials(), 1)
  await letIn.network.advance(0.2)
  assert.equal(letIn.dials(), 2, 'let in from Idle')

  let dials = 0
  const { network, session, peer } = await sessionStage({ passive: true }, () => dials++)
  session.start()
  peer.dial()
  await network.advance(1)
  session.configure(neighbor({ id: '64512/192.0.2.2', peerAddress: '192.0.2.2' }))
  await network.advance(1.9)
  assert.equal(dials, 0)
  await network.advance(0.2)
  assert.equal(dials, 1, 'passive no longer')
})

test('what a second connection does is not charged to the session: its loss costs a second, not a minute (RFC 4271 8.1.1)', async () => {
  for (const [what, hex] of garbage) {
    const gracefulRestart = { restartTimeSec: 120, notification: false }
    const { network, session, peer } = await sessionStage({ gracefulRestart }, agreeable([restartable]))
    session.start()
    await seen(network, 'Established', () => session.state === 'Established')
    const first = peer.last
    const alive = (): void => keepAlive(first)
    for (let i = 0; i < 12; i++) {
      const probe = peer.dial()
      await network.advance(1)
      if (hex !== '') probe.say(bytes(hex))
      await network.advance(1)
      probe.transport.close(1)
      await network.advance(1)
      alive()
    }
    assert.deepEqual([session.state, session.flaps, session.lastReset], ['Established', 0, undefined], what)
    first?.transport.destroy()
    await seen(network, 'the loss', () => session.state === 'Idle', 5)
    assert.match(session.reason ?? '', /the next attempt follows after [12] s/, what)
    const back = peer.dial()
    await network.advance(0.1)
    assert.equal(back.end, undefined, `${what}: a peer that restarts gracefully is let in at once (RFC 4724 4.2)`)
  }
})

test('a stranger behind the address of a passive peer does not bring the session into idle hold', async () => {
  // An OPEN is what the peer itself says: one of another AS is a fault of the session.
  for (const [what, hex] of garbage.filter(([name]) => name !== 'an OPEN of another AS' && name !== 'a Cease')) {
    const { network, session, events, peer } = await sessionStage({ passive: true })
    session.start()
    for (let i = 0; i < 12; i++) {
      const probe = peer.dial()
      await network.advance(0.1)
      if (hex !== '') probe.say(bytes(hex))
      await network.advance(0.1)
      probe.transport.close(1)
      await network.advance(0.1)
    }
    assert.equal(session.state, 'Active', what)
    assert.match(session.reason ?? '', /^the peer connected and no session came of it: /, what)
    assert.deepEqual(events.states, ['Active'], 'nothing of it is shown as a state')
    agreeable()(peer.dial())
    await network.advance(1)
    assert.equal(session.state, 'Established', what)
  }
})

test('a passive peer whose OPEN is refused is a fault of the session: idle hold, and the reason is told', async () => {
  const { network, session, peer } = await sessionStage({ passive: true, peerAsn: 64_999 })
  session.start()
  const refused = peer.dial()
  await network.advance(0.1)
  refused.say(peerOpen())
  await network.advance(0.1)
  assert.equal(refused.messages.at(-1), '030202')
  assert.equal(session.state, 'Idle')
  assert.match(session.reason ?? '', /Bad Peer AS.*the next attempt follows after/)
  const again = peer.dial()
  await network.advance(0.1)
  assert.notEqual(again.end, undefined, 'a peer that errs cannot spin')
})

test('two speakers that dial each other over any delays come to one session on one connection (RFC 4271 6.8)', async () => {
  for (let seed = 1; seed <= 300; seed++) {
    const network = new InMemoryNetwork({ seed })
    const random = seededRandom(seed)
    const sides = [0, 1].map((index) => {
      const [own, far] = [0xc0000201 + index, 0xc0000202 - index]
      const host = network.host(own)
      // What arrives late at one side differs from connection to connection.
      host.delaySec = () => random() * 0.02
      const { session } = side(
        neighbor({
          localAsn: 64_512 + index,
          peerAsn: 64_513 - index,
          peerAddress: `192.0.2.${2 - index}`,
          routerId: `10.0.0.${1 + index}`,
        }),
        { environment: host },
      )
      void host
        .listen({ host: '::', port: 179, onRefused: () => {} })
        .then((listener) => listener.setPeers([{ address: far, accept: (transport) => session.accept(transport) }]))
      host.after(random() * 0.03, () => session.start())
      return session
    })
    await network.advance(60)
    const [a, b] = sides.map(({ negotiated }) => negotiated)
    assert.deepEqual(
      sides.map(({ state }) => state),
      ['Established', 'Established'],
      `seed ${seed}`,
    )
    assert.deepEqual([a?.localPort, a?.remotePort], [b?.remotePort, b?.localPort], `seed ${seed}`)
    assert.deepEqual(
      sides.map(({ flaps }) => flaps),
      [0, 0],
      `seed ${seed}`,
    )
  }
})
