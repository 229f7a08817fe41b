/**
 * How long an answer is waited for. While the process stood still (SIGSTOP, a suspended machine, a busy loop) neither
 * another of its threads could answer nor it read what was answered: such time does not count, and a deadline ends with
 * a part in which the process ran. Not for what others do by the same time, as a hold timer or a Lease. Pure.
 */
import type { Clock, Wait } from './clock.ts'

const parts = 4
/** A timer is a millisecond late or two: of a shorter part it could not be told whether the process ran. */
const leastMs = 40

/** Runs `late` once unless it is cancelled; after `ms` where nothing stood still. */
export function deadline(clock: Clock, ms: number, late: () => void): Wait {
  const partMs = Math.max(leastMs, ms) / parts
  let wait: Wait
  const next = (left: number): void => {
    const began = clock.monotonic()
    wait = clock.after(partMs, () => {
      const hasRun = clock.monotonic() - began < 2 * partMs
      const rest = hasRun ? left - 1 : Math.max(1, left - 1)
      if (rest === 0) late()
      else next(rest)
    })
  }
  next(parts)
  return { cancel: () => wait.cancel() }
}

/** What may not be answered, as by a file system that stalls, is waited for no longer than this. */
const answerMs = 5_000

/** False: it takes too long. Rejects as the answer does. */
export async function answerWithin(clock: Clock, answer: Promise<void>): Promise<boolean> {
  let giveUp = (): void => {}
  const late = new Promise<false>((resolve) => (giveUp = () => resolve(false)))
  const wait = deadline(clock, answerMs, giveUp)
  try {
    return await Promise.race([answer.then(() => true), late])
  } finally {
    wait.cancel()
  }
}
