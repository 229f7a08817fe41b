/** The clock of the system. */
import type { Clock, Wait } from './clock.ts'

/** setTimeout takes no more and would run at once. */
const longestMs = 2 ** 31 - 1

/** A wait of any length, of steps that a timer takes. */
export function waitOf(
  ms: number,
  action: () => void,
  begin: (stepMs: number, next: () => void) => NodeJS.Timeout,
): Wait {
  let timer: NodeJS.Timeout
  const step = (leftMs: number): void => {
    timer = leftMs > longestMs ? begin(longestMs, () => step(leftMs - longestMs)) : begin(leftMs, action)
  }
  step(ms)
  return { cancel: () => clearTimeout(timer) }
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after: (ms, action) => waitOf(ms, action, (step, next) => setTimeout(next, step)),
  soon: (action) => {
    setImmediate(action)
  },
}
