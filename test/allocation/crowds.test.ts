/**
 * Thousands of Services, pools and lines that have something in common: what one of them costs does not grow with the
 * others. Looks are counted, not time.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Allotment } from '../../src/allocation/address-book.ts'
import type { AddressRequest } from '../../src/allocation/allocate.ts'
import { FolderAllocator } from '../../src/allocation/folder-allocator.ts'
import { MemoryBook } from '../../src/allocation/memory-book.ts'
import type { Pool } from '../../src/allocation/pool-table.ts'
import { maxSharing, type SharingTerms } from '../../src/allocation/sharing.ts'
import { allOf } from '../../src/allocation/work.ts'
import { FolderAgent, pool, request } from './requests.ts'

/** Tells of each look at an item, or at a field. */
function watched<T extends object>(value: T, onLook: () => void): T {
  return new Proxy(value, {
    get: (target, name, receiver): unknown => {
      if (typeof name === 'string' && name !== 'length' && (!Array.isArray(target) || /^\d+$/.test(name))) onLook()
      return Reflect.get(target, name, receiver)
    },
  })
}

const terms = (ports: readonly string[], more: Partial<SharingTerms> = {}): SharingTerms => ({
  key: 'k',
  namespace: 'default',
  sharedWith: [],
  trafficKey: 'Cluster',
  ports,
  ...more,
})
const named = (count: number): readonly string[] => Array.from({ length: count }, (_, i) => `s${i}`)
const allOne: Pick<AddressRequest, 'createdMs'> = { createdMs: 1 }

test('Services with many ports each that join one address at once cost a few looks at each port, not one for each other', () => {
  const [count, portsOfEach] = [64, 100]
  let looks = 0
  const agent = new FolderAgent(new MemoryBook(), [pool('p', ['10.0.0.0/24'])])
  agent.put(
    ...named(count).map((name, i) => {
      const ports = Array.from({ length: portsOfEach }, (_, j) => `${i * portsOfEach + j + 1}/TCP`)
      return request(name, { ...allOne, sharing: terms(watched(ports, () => looks++)) })
    }),
  )
  assert.deepEqual([...new Set([...agent.all().values()].map(String))], ['10.0.0.0'])
  assert.ok(looks <= 16 * count * portsOfEach, `${looks / count / portsOfEach} looks at each port`)
})

for (const [what, termsOf] of [
  ['that all want one port', (ports: readonly string[]) => terms(ports)],
  [
    'each under a policy of its own',
    (_: readonly string[], i: number) => terms([`${i + 1}/TCP`], { trafficKey: `Local ${i}` }),
  ],
] as const)
  test(`Services of one sharing key ${what} have an address each, found without a look at those of the others`, () => {
    const count = 1500
    let looks = 0
    const agent = new FolderAgent(new MemoryBook(), [pool('p', ['10.0.0.0/20'])])
    agent.put(
      ...named(count).map((name, i) => {
        const sharing = watched(termsOf(['80/TCP'], i), () => looks++)
        return request(name, { ...allOne, sharing })
      }),
    )
    assert.equal(new Set([...agent.all().values()].map(String)).size, count)
    assert.ok(looks / count <= 100, `${looks / count} looks for each`)
  })

test('an address takes no more than its share of Services, and the next ones of the key have one together', () => {
  const agent = new FolderAgent(new MemoryBook(), [pool('p', ['10.0.0.0/24'])])
  agent.put(...named(maxSharing + 20).map((name, i) => request(name, { createdMs: i, sharing: terms([`${i}/TCP`]) })))
  const counts = Map.groupBy([...agent.all().values()], String)
  assert.deepEqual(
    [...counts].map(([address, all]) => [address, all.length]),
    [
      ['10.0.0.0', maxSharing],
      ['10.0.0.1', 20],
    ],
  )
})

const selector = [{ matchLabels: { app: 'web' }, matchExpressions: [] }]

