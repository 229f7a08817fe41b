/**
 * Nothing that is written is silently ignored: each field of each kind changes what the node does, or it is said at
 * that field that it does not.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readDocuments, type ManifestObject } from '../../src/k8s/documents.ts'
import { everyObject, InForce } from './every-family.ts'
import { pathOf, withValue } from './fields.ts'
import { pool, service, slice6 } from './manifests.ts'

interface Row {
  /** `Kind name` */
  readonly of: string
  readonly at: string
  /** Another value than the one in force. */
  readonly value: unknown
  /** It has no effect, and a problem at the field says so. */
  readonly said?: string
  /** Objects that say the same with more weight. */
  readonly beside?: readonly string[]
}

const nameOf = ({ key }: ManifestObject): string => `${key.kind} ${key.name}`
const over6 = (text: string): string => text.replaceAll('198.51.100.0/28', '2001:db8:77::/64')
const held6 = service('six', ', ipFamilies: [IPv6]').replace(
  /\n$/,
  '\nstatus: {loadBalancer: {ingress: [{ip: "2001:db8:77::1"}]}}\n',
)
const more = readDocuments(
  'more.yaml',
  `${held6}${slice6('six')}${over6(pool).replace('name: pool', 'name: pool6')}`,
).flatMap(({ objects }) => objects)
const objects = [...everyObject, ...more]

const none = { matchLabels: { tier: 'none' } }
const policy = (at: string, value: unknown, said?: string): Row => ({
  of: 'CiliumBGPPeeringPolicy bgp-peering',
  at: `spec.${at}`,
  value,
  ...(said === undefined ? {} : { said }),
})
const neighbor = (at: string, value: unknown): Row => policy(`virtualRouters[0].neighbors[0].${at}`, value)
const rule = (at: string, value: unknown): Row => neighbor(`advertisedPathAttributes[0].${at}`, value)
const ofPolicies: readonly Row[] = [
  policy('nodeSelector', none),
  policy('virtualRouters[0].localASN', 65077),
  policy('virtualRouters[0].exportPodCIDR', false),
  policy('virtualRouters[0].podIPPoolSelector', {}, 'NotServed'),
  policy('virtualRouters[0].serviceSelector', none),
  policy('virtualRouters[0].serviceAdvertisements', ['ExternalIP']),
  policy('virtualRouters[0].serviceAdvertisements', ['LoadBalancerIP', 'ClusterIP', 'ExternalIP']),
  policy('virtualRouters[0].serviceAdvertisements', []),
  neighbor('peerAddress', '192.168.1.77/32'),
  neighbor('peerPort', 1791),
  neighbor('peerASN', 65077),
  neighbor('authSecretRef', undefined),
  neighbor('eBGPMultihopTTL', 9),
  neighbor('connectRetryTimeSeconds', 7),
  neighbor('holdTimeSeconds', 60),
  neighbor('keepAliveTimeSeconds', 7),
  neighbor('gracefulRestart', { enabled: true }),
  neighbor('gracefulRestart', { enabled: true, restartTimeSeconds: 9 }),
  neighbor('families', undefined),
  neighbor('families', [{ afi: 'ipv6', safi: 'unicast' }]),
  neighbor('serviceSelector', none),
  rule('selectorType', 'PodCIDR'),
  rule('selector', none),
  rule('communities.standard', ['65000:6']),
  rule('communities.wellKnown', ['no-export']),
  rule('communities.large', ['65000:1:2']),
  rule('localPreference', 6),
]

