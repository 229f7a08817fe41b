/**
 * What is left of one turn of the loop for all who share it: each has a bound of its own, and one after the other they
 * would hold the loop for the sum of these. What may wait goes on in the next turn. Pure.
 *
 *     while (!turn.hasTime()) await turn.next      right before each piece of work: who waited with others asks again
 */
import type { Clock } from './clock.ts'

export class Turn {
  readonly #clock: Pick<Clock, 'monotonic' | 'soon'>
  readonly #ms: number
  #beganMs: number | undefined
  #next: Promise<void> = Promise.resolve()

  /** Has time for so many ms, counted from the first question in it. */
  constructor(clock: Pick<Clock, 'monotonic' | 'soon'>, ms: number) {
    this.#clock = clock
    this.#ms = ms
  }

  hasTime(): boolean {
    const now = this.#clock.monotonic()
    this.#beganMs ??= this.#begin(now)
    return now - this.#beganMs < this.#ms
  }

  /** Resolves in the next turn. */
  get next(): Promise<void> {
    return this.#next
  }

  #begin(now: number): number {
    this.#next = new Promise((resolve) =>
      this.#clock.soon(() => {
        this.#beganMs = undefined
        resolve()
      }),
    )
    return now
  }
}
