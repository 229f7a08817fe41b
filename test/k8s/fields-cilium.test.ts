/** Every field of the kinds of Cilium, by table: what it takes, what it refuses, what stands for nothing. */
import { ipPoolSpec } from '../../src/k8s/kinds/cilium-load-balancer-ip-pool.ts'
import { advertisementSpec } from '../../src/k8s/kinds/cilium-bgp-advertisement.ts'
import { clusterConfigSpec } from '../../src/k8s/kinds/cilium-bgp-cluster-config.ts'
import { nodeConfigOverrideSpec } from '../../src/k8s/kinds/cilium-bgp-node-config-override.ts'
import { peerConfigSpec } from '../../src/k8s/kinds/cilium-bgp-peer-config.ts'
import { peeringPolicySpec } from '../../src/k8s/kinds/cilium-bgp-peering-policy.ts'
import { type Field, testFields } from './fields.ts'

const selector = { matchLabels: { tier: 'gold' } }
const selectors = {
  good: [selector, {}, { matchExpressions: [{ key: 'tier', operator: 'Exists' }] }, { matchLabels: { tier: '' } }],
  bad: [
    ...['gold', 7, ['tier'], { matchLabels: 'tier' }, { matchLabels: { tier: 7 } }, { matchLabels: { '-x': 'a' } }],
    ...[{ matchExpressions: {} }, { matchExpressions: [{ key: 'a', operator: 'In' }] }],
    ...[{ matchExpressions: [{ key: 'a', operator: 'Near', values: ['b'] }] }, { tier: 'gold' }],
  ],
} as const
const number = (least: number, most: number) => ({
  good: [least, least + 1, most],
  bad: [least - 1, most + 1, least + 0.5, `${least}`, true, [least], { value: least }, 1e300],
})
const holds = { good: [60, 61, 65535], bad: number(3, 65535).bad }
const flags = { good: [true, false], bad: ['true', 'yes', 1, 0, [], {}] } as const
const notText = [7, true, ['a'], { a: 'b' }] as const
const lists = ['x', 7, true, { 0: 'x' }] as const

const communities = (at: string): readonly Field[] => [
  {
    at: `${at}.standard`,
    good: [['65000:100'], ['0:0'], ['65535:65535'], ['65000:1', '65000:2'], ['4294967295', '7'], [8]],
    bad: [...lists, ['65536:1'], ['1:65536'], ['a:b'], ['1:2:3'], [''], [null], ['-1:1'], [4294967296], ['01:1']],
    absent: 'default',
  },
  {
    at: `${at}.wellKnown`,
    good: [['no-export'], ['no-advertise'], ['blackhole', 'no-peer'], ['internet'], ['planned-shut']],
    bad: [...lists, ['NO-EXPORT'], ['no export'], ['no-exports'], [''], [65281]],
    absent: 'default',
  },
  {
    at: `${at}.large`,
    good: [['65000:1:2'], ['0:0:0'], ['4294967295:4294967295:4294967295'], ['1:2:3', '1:2:4']],
    bad: [...lists, ['4294967296:1:1'], ['1:2'], ['1:2:3:4'], ['a:b:c'], [''], [7], ['1:2:-3']],
    absent: 'default',
  },
]
const preference = (at: string): Field => ({ at, ...number(0, 4_294_967_295), absent: 'default' })

/** Addresses that are no address of one router. */
const noHosts = ['0.0.0.0', '224.0.0.5', '240.0.0.1', '255.255.255.255', 'ff02::1']
const noAddresses = ['x', '192.0.2', '192.0.2.256', '192.0.2.1:179', '[2001:db8::1]', '2001:db8::g', '1', '192.0.2.1/']

