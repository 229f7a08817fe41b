/** The clock of the system. */
import type { Clock, Wait } from './clock.ts'

/** setTimeout takes no more and would run at once. */
const longestMs = 2 ** 31 - 1

/** A wait of any length, of steps that a timer takes. */
export function waitOf(ms: number, action: () => void, begin: (stepMs: number, next: () => void) => Wait): Wait {
  let timer: Wait
  const step = (leftMs: number): void => {
    timer = leftMs > longestMs ? begin(longestMs, () => step(leftMs - longestMs)) : begin(leftMs, action)
  }
  step(ms)
  return { cancel: () => timer.cancel() }
}

/**
 * A timer whose action runs only after the loop has read what had come by then. Where the process stood still (SIGSTOP,
 * a suspended machine, a busy loop) the timer is over while an answer lies unread in a socket or a port. The loop polls
 * between a timer and an immediate.
 */
export class LoopTimer implements Wait {
  readonly #timeout: NodeJS.Timeout
  #due: NodeJS.Immediate | undefined

  /** What is over already is over at once; at most 2^31 - 1 ms. */
  constructor(ms: number, action: () => void) {
    const over = (): void => {
      this.#due = setImmediate(action)
    }
    // Of what it does not take, setTimeout tells on stderr, between the lines of the log.
    this.#timeout = setTimeout(over, Math.min(Math.max(ms, 0), longestMs))
  }

  /** Begins anew, also after it was over. */
  refresh(): void {
    clearImmediate(this.#due)
    this.#timeout.refresh()
  }

  cancel(): void {
    clearImmediate(this.#due)
    clearTimeout(this.#timeout)
  }
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after: (ms, action) => waitOf(ms, action, (step, next) => new LoopTimer(step, next)),
  soon: (action) => {
    setImmediate(action)
  },
}
