/** The kinds of cilium.io as CustomResourceDefinitions. */
import { wellKnownCommunityNames } from '../../src/k8s/kinds/communities.ts'
import { peeringPolicySpec } from '../../src/k8s/kinds/cilium-bgp-peering-policy.ts'
import { ipPoolSpec } from '../../src/k8s/kinds/cilium-load-balancer-ip-pool.ts'
import { acceptedColumns, ageColumn, type Definition } from './definitions.ts'
import type { Texts } from './structural.ts'

const uint16 = '(0|[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])'
const uint32 =
  '(0|[1-9][0-9]{0,8}|[1-3][0-9]{9}|4[01][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}|4294[0-8][0-9]{5}|' +
  '42949[0-5][0-9]{4}|429496[0-6][0-9]{3}|4294967[01][0-9]{2}|42949672[0-8][0-9]|429496729[0-5])'

/** The communities of an advertisement, below `path`. */
export function communityTexts(path: string): Texts {
  return {
    [path]: 'Communities that the routes carry.',
    [`${path}.standard`]: 'Communities of RFC 1997, as "65000:100".',
    [`${path}.standard[]`]: {
      description: 'Two numbers of 16 bits, or one of 32.',
      pattern: `^(${uint16}:${uint16}|${uint32})$`,
    },
    [`${path}.wellKnown`]: 'Well-known communities by name.',
    [`${path}.wellKnown[]`]: { description: 'The name as IANA has it.', enum: wellKnownCommunityNames },
    [`${path}.large`]: 'Large communities of RFC 8092, as "65000:1:2".',
    [`${path}.large[]`]: {
      description: 'Three numbers of 32 bits.',
      pattern: `^${uint32}:${uint32}:${uint32}$`,
    },
  }
}

/** The families that Cilium's schema lists, so that what was stored stays valid; two of them are served. */
export const families = {
  afi: {
    description: 'Address family: ipv4 and ipv6 are served.',
    enum: ['ipv4', 'ipv6', 'l2vpn', 'ls', 'opaque'],
  },
  safi: {
    description: 'Subsequent address family: unicast is served.',
    enum: [
      ...['unicast', 'multicast', 'mpls_label', 'encapsulation', 'vpls', 'evpn', 'ls', 'sr_policy', 'mup', 'mpls_vpn'],
      ...['mpls_vpn_multicast', 'route_target_constraints', 'flowspec_unicast', 'flowspec_vpn', 'key_value'],
    ],
  },
} as const

/** What every configuration of a session says alike. */
export const session = {
  connectRetryTimeSeconds: 'ConnectRetryTime of RFC 4271, before jitter.',
  holdTimeSeconds: 'Hold time of RFC 4271 that is offered; a change takes a new session.',
  keepAliveTimeSeconds: 'Time between KEEPALIVEs. Absent: a third of the hold time, at most 30 seconds.',
  keepaliveRule: {
    rule: '!has(self.keepAliveTimeSeconds) || self.keepAliveTimeSeconds <= self.holdTimeSeconds',
    message: 'keepAliveTimeSeconds must not be above holdTimeSeconds; a third of it is usual',
    fieldPath: '.keepAliveTimeSeconds',
  },
  authSecretRef:
    'Name of a Secret with the key "password" for TCP-MD5 (RFC 2385), in the namespace that the agent reads ' +
    'Secrets of.',
  multihop: 'TTL of packets to an external router that is more than one hop away; 1 is direct.',
  gracefulRestart: 'Graceful restart (RFC 4724); absent, it is off.',
  enabled: 'Whether it is offered.',
  restartTimeSeconds: 'How long the router keeps routes while the agent restarts.',
} as const

const router = 'spec.virtualRouters[]'
const neighbor = `${router}.neighbors[]`

