/** What the API shows and explains, over an order, a datapath in memory and a speaker that holds what the test says. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ExplainView, StatusView } from '../../src/api/types.ts'
import { createViews, type ViewParts } from '../../src/agent/views.ts'
import type { Surroundings } from '../../src/agent/explain.ts'
import { announcedVerdicts } from '../../src/agent/explain.ts'
import type {
  DesiredPodCidr,
  DesiredService,
  DesiredTunnels,
  Neighbor,
  Problem,
  Verdict,
} from '../../src/desired/model.ts'
import { BfdCounters } from '../../src/bfd/counters.ts'
import type { PeerSnapshot, RouteSnapshot } from '../../src/speaker/protocol.ts'
import { neighborOf } from '../speaker/pair.ts'

const [first, second] = ['192.0.2.1', '192.0.2.2']
const idOf = (address: string): string => `65001/${address}`

function peer(address: string, more: Partial<PeerSnapshot> = {}): PeerSnapshot {
  return {
    id: idOf(address),
    virtualRouter: 'rack0',
    localAsn: 65_001,
    peerAsn: 65_000,
    peerAddress: address,
    peerPort: 179,
    state: 'Established',
    since: '2026-01-01T00:00:00.000Z',
    routerId: '192.0.2.9',
    capabilities: [],
    gracefulRestart: false,
    families: [
      { family: 'ipv4-unicast', received: 0, advertised: 1 },
      { family: 'ipv6-unicast', received: 0, advertised: 0 },
    ],
    messagesIn: 1,
    messagesOut: 1,
    updatesIn: 1,
    updatesOut: 1,
    flaps: 0,
    transitions: [],
    ...more,
  }
}

const yes: Verdict = { step: 'class', ok: true, code: 'ClassServed', message: 'no class' }
const refusal: Verdict = {
  step: 'allocated',
  ok: false,
  code: 'OutOfAddresses',
  message: 'pool blue is full; pool red is disabled',
  remedy: 'Add a block',
}

function service(key: string, addresses: readonly string[], more: Partial<DesiredService> = {}): DesiredService {
  return {
    key,
    source: { kind: 'Service', namespace: key.split('/')[0] ?? '', name: key.split('/')[1] ?? '' },
    addresses,
    externalTrafficPolicy: 'Cluster',
    frontends: [],
    routes: addresses.map((address) => ({
      prefix: address.includes(':') ? `${address}/128` : `${address}/32`,
      neighbors: [idOf(first), idOf(second)],
      attributes: {},
    })),
    remoteBackends: 0,
    verdicts: [yes],
    ...more,
  }
}

interface World {
  readonly services?: readonly DesiredService[]
  readonly peers?: readonly PeerSnapshot[]
  /** Prefixes that each peer was sent. */
  readonly sent?: Readonly<Record<string, readonly string[]>>
  readonly paths?: readonly RouteSnapshot[]
  readonly podCidrs?: readonly DesiredPodCidr[]
  readonly tunnels?: DesiredTunnels
  readonly problems?: readonly Problem[]
  readonly neighbors?: readonly Neighbor[]
  readonly speakerProblems?: readonly string[]
  readonly isDrained?: boolean
  readonly isAnnotated?: boolean
  readonly logProblem?: string
  readonly restartNote?: string
}

const route = (prefix: string, address: string): RouteSnapshot => ({
  peer: idOf(address),
  virtualRouter: 'rack0',
  prefix,
  nextHop: '192.0.2.9',
  since: '2026-01-01T00:00:00.000Z',
  origin: 'IGP',
  asPath: '65001',
  communities: [],
  largeCommunities: [],
  extendedCommunities: [],
})

