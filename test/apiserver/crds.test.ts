/**
 * The CustomResourceDefinitions of the chart on a real API server: what is refused, filled in, explained and listed;
 * and what it has and takes of a Service, beside what is read here.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { crdFiles } from '../../scripts/crds.ts'
import { parseService } from '../../src/k8s/kinds/service.ts'
import type { RawObject } from '../../src/k8s/source.ts'
import { presentBinaries } from './binaries.ts'
import { type Cluster, startCluster } from './cluster.ts'
import { policyCrd } from './crds.ts'

const binaries = presentBinaries()
const skip = binaries === undefined ? 'no kube-apiserver here (see test/apiserver/binaries.ts)' : false
let cluster: Cluster

before(async () => {
  if (binaries === undefined) return
  cluster = await startCluster(binaries)
  await cluster.apply([...crdFiles().values()].join('---\n'))
  const established = ['--for=condition=Established', '--timeout=60s', '--all', 'crd']
  await cluster.kubectl(['wait', ...established])
})
after(() => cluster?.stop())

type Fields = Readonly<Record<string, unknown>>

const neighbor = { peerAddress: '192.168.1.1/32', peerASN: 65000 }
const policyWith = (of: { readonly router?: Fields; readonly peer?: Fields; readonly spec?: Fields }): string =>
  JSON.stringify({
    apiVersion: 'cilium.io/v2alpha1',
    kind: 'CiliumBGPPeeringPolicy',
    metadata: { name: 'bgp-peering' },
    spec: {
      nodeSelector: { matchLabels: { 'kubernetes.io/os': 'linux' } },
      virtualRouters: [
        {
          localASN: 65001,
          exportPodCIDR: true,
          serviceSelector: { matchLabels: { 'expose-via-bgp': 'true' } },
          neighbors: [{ ...neighbor, ...of.peer }],
          ...of.router,
        },
      ],
      ...of.spec,
    },
  })
const poolWith = (spec: Fields): string =>
  JSON.stringify({
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumLoadBalancerIPPool',
    metadata: { name: 'blue' },
    spec,
  })
const v2 = (kind: string, spec: Fields): string =>
  JSON.stringify({ apiVersion: 'cilium.io/v2', kind, metadata: { name: 'a' }, spec })
const clusterWith = (peer: Fields): string =>
  v2('CiliumBGPClusterConfig', {
    nodeSelector: { matchLabels: { rack: 'a' } },
    bgpInstances: [{ name: 'i', localASN: 65001, peers: [{ name: 'p', ...peer }] }],
  })
const metallb = (kind: string, spec: Fields | undefined, version = 'v1beta1'): string =>
  JSON.stringify({ apiVersion: `metallb.io/${version}`, kind, metadata: { name: 'a', namespace: 'default' }, spec })
const peerWith = (spec: Fields): string =>
  metallb('BGPPeer', { myASN: 65001, peerASN: 65000, peerAddress: '192.168.1.1', ...spec }, 'v1beta2')
const advertWith = (entry: Fields): string => v2('CiliumBGPAdvertisement', { advertisements: [entry] })
const dryRun = (manifest: string): Promise<string> =>
  cluster.kubectl(['apply', '--dry-run=server', '-o', 'json', '-f', '-'], manifest)

test('the smallest policy is taken, and what it leaves out is filled in', { skip }, async () => {
  const { spec } = JSON.parse(await dryRun(policyWith({ peer: { gracefulRestart: { enabled: true } } })))
  const [router] = spec.virtualRouters
  assert.deepEqual(router.serviceAdvertisements, ['LoadBalancerIP'])
  assert.deepEqual(router.neighbors, [
    {
      ...neighbor,
      peerPort: 179,
      eBGPMultihopTTL: 1,
      connectRetryTimeSeconds: 120,
      holdTimeSeconds: 90,
      gracefulRestart: { enabled: true, restartTimeSeconds: 120 },
    },
  ])
})

const accepted: Readonly<Record<string, string>> = {
  'every field that Cilium had': policyWith({
    router: {
      podIPPoolSelector: { matchExpressions: [{ key: 'a', operator: 'NotIn', values: ['b'] }] },
      serviceAdvertisements: ['LoadBalancerIP', 'ClusterIP', 'ExternalIP'],
    },
    peer: {
      peerAddress: '2001:db8::1/128',
      peerPort: 1179,
      authSecretRef: 'key',
      eBGPMultihopTTL: 255,
      connectRetryTimeSeconds: 2147483647,
      holdTimeSeconds: 9,
      keepAliveTimeSeconds: 9,
      gracefulRestart: { enabled: true, restartTimeSeconds: 4095 },
      families: [
        { afi: 'l2vpn', safi: 'evpn' },
        { afi: 'ipv4', safi: 'unicast' },
      ],
      advertisedPathAttributes: [
        {
          selectorType: 'CiliumLoadBalancerIPPool',
          selector: { matchLabels: { pool: 'blue' } },
          communities: { standard: ['65535:65535', '4294967295'], wellKnown: ['no-export'], large: ['1:2:4294967295'] },
          localPreference: 4294967295,
        },
      ],
    },
  }),
  'a serviceSelector under the neighbor': policyWith({ peer: { serviceSelector: {} } }),
  'two routers': policyWith({ router: { neighbors: [neighbor, { ...neighbor, peerAddress: '192.168.2.1/32' }] } }),
  'a short hold time alone': policyWith({ peer: { holdTimeSeconds: 3 } }),
  'a pool of prefixes and ranges': poolWith({
    blocks: [{ cidr: '192.0.2.0/24' }, { start: '198.51.100.1' }, { start: '2001:db8::1', stop: '2001:db8::9' }],
  }),
  'a pool without blocks': poolWith({}),
  'a peer of a cluster configuration': clusterWith({
    peerAddress: '192.168.1.1',
    peerASN: 65000,
    peerConfigRef: { name: 'b' },
  }),
  'a peer that is found by its route': clusterWith({
    autoDiscovery: { mode: 'DefaultGateway', defaultGateway: { addressFamily: 'ipv6' } },
  }),
  "a server for BMP, which is Cilium's": v2('CiliumBGPClusterConfig', {
    bgpInstances: [{ name: 'i', bmpServers: [{ name: 'b', peerAddress: '192.0.2.1', peerPort: 11019 }] }],
  }),
  'an empty peer configuration': v2('CiliumBGPPeerConfig', {}),
  'a peer configuration': v2('CiliumBGPPeerConfig', {
    timers: { holdTimeSeconds: 9, keepAliveTimeSeconds: 3 },
    gracefulRestart: { enabled: true },
    families: [{ afi: 'ipv4', safi: 'unicast', advertisements: { matchLabels: { advertise: 'bgp' } } }],
  }),
  'advertisements of all sorts': v2('CiliumBGPAdvertisement', {
    advertisements: [
      { advertisementType: 'PodCIDR' },
      {
        advertisementType: 'Service',
        service: { addresses: ['LoadBalancerIP'], aggregationLengthIPv4: 24 },
        selector: {},
        attributes: { communities: { standard: ['65000:1'] }, localPreference: 99 },
      },
      { advertisementType: 'Interface', interface: { name: 'lo' } },
    ],
  }),
  'an IPAddressPool': metallb('IPAddressPool', {
    addresses: ['192.0.2.0/24', '2001:db8::1-2001:db8::9'],
    serviceAllocation: { priority: 50, namespaces: ['a'], serviceSelectors: [{ matchLabels: { a: 'b' } }] },
  }),
  'a BGPPeer': peerWith({
    holdTime: '1m30s',
    keepaliveTime: '30s',
    passwordSecret: { name: 'key' },
    bfdProfile: 'fast',
  }),
  'a BGPPeer of the early version': metallb('BGPPeer', { myASN: 1, peerASN: 2, peerAddress: '192.168.1.1' }),
  'a BGPPeer that is found on its interface': metallb(
    'BGPPeer',
    { myASN: 65001, dynamicASN: 'external', interface: 'eth0' },
    'v1beta2',
  ),
  'a BGPAdvertisement without a spec': metallb('BGPAdvertisement', undefined),
  'a BGPAdvertisement': metallb('BGPAdvertisement', {
    aggregationLength: 24,
    communities: ['65000:1', 'large:1:2:3', 'no-export'],
    ipAddressPools: ['a'],
    peers: ['a'],
    nodeSelectors: [{ matchExpressions: [{ key: 'rack', operator: 'In', values: ['a'] }] }],
  }),
  'a BFDProfile': metallb('BFDProfile', { receiveInterval: 100, detectMultiplier: 3 }),
  'a Community': metallb('Community', { communities: [{ name: 'vpn', value: '65000:1' }] }),
  'an L2Advertisement without a spec': metallb('L2Advertisement', undefined),
  'what one node does otherwise': v2('CiliumBGPNodeConfigOverride', {
    bgpInstances: [{ name: 'i', routerID: '192.0.2.1', peers: [{ name: 'p', localAddress: '192.0.2.1' }] }],
  }),
}
for (const [what, manifest] of Object.entries(accepted))
  test(`the API server takes ${what}`, { skip }, async () => {
    await dryRun(manifest)
  })

const refused: readonly (readonly [what: string, manifest: string, words: RegExp])[] = [
  ['a network as peer', policyWith({ peer: { peerAddress: '192.168.1.0/24' } }), /peerAddress is one router: write/],
  ['an IPv6 peer with /32', policyWith({ peer: { peerAddress: '2001:db8::1/32' } }), /write the mask \/32, or \/128/],
  ['a peer without a mask', policyWith({ peer: { peerAddress: '192.168.1.1' } }), /must be of type cidr/],
  [
    'a keepalive time above the hold time',
    policyWith({ peer: { holdTimeSeconds: 9, keepAliveTimeSeconds: 10 } }),
    /neighbors\[0\]\.keepAliveTimeSeconds: .*must not be above holdTimeSeconds/,
  ],
  [
    'a keepalive time above the hold time that is filled in',
    policyWith({ peer: { keepAliveTimeSeconds: 91 } }),
    /must not be above holdTimeSeconds/,
  ],
  ['a hold time of 2 s', policyWith({ peer: { holdTimeSeconds: 2 } }), /holdTimeSeconds.* greater than or equal to 3/],
  ['an AS number of 33 bits', policyWith({ router: { localASN: 4294967296 } }), /localASN.* less than or equal to/],
  ['an unknown family', policyWith({ peer: { families: [{ afi: 'IPv4', safi: 'unicast' }] } }), /Unsupported value/],
  ['the same router twice', policyWith({ router: { neighbors: [neighbor, neighbor] } }), /Duplicate value/],
  ['no router', policyWith({ router: { neighbors: [] } }), /should have at least 1 items/],
  ['a misspelt field', policyWith({ peer: { holdTime: 9 } }), /unknown field "spec.virtualRouters\[0\].*holdTime"/],
  [
    'a community of 17 bits',
    policyWith({
      peer: { advertisedPathAttributes: [{ selectorType: 'PodCIDR', communities: { standard: ['65536:1'] } }] },
    }),
    /standard\[0\].*should match/,
  ],
  [
    'a label value with a slash',
    policyWith({ spec: { nodeSelector: { matchLabels: { rack: 'a/b' } } } }),
    /matchLabels.rack.*should match/,
  ],
  ['a block of both', poolWith({ blocks: [{ cidr: '192.0.2.0/24', start: '192.0.2.1' }] }), /either cidr, or start/],
  ['a discovery without its settings', clusterWith({ autoDiscovery: { mode: 'Unnumbered' } }), /mode Unnumbered needs/],
  ['two peers of one name', clusterWith({}).replace('{"name":"p"}', '{"name":"p"},{"name":"p"}'), /Duplicate value/],
  [
    'a keepalive time above the hold time of a peer configuration',
    v2('CiliumBGPPeerConfig', { timers: { holdTimeSeconds: 9, keepAliveTimeSeconds: 10 } }),
    /must not be above holdTimeSeconds/,
  ],
  ['an advertisement of Services without any', advertWith({ advertisementType: 'Service' }), /needs service/],
  ['PodCIDRs with a selector', advertWith({ advertisementType: 'PodCIDR', selector: {} }), /takes no selector/],
  [
    'an interface where Services are announced',
    advertWith({
      advertisementType: 'Service',
      service: { addresses: ['ClusterIP'] },
      interface: { name: 'lo' },
    }),
    /interface is for advertisementType Interface/,
  ],
  [
    'a router ID that is a name',
    v2('CiliumBGPNodeConfigOverride', { bgpInstances: [{ name: 'i', routerID: 'tor1' }] }),
    /must be of type ipv4/,
  ],
  ['a BGPPeer of no AS number', peerWith({ peerASN: 0 }), /either peerASN or dynamicASN is needed/],
  ['a BGPPeer of two', peerWith({ dynamicASN: 'external' }), /either peerASN or dynamicASN is needed/],
  ['a BGPPeer nowhere', peerWith({ peerAddress: '' }), /peerAddress or interface is needed/],
  ['a hold time without a unit', peerWith({ holdTime: '90' }), /holdTime.*should match/],
  ['two keys', peerWith({ password: 'a', passwordSecret: { name: 'b' } }), /exclude each other/],
  ['a pool of nothing', metallb('IPAddressPool', { addresses: [] }), /should have at least 1 items/],
  [
    'an aggregate of some Services',
    metallb('BGPAdvertisement', { aggregationLength: 24, serviceSelectors: [{ matchLabels: { a: 'b' } }] }),
    /an aggregate is of all Services in it/,
  ],
  ['a BFD interval of 5 ms', metallb('BFDProfile', { receiveInterval: 5 }), /greater than or equal to 10/],
  ['a block of nothing', poolWith({ blocks: [{}] }), /either cidr, or start/],
]
for (const [what, manifest, words] of refused)
  test(`the API server refuses ${what}, and says why`, { skip }, async () => {
    await assert.rejects(dryRun(manifest), words)
  })

test('the status is written on its own, and a condition has a type, a status and a reason', { skip }, async () => {
  await cluster.apply(policyWith({}))
  const patch = (conditions: readonly Fields[]): Promise<string> =>
    cluster.kubectl([
      ...['patch', 'bgpp', 'bgp-peering', '--subresource=status', '--type=merge', '-p'],
      JSON.stringify({ status: { conditions } }),
    ])
  const condition = {
    type: 'herald.dev/Accepted',
    status: 'True',
    reason: 'Accepted',
    message: '',
    lastTransitionTime: '2026-01-31T12:00:00Z',
  }
  await patch([condition])
  await assert.rejects(patch([{ ...condition, status: 'Yes' }]), /Unsupported value: "Yes"/)
  await assert.rejects(patch([condition, condition]), /Duplicate value/)
  const { status } = JSON.parse(await cluster.kubectl(['get', 'bgpp', 'bgp-peering', '-o', 'json']))
  assert.deepEqual(status.conditions, [condition])
})

test('kubectl get shows AS numbers, peer and age, by the short name', { skip }, async () => {
  await cluster.apply(policyWith({}))
  const [head = '', line = ''] = (await cluster.kubectl(['get', 'bgpp'])).split('\n')
  assert.match(head, /^NAME +LOCAL AS +PEER AS +PEER ADDRESS +ACCEPTED +AGE/)
  assert.match(line, /^bgp-peering +65001 +65000 +192\.168\.1\.1\/32 +\S*\s*\d/)
  assert.match(await cluster.kubectl(['get', 'ciliumbgp']), /bgp-peering/)
})

test('kubectl get of a pool shows what the operator counted', { skip }, async () => {
  await cluster.apply(poolWith({ blocks: [{ cidr: '192.0.2.0/28' }] }))
  const condition = (type: string, status: string, message: string): Fields => ({
    ...{ type: `cilium.io/${type}`, status, message, reason: 'noreason' },
    lastTransitionTime: '2026-01-31T12:00:00Z',
  })
  const accepted = { ...condition('', 'True', ''), type: 'herald.dev/Accepted' }
  const conditions = [condition('PoolConflict', 'False', ''), condition('IPsAvailable', 'Unknown', '14'), accepted]
  const patch = JSON.stringify({ status: { conditions } })
  await cluster.kubectl(['patch', 'ippool', 'blue', '--subresource=status', '--type=merge', '-p', patch])
  const [head = '', line = ''] = (await cluster.kubectl(['get', 'ippools'])).split('\n')
  assert.match(head, /^NAME +DISABLED +CONFLICTING +IPS AVAILABLE +ACCEPTED +AGE/)
  assert.match(line, /^blue +false +False +14 +True +\d/)
})

test('kubectl explain says what every field is, with defaults and the words that are taken', { skip }, async () => {
  const explain = (path: string): Promise<string> => cluster.kubectl(['explain', path])
  const peer = await explain('bgpp.spec.virtualRouters.neighbors')
  assert.match(peer, /holdTimeSeconds\t<integer>\n *Hold time of RFC 4271/)
  assert.match(peer, /peerAddress\t<string> -required-/)
  assert.match(await explain('bgpp.spec.virtualRouters.neighbors.families.afi'), /ENUM:\n *ipv4\n *ipv6/)
  assert.match(await explain('ippool.spec'), /allowFirstLastIPs\t<string>\n *enum: "?Yes"?, "?No"?/i)
  const everything = await cluster.kubectl(['explain', 'bgpp', '--recursive'])
  assert.match(everything, /virtualRouters\t<\[\]Object> -required-/)
  assert.doesNotMatch(peer, /<no description>/)
})

test('a policy of our CRD stays what it was when the CRD is applied again', { skip }, async () => {
  await cluster.apply(policyWith({}))
  const read = async (): Promise<string> => cluster.kubectl(['get', 'bgpp', 'bgp-peering', '-o', 'jsonpath={.spec}'])
  const before = await read()
  await cluster.apply(JSON.stringify(policyCrd))
  assert.equal(await read(), before)
})

const serviceWith = (name: string, spec: Fields, annotations: Fields): RawObject => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace: 'default', annotations },
  spec: { type: 'LoadBalancer', ports: [{ port: 80 }], ...spec },
})
const rangesKey = 'service.beta.kubernetes.io/load-balancer-source-ranges'
const sticky = (timeoutSeconds: unknown): Fields => ({
  sessionAffinity: 'ClientIP',
  sessionAffinityConfig: { clientIP: { timeoutSeconds } },
})
const ranges = [
  ...['10.0.0.0/8', ' 10.0.0.0/8\t', '0.0.0.0/0', '2001:db8::/32', 'FD00:0::/16', '::/0', '10.1.2.3/8', 'fd00::1/8'],
  ...['010.0.0.0/8', '10.0.0.0/08', '::ffff:10.0.0.0/104', '10.0.0.1', 'fd00::1', '', 'x', '10.0.0.0/33', '10.0.0/8'],
]
const specs: readonly (readonly [spec: Fields, annotations: Fields])[] = [
  ...ranges.map((range): readonly [Fields, Fields] => [{ loadBalancerSourceRanges: [range] }, {}]),
  [{ loadBalancerSourceRanges: ['10.0.0.0/8', '10.0.0.0/8'] }, {}],
  [{}, { [rangesKey]: ' 10.0.0.0/8 , fd00::/8' }],
  [{}, { [rangesKey]: '' }],
  [{}, { [rangesKey]: ',' }],
  [{}, { [rangesKey]: '10.0.0.1' }],
  [{ loadBalancerSourceRanges: ['10.0.0.0/8'] }, { [rangesKey]: 'x' }],
  [{ type: 'ClusterIP', loadBalancerSourceRanges: ['10.0.0.0/8'] }, {}],
  [{ sessionAffinity: 'ClientIP' }, {}],
  ...[1, 86_400, 0, -1, 86_401].map((seconds): readonly [Fields, Fields] => [sticky(seconds), {}]),
]

test('of source ranges and affinity the server refuses what is told here, and takes what is read without a word', {
  skip,
}, async () => {
  const items = specs.map(([spec, annotations], n) => serviceWith(`s${n}x`, spec, annotations))
  const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items })
  const apply = cluster.kubectl(['apply', '--dry-run=server', '-f', '-'], list)
  const refusals = await apply.then(() => assert.fail('all were taken'), String)
  for (const [n, item] of items.entries()) {
    const isTaken = !refusals.includes(`"s${n}x" is invalid`)
    const faults = parseService(item).faults.filter(({ code }) => code !== 'NobodyAllowed')
    assert.equal(isTaken, faults.length === 0, `${JSON.stringify(specs[n])}: ${JSON.stringify(faults)}`)
  }
})

test('the fields of a Service that the server has are those of docs/configure.md', { skip }, async () => {
  const { components } = JSON.parse(await cluster.kubectl(['get', '--raw', '/openapi/v3/api/v1']))
  const fieldsOf = (type: string): readonly string[] =>
    Object.keys(components.schemas[`io.k8s.api.core.v1.${type}`].properties)
  const page = readFileSync(new URL('../../docs/configure.md', import.meta.url), 'utf8')
  const [, section = ''] = page.split('### Every field of a Service')
  const rows = [...section.slice(0, section.indexOf('\n### ')).matchAll(/^\| `([^`]+)` \|/gm)].map(([, name]) => name)
  const ofPorts = fieldsOf('ServicePort').map((name) => `ports[].${name}`)
  assert.deepEqual(rows.sort(), [...fieldsOf('ServiceSpec'), ...ofPorts].sort())
})
