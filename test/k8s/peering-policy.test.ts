/** Every field of CiliumBGPPeeringPolicy: its default, its bounds, and what is refused at which place. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  parsePeeringPolicy,
  type CiliumBgpPeeringPolicy,
  type PolicyNeighbor,
} from '../../src/k8s/kinds/cilium-bgp-peering-policy.ts'
import type { Narrowed } from '../../src/k8s/kinds/narrow.ts'

type Fields = Readonly<Record<string, unknown>>

const neighbor: Fields = { peerAddress: '192.0.2.1/32', peerASN: 65000 }
const router: Fields = { localASN: 65001, serviceSelector: {}, neighbors: [neighbor] }
const policyOf = (spec: Fields): Narrowed<CiliumBgpPeeringPolicy> =>
  parsePeeringPolicy({ metadata: { name: 'p' }, spec: { nodeSelector: {}, ...spec } })
const routerOf = (fields: Fields): Narrowed<CiliumBgpPeeringPolicy> =>
  policyOf({ virtualRouters: [{ ...router, ...fields }] })
const neighborOf = (fields: Fields): Narrowed<CiliumBgpPeeringPolicy> =>
  routerOf({ neighbors: [{ ...neighbor, ...fields }] })
const only = ({ value }: Narrowed<CiliumBgpPeeringPolicy>): PolicyNeighbor | undefined =>
  value?.virtualRouters[0]?.neighbors[0]
const places = ({ faults }: Narrowed<CiliumBgpPeeringPolicy>): readonly string[] =>
  faults.map(({ path, severity }) => `${severity} ${path.slice(-1).join()}`)

test('a neighbor that says nothing else has the defaults of the kind', () => {
  const { path: _path, ...found } = only(neighborOf({})) ?? { path: [] }
  assert.deepEqual(found, {
    peerAddress: '192.0.2.1',
    peerASN: 65000,
    peerPort: 179,
    eBGPMultihopTTL: 1,
    connectRetryTimeSeconds: 120,
    holdTimeSeconds: 90,
    keepAliveTimeSeconds: 30,
  })
  assert.equal(only(neighborOf({ holdTimeSeconds: 9 }))?.keepAliveTimeSeconds, 3)
  assert.equal(only(neighborOf({ holdTimeSeconds: 65535 }))?.keepAliveTimeSeconds, 30)
  assert.equal(only(neighborOf({ gracefulRestart: { enabled: true } }))?.gracefulRestart?.restartTimeSeconds, 120)
})

/** Of each numeric field: the least, the greatest, and what is beside them. */
const bounds: readonly (readonly [field: string, least: number, greatest: number])[] = [
  ['peerASN', 0, 4294967295],
  ['peerPort', 1, 65535],
  ['eBGPMultihopTTL', 1, 255],
  ['connectRetryTimeSeconds', 1, 2147483647],
  ['holdTimeSeconds', 3, 65535],
  ['keepAliveTimeSeconds', 1, 90],
]

test('numbers are taken from the least to the greatest, as numbers, and refused beyond at their field', () => {
  for (const [field, least, greatest] of bounds) {
    for (const value of [least, greatest])
      assert.deepEqual(places(neighborOf({ [field]: value })), [], `${field} ${value}`)
    for (const value of [least - 1, greatest + 1, 1.5, String(greatest), true, [least], {}, Number.NaN]) {
      const found = neighborOf({ [field]: value })
      assert.equal(found.value, undefined, `${field} ${String(value)}`)
      assert.ok(places(found).includes(`error ${field}`), `${field} ${String(value)}: ${places(found).join()}`)
    }
  }
})

test('null is the default in every field that has one', () => {
  const optional = [...bounds.map(([field]) => field).slice(1), 'authSecretRef', 'gracefulRestart', 'families']
  for (const field of [...optional, 'advertisedPathAttributes', 'serviceSelector'])
    assert.deepEqual(neighborOf({ [field]: null }).value?.virtualRouters.length, 1, field)
  for (const field of ['exportPodCIDR', 'podIPPoolSelector', 'serviceAdvertisements'])
    assert.deepEqual(places(routerOf({ [field]: null })), [], field)
})

test('the AS of a virtual router is 1 to 4294967295, and one AS has one router', () => {
  for (const localASN of [1, 65535, 65536, 4294967295]) assert.deepEqual(places(routerOf({ localASN })), [])
  for (const localASN of [0, -1, 4294967296, '65001', undefined, null])
    assert.ok(places(routerOf({ localASN })).includes('error localASN'), String(localASN))
  const twice = policyOf({ virtualRouters: [router, { ...router, exportPodCIDR: true }] })
  assert.deepEqual(
    [twice.value?.virtualRouters.length, twice.value?.virtualRouters[0]?.exportPodCIDR, places(twice)],
    [1, false, ['error localASN']],
  )
})

