/** What is kept of thousands of objects takes no more room than it has to. Pure. */

const none: readonly never[] = []

/**
 * The same list with room for nothing more, and one for all that are empty: a list that was filtered, spread or grew
 * has room for sixteen.
 */
export function keptList<T>(list: readonly T[]): readonly T[] {
  return list.length === 0 ? none : list.slice()
}

/** One text in one piece: added up, it would be a tree of pieces, of which each has a head. */
export function keptText(...pieces: readonly string[]): string {
  return pieces.join('')
}
