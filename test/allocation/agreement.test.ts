/** What holds for allocation whatever happens: properties over random histories, with one book and several agents. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { AddressBook, Choose } from '../../src/allocation/address-book.ts'
import type { AddressRequest } from '../../src/allocation/allocate.ts'
import { openFileBook } from '../../src/allocation/file-book.ts'
import { MemoryBook } from '../../src/allocation/memory-book.ts'
import type { Pool } from '../../src/allocation/pool-table.ts'
import { allOf } from '../../src/allocation/work.ts'
import { inFolder } from '../k8s/manifests.ts'
import { FolderAgent, pool, request } from './requests.ts'

const names = ['a', 'b', 'c', 'd', 'e', 'f'] as const
const small = [pool('p', ['10.0.0.0-10.0.0.3', '2001:db8::-2001:db8::3'])]

const wanted: fc.Arbitrary<Partial<AddressRequest>> = fc.record(
  {
    families: fc.constantFrom(
      ['ipv4'] as const,
      ['ipv6'] as const,
      ['ipv4', 'ipv6'] as const,
      ['ipv6', 'ipv4'] as const,
    ),
    needsAllFamilies: fc.boolean(),
    createdMs: fc.constantFrom(1, 2, Number.POSITIVE_INFINITY),
    explicit: fc.constantFrom([], [], ['10.0.0.2'], ['2001:db8::1'], ['10.9.9.9']),
    status: fc.constantFrom([], [], ['10.0.0.1'], ['10.0.0.3', '2001:db8::'], ['192.0.2.1']),
    sharing: fc.option(
      fc.record(
        {
          key: fc.constantFrom('k', 'l'),
          namespace: fc.constant('default'),
          sharedWith: fc.constant([]),
          trafficKey: fc.constantFrom('Cluster', 'Local'),
          ports: fc.constantFrom(['80/TCP'], ['443/TCP'], ['80/TCP', '443/TCP']),
        },
        { noNullPrototype: true },
      ),
      { nil: undefined },
    ),
  },
  { noNullPrototype: true },
)
const event = fc.record({
  name: fc.constantFrom(...names),
  wanted: fc.option(wanted, { nil: undefined }),
  pools: fc.constantFrom<readonly Pool[] | undefined>(
    ...[undefined, undefined, undefined, undefined],
    [pool('p', ['10.0.0.0-10.0.0.3', '2001:db8::-2001:db8::3'], { closed: 'disabled' })],
    small,
  ),
})

function assertOneOwner(agent: FolderAgent, requests: ReadonlyMap<string, AddressRequest>): void {
  const owners = new Map<string, string>()
  for (const [key, addresses] of agent.all())
    for (const address of addresses) {
      const other = owners.get(address)
      if (other !== undefined) {
        const [one, two] = [requests.get(key)?.sharing, requests.get(other)?.sharing]
        assert.ok(one !== undefined && one.key === two?.key, `${key} and ${other} have ${address} and do not share`)
      }
      owners.set(address, key)
    }
}

test('no two Services have one address without sharing it, and none moves that still fits', () => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 30 }), (events) => {
      const agent = new FolderAgent(new MemoryBook(), small)
      const requests = new Map<string, AddressRequest>()
      for (const { name, wanted: more, pools } of events) {
        const before = agent.all()
        const key = `default/${name}`
        if (pools !== undefined) {
          agent.allocator.setPools(pools)
          agent.settle()
        }
        if (more === undefined) {
          requests.delete(key)
          agent.remove(name)
        } else {
          requests.set(key, request(name, more))
          agent.put(request(name, more))
        }
        assertOneOwner(agent, requests)
        for (const [held, addresses] of before)
          if (held !== key && requests.get(held)?.explicit.length === 0)
            for (const address of addresses)
              assert.ok(agent.all().get(held)?.includes(address), `${held} lost ${address}`)
        for (const [found, addresses] of agent.all())
          for (const address of addresses)
            assert.ok(requests.get(found)?.families.includes(address.includes(':') ? 'ipv6' : 'ipv4'))
      }
    }),
    { numRuns: 200 },
  )
})

test('a restart finds every address again, in whatever order the Services come', () => {
  fc.assert(
    fc.property(
      fc.array(event, { maxLength: 20 }),
      fc.shuffledSubarray([...names], { minLength: names.length }),
      (events, order) => {
        const book = new MemoryBook()
        const agent = new FolderAgent(book, small)
        const requests = new Map<string, AddressRequest>()
        for (const { name, wanted: more } of events)
          if (more === undefined) {
            requests.delete(name)
            agent.remove(name)
          } else {
            requests.set(name, request(name, more))
            agent.put(request(name, more))
          }
        const next = new FolderAgent(new MemoryBook(allOf(book.peek())), small)
        next.put(...order.flatMap((name) => requests.get(name) ?? []))
        for (const [key, addresses] of agent.all()) assert.deepEqual(next.all().get(key), addresses, key)
      },
    ),
    { numRuns: 200 },
  )
})

test('of Services that come at once, the order of arrival decides nothing', () => {
  fc.assert(
    fc.property(
      fc.tuple(...names.map(() => wanted)),
      fc.shuffledSubarray([...names], { minLength: names.length }),
      (all, order) => {
        const of = (list: readonly string[]): ReadonlyMap<string, readonly string[]> => {
          const agent = new FolderAgent(new MemoryBook(), small)
          agent.put(...list.map((name) => request(name, all[names.indexOf(name as 'a')])))
          return new Map([...agent.all()].sort())
        }
        assert.deepEqual(of(order), of(names))
      },
    ),
    { numRuns: 200 },
  )
})

/** A book that fails now and then, before or after the choice. */
class WornBook implements AddressBook {
  readonly #book = new MemoryBook()
  readonly #isWorn: () => 'before' | 'after' | 'never'
  warning: AddressBook['warning']

