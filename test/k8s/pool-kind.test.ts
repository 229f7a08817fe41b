import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseIpPool } from '../../src/k8s/kinds/cilium-load-balancer-ip-pool.ts'
import { addressesOf, node, pool, service, serviceOf, smallestPolicy, translatorWith, verdictOf } from './manifests.ts'

const faultsOf = (...blocks: readonly object[]): readonly (readonly string[])[] =>
  parseIpPool({ metadata: { name: 'p' }, spec: { blocks } }).faults.map(({ severity, code, message, remedy }) => [
    severity,
    code,
    message,
    remedy,
  ])

test('a block with host bits is a warning with both ends of what it is and of what may have been meant', () => {
  for (const [cidr, is, meant, network] of [
    ['203.0.113.200/28', '203.0.113.192-203.0.113.207', '203.0.113.200-203.0.113.215', '203.0.113.192/28'],
    ['10.0.0.1/24', '10.0.0.0-10.0.0.255', '10.0.0.1-10.0.1.0', '10.0.0.0/24'],
    ['255.255.255.250/28', '255.255.255.240-255.255.255.255', '255.255.255.250-255.255.255.255', '255.255.255.240/28'],
    ['2001:db8::5/126', '2001:db8::4-2001:db8::7', '2001:db8::5-2001:db8::8', '2001:db8::4/126'],
  ] as const)
    assert.deepEqual(faultsOf({ cidr }), [
      ['warning', 'HostBits', `${cidr} is ${is}`, `Write start and stop if you mean ${meant}, or ${network}.`],
    ])
  for (const cidr of ['203.0.113.192/28', '203.0.113.200/32', '2001:db8::/64', '2001:db8::1/128', '0.0.0.0/0'])
    assert.deepEqual(faultsOf({ cidr }), [])
})

test('blocks of one pool that overlap are said, each by the field that it meets', () => {
  assert.deepEqual(
    faultsOf({ cidr: '10.0.0.0/24' }, { start: '10.0.0.9' }, { cidr: '10.0.1.0/24' }, { cidr: '2001:db8::/64' }),
    [
      [
        'warning',
        'OverlappingBlocks',
        '10.0.0.9-10.0.0.9 overlaps 10.0.0.0-10.0.0.255 (spec.blocks[0]) of the same pool',
        'Write each address in one block.',
      ],
    ],
  )
  assert.equal(faultsOf({ start: '10.0.0.0', stop: '10.0.0.9' }, { start: '10.0.0.10', stop: '10.0.0.20' }).length, 0)
})

test('an address in two blocks is given once', () => {
  const two = pool.replace('cidr: 198.51.100.0/28', 'cidr: 198.51.100.0/31}, {start: 198.51.100.1, stop: 198.51.100.2')
  const names = ['a', 'b', 'c', 'd']
  const delta = translatorWith(smallestPolicy + node + two + names.map((name) => service(name)).join('')).flush()
  assert.deepEqual(addressesOf(delta, ...names), ['198.51.100.0', '198.51.100.1', '198.51.100.2', ''])
})

test('an empty text is as nothing: a block with an empty cidr is a range', () => {
  assert.deepEqual(faultsOf({ cidr: '', start: '10.0.0.1', stop: '' }), [])
  assert.deepEqual(
    faultsOf({ cidr: '' }).map(([, code]) => code),
    ['InvalidAddress'],
  )
})

test('a Service without an address is told of each pool what is in the way', () => {
  const named = (name: string, spec: string): string =>
    pool.replace('name: pool', `name: ${name}`).replace(/spec: .*/, `spec: ${spec}`)
  const pools = [
    named('closed', '{disabled: true, blocks: [{cidr: 10.1.0.0/24}]}'),
    named('other', '{serviceSelector: {matchLabels: {app: db}}, blocks: [{cidr: 10.2.0.0/24}]}'),
    named('six', '{blocks: [{cidr: "2001:db8::/64"}]}'),
    named('tiny', '{blocks: [{start: 10.3.0.1}]}'),
    named('twin', '{blocks: [{start: 10.3.0.1}, {start: 10.3.0.2}]}'),
  ]
  const of = (text: string): readonly unknown[] => {
    const verdict = verdictOf(
      serviceOf(translatorWith(smallestPolicy + node + text + service('aaa') + service('web')).flush(), 'web'),
      'allocated',
    )
    return [verdict?.code, verdict?.message]
  }
  assert.deepEqual(of(''), ['NoPool', 'there is no pool of addresses that can be used'])
  assert.deepEqual(of(pools[0] ?? ''), ['NoPool', 'no IPv4 address: pool closed is disabled'])
  assert.deepEqual(of(pools[1] ?? ''), ['PoolSelectorMismatch', 'no IPv4 address: pool other selects app=db'])
  assert.deepEqual(of(pools.join('')), [
    'OutOfAddresses',
    'no IPv4 address: pool closed is disabled, pool other selects app=db, pool six gives no IPv4 addresses, pool tiny is full, ' +
      'pool twin is in conflict with pool tiny',
  ])
})
