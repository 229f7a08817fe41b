/** The v2 family of Cilium -> NodePlan. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { planKey, type NodeFacts } from '../../src/k8s/dialects/node-plan.ts'
import { parseNeighborAnnotation } from '../../src/k8s/kinds/neighbor-annotation.ts'
import { advertisement, answerOf, clusterConfig, override, peerConfig, peersOf, planOf, services } from './cilium-v2.ts'
import { smallestPolicy } from './manifests.ts'

const tor = '{name: tor, peerASN: 65000, peerAddress: 192.168.1.1, peerConfigRef: {name: tor}}'
const keys = (text: string, facts: Partial<NodeFacts> = {}) => planOf(text, facts).neighbors.map((one) => planKey(one))
const told = (text: string, facts: Partial<NodeFacts> = {}) =>
  answerOf(text, facts).problems.map(({ code, object, field }) => `${code} ${object.name} ${field}`)

test('a cluster configuration is a plan of its peers, with what their configurations say', () => {
  const settings =
    'transport: {peerPort: 1790}\n  timers: {connectRetryTimeSeconds: 5, holdTimeSeconds: 9, keepAliveTimeSeconds: 3}\n' +
    '  authSecretRef: key\n  gracefulRestart: {enabled: true, restartTimeSeconds: 60}\n  ebgpMultihop: 4'
  const plan = planOf(clusterConfig() + peerConfig(settings) + advertisement('a', services()))
  assert.deepEqual(plan.names, ['CiliumBGPClusterConfig cilium-bgp'])
  const [neighbor] = plan.neighbors
  assert.ok(neighbor)
  const { from, advertisements, secret, overrides, ownKeys, ...rest } = neighbor
  assert.deepEqual(rest, {
    path: ['spec', 'bgpInstances', 0, 'peers', 0],
    virtualRouter: 'rack',
    peerName: 'tor',
    localAsn: 65001,
    peerAsn: 65000,
    peerAddress: '192.168.1.1',
    peerPort: 1790,
    families: ['ipv4-unicast'],
    holdTimeSec: 9,
    keepaliveSec: 3,
    connectRetrySec: 5,
    multihopTtl: 4,
    gracefulRestart: { restartTimeSec: 60 },
  })
  assert.deepEqual([from.key.name, overrides, [...ownKeys]], ['cilium-bgp', [{}], []])
  assert.deepEqual([secret?.id, secret?.at?.from.key.name, secret?.at?.path], ['keys/key', 'tor', ['spec']])
  assert.deepEqual(
    advertisements.map(({ name, family, type, addressTypes }) => [name, family, type, addressTypes]),
    [['CiliumBGPAdvertisement a', 'ipv4-unicast', 'Service', ['LoadBalancerIP']]],
  )
})

test('the id of a peer is that which a policy gives it, so that moving over ends no session', () => {
  assert.deepEqual(keys(clusterConfig() + peerConfig()), ['65001/192.168.1.1'])
  const both = answerOf(smallestPolicy + clusterConfig() + peerConfig() + advertisement('a', services()))
  assert.deepEqual(
    both.plan?.neighbors.map(({ from, advertisements }) => [from.key.kind, advertisements.map(({ name }) => name)]),
    [
      [
        'CiliumBGPPeeringPolicy',
        [...Array.from({ length: 4 }, () => 'policy bgp-peering'), 'CiliumBGPAdvertisement a'],
      ],
    ],
    'the settings of the policy count, and both are heard',
  )
  assert.ok(both.problems.some(({ code, object }) => code === 'DuplicateNeighbor' && object.name === 'cilium-bgp'))
})

test('each family of a peer hears every entry of every advertisement that it selects, in order of names', () => {
  const entries = `{advertisementType: PodCIDR}, ${services('ClusterIP, ExternalIP', ', attributes: {localPreference: 5}')}`
  const text =
    clusterConfig() +
    peerConfig().replace('[{afi', '[{afi: ipv6, safi: unicast}, {afi') +
    advertisement('b', entries) +
    advertisement('a', services().replace('[LoadBalancerIP]', '[LoadBalancerIP], aggregationLengthIPv4: 24')) +
    advertisement('other', services()).replace('advertise: bgp', 'advertise: no')
  const plan = planOf(text)
  assert.deepEqual(
    plan.neighbors[0]?.advertisements.map(({ name, family, type, addressTypes, aggregationLength, attributes }) => [
      name.slice(-1),
      family,
      type,
      addressTypes?.join(),
      aggregationLength,
      attributes.map((rule) => rule.attributes.localPreference),
    ]),
    [
      ['a', 'ipv4-unicast', 'Service', 'LoadBalancerIP', 24, [undefined]],
      ['b', 'ipv4-unicast', 'PodCIDR', undefined, undefined, [undefined]],
      ['b', 'ipv4-unicast', 'Service', 'ClusterIP,ExternalIP', undefined, [5]],
    ],
  )
  assert.deepEqual(
    plan.podCidrExports.map(({ name, path }) => [name, path]),
    [['CiliumBGPAdvertisement b', ['spec', 'advertisements', 0, 'advertisementType']]],
  )
})

test('attributes of the schema and of herald.dev/attributes are one rule, by family', () => {
  const text =
    clusterConfig() +
    peerConfig() +
    advertisement(
      'a',
      '{advertisementType: PodCIDR, attributes: {communities: {standard: ["65000:1"], wellKnown: [no-export], ' +
        'large: ["1:2:3"]}, localPreference: 7}}',
      `, annotations: {herald.dev/attributes: '{med: {ipv4: 5, ipv6: 6}, asPathPrepend: 2, extendedCommunities: ["rt:1:1"]}'}`,
    )
  assert.deepEqual(planOf(text).neighbors[0]?.advertisements[0]?.attributes[0]?.attributes, {
    communities: [4259840001, 0xffffff01],
    largeCommunities: ['1:2:3'],
    localPreference: 7,
    med: 5,
    asPathPrepend: 2,
    extendedCommunities: ['0002000100000001'],
  })
})

test('of two configurations for one node the oldest counts, and each of the others is told', () => {
  const aged = (name: string, time: string) => clusterConfig({ name, meta: `, creationTimestamp: "${time}"` })
  const text =
    aged('young', '2026-02-02T00:00:00Z') + aged('old', '2026-01-01T00:00:00Z') + clusterConfig({ name: 'timeless' })
  assert.deepEqual(planOf(text + peerConfig()).names, ['CiliumBGPClusterConfig old'])
  assert.deepEqual(told(text + peerConfig() + advertisement('a', services())).sort(), [
    'PolicyConflict timeless spec.nodeSelector',
    'PolicyConflict young spec.nodeSelector',
  ])
})

test('without a plan the reason is about what there is', () => {
  assert.match(answerOf('').noPlan.message, /no CiliumBGPPeeringPolicy; there is no CiliumBGPClusterConfig\b/)
  const other = answerOf(clusterConfig(), { labels: {} })
  assert.deepEqual([other.plan, other.noPlan.message], [undefined, 'no CiliumBGPClusterConfig selects node node-a'])
  assert.deepEqual(
    planOf(clusterConfig({ spec: 'bgpInstances: [{name: a, localASN: 1}]' }), { labels: {} }).names.length,
    1,
  )
})

test('a peer whose configuration is not there is left out and told, with the name that may be meant', () => {
  const { plan, problems } = answerOf(clusterConfig() + peerConfig('', 'tors') + advertisement('a', services()))
  assert.deepEqual(plan?.neighbors, [])
  const [problem] = problems
  assert.deepEqual(
    [problem?.code, problem?.object.name, problem?.field, problem?.severity],
    ['NoPeerConfig', 'cilium-bgp', 'spec.bgpInstances[0].peers[0].peerConfigRef.name', 'error'],
  )
  assert.match(problem?.remedy ?? '', /Did you mean tors\?/)
})

test('a peer that names none has the defaults, and hears nothing', () => {
  const [neighbor] = planOf(peersOf('{name: tor, peerAddress: 192.168.1.1}')).neighbors
  assert.deepEqual(
    [neighbor?.peerAsn, neighbor?.peerPort, neighbor?.holdTimeSec, neighbor?.families, neighbor?.advertisements],
    [0, 179, 90, ['ipv4-unicast', 'ipv6-unicast'], []],
  )
})

test('a selector that finds no advertisement is told', () => {
  assert.deepEqual(told(clusterConfig() + peerConfig()), ['NoAdvertisements tor spec.families[0].advertisements'])
  assert.deepEqual(told(clusterConfig() + peerConfig() + advertisement('a', services())), [])
})

test('an override is of the node of its name: AS, router ID, port, and the source of a peer', () => {
  const own = override(
    '{name: rack, localASN: 65099, routerID: 10.0.0.9, localPort: 1790, peers: [{name: tor, localAddress: 10.0.0.2}]}',
  )
  const base = clusterConfig() + peerConfig() + advertisement('a', services())
  const [neighbor] = planOf(base + own).neighbors
  assert.deepEqual(
    [neighbor?.localAsn, neighbor?.routerId, neighbor?.listenPort, neighbor?.overrides, [...(neighbor?.ownKeys ?? [])]],
    [65099, '10.0.0.9', 1790, [{ sourceAddress: '10.0.0.2' }], ['sourceAddress']],
  )
  assert.deepEqual(keys(base + own.replace('node-a', 'node-b')), ['65001/192.168.1.1'])
  const said = told(base + override('{name: rock}, {name: rack, peers: [{name: tot, localAddress: 10.0.0.2}]}'))
  assert.deepEqual(said, [
    'NoSuchPart node-a spec.bgpInstances[0].name',
    'NoSuchPart node-a spec.bgpInstances[1].peers[0].name',
  ])
})

test('an instance without an AS needs one of an override', () => {
  const bare = clusterConfig().replace('    localASN: 65001\n', '') + peerConfig() + advertisement('a', services())
  assert.deepEqual([keys(bare), told(bare)], [[], ['NoLocalAsn cilium-bgp spec.bgpInstances[0].localASN']])
  assert.deepEqual(keys(bare + override('{name: rack, localASN: 65007}')), ['65007/192.168.1.1'])
  assert.deepEqual(told(bare + override('{name: rack, localASN: 65007}', 'other'), { isStandIn: true }), [])
})

const network = (
  addresses: Readonly<Record<string, readonly string[]>>,
  gateways: NonNullable<NodeFacts['network']>['gateways'] = {},
) => ({
  network: { addresses: new Map(Object.entries(addresses)), gateways },
})

test('a gateway is a peer: the router of the default route of its family, also a link-local one', () => {
  const text = peersOf(
    '{name: a, peerASN: 1, autoDiscovery: {mode: DefaultGateway, defaultGateway: {addressFamily: ipv4}}}',
    '{name: b, peerASN: 1, autoDiscovery: {mode: DefaultGateway, defaultGateway: {addressFamily: ipv6}}}',
  )
  const gateways = {
    ipv4: { address: '10.0.0.1', device: 'eth0' },
    ipv6: { address: 'fe80::1', device: 'eth1' },
  }
  assert.deepEqual(keys(text, network({}, gateways)), ['65001/10.0.0.1', '65001/fe80::1%eth1'])
  assert.deepEqual(told(text, network({}, { ipv6: gateways.ipv6 })), [
    'NoGateway cilium-bgp spec.bgpInstances[0].peers[0].autoDiscovery',
  ])
  assert.deepEqual(told(text, { isStandIn: true }), [], 'what a node routes is not in manifests')
})

test('unnumbered and link-local peers are told apart by their interface', () => {
  const text = peersOf(
    '{name: a, autoDiscovery: {mode: Unnumbered, unnumbered: {interface: eth0}}}',
    '{name: b, autoDiscovery: {mode: Unnumbered, unnumbered: {interface: eth1}}}',
    '{name: c, peerAddress: "FE80::1%eth0"}',
  )
  const { neighbors } = planOf(text)
  assert.deepEqual(
    neighbors.map((one) => planKey(one)),
    ['65001/::%eth0', '65001/::%eth1', '65001/fe80::1%eth0'],
  )
  assert.deepEqual(
    neighbors.map(({ overrides }) => overrides.map((own) => own.interface)),
    [['eth0'], ['eth1'], ['eth0']],
  )
})

test('sessions leave from the one address of an interface; none or several are an obstacle, not a guess', () => {
  const text = peersOf(tor) + peerConfig('transport: {sourceInterface: lo1}') + advertisement('a', services())
  const one = (addresses: readonly string[], facts: Partial<NodeFacts> = {}) =>
    planOf(text, { ...network({ lo1: addresses }), ...facts }).neighbors[0]
  const odd = ['127.0.0.1', '224.0.0.1', 'fe80::1', '2001:db8::1', '::ffff:10.0.0.1']
  assert.deepEqual(one([...odd, '10.0.0.5'])?.overrides, [{ sourceAddress: '10.0.0.5' }])
  assert.equal(one([...odd, '169.254.0.5'])?.overrides[0]?.sourceAddress, '169.254.0.5')
  for (const addresses of [odd, ['10.0.0.5', '10.0.0.6']]) {
    const obstacle = one(addresses)?.obstacle
    assert.deepEqual([obstacle?.fault.code, obstacle?.from.key.name], ['NoSourceAddress', 'tor'])
  }
  assert.equal(one([], { isStandIn: true })?.obstacle, undefined)
})

test('what annotations say lies over it: the configuration, then an override, then the Node', () => {
  const annotated = peersOf(tor).replace(
    'name: cilium-bgp',
    `name: cilium-bgp, annotations: {herald.dev/neighbors: '{"*": {sourceAddress: 10.0.0.1, ttlSecurity: 1}}'}`,
  )
  const base = annotated + peerConfig() + advertisement('a', services())
  assert.deepEqual(planOf(base).neighbors[0]?.overrides, [{ sourceAddress: '10.0.0.1', ttlSecurity: 1 }])
  const own = override('{name: rack, peers: [{name: tor, localAddress: 10.0.0.2}]}')
  assert.equal(planOf(base + own).neighbors[0]?.overrides[0]?.sourceAddress, '10.0.0.2')
  const { keys: neighborKeys } = parseNeighborAnnotation({ 'herald.dev/neighbors': '{"*": {sourceAddress: 10.0.0.3}}' })
  assert.equal(planOf(base + own, { neighborKeys }).neighbors[0]?.overrides[0]?.sourceAddress, '10.0.0.3')
})

test('two instances may speak with one address where the node has two to speak from', () => {
  const two = clusterConfig({
    spec: `bgpInstances:
  - {name: blue, localASN: 65001, peers: [${tor}]}
  - {name: red, localASN: 65001, peers: [${tor}]}
  - {name: other, localASN: 65002, peers: [${tor}]}`,
  })
  const base = two + peerConfig() + advertisement('a', services())
  assert.deepEqual(keys(base), ['65001/192.168.1.1', '65002/192.168.1.1'])
  assert.deepEqual(told(base), ['DuplicateNeighbor cilium-bgp spec.bgpInstances[1].peers[0]'])
  const own = override('{name: red, peers: [{name: tor, localAddress: 10.0.0.2}]}')
  assert.deepEqual(keys(base + own), ['65001/192.168.1.1', '65001/192.168.1.1+red', '65002/192.168.1.1'])
  const ports = two.replace('peerConfigRef: {name: tor}', 'peerConfigRef: {name: high}')
  const high = peerConfig('transport: {peerPort: 1790}', 'high')
  assert.deepEqual(keys(ports + peerConfig() + high).sort(), [
    '65001/192.168.1.1',
    '65001/192.168.1.1:1790',
    '65002/192.168.1.1',
  ])
})
