/** Every field of the v2 family of Cilium: its default, its bounds, and what is refused at which place. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseAdvertisement, type CiliumBgpAdvertisement } from '../../src/k8s/kinds/cilium-bgp-advertisement.ts'
import { parseClusterConfig, type CiliumBgpClusterConfig } from '../../src/k8s/kinds/cilium-bgp-cluster-config.ts'
import { parseNodeConfigOverride } from '../../src/k8s/kinds/cilium-bgp-node-config-override.ts'
import { parsePeerConfig, settingsOf, type CiliumBgpPeerConfig } from '../../src/k8s/kinds/cilium-bgp-peer-config.ts'
import { formatPath, type Narrowed } from '../../src/k8s/kinds/narrow.ts'

type Fields = Readonly<Record<string, unknown>>

const object = (spec: unknown, annotations: Fields = {}) => ({ metadata: { name: 'x', annotations }, spec })
const places = ({ faults }: Narrowed<unknown>): readonly string[] =>
  faults.map(({ severity, path, code }) => `${severity} ${code} ${formatPath(path)}`)
const errors = (narrowed: Narrowed<unknown>): readonly string[] =>
  places(narrowed).flatMap((place) => (place.startsWith('error') ? [place.slice('error '.length)] : []))

const peer = { name: 'tor', peerAddress: '192.0.2.1', peerASN: 65000 }
const configWith = (fields: Fields, before?: CiliumBgpClusterConfig) =>
  parseClusterConfig(object({ bgpInstances: [{ name: 'a', localASN: 65001, peers: [peer], ...fields }] }), before)
const peerWith = (fields: Fields) => configWith({ peers: [{ ...peer, ...fields }] })
const targetWith = (fields: Fields) => peerWith(fields).value?.instances[0]?.peers[0]?.target

test('an instance and a peer have the defaults of the kind', () => {
  const { value, faults } = parseClusterConfig(
    object({ bgpInstances: [{ name: 'a', peers: [{ name: 'p', peerAddress: '192.0.2.1' }] }] }),
  )
  const at = ['spec', 'bgpInstances', 0, 'peers', 0, 'peerConfigRef']
  assert.deepEqual(
    faults.map(({ severity, code, path }) => [severity, code, path]),
    [['warning', 'NoAdvertisements', at]],
    'nothing is announced to it',
  )
  assert.equal(value?.nodeSelector, undefined, 'every node')
  const [instance] = value?.instances ?? []
  assert.deepEqual([instance?.localASN, instance?.localPort], [undefined, undefined])
  const [first] = instance?.peers ?? []
  assert.deepEqual([first?.peerASN, first?.peerConfigRef], [0, undefined])
})

/** Of each numeric field: the least, the greatest, and how an object with it is narrowed. */
const bounds: readonly (readonly [
  field: string,
  least: number,
  greatest: number,
  narrowed: (field: Fields) => Narrowed<unknown>,
])[] = [
  ['localASN', 1, 4294967295, configWith],
  ['localPort', 1, 65535, configWith],
  ['peerASN', 0, 4294967295, peerWith],
  ['peerPort', 1, 65535, (transport) => parsePeerConfig(object({ transport }))],
  ['connectRetryTimeSeconds', 1, 2147483647, (timers) => parsePeerConfig(object({ timers }))],
  ['holdTimeSeconds', 3, 65535, (timers) => parsePeerConfig(object({ timers }))],
  [
    'keepAliveTimeSeconds',
    1,
    65535,
    (timers) => parsePeerConfig(object({ timers: { holdTimeSeconds: 65535, ...timers } })),
  ],
  ['restartTimeSeconds', 1, 4095, (field) => parsePeerConfig(object({ gracefulRestart: { enabled: true, ...field } }))],
  ['ebgpMultihop', 1, 255, (field) => parsePeerConfig(object(field))],
  ['aggregationLengthIPv4', 0, 31, (field) => serviceEntry(field)],
  ['aggregationLengthIPv6', 0, 127, (field) => serviceEntry(field)],
  ['localPreference', 0, 4294967295, (attributes) => entryWith({ attributes })],
  ['localPort', 1, 65535, (field) => parseNodeConfigOverride(object({ bgpInstances: [{ name: 'a', ...field }] }))],
  ['localASN', 1, 4294967295, (field) => parseNodeConfigOverride(object({ bgpInstances: [{ name: 'a', ...field }] }))],
]

