import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { maglevTable, tableLength } from '../../src/datapath/maglev.ts'

const names = fc
  .uniqueArray(
    fc
      .tuple(fc.nat(255), fc.nat(255), fc.integer({ min: 1, max: 65535 }))
      .map(([a, b, port]) => `10.0.${a}.${b}:${port}`),
    { minLength: 2, maxLength: 60 },
  )
  .map((list) => list.sort())

test('every backend gets its share of the slots, within one table row', () => {
  fc.assert(
    fc.property(names, (list) => {
      const table = maglevTable(list, tableLength(list.length))
      const share = new Array<number>(list.length).fill(0)
      for (const backend of table) share[backend] = (share[backend] ?? 0) + 1
      assert.ok(Math.max(...share) - Math.min(...share) <= 1, String(share))
    }),
    { numRuns: 60 },
  )
})

test('when a backend leaves, few slots of the others move', () => {
  const lists = names.filter((list) => list.length > 3)
  const parts = fc.sample(fc.tuple(lists, fc.nat()), 300).map(([list, pick]) => {
    const gone = pick % list.length
    const length = tableLength(list.length)
    const before = maglevTable(list, length)
    const rest = list.filter((_, index) => index !== gone)
    const after = maglevTable(rest, length)
    const moved = before.filter((backend, slot) => backend !== gone && list[backend] !== rest[after[slot] ?? 0])
    return moved.length / length
  })
  // Of four backends whose orders happen to be alike it is a third, once in ten thousand times.
  const mean = parts.reduce((sum, part) => sum + part, 0) / parts.length
  assert.ok(mean < 0.05, `${mean} of the slots moved without need`)
})

test('the table is the same on every node and in every version', () => {
  const table = maglevTable(['10.1.0.1:80', '10.1.0.2:80', '10.1.0.3:80'], 13)
  assert.deepEqual([...table], [...maglevTable(['10.1.0.1:80', '10.1.0.2:80', '10.1.0.3:80'], 13)])
  assert.equal([...table].join(''), '1221010202001')
})

/** FNV-1a with a final mix, as every version has it. */
function hashOf(text: string, seed: number): number {
  let value = 0x811c9dc5 ^ seed
  for (const character of text) value = Math.imul(value ^ character.charCodeAt(0), 0x01000193)
  for (const [shift, factor] of [
    [16, 0x85ebca6b],
    [13, 0xc2b2ae35],
  ] as const)
    value = Math.imul(value ^ (value >>> shift), factor)
  return (value ^ (value >>> 16)) >>> 0
}

/** The algorithm of the paper, word by word (section 3.4, pseudocode 1). */
function byThePaper(list: readonly string[], length: number): number[] {
  const orders = list.map((name) => {
    const [offset, stride] = [hashOf(name, 0x0ff5e7) % length, (hashOf(name, 0x571de) % (length - 1)) + 1]
    return Array.from({ length }, (_, n) => (offset + n * stride) % length)
  })
  const table = new Array<number>(length).fill(-1)
  const next = list.map(() => 0)
  for (let filled = 0; filled < length; )
    for (const [backend, order] of orders.entries()) {
      while (table[order[next[backend] ?? 0] ?? 0] !== -1) next[backend] = (next[backend] ?? 0) + 1
      table[order[next[backend] ?? 0] ?? 0] = backend
      if (++filled === length) break
    }
  return table
}

test('a table is the one that the algorithm of the paper makes, to the last slot', () => {
  for (const length of [13, 251, 1021, 4093])
    fc.assert(
      fc.property(names, (list) => {
        const some = list.slice(0, Math.min(list.length, length - 1))
        assert.deepEqual([...maglevTable(some, length)], byThePaper(some, length))
      }),
      { numRuns: 15 },
    )
})

test('a table is written into memory that had a longer one', () => {
  const list = ['10.1.0.1:80', '10.1.0.2:80']
  const memory = new Int32Array(1021).fill(7)
  maglevTable(list, 251, { table: memory })
  assert.deepEqual([...memory.subarray(0, 251)], [...maglevTable(list, 251)])
  assert.ok(memory.subarray(251).every((slot) => slot === 7))
})

test('tables grow with the number of backends, one backend needs none', () => {
  assert.deepEqual([0, 1, 2, 10, 40, 163, 1000].map(tableLength), [0, 0, 251, 1021, 4093, 16381, 65521])
})
