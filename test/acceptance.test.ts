/** docs/acceptance.md names a test for every row, and the tests that it names are there. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../', import.meta.url))
const page = readFileSync(`${root}docs/acceptance.md`, 'utf8')

interface Row {
  readonly number: number
  readonly shown: readonly { readonly file: string; readonly title: string }[]
  readonly lacking: string
}

const rows: readonly Row[] = [...page.matchAll(/^\| (\d+) \| [^|]+ \| ([^|]+) \| ([^|]+) \|$/gm)].map(
  ([, number, shown = '', lacking = '']) => ({
    number: Number(number),
    shown: shown.split('<br>').flatMap((entry) => {
      const [, file, title] = /^`([^`]+)`: (.+)$/.exec(entry) ?? []
      return file === undefined || title === undefined ? [] : [{ file, title }]
    }),
    lacking,
  }),
)

const range = (from: number, to: number): readonly number[] =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index)

/** Layer 2, the datapath and routers have tables of their own: docs/rfc.md, docs/operate.md. */
const asked = [1, 2, 3, 4, 7, 8, ...range(10, 15), ...range(18, 21), 24, ...range(29, 38), 41, 42, 45, ...range(49, 57)]

test('every row that is asked for stands in the page once, in order', () => {
  assert.deepEqual(
    rows.map(({ number }) => number),
    asked,
  )
})

test('a row is shown by a test, or says what is not there', () => {
  const silent = rows.filter(({ shown, lacking }) => shown.length === 0 && lacking.trim() === '-')
  assert.deepEqual(silent, [])
})

test('each test that the page names is in its file under its title', () => {
  const wrong = rows.flatMap(({ number, shown }) =>
    shown.flatMap(({ file, title }) => {
      if (!existsSync(`${root}${file}`)) return [`row ${number}: there is no ${file}`]
      const source = readFileSync(`${root}${file}`, 'utf8')
      const isThere = ["'", '"', '`'].some((quote) => source.includes(`${quote}${title}${quote}`))
      return isThere ? [] : [`row ${number}: ${file} has no test "${title}"`]
    }),
  )
  assert.deepEqual(wrong, [])
})
