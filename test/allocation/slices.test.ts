/**
 * A settle of thousands that is laid down and taken up again: it comes to what one piece comes to, nobody sees half of
 * it, and whoever dies in the middle leaves the record as it was.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import type { AddressBook } from '../../src/allocation/address-book.ts'
import type { AddressAnswer, Wish } from '../../src/allocation/address-source.ts'
import type { AddressRequest } from '../../src/allocation/allocate.ts'
import { openFileBook } from '../../src/allocation/file-book.ts'
import { FolderAllocator } from '../../src/allocation/folder-allocator.ts'
import { MemoryBook } from '../../src/allocation/memory-book.ts'
import type { Pool } from '../../src/allocation/pool-table.ts'
import { StatusAddresses } from '../../src/allocation/status-addresses.ts'
import { allOf, goOn, inOrder, type Work } from '../../src/allocation/work.ts'
import { inFolder } from '../k8s/manifests.ts'
import { FolderAgent, pool, request } from './requests.ts'

const names = ['a', 'b', 'c', 'd', 'e', 'f'] as const
const pools = [pool('p', ['10.0.0.0-10.0.0.3', '2001:db8::-2001:db8::3'])]
const otherPools: readonly (readonly Pool[])[] = [
  [pool('p', ['10.0.0.0-10.0.0.3', '2001:db8::-2001:db8::3'], { closed: 'disabled' })],
  [pool('q', ['10.0.0.2-10.0.0.8'])],
]
const wanted: fc.Arbitrary<Partial<AddressRequest>> = fc.record(
  {
    families: fc.constantFrom(['ipv4'] as const, ['ipv6'] as const, ['ipv4', 'ipv6'] as const),
    needsAllFamilies: fc.boolean(),
    createdMs: fc.constantFrom(1, 2, Number.POSITIVE_INFINITY),
    explicit: fc.constantFrom([], [], [], ['10.0.0.2'], ['10.9.9.9']),
    status: fc.constantFrom([], [], ['10.0.0.1'], ['10.0.0.3', '2001:db8::']),
    sharing: fc.option(
      fc.record(
        {
          key: fc.constantFrom('k', 'l'),
          namespace: fc.constant('default'),
          sharedWith: fc.constant([]),
          trafficKey: fc.constantFrom('Cluster', 'Local'),
          ports: fc.subarray(['80/TCP', '443/TCP', '53/UDP'], { minLength: 1 }),
        },
        { noNullPrototype: true },
      ),
      { nil: undefined },
    ),
  },
  { noNullPrototype: true },
)
/** Services that come, change or go at once, and pools that may change before. */
const batch = fc.record({
  changes: fc.dictionary(fc.constantFrom(...names), fc.option(wanted, { nil: undefined }), { noNullPrototype: true }),
  pools: fc.option(fc.constantFrom(pools, ...otherPools), { nil: undefined, freq: 3 }),
})
type Batch = typeof batch extends fc.Arbitrary<infer T> ? T : never

/** An allocator whose Services change while it settles; what it is told meanwhile is for the next settle. */
class World {
  readonly source: FolderAllocator | StatusAddresses
  readonly requests = new Map<string, AddressRequest>()
  readonly dirty = new Set<string>()

  constructor(source: FolderAllocator | StatusAddresses) {
    this.source = source
    source.setPools(pools)
  }

  tell({ changes }: Batch): void {
    for (const [name, more] of Object.entries(changes)) {
      const each = request(name, more)
      if (more === undefined) this.requests.delete(each.key)
      else this.requests.set(each.key, each)
      this.dirty.add(each.key)
    }
  }

  tellPools({ pools: now }: Batch): void {
    if (now === undefined) return
    this.source.setPools(now)
    for (const key of this.requests.keys()) this.dirty.add(key)
  }

  begin(): Work<readonly string[]> {
    const dirty = [...this.dirty]
    this.dirty.clear()
    return this.source.settle(dirty, (key): Wish | undefined => {
      const found = this.requests.get(key)
      return found === undefined ? undefined : { subject: found, request: () => found }
    })
  }

  answers(): readonly unknown[] {
    const shown = ({ addresses, verdict, tenure, lostPorts }: AddressAnswer): unknown => [
      addresses,
      verdict,
      tenure && [tenure.terms, ...tenure.ports],
      [...(lostPorts ?? [])].sort(),
    ]
    return names.map((name) => shown(this.source.answerOf(`default/${name}`)))
  }
}

const sources: readonly (readonly [string, () => FolderAllocator | StatusAddresses])[] = [
  ['who allocates', () => new FolderAllocator(new MemoryBook())],
  ['who reads statuses', () => new StatusAddresses()],
]