const entryWith = (fields: Fields, before?: CiliumBgpAdvertisement) =>
  parseAdvertisement(object({ advertisements: [{ advertisementType: 'PodCIDR', ...fields }] }), before)
const serviceEntry = (fields: Fields) =>
  entryWith({ advertisementType: 'Service', selector: {}, service: { addresses: ['LoadBalancerIP'], ...fields } })

test('numbers are taken from the least to the greatest, as numbers, and refused beyond at their field', () => {
  for (const [field, least, greatest, narrowed] of bounds) {
    for (const value of [least, greatest])
      assert.deepEqual(errors(narrowed({ [field]: value })), [], `${field} ${value}`)
    for (const value of [least - 1, greatest + 1, 1.5, String(greatest), true, [least], {}, Number.NaN]) {
      const found = errors(narrowed({ [field]: value }))
      const others = found.slice(1).filter((place) => !place.startsWith('NoNeighborLeft'))
      assert.deepEqual(others, [], `${field} ${String(value)}: ${found.join()}`)
      assert.ok(found[0]?.startsWith('InvalidField') && found[0].endsWith(`.${field}`), found[0])
    }
    assert.deepEqual(errors(narrowed({ [field]: null })), [], `${field}: null is absent`)
  }
})

test('an address is one value however it is written; a mask, a name or nothing is refused with what to write', () => {
  const spelled = ['192.0.2.1', '::ffff:192.0.2.1', '::FFFF:c000:201'].map((peerAddress) => targetWith({ peerAddress }))
  assert.deepEqual(new Set(spelled.map((target) => JSON.stringify(target))).size, 1)
  assert.deepEqual(targetWith({ peerAddress: '2001:DB8:0::1' }), { kind: 'address', address: '2001:db8::1' })
  assert.deepEqual(targetWith({ peerAddress: 'fe80::1%eth0' }), { kind: 'address', address: 'fe80::1', device: 'eth0' })
  const remedies: readonly (readonly [unknown, RegExp])[] = [
    ['192.0.2.1/32', /Write 192\.0\.2\.1;/],
    ['2001:db8::1/128', /Write 2001:db8::1;/],
    ['192.0.2.1:1790', /Write 192\.0\.2\.1, and peerPort: 1790 in/],
    ['[2001:db8::1]:1790', /Write 2001:db8::1, and peerPort: 1790 in/],
    ['192.0.2.01', /Write 192\.0\.2\.1;/],
    ['tor.example', /Write 192\.0\.2\.1 or/],
    ['192.0.2.1%eth0', /Write 192/],
    ['', /Write peerAddress/],
    [null, /Write peerAddress/],
  ]
  for (const [peerAddress, remedy] of remedies) {
    const [found] = peerWith({ peerAddress }).faults
    assert.equal(found?.code, 'InvalidPeerAddress', String(peerAddress))
    assert.match(found?.remedy ?? '', remedy)
  }
})

