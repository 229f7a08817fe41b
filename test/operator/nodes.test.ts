/** The objects of nodes that the operator makes, whatever family of configuration there is. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeReportKey } from '../../src/k8s/dialects/node-report.ts'
import type { RawObject } from '../../src/k8s/source.ts'
import { World } from './world.ts'

const nodeKey = (name: string) => ({ apiVersion: 'v1', kind: 'Node', namespace: '', name })
const node = (name: string, labels: object = {}): RawObject => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name, labels },
  status: { addresses: [{ type: 'InternalIP', address: `192.0.2.${name.slice(-1)}` }] },
})
const key = (kind: string, apiVersion: string, name = 'rack', namespace = '') => ({ apiVersion, kind, namespace, name })

const policyKey = key('CiliumBGPPeeringPolicy', 'cilium.io/v2alpha1')
const policy = (name = 'rack', created = '2024-01-01T00:00:00Z'): RawObject => ({
  ...{ apiVersion: policyKey.apiVersion, kind: policyKey.kind },
  metadata: { name, creationTimestamp: created },
  spec: {
    nodeSelector: { matchLabels: { rack: 'a' } },
    virtualRouters: [
      {
        localASN: 65001,
        neighbors: [{ peerAddress: '192.0.2.100/32', peerASN: 65000, authSecretRef: 'a-key-that-is-read-elsewhere' }],
      },
    ],
  },
})
const clusterKey = key('CiliumBGPClusterConfig', 'cilium.io/v2')
const clusterConfig: RawObject = {
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumBGPClusterConfig',
  metadata: { name: 'rack' },
  spec: {
    bgpInstances: [
      {
        name: 'tor',
        localASN: 65002,
        peers: [
          { name: 'left', peerASN: 65000, peerAddress: '192.0.2.101' },
          {
            name: 'gate',
            peerASN: 65000,
            autoDiscovery: { mode: 'DefaultGateway', defaultGateway: { addressFamily: 'ipv4' } },
          },
        ],
      },
    ],
  },
}
const peerKey = key('BGPPeer', 'metallb.io/v1beta2', 'tor', 'metallb-system')
const bgpPeer: RawObject = {
  apiVersion: 'metallb.io/v1beta2',
  kind: 'BGPPeer',
  metadata: { name: 'tor', namespace: 'metallb-system' },
  spec: { myASN: 65003, peerASN: 65000, peerAddress: '192.0.2.102' },
}

const specOf = (world: World, name: string): unknown => world.cluster.objectOf(nodeReportKey(name))?.['spec']

test('each family of configuration makes the object of each node that it applies to', async () => {
  for (const [at, object, instance] of [
    [
      policyKey,
      policy(),
      {
        name: '65001',
        localASN: 65001,
        routerID: '192.0.2.1',
        peers: [{ name: '192.0.2.100', peerAddress: '192.0.2.100', peerASN: 65000 }],
      },
    ],
    [
      clusterKey,
      clusterConfig,
      {
        name: 'tor',
        localASN: 65002,
        routerID: '192.0.2.1',
        peers: [{ name: 'left', peerAddress: '192.0.2.101', peerASN: 65000 }],
      },
    ],
    [
      peerKey,
      bgpPeer,
      {
        name: '65003',
        localASN: 65003,
        routerID: '192.0.2.1',
        peers: [{ name: 'tor', peerAddress: '192.0.2.102', peerASN: 65000 }],
      },
    ],
  ] as const) {
    const world = new World()
    world.cluster.put(nodeKey('node1'), node('node1', { rack: 'a' }))
    world.cluster.put(at, object)
    await world.lead()
    await world.settle()
    assert.deepEqual(specOf(world, 'node1'), { bgpInstances: [instance] }, at.kind)
  }
})

test('the object follows the configuration and the Node, and goes with them', async () => {
  const world = new World()
  for (const [name, rack] of [
    ['node1', 'a'],
    ['node2', 'b'],
  ] as const)
    world.cluster.put(nodeKey(name), node(name, { rack }))
  world.cluster.put(policyKey, policy())
  await world.lead()
  await world.settle()
  assert.deepEqual([specOf(world, 'node1') !== undefined, specOf(world, 'node2')], [true, undefined])
  world.cluster.put(nodeKey('node2'), node('node2', { rack: 'a' }))
  await world.settle()
  assert.notEqual(specOf(world, 'node2'), undefined)
  world.cluster.put(clusterKey, clusterConfig)
  await world.settle()
  const { bgpInstances } = specOf(world, 'node2') as { readonly bgpInstances: readonly { readonly name: string }[] }
  assert.deepEqual(
    bgpInstances.map(({ name }) => name),
    ['65001', 'tor'],
  )
  world.cluster.remove(nodeKey('node2'))
  await world.settle()
  assert.equal(specOf(world, 'node2'), undefined)
  world.cluster.remove(clusterKey)
  world.cluster.remove(policyKey)
  await world.pass(1_000)
  assert.equal(specOf(world, 'node1'), undefined)
})

test('what an earlier leader made stays as it is while it is right, and goes where it is not', async () => {
  const world = new World()
  world.cluster.put(nodeKey('node1'), node('node1', { rack: 'a' }))
  world.cluster.put(policyKey, policy())
  const first = await world.lead()
  await world.settle()
  first.isLeader = false
  const labels = { 'app.kubernetes.io/managed-by': 'herald' }
  world.cluster.put(nodeReportKey('gone'), { metadata: { name: 'gone', labels }, spec: {} })
  const version = (): unknown =>
    Reflect.get(world.cluster.objectOf(nodeReportKey('node1'))?.['metadata'] ?? {}, 'resourceVersion')
  const before = version()
  await world.lead()
  await world.settle()
  assert.equal(version(), before)
  assert.equal(world.cluster.objectOf(nodeReportKey('gone')), undefined)
})

test('an object of another operator is neither changed nor deleted, and it is said once', async () => {
  const world = new World()
  world.cluster.put(nodeKey('node1'), node('node1', { rack: 'a' }))
  const ownerReferences = [{ apiVersion: 'cilium.io/v2', kind: 'CiliumBGPClusterConfig', name: 'x', uid: 'y' }]
  const theirs = { metadata: { name: 'node1', ownerReferences }, spec: { bgpInstances: [{ name: 'theirs' }] } }
  world.cluster.put(nodeReportKey('node1'), theirs)
  world.cluster.put(policyKey, policy())
  const { log } = await world.lead()
  await world.settle()
  world.cluster.remove(policyKey)
  await world.pass(2_000)
  assert.deepEqual(specOf(world, 'node1'), theirs.spec)
  assert.equal(log.lines.filter((line) => line.includes('another operator made this object')).length, 1)
})

test('a kind that is not installed is said once, looked for seldom, and used when it comes', async () => {
  const world = new World()
  let isInstalled = false
  let asked = 0
  world.objects = world.cluster.objectSink(() => {
    asked++
    return isInstalled
  })
  for (const name of ['node1', 'node2']) world.cluster.put(nodeKey(name), node(name, { rack: 'a' }))
  world.cluster.put(policyKey, policy())
  const { log } = await world.lead()
  await world.pass(300_000)
  assert.ok(asked <= 30, `${asked} times in five minutes`)
  assert.equal(log.lines.filter((line) => line.includes('is not installed')).length, 1)
  isInstalled = true
  await world.pass(125_000)
  for (const name of ['node1', 'node2']) assert.notEqual(specOf(world, name), undefined, name)
})

test('nothing is taken away before every node was looked at', async () => {
  const world = new World()
  for (let i = 0; i < 200; i++) world.cluster.put(nodeKey(`node${i}`), node(`node${i}`, { rack: 'a' }))
  world.cluster.put(policyKey, policy())
  const first = await world.lead()
  await world.settle()
  first.isLeader = false
  const versionOf = (name: string): unknown =>
    Reflect.get(world.cluster.objectOf(nodeReportKey(name))?.['metadata'] ?? {}, 'uid')
  const before = Array.from({ length: 200 }, (_, i) => versionOf(`node${i}`))
  assert.ok(before.every((uid) => uid !== undefined))
  await world.lead()
  await world.settle()
  assert.deepEqual(
    Array.from({ length: 200 }, (_, i) => versionOf(`node${i}`)),
    before,
  )
})
