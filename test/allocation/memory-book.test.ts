/** The book in memory against the promises of the port: what is told as news, what is kept, what is forgotten. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  type AllocationChange,
  type Allocations,
  type Allotment,
  releasedLimit,
} from '../../src/allocation/address-book.ts'
import { MemoryBook } from '../../src/allocation/memory-book.ts'
import { allOf } from '../../src/allocation/work.ts'
import { exchanged } from './requests.ts'

const key = fc.constantFrom('default/a', 'default/b', 'default/c')
const change: fc.Arbitrary<AllocationChange> = fc.oneof(
  fc.constantFrom('release' as const, 'forget' as const),
  fc.constantFrom({ addresses: ['198.51.100.1'] }, { addresses: ['198.51.100.2', '2001:db8::1'] }),
)
const changes = fc.dictionary(key, change, { noNullPrototype: true }).map((found) => new Map(Object.entries(found)))

test('what is written stands in the book until it is forgotten, released or not; a release of nothing is none', () => {
  fc.assert(
    fc.property(fc.array(changes, { maxLength: 10 }), (rounds) => {
      const book = new MemoryBook(new Map([['default/a', { addresses: ['198.51.100.9'] }]]))
      const entries = new Map<string, Allotment>([['default/a', { addresses: ['198.51.100.9'] }]])
      const released = new Set<string>()
      for (const [round, each] of rounds.entries()) {
        const outcome = exchanged(book, (found) => {
          assert.deepEqual(new Map(found.entries), entries)
          assert.deepEqual(new Set(found.released), released)
          // Everything is news at first, and then only what went by itself.
          assert.deepEqual(new Map(found.news), round === 0 ? entries : new Map())
          return each
        })
        assert.equal(outcome, 'recorded')
        for (const [name, what] of each) {
          released.delete(name)
          if (what === 'forget') entries.delete(name)
          else if (what === 'release') {
            if (entries.has(name)) released.add(name)
          } else entries.set(name, what)
        }
        assert.deepEqual(new Map(allOf(book.peek())), entries)
      }
    }),
  )
})

test('of too many that were released the oldest are forgotten, and that is told once', () => {
  const book = new MemoryBook()
  const names = Array.from({ length: releasedLimit + 2 }, (_, i) => `default/s${i}`)
  const told: Allocations[] = []
  const exchange = (each: ReadonlyMap<string, AllocationChange>): void => {
    exchanged(book, ({ news }) => {
      told.push(new Map([...news].flatMap(([name, line]) => [[name, line ?? { addresses: [] }] as const])))
      return each
    })
  }
  exchange(new Map(names.map((name, i) => [name, { addresses: [`10.0.${i >> 8}.${i & 255}`] }])))
  exchange(new Map(names.map((name) => [name, 'release'])))
  assert.deepEqual(
    [allOf(book.peek()).size, allOf(book.peek()).has('default/s1'), allOf(book.peek()).has('default/s2')],
    [releasedLimit, false, true],
  )
  exchange(new Map())
  exchange(new Map())
  assert.deepEqual(
    told.map((news) => [...news.keys()]),
    [[], [], ['default/s0', 'default/s1'], []],
  )
})
