/** MetalLB's ConfigurationStates: whether the configuration is understood, by the operator and by each node. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { stateStatus } from '../../src/k8s/dialects/configuration-state.ts'
import { nodeReportKey } from '../../src/k8s/dialects/node-report.ts'
import type { ObjectKey, RawObject } from '../../src/k8s/source.ts'
import { poolKey, pool, World } from './world.ts'

const metallb = 'metallb.io/v1beta1'
const namespace = 'herald-system'
const keyOf = (kind: string, name: string, apiVersion = metallb, within = namespace): ObjectKey => ({
  apiVersion,
  kind,
  namespace: within,
  name,
})
const stateKey = (name: string): ObjectKey => keyOf('ConfigurationState', name)
const nodeKey = (name: string): ObjectKey => keyOf('Node', name, 'v1', '')

function object({ apiVersion, kind, name, namespace: within }: ObjectKey, spec: RawObject, metadata = {}): RawObject {
  return { apiVersion, kind, metadata: { name, ...(within === '' ? {} : { namespace: within }), ...metadata }, spec }
}

class StatesWorld extends World {
  override readonly statesIn = namespace

  constructor(nodes: readonly string[] = ['node1', 'node2']) {
    super()
    for (const name of nodes) this.node(name)
  }

  node(name: string, labels: RawObject = {}): void {
    const addresses = [{ type: 'InternalIP', address: `192.0.2.${name.slice(-1)}` }]
    this.cluster.put(nodeKey(name), { ...object(nodeKey(name), {}, { labels }), status: { addresses } })
  }

  peer(name: string, spec: RawObject = {}): void {
    const key = keyOf('BGPPeer', name, 'metallb.io/v1beta2')
    const all = { myASN: 65001, peerASN: 65000, peerAddress: `192.0.2.10${name.slice(-1)}`, ...spec }
    this.cluster.put(key, object(key, all))
  }

  metadata(name: string): RawObject {
    return (this.cluster.objectOf(stateKey(name))?.['metadata'] as RawObject | undefined) ?? {}
  }

  /** `Invalid: why`, `Valid: `; empty where there is no such object. */
  state(name: string): string {
    const { result, errorSummary = '' } = this.#status(name)
    return result === undefined ? '' : `${String(result)}: ${String(errorSummary)}`
  }

  /** `type status reason time: message` */
  saidBy(name: string): string {
    const [only, ...more] = (this.#status(name)['conditions'] ?? []) as readonly RawObject[]
    assert.deepEqual(more, [])
    const { type, status, reason, message, lastTransitionTime } = only ?? {}
    return `${String(type)} ${String(status)} ${String(reason)} ${String(lastTransitionTime)}: ${String(message)}`
  }

  /** What an agent says of its node. */
  report(node: string, message: string): void {
    const time = { lastTransitionTime: '2024-01-01T00:00:00Z', reason: 'BGPReconcileError' }
    const status = message === '' ? 'False' : 'True'
    const conditions = [{ type: 'cilium.io/BGPReconcileError', status, message, ...time }]
    this.cluster.writeStatus(nodeReportKey(node), { bgpInstances: [], conditions }, 'herald-agent')
  }

  #status(name: string): RawObject {
    return (this.cluster.objectOf(stateKey(name))?.['status'] as RawObject | undefined) ?? {}
  }
}

