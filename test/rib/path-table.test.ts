/** The table of paths against a Map, with marks and with removal in slices while it changes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Prefix, prefixOf } from '../../src/ip/prefix.ts'
import { PathShards } from '../../src/rib/path-shards.ts'
import { Slots } from '../../src/rib/columns.ts'
import { type Mark, PathTable } from '../../src/rib/path-table.ts'
import { processorMs } from '../processor-time.ts'

interface Known {
  block: number
  stale: boolean
  refresh: boolean
  isDoomed: boolean
}

const marks: readonly Mark[] = ['stale', 'refresh']
const prefixAt = (host: number, isWide: boolean): Prefix =>
  isWide
    ? `${String.fromCharCode(0x20, 1, 0xd, 0xb8).padEnd(14, '\0')}${String.fromCharCode(host, 0, 128)}`
    : prefixOf(host << 13, 32)

const operation = fc.oneof(
  { weight: 8, arbitrary: fc.tuple(fc.constant('set' as const), fc.nat({ max: 120 }), fc.nat({ max: 2 })) },
  { weight: 3, arbitrary: fc.tuple(fc.constant('delete' as const), fc.nat({ max: 120 }), fc.nat({ max: 2 })) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('mark' as const), fc.constantFrom(...marks)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('unmark' as const), fc.constantFrom(...marks)) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('doom' as const), fc.constantFrom(...marks)) },
  { weight: 4, arbitrary: fc.tuple(fc.constant('sweep' as const), fc.integer({ min: 1, max: 70 })) },
)

/** The same twice: as the table has it, and as a Map would. */
class Both {
  readonly table: PathTable | PathShards
  readonly map = new Map<string, Known>()
  readonly #isWide: boolean
  #blocks = 0

  constructor(isWide: boolean, seed: number, Table: typeof PathTable | typeof PathShards = PathTable) {
    this.#isWide = isWide
    this.table = new Table(isWide ? 4 : 1, seed)
  }

