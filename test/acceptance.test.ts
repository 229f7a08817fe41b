/** docs/acceptance.md and docs/datapath-rules.md name a test for every row, and the tests that they name are there. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../', import.meta.url))

interface Row {
  readonly id: string
  readonly shown: readonly { readonly file: string; readonly title: string }[]
  /** What stands there and names no test. */
  readonly unread: readonly string[]
  readonly lacking: string
}

function rowsOf(page: string): readonly Row[] {
  const text = readFileSync(`${root}docs/${page}`, 'utf8')
  return [...text.matchAll(/^\| ([^|]+) \| [^|]+ \| ([^|]+) \| ([^|]+) \|$/gm)]
    .filter(([, id]) => id !== 'row')
    .map(([, id = '', shown = '', lacking = '']) => {
      const entries = shown.split('<br>').filter((entry) => entry.trim() !== '-')
      const named = entries.map((entry) => /^`([^`]+)`: (.+)$/.exec(entry))
      return {
        id,
        shown: named.flatMap((match) => (match === null ? [] : [{ file: match[1] ?? '', title: match[2] ?? '' }])),
        unread: entries.filter((_, i) => named[i] === null),
        lacking,
      }
    })
}

const range = (from: number, to: number): readonly number[] =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index)

const inputs = [
  ...['maps full', 'capability', 'old kernel', 'vanished interface', 'two agents', 'foreign programs'],
  ...['hand-edited maps', 'no memory'],
]
const asked: Readonly<Record<string, readonly string[]>> = {
  /** Layer 2, the datapath and routers have tables of their own: docs/rfc.md, docs/datapath-rules.md. */
  'acceptance.md': [
    ...[1, 2, 3, 4, 7, 8, ...range(10, 15), ...range(18, 21), 24, ...range(29, 38), 41, 42, 45],
    ...range(49, 57),
  ].map(String),
  'datapath-rules.md': [
    ...range(1, 24).map((number) => `rule ${number}`),
    ...range(2, 10).map((number) => `point ${number}`),
    'slice 11',
    ...inputs.map((input) => `input: ${input}`),
  ],
}

/** A title that is written in parts is one. */
const wholeTitles = (source: string): string => source.replaceAll(/['"`] \+\s+['"`]/g, '')
/** Its parts may have quotes of their own kinds. */
const quotes = ["'", '"', '`']

for (const [page, ids] of Object.entries(asked)) {
  const rows = rowsOf(page)

  test(`${page}: every row that is asked for stands in the page once, in order`, () => {
    assert.deepEqual(
      rows.map(({ id }) => id),
      ids,
    )
  })

  test(`${page}: a row is shown by a test, or says what is not there`, () => {
    const silent = rows.filter(({ shown, lacking }) => shown.length === 0 && lacking.trim() === '-')
    assert.deepEqual(silent, [])
    assert.deepEqual(
      rows.flatMap(({ unread }) => unread),
      [],
    )
  })

  test(`${page}: each test that the page names is in its file under its title`, () => {
    const wrong = rows.flatMap(({ id, shown }) =>
      shown.flatMap(({ file, title }) => {
        if (!existsSync(`${root}${file}`)) return [`row ${id}: there is no ${file}`]
        const source = wholeTitles(readFileSync(`${root}${file}`, 'utf8'))
        const isThere = quotes.some((a) => quotes.some((b) => source.includes(`${a}${title}${b}`)))
        return isThere ? [] : [`row ${id}: ${file} has no test "${title}"`]
      }),
    )
    assert.deepEqual(wrong, [])
  })
}
