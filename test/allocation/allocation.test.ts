import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  addressesOf,
  change,
  codesOf,
  deliver,
  node,
  pool,
  remove,
  service,
  serviceOf,
  slice,
  slice6,
  smallestPolicy,
  translatorWith,
  verdictOf,
} from '../k8s/manifests.ts'

const base = smallestPolicy + node + pool
const named = (name: string, spec: string, metadata = ''): string =>
  pool.replace('name: pool', `name: ${name}${metadata}`).replace(/spec: .*/, `spec: ${spec}`)
const dualPool = named('dual', '{blocks: [{cidr: 203.0.113.0/30}, {cidr: "2001:db8::/126"}]}')
const asks = (address: string): string => `{lbipam.cilium.io/ips: "${address}"}`
const share = (more = ''): string => `{lbipam.cilium.io/sharing-key: k${more}}`
const allocatedOf = (
  delta: Parameters<typeof serviceOf>[0],
  name: string,
): readonly [boolean | undefined, string | undefined] => {
  const verdict = verdictOf(serviceOf(delta, name), 'allocated')
  return [verdict?.ok, verdict?.code]
}

test('addresses do not depend on the order of arrival, and no two Services share one', () => {
  const names = ['a', 'b', 'c', 'd', 'e']
  const of = (order: readonly string[]): readonly (string | undefined)[] =>
    addressesOf(translatorWith(base + order.map((name) => service(name)).join('')).flush(), ...names)
  const expected = of(names)
  assert.equal(new Set(expected).size, names.length)
  fc.assert(
    fc.property(fc.shuffledSubarray(names, { minLength: names.length }), (order) =>
      assert.deepEqual(of(order), expected),
    ),
    { numRuns: 30 },
  )
})

test('an address in use stays when an older Service arrives and when the pool is disabled', () => {
  const translator = translatorWith(base + service('web'))
  translator.flush()
  const delta = change(translator, service('aaa') + pool.replace('blocks:', 'disabled: true, blocks:'))
  assert.deepEqual(addressesOf(delta, 'web', 'aaa'), [undefined, ''], 'web did not change')
  assert.deepEqual(allocatedOf(delta, 'aaa'), [false, 'NoPool'])
  assert.match(verdictOf(serviceOf(delta, 'aaa'), 'allocated')?.message ?? '', /pool pool is disabled/)
})

test('an address in use never moves while any pool contains it, whatever is done to the pools', () => {
  const edit = fc.record({
    name: fc.constantFrom('p', 'q', 'r'),
    first: fc.nat(40),
    size: fc.nat(20),
    disabled: fc.boolean(),
    spares: fc.boolean(),
    selects: fc.boolean(),
    isRemoved: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 12 }), (edits) => {
      const translator = translatorWith(
        smallestPolicy +
          node +
          named('p', '{blocks: [{start: 10.0.0.0, stop: 10.0.0.9}]}') +
          ['a', 'b', 'c'].map((name) => service(name)).join(''),
      )
      const held = new Map<string, string>()
      const pools = new Map([['p', [0, 9]]])
      const look = (delta: ReturnType<typeof change>): void => {
        for (const [key, found] of delta.services) {
          const [before, now] = [held.get(key), found?.addresses.join() ?? '']
          const host = Number(before?.split('.')[3])
          const isCovered = [...pools.values()].some(([first = 0, last = 0]) => first <= host && host <= last)
          if (before !== undefined && before !== '' && isCovered) assert.equal(now, before)
          held.set(key, now)
        }
        const used = [...held.values()].filter((address) => address !== '')
        assert.equal(new Set(used).size, used.length)
      }
      look(translator.flush())
      for (const { name, first, size, disabled, spares, selects, isRemoved } of edits) {
        if (isRemoved) pools.delete(name)
        else pools.set(name, [first, first + size])
        look(
          isRemoved
            ? remove(translator, 'CiliumLoadBalancerIPPool', name)
            : change(
                translator,
                named(
                  name,
                  `{disabled: ${disabled}, allowFirstLastIPs: ` +
                    `"${spares ? 'No' : 'Yes'}"${selects ? '' : ', serviceSelector: {matchLabels: {no: body}}'}, blocks: [{start: 10.0.0.${first}, stop: 10.0.0.${first + size}}]}`,
                ),
              ),
        )
      }
    }),
    { numRuns: 60 },
  )
})

