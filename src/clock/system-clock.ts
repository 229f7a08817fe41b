/** The clock of the system. */
import type { Clock } from './clock.ts'

/** setTimeout takes no more and would run at once. */
const longestMs = 2 ** 31 - 1

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after: (ms, action) => {
    const timer = setTimeout(action, Math.min(ms, longestMs))
    return { cancel: () => clearTimeout(timer) }
  },
  soon: (action) => {
    setImmediate(action)
  },
}