for (const [who, make] of sources)
  test(`${who} comes to the same in slices as in one piece, and shows nothing of it before the end`, () => {
    let slices = 0
    fc.assert(
      fc.property(fc.array(batch, { maxLength: 8 }), (batches) => {
        const [whole, sliced] = [new World(make()), new World(make())]
        for (const each of batches) {
          for (const world of [whole, sliced]) {
            world.tellPools(each)
            world.tell(each)
          }
          const moved = allOf(whole.begin())
          const before = sliced.answers()
          const work = sliced.begin()
          let found = goOn(work, () => true)
          for (; found === undefined; found = goOn(work, () => true)) {
            assert.deepEqual(sliced.answers(), before)
            slices++
          }
          assert.deepEqual([...found.value].sort(), [...moved].sort())
          assert.deepEqual(sliced.answers(), whole.answers())
        }
      }),
      { numRuns: 300 },
    )
    assert.ok(slices > 1000, `${slices} slices`)
  })

test('what comes in the middle of a settle, wherever that is, counts as if it came after it or before it', () => {
  fc.assert(
    fc.property(batch, batch, fc.nat(60), (first, second, at) => {
      const world = new World(new FolderAllocator(new MemoryBook()))
      world.tell(first)
      const work = world.begin()
      let step = 0
      goOn(work, () => step++ === at)
      // Of its pools it is told when nothing is under way.
      world.tell(second)
      while (goOn(work, () => true) === undefined);
      world.tellPools(second)
      allOf(world.begin())
      // Nobody has what another has and does not share with it, and all that ask are answered as they ask now.
      const owners = new Map<string, string>()
      for (const name of names) {
        const asked = world.requests.get(`default/${name}`)
        const { addresses, verdict } = world.source.answerOf(`default/${name}`)
        if (asked === undefined) assert.deepEqual(addresses, [])
        for (const address of addresses) {
          const other = world.requests.get(owners.get(address) ?? '')
          const keys = [asked, other].map((each) => each?.sharing?.key)
          assert.ok(other === undefined || (keys[0] !== undefined && keys[0] === keys[1]), `${address} has two owners`)
          owners.set(address, `default/${name}`)
          assert.ok(asked?.families.includes(address.includes(':') ? 'ipv6' : 'ipv4'), verdict.message)
        }
      }
      // Whoever is told everything once more finds nothing to change.
      for (const key of world.requests.keys()) world.dirty.add(key)
      assert.deepEqual(allOf(world.begin()), [])
    }),
    { numRuns: 500 },
  )
})

/** A book that takes nothing after the choice. */
function failing(book: AddressBook): AddressBook {
  return {
    warning: undefined,
    *exchange(choose) {
      yield* book.exchange(function* (recorded) {
        yield* choose(recorded)
        return new Map()
      })
      return 'failed'
    },
    peek: () => book.peek(),
  }
}

test('a settle that could not be recorded is undone in slices, and shows nothing of it either', () => {
  fc.assert(
    fc.property(batch, batch, (first, second) => {
      const memory = new MemoryBook()
      const failed = failing(memory)
      let book: AddressBook = memory
      const world = new World(
        new FolderAllocator({
          warning: undefined,
          exchange: (choose) => book.exchange(choose),
          peek: () => memory.peek(),
        }),
      )
      world.tell(first)
      allOf(world.begin())
      const held = new Map(names.map((name) => [name, world.source.answerOf(`default/${name}`).addresses]))
      const before = world.answers()
      book = failed
      world.tell(second)
      const work = world.begin()
      while (goOn(work, () => true) === undefined) assert.deepEqual(world.answers(), before)
      for (const [name, addresses] of held)
        if (addresses.length > 0 && world.requests.has(`default/${name}`))
          assert.deepEqual(world.source.answerOf(`default/${name}`).addresses, addresses, name)
    }),
    { numRuns: 300 },
  )
})

test('one that lost its address with its pool, and waits for the other family, is given another one once', () => {
  const world = new World(new FolderAllocator(new MemoryBook()))
  world.tell({ changes: { f: {} }, pools: undefined })
  allOf(world.begin())
  world.tellPools({ changes: {}, pools: [pool('q', ['10.0.0.2-10.0.0.8'])] })
  const foreign = { families: ['ipv6'] as const, status: ['10.0.0.3', '2001:db8::'] }
  world.tell({ changes: { f: { families: ['ipv4', 'ipv6'] }, a: foreign }, pools: undefined })
  const work = world.begin()
  let steps = 0
  while (goOn(work, () => true) === undefined) assert.ok(steps++ < 1000, 'it has no end')
  assert.deepEqual(world.source.answerOf('default/f').addresses, ['10.0.0.2'])
})