test('Services that a full pool refuses do not look at each line of those that are gone from another pool', () => {
  let looks = 0
  const labels = watched<Record<string, string>>({ app: 'web' }, () => looks++)
  const pools = [
    pool('full', ['10.0.0.0'], { selectors: selector }),
    pool('other', ['10.1.0.0/20'], { selectors: [{ matchLabels: { app: 'db' }, matchExpressions: [] }] }),
  ]
  const agent = new FolderAgent(new MemoryBook(), pools)
  const gone = named(800).map((name) => `gone-${name}`)
  agent.put(...gone.map((name) => request(name, { labels: { app: 'db' } })))
  agent.remove(...gone)
  agent.put(request('holder', { labels: { app: 'web' } }))
  looks = 0
  const waiting = named(300)
  agent.put(...waiting.map((name) => request(name, { labels })))
  assert.equal(agent.of('s0'), '')
  assert.ok(looks / waiting.length <= 30, `${looks / waiting.length} looks at the labels of each`)
})

test('the one that makes room is the one that is gone longest, then who is absent by name, in the pool that lacks it', () => {
  const line = (address: string): Allotment => ({ addresses: [address] })
  const book = new MemoryBook(
    new Map([
      ['default/z-absent', line('10.0.0.1')],
      ['default/a-absent', line('10.0.0.0')],
      ['default/here', line('10.0.0.2')],
      ['default/elsewhere', line('10.1.0.0')],
    ]),
  )
  const agent = new FolderAgent(book, [pool('p', ['10.0.0.0-10.0.0.3']), pool('q', ['10.1.0.0'], { priority: 9 })])
  agent.put(request('here'), request('late-gone'))
  assert.deepEqual([agent.of('here'), agent.of('late-gone')], ['10.0.0.2', '10.0.0.3'])
  agent.remove('late-gone')
  for (const [name, address] of [
    ['one', '10.0.0.3'],
    ['two', '10.0.0.0'],
    ['three', '10.1.0.0'],
    ['four', '10.0.0.1'],
  ] as const) {
    agent.put(request(name))
    assert.equal(agent.of(name), address, name)
  }
  agent.put(request('none'))
  assert.equal(agent.of('none'), '')
})

test('hundreds of namespaces with a pool each: a Service looks at the pools of its own, served or not', () => {
  const count = 300
  let looks = 0
  const pools = Array.from({ length: count }, (_, i): Pool => {
    const one = pool(`p${i}`, [`10.${i >> 8}.${i & 255}.0`], { namespaces: [`n${i}`] })
    return { ...one, selectors: watched([...selector], () => looks++) }
  })
  const agent = new FolderAgent(new MemoryBook(), pools)
  looks = 0
  const services = named(2 * count)
  agent.put(
    ...services.map((name, i) => request(name, { namespace: `n${i % count}`, labels: { app: 'web' }, createdMs: i })),
  )
  assert.deepEqual([agent.of('s0'), agent.of('s299'), agent.of('s300')], ['10.0.0.0', '10.1.43.0', ''])
  assert.ok(looks / services.length <= 30, `${looks / services.length} looks at selectors for each`)
})

test('thousands of addresses that come free are not looked at one by one for each Service that waits and may share', () => {
  let looks = 0
  const labels = watched<Record<string, string>>({ app: 'web' }, () => looks++)
  const pools = [
    pool('p', ['10.0.0.0/22'], { selectors: [{ matchLabels: { app: 'db' }, matchExpressions: [] }] }),
    pool('full', ['10.9.0.0'], { selectors: selector }),
  ]
  const agent = new FolderAgent(new MemoryBook(), pools)
  const held = named(1000).map((name) => `held-${name}`)
  agent.put(
    ...held.map((name) => request(name, { labels: { app: 'db' } })),
    request('holder', { labels: { app: 'web' } }),
  )
  agent.put(...named(300).map((name, i) => request(name, { labels, sharing: terms([`${i + 1}/TCP`]) })))
  looks = 0
  agent.remove(...held)
  assert.ok(looks / 300 <= 30, `${looks / 300} looks at the labels of each that waits`)
})

