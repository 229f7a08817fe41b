import assert from 'node:assert/strict'
import { test } from 'node:test'
import { system } from '../../src/speaker/session/system.ts'
import { waitFor } from '../wait.ts'
import { hostRoutes, neighborOf, nextHop, nodeAddress, nodeAsn, Rack, Recorded } from './pair.ts'

const lastReset = (recorded: Recorded) => recorded.peers[0]?.lastReset

test('a route is announced, changed and withdrawn without a reset', async () => {
  await using rack = await Rack.open(1)
  await rack.connect()
  const [router] = rack.routers as [Recorded]
  rack.announce('192.0.2.1/32')
  await waitFor('announced', () => router.prefixes.includes('192.0.2.1/32'))
  const [seen] = router.routes('received')
  assert.equal(seen?.nextHop, nextHop)
  assert.equal(seen?.asPath, String(nodeAsn))
  rack.node.speaker.handle({
    type: 'routes',
    prefixes: [
      rack.toAll('192.0.2.1/32', { communities: [65_000 * 65_536 + 1], largeCommunities: ['65000:1:2'], med: 7 }),
    ],
  })
  await waitFor('changed', () => router.routes('received')[0]?.med === 7)
  assert.deepEqual(router.routes('received')[0]?.communities, ['65000:1'])
  assert.deepEqual(rack.node.routes('advertised')[0]?.largeCommunities, ['65000:1:2'])
  rack.withdraw('192.0.2.1/32')
  await waitFor('withdrawn', () => router.prefixes.length === 0)
  assert.deepEqual(rack.node.routes('advertised'), [])
  assert.equal(router.peers[0]?.flaps, 0)
})

test('what was configured and announced before, said again, sends nothing', async () => {
  await using rack = await Rack.open(1)
  await rack.connect()
  const [router] = rack.routers as [Recorded]
  rack.announce('192.0.2.1/32')
  await waitFor('announced', () => router.prefixes.length === 1)
  const before = { encodings: rack.node.speaker.encodings, sent: rack.node.peers[0]?.messagesOut }
  rack.node.speaker.handle({ type: 'configure', neighbors: structuredClone(rack.neighbors) })
  rack.announce('192.0.2.1/32')
  // A route that does change proves that everything before it was handled.
  rack.announce('192.0.2.2/32')
  await waitFor('the second route', () => router.prefixes.length === 2)
  assert.equal(rack.node.speaker.encodings, before.encodings + 1)
  assert.equal(router.peers[0]?.flaps, 0)
})

test('the newest state of a prefix in a turn is the one that is sent, and one that came and went sends nothing', async () => {
  await using rack = await Rack.open(1)
  await rack.connect()
  const [router] = rack.routers as [Recorded]
  const before = rack.node.speaker.encodings
  rack.announce('192.0.2.1/32', '192.0.2.2/32')
  rack.withdraw('192.0.2.1/32')
  for (const med of [1, 2, 3])
    rack.node.speaker.handle({ type: 'routes', prefixes: [rack.toAll('192.0.2.2/32', { med })] })
  await waitFor('the second route', () => router.prefixes.length > 0)
  assert.deepEqual(router.prefixes, ['192.0.2.2/32'])
  assert.equal(router.routes('received')[0]?.med, 3)
  assert.equal(rack.node.speaker.encodings, before + 1)
})

test('10 000 host routes for four peers are encoded once, in at most 2 + n/800 UPDATEs each', async () => {
  const n = 10_000
  await using rack = await Rack.open(4)
  await rack.connect()
  const before = rack.node.peers.map(({ messagesOut }) => messagesOut)
  rack.announce(...hostRoutes(n))
  await waitFor('all routes at all routers', () =>
    rack.routers.every((router) => router.peers[0]?.families[0]?.received === n),
  )
  assert.equal(rack.node.speaker.encodings, 1)
  rack.node.peers.forEach(({ messagesOut, families }, i) => {
    // One more for a KEEPALIVE that may have come between.
    assert.ok(messagesOut - (before[i] ?? 0) <= 2 + n / 800 + 1)
    assert.equal(families[0]?.advertised, n)
  })
})

test('a route goes to the neighbors that it names and to no others', async () => {
  await using rack = await Rack.open(2)
  await rack.connect()
  const [first, second] = rack.routers as [Recorded, Recorded]
  const [one, two] = rack.neighbors.map(({ id }) => id) as [string, string]
  const routes = (...ids: readonly (readonly [string, number])[]) =>
    ids.map(([id, med]) => ({ neighbors: [id], attributes: { med } }))
  rack.node.speaker.handle({
    type: 'routes',
    prefixes: [
      { prefix: '192.0.2.1/32', routes: routes([one, 1]) },
      { prefix: '192.0.2.2/32', routes: routes([one, 1], [two, 2]) },
    ],
  })
  await waitFor('both', () => first.prefixes.length === 2 && second.prefixes.length === 1)
  assert.equal(second.routes('received')[0]?.med, 2)
  rack.node.speaker.handle({ type: 'routes', prefixes: [{ prefix: '192.0.2.1/32', routes: routes([two, 1]) }] })
  await waitFor('moved', () => first.prefixes.length === 1 && second.prefixes.length === 2)
})

