/** What only a node can refuse is told by an event on the Service: agent and operator over one cluster in memory. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Agent } from '../../src/agent/agent.ts'
import { MemoryLog } from '../../src/agent/agent-log.ts'
import { InForceRecord } from '../../src/agent/in-force.ts'
import { MemoryLinks } from '../../src/agent/links.ts'
import { Refusals } from '../../src/agent/refusals.ts'
import { RestartMarker } from '../../src/agent/restart-marker.ts'
import { createFakeDatapath, type FakeDatapathOptions } from '../../src/datapath/fake.ts'
import type { DesiredService } from '../../src/desired/model.ts'
import { ownLabels, refusedCondition } from '../../src/k8s/dialects/node-report.ts'
import { maxRefusals, type Refusal, refusedSaying, reportedRefusals } from '../../src/k8s/dialects/refusals.ts'
import type { ObjectKey, RawObject } from '../../src/k8s/source.ts'
import { nodeFieldManager } from '../../src/k8s/status.ts'
import { createTranslator } from '../../src/k8s/translate/translator.ts'
import { RefusalsOfNodes } from '../../src/operator/refusals-of-nodes.ts'
import { InMemorySpeakerThread } from '../../src/speaker/in-memory-thread.ts'
import { World } from './world.ts'

const keyOf = (apiVersion: string, kind: string, name: string, namespace = ''): ObjectKey => ({
  apiVersion,
  kind,
  namespace,
  name,
})
const nodeConfigKey = (node: string): ObjectKey => keyOf('cilium.io/v2', 'CiliumBGPNodeConfig', node)

class NodesWorld extends World {
  constructor(nodes: readonly string[] = ['node1']) {
    super()
    for (const [i, name] of nodes.entries()) {
      const addresses = [{ type: 'InternalIP', address: `192.0.2.${i + 101}` }]
      this.cluster.put(keyOf('v1', 'Node', name), { metadata: { name }, status: { addresses } })
    }
    const neighbors = [{ peerAddress: '192.0.2.1/32', peerASN: 65000, families: [{ afi: 'ipv4', safi: 'unicast' }] }]
    const serviceSelector = { matchExpressions: [{ key: 'no', operator: 'DoesNotExist' }] }
    const virtualRouters = [{ localASN: 65001, serviceSelector, neighbors }]
    const policy = { metadata: { name: 'rack' }, spec: { nodeSelector: {}, virtualRouters } }
    this.cluster.put(keyOf('cilium.io/v2alpha1', 'CiliumBGPPeeringPolicy', 'rack'), policy)
  }

  /** An agent that reads the cluster, and says in it what it refuses. */
  async agent(context: TestContext, name: string, options: FakeDatapathOptions = {}): Promise<void> {
    const folder = mkdtempSync(join(tmpdir(), 'herald-refusals-'))
    const [source, links] = [this.cluster.follower(), new MemoryLinks()]
    links.set([{ index: 2, name: 'eth0' }])
    const agent = new Agent({
      source,
      links,
      clock: this.clock,
      datapath: createFakeDatapath({ interfaces: ['eth0'], ...options }),
      speaker: new InMemorySpeakerThread(),
      log: new MemoryLog(),
      marker: new RestartMarker(folder),
      record: new InForceRecord(folder),
      report: { sink: this.cluster.sink(nodeFieldManager), peers: async () => [] },
      translator: createTranslator({
        ...{ nodeName: name, datapath: 'ebpf', secretsNamespace: 'kube-system', isAllocatedElsewhere: true },
        localAddresses: () => [{ interface: 'eth0', address: '203.0.113.9' }],
      }),
    })
    context.after(async () => {
      await agent.stop()
      rmSync(folder, { recursive: true })
    })
    await agent.start()
    this.#sources.push(source)
  }

  readonly #sources: { deliver(): boolean }[] = []

  override async settle(): Promise<void> {
    for (let isMoved = true; isMoved; ) {
      await super.settle()
      isMoved = this.#sources.map((source) => source.deliver()).some(Boolean)
      this.clock.settle()
    }
  }

  endpoints(name: string): void {
    const labels = { 'kubernetes.io/service-name': name }
    this.cluster.put(keyOf('discovery.k8s.io/v1', 'EndpointSlice', name, 'default'), {
      metadata: { name, namespace: 'default', labels },
      addressType: 'IPv4',
      endpoints: [{ addresses: ['10.1.1.5'], nodeName: 'node1', conditions: { ready: true } }],
      ports: [{ port: 8080, protocol: 'TCP' }],
    })
  }

  eventsOf(name: string, kind = 'Service'): readonly string[] {
    return this.cluster.events
      .filter(({ regarding }) => regarding.kind === kind && regarding.name === name)
      .map(({ reason, note }) => `${reason} ${note}`)
  }

  /** As an agent of that node would, or whoever has its token. */
  says(node: string, message: string, status = 'True'): void {
    const said = { type: refusedCondition, status, reason: 'Refused', message }
    const conditions = [{ ...said, lastTransitionTime: '2024-01-01T00:00:00Z' }]
    this.cluster.writeStatus(nodeConfigKey(node), { bgpInstances: [], conditions }, nodeFieldManager)
  }
}