test('a peer may be discovered: each mode needs its own field (CEL), and an address goes before it', () => {
  const { peerAddress: _address, ...bare } = peer
  const discovered = (autoDiscovery: unknown) => configWith({ peers: [{ ...bare, autoDiscovery }] })
  const target = (autoDiscovery: unknown) => discovered(autoDiscovery).value?.instances[0]?.peers[0]?.target
  assert.deepEqual(target({ mode: 'DefaultGateway', defaultGateway: { addressFamily: 'ipv6' } }), {
    kind: 'gateway',
    family: 'ipv6',
  })
  assert.deepEqual(target({ mode: 'Unnumbered', unnumbered: { interface: 'eth0' } }), {
    kind: 'unnumbered',
    device: 'eth0',
  })
  const at = 'spec.bgpInstances[0].peers[0].autoDiscovery'
  const wrong: readonly (readonly [unknown, string])[] = [
    [{ mode: 'DefaultGateway' }, `${at}.defaultGateway`],
    [{ mode: 'Unnumbered' }, `${at}.unnumbered`],
    [{ mode: 'Mdns' }, `${at}.mode`],
    [{ mode: 'DefaultGateway', defaultGateway: { addressFamily: 'IPv4' } }, `${at}.defaultGateway.addressFamily`],
    [{ mode: 'Unnumbered', unnumbered: { interface: 'not a name' } }, `${at}.unnumbered.interface`],
  ]
  for (const [written, field] of wrong)
    assert.ok(errors(discovered(written)).includes(`InvalidField ${field}`), errors(discovered(written)).join())
  const both = peerWith({ autoDiscovery: { mode: 'DefaultGateway', defaultGateway: { addressFamily: 'ipv4' } } })
  assert.deepEqual(both.value?.instances[0]?.peers[0]?.target.kind, 'address')
  assert.equal(both.faults[0]?.severity, 'warning')
})

test('names are what parts are known by: each once, 1 to 255 characters, at most 16 instances', () => {
  const instance = (name: unknown) => ({ name, localASN: 65001, peers: [peer] })
  const of = (...names: readonly unknown[]) => parseClusterConfig(object({ bgpInstances: names.map(instance) }))
  assert.deepEqual(errors(of('a', 'a')), ['DuplicateRouter spec.bgpInstances[1].name'])
  assert.equal(of('a', 'a').value?.instances.length, 1)
  assert.deepEqual(errors(of('a', 'x'.repeat(256))), ['InvalidField spec.bgpInstances[1].name'])
  assert.deepEqual(errors(of('a', '')), ['InvalidField spec.bgpInstances[1].name'])
  assert.deepEqual(errors(of(...Array.from({ length: 17 }, (_, index) => `i${index}`))), [
    'LimitExceeded spec.bgpInstances',
  ])
  assert.deepEqual(errors(parseClusterConfig(object({ bgpInstances: [] }))), ['InvalidField spec.bgpInstances'])
  const twice = configWith({ peers: [peer, { ...peer, peerAddress: '192.0.2.2' }] })
  assert.deepEqual(errors(twice), ['DuplicateNeighbor spec.bgpInstances[0].peers[1].name'])
  assert.equal(twice.value?.instances[0]?.peers.length, 1)
})

test('a broken peer or instance keeps its last good version, the others follow; what was never good is left out', () => {
  const before = configWith({ peers: [peer, { name: 'other', peerAddress: '192.0.2.2', peerASN: 1 }] }).value
  const after = configWith(
    {
      peers: [
        { ...peer, peerASN: 'x' },
        { name: 'other', peerAddress: '192.0.2.3' },
      ],
    },
    before,
  )
  assert.deepEqual(
    after.value?.instances[0]?.peers.map(({ peerASN, target }) => [peerASN, Reflect.get(target, 'address')]),
    [
      [65000, '192.0.2.1'],
      [0, '192.0.2.3'],
    ],
  )
  const fresh = configWith({
    peers: [
      { ...peer, peerASN: 'x' },
      { name: 'other', peerAddress: '192.0.2.3' },
    ],
  })
  assert.deepEqual(
    fresh.value?.instances[0]?.peers.map(({ name }) => name),
    ['other'],
  )
  const misspelt = configWith({ peers: [{ ...peer, peerConfigref: { name: 'c' } }] }, peerWithConfig)
  assert.deepEqual(misspelt.value?.instances[0]?.peers[0]?.peerConfigRef, { name: 'c' }, 'a slip takes nothing away')
  assert.deepEqual(
    errors(configWith({ peers: [{ ...peer, peerASN: 'x' }] })).at(-1),
    'NoNeighborLeft spec.bgpInstances',
  )
  assert.equal(configWith({ peers: [{ ...peer, peerASN: 'x' }] }).value, undefined)
})
const peerWithConfig = peerWith({ peerConfigRef: { name: 'c' } }).value

