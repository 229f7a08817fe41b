/** A clock whose waits end together: what somebody who stops had still to do is not done. Pure. */
import type { Clock, Wait } from './clock.ts'

export class ScopedClock implements Clock {
  readonly #clock: Clock
  readonly #waits = new Set<Wait>()
  #isEnded = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  now(): number {
    return this.#clock.now()
  }

  monotonic(): number {
    return this.#clock.monotonic()
  }

  after(ms: number, action: () => void): Wait {
    if (this.#isEnded) return { cancel: () => {} }
    const wait = this.#clock.after(ms, () => {
      this.#waits.delete(scoped)
      action()
    })
    const scoped = {
      cancel: () => {
        this.#waits.delete(scoped)
        wait.cancel()
      },
    }
    this.#waits.add(scoped)
    return scoped
  }

  soon(action: () => void): void {
    this.#clock.soon(() => {
      if (!this.#isEnded) action()
    })
  }

  /** Cancels every wait; none begins any more. */
  end(): void {
    this.#isEnded = true
    for (const wait of [...this.#waits]) wait.cancel()
  }
}