const override = 'CiliumBGPNodeConfigOverride node-a'
const config = (at: string, value: unknown, rest: Partial<Row> = {}): Row => ({
  of: 'CiliumBGPClusterConfig cilium-bgp',
  at: `spec.${at}`,
  value,
  beside: [override],
  ...rest,
})
const settings = (at: string, value: unknown, said?: string): Row => ({
  of: 'CiliumBGPPeerConfig tor',
  at: `spec.${at}`,
  value,
  ...(said === undefined ? {} : { said }),
})
const heard = (at: string, value: unknown, said?: string): Row => ({
  of: 'CiliumBGPAdvertisement a',
  at: `spec.advertisements[${at}`,
  value,
  ...(said === undefined ? {} : { said }),
})
const own = (at: string, value: unknown, said?: string): Row => ({
  of: override,
  at: `spec.bgpInstances[0].${at}`,
  value,
  ...(said === undefined ? {} : { said }),
})
const ofCiliumV2: readonly Row[] = [
  config('nodeSelector', none),
  config('bgpInstances[0].name', 'other'),
  config('bgpInstances[0].localASN', 65077),
  config('bgpInstances[0].localPort', 1777),
  config('bgpInstances[0].bmpServers', [{ name: 'a' }], { said: 'NotServed' }),
  config('bgpInstances[0].peers[0].name', 'other'),
  config('bgpInstances[0].peers[0].peerASN', 65077),
  config('bgpInstances[0].peers[0].peerAddress', '192.168.1.77'),
  config('bgpInstances[0].peers[0].peerConfigRef', undefined),
  config('bgpInstances[0].peers[0].autoDiscovery', { mode: 'DefaultGateway' }, { said: 'NotServed' }),
  settings('transport.peerPort', 1777),
  settings('transport.localPort', 1777, 'NotServed'),
  settings('timers.connectRetryTimeSeconds', 7),
  settings('timers.holdTimeSeconds', 60),
  settings('timers.keepAliveTimeSeconds', 2),
  settings('authSecretRef', undefined),
  settings('gracefulRestart.enabled', false),
  settings('gracefulRestart.restartTimeSeconds', 61),
  settings('ebgpMultihop', 9),
  settings('families', [{ afi: 'ipv4', safi: 'unicast' }]),
  settings('families[0].advertisements', none),
  settings('families[1].advertisements', {}),
  settings('bfd', { enabled: true }),
  settings('bfd', { enabled: true, detectionMultiplier: 5 }),
  heard('0].service.addresses', ['LoadBalancerIP']),
  heard('0].service.addresses', ['ExternalIP']),
  heard('0].service.aggregationLengthIPv4', 24),
  heard('0].selector', none),
  heard('0].attributes.localPreference', 8),
  heard('0].attributes.communities.standard', ['65000:6']),
  heard('0].attributes.communities.wellKnown', ['no-export']),
  heard('0].attributes.communities.large', ['65000:1:2']),
  heard('1].advertisementType', 'CiliumPodIPPool', 'NotServed'),
  heard('1].attributes', { localPreference: 9 }),
  heard('1]', { advertisementType: 'Interface', interface: { name: 'lo' } }, 'NotServed'),
  own('name', 'other'),
  own('routerID', '10.0.0.8'),
  own('localPort', 1777),
  own('localASN', 65077),
  own('peers[0].name', 'spine'),
  own('peers[0].localAddress', '192.168.1.11'),
  own('peers[0].localPort', 1777, 'NotServed'),
]

const peer = (at: string, value: unknown, said?: string): Row => ({
  of: 'BGPPeer m1',
  at: `spec.${at}`,
  value,
  ...(said === undefined ? {} : { said }),
})
const advertised = (at: string, value: unknown): Row => ({ of: 'BGPAdvertisement e', at: `spec.${at}`, value })
const ofMetallb: readonly Row[] = [
  peer('myASN', 64777),
  peer('peerASN', 64777),
  peer('localASN', 64777),
  peer('peerAddress', '192.168.1.77'),
  peer('sourceAddress', undefined),
  peer('peerPort', 1777),
  peer('holdTime', '91s'),
  peer('keepaliveTime', '29s'),
  peer('connectTime', '6s'),
  peer('routerID', '10.0.0.7'),
  peer('nodeSelectors', [none]),
  peer('passwordSecret', undefined),
  peer('passwordSecret.namespace', 'kube-system', 'NotServed'),
  peer('bfdProfile', 'fast', 'UnknownName'),
  peer('enableGracefulRestart', false),
  peer('ebgpMultiHop', false),
  peer('vrf', 'red'),
  peer('disableMP', true, 'NotServed'),
  peer('dualStackAddressFamily', false),
  { of: 'BGPPeer m2', at: 'spec.password', value: 'ghijkl' },
  advertised('localPref', 4),
  advertised('communities', ['edge']),
  advertised('communities', ['64512:9', 'large:1:2:3']),
  advertised('ipAddressPools', ['other']),
  advertised('nodeSelectors', [none]),
  advertised('peers', ['m1']),
  advertised('serviceSelectors', [none]),
  { of: 'BGPAdvertisement sum', at: 'spec.aggregationLength', value: 31 },
  { of: 'BGPAdvertisement sum', at: 'spec.peers', value: ['m2'] },
  { of: 'Community c', at: 'spec.communities[0].value', value: '64512:2' },
]

