/** Whoever may write in one namespace must not fill the room of all others. Pure. */

/** At most so many, of each group the first, then of each the second, and so on. */
export function inTurns<T>(items: readonly T[], groupOf: (item: T) => string, most: number): readonly T[] {
  if (items.length <= most) return items
  let groups = [...Map.groupBy(items, groupOf).values()]
  const taken: T[] = []
  for (let turn = 0; groups.length > 0 && taken.length < most; turn++) {
    groups = groups.filter(({ length }) => length > turn)
    taken.push(...groups.flatMap((group) => group.slice(turn, turn + 1)).slice(0, most - taken.length))
  }
  return taken
}
