/** How long one answer may take: between two reads, and from its request to its last octet. */
import type { Clock, Wait } from '../../clock/clock.ts'
import { deadline } from '../../clock/deadline.ts'

export class Patience {
  readonly signal: AbortSignal
  readonly #clock: Clock
  readonly #stallMs: number
  readonly #over = new AbortController()
  readonly #whole: Wait
  #stall: Wait
  /** Something was read since this is waited for. A timer for each read would cost more than the reading. */
  #hasGoneOn = false
  /** What was too slow; undefined: nothing so far. */
  problem: string | undefined

  constructor(clock: Clock, ends: AbortSignal, { stallMs, wholeMs }: { stallMs: number; wholeMs: number }) {
    this.#clock = clock
    this.#stallMs = stallMs
    this.signal = AbortSignal.any([ends, this.#over.signal])
    this.#whole = deadline(clock, wholeMs, () => this.#end(`was not complete after ${wholeMs / 1000} s`))
    this.#stall = this.#await()
  }

  /** Something was read. What does not go on after it is given up between this time and twice as much later. */
  goesOn(): void {
    this.#hasGoneOn = true
  }

  end(): void {
    this.#stall.cancel()
    this.#whole.cancel()
    this.#over.abort()
  }

  #await(): Wait {
    this.#hasGoneOn = false
    return deadline(this.#clock, this.#stallMs, () => {
      if (this.#hasGoneOn) this.#stall = this.#await()
      else this.#end(`did not go on for ${this.#stallMs / 1000} s`)
    })
  }

  #end(what: string): void {
    this.problem ??= `the answer of the API server ${what}`
    this.#over.abort()
  }
}
