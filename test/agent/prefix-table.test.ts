import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { PrefixTable } from '../../src/agent/prefix-table.ts'
import { united } from '../../src/desired/route-attributes.ts'
import type { Route, RouteAttributes } from '../../src/desired/model.ts'

const prefix = '203.0.113.0/24'
const route = (neighbors: readonly string[], attributes: RouteAttributes = {}): Route => ({
  prefix,
  neighbors,
  attributes,
})

test(
  'two Services that share a prefix announce it once, with the attributes of both, and it stays while one ' +
    'wants it',
  () => {
    const table = new PrefixTable()
    table.set('a', [route(['n1', 'n2'], { communities: [1], localPreference: 100, med: 9 })])
    table.set('b', [route(['n2'], { communities: [2], localPreference: 200, med: 5 })])
    assert.deepEqual(table.merged(prefix).routes, [
      { neighbors: ['n1'], attributes: { communities: [1], localPreference: 100, med: 9 } },
      { neighbors: ['n2'], attributes: { communities: [1, 2], localPreference: 200, med: 5 } },
    ])
    table.set('a', [])
    assert.deepEqual(table.merged(prefix).routes, [
      { neighbors: ['n2'], attributes: { communities: [2], localPreference: 200, med: 5 } },
    ])
    table.set('b', [])
    assert.deepEqual(table.merged(prefix).routes, [])
  },
)

test('many Services inside one aggregate are one route', () => {
  const table = new PrefixTable()
  for (let i = 0; i < 100; i++) table.set(`service${i}`, [route(['n1', 'n2'])])
  assert.deepEqual(table.merged(prefix).routes, [{ neighbors: ['n1', 'n2'], attributes: {} }])
})

const attributes: fc.Arbitrary<RouteAttributes> = fc.record(
  {
    communities: fc.uniqueArray(fc.nat({ max: 5 }), { minLength: 1 }),
    largeCommunities: fc.uniqueArray(fc.constantFrom('1:1:1', '2:2:2'), { minLength: 1 }),
    localPreference: fc.nat({ max: 3 }),
    med: fc.nat({ max: 3 }),
    asPathPrepend: fc.nat({ max: 3 }),
    extendedCommunities: fc.uniqueArray(fc.constantFrom('0002fde800000064', '0003fde800000064'), { minLength: 1 }),
  },
  { requiredKeys: [] },
)

test('the union of attributes is the same in any order, and again the same when it is made twice', () => {
  const lists = fc
    .array(attributes, { minLength: 1, maxLength: 5 })
    .chain((all) => fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length })))
  fc.assert(
    fc.property(lists, ([all, shuffled]) => {
      const sorted = (one: RouteAttributes): RouteAttributes => united([one, one])
      assert.deepEqual(sorted(united(all)), sorted(united(shuffled)))
      assert.deepEqual(united([united(all), ...all]), sorted(united(all)))
    }),
  )
})
