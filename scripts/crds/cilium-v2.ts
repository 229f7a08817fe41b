/** The v2 family of Cilium's BGP kinds as CustomResourceDefinitions. */
import { advertisementSpec } from '../../src/k8s/kinds/cilium-bgp-advertisement.ts'
import { clusterConfigSpec } from '../../src/k8s/kinds/cilium-bgp-cluster-config.ts'
import { nodeConfigSpec } from '../../src/k8s/kinds/cilium-bgp-node-config.ts'
import { nodeConfigOverrideSpec } from '../../src/k8s/kinds/cilium-bgp-node-config-override.ts'
import { peerConfigSpec } from '../../src/k8s/kinds/cilium-bgp-peer-config.ts'
import { communityTexts, families, session } from './cilium.ts'
import { acceptedColumns, ageColumn, type Definition } from './definitions.ts'
import type { Structural } from './structural.ts'

const categories = ['cilium', 'ciliumbgp']
const byName = { 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['name'] }
const instance = 'spec.bgpInstances[]'
const peer = `${instance}.peers[]`
const discovery = `${peer}.autoDiscovery`

/** A rule: where `field` says `word`, the field of that name is written. */
const needs = (field: string, word: string): object => {
  const other = `${word.slice(0, 1).toLowerCase()}${word.slice(1)}`
  return { rule: `self.${field} != '${word}' || has(self.${other})`, message: `${field} ${word} needs ${other}` }
}

export const clusterConfig: Definition = {
  shortNames: ['cbgpcluster'],
  categories,
  description: 'Which nodes speak BGP, as which AS, and with which routers.',
  spec: clusterConfigSpec,
  texts: {
    spec: 'Nodes and their instances of BGP.',
    'spec.nodeSelector': 'The nodes, by the labels of the Node; absent, every node.',
    'spec.bgpInstances': { description: 'Instances of BGP, each with an AS number of its own.', ...byName },
    [`${instance}.name`]: 'By which a CiliumBGPNodeConfigOverride knows it.',
    [`${instance}.localASN`]: 'The AS number of the nodes.',
    [`${instance}.localPort`]: 'TCP port on which the nodes listen; absent, that of the agent.',
    [`${instance}.peers`]: { description: 'The routers that this instance speaks with.', maxItems: 256, ...byName },
    [`${peer}.name`]: 'By which a CiliumBGPNodeConfigOverride knows it.',
    [`${peer}.peerAddress`]: 'Address of the router, without a mask.',
    [`${peer}.peerASN`]: 'AS number of the router; 0 is whatever its OPEN says.',
    [discovery]: {
      description: 'How the router is found where no address is written.',
      'x-kubernetes-validations': [needs('mode', 'DefaultGateway'), needs('mode', 'Unnumbered')],
    },
    [`${discovery}.mode`]:
      'DefaultGateway: the next hop of the default route. Unnumbered: whoever is on the interface.',
    [`${discovery}.defaultGateway`]: 'For the mode DefaultGateway.',
    [`${discovery}.defaultGateway.addressFamily`]: 'Of the default route.',
    [`${discovery}.unnumbered`]: 'For the mode Unnumbered.',
    [`${discovery}.unnumbered.interface`]: 'The interface to the router.',
    [`${peer}.peerConfigRef`]: 'The CiliumBGPPeerConfig with timers, families and what is advertised.',
    [`${peer}.peerConfigRef.name`]: 'Its name.',
    [`${peer}.peerConfigRef.group`]: 'Of early versions: cilium.io.',
    [`${peer}.peerConfigRef.kind`]: 'Of early versions: CiliumBGPPeerConfig.',
    [`${instance}.bmpServers`]: 'Of Cilium; it has no effect here.',
    [`${instance}.bmpServers[]`]: {
      description: 'A server for BMP.',
      type: 'object',
      'x-kubernetes-preserve-unknown-fields': true,
    },
  },
  columns: [
    { name: 'Local AS', type: 'integer', jsonPath: '.spec.bgpInstances[0].localASN' },
    { name: 'Peer AS', type: 'integer', jsonPath: '.spec.bgpInstances[0].peers[0].peerASN' },
    { name: 'Peer Address', type: 'string', jsonPath: '.spec.bgpInstances[0].peers[0].peerAddress' },
    ...acceptedColumns,
    ageColumn,
  ],
}