test('the operator and each node have a state, named and labelled as those of MetalLB', async () => {
  const world = new StatesWorld()
  world.peer('tor1')
  await world.lead()
  await world.pass(2_000)
  const uid = Reflect.get(world.cluster.objectOf(nodeKey('node1'))?.['metadata'] ?? {}, 'uid')
  const { name, labels, ownerReferences } = world.metadata('speaker-node1')
  assert.deepEqual([name, world.metadata('controller')['ownerReferences']], ['speaker-node1', undefined])
  assert.deepEqual(ownerReferences, [{ apiVersion: 'v1', kind: 'Node', name: 'node1', uid }])
  assert.deepEqual(labels, {
    'app.kubernetes.io/managed-by': 'herald',
    'metallb.io/component-type': 'speaker',
    'metallb.io/node-name': 'node1',
  })
  assert.deepEqual(world.metadata('controller')['labels'], {
    'app.kubernetes.io/managed-by': 'herald',
    'metallb.io/component-type': 'controller',
  })
  for (const each of ['controller', 'speaker-node1', 'speaker-node2']) assert.equal(world.state(each), 'Valid: ')
  assert.match(world.saidBy('controller'), /^poolReconcilerValid True Reconciled \S+: $/)
  assert.match(world.saidBy('speaker-node1'), /^configReconcilerValid True Reconciled \S+: $/)
})

for (const [what, breakIt, missing, mend] of [
  [
    'community',
    (world: StatesWorld) => {
      const key = keyOf('BGPAdvertisement', 'all')
      world.cluster.put(key, object(key, { communities: ['mine'] }))
    },
    /^Invalid: BGPAdvertisement\/herald-system\/all spec\.communities\[0\]: .*mine/,
    (world: StatesWorld) => {
      const key = keyOf('Community', 'names')
      world.cluster.put(key, object(key, { communities: [{ name: 'mine', value: '65001:1' }] }))
    },
  ],
  [
    'BFD profile',
    (world: StatesWorld) => world.peer('tor1', { bfdProfile: 'fast' }),
    /^Invalid: BGPPeer\/herald-system\/tor1 spec\.bfdProfile: there is no BFDProfile fast /,
    (world: StatesWorld) => world.cluster.put(keyOf('BFDProfile', 'fast'), object(keyOf('BFDProfile', 'fast'), {})),
  ],
] as const)
  test(`a ${what} that is missing makes nodes invalid, and valid when it comes, but not the operator`, async () => {
    const world = new StatesWorld()
    world.peer('tor1')
    breakIt(world)
    await world.lead()
    await world.pass(2_000)
    for (const each of ['speaker-node1', 'speaker-node2']) assert.match(world.state(each), missing)
    assert.match(world.saidBy('speaker-node1'), /^configReconcilerValid False ConfigurationError \S+: BGP/)
    assert.equal(world.state('controller'), 'Valid: ')
    mend(world)
    await world.pass(2_000)
    for (const each of ['controller', 'speaker-node1', 'speaker-node2']) assert.equal(world.state(each), 'Valid: ')
  })

test('of several errors the rest is said when one is mended, and the time of the state stays', async () => {
  const world = new StatesWorld(['node1'])
  for (const name of ['tor1', 'tor2']) world.peer(name, { peerAddress: 'nonsense' })
  await world.lead()
  await world.pass(2_000)
  assert.match(world.state('speaker-node1'), /^Invalid: BGPPeer\/herald-system\/tor1 .*; BGPPeer\/herald-system\/tor2 /)
  const timeOf = (): string | undefined => world.saidBy('speaker-node1').split(' ')[3]
  const before = timeOf()
  world.peer('tor1')
  await world.pass(2_000)
  assert.match(world.state('speaker-node1'), /^Invalid: BGPPeer\/herald-system\/tor2 [^;]*$/)
  assert.equal(timeOf(), before)
  world.peer('tor2')
  await world.pass(2_000)
  assert.equal(world.state('speaker-node1'), 'Valid: ')
  assert.notEqual(timeOf(), before)
})

test('a broken pool makes the operator invalid', async () => {
  const world = new StatesWorld(['node1'])
  const key = keyOf('IPAddressPool', 'red')
  world.cluster.put(key, object(key, { addresses: ['nonsense'] }))
  world.cluster.put(poolKey('blue'), pool('blue', ['203.0.113.0/28']))
  await world.lead()
  await world.pass(2_000)
  for (const each of ['controller', 'speaker-node1'])
    assert.match(world.state(each), /^Invalid: IPAddressPool\/herald-system\/red spec\.addresses\[0\]: /)
})

