/** MetalLB's kinds field by field: what its webhook refuses is an error of the object here, and of nothing else. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Neighbor } from '../../src/desired/model.ts'
import { validateManifests } from '../../src/k8s/validate.ts'
import { change, node, service, serviceOf, slice, translatorWith } from './manifests.ts'
import { advertisement, community, everywhere, ipPool, peer, production, tor } from './metallb-manifests.ts'

const rest = node + service('web') + slice('web')
const l2 = (spec: string): string => advertisement('a', spec).replace('BGPAdvertisement', 'L2Advertisement')
const bfd = (spec: string): string => advertisement('a', spec).replace('BGPAdvertisement', 'BFDProfile')
const asns = 'myASN: 64512, peerASN: 64513'
const address = `${asns}, peerAddress: 192.0.2.1`

/** What is written, its field, the code, and what the remedy says. */
const refused: readonly (readonly [string, string, string, RegExp])[] = [
  [peer('a', 'myASN: 0, peerASN: 1, peerAddress: 192.0.2.1'), 'spec.myASN', 'InvalidField', /AS number/],
  [peer('a', 'myASN: 4294967296, peerASN: 1, peerAddress: 192.0.2.1'), 'spec.myASN', 'InvalidField', /4294967295/],
  [peer('a', 'myASN: 1, peerAddress: 192.0.2.1'), 'spec.peerASN', 'InvalidField', /AS number/],
  [peer('a', `${address}, dynamicASN: external`), 'spec.dynamicASN', 'InvalidField', /one of the two/],
  [peer('a', 'myASN: 1, peerAddress: 192.0.2.1, dynamicASN: other'), 'spec.dynamicASN', 'InvalidField', /external/],
  [peer('a', `${address}, localASN: 0`), 'spec.localASN', 'InvalidField', /leave it out/],
  [peer('a', `${address}, localASN: 64513`), 'spec.localASN', 'InvalidField', /another AS/],
  [peer('a', asns), 'spec.peerAddress', 'InvalidField', /address of the router/],
  [peer('a', `${address}, interface: eth0`), 'spec.interface', 'InvalidField', /one of the two/],
  [peer('a', `${asns}, interface: "a/b"`), 'spec.interface', 'InvalidField', /eth0/],
  [peer('a', `${asns}, peerAddress: 192.0.2.300`), 'spec.peerAddress', 'InvalidPeerAddress', /192\.0\.2\.1/],
  [peer('a', `${asns}, peerAddress: 192.0.2.9/32`), 'spec.peerAddress', 'InvalidPeerAddress', /Write 192\.0\.2\.9;/],
  [peer('a', `${asns}, peerAddress: "fe80::1%eth3"`), 'spec.peerAddress', 'InvalidPeerAddress', /interface: eth3/],
  [peer('a', `${asns}, peerAddress: "::"`), 'spec.peerAddress', 'InvalidPeerAddress', /router/],
  [peer('a', `${address}, sourceAddress: me`), 'spec.sourceAddress', 'InvalidAddress', /Write/],
  [peer('a', `${address}, peerPort: 0`), 'spec.peerPort', 'InvalidField', /at least 1/],
  [peer('a', `${address}, peerPort: 16385`), 'spec.peerPort', 'InvalidField', /16384/],
  [peer('a', `${address}, holdTime: 1s`), 'spec.holdTime', 'InvalidField', /90s/],
  [peer('a', `${address}, holdTime: 90`), 'spec.holdTime', 'InvalidField', /Write 90s/],
  [peer('a', `${address}, holdTime: soon`), 'spec.holdTime', 'InvalidField', /90s/],
  [peer('a', `${address}, holdTime: 30s, keepaliveTime: 31s`), 'spec.keepaliveTime', 'KeepaliveAboveHold', /third/],
  [peer('a', `${address}, connectTime: 1500ms`), 'spec.connectTime', 'InvalidField', /10s/],
  [peer('a', `${address}, connectTime: 65536s`), 'spec.connectTime', 'InvalidField', /10s/],
  [peer('a', `${address}, routerID: "2001:db8::1"`), 'spec.routerID', 'InvalidRouterId', /192\.0\.2\.1/],
  [peer('a', `${address}, password: x, passwordSecret: {name: s}`), 'spec.passwordSecret', 'InvalidField', /one of/],
  [
    peer('a', 'myASN: 1, peerASN: 1, peerAddress: 192.0.2.1, ebgpMultiHop: true'),
    'spec.ebgpMultiHop',
    'InvalidField',
    /iBGP/,
  ],
  [
    peer('a', `${address}, nodeSelectors: [{matchExpressions: [{key: a, operator: In, values: [b, b]}]}]`),
    'spec.nodeSelectors[0].matchExpressions[0].values[1]',
    'DuplicateEntry',
    /once/,
  ],
  [
    peer('a', `${address}, nodeSelectors: [{matchExpressions: [{key: a, operator: Is, values: [b]}]}]`),
    'spec.nodeSelectors[0].matchExpressions[0].operator',
    'InvalidField',
    /In, NotIn/,
  ],
  [ipPool('a', 'addresses: []'), 'spec.addresses', 'InvalidField', /./],
  [ipPool('a', 'autoAssign: true'), 'spec.addresses', 'InvalidField', /./],
  [ipPool('a', 'addresses: [192.0.2.1]'), 'spec.addresses[0]', 'InvalidPrefix', /192\.0\.2\.1\/32/],
  [ipPool('a', 'addresses: [192.0.2.0/33]'), 'spec.addresses[0]', 'InvalidPrefix', /Write/],
  [ipPool('a', 'addresses: [192.0.2.9-192.0.2.5]'), 'spec.addresses[0]', 'ReversedRange', /192\.0\.2\.5-192\.0\.2\.9/],
  [ipPool('a', 'addresses: ["192.0.2.9-2001:db8::1"]'), 'spec.addresses[0]', 'MixedFamilies', /one family/],
  [ipPool('a', 'addresses: [192.0.2.9-]'), 'spec.addresses[0]', 'InvalidAddress', /Write/],
  [ipPool('a', 'addresses: ["fe80::1%eth0-fe80::9%eth0"]'), 'spec.addresses[0]', 'InvalidAddress', /Write/],
  [
    ipPool('a', 'addresses: [192.0.2.0/24, 192.0.2.9-192.0.2.12]'),
    'spec.addresses[1]',
    'OverlappingBlocks',
    /one block/,
  ],
  [
    ipPool('a', 'addresses: [192.0.2.0/24], serviceAllocation: {namespaces: [b, b]}'),
    'spec.serviceAllocation.namespaces[1]',
    'DuplicateEntry',
    /once/,
  ],
  [
    ipPool(
      'a',
      'addresses: [192.0.2.0/24], serviceAllocation: {serviceSelectors: [{matchLabels: {a: b}}, {matchLabels: {a: b}}]}',
    ),
    'spec.serviceAllocation.serviceSelectors[1]',
    'DuplicateEntry',
    /once/,
  ],
  [advertisement('a', 'aggregationLength: 33'), 'spec.aggregationLength', 'InvalidField', /32/],
  [advertisement('a', 'aggregationLength: 0'), 'spec.aggregationLength', 'InvalidField', /1/],
  [advertisement('a', 'aggregationLengthV6: 129'), 'spec.aggregationLengthV6', 'InvalidField', /128/],
  [advertisement('a', 'localPref: -1'), 'spec.localPref', 'InvalidField', /0/],
  [advertisement('a', 'communities: ["99999999:1"]'), 'spec.communities[0]', 'InvalidField', /large:99999999:1:0/],
  [advertisement('a', 'communities: ["lar:1:2:3"]'), 'spec.communities[0]', 'InvalidField', /large:/],
  [advertisement('a', 'communities: ["large:1:2:4294967296"]'), 'spec.communities[0]', 'InvalidField', /large:/],
  [advertisement('a', 'communities: ["1:2", "1:2"]'), 'spec.communities[1]', 'DuplicateEntry', /once/],
  [advertisement('a', 'ipAddressPools: [b, b]'), 'spec.ipAddressPools[1]', 'DuplicateEntry', /once/],
  [advertisement('a', 'peers: [b, b]'), 'spec.peers[1]', 'DuplicateEntry', /once/],
  [
    advertisement('a', 'aggregationLength: 24, serviceSelectors: [{}]'),
    'spec.serviceSelectors',
    'InvalidField',
    /two BGPAdvertisements/,
  ],
  [community('a', ['x', '99999999:1']), 'spec.communities[0].value', 'InvalidField', /large:99999999:1:0/],
  [community('a', ['x', 'lar:1:2:3']), 'spec.communities[0].value', 'InvalidField', /large:/],
  [community('a', ['x', 'rt:1']), 'spec.communities[0].value', 'InvalidField', /65000:100/],
  [community('a', ['x', '1:2'], ['x', '1:3']), 'spec.communities[1].name', 'DuplicateAlias', /own/],
  [bfd('receiveInterval: 9'), 'spec.receiveInterval', 'InvalidField', /10/],
  [bfd('transmitInterval: 60001'), 'spec.transmitInterval', 'InvalidField', /60000/],
  [bfd('detectMultiplier: 1'), 'spec.detectMultiplier', 'InvalidField', /2/],
  [bfd('minimumTtl: 255'), 'spec.minimumTtl', 'InvalidField', /254/],
  [l2('interfaces: [eth0, eth0]'), 'spec.interfaces[1]', 'DuplicateEntry', /once/],
]

