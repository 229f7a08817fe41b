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
  fc.assert(
    fc.property(
      names.filter((list) => list.length > 3),
      fc.nat(),
      (list, pick) => {
        const gone = pick % list.length
        const length = tableLength(list.length)
        const before = maglevTable(list, length)
        const rest = list.filter((_, index) => index !== gone)
        const after = maglevTable(rest, length)
        let moved = 0
        before.forEach((backend, slot) => {
          if (backend !== gone && list[backend] !== rest[after[slot] ?? 0]) moved++
        })
        assert.ok(moved < length * 0.12, `${moved} of ${length} moved without need`)
      },
    ),
    { numRuns: 60 },
  )
})

test('the table is the same on every node and in every version', () => {
  const table = maglevTable(['10.1.0.1:80', '10.1.0.2:80', '10.1.0.3:80'], 13)
  assert.deepEqual([...table], [...maglevTable(['10.1.0.1:80', '10.1.0.2:80', '10.1.0.3:80'], 13)])
  assert.equal([...table].join(''), '1221010202001')
})

test('tables grow with the number of backends, one backend needs none', () => {
  assert.deepEqual([0, 1, 2, 10, 40, 163, 1000].map(tableLength), [0, 0, 251, 1021, 4093, 16381, 65521])
})
