/** What reaches a terminal. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatTable } from '../../src/cli/table.ts'
import { asciiJson, displayWidth, formatDuration, printable } from '../../src/cli/text.ts'

test('control, invisible and direction-changing characters are escaped, letters and emoji are not', () => {
  const cases: readonly [string, string][] = [
    ['\u001b[2J', '\\x1b[2J'],
    ['\u009b1m', '\\x9b1m'],
    ['a\r\nb\tc', 'a\\x0d\\x0ab\\x09c'],
    ['\u007f', '\\x7f'],
    ['\u202eabc\u2066', '\\u{202e}abc\\u{2066}'],
    ['\u200f\u061c\u200b\ufeff', '\\u{200f}\\u{61c}\\u{200b}\\u{feff}'],
    ['a\u2028b', 'a\\u{2028}b'],
    ['\ud800x', '\\u{d800}x'],
    ['\u{e0041}', '\\u{e0041}'],
    ['Zürich 東京 🙂', 'Zürich 東京 🙂'],
  ]
  for (const [raw, shown] of cases) assert.equal(printable(raw), shown)
})

test('JSON escapes what printable() escapes and means the same', () => {
  const value = { '\u202ekey': ['\u001b\u009b\u{e0041}\ud800', 'plain\n'] }
  const text = asciiJson(value)
  assert.match(text, /^[\x20-\x7e\n]*$/)
  assert.deepEqual(JSON.parse(text), value)
})

test('a column is as wide as its widest cell on the screen', () => {
  assert.deepEqual(['abc', '東京', 'e\u0301', '🙂', 'Ａ', ''].map(displayWidth), [3, 4, 1, 2, 2, 0])
  assert.equal(
    formatTable(
      ['A', 'B'],
      [
        ['東京', '1'],
        ['abcde', '2'],
        ['e\u0301', '\u001b'],
      ],
    ),
    'A       B\n東京    1\nabcde   2\ne\u0301       \\x1b\n',
  )
})

test('durations show their two largest units', () => {
  assert.deepEqual([0, 45, 60, 332, 11_220, 1_051_200].map(formatDuration), [
    '0s',
    '45s',
    '1m',
    '5m32s',
    '3h7m',
    '12d4h',
  ])
})
