/** CiliumBGPPeeringPolicy -> NodePlan: who is a neighbor, and what each one hears, in words of no dialect. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { planKey, type NodePlan } from '../../src/k8s/dialects/node-plan.ts'
import { planKinds, planNode, rivalKinds, servedClasses } from '../../src/k8s/dialects/table.ts'
import { parseNeighborAnnotation, type NeighborAnnotation } from '../../src/k8s/kinds/neighbor-annotation.ts'
import { ObjectStore } from '../../src/k8s/translate/store.ts'
import { readDocuments } from '../../src/k8s/documents.ts'
import { policyWith, smallestPolicy } from './manifests.ts'

const answerOf = (
  text: string,
  labels: Readonly<Record<string, string>> = {},
  neighborKeys: NeighborAnnotation = [],
) => {
  const store = new ObjectStore()
  for (const { objects } of readDocuments('test.yaml', text))
    for (const { key, object, origin } of objects) store.upsert(key, object, origin)
  return planNode(store.objects, { name: 'n1', labels, neighborKeys, isStandIn: false }, { secretsNamespace: 'keys' })
}
const linux = { 'kubernetes.io/os': 'linux' }
const planOf = (text: string, labels = linux): NodePlan => {
  const { plan } = answerOf(text, labels)
  assert.ok(plan)
  return plan
}

test('a policy is a plan of its neighbors, each with its place in the policy', () => {
  const plan = planOf(
    policyWith(
      '{peerAddress: 192.0.2.1/32, peerASN: 65000, authSecretRef: tor, gracefulRestart: {enabled: true}}',
      '{peerAddress: "2001:DB8::1/128", peerASN: 0, families: [{afi: ipv6, safi: unicast}]}',
    ),
  )
  assert.deepEqual(plan.names, ['policy bgp-peering'])
  assert.deepEqual(
    plan.neighbors.map((one) => planKey(one)),
    ['65001/192.0.2.1', '65001/2001:db8::1'],
  )
  const [first, second] = plan.neighbors
  assert.deepEqual(first?.secret, { id: 'keys/tor', field: 'authSecretRef' })
  assert.deepEqual(first?.gracefulRestart, { restartTimeSec: 120 })
  assert.deepEqual(first?.path, ['spec', 'virtualRouters', 0, 'neighbors', 0])
  assert.equal(first?.from.key.name, 'bgp-peering')
  assert.deepEqual([second?.families, second?.secret, second?.peerAsn], [['ipv6-unicast'], undefined, 0])
})

test('what is advertised is by family and type; a selector of the neighbor goes before that of its router', () => {
  const plan = planOf(
    policyWith(
      '{peerAddress: 192.0.2.1/32, peerASN: 65000}',
      '{peerAddress: 192.0.2.2/32, peerASN: 65000, serviceSelector: {matchLabels: {a: b}}, families: [{afi: ipv4, safi: unicast}]}',
    ),
  )
  const heard = plan.neighbors.map(({ advertisements }) =>
    advertisements.map(({ family, type, selector }) => [family, type, selector?.matchLabels ?? {}]),
  )
  assert.deepEqual(heard, [
    [
      ['ipv4-unicast', 'Service', { 'expose-via-bgp': 'true' }],
      ['ipv4-unicast', 'PodCIDR', {}],
      ['ipv6-unicast', 'Service', { 'expose-via-bgp': 'true' }],
      ['ipv6-unicast', 'PodCIDR', {}],
    ],
    [
      ['ipv4-unicast', 'Service', { a: 'b' }],
      ['ipv4-unicast', 'PodCIDR', {}],
    ],
  ])
  const silent = planOf(
    smallestPolicy.replace(/ {4}serviceSelector.*\n/, '').replace('exportPodCIDR: true', 'exportPodCIDR: false'),
  )
  assert.deepEqual([silent.neighbors[0]?.advertisements, silent.podCidrExports], [[], []])
})

test('attributes of PodCIDRs are decided by the labels of the node, those of Services later by the pool', () => {
  const rules =
    '[{selectorType: PodCIDR, selector: {matchLabels: {rack: a}}, communities: {standard: ["1:1"]}}, ' +
    '{selectorType: PodCIDR, localPreference: 5}, ' +
    '{selectorType: CiliumLoadBalancerIPPool, selector: {matchLabels: {tier: gold}}, communities: {wellKnown: [no-export]}}]'
  const text = policyWith(`{peerAddress: 192.0.2.1/32, peerASN: 65000, advertisedPathAttributes: ${rules}}`)
  const of = (type: 'Service' | 'PodCIDR', labels: Readonly<Record<string, string>>) =>
    planOf(text, { ...linux, ...labels })
      .neighbors[0]?.advertisements.find((one) => one.type === type)
      ?.attributes.map(({ poolSelector, attributes, path }) => [poolSelector?.matchLabels, attributes, path.at(-1)])
  assert.deepEqual(of('PodCIDR', { rack: 'a' }), [
    [undefined, { communities: [65537] }, 0],
    [undefined, { localPreference: 5 }, 1],
  ])
  assert.deepEqual(of('PodCIDR', { rack: 'b' }), [[undefined, { localPreference: 5 }, 1]])
  assert.deepEqual(of('Service', {}), [[{ tier: 'gold' }, { communities: [0xffffff01] }, 2]])
})

test('what the Node says lies over what the policy says, and is known to be its own', () => {
  const text = policyWith('{peerAddress: 192.0.2.1/32, peerASN: 65000}').replace(
    'name: bgp-peering',
    `name: bgp-peering, annotations: {herald.dev/neighbors: '{"*": {localAs: 5, sourceAddress: 10.0.0.1}}'}`,
  )
  const own = parseNeighborAnnotation({ 'herald.dev/neighbors': '{"192.0.2.1": {sourceAddress: 10.0.0.2}}' }).keys
  const [neighbor] = answerOf(text, linux, own).plan?.neighbors ?? []
  assert.deepEqual(neighbor?.overrides, [{ localAs: 5, sourceAddress: '10.0.0.2' }])
  assert.deepEqual([...(neighbor?.ownKeys ?? [])], ['sourceAddress'])
})

test('without a plan there is a reason, and what to do about it', () => {
  const none = answerOf('')
  assert.deepEqual([none.plan, none.problems], [undefined, []])
  assert.match(none.noPlan.message, /^there is no CiliumBGPPeeringPolicy\b/)
  const other = answerOf(smallestPolicy, { 'kubernetes.io/os': 'windows' })
  assert.deepEqual([other.plan, other.noPlan.message], [undefined, 'no CiliumBGPPeeringPolicy selects node n1'])
  assert.match(other.noPlan.remedy, /nodeSelector matches this node/)
})

test('of several policies the oldest is the plan, and each of the others is told', () => {
  const named = (name: string, time: string): string =>
    `---\n${smallestPolicy.replace('name: bgp-peering', `name: ${name}, creationTimestamp: "${time}"`)}`
  const { plan, problems } = answerOf(
    named('c', '2026-01-03T00:00:00Z') + named('b', '2026-01-01T00:00:00Z') + named('a', '2026-01-02T00:00:00Z'),
    linux,
  )
  assert.deepEqual(plan?.names, ['policy b'])
  assert.deepEqual(problems.map(({ code, object }) => [code, object.name]).toSorted(), [
    ['PolicyConflict', 'a'],
    ['PolicyConflict', 'c'],
  ])
})

test('the tables of what dialects read hold what is served', () => {
  for (const kind of ['CiliumBGPPeeringPolicy', 'CiliumBGPClusterConfig', 'CiliumBGPAdvertisement', 'BGPPeer'] as const)
    assert.ok(planKinds.has(kind), kind)
  assert.deepEqual([rivalKinds.has('CiliumBGPClusterConfig'), rivalKinds.has('CiliumBGPAdvertisement')], [true, false])
  assert.equal(new Set(servedClasses).size, servedClasses.length)
  for (const name of ['herald.dev/bgp', 'io.cilium/bgp-control-plane']) assert.ok(servedClasses.includes(name), name)
})