test('an address that one node has itself is an event on the Service, once, and names the node', async (context) => {
  const world = new NodesWorld()
  // Of the pool, and of an interface of this node alone: the operator cannot know.
  world.put('web', { spec: { loadBalancerIP: '203.0.113.9' } })
  world.put('fine', { spec: { loadBalancerIP: '203.0.113.3' } })
  for (const name of ['web', 'fine']) world.endpoints(name)
  await world.lead()
  await world.agent(context, 'node1')
  await world.pass(60_000)
  assert.deepEqual(world.addresses('web'), ['203.0.113.9'])
  const [event = '', ...more] = world.eventsOf('web')
  assert.match(event, /^ReservedAddress 203\.0\.113\.9 is .*eth0.* \(node node1\)$/)
  assert.deepEqual(more, [])
  assert.deepEqual(world.eventsOf('fine'), [])
})

test('a Service for which the maps of a node have no room is told so by an event', async (context) => {
  const world = new NodesWorld()
  for (const name of ['first', 'second', 'third']) {
    world.put(name)
    world.endpoints(name)
  }
  await world.lead()
  await world.agent(context, 'node1', { maxEntries: { frontends: 2 } })
  await world.pass(60_000)
  const told = ['first', 'second', 'third'].filter((name) => world.eventsOf(name).length > 0)
  assert.equal(told.length, 1, 'two have room')
  assert.match(world.eventsOf(told[0] ?? '')[0] ?? '', /^ProgrammingFailed .* \(node node1\)$/)
})

test('an event is on the very object, also where it is no LoadBalancer; a Service that is gone has none', async () => {
  const world = new NodesWorld()
  world.put('own', { spec: { type: 'ClusterIP', externalIPs: ['192.0.2.9'] } })
  await world.lead()
  await world.pass(3_000)
  world.says('node1', 'default/own ReservedAddress: 192.0.2.9 is of eth0; default/gone PortTaken: 80/TCP')
  await world.pass(3_000)
  assert.deepEqual(world.eventsOf('own'), ['ReservedAddress 192.0.2.9 is of eth0 (node node1)'])
  assert.deepEqual(world.eventsOf('gone'), [])
  const uid = world.cluster.events.find(({ regarding }) => regarding.name === 'own')?.regarding.uid
  assert.match(uid ?? '', /^uid-/, 'kubectl describe finds events by the uid')
})

test('a hundred nodes that refuse one Service are one event; another cause is another one', async () => {
  const nodes = Array.from({ length: 100 }, (_, i) => `node${100 + i}`)
  const world = new NodesWorld(nodes)
  world.put('web')
  await world.lead()
  await world.pass(3_000)
  for (const node of nodes) world.says(node, 'default/web FamilyNotSpoken: no neighbor speaks IPv6')
  await world.pass(3_000)
  assert.deepEqual(world.eventsOf('web'), ['FamilyNotSpoken no neighbor speaks IPv6 (node node100)'])
  for (const node of nodes.slice(1)) world.says(node, '', 'False')
  await world.pass(3_000)
  assert.equal(world.eventsOf('web').length, 1)
  world.says('node150', 'default/web PortTaken: 80/TCP belongs to default/old')
  await world.pass(3_000)
  assert.deepEqual(world.eventsOf('web').slice(1), ['PortTaken 80/TCP belongs to default/old (node node150)'])
})