test('an unknown field has no effect and is said; a reference to another kind is refused', () => {
  const peers = [{ ...peer, peerConfigRef: { name: 'c' } }]
  const placesWith = (fields: Fields) => places(configWith({ peers, ...fields }))
  assert.deepEqual(placesWith({ localAsn: 1 }), ['warning UnknownField spec.bgpInstances[0].localAsn'])
  assert.deepEqual(placesWith({ bmpServers: [{}] }), ['warning NotServed spec.bgpInstances[0].bmpServers'])
  const old = { name: 'c', group: 'cilium.io', kind: 'CiliumBGPPeerConfig' }
  assert.deepEqual(places(peerWith({ peerConfigRef: old })), [])
  assert.deepEqual(errors(peerWith({ peerConfigRef: { name: 'c', kind: 'ConfigMap' } })), [
    'InvalidField spec.bgpInstances[0].peers[0].peerConfigRef',
    'NoNeighborLeft spec.bgpInstances',
  ])
})

const peerConfig = (spec: Fields, before?: CiliumBgpPeerConfig) => parsePeerConfig(object(spec), before)
const ipv4 = { afi: 'ipv4', safi: 'unicast', advertisements: {} }

test('a peer configuration has the defaults of the kind', () => {
  const { value } = peerConfig({})
  assert.ok(value)
  assert.deepEqual(settingsOf(value.settings), {
    peerPort: 179,
    sourceInterface: undefined,
    connectRetrySec: 120,
    holdTimeSec: 90,
    keepaliveSec: 30,
    authSecretRef: undefined,
    restartTimeSec: undefined,
    multihopTtl: 1,
    bfd: undefined,
  })
  assert.deepEqual(
    value.families.map(({ name }) => name),
    ['ipv4-unicast', 'ipv6-unicast'],
  )
  const nine = peerConfig({ timers: { holdTimeSeconds: 9 }, gracefulRestart: { enabled: true } }).value
  assert.deepEqual(nine && [settingsOf(nine.settings).keepaliveSec, settingsOf(nine.settings).restartTimeSec], [3, 120])
  const off = peerConfig({ gracefulRestart: { enabled: false, restartTimeSeconds: 7 } }).value
  assert.equal(off && settingsOf(off.settings).restartTimeSec, undefined)
})

test('keepalive above hold is refused (CEL); what is deprecated or not served is said', () => {
  assert.deepEqual(errors(peerConfig({ timers: { holdTimeSeconds: 9, keepAliveTimeSeconds: 10 }, families: [ipv4] })), [
    'KeepaliveAboveHold spec.timers.keepAliveTimeSeconds',
  ])
  const said = peerConfig({ transport: { localPort: 1790 }, families: [ipv4] })
  assert.deepEqual(places(said), ['warning NotServed spec.transport.localPort'])
})

test('BFD as Cilium proposes it has the timers that are written, and is off where it is not enabled', () => {
  const bfdOf = (bfd: unknown): unknown => {
    const { value } = peerConfig({ bfd, families: [ipv4] })
    return value && settingsOf(value.settings).bfd
  }
  const times = { transmitIntervalMilliseconds: 50, receiveIntervalMilliseconds: 100, detectionMultiplier: 5 }
  assert.deepEqual(bfdOf({ enabled: true, ...times }), {
    receiveIntervalMs: 100,
    transmitIntervalMs: 50,
    detectMultiplier: 5,
    isPassive: false,
  })
  assert.deepEqual(
    [bfdOf({ enabled: false, ...times }), bfdOf(times), bfdOf(null), bfdOf(undefined)],
    Array(4).fill(undefined),
  )
  assert.deepEqual(errors(peerConfig({ bfd: { enabled: true, detectionMultiplier: 0 }, families: [ipv4] })), [
    'InvalidField spec.bfd.detectionMultiplier',
  ])
})

