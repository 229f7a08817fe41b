/** The one way a test waits: polling a state until it is true or a deadline passes. */

export interface WaitOptions {
  readonly deadlineMs?: number
  readonly everyMs?: number
}

/**
 * Resolves with the first value of `read` that is neither undefined nor false; rejects with what was waited for at the
 * deadline.
 */
export async function waitFor<T>(
  what: string,
  read: () => T | Promise<T>,
  options: WaitOptions = {},
): Promise<Exclude<T, undefined | false>> {
  const { deadlineMs = 30_000, everyMs = 20 } = options
  const deadline = Date.now() + deadlineMs
  for (;;) {
    const value = await read()
    if (value !== undefined && value !== false) return value as Exclude<T, undefined | false>
    if (Date.now() > deadline) throw new Error(`not seen within ${deadlineMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, everyMs))
  }
}

/**
 * The loop of this thread does not come round for so long, as while the process is stopped: what a test has happen to
 * its subject, never a way to wait.
 */
export function standStill(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}
