/**
 * The values of another chart, and what they are in ours: a table says of each key where it goes, or why it has no use.
 * Pure.
 *
 *     values, rows --each key by the longest row--> values of our chart, a word about every key
 */
import { nearest } from '../../kinds/nearest.ts'
import { isRecord } from '../../source.ts'

type Values = Readonly<Record<string, unknown>>

interface Common {
  /** Path of the key in the other chart; what lies below is meant too. */
  readonly from: string
  readonly why?: string
}

/** `to`: our key. `as`: the value there; undefined: nothing. */
export interface MovedKey extends Common {
  readonly to: string
  readonly as?: (value: unknown) => unknown
}

/** It has no place here, for the reason given; `decides` says for which values somebody has to decide. */
export interface DroppedKey extends Common {
  readonly why: string
  readonly decides?: (value: unknown) => boolean
}

export type ValueRow = MovedKey | DroppedKey

export interface ValueNote {
  readonly needsDecision: boolean
  readonly key: string
  /** Our key; absent: there is none. */
  readonly becomes?: string
  readonly reason: string
}

export interface MovedValues {
  readonly values: Values
  readonly notes: readonly ValueNote[]
}

/** What a chart says beside the table. */
export interface ValueTable {
  readonly rows: readonly ValueRow[]
  /** Of a key that no row has; undefined: such a key needs a decision. */
  readonly others?: string
  /** What several keys mean together. */
  readonly together: (values: Values, moved: Tree) => readonly ValueNote[]
}

/** Values of ours, by path. */
export class Tree {
  readonly values: Record<string, unknown> = {}

  set(path: string, value: unknown): void {
    const names = path.split('.')
    const last = names.pop() ?? ''
    let at = this.values
    for (const name of names) {
      const below = isRecord(at[name]) ? { ...at[name] } : {}
      at[name] = below
      at = below
    }
    const before = at[last]
    at[last] = isRecord(before) && isRecord(value) ? { ...before, ...value } : value
  }

  get(path: string): unknown {
    return valueAt(this.values, path)
  }
}

export function movedValues(values: Values, table: ValueTable): MovedValues {
  const moved = new Tree()
  const notes: ValueNote[] = []
  const keys = table.rows.map(({ from }) => from)
  const walk = (path: string, value: unknown): void => {
    const row = table.rows.find(({ from }) => from === path)
    const isAbove = keys.some((key) => key.startsWith(`${path}.`))
    if (row !== undefined) notes.push(...take(row, value, moved))
    else if (isAbove && isRecord(value))
      for (const [name, below] of Object.entries(value)) walk(`${path}.${name}`, below)
    else if (!isAbove) notes.push(unknownKey(path, keys, table.others))
    else if (!isEmpty(value)) notes.push({ needsDecision: true, key: path, reason: 'a map of values is wanted' })
  }
  for (const [name, value] of Object.entries(values)) walk(name, value)
  notes.push(...table.together(values, moved))
  return { values: moved.values, notes }
}

function take(row: ValueRow, value: unknown, moved: Tree): readonly ValueNote[] {
  // What helm is told to take away, or is empty anyway, is what the chart does without the key.
  if (isEmpty(value)) return []
  const { from: key, why = '' } = row
  if (!('to' in row)) return [{ needsDecision: row.decides?.(value) === true, key, reason: why }]
  const ours = row.as === undefined ? value : row.as(value)
  if (ours === undefined) return []
  moved.set(row.to, ours)
  return [{ needsDecision: false, key, becomes: row.to, reason: why === '' ? 'the same' : why }]
}

function unknownKey(key: string, known: readonly string[], others: string | undefined): ValueNote {
  if (others !== undefined) return { needsDecision: false, key, reason: others }
  const depth = key.split('.').length
  const near = nearest(key, [...new Set(known.map((each) => each.split('.').slice(0, depth).join('.')))], 2)
  const meant = near === undefined ? '' : `; is ${near} meant?`
  return { needsDecision: true, key, reason: `not a key of that chart, as far as is known here${meant}` }
}

export function valueAt(values: unknown, path: string): unknown {
  let at = values
  for (const name of path.split('.')) at = isRecord(at) && Object.hasOwn(at, name) ? at[name] : undefined
  return at
}

export function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === '') return true
  return Array.isArray(value) ? value.length === 0 : isRecord(value) && Object.keys(value).length === 0
}