test('what the webhook of MetalLB refuses is an error that names object, field and remedy', () => {
  for (const [text, field, code, remedy] of refused) {
    const errors = validateManifests([{ name: 'a.yaml', text }]).filter(({ severity }) => severity === 'error')
    assert.deepEqual(
      errors.map((problem) => [problem.code, problem.field, problem.object.name]),
      [[code, field, 'a']],
      text,
    )
    assert.match(errors[0]?.remedy ?? '', remedy, text)
  }
})

test('a version that is refused leaves the last good one in force, and a part that never was good costs only itself', () => {
  for (const [text] of refused) {
    const translator = translatorWith(tor + production + everywhere + rest)
    const { routes } = serviceOf(translator.flush(), 'web')
    assert.deepEqual(
      routes.map(({ prefix, neighbors }) => [prefix, neighbors]),
      [['192.168.10.0/32', ['64512/192.168.1.1']]],
    )
    const name = /kind: IPAddress/.test(text) ? 'production' : /kind: BGPPeer/.test(text) ? 'tor' : 'everywhere'
    const delta = change(translator, text.replace('name: a,', `name: ${name},`))
    assert.deepEqual([delta.speaker, delta.services.size], [undefined, 0], text)
    assert.ok(delta.problems?.some(({ severity }) => severity === 'error'))
  }
})