test(
  'a neighbor that leaves the configuration gets Cease/Peer De-configured 6/3, the others notice nothing ' +
    '(RFC 4486)',
  async () => {
    await using rack = await Rack.open(2)
    await rack.connect()
    const [first, second] = rack.routers as [Recorded, Recorded]
    rack.node.speaker.handle({ type: 'configure', neighbors: rack.neighbors.slice(1) })
    const reset = await waitFor('the Cease', () => lastReset(first))
    assert.deepEqual([reset.direction, reset.code, reset.subcode], ['received', 6, 3])
    assert.equal(rack.node.peers.length, 1)
    assert.equal(second.peers[0]?.flaps, 0)
  },
)

test('a changed session parameter gives a new session, a changed name, next hop, timer or limit does not', async () => {
  await using rack = await Rack.open(1)
  await rack.connect()
  const [router] = rack.routers as [Recorded]
  rack.announce('192.0.2.1/32')
  await waitFor('announced', () => router.prefixes.length === 1)
  const renamed = rack.neighbors.map((neighbor) => ({
    ...neighbor,
    virtualRouter: 'rack1',
    holdTimeSec: 30,
    maxPrefixes: 100,
    gracefulRestart: { restartTimeSec: 60, notification: false },
    nextHops: { 'ipv4-unicast': '198.51.100.7' },
  }))
  rack.node.speaker.handle({ type: 'configure', neighbors: renamed })
  await waitFor('the new next hop', () => router.routes('received')[0]?.nextHop === '198.51.100.7')
  assert.equal(router.peers[0]?.flaps, 0)
  rack.node.speaker.handle({
    type: 'configure',
    neighbors: renamed.map((neighbor) => ({ ...neighbor, multihopTtl: 3 })),
  })
  const reset = await waitFor('the Cease', () => lastReset(router))
  assert.deepEqual([reset.code, reset.subcode], [6, 6])
  await rack.established()
  await waitFor('announced again', () => router.prefixes.length === 1)
})

test(
  'a family without a next hop is not announced, the log says why, and a configured next hop mends it ' +
    'without a reset',
  async () => {
    const families = ['ipv4-unicast', 'ipv6-unicast'] as const
    await using rack = await Rack.open(1, { families }, { families })
    rack.announce('2001:db8::1/128', '192.0.2.1/32')
    await rack.connect()
    const [router] = rack.routers as [Recorded]
    await waitFor('IPv4', () => router.prefixes.length === 1)
    assert.ok(
      rack.node.said.some(
        (message) =>
          message.type === 'log' &&
          message.message.startsWith('ipv6-unicast is not announced: the session runs over IPv4'),
      ),
    )
    const problems = (): readonly (string | undefined)[] =>
      rack.node.peers[0]?.families.map(({ problem }) => problem) ?? []
    assert.match(problems()[1] ?? '', /^ipv6-unicast is not announced: the session runs over IPv4/)
    const withNextHop = rack.neighbors.map((neighbor) => ({
      ...neighbor,
      nextHops: { ...neighbor.nextHops, 'ipv6-unicast': '2001:db8::99' },
    }))
    rack.node.speaker.handle({ type: 'configure', neighbors: withNextHop })
    await waitFor('IPv6', () => router.routes('received', 'ipv6-unicast')[0]?.nextHop === '2001:db8::99')
    assert.deepEqual(problems(), [
      'the next hop 198.51.100.1 of ipv4-unicast is no address of this node: packets go to whoever has it',
      'the next hop 2001:db8::99 of ipv6-unicast is no address of this node: packets go to whoever has it',
    ])
    rack.node.speaker.handle({ type: 'configure', neighbors: rack.neighbors })
    await waitFor('IPv6 withdrawn', () => router.routes('received', 'ipv6-unicast').length === 0)
    assert.equal(router.peers[0]?.flaps, 0)
  },
)

test('stopping says Cease/Administrative Shutdown 6/2 with the text (RFC 9003)', async () => {
  await using rack = await Rack.open(1)
  await rack.connect()
  await rack.node.stop('shutdown', 'node is drained')
  const reset = await waitFor('the Cease', () => lastReset(rack.routers[0] as Recorded))
  assert.deepEqual([reset.code, reset.subcode], [6, 2])
  assert.match(reset.text, /node is drained/)
})

