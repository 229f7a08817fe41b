/** Next hops of the family that a session does not run over, and addresses that are none of the node's. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeMessage } from '../../src/bgp/messages/decode.ts'
import { keepaliveBytes } from '../../src/bgp/messages/keepalive.ts'
import { encodeOpen } from '../../src/bgp/messages/open.ts'
import { encodeEndOfRib } from '../../src/bgp/messages/pack.ts'
import { type AfiSafi, type CodecContext, ipv4Unicast, ipv6Unicast } from '../../src/bgp/messages/types.ts'
import type { Neighbor } from '../../src/desired/model.ts'
import { type Address, formatAddress, parseAddress } from '../../src/ip/address.ts'
import type { Environment, LocalAddress } from '../../src/speaker/session/environment.ts'
import { type InMemoryHost, InMemoryNetwork } from '../../src/speaker/session/in-memory.ts'
import { neighborOf, Recorded } from './pair.ts'
import { ScriptedPeer, seen } from './virtual.ts'

const codec: CodecContext = {
  fourOctetAs: true,
  isExternal: true,
  families: [ipv4Unicast, ipv6Unicast],
  maxMessageBytes: 4096,
  extendedNextHop: false,
  addPathReceive: [],
}
const address = (text: string): Address => parseAddress(text) ?? assert.fail(text)
const open = encodeOpen({
  type: 'open',
  version: 4,
  myAs: 64_513,
  holdTimeSec: 0,
  bgpId: 0x0a000002,
  capabilities: [
    { type: 'multiprotocol', family: ipv4Unicast },
    { type: 'multiprotocol', family: ipv6Unicast },
    { type: 'fourOctetAs', asn: 64_513 },
  ],
})
const on = (device: string, text: string, isGlobal = true): LocalAddress => ({
  device,
  address: address(text),
  isGlobal,
})

/** The host, with other addresses of its own. */
function withAddresses(host: InMemoryHost, addresses: readonly LocalAddress[]): Environment {
  return {
    now: () => host.now(),
    uptimeSec: () => host.uptimeSec(),
    random: () => host.random(),
    after: (sec, callback) => host.after(sec, callback),
    soon: (callback) => host.soon(callback),
    startTurn: () => host.startTurn(),
    dial: (options) => host.dial(options),
    listen: (options) => host.listen(options),
    localAddresses: () => addresses,
    discoverRouters: (device, found) => host.discoverRouters(device, found),
    watchPath: (path, settings, told) => host.watchPath(path, settings, told),
  }
}

/** A node with these addresses, a session over IPv4, and an IPv6 route to announce. */
async function announcing(addresses: readonly LocalAddress[], more: Partial<Neighbor> = {}) {
  const network = new InMemoryNetwork()
  const host = network.host(address('192.0.2.1'))
  const node = new Recorded(
    undefined,
    { isRestart: false, isForwardingPreserved: false },
    withAddresses(host, addresses),
  )
  const peer = new ScriptedPeer(network.host(address('192.0.2.2')), address('192.0.2.1'), (connection) =>
    connection.say(open, keepaliveBytes),
  )
  await node.speaker.start()
  node.speaker.handle({
    type: 'routes',
    prefixes: [{ prefix: '2001:db8:1::/64', routes: [{ neighbors: ['64512/192.0.2.2'], attributes: {} }] }],
  })
  node.speaker.handle({
    type: 'configure',
    neighbors: [
      neighborOf(64_512, 64_513, '192.0.2.2', {
        nextHops: {},
        holdTimeSec: 0,
        families: ['ipv4-unicast', 'ipv6-unicast'],
        ...more,
      }),
    ],
  })
  await seen(network, 'Established', () => node.peers[0]?.state === 'Established')
  await network.advance(1)
  const nextHop = (): string | undefined => {
    const updates = (peer.last?.messages ?? []).filter((message) => message.startsWith('02'))
    const last = updates.at(-1)
    if (last === undefined) return undefined
    const decoded = decodeMessage(2, Buffer.from(last.slice(2), 'hex'), codec)
    if (!decoded.ok || decoded.value.message.type !== 'update') return assert.fail('no UPDATE')
    const { mpReach } = decoded.value.message
    return mpReach === undefined ? undefined : formatAddress(mpReach.nextHop)
  }
  const messages = (): readonly string[] => peer.last?.messages ?? []
  const ipv6 = () => node.peers[0]?.families[1]
  return { network, node, nextHop, messages, problem: () => ipv6()?.problem, isAnnounced: () => ipv6()?.isAnnounced }
}

test('IPv6 routes over an IPv4 session get a global address of the interface of the session as next hop', async () => {
  const { nextHop, problem } = await announcing([
    on('eth1', '2001:db8::77'),
    on('eth0', '192.0.2.1'),
    on('eth0', 'fe80::1', false),
    on('eth0', '2001:db8::5'),
    on('eth0', '2001:db8::6'),
  ])
  assert.deepEqual([nextHop(), problem()], ['2001:db8::5', undefined])
})

