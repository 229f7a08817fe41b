/** The sums by which one version of an object is told from the next. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { digestOf } from '../../src/k8s/documents.ts'
import { fingerprintOf } from '../../src/k8s/fingerprint.ts'
import { lossOf, shapeOf } from '../../src/k8s/shape.ts'
import { readYaml } from '../../src/k8s/yaml.ts'

const odd = ['"', '\\', '\n', '\u0000', '\u001f', '\u007f', '\u2028', '\ud800', 'x\udfffy', '\ud83d\ude00', 'é', '']

test('a fingerprint is the same whatever the order of keys, and another one for another order of items', () => {
  const one = fingerprintOf({ b: [1, 2], a: { d: 0, c: undefined, e: ['x', { f: true }] } })
  assert.equal(one, fingerprintOf({ a: { c: null, e: ['x', { f: true }], d: -0 }, b: [1, 2] }))
  assert.notEqual(fingerprintOf([1, 2]), fingerprintOf([2, 1]))
})

test('values are equal where their fingerprints are, and only there', () => {
  const value = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { depthSize: 'small' },
      fc.constantFrom<unknown>(null, true, false, 0, 1, '', '0', '1', 'true', 'null', 'a', 'b', 'ab', ...odd),
      fc.array(tie('value'), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom('a', 'b', '0', '', ...odd), tie('value'), { maxKeys: 3, noNullPrototype: true }),
    ),
  })).value
  const seen = new Map<unknown, unknown>()
  fc.assert(
    fc.property(value, (each) => {
      const digest = fingerprintOf(each)
      assert.ok(Number.isSafeInteger(digest))
      if (seen.has(digest)) assert.deepEqual(seen.get(digest), each)
      else for (const other of seen.values()) assert.notDeepStrictEqual(other, each)
      if (seen.size < 300 || seen.has(digest)) seen.set(digest, each)
    }),
    { numRuns: 3000 },
  )
})

test('ten thousand objects that differ in one port or one name have as many fingerprints', () => {
  const digests = new Set<unknown>()
  for (let n = 0; n < 10_000; n++) {
    digests.add(fingerprintOf({ spec: { ports: [{ port: n, name: 'a' }] } }))
    digests.add(fingerprintOf({ spec: { ports: [{ port: 0, name: `n${n}` }] } }))
  }
  assert.equal(digests.size, 20_000)
})

test('a fingerprint is refused with the place of what is against it', () => {
  const refused = fingerprintOf({ a: [0, { b: Number.NaN }] })
  assert.ok(typeof refused === 'object')
  assert.deepEqual(refused.path, ['a', 1, 'b'])
})

test('the shape of an object is JSON whatever its keys and identities are, and a lost key is found below them', () => {
  for (const text of odd) {
    const before = { [text]: [{ name: text, kept: 1, lost: 'two\nlines' }, null, 7] }
    const after = { [text]: [{ name: text, kept: 2 }, null, 7] }
    assert.doesNotThrow(() => JSON.parse(shapeOf(before)))
    assert.equal(lossOf(shapeOf(before), shapeOf(before)), undefined)
    assert.deepEqual(lossOf(shapeOf(before), shapeOf(after)), [text, 0])
  }
})

test('the digests of texts that differ by little, short or long, all differ', () => {
  for (const filling of ['', 'x'.repeat(300), 'x'.repeat(5_000)]) {
    const digests = new Set<number>()
    const count = filling.length > 4_096 ? 2_000 : 20_000
    for (let n = 0; n < count; n++) {
      digests.add(digestOf(`{"port":${n},${filling}"name":"a"}`))
      digests.add(digestOf(`{"port":1,${filling}"name":"${n}"}`))
    }
    assert.equal(digests.size, count * 2)
    assert.ok([...digests].every((digest) => Number.isSafeInteger(digest) && digest >= 0))
  }
})

test('a key beside a merge key is doubled when it was written twice, not when it was merged', () => {
  const doubled = (text: string): number => {
    const read = readYaml(`base: &base {a: 1, __proto__: 1}\nuse:\n${text}`)
    assert.ok('value' in read)
    return read.doubledKeys.length
  }
  assert.equal(doubled('  <<: *base\n  a: 2\n  __proto__: 2\n'), 0)
  assert.equal(doubled('  a: 2\n  <<: *base\n'), 0)
  assert.equal(doubled('  <<: *base\n  a: 2\n  a: 3\n'), 1)
  assert.equal(doubled('  a: 2\n  <<: *base\n  a: 3\n'), 1)
  assert.equal(doubled('  __proto__: 2\n  __proto__: 3\n'), 1)
  assert.equal(doubled('  toString: 2\n'), 0)
})
