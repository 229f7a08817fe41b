/** What configuration objects say of themselves: conditions and events, of whatever family they are. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ObjectKey, RawObject } from '../../src/k8s/source.ts'
import type { StatusCondition, StatusWrite } from '../../src/k8s/status.ts'
import { pool, poolKey, serviceKey, World } from './world.ts'

const keyOf = (apiVersion: string, kind: string, name: string, namespace = ''): ObjectKey => ({
  apiVersion,
  kind,
  namespace,
  name,
})
const cilium = (kind: string, name = 'a'): ObjectKey => keyOf('cilium.io/v2', kind, name)
const metallb = (kind: string, name = 'a', version = 'v1beta1'): ObjectKey =>
  keyOf(`metallb.io/${version}`, kind, name, 'metallb-system')
const nodeKey = (name: string): ObjectKey => keyOf('v1', 'Node', name)

const policyKey = keyOf('cilium.io/v2alpha1', 'CiliumBGPPeeringPolicy', 'a')
const policySpec = (peerAddress = '192.0.2.1/32'): RawObject => ({
  nodeSelector: {},
  virtualRouters: [{ localASN: 65001, serviceSelector: {}, neighbors: [{ peerAddress, peerASN: 65000 }] }],
})
const clusterSpec = (peerConfig: string, nodeSelector: RawObject = {}): RawObject => ({
  nodeSelector,
  bgpInstances: [
    {
      name: 'i',
      localASN: 65001,
      peers: [{ name: 'p', peerAddress: '192.0.2.2', peerASN: 65000, peerConfigRef: { name: peerConfig } }],
    },
  ],
})

class ConfiguredWorld extends World {
  apply({ apiVersion, kind, namespace, name }: ObjectKey, spec: RawObject, more: RawObject = {}): void {
    const metadata = { name, ...(namespace === '' ? {} : { namespace }), creationTimestamp: '2024-01-01T00:00:00Z' }
    const key = { apiVersion, kind, namespace, name }
    this.cluster.put(key, { apiVersion, kind, metadata: { ...metadata, ...more }, spec })
  }

  node(name: string, labels: Readonly<Record<string, string>> = {}): void {
    this.cluster.put(nodeKey(name), { apiVersion: 'v1', kind: 'Node', metadata: { name, labels }, status: {} })
  }

  conditionsOf(key: ObjectKey): readonly StatusCondition[] {
    const { conditions = [] }: { conditions?: readonly StatusCondition[] } = Object(
      this.cluster.objectOf(key)?.['status'],
    )
    return conditions
  }

  saysOf(key: ObjectKey, type = 'herald.dev/Accepted'): string {
    const found = this.conditionsOf(key).find((each) => each.type === type)
    return found === undefined ? '' : `${found.status} ${found.reason}: ${found.message}`
  }

  eventsOf({ kind, name }: ObjectKey): readonly string[] {
    return this.cluster.events
      .filter(({ regarding }) => regarding.kind === kind && regarding.name === name)
      .map(({ reason, note }) => `${reason} ${note}`)
  }

  statusWrites(): readonly StatusWrite[] {
    return this.cluster.written.filter(({ target }) => target.kind !== 'Service')
  }
}

/** Of each kind a version that no schema refuses and nobody can read, and a good one. */
const rows: readonly (readonly [ObjectKey, RawObject, RawObject, RegExp])[] = [
  [policyKey, policySpec('192.0.2.1/24'), policySpec(), /^False \w+: .*spec\.virtualRouters\[0\]\.neighbors\[0\]/],
  [
    cilium('CiliumBGPClusterConfig'),
    clusterSpec('b', { matchExpressions: [{ key: 'a', operator: 'In' }] }),
    clusterSpec('b', {}),
    /^False \w+: spec\.nodeSelector/,
  ],
  [cilium('CiliumBGPPeerConfig', 'b'), { timers: { holdTimeSeconds: 2 } }, {}, /^False \w+: spec\.timers/],
  [
    cilium('CiliumBGPAdvertisement'),
    { advertisements: [{ advertisementType: 'Service', service: { addresses: ['Nope'] }, selector: {} }] },
    { advertisements: [{ advertisementType: 'PodCIDR' }] },
    /^False \w+: spec\.advertisements\[0\]/,
  ],
  [
    cilium('CiliumBGPNodeConfigOverride', 'node1'),
    { bgpInstances: [{ name: 'i', routerID: 'no address' }] },
    { bgpInstances: [{ name: 'i', routerID: '192.0.2.9' }] },
    /^False \w+: spec\.bgpInstances\[0\]/,
  ],
  [poolKey('blue'), { blocks: [{ cidr: 'nonsense' }] }, { blocks: [{ cidr: '203.0.113.0/28' }] }, /spec\.blocks\[0\]/],
  [metallb('IPAddressPool'), { addresses: ['nonsense'] }, { addresses: ['198.51.100.0/28'] }, /spec\.addresses\[0\]/],
  [
    metallb('BGPPeer', 'a', 'v1beta2'),
    { myASN: 65001, peerASN: 65000, peerAddress: 'tor' },
    { myASN: 65001, peerASN: 65000, peerAddress: '192.0.2.7' },
    /^False \w+: spec\.peerAddress/,
  ],
  [metallb('BGPAdvertisement'), { aggregationLength: 40 }, {}, /^False \w+: spec\.aggregationLength/],
  [
    metallb('Community'),
    { communities: [{ name: 'x', value: 'nonsense' }] },
    { communities: [{ name: 'x', value: '65000:1' }] },
    /^False \w+: spec\.communities\[0\]/,
  ],
]

