/** IPAddressPool and what Services ask of it, in both spellings of MetalLB and beside Cilium's. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseAddress } from '../../src/ip/address.ts'
import type { DesiredDelta } from '../../src/desired/model.ts'
import {
  addressesOf,
  change,
  codesOf,
  deliver,
  flushAll,
  node,
  pool,
  service,
  serviceOf,
  slice,
  translatorWith,
  verdictOf,
} from './manifests.ts'
import { advertisement, ipPool } from './metallb-manifests.ts'

const flush = (text: string): DesiredDelta => flushAll(translatorWith(node + text))
const namespace = (name: string, labels = '{}'): string =>
  `---\n{apiVersion: v1, kind: Namespace, metadata: {name: ${name}, labels: ${labels}}}\n`
const inNamespace = (text: string, name: string): string => text.replaceAll('namespace: default', `namespace: ${name}`)
const asks = (name: string, annotations: string, more = ''): string => service(name, more, `{${annotations}}`)
const allocated = (delta: DesiredDelta, name = 'web') => {
  const found = serviceOf(delta, name)
  return [found.addresses.join(), verdictOf(found, 'allocated')?.code]
}

test('pools give by priority, those for some Services before those for all, then by age and name', () => {
  const chosen = (...pools: readonly string[]): string | undefined =>
    serviceOf(flush(pools.join('') + service('web')), 'web').pool
  const of = (name: string, third: number, allocation = ''): string =>
    ipPool(name, `addresses: [10.0.${third}.0/24]${allocation === '' ? '' : `, serviceAllocation: {${allocation}}`}`)
  assert.equal(chosen(of('a', 1), of('b', 2, 'priority: 50')), 'b')
  assert.equal(chosen(of('a', 1, 'priority: 11'), of('b', 2, 'priority: 10')), 'b')
  assert.equal(chosen(of('a', 1, 'priority: 0'), of('b', 2, 'priority: 1000')), 'b')
  assert.equal(chosen(of('a', 1), of('b', 2, 'namespaces: [default]')), 'b')
  assert.equal(chosen(of('b', 1), of('a', 2)), 'a')
  const dated = of('b', 1).replace('namespace:', 'creationTimestamp: "2026-01-01T00:00:00Z", namespace:')
  assert.equal(chosen(of('a', 2), dated), 'b')
  const label = 'serviceSelectors: [{matchLabels: {expose-via-bgp: "true"}}]'
  assert.equal(chosen(of('a', 1, `priority: 8, ${label}`), of('b', 2, `priority: 9, ${label}`)), 'a')
  assert.equal(
    chosen(
      of('a', 1, 'priority: 8, namespaces: [default]'),
      of('b', 2, `priority: 5, namespaces: [default], ${label}`),
    ),
    'b',
  )
})

test('a pool is for a namespace by name or by label, and for Services by label as well', () => {
  const selected = (allocation: string, labels = '{team: a}'): string | undefined =>
    serviceOf(
      flush(
        namespace('default', labels) +
          ipPool('p', `addresses: [10.0.0.0/24], serviceAllocation: {${allocation}}`) +
          service('web'),
      ),
      'web',
    ).pool
  const ours = 'serviceSelectors: [{matchLabels: {a: b}}, {matchLabels: {expose-via-bgp: "true"}}]'
  const cases: readonly (readonly [string, string | undefined])[] = [
    ['namespaces: [default]', 'p'],
    ['namespaces: [other]', undefined],
    ['namespaceSelectors: [{matchLabels: {team: a}}]', 'p'],
    ['namespaceSelectors: [{matchLabels: {team: b}}]', undefined],
    ['namespaceSelectors: [{}]', 'p'],
    ['namespaceSelectors: [{matchLabels: {kubernetes.io/metadata.name: default}}]', 'p'],
    ['namespaces: [other], namespaceSelectors: [{matchLabels: {team: a}}]', 'p'],
    [ours, 'p'],
    [`namespaces: [default], ${ours}`, 'p'],
    [`namespaces: [other], ${ours}`, undefined],
    ['namespaces: [default], serviceSelectors: [{matchLabels: {a: b}}]', undefined],
    ['priority: 3', 'p'],
  ]
  for (const [allocation, expected] of cases) assert.equal(selected(allocation), expected, allocation)
})

test('a namespace that is labelled later gets addresses then, and keeps them when the label goes', () => {
  const team = 'addresses: [10.0.0.0/24], serviceAllocation: {namespaceSelectors: [{matchLabels: {team: a}}]}'
  const translator = translatorWith(node + namespace('default') + ipPool('p', team) + service('web'))
  const first = translator.flush()
  assert.deepEqual(allocated(first), ['', 'PoolSelectorMismatch'])
  assert.deepEqual(codesOf(first.problems), ['UnknownName'])
  const second = change(translator, namespace('default', '{team: a}'))
  assert.deepEqual([allocated(second), second.problems], [['10.0.0.0', 'Allocated'], []])
  const third = change(translator, namespace('default'))
  assert.deepEqual([third.services.size, codesOf(third.problems)], [0, ['UnknownName']])
})

test('the labels of a namespace that no pool looks at cost the Services nothing', () => {
  const translator = translatorWith(
    node + namespace('default') + ipPool('p', 'addresses: [10.0.0.0/24]') + service('web'),
  )
  translator.flush()
  const delta = change(translator, namespace('default', '{team: b}'))
  assert.deepEqual([delta.services.size, delta.speaker, translator.hasMore], [0, undefined, false])
})

test('avoidBuggyIPs keeps .0 and .255 of every /24 back, also from those who ask for them, and takes none away', () => {
  const buggy = 'addresses: [10.0.0.254-10.0.1.1], avoidBuggyIPs: '
  const four = ['a', 'b', 'c', 'd']
  const all = four.map((name) => service(name)).join('')
  assert.deepEqual(addressesOf(flush(ipPool('p', `${buggy}false`) + all), ...four), [
    '10.0.0.254',
    '10.0.0.255',
    '10.0.1.0',
    '10.0.1.1',
  ])
  const clean = flush(ipPool('p', `${buggy}true`) + all)
  assert.deepEqual(addressesOf(clean, ...four), ['10.0.0.254', '10.0.1.1', '', ''])
  assert.equal(allocated(clean, 'c')[1], 'OutOfAddresses')
  const wants = flush(ipPool('p', `${buggy}true`) + asks('web', 'metallb.io/loadBalancerIPs: 10.0.1.0'))
  assert.deepEqual(allocated(wants), ['', 'NoPool'])
  const translator = translatorWith(node + ipPool('p', `${buggy}false`) + all)
  translator.flush()
  deliver(translator, ipPool('p', `${buggy}true`))
  assert.equal(flushAll(translator).services.size, 0)
})

test('a Service asks for addresses, a pool and company in either spelling of the group', () => {
  const auto = ipPool('auto', 'addresses: [10.0.0.0/24]')
  const manual = ipPool('manual', 'addresses: [10.0.1.0/24, "2001:db8::/120"], autoAssign: false')
  for (const group of ['metallb.io', 'metallb.universe.tf']) {
    const delta = flush(
      auto +
        manual +
        asks('one', `${group}/loadBalancerIPs: 10.0.0.9`) +
        asks('two', `${group}/address-pool: manual`) +
        asks('three', `${group}/loadBalancerIPs: "10.0.1.7,2001:db8::7"`, ', ipFamilyPolicy: RequireDualStack') +
        asks('four', `${group}/allow-shared-ip: k`) +
        inNamespace(asks('five', `${group}/allow-shared-ip: k`).replace('port: 80', 'port: 81'), 'other') +
        service('six', ', loadBalancerIP: 10.0.0.66'),
    )
    assert.deepEqual(addressesOf(delta, 'one', 'two', 'three', 'four', 'six'), [
      '10.0.0.9',
      '10.0.1.0',
      '10.0.1.7,2001:db8::7',
      '10.0.0.0',
      '10.0.0.66',
    ])
    assert.deepEqual(delta.services.get('other/five')?.addresses, ['10.0.0.0'])
    const codes = (delta.problems ?? []).map(({ code }) => code)
    assert.deepEqual(codes, group === 'metallb.io' ? [] : Array.from({ length: 5 }, () => 'DeprecatedAnnotation'))
  }
})

test('what MetalLB refuses to a Service is refused, with the reason', () => {
  const pools =
    ipPool('a', 'addresses: [10.0.0.0/24, "2001:db8::/120"]') +
    ipPool('b', 'addresses: [10.0.1.0/24]') +
    ipPool('team', 'addresses: [10.0.2.0/24], serviceAllocation: {namespaces: [team]}')
  const cases: readonly (readonly [string, string, string, RegExp])[] = [
    ['metallb.io/loadBalancerIPs: 10.0.0.1', ', loadBalancerIP: 10.0.0.1', 'InvalidRequest', /beside/],
    ['metallb.io/loadBalancerIPs: nonsense', '', 'InvalidRequest', /nonsense is not an address/],
    ['metallb.io/loadBalancerIPs: 10.9.9.9', '', 'NoPool', /no pool contains/],
    ['metallb.io/loadBalancerIPs: "10.0.0.1,10.0.0.2"', '', 'InvalidRequest', /one family/],
    ['metallb.io/loadBalancerIPs: "2001:db8::1"', '', 'FamilyMismatch', /IPv4/],
    ['metallb.io/loadBalancerIPs: "10.0.0.1,2001:db8::1"', '', 'FamilyMismatch', /IPv4/],
    [
      'metallb.io/loadBalancerIPs: "10.0.1.1,2001:db8::1"',
      ', ipFamilyPolicy: RequireDualStack',
      'InvalidRequest',
      /not of one pool/,
    ],
    ['metallb.io/loadBalancerIPs: 10.0.0.1, metallb.io/address-pool: b', '', 'InvalidRequest', /asks for pool b/],
    ['metallb.io/address-pool: c', '', 'NoPool', /there is no pool c/],
    ['metallb.io/address-pool: team', '', 'PoolSelectorMismatch', /namespace team/],
  ]
  for (const [annotations, more, code, message] of cases) {
    const delta = flush(pools + asks('web', annotations, more))
    assert.deepEqual(allocated(delta), ['', code], annotations)
    const verdict = verdictOf(serviceOf(delta, 'web'), 'allocated')
    assert.match(verdict?.message ?? '', message)
    assert.match(verdict?.remedy ?? '', /\S/)
  }
})

test('two spellings that do not agree are told, and the first one counts; equal ones are fine', () => {
  const auto = ipPool('auto', 'addresses: [10.0.0.0/24, "2001:db8::/120"]')
  const of = (annotations: string) => {
    const delta = flush(auto + asks('web', annotations))
    return [allocated(delta)[0], delta.problems?.map(({ code, field, severity }) => [severity, code, field])]
  }
  assert.deepEqual(of('metallb.io/loadBalancerIPs: 10.0.0.1, metallb.universe.tf/loadBalancerIPs: 10.0.0.2'), [
    '10.0.0.1',
    [
      ['warning', 'ConflictingRequest', 'metadata.annotations.metallb.universe.tf/loadBalancerIPs'],
      ['warning', 'DeprecatedAnnotation', 'metadata.annotations.metallb.universe.tf/loadBalancerIPs'],
    ],
  ])
  assert.deepEqual(of('lbipam.cilium.io/ips: 10.0.0.3, metallb.io/loadBalancerIPs: 10.0.0.1'), [
    '10.0.0.3',
    [['warning', 'ConflictingRequest', 'metadata.annotations.metallb.io/loadBalancerIPs']],
  ])
  assert.deepEqual(of('lbipam.cilium.io/ips: 10.0.0.3, metallb.io/loadBalancerIPs: " 10.0.0.3"'), [
    '10.0.0.3',
    undefined,
  ])
  assert.deepEqual(of('lbipam.cilium.io/sharing-key: a, metallb.io/allow-shared-ip: b')[1], [
    ['warning', 'ConflictingRequest', 'metadata.annotations.metallb.io/allow-shared-ip'],
  ])
})

test('names of early versions are taken as ever, with one warning for a Service that has the new names', () => {
  const auto = ipPool('auto', 'addresses: [10.0.0.0/24]')
  const old = [
    'metallb.universe.tf/address-pool: auto',
    'metallb.universe.tf/allow-shared-ip: k',
    'metallb.universe.tf/loadBalancerIPs: 10.0.0.9',
  ]
  const delta = flush(auto + asks('web', old.join(', ')))
  assert.deepEqual(allocated(delta), ['10.0.0.9', 'Allocated'])
  const [told, ...others] = delta.problems ?? []
  assert.deepEqual([told?.severity, told?.code, others], ['warning', 'DeprecatedAnnotation', []])
  assert.equal(told?.remedy, 'Write metallb.io/loadBalancerIPs, metallb.io/address-pool, metallb.io/allow-shared-ip.')
  const renamed: Readonly<Record<string, string>> = {
    'io.cilium/lb-ipam-ips: 10.0.0.9': 'lbipam.cilium.io/ips',
    'io.cilium/lb-ipam-sharing-key: k': 'lbipam.cilium.io/sharing-key',
    'io.cilium/lb-ipam-sharing-cross-namespace: b': 'lbipam.cilium.io/sharing-cross-namespace',
  }
  for (const [annotation, now] of Object.entries(renamed))
    assert.deepEqual(
      flush(auto + asks('web', annotation)).problems?.map(({ code, remedy }) => [code, remedy]),
      [['DeprecatedAnnotation', `Write ${now}.`]],
      annotation,
    )
  // What MetalLB writes for people to read, an empty one, and one of a Service that is no LoadBalancer ask for nothing.
  for (const quiet of ['metallb.universe.tf/ip-allocated-from-pool: auto', 'metallb.universe.tf/address-pool: ""'])
    assert.equal(flush(auto + asks('web', quiet)).problems, undefined, quiet)
})

test('a Service that names another pool moves there, and keeps what it has where that pool has nothing for it', () => {
  const pools = ipPool('a', 'addresses: [10.0.0.0/24]') + ipPool('b', 'addresses: [10.0.1.7-10.0.1.7]')
  const translator = translatorWith(node + pools + service('web'))
  assert.deepEqual(allocated(translator.flush()), ['10.0.0.0', 'Allocated'])
  assert.deepEqual(allocated(change(translator, asks('web', 'metallb.io/address-pool: b'))), ['10.0.1.7', 'Allocated'])
  assert.deepEqual(allocated(change(translator, asks('web', 'metallb.io/address-pool: c'))), [
    '10.0.1.7',
    'RequestRefused',
  ])
  assert.deepEqual(allocated(change(translator, asks('late', 'metallb.io/address-pool: b')), 'late'), [
    '',
    'OutOfAddresses',
  ])
})

test('all addresses of a Service are of one pool: the first that has both families, else the first of its first family', () => {
  const four = ipPool('four', 'addresses: [10.0.0.0/24]')
  const six = ipPool('six', 'addresses: ["2001:db8:6::/120"]')
  const dual = ipPool('zdual', 'addresses: [10.0.1.0/24, "2001:db8:1::/120"]')
  const of = (pools: string, policy: string, annotations = '') =>
    allocated(flush(pools + asks('web', annotations, `, ipFamilyPolicy: ${policy}`)))
  const both = '10.0.1.0,2001:db8:1::'
  assert.deepEqual(of(four + six + dual, 'RequireDualStack'), [both, 'Allocated'])
  assert.deepEqual(of(four + six + dual, 'PreferDualStack'), [both, 'Allocated'])
  assert.deepEqual(of(four + six, 'PreferDualStack'), ['10.0.0.0', 'Allocated'])
  assert.deepEqual(of(six, 'PreferDualStack'), ['2001:db8:6::', 'Allocated'])
  assert.deepEqual(of(four + six, 'RequireDualStack'), ['', 'OutOfAddresses'])
  assert.deepEqual(of(four + dual, 'PreferDualStack', 'metallb.io/address-pool: four'), ['10.0.0.0', 'Allocated'])
  const translator = translatorWith(node + four + service('web', ', ipFamilyPolicy: PreferDualStack'))
  translator.flush()
  assert.equal(change(translator, dual).services.size, 0, 'it never jumps to another pool')
  const wider = four.replace('/24', '/24, "2001:db8:4::/120"')
  assert.deepEqual(allocated(change(translator, wider)), ['10.0.0.0,2001:db8:4::', 'Allocated'])
})

test('pools of both families that overlap: the older one gives, and either says so', () => {
  const young = ipPool('young', 'addresses: [198.51.100.0/28]')
  const old = pool.replace('name: pool', 'name: pool, creationTimestamp: "2026-01-01T00:00:00Z"')
  const delta = flush(young + old + service('web'))
  assert.deepEqual([allocated(delta)[0], serviceOf(delta, 'web').pool], ['198.51.100.0', 'pool'])
  assert.deepEqual(
    delta.problems?.map(({ code, object }) => [code, object.kind, object.name]),
    [['PoolConflict', 'IPAddressPool', 'young']],
  )
})

test('a pool that shrinks under a holder, is renamed or ordered anew moves nobody who is still in a pool', () => {
  const translator = translatorWith(
    node + ipPool('a', 'addresses: [10.0.0.0/30]') + ['a', 'b', 'c'].map((name) => service(name)).join(''),
  )
  translator.flush()
  assert.deepEqual(
    addressesOf(change(translator, ipPool('a', 'addresses: [10.0.0.0/31, 10.0.9.0/24]')), 'c'),
    ['10.0.9.0'],
    'who is outside gets another one, and only that one',
  )
  assert.equal(
    change(translator, ipPool('b', 'addresses: [10.0.5.0/24], serviceAllocation: {priority: 1}')).services.size,
    0,
  )
})

/** A pool of a few addresses of 10.0.0.0/26, and Services that ask in every way. */
const arbitraryPool: fc.Arbitrary<SomePool> = fc.record({
  first: fc.integer({ min: 0, max: 60 }),
  size: fc.integer({ min: 1, max: 6 }),
  autoAssign: fc.boolean(),
  buggy: fc.boolean(),
  allocation: fc.constantFrom(
    '',
    'priority: 3',
    'priority: 9',
    'namespaces: [default]',
    'serviceSelectors: [{matchLabels: {a: b}}]',
  ),
})
const arbitraryAnnotations = fc.constantFrom(
  '',
  '',
  '',
  'metallb.io/address-pool: p0',
  'metallb.universe.tf/address-pool: p1',
  'metallb.io/loadBalancerIPs: 10.0.0.7',
  'metallb.io/allow-shared-ip: k',
  'metallb.universe.tf/allow-shared-ip: k',
  'lbipam.cilium.io/sharing-key: k',
)
interface SomePool {
  readonly first: number
  readonly size: number
  readonly autoAssign: boolean
  readonly buggy: boolean
  readonly allocation: string
}

