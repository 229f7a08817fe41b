/**
 * At rest everybody was told what is so: a second look tells nobody anything else, and neither does somebody who begins
 * with no more than what was told.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { AddressRequest } from '../../src/allocation/allocate.ts'
import {
  type AddressBook,
  type Allocations,
  type Allotment,
  type Choose,
  nothingUnclear,
} from '../../src/allocation/address-book.ts'
import { FolderAllocator } from '../../src/allocation/folder-allocator.ts'
import { MemoryBook } from '../../src/allocation/memory-book.ts'
import type { Pool } from '../../src/allocation/pool-table.ts'
import type { SharingTerms } from '../../src/allocation/sharing.ts'
import { formatTenure } from '../../src/allocation/tenure.ts'
import { allOf, type Work } from '../../src/allocation/work.ts'
import { FolderAgent, pool, request } from './requests.ts'

const names = ['a', 'b', 'c', 'd', 'e', 'f'] as const
type Wanted = Partial<AddressRequest>

/** A book that takes nothing for a while, after the choice. */
class BrittleBook implements AddressBook {
  readonly warning = undefined
  readonly #book: MemoryBook
  isBroken = false

  constructor(entries?: Allocations) {
    this.#book = new MemoryBook(entries)
  }

  peek(): Work<Allocations> {
    return this.#book.peek()
  }

  *exchange(choose: Choose): Work<'recorded' | 'failed'> {
    if (!this.isBroken) return yield* this.#book.exchange(choose)
    yield* this.#book.exchange(function* (recorded) {
      yield* choose(recorded)
      return new Map()
    })
    return 'failed'
  }
}

/** An allocator whose answers are written into statuses, as an operator does it. */
class Ledger {
  book = new BrittleBook()
  allocator = new FolderAllocator(this.book)
  readonly requests = new Map<string, AddressRequest>()
  #pools: readonly Pool[] = []

  setPools(pools: readonly Pool[]): void {
    this.#pools = pools
    this.allocator.setPools(pools)
    this.settle()
  }

  /** All at once; undefined: it goes. */
  change(all: Readonly<Record<string, Wanted | undefined>>): void {
    for (const [name, more] of Object.entries(all)) {
      const [key, before] = [`default/${name}`, this.requests.get(`default/${name}`)]
      const { status = [], lingering = [], tenure } = before ?? {}
      if (more === undefined) this.requests.delete(key)
      else this.requests.set(key, request(name, { ...more, status, lingering, tenure }))
    }
    this.settle(Object.keys(all).map((name) => `default/${name}`))
  }

  /** With all that is written because of it. */
  settle(keys: Iterable<string> = this.requests.keys()): void {
    for (let [dirty, rounds] = [[...keys], 0]; dirty.length > 0; rounds++) {
      assert.ok(rounds < 10, `${dirty.join()} are written without end`)
      this.#look(dirty)
      dirty = [...this.requests.values()].flatMap((each) => (this.#write(each) ? [each.key] : []))
    }
  }

  #look(keys: readonly string[]): readonly string[] {
    return allOf(
      this.allocator.settle(keys, (key) => {
        const found = this.requests.get(key)
        // Who is being deleted with nothing is none of those that are there.
        const isThere = found !== undefined && (found.isLeaving !== true || found.status.length > 0)
        return isThere ? { subject: found, request: () => found } : undefined
      }),
    )
  }

  #write(before: AddressRequest): boolean {
    const { addresses, tenure } = this.allocator.answerOf(before.key)
    const isSame = String(addresses) === String(before.status) && formatTenure(tenure) === formatTenure(before.tenure)
    if (isSame) return false
    this.requests.set(before.key, { ...before, status: addresses, lingering: addresses, tenure })
    return true
  }

  told(): readonly string[] {
    return [...this.requests].sort().map(([key, { isLeaving }]) => {
      const { addresses, verdict, tenure, lostPorts } = this.allocator.answerOf(key)
      // Of who is being deleted nothing is written but a loss.
      if (isLeaving === true) return `${key} ${addresses.join()}`
      const lost = [...(lostPorts ?? [])].sort().join()
      return `${key} ${addresses.join()} ${verdict.code} ${verdict.message} | ${formatTenure(tenure) ?? ''} ${lost}`
    })
  }

