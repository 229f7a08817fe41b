/** The kinds of metallb.io as CustomResourceDefinitions. */
import { bfdProfileSpec } from '../../src/k8s/kinds/bfd-profile.ts'
import { bgpAdvertisementSpec } from '../../src/k8s/kinds/bgp-advertisement.ts'
import { bgpPeerSpec } from '../../src/k8s/kinds/bgp-peer.ts'
import { communitySpec } from '../../src/k8s/kinds/community.ts'
import { ipAddressPoolSpec } from '../../src/k8s/kinds/ip-address-pool.ts'
import { l2AdvertisementSpec } from '../../src/k8s/kinds/l2-advertisement.ts'
import { acceptedColumns, ageColumn, type Column, type Definition } from './definitions.ts'
import type { Structural, Texts } from './structural.ts'

const column = (name: string, type: Column['type'], field: string, priority?: number): Column => ({
  name,
  type,
  jsonPath: `.spec.${field}`,
  ...(priority === undefined ? {} : { priority }),
})

const counter = (description: string): Structural => ({ type: 'integer', format: 'int64', description })

export const ipAddressPool: Definition = {
  shortNames: [],
  categories: [],
  description: 'Addresses that Services of type LoadBalancer may get.',
  spec: ipAddressPoolSpec,
  texts: {
    spec: 'The addresses, and the Services that they are for.',
    'spec.addresses': 'Prefixes as 192.0.2.0/24 and ranges as 192.0.2.1-192.0.2.9, of both families.',
    'spec.autoAssign': 'Whether Services get an address that do not ask for this pool.',
    'spec.avoidBuggyIPs': 'Whether addresses that end in .0 and .255 are left out.',
    'spec.serviceAllocation': 'The Services that may get an address; absent, every Service.',
    'spec.serviceAllocation.priority': 'Pools with a lower one are preferred; 0 comes last.',
    'spec.serviceAllocation.namespaces': 'Namespaces of the Services, by name.',
    'spec.serviceAllocation.namespaceSelectors': 'Namespaces of the Services, by their labels; any of these.',
    'spec.serviceAllocation.serviceSelectors': 'The Services, by their labels; any of these.',
  },
  columns: [
    column('Auto Assign', 'boolean', 'autoAssign'),
    column('Avoid Buggy IPs', 'boolean', 'avoidBuggyIPs'),
    column('Addresses', 'string', 'addresses'),
    ...acceptedColumns,
    ageColumn,
  ],
  status: {
    assignedIPv4: counter('IPv4 addresses that Services hold.'),
    assignedIPv6: counter('IPv6 addresses that Services hold.'),
    availableIPv4: counter('IPv4 addresses that are free.'),
    availableIPv6: counter('IPv6 addresses that are free.'),
  },
}

/** Of the language Go, as 1m30s. */
const duration = (description: string): Texts[string] => ({
  description: `${description} As 90s or 1m30s.`,
  type: 'string',
  pattern: '^([0-9]+(\\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$|^0$',
})

export const bgpPeer: Definition = {
  shortNames: [],
  categories: [],
  description: 'A router that nodes speak BGP with.',
  spec: bgpPeerSpec,
  texts: {
    spec: {
      description: 'The router, the session with it, and the nodes that have it.',
      'x-kubernetes-validations': [
        {
          rule: "has(self.peerAddress) && self.peerAddress != '' || has(self.interface) && self.interface != ''",
          message: 'peerAddress or interface is needed',
        },
        {
          rule: '(has(self.peerASN) && self.peerASN != 0) != has(self.dynamicASN)',
          message: 'either peerASN or dynamicASN is needed',
        },
        {
          rule: "!(has(self.password) && self.password != '' && has(self.passwordSecret))",
          message: 'password and passwordSecret exclude each other',
        },
      ],
    },
    'spec.myASN': { description: 'AS number of the nodes.', minimum: 1 },
    'spec.peerASN': { description: 'AS number of the router; or dynamicASN says which it may be.', default: undefined },
    'spec.localASN': 'AS number of the nodes in this session alone.',
    'spec.dynamicASN': 'In place of peerASN: internal is that of the nodes, external any other.',
    'spec.peerAddress': 'Address of the router.',
    'spec.interface': 'In place of peerAddress: the interface to the router, by its IPv6 link-local address.',
    'spec.sourceAddress': 'Source address of the session.',
    'spec.peerPort': 'TCP port of the router.',
    'spec.holdTime': duration('Hold time that is offered.'),
    'spec.keepaliveTime': duration('Time between KEEPALIVEs; absent, a third of the hold time.'),
    'spec.connectTime': duration('ConnectRetryTime.'),
    'spec.routerID': 'Router ID of the nodes, as an IPv4 address.',
    'spec.nodeSelectors': 'The nodes that have this session, by their labels; any of these. Absent: every node.',
    'spec.password': {
      description: 'Key for TCP-MD5 (RFC 2385); passwordSecret keeps it out of sight.',
      type: 'string',
    },
    'spec.passwordSecret': 'Secret of type kubernetes.io/basic-auth with the key "password", in the same namespace.',
    'spec.passwordSecret.name': 'Its name.',
    'spec.passwordSecret.namespace': 'Its namespace, which is that of this object.',
    'spec.bfdProfile': 'Name of a BFDProfile.',
    'spec.enableGracefulRestart': 'Whether graceful restart (RFC 4724) is offered.',
    'spec.ebgpMultiHop': 'Whether an external router may be more than one hop away.',
    'spec.vrf': 'VRF of the session.',
    'spec.disableMP': 'Of early versions; it has no effect.',
    'spec.dualStackAddressFamily': 'Whether both families go over this session.',
  },
  columns: [
    column('Address', 'string', 'peerAddress'),
    column('ASN', 'integer', 'peerASN'),
    column('Dynamic ASN', 'string', 'dynamicASN'),
    column('BFD Profile', 'string', 'bfdProfile'),
    column('Multi Hops', 'boolean', 'ebgpMultiHop'),
    ...acceptedColumns,
    ageColumn,
  ],
}