const policyTexts: Texts = {
  spec: 'Which nodes speak BGP, as which AS, with which routers, and what they announce.',
  'spec.nodeSelector':
    'The nodes that this policy is for, by the labels of the Node. {} is every node. Of two policies for one node ' +
    'the oldest counts.',
  'spec.virtualRouters': {
    description: 'Instances of BGP, each with an AS number of its own.',
    maxItems: 64,
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': ['localASN'],
  },
  [`${router}.localASN`]: 'The AS number of the nodes.',
  [`${router}.exportPodCIDR`]: 'Announces the PodCIDRs of the node.',
  [`${router}.podIPPoolSelector`]: 'For pod IP pools of Cilium; it has no effect here.',
  [`${router}.serviceSelector`]:
    'The Services that are announced, by their labels. {} is every Service; absent, none is. The labels ' +
    'io.kubernetes.service.name and io.kubernetes.service.namespace stand for name and namespace.',
  [`${router}.serviceAdvertisements`]: {
    description: 'Which addresses of a Service are announced.',
    default: ['LoadBalancerIP'],
  },
  [`${router}.serviceAdvertisements[]`]: {
    description: 'A sort of address.',
    enum: ['LoadBalancerIP', 'ClusterIP', 'ExternalIP'],
  },
  [`${router}.neighbors`]: {
    description: 'The routers that this instance speaks with.',
    maxItems: 256,
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': ['peerAddress', 'peerASN'],
  },
  [neighbor]: {
    description: 'A router.',
    'x-kubernetes-validations': [session.keepaliveRule],
  },
  [`${neighbor}.peerAddress`]: {
    description: 'Address of the router with its full mask, as 192.0.2.1/32 or 2001:db8::1/128.',
    format: 'cidr',
    maxLength: 49,
    'x-kubernetes-validations': [
      {
        rule: "self.endsWith(self.contains(':') ? '/128' : '/32')",
        message: 'peerAddress is one router: write the mask /32, or /128 for IPv6',
      },
    ],
  },
  [`${neighbor}.peerPort`]: 'TCP port of the router.',
  [`${neighbor}.peerASN`]: 'AS number of the router; the same as localASN makes the session internal (iBGP).',
  [`${neighbor}.authSecretRef`]: session.authSecretRef,
  [`${neighbor}.eBGPMultihopTTL`]: session.multihop,
  [`${neighbor}.connectRetryTimeSeconds`]: session.connectRetryTimeSeconds,
  [`${neighbor}.holdTimeSeconds`]: session.holdTimeSeconds,
  [`${neighbor}.keepAliveTimeSeconds`]: session.keepAliveTimeSeconds,
  [`${neighbor}.gracefulRestart`]: session.gracefulRestart,
  [`${neighbor}.gracefulRestart.enabled`]: session.enabled,
  [`${neighbor}.gracefulRestart.restartTimeSeconds`]: session.restartTimeSeconds,
  [`${neighbor}.families`]: 'Families of routes that are exchanged. Absent: ipv4/unicast and ipv6/unicast.',
  [`${neighbor}.families[].afi`]: families.afi,
  [`${neighbor}.families[].safi`]: families.safi,
  [`${neighbor}.advertisedPathAttributes`]: 'Attributes of the routes that this router gets, by what they are of.',
  [`${neighbor}.advertisedPathAttributes[].selectorType`]: 'The sort of routes.',
  [`${neighbor}.advertisedPathAttributes[].selector`]:
    'Which of them, by the labels of the Node (PodCIDR) or of the pool. Absent: all.',
  ...communityTexts(`${neighbor}.advertisedPathAttributes[].communities`),
  [`${neighbor}.advertisedPathAttributes[].localPreference`]: 'LOCAL_PREF, for internal sessions; absent, it is 100.',
  [`${neighbor}.serviceSelector`]:
    'The Services that this router alone is told of. It belongs under the virtual router; here it is accepted.',
}

export const peeringPolicy: Definition = {
  shortNames: ['bgpp'],
  categories: ['cilium', 'ciliumbgp'],
  description: 'BGP sessions of nodes with their routers, and what is announced over them.',
  spec: peeringPolicySpec,
  texts: policyTexts,
  columns: [
    { name: 'Local AS', type: 'integer', jsonPath: '.spec.virtualRouters[0].localASN' },
    { name: 'Peer AS', type: 'integer', jsonPath: '.spec.virtualRouters[0].neighbors[0].peerASN' },
    { name: 'Peer Address', type: 'string', jsonPath: '.spec.virtualRouters[0].neighbors[0].peerAddress' },
    { name: 'PodCIDR', type: 'boolean', jsonPath: '.spec.virtualRouters[0].exportPodCIDR', priority: 1 },
    ...acceptedColumns,
    ageColumn,
  ],
}

const block = (path: string): Texts => ({
  [`${path}[]`]: {
    description: 'A prefix, or a range.',
    'x-kubernetes-validations': [
      {
        rule: 'has(self.cidr) != has(self.start)',
        message: 'a block has either cidr, or start with an optional stop',
      },
      { rule: '!has(self.stop) || has(self.start)', message: 'stop needs start' },
    ],
  },
  [`${path}[].cidr`]: { description: 'A prefix, as 192.0.2.0/24.', minLength: 1 },
  [`${path}[].start`]: { description: 'First address of a range; alone it is one address.', minLength: 1 },
  [`${path}[].stop`]: { description: 'Last address of a range.', minLength: 1 },
})

const condition = (type: string, field: string): string => `.status.conditions[?(@.type=="cilium.io/${type}")].${field}`

export const ipPool: Definition = {
  shortNames: ['ippools', 'ippool', 'lbippool', 'lbippools'],
  categories: ['cilium'],
  description: 'Addresses that Services of type LoadBalancer may get.',
  spec: ipPoolSpec,
  texts: {
    spec: 'The addresses, and the Services that they are for.',
    'spec.blocks': { description: 'The addresses of the pool.', maxItems: 1024 },
    ...block('spec.blocks'),
    'spec.cidrs': { description: 'What blocks was called in early versions.', maxItems: 1024 },
    ...block('spec.cidrs'),
    'spec.serviceSelector':
      'The Services that may get an address, by their labels; absent, every Service. The labels ' +
      'io.kubernetes.service.name and io.kubernetes.service.namespace stand for name and namespace.',
    'spec.allowFirstLastIPs': 'Whether first and last address of a prefix are given away.',
    'spec.disabled': 'No address is given away any more; what Services hold they keep.',
  },
  columns: [
    { name: 'Disabled', type: 'boolean', jsonPath: '.spec.disabled' },
    { name: 'Conflicting', type: 'string', jsonPath: condition('PoolConflict', 'status') },
    { name: 'IPs Available', type: 'string', jsonPath: condition('IPsAvailable', 'message') },
    ...acceptedColumns,
    ageColumn,
  ],
}
