/** What a node tells the cluster of its sessions, over a turned clock and an API server in memory. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Faults } from '../../src/agent/faults.ts'
import { type NodeFigures, NodeReporter } from '../../src/agent/node-reporter.ts'
import { MemoryLog } from '../../src/agent/agent-log.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import type { Neighbor } from '../../src/desired/model.ts'
import {
  nodeReportKey,
  nodeReportObject,
  nodeReportOf,
  reportedDrain,
  reportedStackReason,
} from '../../src/k8s/dialects/node-report.ts'
import { type Follower, MemoryCluster } from '../../src/k8s/memory-cluster.ts'
import type { RawObject } from '../../src/k8s/source.ts'
import { nodeFieldManager, type StatusOutcome } from '../../src/k8s/status.ts'
import type { PeerSnapshot } from '../../src/speaker/protocol.ts'

const neighborOf = (peerAddress: string, more: Partial<Neighbor> = {}): Neighbor => ({
  id: `65001/${peerAddress}`,
  source: { kind: 'Test', name: 'rack' },
  virtualRouter: '65001',
  localAsn: 65_001,
  peerAsn: 65_000,
  peerAddress,
  peerPort: 179,
  routerId: '192.0.2.9',
  families: ['ipv4-unicast'],
  holdTimeSec: 90,
  keepaliveSec: 30,
  connectRetrySec: 120,
  multihopTtl: 1,
  passive: false,
  ...more,
})

const sessionOf = ({ id, peerAddress }: Neighbor, more: Partial<PeerSnapshot> = {}): PeerSnapshot => ({
  id,
  virtualRouter: '65001',
  localAsn: 65_001,
  peerAsn: 65_000,
  peerAddress,
  peerPort: 179,
  state: 'Active',
  since: '2023-11-14T22:13:20.123Z',
  routerId: '192.0.2.9',
  capabilities: [],
  gracefulRestart: false,
  families: [{ family: 'ipv4-unicast', received: 0, advertised: 0 }],
  messagesIn: 0,
  messagesOut: 0,
  updatesIn: 0,
  updatesOut: 0,
  flaps: 0,
  transitions: [],
  reason: 'no answer',
  ...more,
})
const established: Partial<PeerSnapshot> = { state: 'Established', holdTimeSec: 9, keepaliveSec: 3 }

class Node {
  readonly cluster = new MemoryCluster()
  readonly clock = new VirtualClock()
  readonly faults = new Faults(this.clock, new MemoryLog())
  readonly key = nodeReportKey('node1')
  sessions: PeerSnapshot[] = []
  figures: NodeFigures
  readonly reporter: NodeReporter
  readonly follower: Follower = this.cluster.follower()
  writes = 0

  constructor(neighbors: readonly Neighbor[]) {
    this.figures = {
      neighbors,
      problems: [],
      failures: [],
      refusals: [],
      isSynced: true,
      isDrained: false,
      datapath: {},
    }
    this.sessions = neighbors.map((neighbor) => sessionOf(neighbor))
    const sink = this.cluster.sink(nodeFieldManager)
    this.reporter = new NodeReporter({
      clock: this.clock,
      random: () => 0.5,
      sink: {
        apply: (write) => {
          this.writes++
          return sink.apply(write)
        },
      },
      faults: this.faults,
      peers: async () => this.sessions,
      figures: () => this.figures,
    })
  }

  async start(isOurs = true): Promise<this> {
    await this.follower.start({
      upsert: (key, object, _origin, version) => this.reporter.read(key, object, version),
      remove: () => this.reporter.forget(),
      problems: () => undefined,
      flush: () => undefined,
      synced: () => undefined,
    })
    const object = nodeReportObject('node1', this.key.apiVersion, this.figures.neighbors, ['rack'])
    this.cluster.put(this.key, isOurs ? object : { ...object, metadata: { name: 'node1' } })
    await this.pass(0)
    return this
  }

  async pass(ms: number): Promise<void> {
    for (let gone = 0; gone <= ms; gone += 500) {
      if (gone > 0) this.clock.advance(500)
      for (let i = 0; i < 20; i++) await Promise.resolve()
      this.follower.deliver()
    }
  }

  get status(): RawObject {
    const { status } = this.cluster.objectOf(this.key) ?? {}
    return (status as RawObject | undefined) ?? {}
  }

  get report(): ReturnType<typeof nodeReportOf> {
    return nodeReportOf(this.cluster.objectOf(this.key) ?? {})
  }
}

test('sessions of every family of configuration are told in the fields of Cilium', async () => {
  const neighbors = [
    neighborOf('192.0.2.1', { virtualRouter: 'rack', peerName: 'tor1' }),
    neighborOf('192.0.2.2'),
    neighborOf('fe80::1', { interface: 'eth1', id: '65001/fe80::1%eth1' }),
  ]
  const node = new Node(neighbors)
  const up = { ...established, families: [{ family: 'ipv4-unicast', received: 3, advertised: 2 }] as const }
  node.sessions = neighbors.map((neighbor, i) => sessionOf(neighbor, i === 0 ? up : { state: 'OpenSent' }))
  await node.start()
  await node.pass(1_000)
  const { bgpInstances, conditions } = node.status
  assert.deepEqual(bgpInstances, [
    {
      name: 'rack',
      localASN: 65_001,
      peers: [
        {
          name: 'tor1',
          peerAddress: '192.0.2.1',
          peerASN: 65_000,
          peeringState: 'established',
          establishedTime: '2023-11-14T22:13:20Z',
          timers: { appliedHoldTimeSeconds: 9, appliedKeepaliveSeconds: 3 },
          routeCount: [{ afi: 'ipv4', safi: 'unicast', received: 3, advertised: 2 }],
        },
      ],
    },
    {
      name: '65001',
      localASN: 65_001,
      peers: [
        { name: '192.0.2.2', peerAddress: '192.0.2.2', peerASN: 65_000, peeringState: 'open_sent' },
        { name: 'fe80::1%eth1', peerAddress: 'fe80::1%eth1', peerASN: 65_000, peeringState: 'open_sent' },
      ],
    },
  ])
  const [healthy, failed] = conditions as readonly Record<string, string>[]
  assert.deepEqual(
    [healthy?.['type'], healthy?.['status'], healthy?.['reason']],
    ['herald.dev/Healthy', 'False', 'SessionsDown'],
  )
  assert.match(healthy?.['message'] ?? '', /^1 of 3 sessions are established; peer 192\.0\.2\.2: no answer/)
  assert.deepEqual([failed?.['type'], failed?.['status']], ['cilium.io/BGPReconcileError', 'False'])
  assert.deepEqual(
    node.report.instances.flatMap(({ peers }) => peers.map(({ state }) => state)),
    ['Established', 'OpenSent', 'OpenSent'],
  )
})

test('nothing is written while nothing changes, and a session that moves is told within seconds', async () => {
  const [one] = [neighborOf('192.0.2.1')]
  const node = await new Node([one]).start()
  await node.pass(120_000)
  assert.equal(node.writes, 1)
  node.sessions = [sessionOf(one, established)]
  node.reporter.touch()
  await node.pass(1_000)
  assert.equal(node.writes, 2)
  assert.equal(node.report.instances[0]?.peers[0]?.state, 'Established')
  assert.equal(node.report.conditions[0]?.status, 'True')
})

test('a session that flaps and counts that run cost a write in three and in fifteen seconds at most', async () => {
  const one = neighborOf('192.0.2.1')
  const node = await new Node([one]).start()
  await node.pass(20_000)
  const before = node.writes
  for (let i = 0; i < 60; i++) {
    node.sessions = [sessionOf(one, i % 2 === 0 ? established : {})]
    node.reporter.touch()
    await node.pass(500)
  }
  assert.ok(node.writes - before <= 11, `${node.writes - before} writes in 30 s`)
  const flapped = node.writes
  for (let i = 0; i < 120; i++) {
    const families = [{ family: 'ipv4-unicast' as const, received: i, advertised: 1 }]
    node.sessions = [sessionOf(one, { ...established, families })]
    await node.pass(500)
  }
  assert.ok(node.writes - flapped <= 5, `${node.writes - flapped} writes in 60 s`)
})

test('an object that another operator made is left alone', async () => {
  const node = await new Node([neighborOf('192.0.2.1')]).start(false)
  await node.pass(60_000)
  assert.equal(node.writes, 0)
})

const answers: readonly (readonly [string, StatusOutcome, most: number, isFault: boolean])[] = [
  ['a server that says 429', { kind: 'limited', afterMs: 20_000 }, 5, false],
  ['a server that is away', { kind: 'failed', message: 'connect ECONNREFUSED' }, 7, true],
  ['a role without the right', { kind: 'refused', message: 'forbidden' }, 7, true],
  ['fields that others own', { kind: 'owned', fields: ['.status.bgpInstances'], message: 'conflict' }, 7, true],
]
for (const [who, outcome, most, isFault] of answers)
  test(`${who} is asked seldom, and told all once it takes it`, async () => {
    const node = new Node([neighborOf('192.0.2.1')])
    node.cluster.fault = () => outcome
    await node.start()
    await node.pass(90_000)
    assert.ok(node.writes > 1 && node.writes <= most, `${node.writes} writes in 90 s`)
    assert.equal(node.faults.current.length, isFault ? 1 : 0)
    node.cluster.fault = undefined
    await node.pass(180_000)
    assert.equal(node.report.instances.length, 1)
    assert.equal(node.faults.current.length, 0)
  })

test('a version that was not read yet is waited for', async () => {
  const node = await new Node([neighborOf('192.0.2.1')]).start()
  await node.pass(1_000)
  node.cluster.put(node.key, { ...node.cluster.objectOf(node.key), spec: { bgpInstances: [{ name: 'other' }] } })
  node.figures = { ...node.figures, failures: ['maps are full'] }
  await node.pass(20_000)
  assert.match(node.report.conditions[0]?.message ?? '', /maps are full/)
  assert.equal(node.faults.current.length, 0)
})

test('a deleted object ends the writes, and a new one is told again', async () => {
  const node = await new Node([neighborOf('192.0.2.1')]).start()
  await node.pass(1_000)
  node.cluster.remove(node.key)
  await node.pass(60_000)
  const before = node.writes
  node.cluster.put(node.key, nodeReportObject('node1', node.key.apiVersion, node.figures.neighbors, []))
  await node.pass(5_000)
  assert.equal(node.writes, before + 1)
  assert.equal(node.report.instances.length, 1)
})

test('what is refused is told, and who turns it on and off all the time costs each node a write a round', async () => {
  const node = await new Node([neighborOf('192.0.2.1')]).start()
  await node.pass(20_000)
  const refusals = [{ service: 'default/web', code: 'PortTaken', message: '80/TCP belongs to default/old' }] as const
  node.figures = { ...node.figures, refusals }
  await node.pass(20_000)
  const said = node.report.conditions.find(({ type }) => type === 'herald.dev/ServicesRefused')
  assert.equal(said?.message, 'default/web PortTaken: 80/TCP belongs to default/old')
  const before = node.writes
  for (let i = 0; i < 60; i++) {
    node.figures = { ...node.figures, refusals: i % 2 === 0 ? [] : refusals }
    node.reporter.touch()
    await node.pass(1_000)
  }
  assert.ok(node.writes - before <= 5, `${node.writes - before} writes in a minute`)
})

test('whether flows go past netfilter is told, and why not, within a round of counts: no pod hurries a write', async () => {
  const node = new Node([neighborOf('192.0.2.1')])
  node.sessions = node.sessions.map((session) => ({ ...session, ...established }))
  await node.start()
  const told = (): readonly string[] => {
    const said = node.report.conditions.find(({ type }) => type === 'herald.dev/PastNetfilter')
    return [said?.status ?? '', said?.reason ?? '', said?.message ?? '', reportedStackReason(node.report) ?? '-']
  }
  await node.pass(20_000)
  assert.deepEqual(told(), ['Unknown', 'NoDatapath', 'this node serves no addresses itself', '-'])
  const firewall = 'chain FORWARD of table filter (iptables) drops what no rule accepts'
  for (const [datapath, said] of [
    [{ mode: 'redirect' }, ['True', 'Redirect', '', '-']],
    [{ mode: 'stack', modeReason: firewall }, ['False', 'Stack', firewall, firewall]],
    [{ mode: 'redirect', modeReason: 'through the stack: x' }, ['True', 'Redirect', 'through the stack: x', '-']],
    [{ mode: 'stack' }, ['False', 'AskedFor', 'it was asked for (--datapath-mode stack)', '-']],
  ] as const) {
    const before = node.writes
    node.figures = { ...node.figures, datapath }
    await node.pass(40_000)
    assert.deepEqual(told(), said)
    assert.equal(node.writes, before + 1)
  }
})

test('a node that is drained says so, and that it is undone', async () => {
  const node = await new Node([]).start()
  const told = (): boolean => reportedDrain(node.report)
  assert.equal(told(), false)
  node.figures = { ...node.figures, isDrained: true }
  node.reporter.touch()
  await node.pass(4_000)
  assert.equal(told(), true)
  node.figures = { ...node.figures, isDrained: false }
  node.reporter.touch()
  await node.pass(4_000)
  assert.equal(told(), false)
})
