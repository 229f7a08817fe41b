/** Keys and values of labels against the lists by which apimachinery tests its own judgement. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { labelSelectorSchema } from '../../src/k8s/kinds/label-syntax.ts'
import { processorMs } from '../processor-time.ts'

const long = (length: number): string => 'a'.repeat(length)
const takes = (selector: unknown): boolean => labelSelectorSchema.safeParse(selector).success

const goodKeys = [
  'simple',
  'now-with-dashes',
  '1-starts-with-num',
  '1234',
  'simple/simple',
  'now-with-dashes/simple',
  'now-with-dashes/now-with-dashes',
  'now.with.dots/simple',
  'now-with.dashes-and.dots/simple',
  '1-num.2-num/3-num',
  '1234/5678',
  '1.2.3.4/5678',
  'Uppercase_Is_OK_123',
  'example.com/Uppercase_Is_OK_123',
  `${long(253)}/${long(63)}`.replace(long(253), `${long(63)}.${long(63)}.${long(63)}.${long(61)}`),
]
const badKeys = [
  'nospecialchars%^=@',
  'cantendwithadash-',
  '-cantstartwithadash-',
  'only/one/slash',
  'Example.com/abc',
  'example_com/abc',
  'example.com/',
  '/simple',
  'a..b/c',
  '.a/b',
  long(64),
  `${long(254)}/abc`,
  '',
  ' ',
  'a b',
  'ä',
]
const goodValues = ['simple', 'now-with-dashes', '1-starts-with-num', 'end-with-num-1', '1234', long(63), '', 'A.b_C-9']
const badValues = [
  'nospecialchars%^=@',
  'Tama-nui-te-rā.is.Māori.sun',
  '\\backslashes\\are\\bad',
  '-starts-with-dash',
  'ends-with-dash-',
  '.starts.with.dot',
  'ends.with.dot.',
  long(64),
  'a/b',
  ' ',
  'a\n',
]

test('keys of labels are taken and refused as the API server does, in both forms of a selector', () => {
  for (const key of goodKeys) {
    assert.ok(takes({ matchLabels: { [key]: 'x' } }), key)
    assert.ok(takes({ matchExpressions: [{ key, operator: 'Exists' }] }), key)
  }
  for (const key of badKeys) {
    assert.ok(!takes({ matchLabels: { [key]: 'x' } }), key)
    assert.ok(!takes({ matchExpressions: [{ key, operator: 'Exists' }] }), key)
  }
})

test('values of labels are taken and refused as the API server does, in both forms of a selector', () => {
  for (const value of goodValues) {
    assert.ok(takes({ matchLabels: { a: value } }), value)
    assert.ok(takes({ matchExpressions: [{ key: 'a', operator: 'In', values: [value] }] }), value)
  }
  for (const value of badValues) {
    assert.ok(!takes({ matchLabels: { a: value } }), value)
    assert.ok(!takes({ matchExpressions: [{ key: 'a', operator: 'NotIn', values: ['ok', value] }] }), value)
  }
})

test('a long text is judged at once, and not shown at length', () => {
  const text = { matchLabels: { [`${'a-'.repeat(50_000)}/x`]: '-'.repeat(100_000) } }
  assert.ok(processorMs(() => labelSelectorSchema.safeParse(text)) < 1000)
  const { error } = labelSelectorSchema.safeParse(text)
  for (const { message } of error?.issues ?? []) assert.ok(message.length < 200)
})
