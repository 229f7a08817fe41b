/** Several wishes for one route: what they become depends on what is wished, and on nothing else. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { RouteAttributes } from '../../src/desired/model.ts'
import { united } from '../../src/desired/route-attributes.ts'

const sorted = <T extends number | string>(list: fc.Arbitrary<readonly T[]>): fc.Arbitrary<readonly T[]> =>
  list.map((all) => [...new Set(all)].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0)))
const few = { minLength: 1, maxLength: 4 }
const maxU32 = 0xffff_ffff
const number = fc.constantFrom(0, 1, 2, 100, 0x7fff_ffff, 0x8000_0000, maxU32)
/** As the model has them: lists are ascending and without repetition, and an empty list is not written. */
const attributes: fc.Arbitrary<RouteAttributes> = fc.record(
  {
    communities: sorted(fc.array(number, few)),
    largeCommunities: sorted(fc.array(fc.constantFrom('65001:1:2', '65001:1:10', '0:0:0', '4294967295:9:9'), few)),
    localPreference: number,
    med: number,
    asPathPrepend: fc.integer({ min: 1, max: 10 }),
    extendedCommunities: sorted(
      fc.array(fc.constantFrom('0002fde800000064', '0006000000000000', 'ffffffffffffffff'), few),
    ),
  },
  { requiredKeys: [], noNullPrototype: true },
)
const wishes = fc.array(attributes, { maxLength: 5 })

/** Each field on its own, written as the sentence that the documentation has. */
function model(all: readonly RouteAttributes[]): RouteAttributes {
  const found: Record<string, unknown> = {}
  for (const key of ['communities', 'largeCommunities', 'extendedCommunities'] as const) {
    const members = new Set<number | string>()
    for (const one of all) for (const member of one[key] ?? []) members.add(member)
    if (members.size > 0) found[key] = [...members].sort((a, b) => (a < b ? -1 : 1))
  }
  for (const one of all) {
    const { localPreference, med, asPathPrepend } = one
    if (localPreference !== undefined)
      found['localPreference'] = Math.max(localPreference, Number(found['localPreference'] ?? localPreference))
    if (med !== undefined) found['med'] = Math.min(med, Number(found['med'] ?? med))
    if (asPathPrepend !== undefined)
      found['asPathPrepend'] = Math.max(asPathPrepend, Number(found['asPathPrepend'] ?? asPathPrepend))
  }
  return found
}

test('communities are united, the highest local preference, the lowest MED and the longest prepend hold', () => {
  fc.assert(fc.property(wishes, (all) => assert.deepEqual(united(all), model(all))))
})

test('the order of wishes says nothing, nor does their text: equal ones are the same JSON', () => {
  fc.assert(
    fc.property(fc.array(attributes, { minLength: 2, maxLength: 5 }), fc.nat(4), (all, turn) => {
      const others = [...all.slice(turn % all.length), ...all.slice(0, turn % all.length)].toReversed()
      assert.equal(JSON.stringify(united(others)), JSON.stringify(united(all)))
    }),
  )
})

test('wishes may be united in parts: (a, b), c is a, (b, c) and all three', () => {
  fc.assert(
    fc.property(attributes, attributes, attributes, (a, b, c) => {
      const whole = united([a, b, c])
      assert.deepEqual(united([united([a, b]), c]), whole)
      assert.deepEqual(united([a, united([b, c])]), whole)
    }),
  )
})

test('a wish that is said twice is said once, none adds nothing, and what came out comes out again', () => {
  fc.assert(
    fc.property(wishes, attributes, (all, one) => {
      assert.deepEqual(united([one]), one)
      assert.deepEqual(united([one, one]), one)
      assert.deepEqual(united([one, {}]), one)
      assert.deepEqual(united([united(all), ...all]), united(all))
    }),
  )
  assert.deepEqual(united([]), {})
})

test('0 is a value: a MED of 0 is the lowest, a local preference of 0 is said', () => {
  assert.deepEqual(united([{ med: 0 }, { med: 7 }]), { med: 0 })
  assert.deepEqual(united([{ localPreference: 0 }, {}]), { localPreference: 0 })
  assert.deepEqual(united([{ communities: [0] }, { communities: [maxU32, maxU32] }]), { communities: [0, maxU32] })
})

test('communities are sorted as numbers: as text 10 would be before 9', () => {
  assert.deepEqual(united([{ communities: [10, 9] }, { communities: [1000, 2] }]).communities, [2, 9, 10, 1000])
})

test('what was wished is not changed', () => {
  fc.assert(
    fc.property(wishes, (all) => {
      const before = structuredClone(all)
      united(all.map((one) => Object.freeze(one)))
      assert.deepEqual(all, before)
    }),
  )
})
