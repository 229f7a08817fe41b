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

test('prefixes that are wanted alike have one list of routes, so that a message has it once', () => {
  const table = new PrefixTable()
  const [neighbors, both, said] = [['n1'], ['n1', 'n2'], { communities: [1] }]
  const wish = (of: string, to: readonly string[], what: RouteAttributes): Route => ({
    prefix: of,
    neighbors: to,
    attributes: what,
  })
  table.set('a', [wish('203.0.113.1/32', neighbors, said)])
  table.set('b', [wish('203.0.113.2/32', neighbors, said)])
  table.set('c', [wish('203.0.113.3/32', both, said)])
  table.set('d', [wish('203.0.113.4/32', neighbors, { communities: [2] })])
  const [a, b, c, d] = [1, 2, 3, 4].map((n) => table.merged(`203.0.113.${n}/32`).routes)
  assert.equal(a, b)
  assert.deepEqual(a, [{ neighbors: ['n1'], attributes: { communities: [1] } }])
  assert.deepEqual(c, [{ neighbors: ['n1', 'n2'], attributes: { communities: [1] } }])
  assert.deepEqual(d, [{ neighbors: ['n1'], attributes: { communities: [2] } }])
  assert.ok(structuredClone([a, b]).every((each, _, [first]) => each === first))
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

const said = fc.record({
  owner: fc.constantFrom('a', 'b', 'c'),
  routes: fc.array(
    fc.record({
      prefix: fc.constantFrom('203.0.113.0/24', '192.0.2.1/32'),
      neighbors: fc.constantFrom(['n1'], ['n1', 'n2'], ['n2']),
      attributes: fc.constantFrom<RouteAttributes>({}, { communities: [1] }, { communities: [2], med: 3 }),
    }),
    { maxLength: 2 },
  ),
})

test('whatever owners said before, the table is what their last words make, and tells of each prefix that is another', () => {
  fc.assert(
    fc.property(fc.array(said, { maxLength: 12 }), (history) => {
      const table = new PrefixTable()
      const last = new Map<string, readonly Route[]>()
      const prefixes = ['203.0.113.0/24', '192.0.2.1/32']
      const mergedOf = (from: PrefixTable): readonly string[] =>
        prefixes.map((each) => JSON.stringify(from.merged(each).routes))
      for (const { owner, routes } of history) {
        const [before, version] = [mergedOf(table), table.version]
        const had = prefixes.map((each) => table.has(each))
        const told = table.set(owner, routes)
        last.set(owner, routes)
        const after = mergedOf(table)
        for (const [i, each] of prefixes.entries()) if (before[i] !== after[i]) assert.ok(told.has(each), each)
        const isOther = prefixes.some((each, i) => table.has(each) !== had[i])
        assert.equal(table.version !== version, isOther, 'the version is of prefixes that come and go')
      }
      const fresh = new PrefixTable()
      for (const [owner, routes] of last) fresh.set(owner, routes)
      assert.deepEqual(new Set(table.prefixes), new Set(fresh.prefixes))
      for (const each of prefixes) assert.deepEqual(table.merged(each), fresh.merged(each))
    }),
  )
})
