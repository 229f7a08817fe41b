/** What the kernel is asked for seldom, though every change of an object wants to know it. */
import type { Clock } from '../clock/clock.ts'

/** For so long an answer is used again. */
export const seldomMs = 1_000
/** Of the loop's time, at most. */
const share = 0.02

/** Where the kernel does not answer, what it said last holds, at first `none`. */
export function seldom<T>(ask: () => T, none: T, clock: Pick<Clock, 'monotonic'>): () => T {
  let known = none
  let nextAt = -Infinity
  return () => {
    const at = clock.monotonic()
    if (at < nextAt) return known
    try {
      known = ask()
    } catch {
      // Without netlink nothing more is known.
    }
    nextAt = at + Math.max(seldomMs, (clock.monotonic() - at) / share)
    return known
  }
}