const neighbor = 'spec.virtualRouters[0].neighbors[0]'
const rule = `${neighbor}.advertisedPathAttributes[0]`
testFields({
  kind: 'CiliumBGPPeeringPolicy',
  schema: peeringPolicySpec,
  example: {
    apiVersion: 'cilium.io/v2alpha1',
    kind: 'CiliumBGPPeeringPolicy',
    metadata: { name: 'rack' },
    spec: {
      nodeSelector: selector,
      virtualRouters: [
        {
          localASN: 65001,
          exportPodCIDR: true,
          podIPPoolSelector: selector,
          serviceSelector: selector,
          serviceAdvertisements: ['LoadBalancerIP'],
          neighbors: [
            {
              peerAddress: '192.0.2.1/32',
              peerPort: 1179,
              peerASN: 65000,
              authSecretRef: 'key',
              eBGPMultihopTTL: 4,
              connectRetryTimeSeconds: 5,
              holdTimeSeconds: 60,
              keepAliveTimeSeconds: 3,
              gracefulRestart: { enabled: true, restartTimeSeconds: 60 },
              families: [{ afi: 'ipv4', safi: 'unicast' }],
              advertisedPathAttributes: [
                {
                  selectorType: 'CiliumLoadBalancerIPPool',
                  selector,
                  communities: { standard: ['65000:1'], wellKnown: ['no-export'], large: ['65000:1:2'] },
                  localPreference: 7,
                },
              ],
              serviceSelector: selector,
            },
            { peerAddress: '192.0.2.99/32', peerASN: 65000 },
          ],
        },
        { localASN: 65099, serviceSelector: {}, neighbors: [{ peerAddress: '192.0.2.98/32', peerASN: 65000 }] },
      ],
    },
  },
  fields: [
    { at: 'spec.nodeSelector', ...selectors, absent: 'default' },
    { at: 'spec.virtualRouters', good: [], bad: [...lists, [], [7], ['x'], [[]]], absent: 'error' },
    {
      at: 'spec.virtualRouters[0].localASN',
      ...number(1, 4_294_967_295),
      absent: 'error',
    },
    { at: 'spec.virtualRouters[0].exportPodCIDR', ...flags, absent: 'default' },
    { at: 'spec.virtualRouters[0].podIPPoolSelector', ...selectors, absent: 'default', isInert: true },
    { at: 'spec.virtualRouters[0].serviceSelector', ...selectors, absent: 'default' },
    {
      at: 'spec.virtualRouters[0].serviceAdvertisements',
      good: [['LoadBalancerIP'], ['ClusterIP', 'ExternalIP'], ['ExternalIP'], []],
      bad: [...lists, ['LoadBalancer'], ['loadBalancerIP'], [''], [null], [7]],
      absent: 'default',
    },
    { at: 'spec.virtualRouters[0].neighbors', good: [], bad: [...lists, []], absent: 'error' },
    {
      at: `${neighbor}.peerAddress`,
      good: ['192.0.2.1/32', '192.0.2.2/32', '2001:db8::1/128', '127.0.0.1/32', 'fe80::1/128'],
      bad: [
        ...[...notText, '192.0.2.1', '192.0.2.1/24', '192.0.2.1/33'],
        ...['fe80::1%eth0/128', '192.0.2.1/32/32', ' ', ...noAddresses],
        ...noHosts.map((host) => `${host}/${host.includes(':') ? 128 : 32}`),
      ],
      absent: 'error',
    },
    { at: `${neighbor}.peerPort`, ...number(1, 65535), absent: 'default' },
    { at: `${neighbor}.peerASN`, ...number(0, 4_294_967_295), absent: 'error' },
    { at: `${neighbor}.authSecretRef`, good: ['key', 'other'], bad: notText, absent: 'default', empty: 'good' },
    { at: `${neighbor}.eBGPMultihopTTL`, ...number(1, 255), absent: 'default' },
    { at: `${neighbor}.connectRetryTimeSeconds`, ...number(1, 2_147_483_647), absent: 'default' },
    { at: `${neighbor}.holdTimeSeconds`, ...holds, absent: 'default' },
    { at: `${neighbor}.keepAliveTimeSeconds`, good: [1, 2, 60], bad: [...number(1, 65535).bad, 61], absent: 'default' },
    { at: `${neighbor}.gracefulRestart.enabled`, ...flags, absent: 'error' },
    { at: `${neighbor}.gracefulRestart.restartTimeSeconds`, ...number(1, 4095), absent: 'default' },
    { at: `${neighbor}.families`, good: [], bad: [...lists, [7], [{}]], absent: 'default' },
    {
      at: `${neighbor}.families[0].afi`,
      good: ['ipv4', 'ipv6'],
      bad: [...notText, 'IPv4', 'inet', 'ipv5', 'opaque'],
      absent: 'error',
      blames: `${neighbor}.families`,
    },
    {
      at: `${neighbor}.families[0].safi`,
      good: ['unicast'],
      bad: [...notText, 'Unicast', 'any', 'multicast'],
      absent: 'error',
      blames: `${neighbor}.families`,
    },
    { at: `${neighbor}.advertisedPathAttributes`, good: [], bad: [...lists, [7], [{}]], absent: 'default' },
    {
      at: `${rule}.selectorType`,
      good: ['CiliumLoadBalancerIPPool', 'PodCIDR', 'CiliumPodIPPool'],
      bad: [...notText, 'podCIDR', 'Service'],
      absent: 'error',
    },
    { at: `${rule}.selector`, ...selectors, absent: 'default' },
    ...communities(`${rule}.communities`),
    preference(`${rule}.localPreference`),
    { at: `${neighbor}.serviceSelector`, ...selectors, absent: 'default' },
  ],
})