for (const [key, broken, good, says] of rows)
  test(`an object of ${key.kind} that the server took and nobody can read says so itself, and mending it is seen`, async () => {
    const world = new ConfiguredWorld()
    world.node('node1')
    for (const [each, , fine] of rows) world.apply(each, each === key ? broken : fine)
    await world.lead()
    await world.pass(3_000)
    assert.match(world.saysOf(key), says)
    const [told = ''] = world.eventsOf(key)
    const [, reason = '', message = ''] = /^False (\w+): (.*)$/.exec(world.saysOf(key)) ?? []
    assert.ok(told.startsWith(reason) && message.includes(told.slice(reason.length + 1)), `${told}\n${message}`)
    assert.match(message, /\. [A-Z].*\.$/, 'it names a remedy')
    // Nobody else is called broken for it.
    const others = rows.filter(([each]) => each !== key && world.saysOf(each).startsWith('False'))
    assert.deepEqual(
      others.map(([each]) => world.saysOf(each)).filter((text) => !/NoPeerConfig|UnknownCommunity/.test(text)),
      [],
    )
    world.apply(key, good)
    await world.pass(3_000)
    assert.match(world.saysOf(key), /^True Accepted/)
    const [accepted] = world.conditionsOf(key).filter(({ type }) => type === 'herald.dev/Accepted')
    const { generation } = Object(world.cluster.objectOf(key)?.['metadata'])
    assert.ok(generation >= 2)
    assert.equal(accepted?.observedGeneration, generation)
  })

test('what is half honoured is accepted with warnings; a kind that has no effect here is not accepted', async () => {
  const world = new ConfiguredWorld()
  world.node('node1')
  world.apply(policyKey, policySpec(), { annotations: { 'herald.dev/neighbours': '{}' } })
  world.apply(metallb('L2Advertisement'), {})
  world.apply(metallb('BFDProfile'), { receiveInterval: 300 })
  const peerKey = metallb('BGPPeer', 'tor', 'v1beta2')
  world.apply(peerKey, { myASN: 65001, peerASN: 65000, peerAddress: '192.0.2.7', bfdProfile: 'a' })
  const { operator } = await world.lead()
  await world.pass(3_000)
  assert.match(world.saysOf(policyKey), /^True AcceptedWithWarnings: .*neighbours/)
  assert.match(world.saysOf(metallb('BFDProfile')), /^True Accepted/)
  assert.match(world.saysOf(peerKey), /^True Accepted\b/)
  assert.deepEqual([operator.figures.notAccepted, operator.figures.broken], [1, 0])
  // Nobody may believe that echo packets are sent.
  world.apply(metallb('BFDProfile'), { receiveInterval: 300, echoMode: true })
  await world.pass(3_000)
  assert.match(world.saysOf(metallb('BFDProfile')), /^True AcceptedWithWarnings: spec\.echoMode: no echo packets/)
  world.apply(metallb('BFDProfile'), { receiveInterval: 1 })
  await world.pass(3_000)
  assert.match(world.saysOf(metallb('BFDProfile')), /^False \w+: spec\.receiveInterval/)
  assert.deepEqual([operator.figures.notAccepted, operator.figures.broken], [2, 1])
  assert.match(world.saysOf(metallb('L2Advertisement')), /^False NotServed: .*BGPAdvertisement/)
  assert.equal(world.eventsOf(metallb('L2Advertisement')).length, 1)
})