function viewsOf(world: World): ReturnType<typeof createViews> {
  const { sent = {}, services = [], peers = [peer(first), peer(second)] } = world
  const wanted = new Map(services.map((one) => [one.key, one]))
  const sentTo = (prefix: string): RouteSnapshot[] =>
    Object.entries(sent).flatMap(([address, prefixes]) => (prefixes.includes(prefix) ? [route(prefix, address)] : []))
  const unused = (): never => assert.fail('not asked for here')
  const parts: ViewParts = {
    nodeName: 'node1',
    version: '0.1.0',
    agent: {
      order: {
        services: wanted,
        service: (key) => wanted.get(key),
        verdict: () => ({ step: 'programmed', ok: true, code: 'NotGated', message: 'nothing is programmed' }),
        isProgrammed: () => true,
      },
      speaker: {
        nodeName: 'node1',
        neighbors: world.neighbors ?? [neighborOf(65_001, 65_000, first), neighborOf(65_001, 65_000, second)],
        isDraining: world.isAnnotated === true,
      },
      isDrained: world.isDrained === true,
      isSynced: true,
      podCidrs: world.podCidrs ?? [],
      tunnels: world.tunnels,
      problems: world.problems ?? [],
      faults: [],
      restartNote: world.restartNote,
    },
    ages: { secondsOf: () => 90 },
    speaker: {
      peers: async () => peers,
      route: async (prefix) => sentTo(prefix),
      paths: async () => world.paths ?? [],
      routes: unused,
      isAtAnyPeer: (prefix) => sentTo(prefix).length > 0,
      problems: world.speakerProblems ?? [],
      bfdDrops: new BfdCounters().drops,
    },
    datapath: {
      status: { kind: 'none', interfaces: [], adopted: false, schema: 1 },
      counters: () => undefined,
      usage: () => [],
      reasons: () => ({}),
      drops: () => [],
    },
    source: { kind: 'manifests', detail: '/etc/herald' },
    datapathProblem: undefined,
    log: { lostLines: 7, problem: () => world.logProblem },
    metrics: unused,
  }
  return createViews(parts)
}

const explain = (world: World, kind: 'service' | 'route' | 'peer', name: string): Promise<ExplainView> =>
  viewsOf(world).explain({ kind, name })
const told = ({ verdicts }: ExplainView): string[] =>
  verdicts.map(({ ok, code, message }) => `${ok ? 'yes' : 'no'} ${code}: ${message}`)
const status = (world: World): Promise<StatusView> => viewsOf(world).status()

const web = service('default/web', ['203.0.113.10'])
const dual = service('default/dual', ['203.0.113.11', '2001:db8::11'])

test('a Service that every neighbor was sent is a yes', async () => {
  const view = await explain(
    { services: [web], sent: { [first]: ['203.0.113.10/32'], [second]: ['203.0.113.10/32'] } },
    'service',
    'default/web',
  )
  assert.deepEqual([view.ok, view.announcedTo.length], [true, 2])
  assert.equal(told(view).at(-1), 'yes Announced: Sent to 192.0.2.1, 192.0.2.2')
})

test('AnnouncedToSome is a no that names each neighbor which lacks it, with one cause each', async () => {
  const world: World = {
    services: [web],
    peers: [peer(first), peer(second, { state: 'Idle', reason: 'the peer closed the connection' })],
    sent: { [first]: ['203.0.113.10/32'] },
  }
  const view = await explain(world, 'service', 'default/web')
  assert.equal(view.ok, false)
  assert.deepEqual(told(view).slice(-2), [
    'no AnnouncedToSome: Sent to 192.0.2.1 only',
    'no NotEstablished: 203.0.113.10/32 is not sent to 192.0.2.2: the session is not Established: ' +
      'the peer closed the connection',
  ])
})

test('each family of a Service is looked at by itself, with the precise reason of the speaker', async () => {
  const problem =
    'ipv6-unicast is not announced: the session runs over IPv4; give the neighbor a next hop of this family'
  const peers = [first, second].map((address) =>
    peer(address, {
      families: [
        { family: 'ipv4-unicast', received: 0, advertised: 1 },
        { family: 'ipv6-unicast', received: 0, advertised: 0, problem },
      ],
    }),
  )
  const world: World = {
    services: [dual],
    peers,
    sent: { [first]: ['203.0.113.11/32'], [second]: ['203.0.113.11/32'] },
  }
  const view = await explain(world, 'service', 'default/dual')
  assert.equal(view.ok, false)
  assert.equal(told(view).at(-1), `no FamilyNotSent: 2001:db8::11/128 is not sent to 192.0.2.2: ${problem}`)
  const route4 = await explain(world, 'route', '203.0.113.11')
  assert.deepEqual([route4.ok, route4.announcedTo.length], [true, 2])
  assert.equal((await explain(world, 'route', '2001:db8::11')).ok, false)
  const { health, warnings } = await status(world)
  assert.deepEqual([health, warnings], ['degraded', [first, second].map((address) => `peer ${address}: ${problem}`)])
})