  lookAgain(): void {
    for (const key of this.requests.keys()) this.allocator.lookAgain(key)
    this.#look([])
  }

  /** With what is recorded, or with no more than the statuses. */
  beginAnew(entries?: Allocations): void {
    this.book = new BrittleBook(entries)
    this.allocator = new FolderAllocator(this.book)
    this.allocator.setPools(this.#pools)
    this.#look([...this.requests.keys()])
  }
}

function isAtRest(ledger: Ledger): void {
  const told = ledger.told()
  ledger.lookAgain()
  assert.deepEqual(ledger.told(), told, 'after a second look')
  ledger.beginAnew(new Map(allOf(ledger.book.peek())))
  assert.deepEqual(ledger.told(), told, 'after a new beginning with the book')
  ledger.beginAnew()
  // What it lost is in no status.
  const shown = (lines: readonly string[]) => lines.map((line) => line.replace(/, in place of another: [^|]*/, ' '))
  assert.deepEqual(shown(ledger.told()), shown(told), 'after a new beginning')
}

const four = [pool('p', ['10.0.0.0-10.0.0.3', '2001:db8::-2001:db8::1'])]
const poolsOfAll = [
  four,
  [pool('p', ['10.0.0.0-10.0.0.3', '2001:db8::-2001:db8::1'], { closed: 'disabled' })],
  [pool('q', ['10.0.0.2-10.0.0.5'])],
]
const families = fc.constantFrom(['ipv4'] as const, ['ipv4'] as const, ['ipv4', 'ipv6'] as const, ['ipv6'] as const)
const sharing = fc.record(
  {
    key: fc.constantFrom('k', 'k', 'l'),
    namespace: fc.constant('default'),
    sharedWith: fc.constant([]),
    trafficKey: fc.constantFrom('Cluster', 'Cluster', 'Local'),
    ports: fc.subarray(['80/TCP', '443/TCP', '53/UDP'], { minLength: 1 }),
  },
  { noNullPrototype: true },
)
const wanted: fc.Arbitrary<Wanted> = fc.record(
  {
    families,
    needsAllFamilies: fc.boolean(),
    createdMs: fc.constantFrom(1, 2, 3),
    explicit: fc.constantFrom([], [], ['10.0.0.2'], ['10.0.0.3'], ['10.0.0.3', '10.0.0.2'], ['2001:db8::']),
    sharing: fc.option(sharing, { nil: undefined }),
    isLeaving: fc.constantFrom(false, false, false, true),
  },
  { noNullPrototype: true },
)
const step = fc.record({
  changes: fc.dictionary(fc.constantFrom(...names), fc.option(wanted, { nil: undefined }), { noNullPrototype: true }),
  pools: fc.option(fc.constantFrom(...poolsOfAll), { nil: undefined, freq: 4 }),
  isBroken: fc.constantFrom(false, false, false, true),
})

test('at rest a second look tells nobody anything else, and neither does a new beginning', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 6 }), (steps) => {
      const ledger = new Ledger()
      ledger.setPools(four)
      for (const { changes, pools, isBroken } of steps) {
        ledger.book.isBroken = isBroken
        if (pools !== undefined) ledger.setPools(pools)
        ledger.change(changes)
      }
      ledger.book.isBroken = false
      ledger.settle()
      isAtRest(ledger)
    }),
    { numRuns: 200 },
  )
})

const shares = (port: number, key = 'k'): SharingTerms => ({
  key,
  namespace: 'default',
  sharedWith: [],
  trafficKey: 'Cluster',
  ports: [`${port}/TCP`],
})
const third: Wanted = { explicit: ['10.0.0.3'] }