test('of two pools that overlap the younger one keeps what it gave and gives no more', () => {
  const translator = translatorWith(
    smallestPolicy +
      node +
      named('young', '{blocks: [{cidr: 10.0.0.0/30}]}', ', creationTimestamp: "2026-02-01T00:00:00Z"') +
      service('web'),
  )
  assert.deepEqual(addressesOf(translator.flush(), 'web'), ['10.0.0.0'])
  const delta = change(
    translator,
    named('old', '{blocks: [{cidr: 10.0.0.2/31}]}', ', creationTimestamp: "2026-01-01T00:00:00Z"') + service('more'),
  )
  assert.deepEqual(addressesOf(delta, 'web', 'more'), [undefined, '10.0.0.2'], 'web did not change')
  assert.deepEqual(
    delta.problems?.map(({ code, object }) => [code, object.name]),
    [['PoolConflict', 'young']],
  )
})

test('out of addresses is a reason, and the Service that waits gets the first one that is freed', () => {
  const translator = translatorWith(
    smallestPolicy + node + named('tiny', '{blocks: [{start: 10.0.0.1}]}') + service('a') + service('b'),
  )
  const delta = translator.flush()
  assert.deepEqual(addressesOf(delta, 'a', 'b'), ['10.0.0.1', ''])
  assert.deepEqual(allocatedOf(delta, 'b'), [false, 'OutOfAddresses'])
  const freed = remove(translator, 'Service', 'a')
  assert.deepEqual([freed.services.get('default/a'), addressesOf(freed, 'b')], [undefined, ['10.0.0.1']])
})

test('a pool gives to the Services that it selects, by labels and by the pseudo labels of name and namespace', () => {
  const selecting = named(
    'p',
    '{blocks: [{cidr: 10.0.0.0/30}], serviceSelector: {matchLabels: {io.kubernetes.service.name: web, ' +
      'io.kubernetes.service.namespace: default}}}',
  )
  const delta = translatorWith(smallestPolicy + node + selecting + service('web') + service('api')).flush()
  assert.deepEqual(addressesOf(delta, 'web', 'api'), ['10.0.0.0', ''])
  assert.deepEqual(allocatedOf(delta, 'api'), [false, 'PoolSelectorMismatch'])
})

test('allowFirstLastIPs: No spares both ends of a block, also for those who ask', () => {
  const sparing = named('p', '{allowFirstLastIPs: "No", blocks: [{cidr: 10.0.0.0/30}, {cidr: 10.0.1.0/31}]}')
  const delta = translatorWith(
    smallestPolicy +
      node +
      sparing +
      service('asks', '', asks('10.0.0.3')) +
      ['a', 'b', 'c', 'd'].map((name) => service(name)).join(''),
  ).flush()
  assert.deepEqual(addressesOf(delta, 'a', 'b', 'c', 'd', 'asks'), ['10.0.0.1', '10.0.0.2', '10.0.1.0', '10.0.1.1', ''])
})

test('a Service gets the addresses that it asks for, by either annotation or by spec.loadBalancerIP', () => {
  const delta = translatorWith(
    base +
      service('a', '', asks('198.51.100.9, 198.51.100.10')) +
      service('b', '', '{io.cilium/lb-ipam-ips: 198.51.100.8}') +
      service('c', ', loadBalancerIP: 198.51.100.7'),
  ).flush()
  assert.deepEqual(addressesOf(delta, 'a', 'b', 'c'), ['198.51.100.9,198.51.100.10', '198.51.100.8', '198.51.100.7'])
})

test('a request that cannot be met is a reason, and costs a Service nothing that it holds', () => {
  for (const [annotations, code] of [
    [asks('198.51.100'), 'InvalidRequest'],
    [asks('192.0.2.1'), 'NoPool'],
    [asks('198.51.100.5'), 'AlreadyAllocated'],
  ] as const) {
    const translator = translatorWith(
      base + service('other', '', asks('198.51.100.5')) + service('zzz', '', annotations) + service('web'),
    )
    const first = translator.flush()
    assert.deepEqual(
      [addressesOf(first, 'zzz', 'web'), allocatedOf(first, 'zzz')],
      [
        ['', '198.51.100.0'],
        [false, code],
      ],
    )
    const second = change(translator, service('web', '', annotations))
    assert.deepEqual(
      [addressesOf(second, 'web'), allocatedOf(second, 'web')],
      [['198.51.100.0'], [true, 'RequestRefused']],
    )
  }
  const broken = translatorWith(base + service('web', ', loadBalancerIP: somewhere')).flush()
  assert.deepEqual(
    [allocatedOf(broken, 'web'), codesOf(broken.problems)],
    [[false, 'InvalidRequest'], ['InvalidAddress']],
  )
})