test('a family of which nothing is to be announced degrades nothing', async () => {
  const problem = 'ipv6-unicast is not announced: the peer did not offer it'
  const families = [{ family: 'ipv6-unicast', received: 0, advertised: 0, problem } as const]
  const neighbors = [neighborOf(65_001, 65_000, first)]
  assert.equal((await status({ services: [web], neighbors, peers: [peer(first, { families })] })).health, 'ok')
})

test('a peer that the speaker was told of and has not begun yet is not ok', async () => {
  const { health, warnings } = await status({ peers: [peer(first)] })
  assert.deepEqual([health, warnings], ['degraded', [`peer ${second}: about to be started`]])
})

test('why a neighbor lacks a route: each cause has a code of its own', () => {
  const routes = web.routes.map((one) => ({ ...one, neighbors: [idOf(first)] }))
  const codeOf = (more: Partial<PeerSnapshot>, around: Partial<Surroundings> = {}): string | undefined =>
    announcedVerdicts(routes, [], { peers: [peer(first, more)], neighbors: [], isDraining: false, ...around }).at(-1)
      ?.code
  const limited = [neighborOf(65_001, 65_000, first, { maxPrefixesOut: 1 })]
  assert.deepEqual(
    [
      codeOf({}, { peers: [] }),
      codeOf({ state: 'Connect' }),
      codeOf({}, { isDraining: true }),
      codeOf({ families: [] }),
      codeOf({ families: [{ family: 'ipv4-unicast', received: 0, advertised: 0, problem: 'no next hop' }] }),
      codeOf({}, { neighbors: limited }),
      codeOf({}),
    ],
    ['NotConfigured', 'NotEstablished', 'Drained', 'FamilyNotConfigured', 'FamilyNotSent', 'AtPrefixLimit', 'Sending'],
  )
  assert.equal(announcedVerdicts([], [], { peers: [], neighbors: [], isDraining: false })[0]?.code, 'NoNeighbor')
})

test('of two Services with one address each is explained by its own chain, and the route by both', async () => {
  const refused = service('default/other', ['203.0.113.10'], { routes: [], verdicts: [refusal] })
  const world: World = {
    services: [refused, web],
    sent: { [first]: ['203.0.113.10/32'], [second]: ['203.0.113.10/32'] },
  }
  const other = await explain(world, 'service', 'default/other')
  assert.deepEqual([other.ok, other.announcedTo], [false, []])
  assert.deepEqual(told(other), ['no OutOfAddresses: pool blue is full; pool red is disabled'])
  const view = await explain(world, 'route', '203.0.113.10/32')
  assert.deepEqual([view.ok, view.announcedTo.length], [true, 2])
  assert.ok(told(view).includes('no OutOfAddresses: default/other: pool blue is full; pool red is disabled'))
  assert.ok(told(view).includes('yes ClassServed: default/web: no class'))
})

test('what another Service has sent to a neighbor of its own is not counted for this one', async () => {
  const mine = service('default/mine', ['203.0.113.10'], {
    routes: [{ prefix: '203.0.113.10/32', neighbors: [idOf(first)], attributes: {} }],
  })
  const view = await explain({ services: [mine], sent: { [second]: ['203.0.113.10/32'] } }, 'service', 'default/mine')
  assert.deepEqual([view.ok, view.announcedTo], [false, []])
})

