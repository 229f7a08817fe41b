/** The known name that a misspelt one stands for. Pure. */

/** If any is near: a third of its letters may differ, or as many as `within` says. */
export function nearest(
  name: string,
  known: readonly string[],
  within = Math.max(2, name.length / 3),
): string | undefined {
  const [best] = known
    .map((each) => ({ each, distance: editDistance(name.toLowerCase(), each.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance)
  return best !== undefined && best.distance <= within ? best.each : undefined
}

/** Levenshtein: letters to insert, delete or replace. Of a very long name only the beginning counts. */
function editDistance(a: string, b: string): number {
  const [from, to] = [a.slice(0, longest), b.slice(0, longest)]
  let row = Array.from({ length: to.length + 1 }, (_, i) => i)
  for (let i = 1; i <= from.length; i++) {
    const next = [i]
    for (let j = 1; j <= to.length; j++)
      next.push(
        Math.min((next[j - 1] ?? 0) + 1, (row[j] ?? 0) + 1, (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1)),
      )
    row = next
  }
  return row[to.length] ?? 0
}

const longest = 253