test('what MetalLB takes is taken without a word', () => {
  const good = [
    peer('a', `${address}, holdTime: 0s, keepaliveTime: 0s`),
    peer('a', `${address}, holdTime: 3m0s, keepaliveTime: 1m0s, connectTime: 10s, ebgpMultiHop: true`),
    peer('a', 'myASN: 1, dynamicASN: internal, peerAddress: "2001:DB8::1", vrf: red, enableGracefulRestart: true'),
    peer('a', `${asns}, interface: eth0, dualStackAddressFamily: true, routerID: 10.10.10.1, peerPort: 180`),
    peer('a', `${address}, nodeSelectors: [{}, {matchLabels: {a: b}}]`),
    peer('a', `${address}, peerPort: 0`).replace('v1beta2', 'v1beta1'),
    ipPool('a', 'addresses: [192.168.10.0/24, " 192.168.9.1 - 192.168.9.5 ", "fc00:f853:0ccd:e799::/124"]'),
    ipPool('a', 'addresses: [192.168.10.0/24], serviceAllocation: {priority: 50}'),
    ipPool('a', 'addresses: [192.168.10.0/24], avoidBuggyIPs: true, autoAssign: false'),
    advertisement('a', 'aggregationLength: 32, aggregationLengthV6: 128, serviceSelectors: [{}]'),
    advertisement('a', 'localPref: 100, communities: ["65535:65282", "large:123:456:789"]'),
    community('a', ['vpn-only', '1234:1'], ['big', 'large:1:2:3']),
  ].map((text) => text.replace('spec:', 'status: {}\nspec:'))
  for (const text of good) assert.deepEqual(validateManifests([{ name: 'a.yaml', text }]), [], text)
  // Well written, and but for its echo packets served.
  const profile = bfd(
    'receiveInterval: 380, transmitInterval: 270, detectMultiplier: 2, echoMode: true, minimumTtl: 254',
  )
  const codes = validateManifests([{ name: 'a.yaml', text: profile }]).map(({ code, severity }) => [severity, code])
  assert.deepEqual(codes, [['warning', 'NotServed']])
  const served = profile.replace('echoMode: true', 'echoInterval: 50')
  assert.deepEqual(validateManifests([{ name: 'a.yaml', text: served }]), [])
  const nothing = advertisement('a').replace(/spec:.*\n/, '')
  assert.deepEqual(validateManifests([{ name: 'a.yaml', text: nothing }]), [])
})