test('a CiliumBGPClusterConfig says what Cilium says of it, with True for what is wrong', async () => {
  const world = new ConfiguredWorld()
  const [rack, spare] = [cilium('CiliumBGPClusterConfig', 'rack'), cilium('CiliumBGPClusterConfig', 'spare')]
  world.apply(rack, clusterSpec('none', { matchLabels: { rack: 'a' } }))
  world.apply(spare, clusterSpec('there', {}), { creationTimestamp: '2024-06-01T00:00:00Z' })
  world.apply(cilium('CiliumBGPPeerConfig', 'there'), {})
  await world.lead()
  await world.pass(3_000)
  const says = (key: ObjectKey): readonly string[] =>
    ['NoMatchingNode', 'MissingPeerConfigs', 'ConflictingClusterConfig'].map((type) =>
      world.saysOf(key, `cilium.io/${type}`),
    )
  const fine = ['False NoMatchingNode: ', 'False MissingPeerConfigs: ', 'False ConflictingClusterConfigs: ']
  const noNode = 'True NoMatchingNode: No node matches spec.nodeSelector'
  assert.deepEqual(says(rack), [
    noNode,
    'True MissingPeerConfigs: Referenced CiliumBGPPeerConfig(s) are missing: [none]',
    fine[2],
  ])
  assert.deepEqual(says(spare), [noNode, fine[1], fine[2]])
  world.node('node1', { rack: 'a' })
  world.node('node2', { rack: 'b' })
  world.apply(cilium('CiliumBGPPeerConfig', 'none'), {})
  await world.pass(3_000)
  assert.deepEqual(says(rack), fine)
  assert.deepEqual(says(spare), [
    fine[0],
    fine[1],
    'True ConflictingClusterConfigs: Selecting the same node(s) with ClusterConfig(s): [rack]',
  ])
  assert.match(world.saysOf(spare), /^False PolicyConflict: .*node node1; .*exclude each other/)
  world.cluster.remove(rack)
  await world.pass(3_000)
  assert.deepEqual(says(spare), fine)
  assert.match(world.saysOf(spare), /^True Accepted/)
})

/** What an agent says is wrong on its node. */
function report(world: ConfiguredWorld, node: string, message: string): void {
  const time = { lastTransitionTime: '2024-01-01T00:00:00Z', reason: 'BGPReconcileError' }
  const conditions = [
    { type: 'cilium.io/BGPReconcileError', status: message === '' ? 'False' : 'True', message, ...time },
  ]
  world.cluster.writeStatus(cilium('CiliumBGPNodeConfig', node), { bgpInstances: [], conditions }, 'herald-agent')
}
const lacking = (kind: string, name: string, field: string, address: string): string =>
  `${kind}/${name} ${field}: there is no Secret kube-system/key; neighbor ${address}: it is left out`

test('a key that agents cannot have is told by whoever names it, and by the condition of Cilium', async () => {
  const world = new ConfiguredWorld()
  for (const name of ['node1', 'node2']) world.node(name)
  const [key, open] = [cilium('CiliumBGPPeerConfig', 'tor'), cilium('CiliumBGPPeerConfig', 'open')]
  const missing = 'cilium.io/MissingAuthSecret'
  world.apply(cilium('CiliumBGPClusterConfig', 'rack'), clusterSpec('tor'))
  world.apply(key, { authSecretRef: 'key' })
  world.apply(open, {})
  await world.lead()
  await world.pass(3_000)
  assert.match(world.saysOf(key, missing), /^Unknown MissingAuthSecret: No agent/)
  assert.equal(world.saysOf(open, missing), 'False MissingAuthSecret: ')
  for (const [node, address] of [
    ['node1', '192.0.2.1'],
    ['node2', '192.0.2.2'],
  ] as const)
    report(world, node, lacking('CiliumBGPPeerConfig', 'tor', 'spec.authSecretRef', address))
  await world.pass(3_000)
  assert.equal(world.saysOf(key, missing), 'True MissingAuthSecret: there is no Secret kube-system/key')
  assert.match(world.saysOf(key), /^False NoPassword: spec\.authSecretRef: there is no Secret kube-system\/key\. Write/)
  const told = world.eventsOf(key).filter((each) => each.startsWith('NoPassword'))
  assert.equal(told.length, 1, 'of two nodes that lack one key')
  assert.equal(world.saysOf(open, missing), 'False MissingAuthSecret: ')
  // While a single node lacks it, it is lacking.
  report(world, 'node1', '')
  await world.pass(3_000)
  assert.match(world.saysOf(key, missing), /^True /)
  report(world, 'node2', '')
  await world.pass(3_000)
  assert.equal(world.saysOf(key, missing), 'False MissingAuthSecret: ')
  assert.match(world.saysOf(key), /^True Accepted/)
})