test('addresses and prefixes are compared as values, however they are written', async () => {
  const six = service('default/six', ['2001:DB8:0::1'])
  assert.equal((await explain({ services: [six] }, 'route', '2001:db8::1')).exists, true)
  const peers = [peer('2001:db8::2'), peer('fe80::1%eth0'), peer('fe80::1%eth1'), peer('192.0.2.10')]
  const found = async (name: string): Promise<string[]> => told(await explain({ peers }, 'peer', name))
  assert.equal((await found('2001:DB8:0:0::2')).length, 2)
  assert.equal((await found('fe80:0::1%eth1')).length, 2)
  assert.match((await found('fe80::1')).join('\n'), /65001\/fe80::1%eth0: .*\n.*\n.*65001\/fe80::1%eth1: /)
  assert.equal((await explain({ peers }, 'peer', '192.0.2.1')).exists, false)
  assert.equal((await explain({ peers }, 'peer', 'fe80::1%eth2')).exists, false)
  assert.equal((await explain({ peers }, 'peer', '65001/192.0.2.10')).exists, true)
  const other = { ...peer('192.0.2.10'), id: '65001/192.0.2.10:1790' }
  assert.equal((await explain({ peers: [other] }, 'peer', '192.0.2.10:1790')).exists, true)
})

test('an aggregate is explained by the Services that are announced in it', async () => {
  const routes = [{ prefix: '203.0.113.0/24', neighbors: [idOf(first)], attributes: {} }]
  const services = [service('default/in', ['203.0.113.10'], { routes }), service('default/out', ['203.0.113.11'])]
  const view = await explain({ services }, 'route', '203.0.113.0/24')
  assert.deepEqual([view.exists, told(view).some((line) => line.includes('default/out'))], [true, false])
})

const broken = (object: Problem['object'], message: string): Problem => ({
  severity: 'error',
  object,
  field: 'spec.ports',
  code: 'InvalidField',
  message,
  remedy: 'Write a number',
})

test('a problem explains a peer that is not there only when it is about this very address', async () => {
  const policy = { kind: 'CiliumBGPPeeringPolicy', name: 'rack0' }
  const problems = [
    broken(policy, 'peerAddress 192.0.2.11: left out'),
    broken(policy, 'peerAddress 2001:db8::7/128 is odd'),
  ]
  const messageOf = async (name: string): Promise<string | undefined> =>
    (await explain({ problems }, 'peer', name)).verdicts[0]?.message
  assert.equal(await messageOf('192.0.2.11'), problems[0]?.message)
  assert.match((await messageOf('192.0.2.111')) ?? '', /^No policy/)
  assert.match((await messageOf('92.0.2.11')) ?? '', /^No policy/)
  assert.equal(await messageOf('2001:0db8::7'), problems[1]?.message)
})

test('the version in force is explained, and the broken newer one is a no beside it', async () => {
  const problems = [broken({ kind: 'Service', namespace: 'default', name: 'web' }, 'no port')]
  const sent = { [first]: ['203.0.113.10/32'], [second]: ['203.0.113.10/32'] }
  const view = await explain({ services: [web], sent, problems }, 'service', 'default/web')
  assert.equal(view.ok, false)
  assert.match(told(view)[0] ?? '', /^no InvalidField: What was written last of Service web is not in force/)
  assert.match(told(view).at(-1) ?? '', /^yes Announced/)
  // Of another Service, or another namespace: nothing to do with it.
  const other = [broken({ kind: 'Service', namespace: 'shop', name: 'web' }, 'no port')]
  assert.equal((await explain({ services: [web], sent, problems: other }, 'service', 'default/web')).ok, true)
  const missing = await explain({ problems }, 'service', 'default/web')
  assert.deepEqual([missing.exists, missing.verdicts[0]?.message], [false, 'spec.ports: no port'])
})

test('a peer says how long idle hold lasts and what waits for the next session', async () => {
  const peers = [
    peer(first, {
      state: 'Idle',
      reason: 'the session failed',
      idleHoldSec: 11.2,
      pending: ['hold time 90 s -> 30 s'],
    }),
  ]
  const lines = told(await explain({ peers }, 'peer', first))
  assert.ok(lines.includes('yes WaitsForNextSession: Comes into force with the next session: hold time 90 s -> 30 s'))
  assert.match(lines.at(-1) ?? '', /^no IdleHold: The next attempt follows in 12 s/)
  const [view] = await viewsOf({ peers }).peers()
  assert.equal((await viewsOf({}).peers())[0]?.uptimeSeconds, 90, 'not by its `since`, of a clock that may be set')
  assert.deepEqual([view?.idleHoldSeconds, view?.pending], [12, ['hold time 90 s -> 30 s']])
})

