/** Peers, hosts behind their addresses and operators at the worst moment: on a network in memory, against a script. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Capability } from '../../src/bgp/messages/capabilities.ts'
import { keepaliveBytes } from '../../src/bgp/messages/keepalive.ts'
import { encodeUpdate } from '../../src/bgp/messages/update.ts'
import { type CodecContext, ipv4Unicast, ipv6Unicast } from '../../src/bgp/messages/types.ts'
import type { Neighbor } from '../../src/desired/model.ts'
import { parseAddress } from '../../src/ip/address.ts'
import { parsePrefix } from '../../src/ip/prefix.ts'
import { InMemoryNetwork } from '../../src/speaker/session/in-memory.ts'
import { neighborOf, Recorded } from './pair.ts'
import { bytes, marker, peerOpen } from './session/fixture.ts'
import { type ScriptedConnection, ScriptedPeer, seen, sessionStage } from './virtual.ts'

const address = (text: string) => parseAddress(text) ?? assert.fail(text)
const prefix = (text: string) => parsePrefix(text) ?? assert.fail(text)
const fresh = { isRestart: false, isForwardingPreserved: false }
const restartable: Capability = {
  type: 'gracefulRestart',
  restartState: false,
  notification: true,
  restartTimeSec: 120,
  families: [{ family: ipv4Unicast, forwarding: true }],
}
const both: readonly Capability[] = [
  restartable,
  { type: 'multiprotocol', family: ipv4Unicast },
  { type: 'multiprotocol', family: ipv6Unicast },
]
const codec: CodecContext = {
  fourOctetAs: true,
  isExternal: true,
  families: [ipv4Unicast, ipv6Unicast],
  maxMessageBytes: 4096,
  extendedNextHop: false,
  addPathReceive: [],
}
const attributes = { origin: 0, asPath: [{ type: 2, asns: [64_513] }] } as const
const announceIpv4 = (...texts: readonly string[]): Uint8Array =>
  encodeUpdate(
    {
      type: 'update',
      withdrawn: [],
      attributes: { ...attributes, nextHop: address('192.0.2.9') },
      nlri: texts.map(prefix),
    },
    codec,
  )
const announceIpv6 = (text: string): Uint8Array =>
  encodeUpdate(
    {
      type: 'update',
      withdrawn: [],
      attributes,
      nlri: [],
      mpReach: { family: ipv6Unicast, nextHop: address('2001:db8::9'), prefixes: [prefix(text)] },
    },
    codec,
  )
const fourRoutes = announceIpv4('203.0.113.0/24', '198.51.100.0/24', '198.18.0.0/16', '100.64.0.0/10')

/** A node and a scripted peer at 192.0.2.2 that takes its connections as it is told. */
async function stage(more: Partial<Neighbor>, onConnection: (connection: ScriptedConnection) => void) {
  const network = new InMemoryNetwork()
  const node = new Recorded({ host: '::', port: 179 }, fresh, network.host(address('192.0.2.1')))
  const peer = new ScriptedPeer(network.host(address('192.0.2.2')), address('192.0.2.1'), onConnection)
  await node.speaker.start()
  const configure = (changed: Partial<Neighbor> = {}): void =>
    node.speaker.handle({
      type: 'configure',
      neighbors: [neighborOf(64_512, 64_513, '192.0.2.2', { holdTimeSec: 90, ...more, ...changed })],
    })
  configure()
  return { network, node, peer, configure }
}

const inRestart = { gracefulRestart: { restartTimeSec: 120, notification: true } }

/** The peer was there with four routes and is away; they are kept. Its later connections get no answer. */
async function away(more: Partial<Neighbor> = {}) {
  let sessions = 0
  const all = await stage({ ...inRestart, ...more }, (connection) => {
    if (sessions++ === 0) connection.say(peerOpen(both, 90), keepaliveBytes, fourRoutes, announceIpv6('2001:db8::/48'))
  })
  const { network, node, peer } = all
  await seen(network, 'the routes', () => node.peers[0]?.families[0]?.received === 4)
  await network.advance(1)
  return { ...all, kept: (): number | undefined => node.peers[0]?.families[0]?.received, first: peer.last }
}

