/** The one mechanism of last good parts. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { fault, type Narrowed } from '../../src/k8s/kinds/narrow.ts'
import { narrowParts } from '../../src/k8s/kinds/parts.ts'

interface Thing {
  readonly name: string | undefined
  /** undefined: broken. */
  readonly value: number | undefined
}

const judge = (entries: readonly Thing[], before: ReadonlyMap<string, number>) =>
  narrowParts<number, Thing>(
    entries.map((entry, index) => [['list', index], entry]),
    {
      what: 'this thing',
      before,
      keyOf: ({ name }) => name,
      parse: ({ name, value }, { at, meanwhile }): Narrowed<number> =>
        value === undefined || name === undefined
          ? { faults: [fault('error', at, 'InvalidField', 'broken', meanwhile)] }
          : { value, faults: [] },
      twice: (at) => fault('error', at, 'DuplicateNeighbor', 'twice', 'Remove one.'),
    },
  )
const inForce = (entries: readonly Thing[], before: ReadonlyMap<string, number>): Readonly<Record<string, number>> =>
  Object.fromEntries(judge(entries, before).parts.map(({ key, value }) => [key, value]))

test('a broken part is what it was; one that was never good is left out; one that is not written is gone', () => {
  const before = new Map([
    ['a', 1],
    ['b', 2],
    ['c', 3],
  ])
  assert.deepEqual(
    inForce(
      [
        { name: 'a', value: 9 },
        { name: 'b', value: undefined },
      ],
      before,
    ),
    { a: 9, b: 2 },
  )
  assert.deepEqual(inForce([{ name: 'x', value: undefined }], before), {})
  assert.deepEqual(inForce([], before), {})
  const { faults } = judge(
    [
      { name: 'b', value: undefined },
      { name: 'x', value: undefined },
    ],
    before,
  )
  assert.deepEqual(
    faults.map(({ remedy }) => remedy),
    ['the last good version of this thing stays in force', 'this thing is left out until then'],
  )
})

test('a part that does not say which one it is stands for all that are not written any more', () => {
  const before = new Map([
    ['a', 1],
    ['b', 2],
    ['c', 3],
  ])
  const odd = { name: undefined, value: 7 }
  assert.deepEqual(inForce([{ name: 'a', value: 9 }, odd], before), { a: 9, b: 2, c: 3 })
  assert.deepEqual(inForce([odd, odd], new Map()), {})
})

test('of two parts with one name the first that is good counts', () => {
  assert.deepEqual(
    inForce(
      [
        { name: 'a', value: 1 },
        { name: 'a', value: 2 },
      ],
      new Map(),
    ),
    { a: 1 },
  )
  assert.deepEqual(
    inForce(
      [
        { name: 'a', value: undefined },
        { name: 'a', value: 2 },
      ],
      new Map(),
    ),
    { a: 2 },
  )
})

test('whatever is written: a good part is as written, and nothing else comes than what was in force', () => {
  const name = fc.constantFrom('a', 'b', 'c', 'd')
  const thing = fc.record({
    name: fc.oneof(name, fc.constant(undefined)),
    value: fc.oneof(fc.nat(9), fc.constant(undefined)),
  })
  fc.assert(
    fc.property(fc.array(thing), fc.dictionary(name, fc.integer({ min: 10, max: 19 })), (entries, known) => {
      const before = new Map(Object.entries(known))
      const found = inForce(entries, before)
      for (const [key, value] of Object.entries(found)) {
        const isWritten = entries.some((entry) => entry.name === key && entry.value === value)
        assert.ok(isWritten || before.get(key) === value)
      }
      for (const { name: key, value } of entries)
        if (key !== undefined && value !== undefined) assert.ok(key in found, `${key} is good and in force`)
      // All that was said again, though broken, is in force.
      for (const { name: key } of entries) if (key !== undefined && before.has(key)) assert.ok(key in found)
    }),
  )
})

test('of entries that do not say which part they are ten are judged, and the others counted: none would be a part', () => {
  const before = new Map(Array.from({ length: 1_000 }, (_, index) => [`held${index}`, index] as const))
  let judged = 0
  const entries = Array.from({ length: 5_000 }, (_, index) => [['list', index], {}] as const)
  const { parts, faults } = narrowParts<number>([...entries, [['list', 5_000], { name: 'last' }]], {
    what: 'this thing',
    before,
    keyOf: (entry) => (JSON.stringify(entry) === '{}' ? undefined : 'last'),
    parse: (entry, { at }) => {
      judged++
      return JSON.stringify(entry) === '{}'
        ? { faults: [fault('error', at, 'InvalidField', 'broken', 'Mend it.')] }
        : { value: 7, faults: [] }
    },
  })
  assert.deepEqual([judged, faults.length, faults.at(-1)?.others], [11, 11, 4_990])
  // What is not written any more stays: each may be one of them.
  assert.deepEqual([parts.length, parts.at(-1)?.value], [1_001, 7])
})
