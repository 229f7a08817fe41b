import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { PathAttributes } from '../../src/bgp/messages/types.ts'
import { AttributeTable } from '../../src/rib/attribute-table.ts'

const attributes: fc.Arbitrary<PathAttributes> = fc.record(
  {
    med: fc.nat({ max: 2 }),
    localPref: fc.nat({ max: 2 }),
    communities: fc.array(fc.nat({ max: 2 }), { maxLength: 2 }),
    asPath: fc.array(fc.record({ type: fc.constant(2), asns: fc.array(fc.nat({ max: 2 }), { maxLength: 2 }) }), {
      maxLength: 2,
    }),
    unknown: fc.array(
      fc.record({ flags: fc.constant(0xc0), type: fc.nat({ max: 1 }), value: fc.uint8Array({ maxLength: 2 }) }),
      { maxLength: 1 },
    ),
  },
  { requiredKeys: [] },
)

/** The same fields, written in another order, with what is absent said to be undefined. */
const rewritten = (one: PathAttributes): PathAttributes =>
  Object.fromEntries([...Object.entries(structuredClone(one)).reverse(), ['aggregator', undefined]])

test('equal content is one object and other content another one, however it was written', () => {
  fc.assert(
    fc.property(fc.array(attributes, { maxLength: 20 }), (list) => {
      const table = new AttributeTable()
      const interned = list.map((one) => table.intern(one))
      for (const [i, one] of list.entries()) assert.equal(table.intern(rewritten(one)), interned[i])
      for (const one of interned)
        for (const other of interned) {
          const isEqual = JSON.stringify(sorted(one)) === JSON.stringify(sorted(other))
          assert.equal(one === other, isEqual)
        }
      assert.equal(table.size, new Set(interned).size)
      assert.ok(
        interned.every((one) => Object.isFrozen(one)),
        'what is shared is not changed by anybody',
      )
    }),
  )
})

const sorted = (one: PathAttributes): unknown =>
  Object.entries(one)
    .filter(([, value]) => value !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))

test('what is in use is kept as it is, and the rest is forgotten', () => {
  const table = new AttributeTable()
  const all = [0, 1, 2, 3].map((med) => table.intern({ med }))
  table.keepOnly(new Set([all[1], all[3]].filter((one) => one !== undefined)))
  assert.equal(table.size, 2)
  assert.equal(table.intern({ med: 1 }), all[1])
  assert.notEqual(table.intern({ med: 0 }), all[0])
})