test('a Service whose condition says no is not told the same by its nodes', async () => {
  const world = new NodesWorld()
  world.put('web', { spec: { loadBalancerIP: '192.0.2.77' } })
  await world.lead()
  await world.pass(3_000)
  assert.match(world.condition('web'), /^False /)
  const before = world.eventsOf('web').length
  world.says('node1', 'default/web NotInPool: 192.0.2.77 is in no pool')
  await world.pass(3_000)
  assert.equal(world.eventsOf('web').length, before)
})

test('who may write the status of a node makes no event but of a known code, and of few Services', async () => {
  const world = new NodesWorld()
  for (let i = 0; i < 80; i++) world.put(`web-${i}`)
  await world.lead()
  await world.pass(3_000)
  const before = world.cluster.events.length
  const hostile = [
    'default/web-0 Killed: a code of nobody',
    'default/web-1 ReservedAddress',
    '../../secrets ReservedAddress: x',
    'default/web-2 PortTaken: a\u0000b\n\u001b[31mred',
    ...Array.from({ length: 77 }, (_, i) => `default/web-${i + 3} PortTaken: ${'x'.repeat(5_000)}`),
  ]
  world.says('node1', hostile.join('; '))
  await world.pass(10_000)
  const told = world.cluster.events.slice(before)
  assert.ok(told.length > 0 && told.length <= maxRefusals, `${told.length} events`)
  assert.ok(told.every(({ reason, note }) => reason === 'PortTaken' && note.length <= 500 && !/\p{Cc}/u.test(note)))
})

const desired = (name: string, code: string, namespace = 'default'): DesiredService =>
  ({
    key: `${namespace}/${name}`,
    verdicts: [{ step: 'allocated', ok: false, code, message: `${name} says ${code}`, remedy: '' }],
  }) as unknown as DesiredService

test('what is no refusal is not told: nothing selects it, it has no pods, its neighbor is away', () => {
  const refusals = new Refusals()
  for (const code of ['NotSelected', 'NoBackends', 'NoLocalBackends', 'NoPolicy', 'NotInStatus', 'NodeWithdrawn'])
    refusals.want(`default/${code}`, desired(code, code))
  assert.deepEqual(refusals.list([]), [])
  refusals.want('default/a', desired('a', 'PortTaken'))
  assert.deepEqual(
    refusals.list([['default/b', { message: 'no room' }]]).map(({ service, code }) => `${service} ${code}`),
    ['default/a PortTaken', 'default/b ProgrammingFailed'],
  )
  refusals.want('default/a', undefined)
  assert.deepEqual(refusals.list([]), [])
})

test('a tenant with thousands of refused Services does not hide the one of another', () => {
  const refusals = new Refusals()
  for (let i = 0; i < 5_000; i++) refusals.want(`aaa/s-${i}`, desired(`s-${i}`, 'ReservedAddress', 'aaa'))
  refusals.want('zzz/only', desired('only', 'PortTaken', 'zzz'))
  const told = refusals.list([])
  assert.equal(told.length, maxRefusals)
  assert.ok(told.some(({ service }) => service === 'zzz/only'))
  const { message } = refusedSaying(told.map((each) => ({ ...each, message: 'x'.repeat(2_000) })))
  assert.ok(message.length < 32_768, 'the API server takes no more in a condition')
})

const objectSaying = (refusals: readonly Refusal[], labels: RawObject = ownLabels): RawObject => ({
  metadata: { name: 'node1', labels },
  status: { conditions: [{ ...refusedSaying(refusals), lastTransitionTime: '2024-01-01T00:00:00Z' }] },
})

test('what a node says is read as it was said, whatever its texts have in them; of another operator it is nothing', () => {
  const refusals: readonly Refusal[] = [
    { service: 'default/a', code: 'PortTaken', message: 'port 80/TCP of 192.0.2.1 belongs to b/c; and more; of it' },
    { service: 'default/b', code: 'AddressLeftOut', message: '192.0.2.9 is the cluster IP of x/y: it is left out' },
  ]
  assert.deepEqual(reportedRefusals(objectSaying(refusals)), refusals)
  assert.deepEqual(reportedRefusals(objectSaying(refusals, {})), [])
  assert.deepEqual(reportedRefusals(objectSaying([])), [])
  const ofNodes = new RefusalsOfNodes()
  assert.deepEqual(
    [ofNodes.read('n', objectSaying(refusals)), ofNodes.read('n', objectSaying(refusals))],
    [true, false],
  )
  assert.equal(ofNodes.list().length, 2)
  assert.deepEqual([ofNodes.read('n', undefined), ofNodes.list()], [true, []])
})
