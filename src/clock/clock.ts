/** Time as the agent and the operator see it: of the system (system-clock.ts), or one that a test turns. */

/** A wait under way. */
export interface Wait {
  /** The action will not run; without effect when it did. */
  cancel(): void
}

export interface Clock {
  /** ms since the epoch; may jump. */
  now(): number
  /** ms since some moment; never goes back. */
  monotonic(): number
  /**
   * Runs `action` once, at least `ms` from now, in a turn of the loop of its own: what had come by then was read before
   * it, and may have cancelled it.
   */
  after(ms: number, action: () => void): Wait
  /** Runs `action` once, when what is due in this turn of the loop was done. */
  soon(action: () => void): void
}