test('thousands that are refused one address are looked at once more when it changes hands, and not for another one', () => {
  const count = 2_000
  let looks = 0
  const third = (): readonly string[] => watched(['10.0.0.3'], () => looks++)
  const agent = new FolderAgent(new MemoryBook(), [pool('p', ['10.0.0.0-10.0.0.7'])])
  const told = (): ReadonlySet<string> =>
    new Set(named(count).map((name) => agent.allocator.answerOf(`default/${name}`).verdict.message))
  const looksAtEach = (): number => {
    const found = looks / count
    looks = 0
    return found
  }
  const owner = request('owner', { createdMs: 1, explicit: ['10.0.0.3'], sharing: terms(['80/TCP']) })
  agent.put(owner, ...named(count).map((name, i) => request(name, { createdMs: 10 + i, explicit: third() })))
  assert.deepEqual([...told()], ['10.0.0.3 belongs to default/owner'])
  assert.ok(looksAtEach() <= 8)
  agent.put(request('beside', { createdMs: 2 }))
  assert.equal(looks, 0)
  agent.put(request('late', { createdMs: 9_999, explicit: third() }))
  assert.ok(looks <= 8)
  looks = 0
  agent.put(request('older', { createdMs: 0, explicit: ['10.0.0.3'], sharing: terms(['81/TCP']) }))
  assert.deepEqual([...told()], ['10.0.0.3 belongs to default/older'])
  assert.ok(looksAtEach() <= 8)
})

test('who waits for a pool that it names gets what comes free of it, though the pool assigns nothing by itself', () => {
  const agent = new FolderAgent(new MemoryBook(), [pool('manual', ['10.0.0.0'], { autoAssign: false })])
  agent.put(request('first', { poolName: 'manual' }))
  agent.put(request('second', { poolName: 'manual' }), request('third'))
  assert.deepEqual([agent.of('first'), agent.of('second'), agent.of('third')], ['10.0.0.0', '', ''])
  agent.remove('first')
  assert.deepEqual([agent.of('second'), agent.of('third')], ['10.0.0.0', ''])
})

test('a Service joins those that share under its key also where one of them is gone, and where one is not seen yet', () => {
  for (const book of [new MemoryBook(), undefined]) {
    const kept = book ?? new MemoryBook()
    let agent = new FolderAgent(kept, [pool('p', ['10.0.0.0/28'])])
    const one = (name: string, port: string, more: Partial<SharingTerms> = {}): AddressRequest =>
      request(name, { ...allOne, sharing: terms([port], more) })
    agent.put(one('a', '80/TCP'), one('b', '81/TCP'))
    agent.remove('a')
    // A restart knows no more of them than what is recorded.
    if (book === undefined) {
      const entries = new Map<string, Allotment>()
      for (const key of ['default/a', 'default/b']) entries.set(key, lineOf(kept, key))
      agent = new FolderAgent(new MemoryBook(entries), [pool('p', ['10.0.0.0/28'])])
      agent.put(one('b', '81/TCP'))
    }
    agent.put(one('c', '82/TCP'), one('d', '83/TCP', { key: 'l' }), one('e', '84/TCP', { trafficKey: 'Local' }))
    assert.deepEqual(
      ['b', 'c', 'd', 'e'].map((name) => agent.of(name)),
      ['10.0.0.0', '10.0.0.0', '10.0.0.1', '10.0.0.2'],
    )
    // Also by name, and the one that is gone comes back beside them.
    agent.put(request('f', { sharing: terms(['85/TCP']), explicit: ['10.0.0.0'] }), one('a', '80/TCP'))
    assert.deepEqual([agent.of('f'), agent.of('a')], ['10.0.0.0', '10.0.0.0'])
  }
})

function lineOf(book: MemoryBook, key: string): Allotment {
  const line = allOf(book.peek()).get(key)
  assert.ok(line)
  return line
}

test('a Service that waits, and asks for something else when an address comes free, is served as it asks now', () => {
  const requests = new Map<string, AddressRequest>()
  const allocator = new FolderAllocator(new MemoryBook())
  allocator.setPools([pool('p', ['10.0.0.0', '10.0.0.1'])])
  const settle = (...keys: readonly string[]): unknown =>
    allOf(
      allocator.settle(keys, (key) => {
        const found = requests.get(key)
        return found && { subject: found, request: () => found }
      }),
    )
  for (const [i, name] of ['h1', 'h2', 'x', 'w'].entries()) {
    requests.set(`default/${name}`, request(name, { createdMs: i }))
    settle(`default/${name}`)
  }
  requests.delete('default/h1')
  requests.delete('default/h2')
  requests.set('default/w', request('w', { createdMs: 3, explicit: ['10.9.9.9'] }))
  settle('default/h1', 'default/h2', 'default/w')
  assert.deepEqual(
    ['x', 'w'].map((name) => allocator.answerOf(`default/${name}`).addresses),
    [['10.0.0.0'], []],
  )
})
