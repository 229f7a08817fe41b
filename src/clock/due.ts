/** Something that is done once, however often and by whomever it is asked for before its turn comes. Pure. */
import type { Clock } from './clock.ts'

export class Due {
  readonly #clock: Pick<Clock, 'after' | 'soon'>
  readonly #action: () => void
  #isDue = false

  constructor(clock: Pick<Clock, 'after' | 'soon'>, action: () => void) {
    this.#clock = clock
    this.#action = action
  }

  /** It was asked for, and its turn is still to come. */
  get isDue(): boolean {
    return this.#isDue
  }

  /** In a turn of the loop of its own. */
  soon(): void {
    this.#begin((run) => this.#clock.soon(run))
  }

  /** In so many ms; what is due already stays due when it is. */
  after(ms: number): void {
    this.#begin((run) => void this.#clock.after(ms, run))
  }

  #begin(wait: (run: () => void) => void): void {
    if (this.#isDue) return
    this.#isDue = true
    wait(() => {
      this.#isDue = false
      this.#action()
    })
  }
}
