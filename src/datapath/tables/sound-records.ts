/**
 * What frontends that were found may keep of the map of tables: somebody else may have written anything into their
 * records, and places that reach beyond the map, or into one another, would take the tables of others with them. Pure.
 */
import type { FrontendRecord, TablePlace } from '../layout.ts'
import { isTableLength, tableLength } from '../maglev.ts'

const nowhere: TablePlace = { offset: 0, length: 0 }
const parts = ['table', 'previous', 'members', 'resting'] as const

interface Place extends TablePlace {
  readonly id: string
  readonly part: (typeof parts)[number]
}

/** The records without the places that cannot be theirs, by frontend; `size`: slots of the map. */
export function soundRecords(
  found: ReadonlyMap<string, FrontendRecord>,
  size: number,
): ReadonlyMap<string, FrontendRecord> {
  const places = [...found].flatMap(([id, record]) =>
    parts.flatMap((part): readonly Place[] => (record[part].length === 0 ? [] : [{ id, part, ...record[part] }])),
  )
  const wrong = new Set(places.filter((place) => !isPossible(place, found.get(place.id), size)))
  const possible = places.filter((place) => !wrong.has(place)).sort((a, b) => a.offset - b.offset)
  // Of two that overlap neither is known to be the one that belongs there: both are written anew.
  let last: Place | undefined
  for (const place of possible) {
    if (last !== undefined && place.offset < last.offset + last.length) {
      wrong.add(place)
      wrong.add(last)
    }
    if (last === undefined || place.offset + place.length > last.offset + last.length) last = place
  }
  if (wrong.size === 0) return found
  const amended = new Map(found)
  for (const { id, part } of wrong) {
    const record = amended.get(id)
    if (record !== undefined) amended.set(id, { ...record, [part]: nowhere })
  }
  return amended
}

function isPossible({ part, offset, length }: Place, record: FrontendRecord | undefined, size: number): boolean {
  if (record === undefined || offset + length > size) return false
  if (part === 'table') return length === tableLength(record.backends)
  return part !== 'previous' || isTableLength(length)
}
