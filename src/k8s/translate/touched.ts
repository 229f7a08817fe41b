/**
 * Which Services a change of what neighbors hear is about. A Service is told of the exports that select it, in their
 * order, and of a few words that are the same for all; one that nothing selects is told what is selected. Pure.
 */
import { formatSelector, type LabelSelector, selectorMatches } from '../../desired/label-selector.ts'
import type { Hearing, NodeExports, ServiceExport } from './exports.ts'
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
  const selectors = new Map(changed.map(({ selector }) => [JSON.stringify(selector), selector]))
  return { selectors: [...selectors.values()], areWordsNew: selectionOf(old) !== selectionOf(fresh) }
}

/** Whether it is told of one of them. */
export function isTouched({ selectors }: TouchedPart, labels: Readonly<Record<string, string>>): boolean {
  return selectors.some((selector) => selectorMatches(selector, labels))
}

/** What every Service is told, or may be. */
function wordsOf({ exports, noExports, obstacle }: NodeAnswer): string {
  if (exports === undefined) return JSON.stringify(['none', noExports])
  const { names, notAdvertised, nothingSelects, isOwnAsked } = exports
  return JSON.stringify([names, notAdvertised, nothingSelects, isOwnAsked, obstacle])
}

/** The exports that came, went or are others now, for whatever neighbor. */
function differing(a: NodeExports['services'], b: NodeExports['services']): readonly ServiceExport[] {
  const areListsAlike = listsCompared()
  const areAlike = (one: Hearing, other: Hearing): boolean =>
    one.heardBy === other.heardBy && areListsAlike(one.exports, other.exports)
  const [old, fresh] = between(a, b, areAlike)
  const isSameNeighbors = old.length === fresh.length && old.every(({ heardBy }, i) => heardBy === fresh[i]?.heardBy)
  const found = new Set<ServiceExport>()
  const seen = new Map<readonly ServiceExport[], Set<readonly ServiceExport[]>>()
  for (const [i, { exports }] of old.entries()) {
    const now = isSameNeighbors ? (fresh[i]?.exports ?? []) : []
    const others = seen.get(exports) ?? new Set()
    seen.set(exports, others)
    // Thousands of neighbors may hear the same.
    if (others.has(now)) continue
    others.add(now)
    for (const each of between(exports, now, (one, other) => one.said === other.said).flat()) found.add(each)
  }
  if (!isSameNeighbors)
    for (const exports of new Set(fresh.map((each) => each.exports))) for (const each of exports) found.add(each)
  return [...found]
}

/** What is between the items that both lists begin with and those that both end with. */
function between<T>(
  a: readonly T[],
  b: readonly T[],
  isAlike: (one: T, other: T) => boolean,
): readonly [readonly T[], readonly T[]] {
  const isSame = (i: number, j: number): boolean => {
    const [one, other] = [a[i], b[j]]
    return one !== undefined && other !== undefined && isAlike(one, other)
  }
  const shorter = Math.min(a.length, b.length)
  let first = 0
  while (first < shorter && isSame(first, first)) first++
  let last = 0
  while (last < shorter - first && isSame(a.length - 1 - last, b.length - 1 - last)) last++
  return [a.slice(first, a.length - last), b.slice(first, b.length - last)]
}

type List = readonly ServiceExport[]

/** Each two lists once. */
function listsCompared(): (one: List, other: List) => boolean {
  const known = new Map<List, Map<List, boolean>>()
  return (one, other) => {
    const beside = known.get(one) ?? new Map<List, boolean>()
    known.set(one, beside)
    const found =
      beside.get(other) ?? (one.length === other.length && one.every(({ said }, i) => said === other[i]?.said))
    beside.set(other, found)
    return found
  }
}

const selections = new WeakMap<NodeExports['services'], string>()

/** As a Service that nothing selects is told. */
export function selectionOf(exports: NodeExports['services']): string {
  const known = selections.get(exports)
  if (known !== undefined) return known
  const all = [...new Set(exports.map((each) => each.exports))].flat()
  const text = [...new Set(all.map(({ selector }) => formatSelector(selector)))].join('; ')
  selections.set(exports, text)
  return text
}
