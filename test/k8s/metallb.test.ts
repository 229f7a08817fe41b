/** BGPPeer x BGPAdvertisement x IPAddressPool x Node: who is a neighbor, and what each hears. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DesiredDelta, Neighbor } from '../../src/desired/model.ts'
import { validateManifests } from '../../src/k8s/validate.ts'
import { change, codesOf, node, pool, service, serviceOf, slice, smallestPolicy, translatorWith } from './manifests.ts'
import { slice6, verdictOf } from './manifests.ts'
import { advertisement, community, everywhere, ipPool, peer, production, tor } from './metallb-manifests.ts'

const spine = peer('spine', 'myASN: 64512, peerASN: 64512, peerAddress: 192.168.1.2')
const rest = node + service('web') + slice('web')
const none = { datapath: 'none' } as const
const flush = (text: string, options = {}): DesiredDelta => translatorWith(text, options).flush()
const routesOf = (delta: DesiredDelta, name = 'web'): readonly unknown[] =>
  serviceOf(delta, name).routes.map(({ prefix, neighbors, attributes }) => [prefix, [...neighbors].sort(), attributes])
const hears = (delta: DesiredDelta): readonly string[] =>
  [...new Set(serviceOf(delta, 'web').routes.flatMap(({ neighbors }) => neighbors))].sort()
const only = (text: string): Neighbor | undefined => flush(node + text).speaker?.neighbors[0]
const [toTor, toSpine] = ['64512/192.168.1.1', '64512/192.168.1.2']

test('a pool is announced only where an advertisement is for it; without pools, peers and nodes it is for all', () => {
  assert.deepEqual(routesOf(flush(tor + spine + production + everywhere + rest)), [
    ['192.168.10.0/32', [toTor, toSpine], {}],
  ])
  const silent = flush(tor + production + rest)
  assert.deepEqual(routesOf(silent), [])
  const verdict = verdictOf(serviceOf(silent, 'web'), 'selected')
  assert.deepEqual([verdict?.ok, verdict?.code], [false, 'NotAdvertised'])
  assert.match(verdict?.message ?? '', /BGPPeer tor: no BGPAdvertisement .*pool production/)
  const other = flush(
    tor +
      production +
      advertisement('a', 'ipAddressPools: [other]') +
      ipPool('other', 'addresses: [192.168.11.0/24], autoAssign: false') +
      rest,
  )
  assert.deepEqual([routesOf(other), verdictOf(serviceOf(other, 'web'), 'selected')?.code], [[], 'NotAdvertised'])
})

test('an advertisement that names the pool and is for other nodes is named where nothing is announced', () => {
  const all = 'ipAddressPools: [production], nodeSelectors: [{matchLabels: {rack: none}}]'
  const messageOf = (names: readonly string[]): string => {
    const delta = flush(tor + production + names.map((name) => advertisement(name, all)).join('') + rest)
    return verdictOf(serviceOf(delta, 'web'), 'selected')?.message ?? ''
  }
  const said = 'BGPPeer tor: no BGPAdvertisement is for it and its pool here'
  assert.equal(messageOf([]), `${said} (pool production)`)
  assert.equal(messageOf(['only']), `${said}, and the nodeSelectors of only do not match this node (pool production)`)
  assert.match(messageOf(['a', 'b', 'c', 'd', 'e', 'f']), /of a, b, c, d, and 2 more do not match this node/)
})

test('pools are chosen by name or label, peers by name, nodes and Services by label; each is an or', () => {
  const labelled = production.replace('namespace: metallb-system', 'namespace: metallb-system, labels: {tier: gold}')
  const both = tor + spine + labelled + rest
  const cases: readonly (readonly [string, readonly string[]])[] = [
    ['ipAddressPools: [production]', [toTor, toSpine]],
    ['ipAddressPoolSelectors: [{matchLabels: {tier: iron}}, {matchLabels: {tier: gold}}]', [toTor, toSpine]],
    ['ipAddressPoolSelectors: [{matchLabels: {tier: iron}}]', []],
    ['peers: [spine]', [toSpine]],
    ['nodeSelectors: [{matchLabels: {kubernetes.io/os: linux}}]', [toTor, toSpine]],
    ['nodeSelectors: [{matchLabels: {kubernetes.io/os: beos}}]', []],
    ['nodeSelectors: [{matchLabels: {a: b}}, {}]', [toTor, toSpine]],
    ['serviceSelectors: [{matchLabels: {expose-via-bgp: "true"}}]', [toTor, toSpine]],
    ['serviceSelectors: [{matchLabels: {a: b}}, {matchLabels: {expose-via-bgp: "true"}}]', [toTor, toSpine]],
    ['serviceSelectors: [{matchLabels: {a: b}}]', []],
  ]
  for (const [spec, expected] of cases) assert.deepEqual(hears(flush(both + advertisement('a', spec))), expected, spec)
})

test('labels of the node choose peers and advertisements, and a change of them is in force at once', () => {
  const text = tor.replace('spec: {', 'spec: {nodeSelectors: [{matchLabels: {rack: a}}, {matchLabels: {rack: b}}], ')
  const at = (rack: string): string => node.replace('labels: {', `labels: {rack: ${rack}, `)
  const translator = translatorWith(at('c') + text + production + everywhere + service('web') + slice('web'))
  const first = translator.flush()
  assert.deepEqual(first.speaker?.neighbors, [])
  assert.match(verdictOf(serviceOf(first, 'web'), 'selected')?.message ?? '', /no BGPPeer selects node node-a/)
  const second = change(translator, at('b'))
  assert.deepEqual([second.speaker?.neighbors.length, routesOf(second).length], [1, 1])
  assert.deepEqual(change(translator, at('c')).speaker?.neighbors, [])
})

test('communities by value, by large value and by name, and the local preference, are on the route', () => {
  const text =
    advertisement('a', 'localPref: 100, communities: [vpn-only, "65535:65282", "large:1:2:3", big]') +
    community('names', ['vpn-only', '1234:1'], ['big', 'large:4:5:6'])
  const attributes = {
    communities: [1234 * 65536 + 1, 0xffffff02],
    largeCommunities: ['1:2:3', '4:5:6'],
    localPreference: 100,
  }
  assert.deepEqual(routesOf(flush(tor + production + text + rest)), [['192.168.10.0/32', [toTor], attributes]])
})

test('a name that stands for nothing is said at the object and costs only itself', () => {
  const text =
    advertisement('a', 'communities: [vpn-onyl, "1:2"], peers: [tor, tro], ipAddressPools: [production, prod]') +
    community('names', ['vpn-only', '1234:1'])
  const delta = flush(tor + production + text + rest)
  assert.deepEqual(routesOf(delta), [['192.168.10.0/32', [toTor], { communities: [65538] }]])
  assert.deepEqual(
    delta.problems?.map(({ code, field, object }) => [code, field, object.name]),
    [
      ['UnknownCommunity', 'spec.communities[0]', 'a'],
      ['UnknownName', 'spec.peers[1]', 'a'],
      ['UnknownName', 'spec.ipAddressPools[1]', 'a'],
    ],
  )
  assert.ok(
    delta.problems?.every(({ remedy }) => /Did you mean (tor|vpn-only|production)\?|correct the name/.test(remedy)),
  )
})

test('of an object that is there and cannot be used nobody says that it is not there, or only names another one', () => {
  const broken =
    peer('rack-a', 'myASN: 0, peerASN: 64513, peerAddress: 192.0.2.1, bfdProfile: watch') +
    peer('rack-b', 'myASN: 64512, peerASN: 64513, peerAddress: 192.0.2.2, bfdProfile: watch') +
    advertisement('watch', 'receiveInterval: 3').replace('BGPAdvertisement', 'BFDProfile') +
    ipPool('pool-a', 'addresses: [192.0.2.0/33]') +
    community('names', ['vpn', '1:2:3']) +
    advertisement('a', 'peers: [rack-a], ipAddressPools: [pool-a], communities: [vpn]')
  const problems = flush(broken + production + rest).problems ?? []
  const said = problems.filter(({ code }) => code === 'UnknownName' || code === 'UnknownCommunity')
  assert.deepEqual(said.map(({ field }) => field).sort(), [
    'spec.bfdProfile',
    'spec.communities[0]',
    'spec.ipAddressPools[0]',
    'spec.peers[0]',
  ])
  for (const { message, remedy } of said) {
    assert.match(message, /that can be used/)
    assert.match(remedy, /correct (it|the \w+|vpn)\b/)
  }
})

test('a community that is named later is on the route then, and an edit of it follows', () => {
  const translator = translatorWith(tor + production + advertisement('a', 'communities: [vpn]') + rest)
  assert.deepEqual(codesOf(translator.flush().problems), ['UnknownCommunity'])
  const named = change(translator, community('names', ['vpn', '1:1']))
  assert.deepEqual([routesOf(named), named.problems], [[['192.168.10.0/32', [toTor], { communities: [65537] }]], []])
  const edited = change(translator, community('names', ['vpn', '1:2']))
  assert.deepEqual(routesOf(edited), [['192.168.10.0/32', [toTor], { communities: [65538] }]])
  const broken = change(translator, community('names', ['vpn', '1:99999']))
  assert.deepEqual([broken.services.size, codesOf(broken.problems)], [0, ['InvalidField']])
})

test('of one name in two Community objects the older one counts, and the other is told', () => {
  const dated = (name: string, time: string): string =>
    community(name, ['vpn', name === 'old' ? '1:1' : '1:2']).replace(
      `name: ${name},`,
      `name: ${name}, creationTimestamp: "${time}",`,
    )
  const text = dated('young', '2026-02-01T00:00:00Z') + dated('old', '2026-01-01T00:00:00Z')
  const delta = flush(tor + production + advertisement('a', 'communities: [vpn]') + text + rest)
  assert.deepEqual(routesOf(delta), [['192.168.10.0/32', [toTor], { communities: [65537] }]])
  assert.deepEqual(
    delta.problems?.map(({ code, object }) => [code, object.name]),
    [['DuplicateAlias', 'young']],
  )
})

test('advertisements of one prefix add up, the highest local preference holds, and both are told of the conflict', () => {
  const text =
    advertisement('a', 'localPref: 100, communities: ["1:1"]') +
    advertisement('b', 'localPref: 200, communities: ["1:2"]')
  const delta = flush(spine + production + text + rest)
  assert.deepEqual(routesOf(delta), [
    ['192.168.10.0/32', [toSpine], { communities: [65537, 65538], localPreference: 200 }],
  ])
  assert.deepEqual(
    delta.problems?.map(({ code, field, object }) => [code, field, object.name]),
    [
      ['PreferenceConflict', 'spec.localPref', 'a'],
      ['PreferenceConflict', 'spec.localPref', 'b'],
    ],
  )
  const apart = [
    advertisement('a', 'localPref: 100, peers: [tor]') + advertisement('b', 'localPref: 200, peers: [spine]'),
    advertisement('a', 'localPref: 100, aggregationLength: 24') + advertisement('b', 'localPref: 200'),
    advertisement('a', 'localPref: 100, nodeSelectors: [{matchLabels: {a: b}}]') + advertisement('b', 'localPref: 200'),
    advertisement('a', 'localPref: 100, ipAddressPools: [other]') +
      advertisement('b', 'localPref: 200, ipAddressPools: [production]') +
      ipPool('other', 'addresses: [192.0.2.0/24], autoAssign: false'),
    advertisement('a', 'localPref: 100, serviceSelectors: [{matchLabels: {x: a}}]') +
      advertisement('b', 'localPref: 200, serviceSelectors: [{matchLabels: {x: b}}]'),
  ]
  for (const each of apart) assert.deepEqual(flush(tor + spine + production + each + rest).problems ?? [], [], each)
})

test('two advertisements for two peers do not leak into each other', () => {
  const text =
    advertisement('a', 'communities: ["1:1"], peers: [tor]') +
    advertisement('b', 'communities: ["1:2"], peers: [spine]')
  assert.deepEqual(routesOf(flush(tor + spine + production + text + rest)), [
    ['192.168.10.0/32', [toSpine], { communities: [65538] }],
    ['192.168.10.0/32', [toTor], { communities: [65537] }],
  ])
})

test('an aggregate stands beside the host routes of another advertisement, also for a Local Service', () => {
  const text = advertisement('a', 'aggregationLength: 24') + advertisement('b', 'communities: ["1:1"]')
  for (const more of ['', ', externalTrafficPolicy: Local'])
    assert.deepEqual(routesOf(flush(tor + production + text + node + service('web', more) + slice('web'))), [
      ['192.168.10.0/24', [toTor], {}],
      ['192.168.10.0/32', [toTor], { communities: [65537] }],
    ])
})

test('an aggregate wider than a pool is not announced for it, and is for the others', () => {
  const small = ipPool('small', 'addresses: [192.168.9.0/28, "2001:db8::/120"], autoAssign: false')
  const asks = service('small', '', '{metallb.io/address-pool: small}') + slice('small')
  const delta = flush(tor + production + small + advertisement('a', 'aggregationLength: 26') + rest + asks)
  assert.deepEqual([routesOf(delta), routesOf(delta, 'small')], [[['192.168.10.0/26', [toTor], {}]], []])
  const problem = delta.problems?.[0]
  assert.deepEqual(
    [problem?.code, problem?.field, delta.problems?.length],
    ['InvalidAggregation', 'spec.aggregationLength', 1],
  )
  assert.match(problem?.message ?? '', /192\.168\.9\.0\/28 of pool small/)
  const range = ipPool('range', 'addresses: [192.168.8.0-192.168.8.200]')
  assert.deepEqual(flush(node + range + advertisement('a', 'aggregationLength: 25')).problems, undefined)
  assert.deepEqual(codesOf(flush(node + range + advertisement('a', 'aggregationLength: 24')).problems), [
    'InvalidAggregation',
  ])
})

test('a session has the family of its address, both when it is unnumbered or says so', () => {
  const familiesOf = (spec: string) => only(peer('a', `myASN: 1, peerASN: 2, ${spec}`))?.families
  assert.deepEqual(familiesOf('peerAddress: 192.0.2.1'), ['ipv4-unicast'])
  assert.deepEqual(familiesOf('peerAddress: "2001:db8::1"'), ['ipv6-unicast'])
  const both = ['ipv4-unicast', 'ipv6-unicast']
  assert.deepEqual(familiesOf('peerAddress: 192.0.2.1, dualStackAddressFamily: true'), both)
  assert.deepEqual(familiesOf('interface: eth1'), both)
  const dual = ipPool('dual', 'addresses: [192.0.2.0/24, "2001:db8:1::/120"]')
  const web = service('web', ', ipFamilyPolicy: PreferDualStack') + slice('web') + slice6('web')
  const delta = flush(node + tor + dual + everywhere + web, none)
  assert.deepEqual(routesOf(delta), [['192.0.2.0/32', [toTor], {}]])
})

test('every field of a peer is in force', () => {
  const spec =
    'myASN: 64512, peerASN: 64513, localASN: 64520, peerAddress: "2001:DB8:0::1", peerPort: 180, vrf: red, ' +
    'sourceAddress: "2001:db8::a", routerID: 10.10.10.1, ebgpMultiHop: true, enableGracefulRestart: true, holdTime: 9s'
  const {
    id,
    source: _source,
    nodeAddresses: _addresses,
    ...rest
  } = only(peer('a', spec)) ?? { id: '', source: '', nodeAddresses: {} }
  assert.equal(id, '64520/[2001:db8::1]:180@red')
  assert.deepEqual(rest, {
    virtualRouter: '64512',
    peerName: 'a',
    localAsn: 64520,
    peerAsn: 64513,
    peerAddress: '2001:db8::1',
    peerPort: 180,
    families: ['ipv6-unicast'],
    holdTimeSec: 9,
    keepaliveSec: 3,
    connectRetrySec: 120,
    multihopTtl: 255,
    gracefulRestart: { restartTimeSec: 120, notification: false },
    routerId: '10.10.10.1',
    sourceAddress: '2001:db8::a',
    interface: 'red',
    passive: false,
  })
})

test('a dynamic AS is our own, or any other one', () => {
  const of = (mode: string): readonly unknown[] => {
    const found = only(peer('a', `myASN: 64512, dynamicASN: ${mode}, peerAddress: 192.0.2.1`))
    return [found?.peerAsn, found?.refusesOwnAs]
  }
  assert.deepEqual(
    [of('internal'), of('external')],
    [
      [64512, undefined],
      [0, true],
    ],
  )
})

test('unnumbered peers of several interfaces are several neighbors; two of one interface are one', () => {
  const of = (name: string, device: string): string =>
    peer(name, `myASN: 1, dynamicASN: external, interface: ${device}`)
  const delta = flush(node + of('a', 'eth0') + of('b', 'eth1') + of('c', 'eth1'))
  assert.deepEqual(
    delta.speaker?.neighbors.map((each) => [each.id, each.interface, each.peerAddress]),
    [
      ['1/::%eth0', 'eth0', '::'],
      ['1/::%eth1', 'eth1', '::'],
    ],
  )
  assert.deepEqual(
    delta.problems?.map(({ code, object }) => [code, object.name]),
    [['DuplicateNeighbor', 'c']],
  )
})

test('peers of one address: on nodes apart either holds, on one node the older one, and its name is in what is said', () => {
  const at = (name: string, rack: string): string =>
    peer(name, `myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, nodeSelectors: [{matchLabels: {rack: ${rack}}}]`)
  const racked = node.replace('labels: {', 'labels: {rack: a, ')
  assert.deepEqual(flush(racked + at('a', 'a') + at('b', 'b')).problems, undefined)
  assert.deepEqual(validateManifests([{ name: 'a.yaml', text: at('a', 'a') + at('b', 'b') }]), [])
  const clash = flush(racked + at('a', 'a') + at('b', 'a'))
  assert.deepEqual(
    clash.problems?.map(({ code, object, message }) => [code, object.name, /BGPPeer a /.test(message)]),
    [['DuplicateNeighbor', 'b', true]],
  )
  const other = peer('a', 'myASN: 1, peerASN: 2, peerAddress: 192.0.2.1').replace('metallb-system', 'other')
  const spaces = flush(node + at('a', 'b').replace('rack: b', 'kubernetes.io/os: linux') + other)
  assert.deepEqual(
    [spaces.speaker?.neighbors.length, spaces.problems?.map(({ code, object }) => [code, object.namespace])],
    [1, [['DuplicateNeighbor', 'other']]],
  )
})

const secret = (name: string, more = 'type: kubernetes.io/basic-auth, ', namespace = 'metallb-system'): string =>
  `---\n{apiVersion: v1, kind: Secret, metadata: {name: ${name}, namespace: ${namespace}}, ${more}stringData: {password: key1}}\n`

test('the key is of a Secret of the namespace of the peer, of the type that MetalLB asks for', () => {
  const keyed = tor.replace('peerASN', 'passwordSecret: {name: bgp}, peerASN')
  assert.equal(only(keyed + secret('bgp'))?.password, 'key1')
  const bad: readonly (readonly [string, RegExp])[] = [
    ['', /Create Secret bgp in namespace metallb-system, of type kubernetes\.io\/basic-auth/],
    [secret('bgp', ''), /Write type: kubernetes\.io\/basic-auth/],
    [secret('bgp', undefined, 'kube-system'), /Create Secret bgp in namespace metallb-system/],
    [secret('bgp').replace('password:', 'pass:'), /Correct Secret/],
  ]
  for (const [text, remedy] of bad) {
    const delta = flush(node + keyed + text)
    assert.deepEqual(delta.speaker?.neighbors, [])
    const problem = delta.problems?.find(({ code }) => code === 'NoPassword')
    assert.deepEqual([problem?.field, problem?.object.name], ['spec.passwordSecret', 'tor'])
    assert.match(problem?.remedy ?? '', remedy)
  }
  const translator = translatorWith(node + keyed + secret('bgp'))
  translator.flush()
  assert.equal(change(translator, secret('bgp', '')).speaker, undefined, 'the last good key stays')
})

test('herald.dev/neighbors on a peer adds what the schema lacks, and a Node goes before it', () => {
  const text = peer(
    'tor',
    'myASN: 64512, peerASN: 64513, peerAddress: 192.168.1.1, sourceAddress: 192.168.1.10',
  ).replace(
    'namespace: metallb-system',
    `namespace: metallb-system, annotations: {herald.dev/neighbors: '{"192.168.1.1": {ttlSecurity: 1, passive: true}}'}`,
  )
  const found = only(text)
  assert.deepEqual([found?.ttlSecurityHops, found?.passive, found?.sourceAddress], [1, true, '192.168.1.10'])
  const own = node.replace(
    'labels:',
    `annotations: {herald.dev/neighbors: '{"*": {sourceAddress: 192.168.1.10, passive: false}}'}, labels:`,
  )
  const delta = flush(own + text.replace('sourceAddress: 192.168.1.10', 'sourceAddress: 10.0.0.9'))
  assert.deepEqual(
    [delta.speaker?.neighbors[0]?.sourceAddress, delta.speaker?.neighbors[0]?.passive],
    ['192.168.1.10', false],
  )
  const foreign = flush(node + text.replace('sourceAddress: 192.168.1.10', 'sourceAddress: 10.0.0.9'))
  assert.deepEqual(
    foreign.problems?.map(({ code, field }) => [code, field]),
    [['NotOwnAddress', 'spec.sourceAddress']],
  )
})

test('both families of configuration stand side by side, each announcing its own pools', () => {
  const text = smallestPolicy.replace('192.168.1.1', '192.168.1.9') + pool + tor + production + everywhere
  const wants = service('mlb', '', '{metallb.io/address-pool: production}') + slice('mlb')
  const delta = flush(text + rest + wants)
  assert.deepEqual(delta.problems ?? [], [])
  const neighborsOf = (name: string): readonly string[] =>
    serviceOf(delta, name).routes.flatMap((route) => route.neighbors)
  assert.deepEqual(neighborsOf('web'), ['65001/192.168.1.9'])
  assert.deepEqual(neighborsOf('mlb').toSorted(), ['64512/192.168.1.1', '65001/192.168.1.9'])
})

test('names of namespaces keep configuration apart: an advertisement is for pools and peers of its own', () => {
  const foreign = everywhere.replace('metallb-system', 'elsewhere')
  assert.deepEqual(hears(flush(tor + production + foreign + rest)), [])
})

test('herald.dev/attributes on an advertisement adds what the schema lacks, and a misspelt annotation is told', () => {
  const said = (text: string): string =>
    advertisement('a', 'communities: ["1:1"]').replace('metallb-system', `metallb-system, annotations: {${text}}`)
  const text = said(`herald.dev/attributes: '{med: 50, asPathPrepend: 2, extendedCommunities: [rt:1:2]}'`)
  assert.deepEqual(routesOf(flush(tor + production + text + rest)), [
    [
      '192.168.10.0/32',
      [toTor],
      { communities: [65537], med: 50, asPathPrepend: 2, extendedCommunities: ['0002000100000002'] },
    ],
  ])
  const slip = flush(tor + production + said(`herald.dev/attribute: '{med: 50}'`) + rest)
  assert.deepEqual(codesOf(slip.problems), ['UnknownField'])
})

test('a deleted Community stays in force while it is named, and goes with its last advertisement', () => {
  const ad = advertisement('a', 'communities: [vpn]')
  const translator = translatorWith(tor + production + community('names', ['vpn', '1:1']) + ad + rest)
  translator.flush()
  translator.remove({ apiVersion: 'metallb.io/v1beta1', kind: 'Community', namespace: 'metallb-system', name: 'names' })
  const gone = translator.flush()
  assert.deepEqual(
    [gone.services.size, gone.problems?.map(({ severity, code }) => [severity, code])],
    [0, [['warning', 'UnknownCommunity']]],
  )
  const moved = change(translator, community('others', ['vpn', '1:2']))
  assert.deepEqual([routesOf(moved), moved.problems], [[['192.168.10.0/32', [toTor], { communities: [65538] }]], []])
})

test('ten thousand peers of other nodes cost this one little', () => {
  const many = Array.from({ length: 10_000 }, (_, index) =>
    peer(
      `p${index}`,
      `myASN: 1, peerASN: 2, peerAddress: 10.${index >> 8}.${index & 255}.1, nodeSelectors: [{matchLabels: {n: "${index}"}}]`,
    ),
  )
  const translator = translatorWith(
    node.replace('labels: {', 'labels: {n: "77", ') +
      production +
      everywhere +
      service('web') +
      slice('web') +
      many.join(''),
  )
  const delta = translator.flush()
  assert.deepEqual(
    delta.speaker?.neighbors.map(({ id }) => id),
    ['1/10.0.77.1'],
  )
  assert.equal(routesOf(delta).length, 1)
  assert.equal(
    change(
      translator,
      peer('p5', 'myASN: 1, peerASN: 3, peerAddress: 10.0.5.1, nodeSelectors: [{matchLabels: {n: "5"}}]'),
    ).speaker,
    undefined,
  )
})