  run([kind, what, pathId = 0]: readonly [string, number | Mark, number?]): void {
    if (kind === 'set') this.#set(what as number, pathId)
    else if (kind === 'delete') this.#delete(what as number, pathId)
    else if (kind === 'sweep') this.sweep(what as number)
    else if (kind === 'mark')
      this.#each(
        (path) => (path[what as Mark] = true),
        () => this.table.mark(what as Mark),
      )
    else if (kind === 'unmark')
      this.#each(
        (path) => (path[what as Mark] = false),
        () => this.table.unmark(what as Mark),
      )
    else
      this.#each(
        (path) => {
          path.isDoomed ||= path[what as Mark]
          path[what as Mark] = false
        },
        () => this.table.doom(what as Mark),
      )
  }

  sweep(slots: number): void {
    const { table } = this
    table.sweep(slots, (slot) => {
      const key = this.#key(table.prefixAt(slot), table.pathIdAt(slot))
      assert.equal(this.map.get(key)?.isDoomed, true, 'only what was not announced again goes')
      this.map.delete(key)
    })
  }

  check(): void {
    const found = new Map<string, readonly unknown[]>()
    for (const slot of this.table.used())
      found.set(this.#key(this.table.prefixAt(slot), this.table.pathIdAt(slot)), [
        this.table.blockAt(slot),
        this.table.isMarked(slot, 'stale'),
        this.table.isMarked(slot, 'refresh'),
      ])
    const walked = new Set<string>()
    let cursor = 0
    do {
      const slots = new Slots()
      cursor = this.table.bucket(cursor, slots)
      for (let i = 0; i < slots.count; i++)
        walked.add(this.#key(this.table.prefixAt(slots.at(i)), this.table.pathIdAt(slots.at(i))))
    } while (cursor !== 0)
    assert.deepEqual([...walked].sort(), [...found.keys()].sort(), 'a walk comes by all of them')
    const expected = [...this.map].map(([key, { block, stale, refresh }]) => [key, [block, stale, refresh]] as const)
    assert.deepEqual(new Map([...found].sort()), new Map([...expected].sort()))
    assert.equal(this.table.size, this.map.size)
  }

  #each(change: (path: Known) => void, run: () => void): void {
    for (const path of this.map.values()) change(path)
    run()
  }

  #set(host: number, pathId: number): void {
    const prefix = prefixAt(host, this.#isWide)
    const block = this.#blocks++
    const before = this.map.get(this.#key(prefix, pathId))?.block ?? -1
    assert.equal(this.table.set(prefix, pathId, block, 1), before)
    this.map.set(this.#key(prefix, pathId), { block, stale: false, refresh: false, isDoomed: false })
  }

  #delete(host: number, pathId: number): void {
    const prefix = prefixAt(host, this.#isWide)
    const key = this.#key(prefix, pathId)
    assert.equal(this.table.delete(prefix, pathId), this.map.get(key)?.block ?? -1)
    this.map.delete(key)
    assert.equal(this.table.find(prefix, pathId), -1)
  }

  #key = (prefix: Prefix, pathId: number): string => `${String(prefix)}#${pathId}`
}

test('whatever is set, deleted, marked and removed in slices meanwhile, the table is what a Map would be', () => {
  fc.assert(
    fc.property(
      fc.array(operation, { maxLength: 400, size: 'max' }),
      fc.boolean(),
      fc.nat(),
      fc.constantFrom(PathTable, PathShards),
      (operations, isWide, seed, Table) => {
        const both = new Both(isWide, seed, Table)
        for (const one of operations) both.run(one)
        both.check()
        both.sweep(Number.POSITIVE_INFINITY)
        both.check()
        assert.equal(both.table.isDoomed, false)
        assert.ok(
          [...both.map.values()].every(({ isDoomed }) => !isDoomed),
          'nothing that is doomed is left',
        )
      },
    ),
    { numRuns: 300 },
  )
})

test('marks hold over more rounds than an octet counts (RFC 7313 4, RFC 4724 4.2)', () => {
  const both = new Both(false, 3)
  for (let host = 0; host < 50; host++) both.run(['set', host])
  both.run(['mark', 'stale'])
  for (let round = 0; round < 700; round++) {
    both.run(['set', 50 + (round % 20)])
    both.run(['mark', 'refresh'])
    if (round === 300) both.run(['set', 7])
    if (round % 97 === 0) both.check()
  }
  both.run(['doom', 'stale'])
  both.sweep(Number.POSITIVE_INFINITY)
  both.check()
  assert.equal(both.table.size, 21, 'the twenty that came behind the mark, and the one that came again')
})

test('to mark four hundred thousand paths a hundred thousand times costs what one path would', () => {
  const table = new PathTable(1, 1)
  for (let host = 0; host < 400_000; host++) table.set(prefixOf(0x0a000000 + host, 32), 0, 1, 1)
  const ms = processorMs(() => {
    for (let round = 0; round < 100_000; round++) table.mark('refresh')
  })
  // With a look at each path it were minutes.
  assert.ok(ms < 2_000, `${ms} ms`)
  assert.equal(table.isMarked(table.find(prefixOf(0x0a000000, 32), 0), 'refresh'), true)
})

test('a removal in slices looks at no more slots than it may, and makes a table that is nearly empty small', () => {
  const table = new PathTable(1, 1)
  for (let host = 0; host < 10_000; host++) table.set(prefixOf(0x0a000000 + host, 32), 0, 1, 1)
  table.mark('stale')
  for (let host = 0; host < 10; host++) table.set(prefixOf(0x0a000000 + host, 32), 0, 2, 1)
  table.doom('stale')
  const { slots } = table
  let slices = 0
  for (; table.isDoomed; slices++) {
    let gone = 0
    table.sweep(100, () => gone++)
    assert.ok(gone <= 100)
  }
  assert.ok(slices >= slots / 100 && slices <= (slots + 10_000) / 100 + 1, `${slices} slices of ${slots} slots`)
  assert.deepEqual([table.size, table.slots], [10, 64])
  assert.equal(
    table.sweep(100, () => assert.fail()),
    100,
  )
})

test('paths of a table that grows are spread over parts that grow one by one', () => {
  for (const isWide of [false, true]) {
    const table = new PathShards(isWide ? 4 : 1, 5)
    const sizes: number[] = []
    let before = table.bytes
    for (let n = 0; n < 60_000; n++) {
      const [high, low] = [n >> 8, n & 255]
      const wide = `${String.fromCharCode(0x20, 1, 0xd, 0xb8, 0, 0, high, low).padEnd(16, '\0')}${String.fromCharCode(64)}`
      table.set(isWide ? wide : prefixOf((n << 8) >>> 0, 24), 0, n, 1)
      if (table.bytes !== before) sizes.push(table.bytes - before)
      before = table.bytes
    }
    assert.equal(table.size, 60_000)
    const largest = Math.max(...sizes)
    assert.ok(largest * 8 < table.bytes, `one step made ${largest} of ${table.bytes} octets`)
  }
})

test('what a table grew out of is given back at once, not when the engine next collects', () => {
  const before = process.memoryUsage().arrayBuffers
  const table = new PathTable(1, 1)
  for (let host = 0; host < 300_000; host++) table.set(prefixOf(0x0a000000 + host, 32), 0, 1, 1)
  // As garbage the smaller columns together were as much again.
  assert.ok(process.memoryUsage().arrayBuffers - before < table.bytes * 1.2)
})

test('a table is never fuller than five eighths, however it grew, and small ones grow by more at a time', () => {
  const table = new PathTable(1, 1)
  const sizes = new Set<number>()
  for (let host = 0; host < 40_000; host++) {
    table.setIpv4(0x0a000000 + host, 32, 1, 1)
    sizes.add(table.slots)
    assert.ok(table.size * 8 <= table.slots * 5, `${table.size} of ${table.slots}`)
  }
  assert.deepEqual([...sizes], [64, 256, 1_024, 4_096, 16_384, 32_768, 65_536])
})
