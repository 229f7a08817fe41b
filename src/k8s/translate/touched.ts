/**
 * Which Services a change of what neighbors hear is about. A Service is told of the exports that select it, in their
 * order, and of a few words that are the same for all; one that nothing selects is told what is selected. Pure.
 */
import { formatSelector, type LabelSelector, selectorMatches } from '../../desired/label-selector.ts'
import type { NodeExports, ServiceExport } from './exports.ts'
import type { NodeAnswer } from './node.ts'

/** `everything`, or what is selected by the exports that came, went or are others now. */
export type Touched = 'everything' | TouchedPart

export interface TouchedPart {
  readonly selectors: readonly LabelSelector[]
  /** Those that nothing selects are told something else. */
  readonly areWordsNew: boolean
}

/** undefined: nothing that a Service is told of is another. */
export function touchedBetween(before: NodeAnswer | undefined, now: NodeAnswer): Touched | undefined {
  if (before === undefined || wordsOf(before) !== wordsOf(now)) return 'everything'
  const [old, fresh] = [before.exports?.services ?? [], now.exports?.services ?? []]
  const changed = differing(old, fresh)
  if (changed.length === 0) return undefined
  // Thousands of neighbors may hear the same.
  const selectors = new Map(changed.map(({ selector }) => [JSON.stringify(selector), selector]))
  return { selectors: [...selectors.values()], areWordsNew: selectionOf(old) !== selectionOf(fresh) }
}

/** Whether it is told of one of them. */
export function isTouched({ selectors }: TouchedPart, labels: Readonly<Record<string, string>>): boolean {
  return selectors.some((selector) => selectorMatches(selector, labels))
}

/** What every Service is told, or may be. */
function wordsOf({ exports, noExports, obstacle }: NodeAnswer): string {
  return JSON.stringify(
    exports === undefined ? ['none', noExports] : [exports.names, exports.notAdvertised, exports.isOwnAsked, obstacle],
  )
}

/** What is between the exports that both lists begin with and those that both end with. */
function differing(a: NodeExports['services'], b: NodeExports['services']): readonly ServiceExport[] {
  const shorter = Math.min(a.length, b.length)
  let first = 0
  while (first < shorter && isAlike(a[first], b[first])) first++
  let last = 0
  while (last < shorter - first && isAlike(a.at(-1 - last), b.at(-1 - last))) last++
  return [...a.slice(first, a.length - last), ...b.slice(first, b.length - last)]
}

function isAlike(a: ServiceExport | undefined, b: ServiceExport | undefined): boolean {
  return a?.heardBy === b?.heardBy && a?.said === b?.said
}

const selections = new WeakMap<NodeExports['services'], string>()

/** As a Service that nothing selects is told. */
export function selectionOf(exports: NodeExports['services']): string {
  const known = selections.get(exports)
  if (known !== undefined) return known
  const text = [...new Set(exports.map(({ selector }) => formatSelector(selector)))].join('; ')
  selections.set(exports, text)
  return text
}