test('a restart is silent where graceful restart was negotiated and a Cease elsewhere (RFC 4724 4)', async () => {
  const gracefulRestart = { restartTimeSec: 30, notification: false }
  await using silent = await Rack.open(1, { gracefulRestart }, { gracefulRestart })
  await using plain = await Rack.open(1)
  for (const rack of [silent, plain]) await rack.connect()
  await Promise.all([silent, plain].map((rack) => rack.node.stop('restart', 'upgrade')))
  const lost = await waitFor('the lost session', () => lastReset(silent.routers[0] as Recorded))
  assert.equal(lost.code, undefined)
  const ceased = await waitFor('the Cease', () => lastReset(plain.routers[0] as Recorded))
  assert.deepEqual([ceased.code, ceased.subcode], [6, 2])
})

test('received routes are shown and never announced to others (RFC 8212)', async () => {
  await using rack = await Rack.open(2)
  await rack.connect()
  const [router, other] = rack.routers as [Recorded, Recorded]
  router.speaker.handle({
    type: 'routes',
    prefixes: [{ prefix: '203.0.113.0/24', routes: [{ neighbors: [`65011/${nodeAddress}`], attributes: {} }] }],
  })
  await waitFor('received', () => rack.node.prefixes.length === 1)
  rack.announce('192.0.2.1/32')
  await waitFor('announced', () => other.prefixes.length === 1)
  assert.deepEqual(other.prefixes, ['192.0.2.1/32'])
  assert.deepEqual(
    rack.node.routes('available').map((route) => [route.prefix, route.virtualRouter, route.nextHop]),
    [['192.0.2.1/32', 'rack0', '0.0.0.0']],
  )
})

test('a port that is taken leaves a speaker that dials only and says so', async () => {
  const first = new Recorded('127.0.0.1')
  await first.speaker.start()
  const said: unknown[] = []
  const { Speaker } = await import('../../src/speaker/speaker.ts')
  const second = new Speaker(
    { listen: { host: '127.0.0.1', port: first.speaker.port ?? 0 }, isRestart: false, isForwardingPreserved: false },
    system,
    (message) => said.push(message),
  )
  await second.start()
  assert.match(
    JSON.stringify(said),
    /"ready","listening":false,"problem":"cannot listen on (?!.*cannot listen).*--bgp-listen"/,
  )
  await first.stop()
  second.handle({ type: 'stop', mode: 'shutdown', text: '' })
  await waitFor('stopped', () => JSON.stringify(said).includes('stopped'))
})

test('a neighbor that is not there is reported with a reason', async () => {
  const node = new Recorded(undefined)
  await node.speaker.start()
  node.speaker.handle({
    type: 'configure',
    neighbors: [neighborOf(nodeAsn, 65_011, '127.0.0.99', { peerPort: 1, sourceAddress: nodeAddress })],
  })
  await waitFor('the reason', () => node.peers[0]?.reason?.includes('refuses'))
  await node.stop()
})

test('a peer that sends bad UPDATEs without end keeps its session and does not flood the log (RFC 7606)', async () => {
  await using rack = await Rack.open(1)
  await rack.connect()
  const [router] = rack.routers as [Recorded]
  // The router announces loopback next hops: each route is to be treated as withdrawn.
  const id = `65011/${nodeAddress}`
  router.speaker.handle({
    type: 'configure',
    neighbors: [
      neighborOf(65_011, nodeAsn, nodeAddress, {
        passive: true,
        routerId: '127.0.0.11',
        nextHops: { 'ipv4-unicast': '127.0.0.1' },
      }),
    ],
  })
  const prefixes = Array.from({ length: 200 }, (_, med) => ({
    prefix: `203.0.113.${med}/32`,
    routes: [{ neighbors: [id], attributes: { med } }],
  }))
  router.speaker.handle({ type: 'routes', prefixes })
  await waitFor('200 UPDATEs', () => (rack.node.peers[0]?.messagesIn ?? 0) > 200)
  assert.deepEqual(rack.node.prefixes, [])
  assert.equal(rack.node.peers[0]?.flaps, 0)
  const lines = rack.node.said.filter(
    (message) => message.type === 'log' && message.message.includes('treat-as-withdraw'),
  )
  assert.ok(lines.length > 0 && lines.length <= 20, `${lines.length} lines`)
})

test('End-of-RIB waits for `synced`, and routes do not (RFC 4724 2)', async () => {
  await using rack = await Rack.open(1)
  await rack.connect()
  const [router] = rack.routers as [Recorded]
  rack.announce('192.0.2.1/32')
  await waitFor('announced', () => router.prefixes.length === 1)
  const messages = (): number => rack.node.peers[0]?.messagesOut ?? 0
  const before = messages()
  for (let i = 0; i < 3; i++) rack.node.speaker.handle({ type: 'synced' })
  await waitFor('End-of-RIB', () => messages() > before)
  rack.announce('192.0.2.2/32')
  await waitFor('the second route', () => router.prefixes.length === 2)
  // One End-of-RIB for the one family, one UPDATE, and perhaps a KEEPALIVE.
  assert.ok(messages() - before <= 3)
})
