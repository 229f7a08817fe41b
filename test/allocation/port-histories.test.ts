/**
 * Ports of shared addresses: whoever had one keeps it, whatever others become, how old they are, and whoever reads the
 * record anew.
 */
import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import type { AddressRequest } from '../../src/allocation/allocate.ts'
import { openFileBook } from '../../src/allocation/file-book.ts'
import { MemoryBook } from '../../src/allocation/memory-book.ts'
import { StatusAddresses } from '../../src/allocation/status-addresses.ts'
import { allOf } from '../../src/allocation/work.ts'
import { inFolder } from '../k8s/manifests.ts'
import { FolderAgent, pool, request } from './requests.ts'

const names = ['a', 'b', 'c', 'd'] as const
const pools = [pool('p', ['10.0.0.0-10.0.0.5', '2001:db8::-2001:db8::5'])]

const terms = fc.record(
  {
    key: fc.constantFrom('k', 'k', 'k', 'l'),
    namespace: fc.constant(''),
    sharedWith: fc.constantFrom(['*'], ['*'], []),
    trafficKey: fc.constantFrom('Cluster', 'Cluster', 'Cluster', 'Local'),
    ports: fc.subarray(['80/TCP', '443/TCP', '53/UDP'], { minLength: 1 }),
  },
  { noNullPrototype: true },
)
const wanted: fc.Arbitrary<Partial<AddressRequest>> = fc.record(
  {
    families: fc.constantFrom(['ipv4'] as const, ['ipv4', 'ipv6'] as const),
    sharing: fc.option(terms, { nil: undefined, freq: 8 }),
    explicit: fc.constantFrom([], [], [], ['10.0.0.0']),
  },
  { noNullPrototype: true },
)
const step = fc.record({
  name: fc.constantFrom(...names),
  wanted: fc.option(wanted, { nil: undefined, freq: 8 }),
  restarts: fc.option(fc.shuffledSubarray([...names], { minLength: names.length }), { nil: undefined, freq: 2 }),
})
/** The last is the oldest, or all are of one age: then the name decides. */
const ages = fc.constantFrom<readonly number[]>([4, 3, 2, 1], [1, 2, 3, 4], [1, 1, 1, 1])

interface Answering {
  answerOf(key: string): ReturnType<StatusAddresses['answerOf']>
}

/** `10.0.0.0 80/TCP` of all that a Service has. */
function servedBy(source: Answering, asked: AddressRequest): readonly string[] {
  const { addresses, tenure } = source.answerOf(asked.key)
  return addresses.flatMap((address) =>
    tenure === undefined ? [`${address} *`] : (tenure.ports.get(address) ?? []).map((port) => `${address} ${port}`),
  )
}

/** What a Service is by its name: its age, and its namespace, as far as sharing goes. */
function requestOf(
  name: (typeof names)[number],
  ofAges: readonly number[],
  more: Partial<AddressRequest>,
): AddressRequest {
  const index = names.indexOf(name)
  const sharing = more.sharing && { ...more.sharing, namespace: index % 2 === 0 ? 'one' : 'two' }
  return request(name, { ...more, sharing, createdMs: ofAges[index] ?? 0 })
}

/** What each has, but for those that wait for another address, which they are given when it is free. */
function contentIn(source: Answering, requests: ReadonlyMap<string, AddressRequest>): Map<string, readonly string[]> {
  const content = [...requests.values()].filter(({ key }) => source.answerOf(key).verdict.code !== 'RequestRefused')
  return new Map(content.map((each) => [each.key, servedBy(source, each)]))
}

test('no history takes a port, or an address, from a Service that did not change; a restart finds the same', () => {
  fc.assert(
    fc.property(ages, fc.array(step, { maxLength: 24 }), (ofAges, steps) => {
      let book = new MemoryBook()
      let agent = new FolderAgent(book, pools)
      const requests = new Map<string, AddressRequest>()
      for (const { name, wanted: more, restarts } of steps) {
        const before = contentIn(agent.allocator, requests)
        const key = `default/${name}`
        if (more === undefined) {
          requests.delete(key)
          agent.remove(name)
        } else {
          const now = requestOf(name, ofAges, more)
          requests.set(key, now)
          agent.put(now)
        }
        const after = new Map([...requests].map(([of, each]) => [of, servedBy(agent.allocator, each)]))
        const all = [...after.values()].flat()
        assert.equal(new Set(all).size, all.length, 'one port of two Services')
        for (const [of, had] of before)
          if (of !== key) for (const place of had) assert.ok(after.get(of)?.includes(place), `${of} lost ${place}`)
        if (restarts === undefined) continue
        book = new MemoryBook(allOf(book.peek()))
        agent = new FolderAgent(book, pools)
        agent.put(...restarts.flatMap((each) => requests.get(`default/${each}`) ?? []))
        for (const [of, each] of requests)
          assert.deepEqual([...servedBy(agent.allocator, each)].sort(), [...(after.get(of) ?? [])].sort(), of)
      }
    }),
    { numRuns: 600 },
  )
})

