/**
 * Lists that are longer than anything real, refused before one entry is read: an object of a megabyte has a hundred
 * thousand, each of which costs what a person's mistake may, and nothing else of the agent goes on meanwhile. What CEL
 * refuses at the API server comes by a folder, or by a CRD without it. Pure.
 */
import { fault, type Fault, type FieldPath, lastGoodStays } from './narrow.ts'
import type { RawObject } from '../source.ts'

/** As many ranges as a pool may have. */
const mostEntries = 10_000
/** Deeper than any field that is read. */
const mostDepth = 32

/** Of a kind of which all lists are read: each, and all of them together, are bounded. */
export function longLists(raw: RawObject): readonly Fault[] {
  let entries = 0
  /** The first list that is too much. */
  const lookAt = (value: unknown, path: FieldPath): FieldPath | undefined => {
    if (typeof value !== 'object' || value === null || path.length > mostDepth) return undefined
    if (Array.isArray(value)) {
      entries += value.length
      if (entries > mostEntries) return path
    }
    for (const [step, below] of Object.entries(value)) {
      const found = lookAt(below, [...path, Array.isArray(value) ? Number(step) : step])
      if (found !== undefined) return found
    }
    return undefined
  }
  const path = lookAt(raw['spec'], ['spec'])
  if (path === undefined) return []
  const message = `its entries, with those of lists before it, are ${entries}, and at most ${mostEntries} are taken`
  return [fault('error', path, 'LimitExceeded', message, `Split it into several objects; ${lastGoodStays}.`)]
}
