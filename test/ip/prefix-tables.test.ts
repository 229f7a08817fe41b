import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Prefix, prefixOf } from '../../src/ip/prefix.ts'
import { PrefixMap, PrefixSet } from '../../src/ip/prefix-tables.ts'

const prefixes = fc.oneof(
  fc.tuple(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.integer({ min: 0, max: 32 })).map(([a, l]) => prefixOf(a, l)),
  fc
    .tuple(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.integer({ min: 0, max: 128 }))
    .map(([octets, length]) => prefixOf(String.fromCharCode(...octets), length)),
)

test('a map and a set of prefixes do what those of the language do, in the same order', () => {
  const step = fc.tuple(fc.constantFrom('set', 'delete'), fc.integer({ min: 0, max: 9 }), fc.integer())
  fc.assert(
    fc.property(fc.array(prefixes, { minLength: 10, maxLength: 10 }), fc.array(step), (all, steps) => {
      const [model, map, set] = [new Map<Prefix, number>(), new PrefixMap<number>(), new PrefixSet()]
      for (const [what, at, value] of steps) {
        const prefix = all[at] as Prefix
        if (what === 'set') {
          model.set(prefix, value)
          map.set(prefix, value)
          set.add(prefix)
        } else assert.deepEqual([map.delete(prefix), set.delete(prefix)], Array(2).fill(model.delete(prefix)))
        assert.deepEqual([[...map.keys()], [...set]], [[...model.keys()], [...model.keys()]])
        assert.deepEqual([map.size, set.size, map.has(prefix)], [model.size, model.size, model.has(prefix)])
        assert.equal(map.get(prefix), model.get(prefix))
      }
      set.clear()
      assert.deepEqual([...set], [])
    }),
  )
})

test('prefixes may come and go while all of them are gone through', () => {
  const set = new PrefixSet()
  for (let i = 0; i < 4; i++) set.add(i * 64 + 32)
  const seen: Prefix[] = []
  for (const prefix of set) {
    seen.push(prefix)
    if (prefix === 32) {
      set.delete(64 + 32)
      set.add(9 * 64 + 32)
    }
  }
  assert.deepEqual(
    seen,
    [0, 2, 3, 9].map((i) => i * 64 + 32),
  )
})
