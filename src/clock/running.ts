/**
 * How long something is kept up for others: they see it only while this process runs. A step in which it stood still
 * (SIGSTOP, a suspended machine) does not count, and what is put off ends behind a step in which it ran. Pure.
 */
import type { Clock, Wait } from './clock.ts'

const stepMs = 1_000

/** Runs `done` once when the process has run for so many ms, unless it is cancelled. */
export function afterRunning(clock: Pick<Clock, 'monotonic' | 'after'>, ms: number, done: () => void): Wait {
  let wait: Wait
  const next = (leftMs: number): void => {
    const began = clock.monotonic()
    const partMs = Math.min(leftMs, stepMs)
    wait = clock.after(partMs, () => {
      const hasRun = clock.monotonic() - began < partMs + stepMs
      const restMs = hasRun ? leftMs - partMs : leftMs
      if (restMs > 0 || !hasRun) next(restMs)
      else done()
    })
  }
  next(ms)
  return { cancel: () => wait.cancel() }
}