test('a Hard Reset before the session of a restarting peer is back ends what was kept for it (RFC 8538 3)', async () => {
  for (const [hex, left] of [
    [`${marker} 0017 03 0609 0602`, 0],
    [`${marker} 0017 03 0609 0604`, 0],
    [`${marker} 0015 03 0604`, 4],
  ] as const)
    for (const reached of ['OpenSent', 'OpenConfirm'] as const) {
      const { network, node, peer, kept, first } = await away()
      first?.transport.destroy()
      await seen(network, 'the next attempt', () => node.peers[0]?.state === 'OpenSent')
      if (reached === 'OpenConfirm') peer.last?.say(peerOpen(both, 90))
      await seen(network, reached, () => node.peers[0]?.state === reached)
      assert.equal(kept(), 4)
      peer.last?.say(bytes(hex))
      await network.advance(0.1)
      assert.equal(kept(), left, `${hex} in ${reached}`)
    }
})

test('a reset by an operator leaves nothing of a peer that is away, in whatever state (RFC 8538 3.1)', async () => {
  for (const state of ['Idle', 'Connect', 'OpenSent', 'OpenConfirm'] as const) {
    const { network, node, peer, kept, first } = await away()
    first?.transport.destroy()
    if (state === 'Connect') peer.host.isUnplugged = true
    if (state !== 'Idle') await seen(network, 'a dial', () => node.peers[0]?.state === 'Connect')
    if (state.startsWith('Open')) await seen(network, 'OpenSent', () => node.peers[0]?.state === 'OpenSent')
    if (state === 'OpenConfirm') peer.last?.say(peerOpen(both, 90))
    await seen(network, state, () => node.peers[0]?.state === state)
    assert.equal(kept(), 4)
    node.speaker.handle({ type: 'command', id: 7, command: { what: 'reset', peer: '*' } })
    await network.advance(0.01)
    assert.equal(kept(), 0, state)
  }
})

test('a lower maxPrefixes ends no attempt of a peer that is away, and the session when it is back (RFC 4486 4)', async () => {
  const { network, node, peer, configure, first } = await away({ families: ['ipv4-unicast', 'ipv6-unicast'] })
  first?.transport.destroy()
  await seen(network, 'the loss', () => node.peers[0]?.state === 'Idle')
  // The routes of IPv6 were not part of the restart and are removed now.
  configure({ families: ['ipv4-unicast', 'ipv6-unicast'], maxPrefixes: 3 })
  await seen(network, 'the next attempt', () => node.peers[0]?.state === 'OpenSent', 3)
  assert.deepEqual(
    node.peers[0]?.families.map(({ received }) => received),
    [4, 0],
  )
  peer.last?.say(peerOpen(both, 90), keepaliveBytes, fourRoutes)
  await seen(network, 'the Cease', () => peer.last?.messages.at(-1)?.startsWith('0306090601'), 3)
  assert.match(node.peers[0]?.reason ?? '', /after (299|300) s/)
})

test('a silent connection does not displace one whose OPEN waits for the other of a collision (RFC 4271 6.8)', async () => {
  // The dialled connection leads nowhere, our identifier is the larger one: the OPEN of the peer waits for it.
  const { network, session, peer } = await sessionStage()
  session.start()
  await seen(network, 'our dial', () => session.state === 'OpenSent')
  const good = peer.dial()
  await network.advance(0.1)
  good.say(peerOpen([], 9, 0x09000001), keepaliveBytes)
  await network.advance(0.1)
  for (let silent = 0; silent < 30; silent++) {
    peer.dial()
    await network.advance(0.1)
  }
  assert.deepEqual([session.state, good.end], ['Established', undefined])
})