test('a list that is put in order in steps is the list that sort makes, whatever its length', () => {
  for (const length of [0, 1, 2, 127, 128, 129, 1000, 4097]) {
    const items = Array.from({ length }, (_, i) => ({ value: (i * 7919) % 97, i }))
    const byValue = (a: (typeof items)[0], b: (typeof items)[0]): number => a.value - b.value
    let steps = 0
    const work = inOrder(items, byValue)
    let found = goOn(work, () => true)
    for (; found === undefined; found = goOn(work, () => true)) steps++
    assert.deepEqual(found.value, items.toSorted(byValue))
    assert.ok(steps >= Math.floor(length / 128), `${steps} steps for ${length}`)
  }
})

const recordIn = (folder: string): string => join(folder, '.herald', 'allocations.yaml')
const dyingAgent = fileURLToPath(new URL('dying-agent.ts', import.meta.url))

test('an agent that is killed in the middle of a settle leaves the old record or the new one, at whatever step', () =>
  inFolder((folder) => {
    const many = Array.from({ length: 200 }, (_, i) => `s${String(i).padStart(3, '0')}`)
    const all = [pool('p', ['10.0.0.0/24'])]
    new FolderAgent(openFileBook(folder, folder), all).put(request('first'))
    const old = readFileSync(recordIn(folder), 'utf8')
    for (const step of [0, 1, 150, 400, 700]) {
      const { signal } = spawnSync(process.execPath, [dyingAgent, folder, String(step), ...many])
      assert.equal(signal, 'SIGKILL')
      assert.equal(readFileSync(recordIn(folder), 'utf8'), old, `killed at step ${step}`)
      assert.ok(existsSync(join(folder, '.herald', 'allocations.lock')), 'it was in the middle of it')
      // Who comes next finds a lock that nobody keeps any more.
      const next = new FolderAgent(openFileBook(folder, folder, { lockWaitMs: 500, lockStaleMs: 20 }), all)
      next.put(request('first'))
      assert.equal(next.of('first'), '10.0.0.0')
    }
    const { status } = spawnSync(process.execPath, [dyingAgent, folder, '1000000', ...many])
    assert.equal(status, 0)
    assert.equal(readFileSync(recordIn(folder), 'utf8').split('\n').length, many.length + 3)
  }))

test('while one agent is in the middle of a settle another changes nothing, and both agree afterwards', () =>
  inFolder((folder) => {
    const books = [0, 1].map((id) => openFileBook(folder, join(folder, String(id)), { lockWaitMs: 0 }))
    const [one, two] = books.map((book) => new World(new FolderAllocator(book)))
    assert.ok(one && two)
    const four = Object.fromEntries(names.map((name) => [name, {}]))
    for (const world of [one, two]) world.tell({ changes: four, pools: undefined })
    const work = one.begin()
    for (let step = 0; step < 30; step++)
      assert.equal(
        goOn(work, () => true),
        undefined,
      )
    allOf(two.begin())
    assert.deepEqual(two.source.answerOf('default/a').verdict.code, 'RecordBusy')
    allOf(work)
    allOf(two.begin())
    assert.deepEqual(
      names.map((name) => two.source.answerOf(`default/${name}`).addresses),
      names.map((name) => one.source.answerOf(`default/${name}`).addresses),
    )
    assert.deepEqual(one.source.answerOf('default/a').addresses, ['10.0.0.0'])
  }))

test('what is held of a pool is passed in steps, wherever it begins, and not by one that asks for an address', () => {
  const holders = 500
  const stepsOf = (first: number): number => {
    const allocator = new FolderAllocator(new MemoryBook())
    allocator.setPools([pool('p', ['10.0.0.0-10.0.255.255'])])
    const wishOf = (key: string): Wish => {
      const value = first + Number(key.slice(key.indexOf('/') + 2))
      const status = Number.isNaN(value) ? [] : [`10.0.${value >> 8}.${value & 255}`]
      const wish = request(key.slice(key.indexOf('/') + 1), { status })
      return { subject: wish, request: () => wish }
    }
    const all = Array.from({ length: holders }, (_, i) => `default/s${i}`)
    allOf(allocator.settle(all, wishOf))
    let steps = 0
    for (const key of ['default/new', 'default/newer'])
      for (const work = allocator.settle([key], wishOf); work.next().done !== true; ) steps++
    assert.deepEqual(allocator.answerOf('default/newer').addresses, [`10.0.${first === 1 ? '1.245' : '0.1'}`])
    return steps
  }
  // The first address is free, and those behind it are not.
  assert.equal(stepsOf(1) - stepsOf(4_096), holders)
})
