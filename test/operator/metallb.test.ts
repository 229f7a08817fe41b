/** The operator in the place of MetalLB's controller: its pools, what it gave, and what users did with it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ObjectKey, RawObject } from '../../src/k8s/source.ts'
import { poolKey, serviceKey, World } from './world.ts'

const ipPoolKey = (name: string): ObjectKey => ({
  apiVersion: 'metallb.io/v1beta1',
  kind: 'IPAddressPool',
  namespace: 'metallb-system',
  name,
})

class MetalLbWorld extends World {
  constructor() {
    super()
    this.cluster.remove(poolKey('blue'))
  }

  pool(name: string, addresses: readonly string[], spec: RawObject = {}): void {
    const metadata = { name, namespace: 'metallb-system', creationTimestamp: '2023-01-01T00:00:00Z' }
    const object = { apiVersion: 'metallb.io/v1beta1', kind: 'IPAddressPool', metadata, spec: { addresses, ...spec } }
    this.cluster.put(ipPoolKey(name), object)
  }

  namespace(name: string, labels: Readonly<Record<string, string>>): void {
    const key = { apiVersion: 'v1', kind: 'Namespace', namespace: '', name }
    this.cluster.put(key, { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } })
  }

  /** As MetalLB's controller writes: an update of the whole status. */
  assigned(name: string, ...ips: readonly string[]): void {
    this.cluster.writeStatus(serviceKey(name), { loadBalancer: { ingress: ips.map((ip) => ({ ip })) } }, 'controller')
  }

  poolStatus(name: string): RawObject {
    return (this.cluster.objectOf(ipPoolKey(name))?.['status'] ?? {}) as RawObject
  }
}

test('500 Services of MetalLB keep their addresses, in whatever order it gave them, and over a change of leader', async () => {
  const world = new MetalLbWorld()
  world.pool('web', ['198.51.100.0/23'])
  world.pool('six', ['2001:db8::/64'])
  const had = new Map<string, readonly string[]>()
  for (let i = 0; i < 500; i++) {
    const isDual = i % 5 === 0
    const spec = isDual ? { ipFamilies: ['IPv4', 'IPv6'], ipFamilyPolicy: 'PreferDualStack' } : {}
    world.put(`s${i}`, { created: i % 7, spec })
    // 211 and 512 have no common factor.
    const value = (i * 211 + 77) % 512
    const ips = [
      `198.51.${100 + (value >> 8)}.${value & 255}`,
      ...(isDual ? [`2001:db8::${(value + 1).toString(16)}`] : []),
    ]
    had.set(`s${i}`, ips)
    world.assigned(`s${i}`, ...ips)
  }
  world.put('new', { created: 99 })
  const first = await world.lead()
  await world.settle()
  const changed = (): readonly string[] =>
    [...had].filter(([name, ips]) => world.addresses(name).join() !== ips.join()).map(([name]) => name)
  assert.deepEqual(changed(), [])
  for (const name of had.keys()) assert.match(world.condition(name), /^True Allocated/)
  const [address = ''] = world.addresses('new')
  assert.equal(
    [...had.values()].some((ips) => ips.includes(address)),
    false,
  )
  const before = world.cluster.written.length
  first.isLeader = false
  await world.lead()
  await world.settle()
  assert.deepEqual([changed(), world.cluster.written.length], [[], before])
})

test('a deletion and a change of type free the address, which the Service that waits gets', async () => {
  const world = new MetalLbWorld()
  world.pool('one', ['198.51.100.1-198.51.100.1'])
  world.put('a', { created: 1 })
  world.put('b', { created: 2 })
  world.put('c', { created: 3 })
  await world.lead()
  await world.settle()
  assert.deepEqual([world.addresses('a'), world.addresses('b')], [['198.51.100.1'], []])
  world.put('a', { created: 1, spec: { type: 'ClusterIP' } })
  await world.settle()
  assert.deepEqual([world.addresses('a'), world.addresses('b'), world.addresses('c')], [[], ['198.51.100.1'], []])
  world.cluster.remove(serviceKey('b'))
  await world.settle()
  assert.deepEqual(world.addresses('c'), ['198.51.100.1'])
})