const poolText = (each: SomePool, index: number): string =>
  ipPool(
    `p${index}`,
    `addresses: [10.0.0.${each.first}-10.0.0.${each.first + each.size - 1}], autoAssign: ${each.autoAssign}, avoidBuggyIPs: ${each.buggy}${each.allocation === '' ? '' : `, serviceAllocation: {${each.allocation}}`}`,
  )
const serviceText = (annotations: string, index: number): string =>
  asks(`s${index}`, annotations).replace('port: 80', `port: ${80 + (index % 3)}`)

test('no address is of two Services that do not share it, and the order of arrival never matters', () => {
  fc.assert(
    fc.property(
      fc.array(arbitraryPool, { minLength: 1, maxLength: 4 }),
      fc.array(arbitraryAnnotations, { minLength: 1, maxLength: 8 }),
      fc.infiniteStream(fc.integer({ min: 0, max: 1000 })),
      (pools, annotations, order) => {
        const objects = [...pools.map(poolText), ...annotations.map(serviceText)]
        const shuffled = objects.map((text) => ({ text, at: order.next().value ?? 0 })).sort((a, b) => a.at - b.at)
        const [straight, mixed] = [objects, shuffled.map(({ text }) => text)].map(
          (each) => flush(each.join('')).services,
        )
        const owners = new Map<string, string[]>()
        for (const [index, said] of annotations.entries()) {
          const addresses = straight?.get(`default/s${index}`)?.addresses
          assert.deepEqual(mixed?.get(`default/s${index}`)?.addresses, addresses)
          for (const address of addresses ?? []) owners.set(address, [...(owners.get(address) ?? []), said])
        }
        for (const [address, all] of owners) {
          assert.ok(
            all.length === 1 || all.every((said) => /shared-ip|sharing-key/.test(said)),
            `${address}: ${all.join()}`,
          )
          assert.ok(parseAddress(address) !== undefined)
        }
      },
    ),
    { numRuns: 150 },
  )
})

