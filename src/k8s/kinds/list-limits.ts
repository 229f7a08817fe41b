/**
 * Lists and maps that are longer than anything real, refused before one entry is read: an object of a megabyte has a
 * hundred thousand, each of which costs what a person's mistake may, and nothing else of the agent goes on meanwhile.
 * What CEL refuses at the API server comes by a folder, or by a CRD without it; labels it takes in any number. Pure.
 */
import { fault, type Fault, type FieldPath, lastGoodStays } from './narrow.ts'
import { isRecord, type RawObject, recordOf } from '../source.ts'

/** As many ranges as a pool may have. */
const mostEntries = 10_000
/** Of labels, annotations and selectors, which are gone through for each Service that is compared with them. */
const mostKeys = 1_000
/** Deeper than any field that is read. */
const mostDepth = 32

/** Of every kind: what the API server does not bound, or by octets alone. */
export function longMaps({ metadata, spec }: RawObject): readonly Fault[] {
  const { labels, annotations } = recordOf(metadata)
  const maps = [
    [['metadata', 'labels'], labels],
    [['metadata', 'annotations'], annotations],
    [['spec', 'selector'], recordOf(spec)['selector']],
  ] as const
  return maps.flatMap(([path, map]) => (keysOf(map) > mostKeys ? [tooManyKeys(path, keysOf(map))] : []))
}

const keysOf = (map: unknown): number => (isRecord(map) ? Object.keys(map).length : 0)

function tooManyKeys(path: FieldPath, keys: number): Fault {
  const message = `it has ${keys} keys, and at most ${mostKeys} are taken`
  return fault('error', path, 'LimitExceeded', message, `Remove what nobody reads; ${lastGoodStays}.`)
}

/** Of a kind of which all lists are read: each, and all of them together, are bounded; and each map is. */
export function longLists(raw: RawObject): readonly Fault[] {
  let entries = 0
  let keys = 0
  /** The first list or map that is too much. */
  const lookAt = (value: unknown, path: FieldPath): FieldPath | undefined => {
    if (typeof value !== 'object' || value === null || path.length > mostDepth) return undefined
    if (Array.isArray(value)) {
      entries += value.length
      if (entries > mostEntries) return path
    } else if (path.length > 1) {
      // Of fields that nobody knows beside those of a kind some are told, and nothing is gone through again.
      keys = Object.keys(value).length
      if (keys > mostKeys) return path
    }
    for (const [step, below] of Object.entries(value)) {
      const found = lookAt(below, [...path, Array.isArray(value) ? Number(step) : step])
      if (found !== undefined) return found
    }
    return undefined
  }
  const path = lookAt(raw['spec'], ['spec'])
  if (path === undefined) return []
  if (entries <= mostEntries) return [tooManyKeys(path, keys)]
  const message = `its entries, with those of lists before it, are ${entries}, and at most ${mostEntries} are taken`
  return [fault('error', path, 'LimitExceeded', message, `Split it into several objects; ${lastGoodStays}.`)]
}
