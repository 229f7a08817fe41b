/** Several advertisements of one neighbor add up, whatever family of configuration they are from. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DesiredService } from '../../src/desired/model.ts'
import { planKey, type Advertisement, type PlanNeighbor } from '../../src/k8s/dialects/node-plan.ts'
import { parseEndpointSlice } from '../../src/k8s/kinds/endpoint-slice.ts'
import { parseService } from '../../src/k8s/kinds/service.ts'
import { Reserved } from '../../src/allocation/reserved.ts'
import { exportsOf, type NodeExports } from '../../src/k8s/translate/exports.ts'
import { OwnAddresses } from '../../src/k8s/translate/own-addresses.ts'
import { translateService } from '../../src/k8s/translate/services.ts'

const from = {
  key: { apiVersion: 'cilium.io/v2', kind: 'Config', namespace: '', name: 'c' },
  origin: undefined,
  source: { kind: 'Config', name: 'c' },
}
const neighbor = (more: Partial<PlanNeighbor>): PlanNeighbor => ({
  from,
  path: ['spec'],
  virtualRouter: 'a',
  localAsn: 65001,
  peerAsn: 65000,
  peerAddress: '192.0.2.1',
  peerPort: 179,
  families: ['ipv4-unicast', 'ipv6-unicast'],
  holdTimeSec: 90,
  keepaliveSec: 30,
  connectRetrySec: 120,
  multihopTtl: 1,
  overrides: [{}],
  ownKeys: new Set(),
  advertisements: [],
  ...more,
})
const says = (more: Partial<Advertisement>): Advertisement => ({
  name: 'advert a',
  family: 'ipv4-unicast',
  type: 'Service',
  selector: {},
  attributes: [],
  ...more,
})
const rule = (attributes: Advertisement['attributes'][number]['attributes']) => [{ from, path: ['spec'], attributes }]
const exportsWith = (...neighbors: readonly PlanNeighbor[]): NodeExports =>
  exportsOf(
    { names: ['config c'], neighbors, podCidrExports: [{ from, path: [], name: 'config c', field: 'spec' }] },
    {
      name: 'n1',
      noPodCidrs: { message: '', remedy: () => '' },
      podCidrs: ['10.244.0.0/24'],
      addresses: [],
      isOwn: () => false,
      isStandIn: false,
      routerOf: () => ({ routerId: '10.0.0.1', listenPort: 1790 }),
    },
    () => 'from the Secret',
    new Map(),
  )
const gold = {
  kind: 'Pool',
  name: 'gold',
  labels: { tier: 'gold' },
  ranges: [],
  selectors: [],
  namespaces: [],
  autoAssign: true,
  priority: 0,
}

function serviceWith(
  exports: NodeExports,
  { addresses = ['198.51.100.77'], policy = 'Cluster' }: { addresses?: readonly string[]; policy?: string } = {},
): DesiredService {
  const { value: service } = parseService({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', labels: { app: 'web' } },
    spec: { type: 'LoadBalancer', externalTrafficPolicy: policy, ports: [{ port: 80 }] },
  })
  const { value: slice } = parseEndpointSlice({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'web-1', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['10.244.0.5'], nodeName: 'n1' }],
    ports: [{ port: 80 }],
  })
  assert.ok(service !== undefined && slice !== undefined)
  const desired = translateService(
    {
      key: 'default/web',
      source: { kind: 'Service', name: 'web' },
      service,
      slices: [slice],
      answer: { addresses, verdict: { step: 'allocated', ok: true, code: 'Allocated', message: '' } },
      owners: new OwnAddresses(),
      taken: { apiServers: new Set(), isEndpoint: () => false },
      poolsOf: () => [gold],
      reserved: new Reserved(),
      exports,
      noExports: { message: '', remedy: '' },
      reach: { kind: 'node' },
    },
    { nodeName: 'n1', datapath: 'ebpf', secretsNamespace: 'kube-system' },
  )
  assert.ok(desired)
  return desired
}

test('two advertisements of one prefix unite communities, and the highest local preference holds (RFC 4271 5.1.5)', () => {
  const advertisements = [
    says({ attributes: rule({ communities: [1, 3], largeCommunities: ['1:1:1'], localPreference: 100 }) }),
    says({ name: 'advert b', attributes: rule({ communities: [2, 3], localPreference: 200, med: 7 }) }),
    says({ name: 'advert c', selector: { matchLabels: { app: 'other' } }, attributes: rule({ communities: [9] }) }),
    says({ name: 'advert d', family: 'ipv6-unicast', attributes: rule({ communities: [8] }) }),
  ]
  const desired = serviceWith(exportsWith(neighbor({ advertisements })))
  assert.deepEqual(desired.routes, [
    {
      prefix: '198.51.100.77/32',
      neighbors: ['65001/192.0.2.1'],
      attributes: { communities: [1, 2, 3], largeCommunities: ['1:1:1'], localPreference: 200, med: 7 },
    },
  ])
  const selected = desired.verdicts.find(({ step }) => step === 'selected')
  assert.equal(selected?.message, 'advert a, advert b, neighbors 65001/192.0.2.1')
})

test('several advertisements of PodCIDRs are united likewise', () => {
  const advertisements = [100, 300].map((localPreference, index) =>
    says({ type: 'PodCIDR', attributes: rule({ localPreference, communities: [index] }) }),
  )
  const { podCidrs } = exportsWith(neighbor({ advertisements }))
  assert.deepEqual(podCidrs[0]?.routes, [
    {
      prefix: '10.244.0.0/24',
      neighbors: ['65001/192.0.2.1'],
      attributes: { communities: [0, 1], localPreference: 300 },
    },
  ])
})

test('what is aggregated is the address cut to the length, beside what another advertisement says of the address', () => {
  const advertisements = [
    says({ aggregationLength: 24, attributes: rule({ communities: [1] }) }),
    says({ name: 'advert b', attributes: rule({ communities: [2] }) }),
  ]
  const prefixes = ({ routes }: DesiredService) => routes.map(({ prefix, attributes }) => [prefix, attributes])
  const exports = exportsWith(neighbor({ advertisements }))
  assert.deepEqual(prefixes(serviceWith(exports)), [
    ['198.51.100.0/24', { communities: [1] }],
    ['198.51.100.77/32', { communities: [2] }],
  ])
  const two = serviceWith(exports, { addresses: ['198.51.100.77', '198.51.100.78'] })
  assert.deepEqual(
    prefixes(two).map(([prefix]) => prefix),
    ['198.51.100.0/24', '198.51.100.77/32', '198.51.100.78/32'],
  )
  assert.deepEqual(
    prefixes(serviceWith(exports, { policy: 'Local' })),
    [['198.51.100.77/32', { communities: [1, 2] }]],
    'a node without an endpoint may not draw its packets',
  )
})

test('an advertisement may name or select the pools of its addresses', () => {
  const prefixes = (pools: Advertisement['pools']) =>
    serviceWith(exportsWith(neighbor({ advertisements: [says(pools === undefined ? {} : { pools })] }))).routes.length
  assert.equal(prefixes(undefined), 1)
  assert.equal(prefixes({ names: ['gold'], selectors: [] }), 1)
  assert.equal(prefixes({ names: ['iron'], selectors: [{ matchLabels: { tier: 'gold' } }] }), 1)
  assert.equal(prefixes({ names: ['iron'], selectors: [{ matchLabels: { tier: 'iron' } }] }), 0)
  assert.equal(prefixes({ names: [], selectors: [] }), 0, 'no pool is named')
})

test('the id of a neighbor carries what tells it apart: port, VRF and instance', () => {
  const idOf = (more: Partial<PlanNeighbor>) => planKey(neighbor(more))
  assert.equal(idOf({}), '65001/192.0.2.1')
  assert.equal(idOf({ peerPort: 1790 }), '65001/192.0.2.1:1790')
  assert.equal(idOf({ peerAddress: '2001:db8::1', peerPort: 1790 }), '65001/[2001:db8::1]:1790')
  assert.equal(idOf({ apart: { vrf: 'red', instance: 'b' } }), '65001/192.0.2.1@red+b')
  const zoned = neighbor({ peerAddress: 'fe80::1', peerPort: 1790, overrides: [{ interface: 'eth0' }] })
  assert.deepEqual(
    [...exportsWith(zoned).inForce.values()].flat().map(({ id }) => id),
    ['65001/[fe80::1%eth0]:1790'],
  )
})

test('a neighbor may carry its own router ID, port and key; a Secret goes before a key that is written out', () => {
  const one = (more: Partial<PlanNeighbor>) => [...exportsWith(neighbor(more)).inForce.values()].flat()[0]
  const own = one({ routerId: '10.0.0.9', listenPort: 1791, password: 'inline' })
  assert.deepEqual([own?.routerId, own?.listenPort, own?.password], ['10.0.0.9', 1791, 'inline'])
  const plain = one({ secret: { id: 'anywhere/tor', field: 'passwordSecret' } })
  assert.deepEqual([plain?.routerId, plain?.listenPort, plain?.password], ['10.0.0.1', 1790, 'from the Secret'])
})
