/** Terms of sharing out of a record: what was written is read again, and whatever else is there is none. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type SharingTerms, termsObstacle } from '../../src/allocation/sharing.ts'
import { formatTenure, parseTenure, termsIn, termsOf } from '../../src/allocation/tenure.ts'

const name = fc.string({ unit: fc.constantFrom('a', 'b', '*', '"', ';', ' ', '\u00fc', '\n'), maxLength: 5 })
const terms = fc
  .record({
    key: name,
    namespace: fc.constantFrom('x', 'y'),
    sharedWith: fc.array(name, { maxLength: 3 }),
    trafficKey: name,
  })
  .map((each): SharingTerms => ({ ...each, ports: [] }))
const tenureOf = (sharing: SharingTerms) => ({
  terms: termsOf(sharing),
  ports: new Map([['203.0.113.1', ['80/TCP']]]),
})

test('whoever may share with a Service may share with what is recorded of it, and nobody else', () => {
  fc.assert(
    fc.property(terms, terms, (gone, other) => {
      const text = formatTenure(tenureOf(gone))
      assert.ok(text !== undefined)
      const read = termsIn(`${gone.namespace}/web`, parseTenure(text))
      assert.ok(read !== undefined)
      assert.deepEqual(termsObstacle(other, read), termsObstacle(other, gone))
      assert.equal(termsObstacle(gone, read), undefined)
    }),
  )
})

test('a record that says something else has no terms, so that nobody shares with it', () => {
  assert.equal(termsIn('x/web', undefined), undefined)
  for (const text of [
    '',
    'k',
    '[]',
    '{}',
    'null',
    '["k"]',
    '["k",[]]',
    '[1,[],"Cluster"]',
    '["k",[],"Cluster",1]',
    '["k",',
  ])
    assert.equal(termsIn('x/web', { terms: text, ports: new Map() }), undefined, text)
  const odd = termsIn('x/web', { terms: '["k",[1,"y"],"Cluster"]', ports: new Map() })
  assert.deepEqual(odd, { key: 'k', namespace: 'x', sharedWith: ['y'], trafficKey: 'Cluster', ports: [] })
})