test('without one on the interface the next hop is the address of the node, and what is configured wins', async () => {
  const addresses = [on('eth0', '192.0.2.1'), on('eth1', '2001:db8::77')]
  const nodeAddresses = { 'ipv6-unicast': '2001:db8::77' }
  assert.equal((await announcing(addresses, { nodeAddresses })).nextHop(), '2001:db8::77')
  const configured = await announcing(addresses, { nodeAddresses, nextHops: { 'ipv6-unicast': '2001:db8::99' } })
  assert.equal(configured.nextHop(), '2001:db8::99')
  assert.match(configured.problem() ?? '', /^the next hop 2001:db8::99 of ipv6-unicast is no address of this node/)
  assert.equal(configured.isAnnounced(), true, 'odd, and announced')
})

test('a family that waits for an address is announced when it comes, without a word by anybody', async () => {
  const addresses = [on('eth0', '192.0.2.1'), on('eth0', '2001:db8::5', false)]
  const { network, node, nextHop, problem, isAnnounced } = await announcing(addresses)
  assert.deepEqual([nextHop(), isAnnounced()], [undefined, undefined])
  assert.match(problem() ?? '', /neither its interface nor the Node has an IPv6 address/)
  await network.advance(60)
  const told = (): number =>
    node.said.filter((message) => message.type === 'log' && message.message.startsWith('ipv6-unicast')).length
  assert.equal(told(), 1, 'the same reason is told once')
  // Duplicate address detection is over.
  addresses.push(on('eth0', '2001:db8::5'))
  await seen(network, 'the route', () => nextHop() === '2001:db8::5', 11)
  assert.deepEqual([problem(), node.peers[0]?.flaps], [undefined, 0])
})

const endOfRib = (family: AfiSafi): string => Buffer.from(encodeEndOfRib(family)).toString('hex').slice(36)
const gracefulRestart = { restartTimeSec: 120, notification: false }

test('End-of-RIB of a family waits for a next hop, and that of the others does not (RFC 4724 2)', async () => {
  const addresses = [on('eth0', '192.0.2.1')]
  const { network, node, messages } = await announcing(addresses, { gracefulRestart })
  node.speaker.handle({ type: 'synced' })
  await network.advance(30)
  assert.deepEqual(
    [ipv4Unicast, ipv6Unicast].map((family) => messages().includes(endOfRib(family))),
    [true, false],
  )
  addresses.push(on('eth0', '2001:db8::5'))
  await seen(network, 'End-of-RIB', () => messages().includes(endOfRib(ipv6Unicast)), 11)
  const said = messages().filter((message) => message.startsWith('02'))
  assert.equal(said.length, 3, 'one of each family, and the route')
  assert.equal(said.at(-1), endOfRib(ipv6Unicast), 'the route is in front of it')
  await network.advance(120)
  assert.equal(messages().filter((message) => message.startsWith('02')).length, 3)
})

test('a next hop that does not come is waited for a minute, and then the empty End-of-RIB is told of', async () => {
  const { network, node, messages } = await announcing([on('eth0', '192.0.2.1')], { gracefulRestart })
  node.speaker.handle({ type: 'synced' })
  const warnings = (): number =>
    node.said.filter(
      (each) => each.type === 'log' && each.message.startsWith('End-of-RIB of ipv6-unicast goes out without a route'),
    ).length
  await network.advance(50)
  assert.deepEqual([messages().includes(endOfRib(ipv6Unicast)), warnings()], [false, 0])
  await seen(network, 'End-of-RIB', () => messages().includes(endOfRib(ipv6Unicast)), 15)
  assert.equal(warnings(), 1)
})

test('where no router keeps routes over a restart an empty End-of-RIB costs nothing, and waits for nothing', async () => {
  const { network, node, messages } = await announcing([on('eth0', '192.0.2.1')])
  node.speaker.handle({ type: 'synced' })
  await network.advance(1)
  assert.ok(messages().includes(endOfRib(ipv6Unicast)))
})

test('a source address that is none of the node is warned about, once, and one of it is not', async () => {
  for (const [sourceAddress, isWarned] of [
    ['192.0.2.1', false],
    ['192.0.2.77', true],
  ] as const) {
    const network = new InMemoryNetwork()
    const host = network.host(address('192.0.2.1'))
    const node = new Recorded(undefined, { isRestart: false, isForwardingPreserved: false }, host)
    await node.speaker.start()
    for (let round = 0; round < 2; round++)
      node.speaker.handle({ type: 'configure', neighbors: [neighborOf(1, 2, '192.0.2.2', { sourceAddress })] })
    await network.advance(60)
    const warnings = node.said.filter(
      (message) => message.type === 'log' && message.message.startsWith('the source address 192.0.2.77 is no address'),
    )
    assert.equal(warnings.length, isWarned ? 1 : 0)
  }
})
