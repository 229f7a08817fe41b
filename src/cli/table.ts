/** Tables as kubectl prints them: no boxes, three spaces between columns, nothing after the last one. */
import { displayWidth, printable } from './text.ts'

/** Cells are made printable here, so no caller can forget it. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  return new Table(header).page(rows)
}

/** A table that comes in pages: the header is in the first, and a column never becomes narrower. */
export class Table {
  readonly #header: readonly string[]
  readonly #widths: number[]
  #isBegun = false

  constructor(header: readonly string[]) {
    this.#header = header.map(printable)
    this.#widths = this.#header.map(displayWidth)
  }

  page(rows: readonly (readonly string[])[]): string {
    const lines = rows.map((cells) => cells.map(printable))
    for (const cells of lines)
      cells.forEach((cell, column) => {
        this.#widths[column] = Math.max(this.#widths[column] ?? 0, displayWidth(cell))
      })
    const all = this.#isBegun ? lines : [this.#header, ...lines]
    this.#isBegun = true
    return all.map((cells) => `${this.#line(cells)}\n`).join('')
  }

  #line(cells: readonly string[]): string {
    return cells
      .map((cell, column) => cell + ' '.repeat(Math.max(0, (this.#widths[column] ?? 0) - displayWidth(cell))))
      .join('   ')
      .trimEnd()
  }
}