const neighborsOf = (text: string): readonly Neighbor[] => translatorWith(node + text).flush().speaker?.neighbors ?? []
const timersOf = (spec: string): readonly unknown[] =>
  neighborsOf(peer('a', `${address}${spec}`)).map((each) => [each.holdTimeSec, each.keepaliveSec, each.connectRetrySec])

test('of two timers the one that is not written follows the other; without either they are those of FRR', () => {
  assert.deepEqual(timersOf(''), [[180, 60, 120]])
  assert.deepEqual(timersOf(', holdTime: 180s'), [[180, 60, 120]])
  assert.deepEqual(timersOf(', keepaliveTime: 60s'), [[180, 60, 120]])
  assert.deepEqual(timersOf(', holdTime: 9s, connectTime: 5s'), [[9, 3, 5]])
  assert.deepEqual(timersOf(', holdTime: 0s'), [[0, 0, 120]])
  assert.deepEqual(timersOf(', holdTime: 13s, keepaliveTime: 4s'), [[13, 4, 120]])
  assert.deepEqual(timersOf(', holdTime: 9m0s, keepaliveTime: 0s'), [[540, 180, 120]])
})

test('a peer means the same in v1beta1 and v1beta2, and is one object in either', () => {
  const old = tor.replace('v1beta2', 'v1beta1')
  const [before, after] = [neighborsOf(old), neighborsOf(tor)]
  assert.deepEqual(before, after)
  const translator = translatorWith(node + old)
  translator.flush()
  for (const text of [tor, old, tor]) {
    const delta = change(translator, text)
    assert.deepEqual([delta.speaker, delta.problems], [undefined, undefined])
  }
  const bad = change(translator, old.replace('192.168.1.1', 'nobody'))
  assert.equal(bad.problems?.length, 1)
  assert.deepEqual(change(translator, tor).problems, [])
})

test('a key that is written into a peer is used and never said', () => {
  const [neighbor] = neighborsOf(peer('a', `${address}, password: hunter22`))
  assert.equal(neighbor?.password, 'hunter22')
  const odd = [
    `${address}, password: 12345678, holdTime: 1s`,
    `${address}, password: &k hunter22, routerID: *k, vrf: *k, interface: *k`,
    `${address}, password: [hunter22]`,
    `${address}, password: ${'hunter22'.repeat(11)}`,
  ]
  for (const spec of odd) {
    const problems = validateManifests([{ name: 'a.yaml', text: peer('a', spec) }])
    assert.ok(problems.length > 0)
    assert.doesNotMatch(JSON.stringify(problems), /hunter22|12345678/)
  }
  const rejected = translatorWith(node + peer('a', `${address}, password: 12345678`)).flush()
  assert.deepEqual(
    rejected.problems?.map(({ code, field }) => [code, field]),
    [['InvalidKey', 'spec.password']],
  )
})

test('layer 2, a profile that is missing and unknown fields are said, and change nothing else', () => {
  const text =
    tor.replace('peerASN', 'bfdProfile: fast, newField: 1, peerASN') + production + everywhere + l2('') + rest
  const delta = translatorWith(text).flush()
  assert.equal(serviceOf(delta, 'web').routes.length, 1)
  assert.deepEqual(delta.problems?.map(({ severity, code, object }) => [severity, code, object.kind]).sort(), [
    ['warning', 'NotServed', 'L2Advertisement'],
    ['warning', 'UnknownField', 'BGPPeer'],
    ['warning', 'UnknownName', 'BGPPeer'],
  ])
})

const profiled = (spec: string, name = 'a'): string => bfd(spec).replace('name: a', `name: ${name}`)
const watched = peer('tor', `${address}, bfdProfile: a`)