export const peerConfig: Definition = {
  shortNames: ['cbgppeer'],
  categories,
  description: 'What routers are spoken with: timers, families, keys.',
  spec: peerConfigSpec,
  texts: {
    spec: 'Settings of the sessions that name this object.',
    'spec.transport': 'How the router is reached.',
    'spec.transport.peerPort': 'TCP port of the router.',
    'spec.transport.sourceInterface': 'The interface whose address is the source.',
    'spec.transport.localPort': 'Of early versions; it has no effect.',
    'spec.timers': { description: 'Timers of the session.', 'x-kubernetes-validations': [session.keepaliveRule] },
    'spec.timers.connectRetryTimeSeconds': session.connectRetryTimeSeconds,
    'spec.timers.holdTimeSeconds': session.holdTimeSeconds,
    'spec.timers.keepAliveTimeSeconds': session.keepAliveTimeSeconds,
    'spec.authSecretRef': session.authSecretRef,
    'spec.gracefulRestart': session.gracefulRestart,
    'spec.gracefulRestart.enabled': session.enabled,
    'spec.gracefulRestart.restartTimeSeconds': session.restartTimeSeconds,
    'spec.ebgpMultihop': session.multihop,
    'spec.families':
      'Families of routes, and what is advertised in each. Absent: both, of which nothing is advertised.',
    'spec.families[].afi': families.afi,
    'spec.families[].safi': families.safi,
    'spec.families[].advertisements':
      'CiliumBGPAdvertisements by their labels; absent, nothing is advertised in this family.',
  },
  columns: [
    { name: 'Hold Time', type: 'integer', jsonPath: '.spec.timers.holdTimeSeconds' },
    { name: 'Graceful Restart', type: 'boolean', jsonPath: '.spec.gracefulRestart.enabled' },
    { name: 'Secret', type: 'string', jsonPath: '.spec.authSecretRef', priority: 1 },
    ...acceptedColumns,
    ageColumn,
  ],
}

const entry = 'spec.advertisements[]'

export const advertisement: Definition = {
  shortNames: ['cbgpadvert'],
  categories,
  description: 'What is announced, with which attributes. Its labels are how CiliumBGPPeerConfigs choose it.',
  spec: advertisementSpec,
  texts: {
    spec: 'What is announced.',
    'spec.advertisements': { description: 'Sorts of routes, each with its attributes.', maxItems: 256 },
    [entry]: {
      description: 'A sort of routes.',
      'x-kubernetes-validations': [
        needs('advertisementType', 'Service'),
        needs('advertisementType', 'Interface'),
        {
          rule: "self.advertisementType == 'Service' || !has(self.service)",
          message: 'service is for advertisementType Service',
        },
        {
          rule: "self.advertisementType == 'Interface' || !has(self.interface)",
          message: 'interface is for advertisementType Interface',
        },
        {
          rule: "self.advertisementType != 'PodCIDR' || !has(self.selector)",
          message: 'advertisementType PodCIDR takes no selector',
        },
      ],
    },
    [`${entry}.advertisementType`]: 'PodCIDR and Service are served.',
    [`${entry}.service`]: 'For advertisementType Service.',
    [`${entry}.service.addresses`]: 'Which addresses of a Service are announced.',
    [`${entry}.service.addresses[]`]: 'A sort of address.',
    [`${entry}.service.aggregationLengthIPv4`]: 'Announces the prefix of this length in place of single addresses.',
    [`${entry}.service.aggregationLengthIPv6`]: 'Announces the prefix of this length in place of single addresses.',
    [`${entry}.interface`]: 'Of Cilium; addresses of interfaces are not announced.',
    [`${entry}.interface.name`]: 'Name of the interface.',
    [`${entry}.selector`]: 'The Services, by their labels. {} is every Service; absent, none is.',
    [`${entry}.attributes`]: 'Attributes of the routes. Of several advertisements communities are united.',
    ...communityTexts(`${entry}.attributes.communities`),
    [`${entry}.attributes.localPreference`]: 'LOCAL_PREF, for internal sessions; the highest of several counts.',
  },
  columns: [
    { name: 'Type', type: 'string', jsonPath: '.spec.advertisements[0].advertisementType' },
    ...acceptedColumns,
    ageColumn,
  ],
}