test('a pool that grows, shrinks, is renamed, split or deleted takes away only what no pool has any more', async () => {
  const world = new MetalLbWorld()
  world.pool('web', ['198.51.100.8/30'])
  for (const name of ['a', 'b']) world.put(name, { created: name.charCodeAt(0) })
  await world.lead()
  await world.settle()
  const now = (): string => ['a', 'b'].map((name) => world.addresses(name).join()).join(' ')
  assert.equal(now(), '198.51.100.8 198.51.100.9')
  const kept: Readonly<Record<string, () => void>> = {
    'the same once more': () => world.pool('web', ['198.51.100.8/30']),
    grown: () => world.pool('web', ['198.51.100.0/24']),
    'shrunk above them': () => world.pool('web', ['198.51.100.8/31']),
    'of another form': () => world.pool('web', ['198.51.100.8-198.51.100.9']),
    renamed: () => {
      world.pool('shop', ['198.51.100.8/31'])
      world.cluster.remove(ipPoolKey('web'))
    },
    split: () => {
      world.pool('other', ['198.51.100.9/32'])
      world.pool('shop', ['198.51.100.8/32'])
    },
    'that gives none by itself': () => world.pool('shop', ['198.51.100.8/32'], { autoAssign: false }),
    'that keeps .0 and .255 back': () => world.pool('shop', ['198.51.100.8/32'], { avoidBuggyIPs: true }),
  }
  for (const [what, change] of Object.entries(kept)) {
    change()
    await world.settle()
    assert.equal(now(), '198.51.100.8 198.51.100.9', what)
  }
  assert.match(world.condition('b'), /of pool other$/)
  // Past one of them: it gets another one where there is one.
  world.pool('other', ['192.0.2.0/32'])
  await world.settle()
  assert.equal(now(), '198.51.100.8 192.0.2.0')
  world.cluster.remove(ipPoolKey('other'))
  await world.settle()
  assert.equal(now(), '198.51.100.8 ')
  world.cluster.remove(ipPoolKey('shop'))
  await world.settle()
  assert.equal(now(), ' ')
  assert.match(world.condition('a'), /^False NoPool/)
})

test('the pool is chosen by priority, namespace, labels of the namespace and of the Service, also by later labels', async () => {
  const world = new MetalLbWorld()
  const scopes: Readonly<Record<string, RawObject>> = {
    rest: { priority: 50 },
    first: { priority: 10 },
    byname: { priority: 5, namespaces: ['shop'] },
    bylabel: { priority: 4, namespaceSelectors: [{ matchLabels: { tier: 'gold' } }] },
    byservice: { priority: 3, serviceSelectors: [{ matchLabels: { app: 'web' } }] },
    both: { priority: 2, namespaces: ['shop'], serviceSelectors: [{ matchLabels: { app: 'db' } }] },
  }
  for (const [index, [name, serviceAllocation]] of Object.entries(scopes).entries())
    world.pool(name, [`198.51.100.${16 * index}/28`], { serviceAllocation })
  world.namespace('gold', { tier: 'gold' })
  world.namespace('plain', {})
  const wanted: readonly (readonly [string, string, Readonly<Record<string, string>>, string])[] = [
    ['a', 'plain', {}, 'first'],
    ['b', 'shop', {}, 'byname'],
    ['c', 'gold', {}, 'bylabel'],
    ['d', 'plain', { app: 'web' }, 'byservice'],
    ['e', 'shop', { app: 'db' }, 'both'],
    ['f', 'gold', { app: 'web' }, 'byservice'],
  ]
  for (const [name, namespace, labels] of wanted) world.put(name, { metadata: { labels } }, namespace)
  await world.lead()
  await world.settle()
  for (const [name, namespace, , pool] of wanted)
    assert.match(world.condition(name, namespace), new RegExp(`of pool ${pool}$`), name)
  world.namespace('plain', { tier: 'gold' })
  world.put('g', {}, 'plain')
  await world.settle()
  assert.match(world.condition('g', 'plain'), /of pool bylabel$/)
  assert.match(world.condition('a', 'plain'), /of pool first$/, 'who has an address keeps it')
})

