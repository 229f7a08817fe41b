/** The known name that a misspelt one stands for. Pure. */

/** If any is near: a third of its letters may differ, or as many as `within` says. */
export function nearest(
  name: string,
  known: readonly string[],
  within = Math.max(2, name.length / 3),
): string | undefined {
  const own = shortened(name)
  let best: string | undefined
  let most = Math.floor(within)
  for (const each of known) {
    const distance = editDistance(own, shortened(each), most)
    if (distance > most) continue
    best = each
    // Of two that are as near the first one counts.
    most = distance - 1
    if (most < 0) break
  }
  return best
}

/** Of a very long name only the beginning counts. */
function shortened(name: string): string {
  return name.slice(0, longest).toLowerCase()
}

/** Levenshtein: letters to insert, delete or replace; Infinity where they are more than `most`. */
function editDistance(from: string, to: string, most: number): number {
  if (Math.abs(from.length - to.length) > most) return Number.POSITIVE_INFINITY
  let row = Array.from({ length: to.length + 1 }, (_, i) => i)
  for (let i = 1; i <= from.length; i++) {
    const next = [i]
    let least = i
    for (let j = 1; j <= to.length; j++) {
      const changed = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1)
      const distance = Math.min((next[j - 1] ?? 0) + 1, (row[j] ?? 0) + 1, changed)
      next.push(distance)
      if (distance < least) least = distance
    }
    if (least > most) return Number.POSITIVE_INFINITY
    row = next
  }
  return row[to.length] ?? 0
}

const longest = 253