/** What `b`, which asks for 10.0.0.3, is told before and after. */
const passing: readonly (readonly [
  string,
  Record<string, Wanted>,
  RegExp,
  Record<string, Wanted | undefined>,
  RegExp,
])[] = [
  [
    'goes and another one that waits is before it',
    { a: { ...third, createdMs: 1 }, b: { ...third, createdMs: 3 }, c: { ...third, createdMs: 2 } },
    /belongs to default\/a$/,
    { a: undefined },
    /belongs to default\/c$/,
  ],
  [
    'is joined by an older one',
    { a: { ...third, createdMs: 2, sharing: shares(80) }, b: { ...third, createdMs: 3 } },
    /belongs to default\/a$/,
    { c: { ...third, createdMs: 1, sharing: shares(81) } },
    /belongs to default\/c$/,
  ],
  [
    'shares under another key than before',
    { a: { ...third, createdMs: 1, sharing: shares(80) }, b: { ...third, createdMs: 2, sharing: shares(80) } },
    /default\/a has port 80\/TCP of 10\.0\.0\.3/,
    { a: { ...third, createdMs: 1, sharing: shares(80, 'l') } },
    /10\.0\.0\.3 belongs to default\/a$/,
  ],
  [
    'shares with nobody any more',
    { a: { ...third, createdMs: 1, sharing: shares(80) }, b: { ...third, createdMs: 2, sharing: shares(80) } },
    /default\/a has port 80\/TCP of 10\.0\.0\.3/,
    { a: { ...third, createdMs: 1 } },
    /10\.0\.0\.3 belongs to default\/a$/,
  ],
  [
    'was made anew under its name, younger than the one beside it',
    {
      a: { ...third, createdMs: 1, sharing: shares(80) },
      b: { ...third, createdMs: 4 },
      c: { ...third, createdMs: 2, sharing: shares(81) },
    },
    /belongs to default\/a$/,
    { a: { ...third, createdMs: 3, sharing: shares(80) } },
    /belongs to default\/c$/,
  ],
]

for (const [what, before, first, after, then] of passing)
  test(`who is refused an address is told who has it now when its owner ${what}`, () => {
    const ledger = new Ledger()
    ledger.setPools(four)
    ledger.change(before)
    const told = (): string => ledger.allocator.answerOf('default/b').verdict.message
    assert.match(told(), first)
    ledger.change(after)
    assert.match(told(), then)
    isAtRest(ledger)
  })

const both: Wanted = { families: ['ipv4', 'ipv6'], needsAllFamilies: false }

/** Who is gone, who comes then, and what it has; who was there before them, and stays. */
const followers: readonly (readonly [string, Record<string, Wanted>, Wanted, string, Record<string, Wanted>?])[] = [
  [
    'the second family that it can do without',
    { a: { families: ['ipv6'] }, b: { families: ['ipv6'] } },
    both,
    '10.0.0.0,2001:db8::',
  ],
  [
    'one of two families, neither of which is free',
    { a: { families: ['ipv6'] }, b: { families: ['ipv6'] } },
    both,
    '2001:db8::',
    { w: {}, x: {}, y: {}, z: {} },
  ],
  [
    'an address that two that are gone shared',
    {
      a: { families: ['ipv6'], sharing: shares(80) },
      b: { families: ['ipv6'], sharing: shares(81) },
      c: { families: ['ipv6'] },
    },
    { families: ['ipv6'] },
    '2001:db8::',
  ],
  [
    'two addresses that it names, of one that is gone each',
    { a: third, b: { explicit: ['10.0.0.2'] } },
    { explicit: ['10.0.0.3', '10.0.0.2'] },
    '10.0.0.3,10.0.0.2',
  ],
]

for (const [what, gone, wants, address, stays = {}] of followers)
  test(`what is kept for who is gone is given to the first that lacks it: ${what}`, () => {
    const ledger = new Ledger()
    ledger.setPools(four)
    ledger.change(stays)
    ledger.change(gone)
    ledger.change(Object.fromEntries(Object.keys(gone).map((name) => [name, undefined])))
    ledger.change({ next: wants })
    assert.equal(ledger.allocator.answerOf('default/next').addresses.join(), address)
    isAtRest(ledger)
  })

test('what is kept for who is gone is given away when the last one leaves it who had it beside that one', () => {
  const ledger = new Ledger()
  ledger.setPools(four)
  ledger.change({ gone: { ...both, sharing: shares(80) }, beside: { ...both, sharing: shares(81) } })
  ledger.change({ gone: undefined })
  ledger.change({ a: both, b: both, beside: { families: ['ipv4'] } })
  assert.equal(ledger.allocator.answerOf('default/b').addresses.join(), '10.0.0.2,2001:db8::')
  isAtRest(ledger)
})