test('families are each once, others are passed over, and without advertisements it is said', () => {
  const evpn = { afi: 'l2vpn', safi: 'evpn' }
  const names = (...families: readonly unknown[]) => peerConfig({ families }).value?.families.map(({ name }) => name)
  assert.deepEqual(names(ipv4, evpn), ['ipv4-unicast'])
  assert.deepEqual(places(peerConfig({ families: [ipv4, evpn] })), ['warning FamilyNotServed spec.families[1]'])
  assert.deepEqual(errors(peerConfig({ families: [evpn] })), ['NoFamily spec.families'])
  assert.deepEqual(errors(peerConfig({ families: [ipv4, ipv4] })), ['InvalidField spec.families[1]'])
  assert.deepEqual(names(ipv4, ipv4), ['ipv4-unicast'])
  assert.deepEqual(places(peerConfig({})), ['warning NoAdvertisements spec.families'])
  assert.deepEqual(places(peerConfig({ families: [{ afi: 'ipv4', safi: 'unicast' }] })), [
    'warning NoAdvertisements spec.families',
  ])
  const broken = peerConfig({ families: [ipv4.advertisements] })
  assert.ok(!places(broken).some((place) => place.includes('NoAdvertisements')), 'what is broken is not silent')
  assert.deepEqual(errors(peerConfig({ families: null })), [])
  assert.deepEqual(errors(peerConfig({ families: [] })), ['NoFamily spec.families'])
})

test('a broken setting keeps all settings, a broken family itself; what was never good is not used', () => {
  const before = peerConfig({ timers: { holdTimeSeconds: 9 }, authSecretRef: 'tor', families: [ipv4] }).value
  const changed = { afi: 'ipv4', safi: 'unicast', advertisements: { matchLabels: { a: 'b' } } }
  const half = peerConfig({ timers: { holdTimeSeconds: 1 }, families: [changed] }, before).value
  assert.deepEqual(half && settingsOf(half.settings).authSecretRef, 'tor')
  assert.deepEqual(half?.families[0]?.advertisements?.matchLabels, { a: 'b' })
  const other = { afi: 'ipv4', safi: 'unicast', advertisements: { matchExpressions: [{ key: 'a', operator: 'In' }] } }
  const kept = peerConfig({ ebgpMultihop: 3, families: [other] }, before).value
  assert.deepEqual(kept && [settingsOf(kept.settings).multihopTtl, kept.families], [3, before?.families])
  assert.equal(peerConfig({ timers: { holdTimeSeconds: 1 }, families: [ipv4] }).value, undefined)
  assert.equal(peerConfig({ families: [other] }).value, undefined)
  const slip = peerConfig({ authSecretref: 'tor', timers: { holdTimeSeconds: 9 }, families: [ipv4] }, before)
  assert.deepEqual(errors(slip), ['InvalidField spec.authSecretref'], 'a slip takes no key away')
})

test('an advertisement is of its type: what CEL asks for is asked for, what is not served is said', () => {
  const at = 'spec.advertisements[0]'
  const service = { addresses: ['LoadBalancerIP'] }
  const cases: readonly (readonly [Fields, readonly string[]])[] = [
    [{}, []],
    [{ advertisementType: 'Service', service, selector: {} }, []],
    [{ advertisementType: 'Service', service }, [`warning NoServiceSelector ${at}.selector`]],
    [{ advertisementType: 'Service', selector: {} }, [`error InvalidField ${at}.service`]],
    [{ selector: {} }, [`error InvalidField ${at}.selector`]],
    [{ service }, [`error InvalidField ${at}.service`]],
    [{ advertisementType: 'Interface', interface: { name: 'lo' } }, [`warning NotServed ${at}.advertisementType`]],
    [{ interface: { name: 'lo' } }, [`error InvalidField ${at}.interface`]],
    [{ advertisementType: 'CiliumPodIPPool', selector: {} }, [`warning NotServed ${at}.advertisementType`]],
    [{ advertisementType: 'Services' }, [`error InvalidField ${at}.advertisementType`]],
    [
      { attributes: { communities: { standard: ['70000:1'] } } },
      [`error InvalidField ${at}.attributes.communities.standard[0]`],
    ],
    [
      { attributes: { communities: { wellKnown: ['no-exports'] } } },
      [`error InvalidField ${at}.attributes.communities.wellKnown[0]`],
    ],
    [{ attributes: { communities: { large: ['1:2'] } } }, [`error InvalidField ${at}.attributes.communities.large[0]`]],
  ]
  for (const [fields, expected] of cases) assert.deepEqual(places(entryWith(fields)), expected, JSON.stringify(fields))
  assert.deepEqual(errors(serviceEntry({ addresses: [] })), [`InvalidField ${at}.service.addresses`])
  assert.deepEqual(errors(serviceEntry({ addresses: ['NodeIP'] })), [`InvalidField ${at}.service.addresses[0]`])
})

