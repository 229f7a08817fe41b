/**
 * The last good version, kept for each part of an object: a broken part is what it was before, a part that was never
 * good is left out, and either is said. A part that is not written any more is gone at once. Pure.
 */
import { mostFaults, othersOf } from './few-faults.ts'
import type { Fault, FieldPath, Narrowed, Part } from './narrow.ts'

/** Something written: where, and what. */
export type Entry<E = unknown> = readonly [FieldPath, E]

export interface PartRules<T, E = unknown> {
  /** As in `this neighbor`. */
  readonly what: string
  /** The parts of the version in force. */
  readonly before: ReadonlyMap<string, T>
  /** Which part an entry is, though the rest of it may be wrong; undefined: that is what is wrong with it. */
  readonly keyOf: (entry: E) => string | undefined
  readonly parse: (entry: E, part: Part, before: T | undefined) => Narrowed<T>
  /** Said of an entry whose key an earlier one has, which counts. */
  readonly twice?: (at: FieldPath, key: string) => Fault
}

export interface PartInForce<T> {
  readonly key: string
  readonly at: FieldPath
  readonly value: T
}

export interface Parts<T> {
  readonly parts: readonly PartInForce<T>[]
  readonly faults: readonly Fault[]
}

/** Narrows each entry by itself. */
export function narrowParts<T, E = unknown>(entries: readonly Entry<E>[], rules: PartRules<T, E>): Parts<T> {
  const { before, keyOf, parse, what, twice } = rules
  const claimed = new Set(entries.flatMap(([, entry]) => keyOf(entry) ?? []))
  // What an entry that does not say which part it is may be: any of those that are not written any more.
  const unclaimed = [...before.keys()].filter((key) => !claimed.has(key))
  const found = new Map<string, PartInForce<T>>()
  const faults: Fault[] = []
  let others = 0
  let unnamed = 0
  for (const [at, entry] of entries) {
    const key = keyOf(entry)
    if (key !== undefined && found.has(key)) {
      if (twice !== undefined) faults.push(twice(at, key))
      continue
    }
    // No part comes of it, and of so many it is not told what is wrong with each.
    if (key === undefined && ++unnamed > mostFaults) {
      others++
      continue
    }
    const kept = key === undefined ? unclaimed : before.has(key) ? [key] : []
    const meanwhile =
      kept.length > 0 ? `the last good version of ${what} stays in force` : `${what} is left out until then`
    const narrowed = parse(entry, { at, meanwhile }, key === undefined ? undefined : before.get(key))
    for (const each of narrowed.faults) faults.push(each)
    if (narrowed.value !== undefined && key !== undefined) found.set(key, { key, at, value: narrowed.value })
    else
      for (const each of kept) {
        const value = before.get(each)
        if (value !== undefined && !found.has(each)) found.set(each, { key: each, at, value })
      }
  }
  if (others > 0) faults.push(othersOf(others, 'error', 'InvalidField'))
  return { parts: [...found.values()], faults }
}