test('the same is so for keys of policies and of MetalLB, and what agents say of other faults changes nothing', async () => {
  const world = new ConfiguredWorld()
  world.node('node1')
  const peerKey = metallb('BGPPeer', 'tor', 'v1beta2')
  world.apply(policyKey, policySpec())
  world.apply(peerKey, { myASN: 65001, peerASN: 65000, peerAddress: '192.0.2.7', passwordSecret: { name: 'key' } })
  await world.lead()
  await world.pass(3_000)
  const both = [
    lacking('CiliumBGPPeeringPolicy', 'a', 'spec.virtualRouters[0].neighbors[0].authSecretRef', '192.0.2.1'),
    lacking('BGPPeer/metallb-system', 'tor', 'spec.passwordSecret', '192.0.2.7'),
  ]
  report(world, 'node1', both.join('; '))
  await world.pass(3_000)
  assert.match(
    world.saysOf(policyKey),
    /^False NoPassword: spec\.virtualRouters\[0\]\.neighbors\[0\]\.authSecretRef: there/,
  )
  assert.match(world.saysOf(peerKey), /^False NoPassword: spec\.passwordSecret: there is no Secret/)
  report(world, 'node1', 'BGPPeer/metallb-system/tor spec.peerAddress: something else; and 3 more')
  await world.pass(3_000)
  for (const key of [policyKey, peerKey]) assert.match(world.saysOf(key), /^True Accepted/)
  // A node that goes takes its word with it, and so does an object that another operator made.
  report(world, 'node1', both.join('; '))
  await world.pass(3_000)
  world.cluster.remove(nodeKey('node1'))
  await world.pass(3_000)
  assert.match(world.saysOf(peerKey), /^True Accepted/)
})

test('one fault that a hundred nodes have is told once, and the same whoever leads', async () => {
  const world = new ConfiguredWorld()
  for (let i = 0; i < 100; i++) world.node(`node${i}`)
  world.apply(policyKey, policySpec())
  const young = { ...policyKey, name: 'young' }
  world.apply(young, policySpec(), { creationTimestamp: '2024-06-01T00:00:00Z' })
  const first = await world.lead()
  await world.pass(3_000)
  assert.match(world.saysOf(young), /^False PolicyConflict: .*node node0; .* The same is so elsewhere\.$/)
  assert.equal(world.eventsOf(young).length, 1)
  const before = world.statusWrites().length
  world.node('node999')
  first.isLeader = false
  await world.lead()
  await world.pass(3_000)
  assert.equal(world.statusWrites().length, before, 'neither a node more nor a new leader is anything new')
})

test('what others wrote stays, and what they own is neither taken nor tried over and over', async () => {
  const world = new ConfiguredWorld()
  world.node('node1')
  const key = cilium('CiliumBGPClusterConfig', 'rack')
  world.apply(key, clusterSpec('none'))
  const theirs = (type: string, status: string): RawObject => ({
    ...{ type, status, reason: 'Theirs', message: 'x', lastTransitionTime: '2024-01-01T00:00:00Z' },
  })
  const conditions = [theirs('example.com/Seen', 'True'), theirs('cilium.io/MissingPeerConfigs', 'False')]
  world.cluster.writeStatus(key, { conditions }, 'cilium-operator')
  await world.lead()
  await world.pass(3_000)
  assert.equal(world.saysOf(key, 'example.com/Seen'), 'True Theirs: x')
  assert.equal(world.saysOf(key, 'cilium.io/MissingPeerConfigs'), 'False Theirs: x')
  assert.match(world.saysOf(key, 'cilium.io/NoMatchingNode'), /^False/)
  assert.match(world.saysOf(key), /^False NoPeerConfig/)
  const writes = world.statusWrites().length
  let tried = 0
  world.cluster.fault = ({ target }) => {
    if (target.kind !== 'Service') tried++
    return undefined
  }
  await world.pass(600_000)
  assert.deepEqual([world.statusWrites().length, tried], [writes, 0])
  // Somebody who takes ours away gets it back, and theirs stays.
  world.cluster.writeStatus(key, { conditions }, 'cilium-operator')
  await world.pass(5_000)
  assert.match(world.saysOf(key), /^False NoPeerConfig/)
  assert.equal(world.saysOf(key, 'cilium.io/MissingPeerConfigs'), 'False Theirs: x')
})