test('a hundred runs, each in another order of arrival, give every Service the same address', async () => {
  const names = Array.from({ length: 12 }, (_, index) => `s${index}`)
  const results = new Set<string>()
  for (let run = 0; run < 100; run++) {
    const world = new MetalLbWorld()
    const turned = [...names.slice(run % 12), ...names.slice(0, run % 12)]
    const order = run % 2 === 0 ? turned : turned.reverse()
    const pools = [
      () => world.pool('a', ['198.51.100.0/30']),
      () => world.pool('b', ['198.51.100.16/29']),
      () => world.pool('c', ['198.51.100.32/30']),
    ]
    for (const each of run % 3 === 0 ? pools : pools.reverse()) each()
    // All made in the same second.
    for (const name of order) world.put(name)
    await world.lead()
    await world.settle()
    results.add(names.map((name) => world.addresses(name).join()).join(' '))
  }
  assert.equal(results.size, 1, [...results].join('\n'))
})

test('Services share by key without a port in common: under Cluster, or under Local with one selector', async () => {
  const key = { 'metallb.universe.tf/allow-shared-ip': 'k' }
  const local = (app: string): RawObject => ({ externalTrafficPolicy: 'Local', selector: { app } })
  const cases: readonly (readonly [RawObject, RawObject, boolean])[] = [
    [{ ports: [{ port: 80 }] }, { ports: [{ port: 443 }] }, true],
    [{ ports: [{ port: 53, protocol: 'TCP' }] }, { ports: [{ port: 53, protocol: 'UDP' }] }, true],
    [{ ports: [{ port: 80 }] }, { ports: [{ port: 81 }, { port: 80 }] }, false],
    [{ ...local('x'), ports: [{ port: 80 }] }, { ...local('x'), ports: [{ port: 81 }] }, true],
    [{ ...local('x'), ports: [{ port: 80 }] }, { ...local('y'), ports: [{ port: 81 }] }, false],
    [{ ...local('x'), ports: [{ port: 80 }] }, { ports: [{ port: 81 }], selector: { app: 'x' } }, false],
  ]
  for (const [index, [one, other, isShared]] of cases.entries()) {
    const world = new MetalLbWorld()
    world.pool('web', ['198.51.100.0/28'])
    world.put('a', { created: 1, annotations: key, spec: one })
    // Also from another namespace, as MetalLB has it.
    world.put('b', { created: 2, annotations: key, spec: other }, 'elsewhere')
    await world.lead()
    await world.settle()
    const [a, b] = [world.addresses('a')[0], world.addresses('b', 'elsewhere')[0]]
    assert.ok(a !== undefined && b !== undefined)
    assert.equal(a === b, isShared, `case ${index}`)
    // A policy or a selector that changes makes and breaks it anew; the older one stays where it is.
    world.put('b', { created: 2, annotations: key, spec: { ...one, ports: [{ port: 9999 }] } }, 'elsewhere')
    await world.settle()
    assert.equal(world.addresses('a')[0], a)
  }
})

test('the status of a pool counts addresses, assigned and available, of both families', async () => {
  const world = new MetalLbWorld()
  world.pool('web', ['198.51.100.0/29', '2001:db8::/126'])
  const key = { 'metallb.io/allow-shared-ip': 'k' }
  world.put('a', { created: 1, annotations: key, spec: { ports: [{ port: 1 }] } })
  world.put('b', { created: 2, annotations: key, spec: { ports: [{ port: 2 }] } })
  world.put('c', { created: 3, spec: { ipFamilies: ['IPv4', 'IPv6'], ipFamilyPolicy: 'RequireDualStack' } })
  const { operator } = await world.lead()
  await world.pass(3_000)
  const counts = (): readonly unknown[] =>
    ['assignedIPv4', 'availableIPv4', 'assignedIPv6', 'availableIPv6'].map((name) => world.poolStatus('web')[name])
  assert.deepEqual(counts(), [2, 6, 1, 3])
  world.cluster.remove(serviceKey('c'))
  world.cluster.remove(serviceKey('b'))
  await world.pass(3_000)
  assert.deepEqual(counts(), [1, 7, 0, 4])
  assert.deepEqual(
    operator.figures.pools.map(({ counts: { ipv4 } }) => [ipv4.used, ipv4.total]),
    [[1n, 8n]],
  )
})
