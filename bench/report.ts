/** Tables of the benchmarks: what was measured, on what machine, met or missed. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, release } from 'node:os'

export interface Row {
  readonly what: string
  readonly value: string
  /** From the goals; absent for anchors. */
  readonly goal?: string
  readonly isMet?: boolean
}

export function printTable(title: string, rows: readonly Row[]): void {
  const cells = rows.map(({ what, value, goal, isMet }) => [
    what,
    value,
    goal ?? '',
    isMet === undefined ? '' : isMet ? 'met' : 'missed',
  ])
  const widths = [0, 1, 2].map((column) => Math.max(...cells.map((row) => (row[column] ?? '').length)))
  console.log(`\n${title}`)
  for (const row of cells)
    console.log(
      `  ${row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd()}`,
    )
}

export function printMachine(): void {
  const version = (command: string, ...args: string[]): string => {
    try {
      return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).split('\n')[0] ?? ''
    } catch {
      return 'not installed'
    }
  }
  const daemons = ['bird2', 'openbgpd', 'frr', 'gobgpd'].map(
    (name) => `${name} ${version('dpkg-query', '-W', '-f=${Version}', name)}`,
  )
  console.log(
    `${new Date().toISOString().slice(0, 10)}, ${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}, Linux ` +
      `${release()}, node ${process.version}, herald ` +
      `${String(JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version)}, ` +
      `${daemons.join(', ')}`,
  )
}

/** Milliseconds on the clock that all threads and processes share. */
export function nowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN
}

/** The middle one; of an even number the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const [low = Number.NaN, high = Number.NaN] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]]
  return (low + high) / 2
}

export const ms = (value: number): string => `${value < 10 ? value.toFixed(2) : value.toFixed(0)} ms`
