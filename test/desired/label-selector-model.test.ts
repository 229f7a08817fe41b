/**
 * Selectors against a model that is the text itself: `formatSelector` writes what kubectl takes after `-l`, and the
 * reader below judges that text by the grammar of k8s.io/apimachinery/pkg/labels, requirement by requirement.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { formatSelector, type Labels, type LabelSelector, selectorMatches } from '../../src/desired/label-selector.ts'

type Requirement = NonNullable<LabelSelector['matchExpressions']>[number]

// Few names, so that they meet; among them what every object of the language has, and what Kubernetes allows.
const keys = ['app', 'tier', 'example.org/app', 'constructor', '__proto__', 'toString', 'a.b_c-d'] as const
const values = ['', 'web', 'db', 'true', '1', 'constructor', 'In'] as const

const key = fc.constantFrom(...keys)
const value = fc.constantFrom(...values)
/** As parsed from JSON: `__proto__` is a label like any other. */
const labels: fc.Arbitrary<Labels> = fc
  .uniqueArray(fc.tuple(key, value), { selector: ([name]) => name, maxLength: 5 })
  .map((entries) => Object.fromEntries(entries))
const requirement: fc.Arbitrary<Requirement> = fc.oneof(
  fc.record(
    { key, operator: fc.constantFrom('In', 'NotIn'), values: fc.array(value, { minLength: 1, maxLength: 3 }) },
    { noNullPrototype: true },
  ),
  fc.record({ key, operator: fc.constantFrom('Exists', 'DoesNotExist') }, { noNullPrototype: true }),
)
const selector: fc.Arbitrary<LabelSelector> = fc.record(
  {
    matchLabels: fc.option(labels, { nil: undefined }),
    matchExpressions: fc.option(fc.array(requirement, { maxLength: 4 }), { nil: undefined }),
  },
  { noNullPrototype: true },
)

/** Whether `-l text` selects labels, as the documentation of labels says it in words. */
function selects(text: string, found: ReadonlyMap<string, string>): boolean {
  if (text === 'everything') return true
  const one = /(?:^|,)(?:(!)([^,\s=()]+)|([^,\s=()]+)(?:=([^,\s()]*)| (in|notin) \(([^)]*)\))?)(?=,|$)/y
  let holds = true
  while (one.lastIndex < text.length) {
    const match = one.exec(text)
    assert.ok(match !== null, `not understood: ${text}`)
    const [, not, absent = '', name = absent, equal, operator, list = ''] = match
    const label = found.get(name)
    if (not !== undefined) holds &&= label === undefined
    else if (equal !== undefined) holds &&= label === equal
    else if (operator === 'in') holds &&= label !== undefined && list.split(',').includes(label)
    else if (operator === 'notin') holds &&= label === undefined || !list.split(',').includes(label)
    else holds &&= label !== undefined
  }
  return holds
}

const mapOf = (found: Labels): ReadonlyMap<string, string> => new Map(Object.entries(found))

test('a selector matches what its text, as kubectl takes it, selects', () => {
  const seen = { yes: 0, no: 0 }
  fc.assert(
    fc.property(selector, labels, (one, found) => {
      const matches = selectorMatches(one, found)
      seen[matches ? 'yes' : 'no']++
      assert.equal(matches, selects(formatSelector(one), mapOf(found)), formatSelector(one))
    }),
    { numRuns: 2_000 },
  )
  assert.ok(seen.yes > 100 && seen.no > 100, JSON.stringify(seen))
})

test('NotIn is what In is not, DoesNotExist what Exists is not, and a label that must be equal is In a list of one', () => {
  fc.assert(
    fc.property(key, fc.array(value, { maxLength: 3 }), labels, value, (name, list, found, equal) => {
      const judged = (each: Requirement): boolean => selectorMatches({ matchExpressions: [each] }, found)
      assert.notEqual(
        judged({ key: name, operator: 'In', values: list }),
        judged({ key: name, operator: 'NotIn', values: list }),
      )
      assert.notEqual(judged({ key: name, operator: 'Exists' }), judged({ key: name, operator: 'DoesNotExist' }))
      assert.equal(
        selectorMatches({ matchLabels: Object.fromEntries([[name, equal]]) }, found),
        judged({ key: name, operator: 'In', values: [equal] }),
      )
    }),
  )
})

test('requirements hold together: their order says nothing, one said twice says it once, one more selects no more', () => {
  fc.assert(
    fc.property(fc.array(requirement, { maxLength: 4 }), requirement, labels, (all, more, found) => {
      const judged = (matchExpressions: readonly Requirement[]): boolean => selectorMatches({ matchExpressions }, found)
      const matches = judged(all)
      assert.equal(judged(all.toReversed()), matches)
      assert.equal(judged([...all, ...all]), matches)
      assert.equal(judged([...all, more]), matches && judged([more]))
    }),
  )
})

test('an absent part of a selector is an empty one, and a label more than it names changes nothing', () => {
  fc.assert(
    fc.property(selector, labels, (one, found) => {
      const { matchLabels = {}, matchExpressions = [] } = one
      const matches = selectorMatches(one, found)
      assert.equal(selectorMatches({ matchLabels, matchExpressions }, found), matches)
      assert.equal(selectorMatches(one, { ...found, 'unnamed.example.org/label': 'x' }), matches)
    }),
  )
})

test('what every object of the language has is no label, and a label of such a name is one', () => {
  for (const name of ['constructor', '__proto__', 'toString', 'hasOwnProperty', 'valueOf']) {
    const exists: LabelSelector = { matchExpressions: [{ key: name, operator: 'Exists' }] }
    const absent: LabelSelector = { matchExpressions: [{ key: name, operator: 'DoesNotExist' }] }
    const equal: LabelSelector = { matchLabels: JSON.parse(`{${JSON.stringify(name)}: "x"}`) }
    const labelled: Labels = JSON.parse(`{${JSON.stringify(name)}: "x"}`)
    assert.deepEqual(
      [exists, absent, equal].map((one) => [selectorMatches(one, {}), selectorMatches(one, labelled)]),
      [
        [false, true],
        [true, false],
        [false, true],
      ],
      name,
    )
  }
})
