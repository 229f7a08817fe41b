/** Which nodes no configuration is for: of each family, and what cannot be read leaves it open. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { foundOf } from '../../src/k8s/moving-cluster.ts'
import { unconfiguredNodes } from '../../src/k8s/plans-elsewhere.ts'

type Spec = Readonly<Record<string, unknown>>

const nodes = ['a', 'b', 'control'].map((name) =>
  foundOf({ apiVersion: 'v1', kind: 'Node', metadata: { name, labels: name === 'control' ? {} : { rack: name } } }),
)
const rack = (name: string): Spec => ({ matchLabels: { rack: name } })
const cilium = (kind: string, name: string, spec: Spec, version = 'v2'): Spec => ({
  apiVersion: `cilium.io/${version}`,
  kind,
  metadata: { name },
  spec,
})
const policy = (nodeSelector: unknown): Spec => {
  const virtualRouters = [{ localASN: 65001, neighbors: [{ peerAddress: '192.0.2.1/32', peerASN: 65000 }] }]
  return cilium('CiliumBGPPeeringPolicy', 'rack', { nodeSelector, virtualRouters }, 'v2alpha1')
}
const cluster = (nodeSelector: unknown): Spec =>
  cilium('CiliumBGPClusterConfig', 'rack', { nodeSelector, bgpInstances: [{ name: 'main', localASN: 65001 }] })
const peer = (...nodeSelectors: readonly Spec[]): Spec => ({
  apiVersion: 'metallb.io/v1beta2',
  kind: 'BGPPeer',
  metadata: { name: 'tor', namespace: 'metallb-system' },
  spec: { myASN: 65001, peerASN: 65000, peerAddress: '192.0.2.1', nodeSelectors },
})
const without = (...objects: readonly Spec[]): readonly string[] => [
  ...unconfiguredNodes(objects.map(foundOf), nodes).keys(),
]

test('without any configuration there is none for any node', () => {
  assert.deepEqual(without(), ['a', 'b', 'control'])
  for (const why of unconfiguredNodes([], nodes).values()) assert.notEqual(why, '')
})

for (const [family, made] of [
  ['a policy', policy],
  ['a cluster configuration', cluster],
] as const)
  test(`${family} is for the nodes that it selects, and without a selector for all of them or none`, () => {
    assert.deepEqual(without(made(rack('a'))), ['b', 'control'])
    assert.deepEqual(without(made({})), [])
    assert.deepEqual(without(made(rack('nowhere'))), ['a', 'b', 'control'])
  })

test('peers are for the nodes that any of their selectors selects, and without one for every node', () => {
  assert.deepEqual(without(peer(rack('a'), rack('b'))), ['control'])
  assert.deepEqual(without(peer()), [])
})

test('what one family leaves out another may have, and pools alone configure nobody', () => {
  const control = { matchExpressions: [{ key: 'rack', operator: 'DoesNotExist' }] }
  assert.deepEqual(without(policy(rack('a')), peer(control)), ['b'])
  const pool = cilium('CiliumLoadBalancerIPPool', 'blue', { blocks: [{ cidr: '203.0.113.0/28' }] })
  assert.deepEqual(without(pool), ['a', 'b', 'control'])
})

test('an object that cannot be read might be for any node: nobody is said to be without', () => {
  assert.deepEqual(without(policy({ matchExpressions: [{ key: 'rack', operator: 'Inn' }] })), [])
  assert.deepEqual(without(policy(rack('a')), { ...cluster({}), spec: 7 }), [])
})