test('who asks by name goes before who takes any, but not before who holds it, and gets it once it is free', () => {
  const translator = translatorWith(base + service('a') + service('b', '', asks('198.51.100.0')))
  assert.deepEqual(addressesOf(translator.flush(), 'a', 'b'), ['198.51.100.1', '198.51.100.0'])
  assert.deepEqual(addressesOf(change(translator, service('c', '', asks('198.51.100.1'))), 'c'), [''])
  assert.deepEqual(addressesOf(remove(translator, 'Service', 'a'), 'c'), ['198.51.100.1'])
})

test('dual stack: Require takes both or nothing, Prefer takes what there is and adds the other family later', () => {
  const dual = (policy: string): string => `, ipFamilyPolicy: ${policy}`
  const both = translatorWith(
    smallestPolicy + node + dualPool + service('a', dual('RequireDualStack')) + service('b', ', ipFamilies: [IPv6]'),
  ).flush()
  assert.deepEqual(addressesOf(both, 'a', 'b'), ['203.0.113.0,2001:db8::', '2001:db8::1'])
  const translator = translatorWith(
    base + service('require', dual('RequireDualStack')) + service('prefer', dual('PreferDualStack')),
  )
  const one = translator.flush()
  assert.deepEqual(
    [addressesOf(one, 'require', 'prefer'), allocatedOf(one, 'require')],
    [
      ['', '198.51.100.0'],
      [false, 'OutOfAddresses'],
    ],
  )
  assert.deepEqual(addressesOf(change(translator, dualPool), 'require', 'prefer'), [
    '203.0.113.0,2001:db8::1',
    '198.51.100.0,2001:db8::',
  ])
})

test('both families are announced, and under ebpf each address is served', () => {
  const text =
    smallestPolicy +
    node +
    dualPool +
    service('both', ', ipFamilyPolicy: RequireDualStack') +
    slice('both') +
    slice6('both') +
    service('six', ', ipFamilies: [IPv6]') +
    slice6('six')
  const prefixes = (datapath: 'ebpf' | 'none', name: string): readonly string[] =>
    serviceOf(translatorWith(text, { datapath }).flush(), name).routes.map(({ prefix }) => prefix)
  for (const datapath of ['ebpf', 'none'] as const) {
    assert.deepEqual(prefixes(datapath, 'both'), ['203.0.113.0/32', '2001:db8::/128'])
    assert.deepEqual(prefixes(datapath, 'six'), ['2001:db8::1/128'])
  }
  const { services } = translatorWith(text).flush()
  assert.deepEqual(
    ['both', 'six'].flatMap((name) => services.get(`default/${name}`)?.frontends.map(({ id }) => id)),
    ['203.0.113.0:80/TCP', '[2001:db8::]:80/TCP', '[2001:db8::1]:80/TCP'],
  )
})

