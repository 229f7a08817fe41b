/** Tables as kubectl prints them: no boxes, three spaces between columns, nothing after the last one. And texts for people. */

export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((name, column) => Math.max(name.length, ...rows.map((row) => (row[column] ?? '').length)))
  const line = (cells: readonly string[]): string => cells.map((cell, column) => (column === cells.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join('   ').trimEnd()
  return `${[header, ...rows].map(line).join('\n')}\n`
}

/** `45s`, `5m32s`, `3h7m`, `12d4h`: the two largest units, as kubectl shows ages. */
export function formatDuration(seconds: number): string {
  const units: readonly [string, number][] = [['d', 86_400], ['h', 3_600], ['m', 60], ['s', 1]]
  const first = units.findIndex(([, size]) => seconds >= size)
  if (first < 0) return '0s'
  const [name, size] = units[first] ?? ['s', 1]
  const [nextName, nextSize] = units[first + 1] ?? ['', 0]
  const rest = nextSize === 0 ? 0 : Math.floor((seconds % size) / nextSize)
  return `${Math.floor(seconds / size)}${name}${rest > 0 ? `${rest}${nextName}` : ''}`
}

/** What a peer sent is never printed raw: it could move the cursor. */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`)
}
