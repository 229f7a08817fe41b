/** What a Service had of shared ports, as text that a condition or a line of the record carries. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  formatTenure,
  hasOtherTerms,
  parseTenure,
  standingOf,
  type Tenure,
  termsOf,
} from '../../src/allocation/tenure.ts'

const sharing = { key: 'k', namespace: 'shop', sharedWith: ['b', 'a'], trafficKey: 'Cluster', ports: ['80/TCP'] }
const tenure: Tenure = {
  terms: termsOf(sharing),
  ports: new Map([
    ['198.51.100.0', ['80/TCP', '53/UDP']],
    ['2001:db8::1', ['80/TCP', '53/UDP']],
    ['198.51.100.9', []],
  ]),
}

test('the text groups addresses that have the same ports, and is read back', () => {
  const text = '80/TCP 53/UDP of 198.51.100.0, 2001:db8::1; none of 198.51.100.9; shared as ["k",["a","b"],"Cluster"]'
  assert.equal(formatTenure(tenure), text)
  assert.deepEqual(parseTenure(text), tenure)
})

test('what nobody of ours wrote is no record, and nothing that anybody writes throws', () => {
  for (const text of [
    '',
    'of',
    '80/TCP of x; shared as []',
    '80 of 198.51.100.0; shared as []',
    '80/TCP of 198.51.100.0',
  ])
    assert.equal(parseTenure(text), undefined, text)
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => void parseTenure(`${text}; shared as []`)))
})

test('of more than a condition has room for nothing is recorded', () => {
  const ports = Array.from({ length: 4000 }, (_, index) => `${index + 1}/TCP`)
  assert.equal(formatTenure({ terms: '', ports: new Map([['198.51.100.0', ports]]) }), undefined)
})

test('other terms are another key, other namespaces or another traffic policy; not other ports, nor another order', () => {
  assert.equal(hasOtherTerms(tenure, { ...sharing, ports: ['81/TCP'], sharedWith: ['a', 'b'] }), false)
  for (const other of [{ key: 'l' }, { sharedWith: ['a'] }, { trafficKey: 'Local []' }])
    assert.equal(hasOtherTerms(tenure, { ...sharing, ...other }), true)
  assert.equal(hasOtherTerms(tenure, undefined), true, 'who shares no more')
  assert.equal(hasOtherTerms(undefined, sharing), false, 'of whom nothing is recorded')
  assert.deepEqual(
    [standingOf(tenure, sharing), standingOf(undefined, sharing), standingOf(tenure, undefined)],
    [0, 1, 2],
  )
})