testFields({
  kind: 'CiliumLoadBalancerIPPool',
  schema: ipPoolSpec,
  example: {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumLoadBalancerIPPool',
    metadata: { name: 'pool' },
    spec: {
      blocks: [{ cidr: '198.51.100.0/28' }, { start: '198.51.100.32', stop: '198.51.100.40' }],
      cidrs: [{ cidr: '198.51.100.64/28' }, { start: '198.51.100.96', stop: '198.51.100.99' }],
      serviceSelector: selector,
      allowFirstLastIPs: 'No',
      disabled: true,
    },
  },
  fields: (['blocks', 'cidrs'] as const)
    .flatMap((list): readonly Field[] => [
      { at: `spec.${list}`, good: [], bad: [...lists, [7], ['198.51.100.0/24']], absent: 'default' },
      {
        at: `spec.${list}[0].cidr`,
        good: ['203.0.113.0/24', '203.0.113.7/32', '2001:db8::/64', '203.0.113.0/30'],
        bad: [
          ...[...notText, '203.0.113.0', '203.0.113.0/33', '203.0.113/24', '203.0.113.0/255.255.255.0'],
          ...['2001:db8::/129', '203.0.113.1-203.0.113.9', 'x', '/24', '203.0.113.0/-1', '203.0.113.0/2 4'],
        ],
        // A block of nothing.
        absent: 'error',
        empty: 'absent',
        blames: `spec.${list}[0]`,
      },
      {
        at: `spec.${list}[1].start`,
        good: ['203.0.113.1', '203.0.113.0', '0.0.0.1'],
        without: [`spec.${list}[1].stop`],
        bad: [...notText, '203.0.113.1/32', '203.0.113', 'x', '203.0.113.256'],
        absent: 'error',
        empty: 'absent',
        blames: `spec.${list}[1]`,
      },
      {
        at: `spec.${list}[1].stop`,
        good:
          list === 'blocks' ? ['198.51.100.40', '198.51.100.32', '198.51.100.41'] : ['198.51.100.98', '198.51.100.97'],
        bad: [...notText, '198.51.100.40/32', '198.51.100.1', '2001:db8::1', 'x'],
        absent: 'default',
        empty: 'absent',
      },
    ])
    .concat([
      { at: 'spec.serviceSelector', ...selectors, absent: 'default' },
      {
        at: 'spec.allowFirstLastIPs',
        good: ['No', 'Yes'],
        bad: [...notText, 'yes', 'no', 'true', 'NO'],
        absent: 'default',
        empty: 'absent',
      },
      { at: 'spec.disabled', ...flags, absent: 'default' },
    ]),
})