test('a kind that takes no condition has events, and its counts all the same', async () => {
  const world = new ConfiguredWorld()
  const [peer, pools] = [metallb('BGPPeer', 'a', 'v1beta2'), metallb('IPAddressPool')]
  let tried = 0
  world.cluster.fault = ({ target, status }) => {
    if (target.kind === 'Service') return undefined
    tried++
    // As the server has it of a kind without a status, and of one whose schema has no such field.
    if (target.kind === 'BGPPeer') return { kind: 'gone' }
    return status['conditions'] === undefined
      ? undefined
      : { kind: 'undeclared', message: '.status.conditions: field not declared in schema' }
  }
  world.cluster.remove(poolKey('blue'))
  world.apply(peer, { myASN: 65001, peerASN: 65000, peerAddress: 'tor' })
  world.apply(pools, { addresses: ['198.51.100.0/28'], colour: 'green' })
  world.put('web')
  await world.lead()
  await world.pass(3_000)
  assert.match(world.eventsOf(peer).join(), /spec\.peerAddress/)
  assert.match(world.eventsOf(pools).join(), /colour/)
  assert.equal(Object(world.cluster.objectOf(pools)?.['status'])['assignedIPv4'], 1)
  const before = tried
  await world.pass(600_000)
  assert.equal(tried, before)
  world.put('web2')
  await world.pass(3_000)
  assert.equal(Object(world.cluster.objectOf(pools)?.['status'])['assignedIPv4'], 2)
  assert.equal(tried, before + 1, 'of the counts alone')
  world.apply(peer, { myASN: 65001, peerASN: 65000, peerAddress: 'other' })
  await world.pass(3_000)
  assert.equal(tried, before + 2, 'what is new is tried once')
})

test('heartbeats, Services and an idle hour write nothing into objects of the configuration', async () => {
  const world = new ConfiguredWorld()
  world.node('node1')
  for (const [key, , good] of rows) world.apply(key, good)
  await world.lead()
  await world.pass(3_000)
  assert.equal(world.statusWrites().length, rows.length)
  for (let i = 0; i < 20; i++) {
    world.cluster.put(nodeKey('node1'), {
      ...{ apiVersion: 'v1', kind: 'Node', metadata: { name: 'node1', labels: {} } },
      status: { conditions: [{ type: 'Ready', status: 'True', lastHeartbeatTime: `2024-01-01T00:00:${i + 10}Z` }] },
    })
    world.put('web', { annotations: { 'example.com/n': String(i) } })
    await world.pass(1_500)
  }
  const [counted, ...others] = world.statusWrites().slice(rows.length)
  assert.deepEqual([counted?.target.kind.endsWith('Pool'), others], [true, []], 'one pool gave one address')
  await world.pass(3_600_000)
  assert.equal(world.statusWrites().length, rows.length + 1)
})

test('before every node was looked at nothing is said, and what an earlier leader said stays', async () => {
  const world = new ConfiguredWorld()
  for (let i = 0; i < 300; i++) world.node(`node${i}`)
  world.apply(cilium('CiliumBGPClusterConfig', 'rack'), clusterSpec('none'))
  const first = await world.lead()
  await world.pass(3_000)
  const said = world.saysOf(cilium('CiliumBGPClusterConfig', 'rack'))
  assert.match(said, /^False NoPeerConfig/)
  first.isLeader = false
  const writes = world.statusWrites().length
  await world.lead()
  for (let i = 0; i < 10; i++) {
    await world.pass(500)
    assert.equal(world.saysOf(cilium('CiliumBGPClusterConfig', 'rack')), said)
  }
  assert.equal(world.statusWrites().length, writes)
})

test('an object that is deleted while it is judged, and one that is made anew, are told of by themselves', async () => {
  const world = new ConfiguredWorld()
  const key = poolKey('green')
  world.cluster.put(key, pool('green', ['nonsense']))
  await world.lead()
  await world.pass(500)
  world.cluster.remove(key)
  await world.pass(3_000)
  world.cluster.put(key, pool('green', ['192.0.2.0/28']))
  world.cluster.put(serviceKey('web'), { apiVersion: 'v1', kind: 'Service', metadata: { name: 'web' }, spec: {} })
  await world.pass(3_000)
  assert.match(world.saysOf(key), /^True Accepted/)
})
