/**
 * An agent reads its own Node alone: what of the pools other nodes, pods and neighbors have, the operator tells it in
 * the object of its node. Whatever a status says, such an address is not announced.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DesiredDelta } from '../../src/desired/model.ts'
import { nodeReportKey } from '../../src/k8s/dialects/node-report.ts'
import type { ObjectKey, RawObject } from '../../src/k8s/source.ts'
import { createTranslator } from '../../src/k8s/translate/translator.ts'
import { pool, poolKey, service, serviceKey, World } from './world.ts'

const nodeKey = (name: string): ObjectKey => ({ apiVersion: 'v1', kind: 'Node', namespace: '', name })
const nodeObject = (name: string, addresses: readonly string[], podCIDR: string): RawObject => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name, labels: {} },
  spec: { podCIDR, podCIDRs: [podCIDR] },
  status: { addresses: addresses.map((address) => ({ type: 'InternalIP', address })) },
})
const policyKey: ObjectKey = {
  apiVersion: 'cilium.io/v2alpha1',
  kind: 'CiliumBGPPeeringPolicy',
  namespace: '',
  name: 'rack',
}
const policy: RawObject = {
  apiVersion: policyKey.apiVersion,
  kind: policyKey.kind,
  metadata: { name: 'rack' },
  spec: {
    virtualRouters: [
      {
        localASN: 65001,
        serviceSelector: { matchExpressions: [{ key: 'no', operator: 'DoesNotExist' }] },
        neighbors: [{ peerAddress: '203.0.113.9/32', peerASN: 65000 }],
      },
    ],
  },
}

function reserved(world: World, node: string): unknown {
  const { metadata } = world.cluster.objectOf(nodeReportKey(node)) ?? {}
  return (metadata as { readonly annotations?: Readonly<Record<string, string>> } | undefined)?.annotations?.[
    'herald.dev/reserved'
  ]
}

/** The agent of node a, which reads what its role lets it read. */
function agentOf(world: World, statuses: readonly string[]): { readonly flush: () => DesiredDelta } {
  const translator = createTranslator({
    nodeName: 'a',
    datapath: 'none',
    secretsNamespace: 'kube-system',
    isAllocatedElsewhere: true,
  })
  const read = (): void => {
    for (const key of [policyKey, poolKey('blue'), nodeKey('a'), nodeReportKey('a')]) {
      const object = world.cluster.objectOf(key)
      if (object !== undefined) translator.upsert(key, object, undefined)
    }
  }
  read()
  for (const ip of statuses) {
    const name = `s${ip.replaceAll('.', '-')}`
    const lying = { ...service(name), status: { loadBalancer: { ingress: [{ ip }] } } }
    translator.upsert(serviceKey(name), lying, undefined)
    const slice = {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name, namespace: 'default', labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports: [{ name: '', protocol: 'TCP', port: 80 }],
      endpoints: [{ addresses: ['10.1.0.7'], conditions: { ready: true }, nodeName: 'a' }],
    }
    const key = { apiVersion: slice.apiVersion, kind: slice.kind, namespace: 'default', name }
    translator.upsert(key, slice, undefined)
  }
  translator.synced()
  return {
    flush: () => {
      read()
      return translator.flush()
    },
  }
}

const routes = (delta: DesiredDelta): readonly string[] =>
  [...delta.services.values()].flatMap((each) => (each?.routes ?? []).map(({ prefix }) => prefix))

test('no agent announces an address of another node, of its pods, or of a neighbor of any node, whatever a status says', async () => {
  const world = new World()
  world.cluster.put(poolKey('blue'), pool('blue', ['203.0.113.0/24']))
  world.cluster.put(policyKey, policy)
  world.cluster.put(nodeKey('a'), nodeObject('a', ['192.0.2.1'], '10.1.0.0/24'))
  world.cluster.put(nodeKey('b'), nodeObject('b', ['203.0.113.7'], '203.0.113.64/28'))
  await world.lead()
  await world.pass(3_000)
  assert.equal(reserved(world, 'a'), '203.0.113.64/28, 203.0.113.7, 203.0.113.9')
  const agent = agentOf(world, ['203.0.113.7', '203.0.113.70', '203.0.113.9', '203.0.113.20'])
  const delta = agent.flush()
  assert.deepEqual(routes(delta), ['203.0.113.20/32'])
  const said = [...delta.services.values()].map((each) => each?.verdicts.find(({ step }) => step === 'allocated')?.code)
  assert.deepEqual(said, ['ReservedAddress', 'ReservedAddress', 'ReservedAddress', 'Allocated'])
  // A node that comes takes the route away from the address that is its own.
  world.cluster.put(nodeKey('c'), nodeObject('c', ['203.0.113.20'], '10.3.0.0/24'))
  await world.pass(3_000)
  const later = agent.flush()
  assert.deepEqual(later.services.get('default/s203-0-113-20')?.routes, [])
})

test('what something had once is free again when it is gone; and where pools are free of nodes nothing is written', async () => {
  const world = new World()
  world.cluster.put(policyKey, policy)
  world.cluster.put(poolKey('blue'), pool('blue', ['198.51.100.0/24']))
  world.cluster.put(nodeKey('a'), nodeObject('a', ['192.0.2.1'], '10.1.0.0/24'))
  await world.lead()
  await world.pass(3_000)
  assert.equal(reserved(world, 'a'), undefined)
  world.cluster.put(nodeKey('b'), nodeObject('b', ['198.51.100.7'], '10.2.0.0/24'))
  await world.pass(3_000)
  assert.equal(reserved(world, 'a'), '198.51.100.7')
  world.cluster.remove(nodeKey('b'))
  await world.pass(3_000)
  assert.equal(reserved(world, 'a'), '')
})
