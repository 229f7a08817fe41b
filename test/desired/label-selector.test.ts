import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatSelector, selectorMatches, type LabelSelector } from '../../src/desired/label-selector.ts'

const labels = { app: 'web', tier: 'front' }

test('all requirements of a selector must hold; an empty one matches everything', () => {
  const cases: readonly (readonly [LabelSelector, boolean, string])[] = [
    [{}, true, 'everything'],
    [{ matchLabels: { app: 'web' } }, true, 'app=web'],
    [{ matchLabels: { app: 'web', tier: 'back' } }, false, 'app=web,tier=back'],
    [{ matchExpressions: [{ key: 'app', operator: 'In', values: ['api', 'web'] }] }, true, 'app in (api,web)'],
    [{ matchExpressions: [{ key: 'app', operator: 'In', values: [] }] }, false, 'app in ()'],
    [{ matchExpressions: [{ key: 'zone', operator: 'NotIn', values: ['a'] }] }, true, 'zone notin (a)'],
    [{ matchExpressions: [{ key: 'app', operator: 'NotIn', values: ['web'] }] }, false, 'app notin (web)'],
    [{ matchExpressions: [{ key: 'app', operator: 'Exists' }] }, true, 'app'],
    [{ matchExpressions: [{ key: 'app', operator: 'DoesNotExist' }] }, false, '!app'],
    [
      { matchLabels: { app: 'web' }, matchExpressions: [{ key: 'tier', operator: 'DoesNotExist' }] },
      false,
      'app=web,!tier',
    ],
    [{ matchExpressions: [{ key: 'constructor', operator: 'Exists' }] }, false, 'constructor'],
  ]
  for (const [selector, matches, text] of cases)
    assert.deepEqual([selectorMatches(selector, labels), formatSelector(selector)], [matches, text])
})