test('another delay before our OPEN holds for a connection of the peer that waits already (RFC 4271 8.1.1)', async () => {
  for (const passive of [true, false]) {
    const { network, host, session, peer, config } = await sessionStage({ passive, delayOpenSec: 20 })
    if (!passive) host.dialProblem = 'no such device'
    session.start()
    await network.advance(0.01)
    const waiting = peer.dial()
    await network.advance(1)
    assert.equal(waiting.messages.length, 0)
    session.configure({ ...config, delayOpenSec: 0 })
    await network.advance(0.1)
    assert.equal(waiting.messages[0]?.slice(0, 2), '01', `passive ${passive}`)
  }
})

test('whoever is at the address of a peer decides how often it connects, not how many lines are logged', async () => {
  const { network, node, peer } = await stage({}, (connection) => connection.say(peerOpen([], 90), keepaliveBytes))
  await seen(network, 'Established', () => node.peers[0]?.state === 'Established')
  for (let round = 0; round < 200; round++) {
    const second = peer.dial()
    await network.advance(0.005)
    second.say(peerOpen([], 90))
    await network.advance(0.005)
  }
  const lines = node.said.flatMap((said) => (said.type === 'log' ? [said.message] : []))
  assert.ok(lines.some((line) => line.includes('two connections met')))
  assert.ok(lines.length <= 12, `${lines.length} lines in two seconds`)
  assert.deepEqual([node.peers[0]?.state, node.peers[0]?.flaps], ['Established', 0])
})

const manyIds = (count: number): number[] => Array.from({ length: count }, (_, id) => id)
const zero = prefix('0.0.0.0/0')
const heavy: readonly (readonly [string, Parameters<typeof encodeUpdate>[0]])[] = [
  [
    'withdrawals of one octet',
    { type: 'update', withdrawn: manyIds(64_000).map(() => zero), attributes: {}, nlri: [] },
  ],
  [
    'announcements of one octet',
    {
      type: 'update',
      withdrawn: [],
      attributes: { ...attributes, nextHop: address('192.0.2.9') },
      nlri: manyIds(64_000).map(() => zero),
    },
  ],
  [
    'paths of one prefix (RFC 7911)',
    {
      type: 'update',
      withdrawn: [],
      attributes: { ...attributes, nextHop: address('192.0.2.9') },
      nlri: manyIds(13_000).map(() => zero),
      nlriPathIds: manyIds(13_000),
    },
  ],
  [
    'communities',
    {
      type: 'update',
      withdrawn: [],
      attributes: { ...attributes, nextHop: address('192.0.2.9'), communities: manyIds(16_000) },
      nlri: [zero],
    },
  ],
]

for (const [what, message] of heavy)
  test(`a turn has room for few of the largest UPDATEs, here ${what}, and all are handled (RFC 8654 4)`, async () => {
    const isMultipath = message.nlriPathIds !== undefined
    const { network, session, events, peer } = await sessionStage({ addPathReceive: isMultipath }, (connection) =>
      connection.say(
        peerOpen([
          { type: 'extendedMessage' },
          ...(isMultipath ? [{ type: 'addPath', entries: [{ family: ipv4Unicast, mode: 2 }] } as const] : []),
        ]),
        keepaliveBytes,
      ),
    )
    session.start()
    await seen(network, 'Established', () => session.state === 'Established')
    const large = encodeUpdate(message, { ...codec, maxMessageBytes: 65_535 })
    assert.ok(large.length > 60_000 && large.length <= 65_535, `${large.length} octets`)
    peer.last?.say(...manyIds(40).map(() => large))
    let most = 0
    for (let before = 0; before < 40; before = events.updates.length) {
      await seen(network, 'more of them', () => events.updates.length > before, 5)
      most = Math.max(most, events.updates.length - before)
    }
    assert.ok(most <= 9, `${most} in one turn`)
    assert.ok(what === 'communities' || most === 1, `${most} in one turn`)
    assert.equal(session.state, 'Established')
  })
