/** Every field of the kinds of MetalLB, by table: what it takes, what it refuses, what stands for nothing. */
import { bfdProfileSpec } from '../../src/k8s/kinds/bfd-profile.ts'
import { bgpAdvertisementSpec } from '../../src/k8s/kinds/bgp-advertisement.ts'
import { bgpPeerSpec } from '../../src/k8s/kinds/bgp-peer.ts'
import { communitySpec } from '../../src/k8s/kinds/community.ts'
import { ipAddressPoolSpec } from '../../src/k8s/kinds/ip-address-pool.ts'
import { l2AdvertisementSpec } from '../../src/k8s/kinds/l2-advertisement.ts'
import { type Field, testFields } from './fields.ts'

const gold = { matchLabels: { tier: 'gold' } }
const numbers = (least: number, most: number) => ({
  good: [least, least + 1, most],
  bad: [least - 1, most + 1, least + 0.5, `${least}`, true, [least], {}, 1e300],
})
const flags = { good: [true, false], bad: ['true', 'no', 1, [], {}] } as const
const notText = [7, true, ['a'], { a: 'b' }] as const
const lists = ['x', 7, true, { 0: 'x' }] as const
const selectors = {
  good: [[gold], [], [gold, {}], [{ matchExpressions: [{ key: 'tier', operator: 'NotIn', values: ['a', 'b'] }] }]],
  bad: [
    ...[...lists, ['gold'], [7], [{ matchLabels: 'a' }], [{ matchLabels: { a: 7 } }], [{ tier: 'gold' }], [gold, gold]],
    [{ matchExpressions: [{ key: 'tier', operator: 'In', values: [] }] }],
    [{ matchExpressions: [{ key: 'tier', operator: 'In', values: ['a', 'a'] }] }],
    [{ matchExpressions: [{ key: 'a b', operator: 'Exists' }] }],
  ],
  absent: 'default',
} as const
const names = { good: [['a'], ['a', 'b'], []], bad: [...lists, [7], [null], ['a', 'a']], absent: 'default' } as const

const durations = (...good: readonly string[]) => ({
  good,
  bad: [7, '7', 'x', '7 s', '7d', '-7s', '1m30', true, [], {}, '1.s.', 'PT7S', '7S', '٣s'],
  absent: 'default' as const,
  empty: 'absent' as const,
})
const addresses = (...good: readonly string[]) => ({
  good,
  bad: [...notText, '192.0.2', '192.0.2.256', '192.0.2.1/32', '2001:db8::/64', 'x', '192.0.2.1:179', '[2001:db8::1]'],
  absent: 'default' as const,
  empty: 'absent' as const,
})
/** v1beta1 takes 0 as the default port. */
const peer = (leastPort: number): readonly Field[] => [
  { at: 'spec.myASN', ...numbers(1, 4_294_967_295), good: [64512, 1, 4_294_967_295], absent: 'error' },
  {
    at: 'spec.peerASN',
    ...numbers(1, 4_294_967_295),
    good: [64513, 2, 4_294_967_295],
    absent: 'error',
    without: ['spec.localASN', 'spec.ebgpMultiHop'],
  },
  { at: 'spec.localASN', ...numbers(1, 4_294_967_295), absent: 'default' },
  {
    at: 'spec.dynamicASN',
    good: ['internal', 'external'],
    bad: [...notText, 'Internal', 'any'],
    absent: 'error',
    empty: 'absent',
    without: ['spec.peerASN', 'spec.ebgpMultiHop'],
    lacks: 'spec.peerASN',
  },
  {
    at: 'spec.peerAddress',
    ...addresses('192.0.2.1', '192.0.2.2', '2001:db8::1', 'fe80::1'),
    bad: [...addresses().bad, '0.0.0.0', '224.0.0.5', '255.255.255.255', 'ff02::1', '::', 'fe80::1%eth0'],
    absent: 'error',
  },
  {
    at: 'spec.interface',
    good: ['eth0', 'bond0.100', 'x'.repeat(15)],
    bad: [...notText, 'x'.repeat(16), 'eth 0', 'a/b'],
    absent: 'error',
    empty: 'absent',
    without: ['spec.peerAddress'],
    lacks: 'spec.peerAddress',
  },
  { at: 'spec.sourceAddress', ...addresses('192.168.1.10', '10.0.0.1', '2001:db8::a') },
  { at: 'spec.peerPort', ...numbers(leastPort, 16_384), absent: 'default' },
  {
    at: 'spec.holdTime',
    ...durations('90s', '3m', '0s', '3s', '1h', '65535s'),
    without: ['spec.keepaliveTime'],
    bad: [...durations().bad, '2s', '1s', '2.9s', '65536s', '100h'],
  },
  {
    at: 'spec.keepaliveTime',
    ...durations('30s', '1s', '90s', '1m'),
    bad: [...durations().bad, '91s', '2m', '22000s'],
  },
  {
    at: 'spec.connectTime',
    ...durations('5s', '1s', '1m', '65535s'),
    bad: [...durations().bad, '0s', '0', '1500ms', '65536s', '0.5s'],
  },
  {
    at: 'spec.routerID',
    good: ['10.0.0.4', '1.0.0.1', '223.255.255.255'],
    bad: [...notText, '10.0.0', '2001:db8::1', '0.0.0.0', '127.0.0.1', '224.0.0.1', '10.0.0.4/32', 'x'],
    absent: 'default',
    empty: 'absent',
  },
  { at: 'spec.nodeSelectors', ...selectors },
  {
    at: 'spec.password',
    good: ['abcdef', 'x'],
    bad: [...notText, 'x'.repeat(81), 'ü'.repeat(41)],
    absent: 'default',
    empty: 'absent',
  },
  {
    at: 'spec.passwordSecret.name',
    good: ['md5', 'other'],
    bad: notText,
    absent: 'default',
    empty: 'absent',
    without: ['spec.password'],
  },
  {
    at: 'spec.passwordSecret.namespace',
    good: ['metallb-system'],
    bad: notText,
    absent: 'default',
    empty: 'absent',
    without: ['spec.password'],
    isInert: true,
  },
  { at: 'spec.bfdProfile', good: ['fast', 'slow'], bad: notText, absent: 'default', empty: 'absent' },
  { at: 'spec.enableGracefulRestart', ...flags, absent: 'default' },
  { at: 'spec.ebgpMultiHop', ...flags, absent: 'default' },
  {
    at: 'spec.vrf',
    good: ['red', 'blue'],
    bad: [...notText, 'x'.repeat(16), 'a b'],
    absent: 'default',
    empty: 'absent',
  },
  { at: 'spec.disableMP', ...flags, absent: 'default', isInert: true },
  { at: 'spec.dualStackAddressFamily', ...flags, absent: 'default' },
]

