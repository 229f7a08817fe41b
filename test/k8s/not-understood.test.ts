/**
 * What is said where something that is written is not understood, or is there and of no use: never that it is not
 * there, nor that another step is at fault.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Verdict } from '../../src/desired/model.ts'
import {
  change,
  codesOf,
  node,
  policyWith,
  pool,
  remove,
  service,
  serviceOf,
  slice,
  slice6,
  smallestPolicy,
  translatorWith,
  verdictOf,
} from './manifests.ts'

const web = service('web') + slice('web')
const told = (delta: ReturnType<typeof change>, step: Verdict['step']): readonly unknown[] => {
  const { ok, code, message } = verdictOf(serviceOf(delta, 'web'), step) ?? {}
  return [ok, code, message]
}
const broken = smallestPolicy.replace(
  '{matchLabels: {expose-via-bgp: "true"}}',
  '{matchExpressions: [{key: a, operator: In}]}',
)

test('a policy of which nothing is understood is named: it is not said that there is none', () => {
  const translator = translatorWith(broken + node + pool + web)
  assert.deepEqual(told(translator.flush(), 'selected'), [
    false,
    'NoPolicy',
    'CiliumBGPPeeringPolicy bgp-peering is not understood',
  ])
  const two = change(
    translator,
    `---\napiVersion: metallb.io/v1beta2\nkind: BGPPeer\nmetadata: {name: tor, namespace: m}\nspec: {myASN: 0, peerASN: 1}\n`,
  )
  assert.match(
    String(told(two, 'selected')[2]),
    /^CiliumBGPPeeringPolicy bgp-peering, BGPPeer m\/tor are not understood/,
  )
  assert.equal(told(change(translator, smallestPolicy), 'selected')[0], true)
  // What was good once is in force, whatever its newer version is.
  assert.deepEqual([...change(translator, broken).services.keys()], [])
})

test('a policy that goes before it was understood is none any more, and one that applies elsewhere is named beside it', () => {
  const translator = translatorWith(broken + node + pool + web)
  translator.flush()
  const gone = remove(translator, 'CiliumBGPPeeringPolicy', 'bgp-peering')
  assert.match(String(told(gone, 'selected')[2]), /^there is no CiliumBGPPeeringPolicy;/)
  const elsewhere = smallestPolicy.replace('os: linux', 'os: windows').replace('bgp-peering', 'other')
  const both = change(translator, `${broken}---\n${elsewhere}`)
  assert.match(
    String(told(both, 'selected')[2]),
    /^CiliumBGPPeeringPolicy bgp-peering is not understood; .*\bnode node-a\b/,
  )
})

test('a pool that is not understood is named among the pools, also to who asks for it by name', () => {
  const wrong = pool.replace('/28', '/33').replace('name: pool', 'name: blue')
  const translator = translatorWith(smallestPolicy + node + wrong + web)
  assert.deepEqual(told(translator.flush(), 'allocated'), [
    false,
    'NoPool',
    'no IPv4 address: pool blue is not understood',
  ])
  const right = change(translator, pool.replace('name: pool', 'name: blue'))
  assert.deepEqual(told(right, 'allocated'), [true, 'Allocated', '198.51.100.0 of pool blue'])
  const asks = service('web', '', '{metallb.io/address-pool: red}')
  const red =
    '---\napiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {name: red, namespace: m}\nspec: {addresses: [nowhere]}\n'
  const asked = translatorWith(smallestPolicy + node + red + asks + slice('web')).flush()
  assert.deepEqual(told(asked, 'allocated'), [false, 'NoPool', 'no IPv4 address: pool red is not understood'])
})

test('a Service without an address is not told that its endpoints are wrong where they are right', () => {
  for (const [text, expected] of [
    [web, [true, 'HasLocalBackends']],
    [service('web', ', ipFamilyPolicy: RequireDualStack') + slice6('web'), [true, 'HasLocalBackends']],
    [service('web', ', ipFamilies: [IPv6]') + slice('web'), [false, 'NoEndpointOfFamily']],
    [
      service('web') + slice('web').replace('name: http, port: 8080', 'name: other, port: 8080'),
      [false, 'NoMatchingPort'],
    ],
    [service('web') + slice('web', 'node-b'), [false, 'NoLocalBackends']],
    [service('web'), [false, 'NoBackends']],
  ] as const) {
    const delta = translatorWith(smallestPolicy + node + text).flush()
    assert.deepEqual(told(delta, 'eligible').slice(0, 2), expected, text)
    assert.equal(told(delta, 'allocated')[0], false)
    assert.deepEqual(serviceOf(delta, 'web').routes, [])
  }
})

test('an annotation of commas and blanks asks for nothing, as an empty one: the next one counts', () => {
  for (const asked of ['", "', '","', '" ,, "']) {
    const text = service('web', ', loadBalancerIP: 198.51.100.4', `{lbipam.cilium.io/ips: ${asked}}`)
    const delta = translatorWith(smallestPolicy + node + pool + text).flush()
    assert.deepEqual([serviceOf(delta, 'web').addresses, codesOf(delta.problems)], [['198.51.100.4'], []], asked)
  }
})

test('an InternalIP that nobody can send to is no next hop (RFC 4271 5.1.3)', () => {
  const hopsOf = (addresses: string): unknown =>
    translatorWith(smallestPolicy + node.replace('address: 192.168.1.10', addresses)).flush().speaker?.neighbors[0]
      ?.nodeAddresses
  const next = (address: string): string => `}, {type: InternalIP, address: ${address}`
  assert.deepEqual(hopsOf(`address: 127.0.0.1${next('192.0.2.7')}${next('"::1"')}`), { 'ipv4-unicast': '192.0.2.7' })
  assert.deepEqual(hopsOf(`address: 127.0.0.1${next('"fe80::1"')}${next('"fd00::7"')}`), { 'ipv6-unicast': 'fd00::7' })
  assert.equal(hopsOf('address: 0.0.0.0'), undefined)
})

test('a source address of the other family has no effect on a neighbor, is said, and serves those of its own', () => {
  const both = policyWith(
    '{peerAddress: 192.168.1.1/32, peerASN: 65000}',
    '{peerAddress: "fd77::1/128", peerASN: 65000}',
  )
  for (const [source, kept, refused] of [
    ['fd77::2', 'fd77::1', '192.168.1.1 is IPv4'],
    ['192.168.1.10', '192.168.1.1', 'fd77::1 is IPv6'],
  ]) {
    const text = both.replace(
      'name: bgp-peering',
      `name: bgp-peering, annotations: {herald.dev/neighbors: '{"*": {sourceAddress: "${source}"}}'}`,
    )
    const { speaker, problems = [] } = translatorWith(text + node, {
      localAddresses: () => [{ interface: 'eth0', address: 'fd77::2' }],
    }).flush()
    const leaving = speaker?.neighbors.filter(({ sourceAddress }) => sourceAddress === source)
    assert.deepEqual([speaker?.neighbors.length, leaving?.map(({ peerAddress }) => peerAddress)], [2, [kept]])
    assert.deepEqual(codesOf(problems), ['InvalidAddress'])
    assert.match(problems[0]?.message ?? '', new RegExp(`, and neighbor ${refused}: it has no effect there$`))
  }
})