test('Services of one sharing key share an address when ports, traffic policy and namespaces allow it', () => {
  const port = (number: number, more = ''): string => `, ports: [{port: ${number}}]${more}`
  const make = (name: string, number: number, more = '', annotations = share(), namespace = 'default'): string =>
    service(name, port(number, more), annotations)
      .replace('ports: [{name: http, port: 80}], ', '')
      .replace('namespace: default', `namespace: ${namespace}`)
  const of = (...services: readonly string[]): readonly string[] =>
    [
      ...translatorWith(base + services.join(''))
        .flush()
        .services.values(),
    ].map((found) => found?.addresses.join() ?? '')
  assert.deepEqual(of(make('a', 80), make('b', 443)), ['198.51.100.0', '198.51.100.0'])
  assert.deepEqual(of(make('a', 80), make('b', 80)), ['198.51.100.0', '198.51.100.1'])
  assert.deepEqual(of(make('a', 80), make('b', 443, '', '{}')), ['198.51.100.0', '198.51.100.1'])
  assert.deepEqual(of(make('a', 80), make('b', 443, ', externalTrafficPolicy: Local, selector: {a: b}')), [
    '198.51.100.0',
    '198.51.100.1',
  ])
  const local = (selector: string): string => `, externalTrafficPolicy: Local, selector: {app: ${selector}}`
  assert.deepEqual(of(make('a', 80, local('x')), make('b', 443, local('x')), make('c', 444, local('z'))), [
    '198.51.100.0',
    '198.51.100.0',
    '198.51.100.1',
  ])
  const across = (...namespaces: readonly string[]): string =>
    share(`, lbipam.cilium.io/sharing-cross-namespace: "${namespaces.join()}"`)
  assert.deepEqual(of(make('a', 80, '', across('other')), make('b', 443, '', across('*'), 'other')), [
    '198.51.100.0',
    '198.51.100.0',
  ])
  assert.deepEqual(of(make('a', 80, '', across('other')), make('b', 443, '', share(), 'other')), [
    '198.51.100.0',
    '198.51.100.1',
  ])
})

test('an address in the status is kept where a pool contains it, also a disabled one; any other is not announced', () => {
  const withStatus = (name: string, ip: string): string =>
    `${service(name)}status: {loadBalancer: {ingress: [{ip: ${ip}}, {hostname: x}]}}\n`
  const delta = translatorWith(base + withStatus('zzz', '198.51.100.0') + service('aaa')).flush()
  assert.deepEqual(addressesOf(delta, 'zzz', 'aaa'), ['198.51.100.0', '198.51.100.1'])
  const disabled = pool.replace('blocks:', 'disabled: true, blocks:')
  const kept = translatorWith(
    smallestPolicy + node + disabled + withStatus('web', '198.51.100.7') + slice('web'),
  ).flush()
  assert.deepEqual([addressesOf(kept, 'web'), serviceOf(kept, 'web').routes.length], [['198.51.100.7'], 1])
  const foreign = translatorWith(smallestPolicy + node + withStatus('web', '192.0.2.7') + slice('web')).flush()
  assert.deepEqual(
    [addressesOf(foreign, 'web'), allocatedOf(foreign, 'web'), serviceOf(foreign, 'web').routes.length],
    [[''], [false, 'NotInPool'], 0],
  )
})

test('a Service of another class gets nothing, and gives back what it had when it moves to one', () => {
  const translator = translatorWith(base + service('web'))
  translator.flush()
  const moved = change(translator, service('web', ', loadBalancerClass: example.com/lb') + service('new'))
  assert.deepEqual(addressesOf(moved, 'web', 'new'), ['', '198.51.100.1'])
  assert.deepEqual(
    serviceOf(moved, 'web').verdicts.map(({ code }) => code),
    ['OtherClass'],
  )
  for (const name of ['herald.dev/bgp', 'io.cilium/bgp-control-plane', 'example.com/lb']) {
    const delta = translatorWith(base + service('web', `, loadBalancerClass: ${name}`), {
      loadBalancerClass: 'example.com/lb',
    }).flush()
    assert.deepEqual(addressesOf(delta, 'web'), ['198.51.100.0'])
  }
  deliver(translator, service('web'))
  assert.deepEqual(addressesOf(translator.flush(), 'web'), ['198.51.100.0'], 'it was kept for it')
})

test('at most 256 Services share an address: the others get another one, or are told, and nothing takes long', () => {
  const text = Array.from({ length: 600 }, (_, i) =>
    service(`s${i}`, '', share()).replace('port: 80', `port: ${1_000 + i}`),
  ).join('')
  const translator = translatorWith(base + text)
  const holders = new Map<string, number>()
  for (const found of translator.flush().services.values())
    for (const address of found?.addresses ?? []) holders.set(address, (holders.get(address) ?? 0) + 1)
  while (translator.hasMore)
    for (const found of translator.flush().services.values())
      for (const address of found?.addresses ?? []) holders.set(address, (holders.get(address) ?? 0) + 1)
  assert.deepEqual(
    [...holders.values()].sort((a, b) => b - a),
    [256, 256, 88],
  )
})