test('a PodCIDR, a received prefix, one that nobody knows and a text that is none', async () => {
  const routes = [{ prefix: '10.1.1.0/24', neighbors: [idOf(first)], attributes: {} }]
  const podCidrs = [{ prefix: '10.1.1.0/24', routes, verdicts: [yes] }]
  assert.equal((await explain({ podCidrs, sent: { [first]: ['10.1.1.0/24'] } }, 'route', '10.1.1.0/24')).ok, true)
  assert.equal((await explain({ podCidrs }, 'route', '10.1.1.0/24')).ok, false)
  const paths = [{ ...route('198.51.100.0/24', first), decision: 'not named' }]
  assert.equal((await explain({ paths }, 'route', '198.51.100.0/24')).verdicts[0]?.code, 'NotImported')
  const best = [{ ...route('198.51.100.0/24', first), best: true }]
  assert.equal((await explain({ paths: best }, 'route', '198.51.100.0/24')).verdicts[0]?.code, 'Imported')
  assert.equal((await explain({}, 'route', '198.51.100.0/24')).exists, false)
  assert.equal((await explain({}, 'route', 'nonsense')).exists, false)
})

test('status counts Services by state, says drained, and what cannot be logged', async () => {
  const services = [web, service('default/held', ['203.0.113.12']), service('default/no', [], { verdicts: [refusal] })]
  const world: World = { services, sent: { [first]: ['203.0.113.10/32'] } }
  const plain = await status(world)
  assert.deepEqual(plain.services, { total: 3, announced: 1, pending: 1, notServed: 1 })
  assert.deepEqual([plain.health, plain.drain], ['ok', undefined])
  assert.deepEqual((await status({ ...world, isDrained: true })).drain, { command: true, annotation: false })
  assert.deepEqual((await status({ ...world, isAnnotated: true })).drain, { command: false, annotation: true })
  const full = await status({ ...world, logProblem: 'ENOSPC' })
  assert.deepEqual(
    [full.health, full.warnings],
    ['degraded', ['the log cannot be written: ENOSPC; 7 lines are lost so far']],
  )
  assert.deepEqual((await status({ ...world, speakerProblems: ['port 179 is taken'] })).warnings, ['port 179 is taken'])
})

test('Services come by name, in pages that together are all of them, whatever order they came in', async () => {
  const services = Array.from({ length: 1_234 }, (_, i) => service(`ns/${(i * 7_919) % 10_007}`, []))
  const views = viewsOf({ services })
  const seen: string[] = []
  let next: string | undefined
  do {
    const page = await views.services({ limit: 100, ...(next === undefined ? {} : { continue: next }) })
    assert.ok(page.items.length <= 100)
    seen.push(...page.items.map((one) => one.service))
    next = page.continue
  } while (next !== undefined)
  assert.deepEqual(seen, services.map(({ key }) => key).sort())
})