/** What an advertisement chooses. */
const choosing: Texts = {
  'spec.ipAddressPools': 'IPAddressPools by name. Absent, with ipAddressPoolSelectors: every pool.',
  'spec.ipAddressPoolSelectors': 'IPAddressPools by their labels; any of these, beside those by name.',
  'spec.nodeSelectors': 'The nodes that announce, by their labels; any of these. Absent: every node.',
  'spec.serviceSelectors': 'The Services that are announced, by their labels; any of these. Absent: every Service.',
}
const choosingColumns: readonly Column[] = [
  column('IPAddressPools', 'string', 'ipAddressPools'),
  column('IPAddressPool Selectors', 'string', 'ipAddressPoolSelectors'),
]

export const bgpAdvertisement: Definition = {
  shortNames: [],
  categories: [],
  description: 'Which addresses are announced by BGP, by whom, to whom, and with which attributes.',
  isSpecOptional: true,
  spec: bgpAdvertisementSpec,
  texts: {
    spec: {
      description: 'What is announced. Absent, every address to every router.',
      'x-kubernetes-validations': [
        {
          rule:
            '!has(self.serviceSelectors) || size(self.serviceSelectors) == 0 || ' +
            'self.aggregationLength == 32 && self.aggregationLengthV6 == 128',
          message: 'an aggregate is of all Services in it: write another BGPAdvertisement for serviceSelectors',
        },
      ],
    },
    ...choosing,
    'spec.aggregationLength': 'Length of the IPv4 prefixes that are announced in place of single addresses.',
    'spec.aggregationLengthV6': 'Length of the IPv6 prefixes that are announced in place of single addresses.',
    'spec.localPref': 'LOCAL_PREF, for internal sessions; 0 is none.',
    'spec.communities': 'Communities, as 65000:100 or large:65000:1:2, or by the name that a Community gives them.',
    'spec.peers': 'BGPPeers by name. Absent: every peer.',
  },
  columns: [
    ...choosingColumns,
    column('Peers', 'string', 'peers'),
    column('Node Selectors', 'string', 'nodeSelectors', 1),
    ...acceptedColumns,
    ageColumn,
  ],
}

export const l2Advertisement: Definition = {
  shortNames: [],
  categories: [],
  description: 'Which addresses are announced by ARP and NDP. Layer 2 is not served: it has no effect here.',
  isSpecOptional: true,
  spec: l2AdvertisementSpec,
  texts: {
    spec: 'What is announced.',
    ...choosing,
    'spec.interfaces': 'Interfaces that answer. Absent: every one.',
    'spec.preferredNodeSelectors': 'Nodes that are preferred.',
    'spec.preferredNodeSelectors[].weight': 'How much.',
    'spec.preferredNodeSelectors[].preference': 'Which nodes, by their labels.',
  },
  columns: [...choosingColumns, column('Interfaces', 'string', 'interfaces'), ...acceptedColumns, ageColumn],
}

export const bfdProfile: Definition = {
  shortNames: [],
  categories: [],
  description: 'How BFD (RFC 5880) watches sessions that name this object.',
  isSpecOptional: true,
  spec: bfdProfileSpec,
  texts: {
    spec: 'Intervals and modes.',
    'spec.receiveInterval': 'Least interval in milliseconds at which packets can be received.',
    'spec.transmitInterval': 'Least interval in milliseconds at which packets are sent.',
    'spec.detectMultiplier': 'Packets that may be missing.',
    'spec.echoInterval': 'Interval of echo packets in milliseconds.',
    'spec.echoMode': 'Whether echo packets are used.',
    'spec.passiveMode': 'Whether the other side begins.',
    'spec.minimumTtl': 'Least TTL of packets, over several hops.',
  },
  columns: [
    column('Passive Mode', 'boolean', 'passiveMode'),
    column('Transmit Interval', 'integer', 'transmitInterval'),
    column('Receive Interval', 'integer', 'receiveInterval'),
    column('Multiplier', 'integer', 'detectMultiplier'),
    ...acceptedColumns,
    ageColumn,
  ],
}

export const community: Definition = {
  shortNames: [],
  categories: [],
  description: 'Names for communities, for BGPAdvertisements.',
  isSpecOptional: true,
  spec: communitySpec,
  texts: {
    spec: 'The names.',
    'spec.communities': 'Communities with a name each.',
    'spec.communities[].name': 'By which a BGPAdvertisement knows it.',
    'spec.communities[].value': 'As 65000:100 or large:65000:1:2.',
  },
  columns: [...acceptedColumns, ageColumn],
}
