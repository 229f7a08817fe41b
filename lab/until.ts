/** Waiting on a state with a deadline, as the lab does everywhere. */
import { HeraldError, messageOf } from '../src/errors.ts'

export interface UntilOptions {
  readonly deadlineMs?: number
  readonly everyMs?: number
  readonly signal?: AbortSignal
  /** A reason why it can never be, which ends the waiting. */
  hopeless?(): string | undefined
}

/**
 * Reads until the answer has `isDone`; a read that throws counts as not yet. Throws ERR_LAB with `what` and what was
 * seen last at the deadline, or as soon as the signal aborts.
 */
export async function until<T>(
  what: string,
  read: () => Promise<T>,
  isDone: (value: T) => boolean,
  options: UntilOptions = {},
): Promise<T> {
  const { deadlineMs = 15_000, everyMs = 200, signal, hopeless } = options
  const deadline = Date.now() + deadlineMs
  for (;;) {
    let seen: string
    try {
      const value = await read()
      if (isDone(value)) return value
      seen = JSON.stringify(value, (_, part: unknown) => (part instanceof Map ? Object.fromEntries(part) : part)).slice(
        0,
        400,
      )
    } catch (error) {
      seen = messageOf(error)
    }
    if (signal?.aborted) throw new HeraldError('ERR_LAB', 'stopped')
    const reason = hopeless?.()
    if (reason !== undefined) throw new HeraldError('ERR_LAB', reason)
    if (Date.now() > deadline)
      throw new HeraldError('ERR_LAB', `not within ${deadlineMs / 1000} s: ${what}; last seen: ${seen}`)
    await new Promise((resolve) => setTimeout(resolve, everyMs))
  }
}