test('a change while nothing runs takes nothing either, whatever order the Services come in afterwards', () => {
  fc.assert(
    fc.property(
      ages,
      fc.tuple(...names.map(() => wanted)),
      fc.constantFrom(...names),
      wanted,
      fc.shuffledSubarray([...names], { minLength: names.length }),
      (ofAges, all, changer, change, order) => {
        const book = new MemoryBook()
        const agent = new FolderAgent(book, pools)
        const requests = new Map(names.map((name, index) => [name, requestOf(name, ofAges, all[index] ?? {})]))
        agent.put(...requests.values())
        const before = new Map([...requests].map(([name, each]) => [name, servedBy(agent.allocator, each)]))
        requests.set(changer, requestOf(changer, ofAges, change))
        const next = new FolderAgent(new MemoryBook(allOf(book.peek())), pools)
        next.put(...order.flatMap((name) => requests.get(name) ?? []))
        for (const [name, had] of before) {
          const asked = requests.get(name)
          if (name === changer || asked === undefined) continue
          const now = servedBy(next.allocator, asked)
          for (const place of had) assert.ok(now.includes(place), `${name} lost ${place} by ${changer}`)
        }
      },
    ),
    { numRuns: 600 },
  )
})

test('agents that read what was recorded have what the allocator has; and no change costs another one its port', () => {
  fc.assert(
    fc.property(ages, fc.array(step, { maxLength: 16 }), fc.nat(15), (ofAges, steps, stopped) => {
      const agent = new FolderAgent(new MemoryBook(), pools)
      const requests = new Map<string, AddressRequest>()
      const reader = new StatusAddresses()
      reader.setPools(pools)
      const read = (): void => {
        const keys = names.map((name) => `default/${name}`)
        const subjects = new Map(
          [...requests].map(([key, each]) => {
            const { addresses, tenure } = written.get(key) ?? { addresses: [] }
            return [key, { ...each, status: addresses, tenure }] as const
          }),
        )
        allOf(
          reader.settle(keys, (key) => {
            const found = subjects.get(key)
            return found === undefined ? undefined : { subject: found, request: () => found }
          }),
        )
      }
      const written = new Map<string, ReturnType<StatusAddresses['answerOf']>>()
      /** What they have now nobody wrote down: who comes back to what is written goes before them. */
      const changed = new Set<string>()
      for (const [index, { name, wanted: more }] of steps.entries()) {
        const key = `default/${name}`
        const before = new Map([...requests].map(([of, each]) => [of, servedBy(reader, each)]))
        if (more === undefined) {
          requests.delete(key)
          written.delete(key)
        } else requests.set(key, requestOf(name, ofAges, more))
        // The agents see the change first, and at the end of some histories nobody writes any more.
        read()
        for (const [of, had] of before) {
          const asked = requests.get(of)
          if (of !== key && asked !== undefined && !changed.has(of))
            for (const place of had) assert.ok(servedBy(reader, asked).includes(place), `${of} lost ${place}`)
        }
        const all = [...requests.values()].flatMap((each) => servedBy(reader, each))
        assert.equal(new Set(all).size, all.length, 'one port of two Services')
        if (index >= stopped) {
          changed.add(key)
          continue
        }
        if (more === undefined) agent.remove(name)
        else agent.put(requestOf(name, ofAges, more))
        for (const of of requests.keys()) written.set(of, agent.allocator.answerOf(of))
        read()
        for (const each of requests.values())
          assert.deepEqual(servedBy(reader, each), servedBy(agent.allocator, each), each.key)
      }
    }),
    { numRuns: 600 },
  )
})

test('where nothing is recorded the older one has the port, for the allocator and for agents that read statuses', () => {
  const shared = { key: 'k', namespace: 'default', sharedWith: [], trafficKey: 'Cluster', ports: ['80/TCP'] }
  const [old, young] = [
    request('old', { createdMs: 1, status: ['10.0.0.0'], sharing: shared }),
    request('young', { createdMs: 2, status: ['10.0.0.0'], sharing: { ...shared, ports: ['80/TCP', '81/TCP'] } }),
  ]
  const agent = new FolderAgent(new MemoryBook(), pools)
  agent.put(young, old)
  const reader = new StatusAddresses()
  reader.setPools(pools)
  const both = new Map([old, young].map((each) => [each.key, each]))
  allOf(
    reader.settle(both.keys(), (key) => {
      const found = both.get(key)
      return found === undefined ? undefined : { subject: found, request: () => found }
    }),
  )
  for (const source of [agent.allocator, reader])
    assert.deepEqual([servedBy(source, old), servedBy(source, young)], [['10.0.0.0 80/TCP'], ['10.0.0.0 81/TCP']])
})

