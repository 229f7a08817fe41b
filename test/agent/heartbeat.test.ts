/** The sign of life of an agent, over a turned clock and a Lease in memory; and what is read off it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryLog } from '../../src/agent/agent-log.ts'
import { Faults } from '../../src/agent/faults.ts'
import { Heartbeat } from '../../src/agent/heartbeat.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { type LeaseSpec, MemoryLease } from '../../src/k8s/lease.ts'
import { type AgentFacts, lifeMetadata, nodeLifeOf, silenceSec } from '../../src/k8s/node-life.ts'

class World {
  readonly lease: MemoryLease
  readonly clock: VirtualClock
  readonly faults: Faults
  readonly heartbeat: Heartbeat
  writes = 0

  constructor(lease = new MemoryLease(), clock = new VirtualClock(), random = (): number => 0.5) {
    this.lease = lease
    this.clock = clock
    this.faults = new Faults(clock, new MemoryLog())
    const counted = <T>(answer: T): T => {
      this.writes++
      return answer
    }
    this.heartbeat = new Heartbeat({
      node: 'node1',
      clock,
      random,
      faults: this.faults,
      store: {
        read: () => lease.read(),
        create: (spec) => counted(lease.create(spec)),
        update: (spec, version) => counted(lease.update(spec, version)),
      },
    })
  }

  async pass(ms: number): Promise<void> {
    for (let gone = 0; gone < ms; gone += 500) {
      this.clock.advance(500)
      for (let i = 0; i < 20; i++) await Promise.resolve()
    }
  }

  get spec(): LeaseSpec {
    return this.lease.lease?.spec ?? assert.fail('there is no Lease')
  }

  get faultText(): string {
    return this.faults.current.map(({ text }) => text).join()
  }
}

test('a Lease is made, and renewed by one write in ten seconds and by nothing else', async () => {
  const world = new World()
  world.heartbeat.start()
  await world.pass(500)
  assert.deepEqual([world.spec.holder, world.spec.durationSec, world.spec.transitions], ['node1', 40, 0])
  const { renewTime } = world.spec
  await world.pass(100_000)
  assert.ok(world.writes >= 10 && world.writes <= 12, `${world.writes} writes in 100 s`)
  assert.notEqual(world.spec.renewTime, renewTime)
  world.heartbeat.stop()
  const { writes } = world
  await world.pass(60_000)
  assert.equal(world.writes, writes)
})

test('agents that start in one moment do not renew in one', async () => {
  const clock = new VirtualClock()
  const [early, late] = [new World(undefined, clock, () => 0), new World(undefined, clock, () => 0.99)]
  early.heartbeat.start()
  late.heartbeat.start()
  await early.pass(9_500)
  assert.deepEqual([early.writes, late.writes], [2, 1])
})

test('a Lease that somebody deleted, labelled or took is that of the agent again with the next renewal', async () => {
  const world = new World()
  world.heartbeat.start()
  await world.pass(500)
  world.lease.remove()
  await world.pass(11_000)
  assert.equal(world.spec.holder, 'node1')
  const found = world.lease.lease ?? assert.fail()
  await world.lease.update({ ...found.spec, holder: 'somebody' }, found.resourceVersion)
  await world.pass(11_000)
  assert.equal(world.spec.holder, 'node1')
  assert.equal(world.faultText, '')
})

test('a server that is away is told once, and the first renewal after it mends it', async () => {
  const world = new World()
  world.heartbeat.start()
  await world.pass(500)
  world.lease.isReachable = false
  await world.pass(120_000)
  assert.match(world.faultText, /the Lease by which the cluster knows that this agent lives cannot be renewed: /)
  assert.ok((world.faults.totals.get('heartbeat') ?? 0) <= 14)
  world.lease.isReachable = true
  await world.pass(11_000)
  assert.equal(world.faultText, '')
})

test('a new process goes on with the Lease of the one before, and counts', async () => {
  const first = new World()
  first.heartbeat.start()
  await first.pass(500)
  first.heartbeat.stop()
  const second = new World(first.lease, first.clock)
  second.heartbeat.start()
  await second.pass(500)
  assert.equal(second.spec.transitions, 1)
  assert.notEqual(second.spec.acquireTime, '')
})

const facts: AgentFacts = {
  version: '1.2.3',
  datapath: 'none',
  secretsNamespace: 'kube-system',
  ignoreExcludeLb: true,
  withdrawOn: ['not-ready'],
  isClassRequired: false,
  remoteBackends: 'tunnel',
  whyNoSnat: '',
}
const renewal = (time: string): object => ({ manager: 'herald', time, fieldsV1: { 'f:spec': { 'f:renewTime': {} } } })
const leaseWith = (managedFields: readonly object[], spec: object = {}) => ({
  metadata: { ...lifeMetadata('node1', facts, 'u-1'), managedFields },
  spec: { holderIdentity: 'node1', leaseDurationSeconds: 40, renewTime: '1999-01-01T00:00:00.000000Z', ...spec },
})
const now = Date.parse('2026-01-01T00:01:00Z')

test('silence is between two times of the server, and the one that a node wrote is nothing to it', () => {
  const life = nodeLifeOf(leaseWith([renewal('2026-01-01T00:00:13Z')])) ?? assert.fail()
  assert.equal(silenceSec(life, now), 47)
  assert.deepEqual(life.facts, facts)
  // The server's clock was put back.
  assert.equal(silenceSec(life, now - 3_600_000), 0)
})

test('a label that somebody put on a Lease later is no sign of life', () => {
  const label = { manager: 'kubectl', time: '2026-01-01T00:00:59Z', fieldsV1: { 'f:metadata': { 'f:labels': {} } } }
  const life = nodeLifeOf(leaseWith([renewal('2026-01-01T00:00:00Z'), label])) ?? assert.fail()
  assert.equal(silenceSec(life, now), 60)
})

test('what a Lease says wrongly is no sign of life and no error', () => {
  assert.equal(nodeLifeOf({}), undefined)
  assert.equal(nodeLifeOf({ spec: { holderIdentity: '' } }), undefined)
  const bare = nodeLifeOf({ spec: { holderIdentity: 'node1', leaseDurationSeconds: 1e9 } }) ?? assert.fail()
  assert.deepEqual([bare.renewedMs, bare.facts, bare.lastsSec], [undefined, undefined, 600])
  assert.equal(silenceSec(bare, now), undefined)
  const odd = leaseWith([{ time: 'soon', fieldsV1: { 'f:spec': { 'f:renewTime': {} } } }, { fieldsV1: 7 }])
  const broken = { ...odd, metadata: { ...odd.metadata, annotations: { 'herald.dev/agent': '{' } } }
  const life = nodeLifeOf(broken) ?? assert.fail()
  assert.deepEqual([life.renewedMs, life.facts], [undefined, undefined])
})
