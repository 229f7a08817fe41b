/** To whom a node announces its Services, told in objects, over a turned clock and an API server in memory. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryLog } from '../../src/agent/agent-log.ts'
import { Faults } from '../../src/agent/faults.ts'
import { ServiceStatuses } from '../../src/agent/service-statuses.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { MemoryCluster } from '../../src/k8s/memory-cluster.ts'
import type { RawObject } from '../../src/k8s/source.ts'
import { nodeFieldManager, type ObjectSink, type StatusOutcome } from '../../src/k8s/status.ts'

const namespace = 'herald-system'
const kind = {
  ...{ apiVersion: 'metallb.io/v1beta1', kind: 'ServiceBGPStatus' },
  ...{ resource: 'servicebgpstatuses', namespace },
}

class Cluster extends MemoryCluster {
  /** Of every node: `node service: peers`. */
  async told(): Promise<readonly string[]> {
    const listed = await this.objectSink().list(kind)
    assert.ok(listed.kind === 'listed')
    const texts = listed.objects.map(({ status }) => {
      const { node, serviceNamespace, serviceName, peers } = (status as RawObject | undefined) ?? {}
      return `${String(node)} ${String(serviceNamespace)}/${String(serviceName)}: ${String(peers)}`
    })
    return texts.sort()
  }

  async objects(): Promise<readonly RawObject[]> {
    const listed = await this.objectSink().list(kind)
    return listed.kind === 'listed' ? listed.objects : []
  }
}

class Node {
  readonly clock = new VirtualClock()
  readonly faults = new Faults(this.clock, new MemoryLog())
  /** Each Service that there is, with its neighbors. */
  readonly announced = new Map<string, readonly string[]>()
  readonly statuses: ServiceStatuses
  isInstalled = true
  lists = 0
  /** Answers in place of the server. */
  fault: ((service: string) => StatusOutcome | undefined) | undefined

  constructor(cluster: MemoryCluster, node = 'node1') {
    const sink = cluster.objectSink(() => this.isInstalled)
    const objects: Pick<ObjectSink, 'list' | 'create' | 'remove'> = {
      ...sink,
      list: (...asked) => {
        this.lists++
        return sink.list(...asked)
      },
      create: async (resource, object) => {
        const { labels } = object['metadata'] as { readonly labels: Readonly<Record<string, string>> }
        return this.fault?.(labels['metallb.io/service-name'] ?? '') ?? sink.create(resource, object)
      },
    }
    this.statuses = new ServiceStatuses({
      ...{ clock: this.clock, random: () => 0.5, faults: this.faults, node, namespace, objects },
      sink: cluster.sink(nodeFieldManager),
      services: () => this.announced.keys(),
      peersOf: (service) => this.announced.get(service) ?? [],
    })
    this.statuses.readNode(node, `uid of ${node}`)
  }

  set(service: string, ...peers: readonly string[]): void {
    this.announced.set(service, peers)
    this.statuses.touch([service])
  }

  end(service: string): void {
    this.announced.delete(service)
    this.statuses.touch([service])
  }

  async pass(ms: number): Promise<void> {
    for (let gone = 0; gone < ms; gone += 250) {
      this.clock.advance(250)
      for (let i = 0; i < 50; i++) await Promise.resolve()
    }
  }

  get fault0(): string {
    return this.faults.current.map(({ text }) => text).join()
  }
}

test('each node has an object for each Service that it announces, named and labelled as those of MetalLB', async () => {
  const cluster = new Cluster()
  const nodes = ['node1', 'node2'].map((name) => new Node(cluster, name))
  for (const node of nodes) {
    node.set('default/web', 'tor2', 'tor1')
    node.set('default/idle')
    node.statuses.settled()
    await node.pass(2_000)
  }
  assert.deepEqual(await cluster.told(), ['node1 default/web: tor1,tor2', 'node2 default/web: tor1,tor2'])
  const [first] = await cluster.objects()
  const { name, labels, ownerReferences } = Object(first?.['metadata']) as RawObject
  assert.match(String(name), /^bgp-[0-9a-f]{20}$/)
  assert.deepEqual(labels, {
    'app.kubernetes.io/managed-by': 'herald',
    'metallb.io/node': 'node1',
    'metallb.io/service-name': 'web',
    'metallb.io/service-namespace': 'default',
  })
  assert.deepEqual(ownerReferences, [{ apiVersion: 'v1', kind: 'Node', name: 'node1', uid: 'uid of node1' }])
})

test('a status follows its Service and the neighbors, and goes with them', async () => {
  const cluster = new Cluster()
  const node = new Node(cluster)
  node.statuses.settled()
  await node.pass(1_000)
  for (const name of ['a', 'b', 'c']) node.set(`default/${name}`, 'tor1')
  await node.pass(1_000)
  node.set('default/a', 'tor1', 'tor2')
  node.set('default/b')
  node.end('default/c')
  await node.pass(1_000)
  assert.deepEqual(await cluster.told(), ['node1 default/a: tor1,tor2'])
  // Neighbors that are others, and Services that went with the same change.
  node.announced.set('default/b', ['tor3'])
  node.announced.delete('default/a')
  node.statuses.touch()
  await node.pass(1_000)
  assert.deepEqual(await cluster.told(), ['node1 default/b: tor3'])
  assert.equal(node.fault0, '')
})