test('a port that its holder gave up goes to the one that waits for it, and that is recorded', () => {
  const shared = { key: 'k', namespace: 'default', sharedWith: [], trafficKey: 'Cluster' }
  const of = (name: string, createdMs: number, ...ports: readonly string[]): AddressRequest =>
    request(name, { createdMs, sharing: { ...shared, ports } })
  const book = new MemoryBook()
  const agent = new FolderAgent(book, pools)
  agent.put(of('victim', 9, '80/TCP', '81/TCP'))
  agent.put(of('guest', 1, '82/TCP'))
  agent.put(of('guest', 1, '82/TCP', '80/TCP'))
  assert.deepEqual(
    [...(agent.allocator.answerOf('default/guest').lostPorts ?? [])],
    [['10.0.0.0 80/TCP', 'default/victim']],
  )
  assert.deepEqual(agent.put(of('victim', 9, '81/TCP')), ['default/victim', 'default/guest'])
  assert.deepEqual(agent.allocator.answerOf('default/guest').lostPorts, undefined)
  assert.deepEqual(
    allOf(book.peek()).get('default/guest')?.tenure?.ports,
    new Map([['10.0.0.0', ['82/TCP', '80/TCP']]]),
  )
  // It comes back too late.
  agent.put(of('victim', 9, '80/TCP', '81/TCP'))
  assert.deepEqual(servedBy(agent.allocator, of('victim', 9)), ['10.0.0.0 81/TCP'])
  // Who is gone holds no port from those that share its address.
  agent.remove('guest')
  assert.deepEqual(servedBy(agent.allocator, of('victim', 9)), ['10.0.0.0 80/TCP', '10.0.0.0 81/TCP'])
  // Nor when it comes back, the older one as it is, whether everybody was there or all start anew.
  const back = of('guest', 1, '82/TCP', '80/TCP')
  const kept = new FolderAgent(new MemoryBook(allOf(book.peek())), pools)
  agent.put(back)
  kept.put(of('victim', 9, '80/TCP', '81/TCP'))
  kept.put(back)
  for (const { allocator } of [agent, kept]) {
    assert.deepEqual(servedBy(allocator, of('victim', 9)), ['10.0.0.0 80/TCP', '10.0.0.0 81/TCP'])
    assert.deepEqual(servedBy(allocator, back), ['10.0.0.0 82/TCP'])
  }
})

test('one that was gone comes back without the port that another got, also while the record cannot be written', () =>
  inFolder((folder) => {
    const shared = { key: 'k', namespace: 'default', sharedWith: [], trafficKey: 'Cluster' }
    const of = (name: string, createdMs: number, ...ports: readonly string[]): AddressRequest =>
      request(name, { createdMs, sharing: { ...shared, ports } })
    const agent = new FolderAgent(openFileBook(folder, `${folder}/own`), pools)
    agent.put(of('old', 1, '80/TCP'), of('young', 9, '81/TCP'))
    agent.remove('old')
    agent.put(of('young', 9, '80/TCP', '81/TCP'))
    const lock = join(folder, '.herald', 'allocations.lock')
    writeFileSync(lock, '1')
    agent.put(of('old', 1, '80/TCP'))
    const served = (): readonly (readonly string[])[] =>
      ['old', 'young'].map((name) => servedBy(agent.allocator, of(name, 1)))
    const young = ['10.0.0.0 80/TCP', '10.0.0.0 81/TCP']
    assert.equal(agent.allocator.warning?.code, 'RecordBusy')
    assert.deepEqual(served(), [[], young])
    rmSync(lock)
    agent.put(of('old', 1, '80/TCP'))
    assert.deepEqual(served(), [[], young])
  }))

test('agents of one folder: what one of them gave, another keeps, though it sees the older Service first', () =>
  inFolder((folder) => {
    const shared = { key: 'k', namespace: 'default', sharedWith: [], trafficKey: 'Cluster' }
    const of = (name: string, createdMs: number, ...ports: readonly string[]): AddressRequest =>
      request(name, { createdMs, sharing: { ...shared, ports } })
    const [one, two] = [0, 1].map((id) => new FolderAgent(openFileBook(folder, `${folder}/${id}`), pools))
    const [young, old] = [of('young', 9, '80/TCP'), of('old', 1, '81/TCP')]
    one?.put(young, old)
    two?.put(young, old)
    one?.put(of('young', 9, '80/TCP', '90/TCP'))
    two?.put(of('old', 1, '81/TCP', '90/TCP'))
    two?.put(of('young', 9, '80/TCP', '90/TCP'))
    one?.put(of('old', 1, '81/TCP', '90/TCP'))
    for (const agent of [one, two])
      assert.deepEqual(
        ['young', 'old'].map((name) => (agent === undefined ? [] : servedBy(agent.allocator, of(name, 1)))),
        [['10.0.0.0 80/TCP', '10.0.0.0 90/TCP'], ['10.0.0.0 81/TCP']],
      )
  }))
