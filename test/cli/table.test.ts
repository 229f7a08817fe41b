/** Tables for any cells: columns stand under their heads, on one page and over many. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { formatTable, Table } from '../../src/cli/table.ts'
import { displayWidth, isPrintable, printable } from '../../src/cli/text.ts'

const cell = fc.string({
  unit: fc.constantFrom('a', 'Z', '1', '-', '東', '🙂', 'e\u0301', '\u001b', '\n', '\u202e', 'é'),
  maxLength: 6,
})
/** No cell is empty, so that the end of each can be found. */
const rows = fc
  .array(fc.tuple(cell, cell, cell), { maxLength: 6 })
  .map((all) => all.map((row) => row.map((one) => `${one}.`)))
const header = ['NAME', 'AS', 'STATE'] as const

/** In which column of the screen each cell of a line begins; cells hold no blanks. */
function starts(line: string): readonly number[] {
  return [...line.matchAll(/[^ ]+/g)].map(({ index }) => displayWidth(line.slice(0, index)))
}

test('every cell begins where its head does, whatever is in it, and no line ends in a blank', () => {
  fc.assert(
    fc.property(rows, (all) => {
      const text = formatTable(header, all)
      assert.ok(isPrintable(text) && text.endsWith('\n'))
      const [head = '', ...lines] = text.slice(0, -1).split('\n')
      assert.equal(lines.length, all.length)
      for (const line of lines) assert.deepEqual(starts(line), starts(head))
      for (const line of [head, ...lines]) assert.equal(line, line.trimEnd())
      assert.deepEqual(
        lines.map((line) => line.split(/ +/)),
        all.map((row) => row.map(printable)),
      )
    }),
  )
})

test('pages are the table in parts: one head, and a column never becomes narrower', () => {
  fc.assert(
    fc.property(fc.array(rows, { maxLength: 4 }), (pages) => {
      const table = new Table(header)
      const printed = pages.map((page) => table.page(page))
      const lines = printed.join('').split('\n').slice(0, -1)
      assert.equal(lines.length, pages.flat().length + (pages.length > 0 ? 1 : 0))
      assert.equal(lines.filter((line) => line.startsWith('NAME ')).length, Math.min(1, pages.length))
      let last: readonly number[] = [0, 0, 0]
      for (const at of lines.map(starts)) {
        for (const [column, start] of at.entries()) assert.ok(start >= (last[column] ?? 0), lines.join('\n'))
        last = at
      }
    }),
  )
})

test('what is printable stays as it is, what is not is escaped once', () => {
  fc.assert(
    fc.property(cell, (text) => {
      const shown = printable(text)
      assert.ok(isPrintable(shown) && !shown.includes('\n'))
      assert.equal(printable(shown), shown)
      if (isPrintable(text) && !text.includes('\n')) assert.equal(shown, text)
    }),
  )
})