export const nodeConfigOverride: Definition = {
  shortNames: ['cbgpnodeoverride'],
  categories,
  description: 'What one node does otherwise than its CiliumBGPClusterConfig says; it has the name of the node.',
  spec: nodeConfigOverrideSpec,
  texts: {
    spec: 'What differs.',
    'spec.bgpInstances': {
      description: 'Instances by the names that they have in the cluster configuration.',
      ...byName,
    },
    [`${instance}.name`]: 'Of the instance.',
    [`${instance}.routerID`]: { description: 'Router ID of this node, as an IPv4 address.', format: 'ipv4' },
    [`${instance}.localPort`]: 'TCP port on which this node listens.',
    [`${instance}.localASN`]: 'AS number of this node.',
    [`${instance}.peers`]: { description: 'Peers by the names that they have there.', ...byName },
    [`${peer}.name`]: 'Of the peer.',
    [`${peer}.localAddress`]: 'Source address of the session.',
    [`${peer}.localPort`]: 'Of early versions; it has no effect.',
  },
  columns: [
    { name: 'Router ID', type: 'string', jsonPath: '.spec.bgpInstances[0].routerID' },
    ...acceptedColumns,
    ageColumn,
  ],
}

const said = (type: string, description: string, more: object = {}): Structural => ({ type, description, ...more })
const listed = (
  description: string,
  required: readonly string[],
  properties: Structural['properties'],
): Structural => ({
  type: 'array',
  description,
  ...byName,
  items: { type: 'object', required, ...(properties === undefined ? {} : { properties }) },
})
const whole = { format: 'int32' }

const peerStatus = listed('Sessions, each as the agent saw it last.', ['name', 'peerAddress'], {
  name: said('string', 'By which the configuration knows the peer.'),
  peerAddress: said('string', 'Address of the router.'),
  peerASN: said('integer', 'AS number of the router.', { format: 'int64' }),
  peeringState: said('string', 'idle, connect, active, open_sent, open_confirm or established.'),
  establishedTime: said('string', 'Since when the session is established.'),
  timers: {
    ...said('object', 'As negotiated.'),
    properties: {
      appliedHoldTimeSeconds: said('integer', 'Hold time of the session.', whole),
      appliedKeepaliveSeconds: said('integer', 'Time between two KEEPALIVEs.', whole),
    },
  },
  routeCount: {
    ...said('array', 'Prefixes of each family.'),
    items: {
      type: 'object',
      required: ['afi', 'safi'],
      properties: {
        afi: said('string', 'Address family.', { enum: ['ipv4', 'ipv6'] }),
        safi: said('string', 'Which of its routes.', { enum: ['unicast'] }),
        received: said('integer', 'From the router.', whole),
        advertised: said('integer', 'To the router.', whole),
      },
    },
  },
})

export const nodeConfig: Definition = {
  shortNames: ['cbgpnode'],
  categories,
  description: 'What the BGP sessions of a node are and do; it has the name of the node. Written by Herald alone.',
  spec: nodeConfigSpec,
  texts: {
    spec: 'The sessions, as the configuration of the cluster gives them to this node.',
    'spec.bgpInstances': { description: 'Instances of BGP.', ...byName },
    [`${instance}.name`]: 'Of the instance, or its AS number where the configuration has no names.',
    [`${instance}.localASN`]: 'AS number of the node.',
    [`${instance}.localPort`]: 'TCP port on which the node listens beside that of the agent.',
    [`${instance}.routerID`]: { description: 'Router ID of the node, as an IPv4 address.', format: 'ipv4' },
    [`${instance}.peers`]: { description: 'The routers that the node speaks with.', ...byName },
    [`${peer}.name`]: 'Of the peer, or its address where the configuration has no names.',
    [`${peer}.peerAddress`]: 'Address of the router.',
    [`${peer}.peerASN`]: 'AS number of the router; 0 is whatever its OPEN says.',
    [`${peer}.localAddress`]: 'Source address of the session.',
  },
  status: {
    bgpInstances: listed('Instances of BGP as the agent of the node runs them.', ['name'], {
      name: said('string', 'Of the instance.'),
      localASN: said('integer', 'AS number of the node.', { format: 'int64' }),
      peers: peerStatus,
    }),
  },
  columns: [
    { name: 'Local AS', type: 'integer', jsonPath: '.status.bgpInstances[0].localASN' },
    { name: 'Peer Address', type: 'string', jsonPath: '.status.bgpInstances[0].peers[0].peerAddress' },
    { name: 'Session State', type: 'string', jsonPath: '.status.bgpInstances[0].peers[0].peeringState' },
    { name: 'Healthy', type: 'string', jsonPath: '.status.conditions[?(@.type=="herald.dev/Healthy")].status' },
    ageColumn,
  ],
}
