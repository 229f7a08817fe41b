/** Tables as kubectl prints them: no boxes, three spaces between columns, nothing after the last one. */
import { displayWidth, printable } from './text.ts'

/** Cells are made printable here, so no caller can forget it. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [header, ...rows].map((cells) => cells.map(printable))
  const widths = header.map((_, column) => Math.max(...lines.map((cells) => displayWidth(cells[column] ?? ''))))
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => cell + ' '.repeat(Math.max(0, (widths[column] ?? 0) - displayWidth(cell))))
      .join('   ')
      .trimEnd()
  return `${lines.map(line).join('\n')}\n`
}