test('an address is one router: with the mask of its family, and canonical', () => {
  for (const [written, canonical] of [
    ['192.0.2.1/32', '192.0.2.1'],
    ['2001:DB8::0001/128', '2001:db8::1'],
    ['::ffff:192.0.2.1/128', '192.0.2.1'],
    ['::/128', '::'],
    ['FE80::1/128', 'fe80::1'],
  ] as const)
    assert.equal(only(neighborOf({ peerAddress: written }))?.peerAddress, canonical)
  for (const [written, code] of [
    ['192.0.2.1', 'InvalidPeerAddress'],
    ['192.0.2.0/24', 'InvalidPeerMask'],
    ['192.0.2.1/33', 'InvalidPeerAddress'],
    ['192.0.2.01/32', 'InvalidPeerAddress'],
    ['2001:db8::1/64', 'InvalidPeerMask'],
    ['2001:db8::1', 'InvalidPeerAddress'],
    ['router/32', 'InvalidPeerAddress'],
    ['', 'InvalidPeerAddress'],
    ['fe80::1%eth0/128', 'InvalidPeerAddress'],
  ] as const) {
    const { faults } = neighborOf({ peerAddress: written })
    assert.deepEqual(faults.map(({ code: found }) => found).slice(0, 1), [code], written)
  }
})

test('families are those that are served; others are warned about, and none at all is an error', () => {
  const of = (...families: readonly (readonly [string, string])[]): readonly string[] =>
    places(neighborOf({ families: families.map(([afi, safi]) => ({ afi, safi })) }))
  assert.deepEqual(of(['ipv4', 'unicast']), [])
  assert.deepEqual(of(['ipv6', 'unicast'], ['ipv4', 'unicast']), [])
  assert.deepEqual(of(['ipv4', 'unicast'], ['l2vpn', 'evpn']), ['warning families'])
  assert.ok(of(['ipv4', 'multicast']).includes('error families'))
  assert.ok(of().includes('error families'))
})

test('communities are judged each by itself, wherever one stands', () => {
  const of = (communities: Fields): readonly string[] =>
    places(neighborOf({ advertisedPathAttributes: [{ selectorType: 'PodCIDR', communities }] }))
  const good: readonly Fields[] = [
    { standard: ['65000:100', '0:0', '65535:65535', '4294967295', 0] },
    { wellKnown: ['no-export', 'blackhole', 'no-peer'] },
    { large: ['1:2:3', '4294967295:0:4294967295'] },
    { standard: null, wellKnown: [], large: null },
  ]
  for (const each of good) assert.deepEqual(of(each), [], JSON.stringify(each))
  const bad: readonly Fields[] = [
    { standard: ['65536:1'] },
    { standard: ['1:65536'] },
    { standard: ['1:2:3'] },
    { standard: ['-1:1'] },
    { standard: ['01:1'] },
    { standard: [4294967296] },
    { standard: ['no-export'] },
    { wellKnown: ['NO-EXPORT'] },
    { wellKnown: [65281] },
    { large: ['1:2'] },
    { large: ['1:2:4294967296'] },
    { large: [1] },
    { standard: '1:1' },
  ]
  for (const each of bad) assert.match(of(each)[0] ?? '', /^error (0|standard)$/, JSON.stringify(each))
})

test('what this version does not serve is a warning, and the rest holds', () => {
  assert.deepEqual(places(routerOf({ podIPPoolSelector: {} })), ['warning podIPPoolSelector'])
  assert.deepEqual(places(routerOf({ serviceAdvertisements: ['LoadBalancerIP'] })), [])
  assert.deepEqual(places(routerOf({ serviceAdvertisements: ['ClusterIP', 'ExternalIP'] })), [])
  assert.deepEqual(places(routerOf({ serviceAdvertisements: [] })), ['warning serviceAdvertisements'])
  assert.deepEqual(places(routerOf({ serviceAdvertisements: ['NodeIP'] })), ['error 0'])
  assert.deepEqual(places(neighborOf({ advertisedPathAttributes: [{ selectorType: 'CiliumPodIPPool' }] })), [
    'warning selectorType',
  ])
  assert.deepEqual(places(routerOf({ serviceSelector: undefined })), ['warning serviceSelector'])
  assert.deepEqual(places(policyOf({ nodeSelector: undefined, virtualRouters: [router] })), ['warning nodeSelector'])
})

test('what a policy cannot do without is an error of the policy', () => {
  for (const spec of [
    { virtualRouters: [] },
    { virtualRouters: undefined },
    { virtualRouters: {} },
    { virtualRouters: [{ ...router, neighbors: [] }] },
    { virtualRouters: [{ ...router, neighbors: undefined }] },
    { virtualRouters: [router], nodeSelector: 'all' },
  ]) {
    const found = policyOf(spec)
    assert.equal(found.value, undefined, JSON.stringify(spec))
    assert.ok(found.faults.some(({ severity }) => severity === 'error'))
  }
})

test('a field that is not known is a warning with the nearest one, at every depth', () => {
  for (const [found, remedy] of [
    [policyOf({ virtualRouters: [router], nodeSelecter: {} }), /nodeSelector\?/],
    [routerOf({ exportPodCidr: true }), /exportPodCIDR\?/],
    [neighborOf({ holdTimeSecond: 9 }), /holdTimeSeconds\?/],
    [neighborOf({ gracefulRestart: { enabled: true, restartTimeSecond: 9 } }), /restartTimeSeconds\?/],
    [neighborOf({ advertisedPathAttributes: [{ selectorType: 'PodCIDR', localPref: 1 }] }), /localPreference\?|Remove/],
    [neighborOf({ completelyDifferent: 1 }), /Remove the field/],
  ] as const) {
    assert.deepEqual(
      [found.faults.length, found.faults[0]?.severity, found.faults[0]?.code],
      [1, 'warning', 'UnknownField'],
    )
    assert.match(found.faults[0]?.remedy ?? '', remedy)
    assert.ok(found.value)
  }
})