test('a BFDProfile has the timers of the peers that name it, FRR has those that are not written', () => {
  const bfdOf = (spec: string): unknown => neighborsOf(watched + profiled(spec))[0]?.bfd
  const plain = { receiveIntervalMs: 300, transmitIntervalMs: 300, detectMultiplier: 3, isPassive: false }
  assert.deepEqual(bfdOf(''), plain)
  assert.deepEqual(bfdOf('receiveInterval: 100, transmitInterval: 50, detectMultiplier: 9'), {
    ...plain,
    receiveIntervalMs: 100,
    transmitIntervalMs: 50,
    detectMultiplier: 9,
  })
  assert.deepEqual(bfdOf('passiveMode: true, minimumTtl: 250'), { ...plain, isPassive: true, minimumTtl: 250 })
  assert.equal(neighborsOf(tor + profiled(''))[0]?.bfd, undefined, 'nobody names it')
  const old = watched.replace('v1beta2', 'v1beta1')
  assert.deepEqual(neighborsOf(old + profiled(''))[0]?.bfd, plain)
})

test('a profile changes its peers alone; what is broken keeps its last good version, what is deleted too', () => {
  const other = peer('b', 'myASN: 64512, peerASN: 64513, peerAddress: 192.168.1.2')
  const translator = translatorWith(node + watched + other + profiled('receiveInterval: 100'))
  const first = translator.flush().speaker?.neighbors ?? []
  const again = (text: string): readonly Neighbor[] => change(translator, text).speaker?.neighbors ?? []
  const faster = again(profiled('receiveInterval: 50'))
  assert.deepEqual(
    faster.map(({ bfd: own, ...rest }) => [own?.receiveIntervalMs, rest]),
    first.map(({ bfd: own, ...rest }) => [own && 50, rest]),
  )
  const broken = change(translator, profiled('receiveInterval: 1'))
  assert.deepEqual(
    [broken.speaker, broken.problems?.map(({ code, object }) => [code, object.kind])],
    [undefined, [['InvalidField', 'BFDProfile']]],
  )
  translator.remove({ apiVersion: 'metallb.io/v1beta1', kind: 'BFDProfile', namespace: 'metallb-system', name: 'a' })
  const gone = translator.flush()
  assert.equal(gone.speaker, undefined, 'nothing changes for the session')
  const said = gone.problems?.find(({ code }) => code === 'UnknownName')
  assert.match(said?.message ?? '', /no BFDProfile a .*the one that was deleted stays in force/)
  const off = again(watched.replace(', bfdProfile: a', ''))
  assert.deepEqual(
    off.map((each) => each.bfd),
    [undefined, undefined],
  )
})

test('a name that stands for no profile is told with the one that it may mean, and the session runs without', () => {
  const delta = translatorWith(node + watched + profiled('', 'ab')).flush()
  assert.equal(delta.speaker?.neighbors[0]?.bfd, undefined)
  const [said] = delta.problems ?? []
  assert.deepEqual([said?.severity, said?.code, said?.field], ['warning', 'UnknownName', 'spec.bfdProfile'])
  assert.match(`${said?.message} ${said?.remedy}`, /without BFD .* hold time.*Did you mean ab/)
})

test('what the annotation says of BFD goes before the profile', () => {
  const annotated = watched.replace(
    'metadata: {',
    `metadata: {annotations: {herald.dev/neighbors: '{"*": {bfd: {receiveInterval: 50, multihop: true}}}'}, `,
  )
  assert.deepEqual(neighborsOf(annotated + profiled('detectMultiplier: 9'))[0]?.bfd, {
    receiveIntervalMs: 50,
    transmitIntervalMs: 300,
    detectMultiplier: 3,
    isPassive: false,
    isMultihop: true,
  })
})

test('a router on the same host may be a peer, and is told, as with every kind that names a router', () => {
  const codes = (address: string) =>
    validateManifests([
      { name: 'a.yaml', text: peer('tor', `myASN: 64512, peerASN: 64513, peerAddress: "${address}"`) },
    ]).map(({ code, severity }) => `${severity} ${code}`)
  assert.deepEqual(codes('127.0.0.1'), ['warning LoopbackPeer'])
  assert.deepEqual(codes('::1'), ['warning LoopbackPeer'])
  for (const none of ['0.0.0.0', '224.0.0.1', 'ff02::1', '::', '255.255.255.255'])
    assert.deepEqual(codes(none), ['error InvalidPeerAddress'], none)
})