test('an address in use never moves when pools come, are ordered anew or stop giving', () => {
  fc.assert(
    fc.property(
      fc.array(arbitraryPool, { minLength: 1, maxLength: 3 }),
      fc.array(arbitraryPool, { minLength: 1, maxLength: 3 }),
      fc.array(arbitraryAnnotations, { minLength: 1, maxLength: 6 }),
      (before, added, annotations) => {
        const translator = translatorWith(node + before.map(poolText).join('') + annotations.map(serviceText).join(''))
        const held = flushAll(translator).services
        const more = added.map((each, index) => poolText({ ...each, allocation: 'priority: 1' }, 10 + index))
        const closed = before.map((each, index) =>
          poolText({ ...each, autoAssign: false, buggy: true, allocation: 'namespaces: [nobody]' }, index),
        )
        deliver(translator, [...more, ...closed].join(''))
        const after = flushAll(translator).services
        for (const [key, now] of after) {
          const old = held.get(key)?.addresses ?? []
          if (old.length > 0) assert.deepEqual(now?.addresses, old, key)
        }
      },
    ),
    { numRuns: 100 },
  )
})

test('a Service without any pool to announce it has its address all the same', () => {
  const delta = flush(
    ipPool('p', 'addresses: [10.0.0.0/24]') + advertisement('a', 'ipAddressPools: [p]') + service('web') + slice('web'),
  )
  assert.deepEqual(allocated(delta), ['10.0.0.0', 'Allocated'])
})