const peer = 'spec.bgpInstances[0].peers[0]'
const found = 'spec.bgpInstances[0].peers[1].autoDiscovery'
testFields({
  kind: 'CiliumBGPClusterConfig',
  schema: clusterConfigSpec,
  example: {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumBGPClusterConfig',
    metadata: { name: 'rack' },
    spec: {
      nodeSelector: selector,
      bgpInstances: [
        {
          name: 'rack',
          localASN: 65001,
          localPort: 1790,
          bmpServers: [],
          peers: [
            {
              name: 'tor',
              peerASN: 65000,
              peerAddress: '192.0.2.1',
              peerConfigRef: { name: 'tor', group: 'cilium.io', kind: 'CiliumBGPPeerConfig' },
            },
            { name: 'gate', autoDiscovery: { mode: 'DefaultGateway', defaultGateway: { addressFamily: 'ipv6' } } },
            { name: 'link', autoDiscovery: { mode: 'Unnumbered', unnumbered: { interface: 'eth1' } } },
          ],
        },
        { name: 'spare', localASN: 65099, peers: [{ name: 'spine', peerASN: 65000, peerAddress: '192.0.2.98' }] },
      ],
    },
  },
  fields: [
    { at: 'spec.nodeSelector', ...selectors, absent: 'default' },
    { at: 'spec.bgpInstances', good: [], bad: [...lists, []], absent: 'error' },
    {
      at: 'spec.bgpInstances[0].name',
      good: ['rack', 'r', 'x'.repeat(255)],
      bad: [...notText, 'x'.repeat(256)],
      absent: 'error',
    },
    { at: 'spec.bgpInstances[0].localASN', ...number(1, 4_294_967_295), absent: 'default' },
    { at: 'spec.bgpInstances[0].localPort', ...number(1, 65535), absent: 'default' },
    {
      at: 'spec.bgpInstances[0].bmpServers',
      good: [[], [{ name: 'a' }]],
      bad: lists,
      absent: 'default',
      isInert: true,
    },
    { at: 'spec.bgpInstances[0].peers', good: [], bad: lists, absent: 'default' },
    { at: `${peer}.name`, good: ['tor', 't', 'x'.repeat(255)], bad: [...notText, 'x'.repeat(256)], absent: 'error' },
    { at: `${peer}.peerASN`, ...number(0, 4_294_967_295), good: [1, 2, 4_294_967_295], absent: 'default' },
    {
      at: `${peer}.peerAddress`,
      good: ['192.0.2.1', '192.0.2.2', '2001:db8::1', '127.0.0.1', 'fe80::1', 'fe80::1%eth0'],
      bad: [...notText, '192.0.2.1/32', '2001:db8::1/128', '2001:db8::1%eth0', ...noAddresses, ...noHosts],
      absent: 'error',
      empty: 'absent',
    },
    { at: `${peer}.peerConfigRef.name`, good: ['tor', 'other'], bad: notText, absent: 'error' },
    {
      at: `${peer}.peerConfigRef.group`,
      good: ['cilium.io'],
      bad: [...notText, 'cilium', 'metallb.io'],
      absent: 'default',
      empty: 'absent',
      blames: `${peer}.peerConfigRef`,
      isInert: true,
    },
    {
      at: `${peer}.peerConfigRef.kind`,
      good: ['CiliumBGPPeerConfig'],
      bad: [...notText, 'BGPPeer'],
      absent: 'default',
      empty: 'absent',
      blames: `${peer}.peerConfigRef`,
      isInert: true,
    },
    {
      at: `${found}.mode`,
      good: ['DefaultGateway'],
      bad: [...notText, 'Gateway', 'Unnumbered'],
      absent: 'error',
      blames: found,
    },
    {
      at: `${found}.defaultGateway.addressFamily`,
      good: ['ipv4', 'ipv6'],
      bad: [...notText, 'IPv4', 'ip'],
      absent: 'error',
    },
    {
      at: 'spec.bgpInstances[0].peers[2].autoDiscovery.unnumbered.interface',
      good: ['eth1', 'bond0.100', 'x'.repeat(15)],
      bad: [...notText, 'x'.repeat(16), 'eth 1', 'eth/1'],
      absent: 'error',
    },
  ],
})

testFields({
  kind: 'CiliumBGPPeerConfig',
  schema: peerConfigSpec,
  example: {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumBGPPeerConfig',
    metadata: { name: 'tor' },
    spec: {
      transport: { peerPort: 1799, sourceInterface: 'eth0', localPort: 1180 },
      timers: { connectRetryTimeSeconds: 5, holdTimeSeconds: 60, keepAliveTimeSeconds: 3 },
      authSecretRef: 'key',
      gracefulRestart: { enabled: true, restartTimeSeconds: 60 },
      ebgpMultihop: 4,
      families: [{ afi: 'ipv4', safi: 'unicast', advertisements: selector }],
    },
  },
  fields: [
    { at: 'spec.transport.peerPort', ...number(1, 65535), absent: 'default' },
    {
      at: 'spec.transport.sourceInterface',
      good: ['eth0', 'bond0.100', 'x'.repeat(15)],
      bad: [...notText, 'x'.repeat(16), 'eth 0', 'a/b'],
      absent: 'default',
      empty: 'absent',
    },
    { at: 'spec.transport.localPort', ...number(1, 65535), absent: 'default', isInert: true },
    { at: 'spec.timers.connectRetryTimeSeconds', ...number(1, 2_147_483_647), absent: 'default' },
    { at: 'spec.timers.holdTimeSeconds', ...holds, absent: 'default' },
    { at: 'spec.timers.keepAliveTimeSeconds', good: [1, 60], bad: [...number(1, 65535).bad, 61], absent: 'default' },
    { at: 'spec.authSecretRef', good: ['key', 'other'], bad: notText, absent: 'default', empty: 'absent' },
    { at: 'spec.gracefulRestart.enabled', ...flags, absent: 'error' },
    { at: 'spec.gracefulRestart.restartTimeSeconds', ...number(1, 4095), absent: 'default' },
    { at: 'spec.ebgpMultihop', ...number(1, 255), absent: 'default' },
    { at: 'spec.families', good: [], bad: [...lists, [], [7], [{}]], absent: 'default' },
    {
      at: 'spec.families[0].afi',
      good: ['ipv4', 'ipv6'],
      bad: [...notText, 'IPv4', 'inet'],
      absent: 'error',
      blames: 'spec.families',
    },
    {
      at: 'spec.families[0].safi',
      good: ['unicast'],
      bad: [...notText, 'Unicast', 'any'],
      absent: 'error',
      blames: 'spec.families',
    },
    { at: 'spec.families[0].advertisements', ...selectors, absent: 'default' },
  ],
})