test('what labels of a node make of the configuration is said of that node alone', async () => {
  const world = new StatesWorld()
  const policy = (name: string, rack: string): void => {
    const key = keyOf('CiliumBGPPeeringPolicy', name, 'cilium.io/v2alpha1', '')
    const neighbors = [{ peerAddress: '192.0.2.100/32', peerASN: 65000 }]
    const spec = { nodeSelector: { matchLabels: { [rack]: 'a' } }, virtualRouters: [{ localASN: 65001, neighbors }] }
    world.cluster.put(key, object(key, spec, { creationTimestamp: `2024-01-0${name.length}T00:00:00Z` }))
  }
  policy('one', 'rack')
  policy('three', 'row')
  for (const name of ['node1', 'node2']) world.node(name, { rack: 'a' })
  await world.lead()
  await world.pass(2_000)
  for (const each of ['speaker-node1', 'speaker-node2']) assert.equal(world.state(each), 'Valid: ')
  world.node('node2', { rack: 'a', row: 'a' })
  await world.pass(2_000)
  assert.equal(world.state('speaker-node1'), 'Valid: ')
  assert.match(world.state('speaker-node2'), /^Invalid: CiliumBGPPeeringPolicy\/three spec\.nodeSelector: /)
  world.node('node2', { rack: 'a' })
  await world.pass(2_000)
  assert.equal(world.state('speaker-node2'), 'Valid: ')
})

test('what an agent alone can know is in the state of its node, each thing once', async () => {
  const world = new StatesWorld()
  for (const name of ['tor1', 'tor2']) world.peer(name)
  world.peer('tor3', { peerAddress: 'nonsense' })
  await world.lead()
  await world.pass(2_000)
  const before = world.state('speaker-node2')
  const known = before.slice('Invalid: '.length)
  const secret = 'BGPPeer/herald-system/tor1 spec.passwordSecret: there is no Secret; nothing is dialled'
  world.report('node1', `${known}; Service/default/web spec.ports: nonsense; ${secret}; and 3 more`)
  await world.pass(2_000)
  assert.equal(world.state('speaker-node1'), `Invalid: ${secret}; ${known}`)
  assert.equal(world.state('speaker-node2'), before)
  world.report('node1', '')
  await world.pass(2_000)
  assert.equal(world.state('speaker-node1'), before)
})

test('without such a kind nothing is made; it is looked for seldom, and used when it comes', async () => {
  const world = new StatesWorld()
  let isInstalled = false
  const sink = world.cluster.objectSink((kind) => kind !== 'ConfigurationState' || isInstalled)
  let [looked, made] = [0, 0]
  world.objects = {
    ...sink,
    list: (kind) => {
      looked++
      return sink.list(kind)
    },
    create: (resource, each) => {
      if (resource === 'configurationstates') made++
      return sink.create(resource, each)
    },
  }
  await world.lead()
  await world.pass(300_000)
  assert.deepEqual([looked, made], [5, 0])
  isInstalled = true
  await world.pass(61_000)
  assert.equal(made, 3)
  for (const each of ['controller', 'speaker-node1', 'speaker-node2']) assert.equal(world.state(each), 'Valid: ')
})

test('another leader writes nothing anew, and times stay', async () => {
  const world = new StatesWorld()
  world.peer('tor1', { peerAddress: 'nonsense' })
  const first = await world.lead()
  await world.pass(2_000)
  first.isLeader = false
  await first.operator.stop()
  const names = ['controller', 'speaker-node1', 'speaker-node2']
  const before = names.map((name) => [world.metadata(name)['resourceVersion'], world.saidBy(name)])
  await world.pass(60_000)
  await world.lead()
  await world.pass(5_000)
  assert.match(world.state('speaker-node1'), /^Invalid: /)
  assert.deepEqual(
    names.map((name) => [world.metadata(name)['resourceVersion'], world.saidBy(name)]),
    before,
  )
})