test('what is kept for who is gone stays kept where it does not help: another has it too, or the pool cannot serve', () => {
  const ledger = new Ledger()
  const six = (name: string, place: string): Pool => pool(name, [place], { isWhole: true })
  ledger.setPools([pool('p', ['10.0.0.0', '2001:db8::1'], { isWhole: true }), six('q', '2001:db8::2')])
  ledger.change({ a: { families: ['ipv6'], explicit: ['2001:db8::1'], sharing: shares(80) } })
  ledger.change({ b: { families: ['ipv6'], explicit: ['2001:db8::1'], sharing: shares(81) } })
  ledger.change({ c: { families: ['ipv6'], explicit: ['2001:db8::2'] } })
  ledger.change({ b: undefined, c: undefined })
  ledger.change({ next: both })
  assert.equal(ledger.allocator.answerOf('default/next').addresses.join(), '10.0.0.0')
  assert.deepEqual([...allOf(ledger.book.peek()).keys()].sort(), [
    'default/a',
    'default/b',
    'default/c',
    'default/next',
  ])
})

/** What others write comes once, also into an exchange that fails. */
class SharedBook implements AddressBook {
  readonly warning = undefined
  readonly entries = new Map<string, Allotment>()
  news = new Map<string, Allotment | undefined>()
  isBroken = false

  peek(): Work<Allocations> {
    return new MemoryBook(this.entries).peek()
  }

  write(...lines: readonly (readonly [string, string | undefined])[]): void {
    for (const [name, address] of lines) {
      const line = address === undefined ? undefined : { addresses: [address] }
      this.news.set(`default/${name}`, line)
      if (line === undefined) this.entries.delete(`default/${name}`)
      else this.entries.set(`default/${name}`, line)
    }
  }

  *exchange(choose: Choose): Work<'recorded' | 'failed'> {
    const news = this.news
    this.news = new Map()
    const changes = yield* choose({ entries: this.entries, news, released: new Set(), unclear: nothingUnclear })
    if (this.isBroken) return 'failed'
    for (const [key, change] of changes) if (typeof change === 'object') this.entries.set(key, change)
    return 'recorded'
  }
}

test('who has an address by the word of another agent is told to who waits, also when that came while nothing could be written', () => {
  const book = new SharedBook()
  const agent = new FolderAgent(book, four)
  const told = (): string => agent.allocator.answerOf('default/b').verdict.message
  agent.put(request('first'))
  book.write(['x', '10.0.0.3'])
  agent.put(request('b', third))
  assert.equal(told(), '10.0.0.3 is recorded for default/x')
  book.write(['x', undefined], ['y', '10.0.0.3'])
  book.isBroken = true
  agent.put(request('second'))
  assert.equal(told(), '10.0.0.3 is recorded for default/x', 'what could not be written is undone')
  book.isBroken = false
  agent.put(request('third'))
  assert.equal(told(), '10.0.0.3 is recorded for default/y')
})

test('an address that comes free while nothing can be written goes to who waits for it when that is over', () => {
  const ledger = new Ledger()
  ledger.setPools([pool('p', ['10.0.0.0'])])
  ledger.change({ a: { createdMs: 1 }, b: { createdMs: 2 } })
  ledger.book.isBroken = true
  ledger.change({ a: undefined })
  ledger.book.isBroken = false
  ledger.settle()
  assert.equal(ledger.allocator.answerOf('default/b').addresses.join(), '10.0.0.0')
})

test('an address that another agent lets go of goes to who waits for any, also when that was told in vain', () => {
  const book = new SharedBook()
  const agent = new FolderAgent(book, [pool('p', ['10.0.0.0', '10.0.0.1'])])
  agent.put(request('first'))
  book.write(['x', '10.0.0.1'])
  agent.put(request('b'))
  assert.equal(agent.of('b'), '')
  book.write(['x', undefined])
  book.isBroken = true
  agent.put(request('third', third))
  assert.equal(agent.of('b'), '')
  book.isBroken = false
  agent.put(request('third', third))
  assert.equal(agent.of('b'), '10.0.0.1')
})
