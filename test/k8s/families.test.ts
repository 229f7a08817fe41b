/** Families as the Service says: which, in which order, and what a request or a change makes of them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseService } from '../../src/k8s/kinds/service.ts'
import {
  addressesOf,
  change,
  codesOf,
  node,
  pool,
  service,
  serviceOf,
  slice,
  smallestPolicy,
  translatorWith,
  verdictOf,
} from './manifests.ts'

const four = pool.replace('name: pool', 'name: four')
const six = pool.replace('name: pool', 'name: six').replace('198.51.100.0/28', '"2001:db8::/64"')
const base = smallestPolicy + node
const spec = (text: string): string => (text === '' ? '' : `, ${text}`)
const asks = (ips: string): string => `{lbipam.cilium.io/ips: "${ips}"}`

test('ipFamilies decides and orders; the policy says whether one of them is enough', () => {
  const [a4, a6] = ['198.51.100.0', '2001:db8::']
  const cases: readonly (readonly [string, string, string, string])[] = [
    // What the Service says, and its addresses with both pools, with IPv4 alone, with IPv6 alone.
    ['', a4, a4, ''],
    ['ipFamilyPolicy: ""', a4, a4, ''],
    ['ipFamilyPolicy: SingleStack', a4, a4, ''],
    ['ipFamilies: [IPv4]', a4, a4, ''],
    ['ipFamilies: [IPv6]', a6, '', a6],
    ['ipFamilies: []', a4, a4, ''],
    ['clusterIPs: ["fd00::1"]', a6, '', a6],
    ['ipFamilies: [IPv6], ipFamilyPolicy: SingleStack', a6, '', a6],
    ['ipFamilyPolicy: PreferDualStack', `${a4},${a6}`, a4, a6],
    ['ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv6]', `${a6},${a4}`, a4, a6],
    ['ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv6, IPv4]', `${a6},${a4}`, a4, a6],
    ['ipFamilyPolicy: RequireDualStack', `${a4},${a6}`, '', ''],
    ['ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv6]', `${a6},${a4}`, '', ''],
    ['ipFamilies: [IPv6, IPv4]', `${a6},${a4}`, '', ''],
    ['ipFamilyPolicy: SingleStack, ipFamilies: [IPv6, IPv4]', a6, '', a6],
    ['ipFamilyPolicy: RequireDualStack, clusterIPs: ["fd00::1", 10.0.0.1]', `${a6},${a4}`, '', ''],
  ]
  for (const [text, ...expected] of cases)
    for (const [index, pools] of [four + six, four, six].entries())
      assert.deepEqual(
        addressesOf(translatorWith(base + pools + service('web', spec(text))).flush(), 'web'),
        [expected[index]],
        `${text || 'nothing'} with pools ${index}`,
      )
})

test('a requested address has to fit the families of the Service, and the refusal says so', () => {
  const of = (text: string, ips: string): readonly unknown[] => {
    const delta = translatorWith(base + four + six + service('web', spec(text), asks(ips))).flush()
    return [...addressesOf(delta, 'web'), verdictOf(serviceOf(delta, 'web'), 'allocated')?.code]
  }
  assert.deepEqual(of('', '2001:db8::9'), ['', 'FamilyMismatch'])
  assert.deepEqual(of('ipFamilies: [IPv4]', '2001:db8::9'), ['', 'FamilyMismatch'])
  assert.deepEqual(of('ipFamilies: [IPv6]', '198.51.100.9'), ['', 'FamilyMismatch'])
  assert.deepEqual(of('ipFamilies: [IPv6]', '2001:DB8:0::9'), ['2001:db8::9', 'Allocated'])
  const both = 'ipFamilyPolicy: RequireDualStack'
  assert.deepEqual(of(both, '2001:db8::9, 198.51.100.9'), ['198.51.100.9,2001:db8::9', 'Allocated'])
  assert.deepEqual(of(both, '2001:db8::9'), ['198.51.100.0,2001:db8::9', 'Allocated'], 'the other family is chosen')
})

test('a change of families on a live Service keeps the address that still fits', () => {
  const translator = translatorWith(
    base + four + six + service('aaa', ', ipFamilyPolicy: RequireDualStack') + service('web'),
  )
  assert.deepEqual(addressesOf(translator.flush(), 'aaa', 'web'), ['198.51.100.0,2001:db8::', '198.51.100.1'])
  for (const [text, expected] of [
    ['ipFamilyPolicy: PreferDualStack', '198.51.100.1,2001:db8::1'],
    ['ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv6, IPv4]', '2001:db8::1,198.51.100.1'],
    ['ipFamilies: [IPv6]', '2001:db8::1'],
    ['ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv4, IPv6]', '198.51.100.1,2001:db8::1'],
    ['ipFamilyPolicy: SingleStack, ipFamilies: [IPv4]', '198.51.100.1'],
  ] as const)
    assert.deepEqual(addressesOf(change(translator, service('web', spec(text))), 'web'), [expected], text)
})

test('a status of the wrong family is not kept', () => {
  const withStatus = `${service('web', ', ipFamilies: [IPv6]')}status: {loadBalancer: {ingress: [{ip: 198.51.100.4}]}}\n`
  assert.deepEqual(addressesOf(translatorWith(base + four + six + withStatus).flush(), 'web'), ['2001:db8::'])
})

test('what the API server refuses or trims is said, and costs no other Service', () => {
  const of = (more: string): readonly string[] =>
    codesOf(translatorWith(base + four + service('web', spec(more)) + service('other')).flush().problems)
  assert.deepEqual(of('ipFamilies: [IPv4, IPv4]'), ['InvalidField'])
  assert.deepEqual(of('ipFamilies: [IPv5]'), ['InvalidField'])
  assert.deepEqual(of('ipFamilyPolicy: DualStack'), ['InvalidField'])
  assert.deepEqual(of('ipFamilyPolicy: SingleStack, ipFamilies: [IPv4, IPv6]'), ['FamiliesTrimmed'])
})

const raw = (spec: object, metadata: object = {}, status: object = {}): ReturnType<typeof parseService> =>
  parseService({ metadata: { name: 'web', ...metadata }, spec: { type: 'LoadBalancer', ...spec }, status })

test('an empty text and null are "not set" in every enumerated field, and an empty annotation is as absent', () => {
  for (const nothing of ['', null, undefined]) {
    const { value, faults } = raw({
      externalTrafficPolicy: nothing,
      sessionAffinity: nothing,
      ipFamilyPolicy: nothing,
      loadBalancerClass: nothing,
      ports: [{ port: 80, protocol: nothing }],
    })
    assert.deepEqual(faults, [])
    assert.deepEqual(
      [value?.spec.externalTrafficPolicy, value?.spec.affinitySec, value?.spec.families, value?.spec.ports],
      ['Cluster', undefined, ['ipv4'], [{ name: '', protocol: 'TCP', port: 80 }]],
    )
    assert.equal(parseService({ metadata: { name: 'web' }, spec: { type: nothing } }).value?.spec.type, 'ClusterIP')
  }
  const delta = translatorWith(base + four + service('web', ', loadBalancerIP: 198.51.100.5', asks(''))).flush()
  assert.deepEqual(addressesOf(delta, 'web'), ['198.51.100.5'])
})

test('an empty namespace is none, of a Service and of a slice', () => {
  for (const nothing of ['""', 'null', '~']) {
    const text = (service('web') + slice('web')).replaceAll('namespace: default', `namespace: ${nothing}`)
    const delta = translatorWith(base + four + text).flush()
    assert.deepEqual([serviceOf(delta, 'web').routes.length, delta.problems], [1, undefined], nothing)
  }
})

test('a word that is none of the allowed ones is an error of that Service; its last good version stays', () => {
  for (const [field, value] of [
    ['externalTrafficPolicy', 'Locale'],
    ['sessionAffinity', 'Cookie'],
    ['ipFamilyPolicy', 'Dual'],
    ['type', 'Balancer'],
  ] as const) {
    const translator = translatorWith(base + four + service('web') + service('other'))
    translator.flush()
    const text =
      field === 'type' ? service('web').replace('LoadBalancer', value) : service('web', `, ${field}: ${value}`)
    const delta = change(translator, text)
    assert.deepEqual([delta.services.size, codesOf(delta.problems)], [0, ['InvalidField']])
    const [problem] = delta.problems ?? []
    assert.deepEqual([problem?.field, problem?.object.name], [`spec.${field}`, 'web'])
  }
})

test('a port that is there twice is an error, one number for two protocols is none', () => {
  const two = (protocol: string): object => ({
    ports: [
      { name: 'a', port: 53 },
      { name: 'b', port: 53, protocol },
    ],
  })
  const said = (spec: object): unknown => raw(spec).faults.map(({ code, path }) => [code, path.join('.')])
  for (const type of ['LoadBalancer', 'ClusterIP', 'NodePort'])
    assert.deepEqual(said({ ...two('TCP'), type }), [['DuplicatePort', 'spec.ports.1.port']], type)
  assert.deepEqual(raw(two('UDP')).faults, [])
  const atNode = (type: string, protocol = 'TCP', nodePort = 30_080): object => ({
    type,
    ports: [
      { name: 'a', port: 80, nodePort },
      { name: 'b', port: 81, nodePort, protocol },
    ],
  })
  for (const type of ['LoadBalancer', 'NodePort']) {
    assert.deepEqual(said(atNode(type)), [['DuplicatePort', 'spec.ports.1.nodePort']], type)
    assert.deepEqual([said(atNode(type, 'UDP')), said(atNode(type, 'TCP', 0))], [[], []], type)
  }
  // What a type has no use for is no error of it.
  assert.deepEqual([said(atNode('ClusterIP')), said({ ...two('TCP'), type: 'ExternalName' })], [[], []])
})

test('of a Service that is no LoadBalancer, and of annotations of others, nothing is kept', () => {
  const { value } = raw({ type: 'ClusterIP', ports: [{ port: 80 }], selector: { a: 'b' } }, { labels: { a: 'b' } })
  assert.deepEqual([value?.spec.ports, value?.metadata.labels, value?.spec.selector], [[], {}, {}])
  const annotations = {
    'kubectl.kubernetes.io/last-applied-configuration': '{}',
    'lbipam.cilium.io/ips': '10.0.0.1',
    'metallb.io/address-pool': 'p',
    'herald.dev/x': '1',
    note: 'herald',
  }
  assert.deepEqual(Object.keys(raw({}, { annotations }).value?.metadata.annotations ?? {}), [
    'lbipam.cilium.io/ips',
    'metallb.io/address-pool',
    'herald.dev/x',
  ])
})