test('who does not lead makes nothing', async () => {
  const world = new StatesWorld()
  const leading = world.lead()
  for (const each of world.running) each.isLeader = false
  const { operator } = await leading
  await world.pass(5_000)
  assert.equal(world.state('controller'), '')
  assert.equal(operator.figures.outcomes.configuration.written, 0)
})

test('a state that somebody deleted is there again within minutes, or at once with what it says next', async () => {
  const world = new StatesWorld()
  await world.lead()
  await world.pass(2_000)
  world.cluster.remove(stateKey('controller'))
  await world.pass(60_000)
  assert.equal(world.state('controller'), '')
  await world.pass(240_000)
  assert.equal(world.state('controller'), 'Valid: ')
  world.cluster.remove(stateKey('speaker-node1'))
  world.peer('tor1', { peerAddress: 'nonsense' })
  await world.pass(2_000)
  assert.match(world.state('speaker-node1'), /^Invalid: /)
})

test('a state that another program made is left alone, and it is said once', async () => {
  const world = new StatesWorld()
  const labels = { 'metallb.io/component-type': 'speaker' }
  const theirs = { ...object(stateKey('speaker-node1'), {}, { labels }), status: { result: 'Unknown' } }
  world.cluster.put(stateKey('speaker-node1'), theirs)
  const { log } = await world.lead()
  await world.pass(2_000)
  world.peer('tor1', { peerAddress: 'nonsense' })
  await world.pass(2_000)
  assert.equal(world.state('speaker-node1'), 'Unknown: ')
  assert.match(world.state('speaker-node2'), /^Invalid: /)
  assert.equal(log.lines.filter((line) => line.includes('of another program')).length, 1)
})

test('a state whose kind takes other fields is told once, and not written over and over', async () => {
  const world = new StatesWorld()
  let tried = 0
  world.cluster.fault = ({ target }) => {
    if (target.kind !== 'ConfigurationState') return undefined
    tried++
    return { kind: 'undeclared', message: '.status.result: field not declared in schema' }
  }
  const { log } = await world.lead()
  await world.pass(60_000)
  assert.equal(tried, 3)
  assert.equal(log.lines.filter((line) => line.includes('another kind of states')).length, 1)
})

test('of ten thousand errors a state is made of as many as it has room for, and says what all of them would', () => {
  const errors = Array.from({ length: 10_000 }, (_, index) => `BGPPeer/lb/tor${index} spec.peerAddress: no address`)
  let looks = 0
  const counted = new Proxy(errors, {
    get: (list, step, self) => {
      if (typeof step === 'string' && /^\d+$/.test(step)) looks++
      return Reflect.get(list, step, self)
    },
  })
  const now = '2026-01-01T00:00:00Z'
  const { errorSummary } = stateStatus('speaker', counted, {}, now)
  assert.ok(looks < 100, `${looks} looks`)
  const all = errors.join('; ')
  assert.equal(errorSummary, `${all.slice(0, 1021)}...`)
})

test('of a thousand broken peers each state says the same, the first of them by name', async () => {
  const world = new StatesWorld()
  for (let peer = 0; peer < 1_000; peer++) world.peer(`tor${(peer * 7) % 1_000}`, { peerAddress: 'nonsense' })
  await world.lead()
  await world.pass(2_000)
  const first = ['tor0', 'tor1', 'tor10', 'tor100', 'tor101', 'tor102']
  for (const node of ['speaker-node1', 'speaker-node2']) {
    const said = [...world.state(node).matchAll(/BGPPeer\/herald-system\/(tor\d+) /g)].map(([, name]) => name)
    assert.deepEqual(said.slice(0, first.length), first)
  }
})