test('a broken entry is what it was where the list is as long; else the whole object is what it was', () => {
  const entry = (preference: unknown) => ({
    advertisementType: 'PodCIDR',
    attributes: { localPreference: preference },
  })
  const of = (before: CiliumBgpAdvertisement | undefined, ...preferences: readonly unknown[]) =>
    parseAdvertisement(object({ advertisements: preferences.map(entry) }), before)
  const preferences = ({ value }: Narrowed<CiliumBgpAdvertisement>) =>
    value?.advertisements.map(({ attributes }) => attributes?.localPreference)
  const before = of(undefined, 1, 2).value
  assert.deepEqual(preferences(of(before, 'x', 3)), [1, 3])
  assert.equal(of(before, 'x').value, undefined)
  assert.match(of(before, 'x').faults[0]?.remedy ?? '', /the last good version stays in force/)
  assert.deepEqual(preferences(of(undefined, 'x', 3)), [3])
  assert.equal(of(undefined, 'x').value, undefined)
  assert.deepEqual(preferences(of(before)), [], 'an empty list is what it says')
})

test('herald.dev/attributes is by key and family, each key with its last good version', () => {
  const of = (text: string, before?: CiliumBgpAdvertisement) =>
    parseAdvertisement(object({ advertisements: [] }, { 'herald.dev/attributes': text }), before)
  const good = of('{med: 5, asPathPrepend: {ipv6: 2}, extendedCommunities: ["rt:65000:100"]}')
  assert.deepEqual(good.faults, [])
  assert.deepEqual(good.value?.attributeKeys.med, { ipv4: 5, ipv6: 5 })
  assert.deepEqual(places(of('{nextHop: 1}')), [
    'warning UnknownField metadata.annotations.herald.dev/attributes.nextHop',
  ])
  const kept = of('{med: -1, asPathPrepend: 1}', good.value).value?.attributeKeys
  assert.deepEqual([kept?.med?.ipv4, kept?.asPathPrepend?.ipv4, kept?.extendedCommunities], [5, 1, undefined])
  assert.deepEqual(of('{medd: 7}', good.value).value?.attributeKeys.med?.ipv4, 5, 'a slip takes nothing away')
  assert.deepEqual(of('[', good.value).value?.attributeKeys, good.value?.attributeKeys)
  assert.deepEqual(of('').value?.attributeKeys, {})
})

test('an override of a node is by instance and peer; router ID and address are addresses', () => {
  const of = (fields: Fields) => parseNodeConfigOverride(object({ bgpInstances: [{ name: 'a', ...fields }] }))
  const good = of({ routerID: '10.0.0.1', peers: [{ name: 'p', localAddress: '2001:DB8::1' }] })
  assert.deepEqual(good.faults, [])
  assert.deepEqual(good.value?.instances[0]?.peers[0]?.localAddress, '2001:db8::1')
  for (const routerID of ['0.0.0.0', '224.0.0.1', '2001:db8::1', 'x', '10.0.0.1/32'])
    assert.deepEqual(errors(of({ routerID })), ['InvalidRouterId spec.bgpInstances[0].routerID'], routerID)
  assert.deepEqual(errors(of({ peers: [{ name: 'p', localAddress: '10.0.0.1/24' }] })), [
    'InvalidAddress spec.bgpInstances[0].peers[0].localAddress',
  ])
  assert.deepEqual(places(of({ peers: [{ name: 'p', localPort: 5 }] })), [
    'warning NotServed spec.bgpInstances[0].peers[0].localPort',
  ])
  assert.deepEqual(errors(parseNodeConfigOverride(object({ bgpInstances: [] }))), ['InvalidField spec.bgpInstances'])
})