test('nothing is taken away before all Services were read, and then what an earlier process left', async () => {
  const cluster = new Cluster()
  const before = new Node(cluster)
  for (const name of ['gone', 'stays', 'other']) before.set(`default/${name}`, 'tor1')
  before.statuses.settled()
  await before.pass(1_000)
  before.statuses.stop()
  const neighbor = new Node(cluster, 'node2')
  neighbor.set('default/gone', 'tor1')
  neighbor.statuses.settled()
  await neighbor.pass(1_000)
  const versions = async (): Promise<unknown> =>
    (await cluster.objects()).flatMap(({ metadata }) => {
      const { labels, resourceVersion } = metadata as RawObject
      return Reflect.get(labels ?? {}, 'metallb.io/service-name') === 'stays' ? [resourceVersion] : []
    })
  const version = await versions()
  const after = new Node(cluster)
  after.set('default/stays', 'tor1')
  after.set('default/other', 'tor2')
  await after.pass(60_000)
  assert.equal((await cluster.objects()).length, 4)
  after.statuses.settled()
  await after.pass(2_000)
  const expected = ['node1 default/other: tor2', 'node1 default/stays: tor1', 'node2 default/gone: tor1']
  assert.deepEqual(await cluster.told(), expected)
  assert.deepEqual(await versions(), version)
})

test('without such a kind it is looked for seldom, said once, and used when it comes', async () => {
  const cluster = new Cluster()
  const node = new Node(cluster)
  node.isInstalled = false
  node.set('default/web', 'tor1')
  node.statuses.settled()
  await node.pass(300_000)
  assert.ok(node.lists <= 6, `${node.lists} times`)
  assert.match(node.fault0, /no kind ServiceBGPStatus/)
  node.isInstalled = true
  await node.pass(61_000)
  assert.deepEqual(await cluster.told(), ['node1 default/web: tor1'])
  assert.equal(node.fault0, '')
})

test('a Service whose status is refused keeps no other from its own, and is tried again', async () => {
  const cluster = new Cluster()
  const node = new Node(cluster)
  for (const name of ['bad', 'good', 'fine']) node.set(`default/${name}`, 'tor1')
  node.fault = (service) => (service === 'bad' ? { kind: 'refused', message: 'forbidden' } : undefined)
  node.statuses.settled()
  await node.pass(1_000)
  assert.deepEqual(await cluster.told(), ['node1 default/fine: tor1', 'node1 default/good: tor1'])
  assert.match(node.fault0, /forbidden/)
  node.fault = undefined
  await node.pass(5_000)
  assert.equal((await cluster.told()).length, 3)
  assert.equal(node.fault0, '')
})

test('a server that refuses all of them, or does not answer, is asked seldom', async () => {
  for (const answer of [
    { kind: 'refused', message: 'forbidden' },
    { kind: 'failed', message: 'no answer' },
  ] as const) {
    const node = new Node(new Cluster())
    let asked = 0
    for (let i = 0; i < 500; i++) node.set(`default/web${i}`, 'tor1')
    node.fault = () => {
      asked++
      return answer
    }
    node.statuses.settled()
    await node.pass(120_000)
    assert.ok(asked > 1 && asked <= 160, `${asked} times`)
  }
})

test('what somebody deleted or labelled is read anew when its Service changes', async () => {
  const cluster = new Cluster()
  const node = new Node(cluster)
  node.statuses.settled()
  await node.pass(1_000)
  for (const name of ['a', 'b']) node.set(`default/${name}`, 'tor1')
  await node.pass(1_000)
  const [first, second] = await cluster.objects()
  const keyOf = (object: RawObject | undefined) => ({
    ...kind,
    name: String(Reflect.get(Object(object?.['metadata']), 'name')),
  })
  cluster.remove(keyOf(first))
  cluster.put(keyOf(second), { ...second, spec: { touched: true } })
  for (const name of ['a', 'b']) node.set(`default/${name}`, 'tor2')
  await node.pass(10_000)
  assert.deepEqual(await cluster.told(), ['node1 default/a: tor2', 'node1 default/b: tor2'])
})

test('a Node that is made anew under its name has objects that are its own', async () => {
  const cluster = new Cluster()
  const node = new Node(cluster)
  node.set('default/web', 'tor1')
  node.statuses.settled()
  await node.pass(1_000)
  node.statuses.readNode('node2', 'another')
  node.statuses.readNode('node1', 'the next')
  await node.pass(1_000)
  const owners = (await cluster.objects()).map(
    ({ metadata }) => Reflect.get(Object(metadata), 'ownerReferences')[0].uid,
  )
  assert.deepEqual(owners, ['the next'])
  assert.deepEqual(await cluster.told(), ['node1 default/web: tor1'])
})

test('a name of a node that is no label has statuses all the same, and they stay apart', async () => {
  const cluster = new Cluster()
  const long = (last: string): string => `${'node.'.repeat(20)}${last}`
  for (const last of ['one', 'two', 'one']) {
    const node = new Node(cluster, long(last))
    node.set('default/web', `tor of ${last}`)
    node.statuses.settled()
    await node.pass(2_000)
    node.statuses.stop()
  }
  assert.deepEqual(await cluster.told(), [
    `${long('one')} default/web: tor of one`,
    `${long('two')} default/web: tor of two`,
  ])
})