  constructor(isWorn: () => 'before' | 'after' | 'never') {
    this.#isWorn = isWorn
  }

  *exchange(choose: Choose): ReturnType<AddressBook['exchange']> {
    const when = this.#isWorn()
    if (when === 'never') return yield* this.#book.exchange(choose)
    if (when === 'before') return 'busy'
    yield* this.#book.exchange(function* (recorded) {
      yield* choose(recorded)
      return new Map()
    })
    return 'failed'
  }

  peek(): ReturnType<AddressBook['peek']> {
    return this.#book.peek()
  }
}

test('while the book takes nothing, nothing changes; afterwards all is as if it always had', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ name: fc.constantFrom(...names), isThere: fc.boolean() }), { maxLength: 25 }),
      fc.infiniteStream(fc.constantFrom('before', 'after', 'never', 'never')),
      (events, faults) => {
        let isOver = false
        const book = new WornBook(() => (isOver ? 'never' : (faults.next().value ?? 'never')))
        const agent = new FolderAgent(book, [pool('p', ['10.0.0.0/28'])])
        const there = new Set<string>()
        for (const { name, isThere } of events) {
          const before = agent.all()
          if (isThere) {
            there.add(name)
            agent.put(request(name))
          } else {
            there.delete(name)
            agent.remove(name)
          }
          for (const [key, addresses] of before)
            if (there.has(key.slice('default/'.length))) assert.deepEqual(agent.all().get(key), addresses)
          const used = [...agent.all().values()].flat()
          assert.equal(new Set(used).size, used.length)
          for (const [key, addresses] of agent.all())
            assert.deepEqual(allOf(book.peek()).get(key)?.addresses, addresses)
        }
        isOver = true
        agent.settle()
        assert.equal(agent.all().size, there.size)
      },
    ),
    { numRuns: 200 },
  )
})

test('agents with one file and different views never give one address to two Services', () =>
  inFolder((folder) => {
    fc.assert(
      fc.property(
        fc.string({ minLength: 8, maxLength: 8, unit: fc.constantFrom(...'abcdefgh') }),
        fc.array(fc.record({ agent: fc.nat(2), name: fc.constantFrom(...names), isThere: fc.boolean() }), {
          maxLength: 30,
        }),
        (state, events) => {
          const folderOf = folder
          const agents = [0, 1, 2].map(
            (id) => new FolderAgent(openFileBook(folderOf, `${folder}/${state}-${id}`), [pool('p', ['10.0.0.0/28'])]),
          )
          for (const { agent, name, isThere } of events) {
            if (isThere) agents[agent]?.put(request(name))
            else agents[agent]?.remove(name)
            const owners = new Map<string, string>()
            for (const each of agents)
              for (const [key, addresses] of each.all())
                for (const address of addresses) {
                  assert.equal(owners.get(address) ?? key, key, `${address} of ${key} and ${owners.get(address)}`)
                  owners.set(address, key)
                }
          }
        },
      ),
      { numRuns: 30 },
    )
  }))