test('a page has fewer Services where they have many ports and source ranges, and of one too large for it a part', async () => {
  const sources = Array.from({ length: 1_000 }, (_, n) => ({
    prefix: `10.0.${n >> 8}.${n & 255}/32`,
    isAllowed: true,
  }))
  const large = (name: string, ports: number): DesiredService =>
    service(`ns/${name}`, [], {
      frontends: Array.from({ length: ports }, (_, n) => ({
        id: `203.0.113.10:${n + 1}/TCP`,
        service: `ns/${name}`,
        address: '203.0.113.10',
        protocol: 'TCP',
        port: n + 1,
        backends: [],
        sources,
      })),
    })
  const small = ['a', 'c', 'e', 'f'].map((name) => service(`ns/${name}`, []))
  const views = viewsOf({ services: [...small, large('b', 60), large('d', 30), large('g', 10), large('h', 10)] })
  const pages: string[] = []
  const ports = new Map<string, number[]>()
  for (let next: string | undefined, isFirst = true; isFirst || next !== undefined; isFirst = false) {
    const page = await views.services({ limit: 100, ...(next === undefined ? {} : { continue: next }) })
    pages.push(page.items.map((one) => one.service.slice(3)).join(''))
    const parts = page.items.flatMap(({ frontends }) => frontends)
    assert.ok(parts.reduce((sum, { sourceRanges = [] }) => sum + 1 + sourceRanges.length, 0) <= 50_000)
    for (const { service: key, frontends } of page.items)
      ports.set(key, [...(ports.get(key) ?? []), ...frontends.map(({ port }) => port)])
    next = page.continue
  }
  assert.deepEqual(pages, ['ab', 'bcdef', 'gh'])
  for (const [name, count] of [
    ['a', 0],
    ['b', 60],
    ['d', 30],
    ['g', 10],
  ] as const)
    assert.deepEqual(
      ports.get(`ns/${name}`),
      Array.from({ length: count }, (_, n) => n + 1),
      name,
    )
})

test('a Service that lost ports, or went, while its parts were read is left at the next part, and no other is', async () => {
  const names = ['a', 'b', 'c'].map((name) => service(`ns/${name}`, []))
  const seen = async (token: string, limit = 100): Promise<readonly (string | undefined)[]> => {
    const page = await viewsOf({ services: names }).services({ limit, continue: token })
    return [...page.items.map((one) => one.service), page.continue]
  }
  assert.deepEqual(await seen('ns/a 40'), ['ns/b', 'ns/c', undefined])
  assert.deepEqual(await seen('ns/aa 40'), ['ns/b', 'ns/c', undefined])
  assert.deepEqual(await seen('ns/a 40', 1), ['ns/a'])
  assert.deepEqual(await seen('ns/a', 1), ['ns/b', 'ns/b'])
})

test('a walk of another process is not gone on with', async () => {
  for (const token of ['', '1', '1.2', 'x.y.z'])
    await assert.rejects(
      viewsOf({}).routes({ table: 'available', family: 'ipv4-unicast' }, { limit: 1, continue: token }),
      { code: 'ERR_EXPIRED' },
    )
})

test('status says where packets are taken in tunnels, and nothing of them where backends elsewhere are not served', async () => {
  const tunnels = { own: ['192.0.2.9', '2001:db8::9'], isTold: false, senders: ['192.0.2.10', '192.0.2.11'] }
  assert.deepEqual((await status({ tunnels })).tunnels, {
    addresses: ['192.0.2.9', '2001:db8::9'],
    isTold: false,
    nodes: 2,
  })
  assert.equal('tunnels' in (await status({})), false)
})

test('a backend on another node is shown with the address at which that node takes its packets', async () => {
  const frontends = [
    {
      id: '203.0.113.10:80/TCP',
      service: 'default/web',
      address: '203.0.113.10',
      protocol: 'TCP' as const,
      port: 80,
      backends: [
        { address: '10.1.1.5', port: 8080 },
        { address: '10.1.2.5', port: 8080, node: '192.0.2.10' },
      ],
      resting: [{ address: '10.1.2.6', port: 8080, node: '192.0.2.10' }],
    },
  ]
  const views = viewsOf({ services: [service('default/web', ['203.0.113.10'], { frontends, remoteBackends: 1 })] })
  const { items } = await views.services({ limit: 10 })
  assert.deepEqual(
    items[0]?.frontends[0]?.backends.map(({ address, node, state }) => [address, node, state]),
    [
      ['10.1.1.5', undefined, 'active'],
      ['10.1.2.5', '192.0.2.10', 'active'],
      ['10.1.2.6', '192.0.2.10', 'resting'],
    ],
  )
})

test('status says what a restart waits for, and is ok', async () => {
  const { health, warnings } = await viewsOf({ restartNote: 'in force before the restart and not now' }).status()
  assert.deepEqual([health, warnings], ['ok', ['in force before the restart and not now']])
})