const entry = 'spec.advertisements[0]'
testFields({
  kind: 'CiliumBGPAdvertisement',
  schema: advertisementSpec,
  example: {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumBGPAdvertisement',
    metadata: { name: 'a', labels: { advertise: 'bgp' } },
    spec: {
      advertisements: [
        {
          advertisementType: 'Service',
          service: { addresses: ['LoadBalancerIP'], aggregationLengthIPv4: 24, aggregationLengthIPv6: 64 },
          selector,
          attributes: {
            communities: { standard: ['65000:1'], wellKnown: ['no-export'], large: ['65000:1:2'] },
            localPreference: 7,
          },
        },
        { advertisementType: 'PodCIDR' },
        { advertisementType: 'Interface', interface: { name: 'lo' } },
      ],
    },
  },
  fields: [
    { at: 'spec.advertisements', good: [], bad: [...lists, [7], [{}]], absent: 'error' },
    {
      at: 'spec.advertisements[1].advertisementType',
      good: ['PodCIDR', 'CiliumPodIPPool'],
      bad: [...notText, 'podCIDR', 'Node', 'Service', 'Interface'],
      absent: 'error',
      blames: 'spec.advertisements[1]',
    },
    {
      at: `${entry}.service.addresses`,
      good: [['LoadBalancerIP'], ['ClusterIP', 'ExternalIP'], ['ExternalIP']],
      bad: [...lists, [], ['LoadBalancer'], [''], [7]],
      absent: 'error',
    },
    { at: `${entry}.service.aggregationLengthIPv4`, ...number(0, 31), absent: 'default' },
    { at: `${entry}.service.aggregationLengthIPv6`, ...number(0, 127), absent: 'default' },
    { at: 'spec.advertisements[2].interface.name', good: ['lo', 'eth0'], bad: notText, absent: 'error' },
    { at: `${entry}.selector`, ...selectors, absent: 'default' },
    ...communities(`${entry}.attributes.communities`),
    preference(`${entry}.attributes.localPreference`),
  ],
})

const own = 'spec.bgpInstances[0]'
testFields({
  kind: 'CiliumBGPNodeConfigOverride',
  schema: nodeConfigOverrideSpec,
  example: {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumBGPNodeConfigOverride',
    metadata: { name: 'node-a' },
    spec: {
      bgpInstances: [
        {
          name: 'rack',
          routerID: '192.0.2.9',
          localPort: 1791,
          localASN: 65009,
          peers: [{ name: 'tor', localAddress: '192.168.1.10', localPort: 1180 }, { name: 'spine' }],
        },
        { name: 'spare', localASN: 65099 },
      ],
    },
  },
  fields: [
    { at: 'spec.bgpInstances', good: [], bad: [...lists, [], [7], [{}]], absent: 'error' },
    { at: `${own}.name`, good: ['rack', 'r'], bad: [...notText, 'x'.repeat(256)], absent: 'error' },
    {
      at: `${own}.routerID`,
      good: ['192.0.2.9', '1.0.0.1', '223.255.255.255'],
      bad: [...notText, '192.0.2', '2001:db8::1', '192.0.2.9/32', '0.0.0.0', '127.0.0.1', '224.0.0.1', 'x'],
      absent: 'default',
      empty: 'absent',
    },
    { at: `${own}.localPort`, ...number(1, 65535), absent: 'default' },
    { at: `${own}.localASN`, ...number(1, 4_294_967_295), absent: 'default' },
    { at: `${own}.peers`, good: [], bad: lists, absent: 'default' },
    { at: `${own}.peers[0].name`, good: ['tor', 't'], bad: [...notText, 'x'.repeat(256)], absent: 'error' },
    {
      at: `${own}.peers[0].localAddress`,
      good: ['192.168.1.10', '2001:db8::a', '10.0.0.1'],
      bad: [...notText, ...noAddresses, '192.168.1.10/24'],
      absent: 'default',
      empty: 'absent',
    },
    { at: `${own}.peers[0].localPort`, ...number(1, 65535), absent: 'default', isInert: true },
  ],
})