for (const version of ['v1beta1', 'v1beta2'])
  testFields({
    kind: 'BGPPeer',
    version,
    schema: bgpPeerSpec,
    example: {
      apiVersion: `metallb.io/${version}`,
      kind: 'BGPPeer',
      metadata: { name: 'tor', namespace: 'metallb-system' },
      spec: {
        myASN: 64512,
        peerASN: 64513,
        localASN: 64999,
        peerAddress: '192.0.2.1',
        sourceAddress: '192.168.1.10',
        peerPort: 1790,
        holdTime: '90s',
        keepaliveTime: '30s',
        connectTime: '5s',
        routerID: '10.0.0.4',
        nodeSelectors: [gold],
        password: 'abcdef',
        bfdProfile: 'fast',
        enableGracefulRestart: true,
        ebgpMultiHop: true,
        vrf: 'red',
        disableMP: true,
        dualStackAddressFamily: true,
      },
    },
    fields: peer(version === 'v1beta1' ? 0 : 1),
  })

testFields({
  kind: 'IPAddressPool',
  schema: ipAddressPoolSpec,
  example: {
    apiVersion: 'metallb.io/v1beta1',
    kind: 'IPAddressPool',
    metadata: { name: 'production', namespace: 'metallb-system' },
    spec: {
      addresses: ['192.168.10.0/24', '192.168.11.1-192.168.11.9'],
      autoAssign: false,
      avoidBuggyIPs: true,
      serviceAllocation: {
        priority: 7,
        namespaces: ['shop'],
        namespaceSelectors: [gold],
        serviceSelectors: [gold],
      },
    },
  },
  fields: [
    {
      at: 'spec.addresses',
      good: [
        ...[['192.168.10.0/24'], ['192.168.10.1/32'], ['2001:db8::/120'], ['192.168.10.1-192.168.10.9']],
        ...[['2001:db8::1-2001:db8::9'], ['192.168.10.7-192.168.10.7'], ['192.168.10.0/25', '192.168.10.128/25']],
      ],
      bad: [
        ...[...lists, [], [7], [null], ['192.168.10.0'], ['192.168.10.0/33'], ['192.168.10.9-192.168.10.1']],
        ...[['192.168.10.1-2001:db8::1'], ['192.168.10.1-'], ['-192.168.10.1'], ['192.168.10.0/24', '192.168.10.0/24']],
        ...[['192.168.10.0/24', '192.168.10.7/32'], ['192.168.10.1-192.168.10.9-192.168.10.12'], ['']],
        ...[['192.168.10.1 192.168.10.2'], ['192.168.10.0/24,192.168.11.0/24'], ['192.168.10.1-9']],
      ],
      absent: 'error',
    },
    { at: 'spec.autoAssign', ...flags, absent: 'default' },
    { at: 'spec.avoidBuggyIPs', ...flags, absent: 'default' },
    {
      at: 'spec.serviceAllocation.priority',
      good: [7, 0, -1, 2_147_483_647],
      bad: ['7', 7.5, true, [], {}],
      absent: 'default',
    },
    { at: 'spec.serviceAllocation.namespaces', ...names },
    { at: 'spec.serviceAllocation.namespaceSelectors', ...selectors },
    { at: 'spec.serviceAllocation.serviceSelectors', ...selectors },
  ],
})

