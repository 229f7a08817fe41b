/** Equality of plain values, with Node's own as the oracle; and lists for people. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { sameValue } from '../../src/desired/same-value.ts'
import { firstInOrder, someOf } from '../../src/desired/some-of.ts'

const plain = fc.object({
  key: fc.constantFrom('a', 'b', 'length', '__proto__', 'constructor'),
  values: [fc.constantFrom(0, -0, 1, Number.NaN, '', 'a', true, false, null, undefined)],
  withNullPrototype: false,
  maxDepth: 3,
})

test('two values are the same when Node says so, whatever order their keys were written in', () => {
  fc.assert(
    fc.property(plain, plain, (a, b) => {
      assert.equal(sameValue(a, b), isDeepStrictEqual(a, b))
      assert.ok(sameValue(a, structuredClone(a)))
      const turned = Object.fromEntries(Object.entries(a).reverse())
      assert.equal(sameValue(a, turned), isDeepStrictEqual(a, turned))
    }),
    { numRuns: 2_000 },
  )
})

test('one change anywhere makes another value', () => {
  fc.assert(
    fc.property(plain, fc.constantFrom('a', 'b', 'new'), (value, key) => {
      const other = structuredClone(value)
      Object.defineProperty(other, key, { value: { changed: true }, enumerable: true, configurable: true })
      assert.equal(sameValue(value, other), false)
      assert.equal(sameValue([value], [other]), false)
    }),
  )
})

test('kinds of values that look alike are not the same', () => {
  const alike: readonly unknown[] = [0, -0, '0', false, null, undefined, '', [], {}, [0], { 0: 0 }, Number.NaN, [[]]]
  for (const [i, a] of alike.entries())
    for (const [j, b] of alike.entries()) assert.equal(sameValue(a, b), i === j, `${i} ${j}`)
})

test('a long list is cut for people, and says by how many', () => {
  const texts = Array.from({ length: 11 }, (_, index) => `t${index}`)
  assert.deepEqual(someOf(texts.slice(0, 8)), texts.slice(0, 8))
  assert.deepEqual(someOf(texts), [...texts.slice(0, 8), 'and 3 more like these'])
  assert.deepEqual(someOf([]), [])
})

test('the first of many texts in order are those of all of them sorted, each once', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 2 })), fc.integer({ min: 1, max: 6 }), (texts, most) =>
      assert.deepEqual(firstInOrder(texts, most), [...new Set(texts)].sort().slice(0, most)),
    ),
  )
})
