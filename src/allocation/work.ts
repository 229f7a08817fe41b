/**
 * Work on thousands of Services that is laid down between two of them and taken up in a later turn of the loop: BGP and
 * the API share it. What comes of it does not depend on where it was laid down. Pure.
 */

/** Yields wherever it may be laid down; returns what comes of it. */
export type Work<T> = Generator<undefined, T, undefined>

/** All of it in this turn. */
export function allOf<T>(work: Work<T>): T {
  for (;;) {
    const step = work.next()
    if (step.done === true) return step.value
  }
}

/** Goes on with it until it is done, or the turn is over, which is asked after each step; undefined: there is more. */
export function goOn<T>(work: Work<T>, isOver: () => boolean): { readonly value: T } | undefined {
  for (;;) {
    const step = work.next()
    if (step.done === true) return { value: step.value }
    if (isOver()) return undefined
  }
}

/** So many are put in order, or merged, between two steps. */
const inOneStep = 128

/** In the order that `compare` says, as `sort` makes it. */
export function* inOrder<T extends NonNullable<unknown>>(
  items: readonly T[],
  compare: (a: T, b: T) => number,
): Work<readonly T[]> {
  let runs: (readonly T[])[] = []
  for (let at = 0; at < items.length; at += inOneStep) {
    runs.push(items.slice(at, at + inOneStep).sort(compare))
    yield
  }
  while (runs.length > 1) {
    const longer: (readonly T[])[] = []
    for (let at = 0; at < runs.length; at += 2) {
      const [first = [], second] = [runs[at], runs[at + 1]]
      longer.push(second === undefined ? first : yield* merged(first, second, compare))
    }
    runs = longer
  }
  return runs[0] ?? []
}

function* merged<T extends NonNullable<unknown>>(
  first: readonly T[],
  second: readonly T[],
  compare: (a: T, b: T) => number,
): Work<readonly T[]> {
  const all: T[] = []
  for (let [i, j] = [0, 0]; ; ) {
    const [a, b] = [first[i], second[j]]
    const next = a !== undefined && (b === undefined || compare(a, b) <= 0) ? first[i++] : second[j++]
    if (next === undefined) return all
    all.push(next)
    if (all.length % inOneStep === 0) yield
  }
}