testFields({
  kind: 'BGPAdvertisement',
  schema: bgpAdvertisementSpec,
  example: {
    apiVersion: 'metallb.io/v1beta1',
    kind: 'BGPAdvertisement',
    metadata: { name: 'everywhere', namespace: 'metallb-system' },
    spec: {
      aggregationLength: 32,
      aggregationLengthV6: 128,
      localPref: 7,
      communities: ['64512:9'],
      ipAddressPools: ['production'],
      ipAddressPoolSelectors: [gold],
      nodeSelectors: [gold],
      peers: ['tor'],
      serviceSelectors: [gold],
    },
  },
  fields: [
    { at: 'spec.aggregationLength', ...numbers(1, 32), absent: 'default', without: ['spec.serviceSelectors'] },
    { at: 'spec.aggregationLengthV6', ...numbers(1, 128), absent: 'default', without: ['spec.serviceSelectors'] },
    { at: 'spec.localPref', ...numbers(0, 4_294_967_295), absent: 'default' },
    {
      at: 'spec.communities',
      good: [['64512:9'], ['0:0'], ['65535:65535'], ['large:64512:1:2'], ['edge'], ['edge', '64512:9'], []],
      bad: [
        ...[...lists, [7], [null], [''], ['65536:1'], ['1:65536'], ['1:2:3'], ['64512:9', '64512:9']],
        ...[['large:4294967296:1:1'], ['large:1:2'], ['Large:1:2:3']],
      ],
      absent: 'default',
    },
    { at: 'spec.ipAddressPools', ...names },
    { at: 'spec.ipAddressPoolSelectors', ...selectors },
    { at: 'spec.nodeSelectors', ...selectors },
    { at: 'spec.peers', ...names },
    { at: 'spec.serviceSelectors', ...selectors },
  ],
})

testFields({
  kind: 'Community',
  schema: communitySpec,
  example: {
    apiVersion: 'metallb.io/v1beta1',
    kind: 'Community',
    metadata: { name: 'names', namespace: 'metallb-system' },
    spec: {
      communities: [
        { name: 'edge', value: '64512:1' },
        { name: 'core', value: '64512:2' },
      ],
    },
  },
  fields: [
    { at: 'spec.communities', good: [], bad: lists, absent: 'default' },
    { at: 'spec.communities[0].name', good: ['edge', 'e', '64512:7'], bad: notText, absent: 'error' },
    {
      at: 'spec.communities[0].value',
      good: ['64512:1', '0:0', '65535:65535', 'large:64512:1:2', 'large:4294967295:0:0'],
      bad: [...notText, '65536:1', '1:65536', '1:2:3', 'edge', '64512', 'large:1:2', 'no-export', '-1:1'],
      absent: 'error',
    },
  ],
})

testFields({
  kind: 'BFDProfile',
  schema: bfdProfileSpec,
  example: {
    apiVersion: 'metallb.io/v1beta1',
    kind: 'BFDProfile',
    metadata: { name: 'fast', namespace: 'metallb-system' },
    spec: {
      receiveInterval: 300,
      transmitInterval: 301,
      detectMultiplier: 3,
      echoInterval: 302,
      echoMode: true,
      passiveMode: true,
      minimumTtl: 254,
    },
  },
  fields: [
    { at: 'spec.receiveInterval', ...numbers(10, 60_000), absent: 'default' },
    { at: 'spec.transmitInterval', ...numbers(10, 60_000), absent: 'default' },
    { at: 'spec.detectMultiplier', ...numbers(2, 255), absent: 'default' },
    { at: 'spec.echoInterval', ...numbers(10, 60_000), absent: 'default' },
    { at: 'spec.echoMode', ...flags, absent: 'default' },
    { at: 'spec.passiveMode', ...flags, absent: 'default' },
    { at: 'spec.minimumTtl', ...numbers(1, 254), absent: 'default' },
  ],
})

testFields({
  kind: 'L2Advertisement',
  schema: l2AdvertisementSpec,
  example: {
    apiVersion: 'metallb.io/v1beta1',
    kind: 'L2Advertisement',
    metadata: { name: 'lan', namespace: 'metallb-system' },
    spec: {
      ipAddressPools: ['production'],
      ipAddressPoolSelectors: [gold],
      nodeSelectors: [gold],
      interfaces: ['eth0'],
      serviceSelectors: [gold],
      preferredNodeSelectors: [{ weight: 7, preference: gold }],
    },
  },
  fields: [
    { at: 'spec.ipAddressPools', ...names },
    { at: 'spec.ipAddressPoolSelectors', ...selectors },
    { at: 'spec.nodeSelectors', ...selectors },
    { at: 'spec.interfaces', ...names },
    { at: 'spec.serviceSelectors', ...selectors },
    { at: 'spec.preferredNodeSelectors[0].weight', ...numbers(1, 100), absent: 'error' },
    {
      at: 'spec.preferredNodeSelectors[0].preference',
      good: [gold, {}],
      bad: ['gold', 7, [], { matchLabels: 'a' }, { tier: 'gold' }],
      absent: 'error',
    },
  ],
})