const web = (at: string, value: unknown): Row => ({ of: 'Service a', at, value })
const endpoints = (at: string, value: unknown): Row => ({ of: 'EndpointSlice a-1', at, value })
const nodeA = (at: string, value: unknown, beside: readonly string[] = []): Row => ({
  of: 'Node node-a',
  at,
  value,
  beside,
})
const router = (text: string): Readonly<Record<string, string>> => ({ 'cilium.io/bgp-virtual-router.65001': text })
const ofCore: readonly Row[] = [
  web('metadata.labels', {}),
  web('spec.type', 'NodePort'),
  web('spec.externalIPs', ['203.0.113.8']),
  web('spec.loadBalancerClass', 'example.org/other'),
  web('spec.loadBalancerSourceRanges', ['10.0.0.0/8']),
  web('spec.externalTrafficPolicy', 'Local'),
  web('spec.sessionAffinity', 'ClientIP'),
  web('metadata.annotations', { 'service.beta.kubernetes.io/load-balancer-source-ranges': '10.0.0.0/8' }),
  web('spec.ports[0].name', 'other'),
  web('spec.ports[0].protocol', 'UDP'),
  web('spec.ports[0].protocol', 'SCTP'),
  web('spec.ports[0].port', 81),
  web('status.loadBalancer.ingress', [{ ip: '198.51.100.2' }]),
  web('status.loadBalancer.ingress', [{ ip: '8.8.8.8' }]),
  endpoints('metadata.labels', {}),
  endpoints('addressType', 'FQDN'),
  endpoints('endpoints[0].addresses', ['10.244.1.6']),
  endpoints('endpoints[0].addresses', ['10.244.1.5', '10.244.1.6']),
  endpoints('endpoints[0].nodeName', 'node-b'),
  endpoints('endpoints[0].conditions', { ready: false }),
  endpoints('ports[0].name', 'other'),
  endpoints('ports[0].protocol', 'UDP'),
  endpoints('ports[0].port', 8081),
  nodeA('metadata.labels', {}),
  nodeA('metadata.annotations', router('router-id=10.0.0.77')),
  nodeA('metadata.annotations', router('local-port=1777')),
  nodeA('metadata.annotations', { 'herald.dev/drain': 'true' }),
  nodeA('metadata.annotations', { 'herald.dev/neighbors': '{"192.168.1.1": {passive: true}}' }),
  nodeA('spec.podCIDR', '10.244.2.0/24'),
  nodeA('spec.podCIDRs', ['10.244.1.0/24', '2001:db8:1::/64']),
  nodeA('status.addresses', [{ type: 'InternalIP', address: '192.168.1.11' }]),
]

/** Where something stands, and in which words, is not what the node does. */
const deeds = (world: InForce): string =>
  JSON.stringify(world.state, (key, each: unknown) =>
    ['file', 'line', 'message', 'source', 'verdicts'].includes(key) ? undefined : each,
  )

for (const [what, rows] of [
  ['a CiliumBGPPeeringPolicy', ofPolicies],
  ['the second version of Cilium', ofCiliumV2],
  ['MetalLB', ofMetallb],
  ['a Service, a slice or a Node', ofCore],
] as const)
  test(`each field of ${what} changes what the node does, or it is said that it does not`, () => {
    const worlds = new Map<string, InForce>()
    for (const { of, at, value, said, beside = [] } of rows) {
      const without = objects.filter((each) => !beside.includes(nameOf(each)))
      const one = without.find((each) => nameOf(each) === of)
      assert.ok(one, of)
      const name = beside.join()
      const world = worlds.get(name) ?? new InForce(without)
      worlds.set(name, world)
      const before = deeds(world)
      const title = `${of} ${at} = ${JSON.stringify(value)}`
      world.put({ ...one, object: withValue(one.object, at, value) })
      world.flush()
      const field = pathOf(at).reduce((path, step) =>
        typeof step === 'number' ? `${path}[${step}]` : `${path}.${step}`,
      )
      const found = world.problems.filter(
        (each) => `${each.object.kind} ${each.object.name}` === of && each.field.startsWith(String(field)),
      )
      if (said === undefined) {
        assert.notEqual(deeds(world), before, `${title} has no effect`)
        assert.deepEqual(
          found.filter(({ severity }) => severity === 'error'),
          [],
          title,
        )
      } else
        assert.ok(
          found.some(({ code }) => code === said),
          `${title}: ${JSON.stringify(world.problems)}`,
        )
      // Back again, nothing of it is left.
      world.put(one)
      world.flush()
      assert.equal(deeds(world), before, `${title}, taken back`)
    }
  })
