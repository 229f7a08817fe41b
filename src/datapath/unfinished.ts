/**
 * A hand-over that failed after the swap of programs had begun: packets meet maps that this process does not write to
 * yet. It is tried again with the next call, then after waits that double; until it is done nothing is written, since
 * no packet would see it. Pure but for its clock.
 */
import { HeraldError, messageOf } from '../errors.ts'
import type { DatapathProblem } from './datapath.ts'

const [firstWaitMs, longestWaitMs] = [250, 30_000]

export class Unfinished {
  readonly #log: (message: string) => void
  readonly #nowMs: () => number
  #finish: (() => void) | undefined
  #reason = ''
  #failures = 0
  #nextMs = 0

  constructor(log: (message: string) => void, nowMs = () => performance.now()) {
    this.#log = log
    this.#nowMs = nowMs
  }

  get problems(): readonly DatapathProblem[] {
    return this.#finish === undefined
      ? []
      : [{ subject: 'hand-over', text: textOf(this.#reason), times: this.#failures }]
  }

  /** `finish` is tried from now on until it does not throw. */
  begin(finish: () => void, error: unknown): void {
    this.#finish = finish
    this.#failures = 0
    this.#failed(error, 0)
  }

  /** Tries again if it is time to. */
  retry(): void {
    const finish = this.#finish
    if (finish === undefined || this.#nowMs() < this.#nextMs) return
    try {
      finish()
      this.#finish = undefined
      this.#log('the maps that packets meet are written to again')
    } catch (error) {
      this.#failed(error, Math.min(firstWaitMs * 2 ** (this.#failures - 1), longestWaitMs))
    }
  }

  /** Throws ERR_SYSCALL while what is written would be seen by no packet. */
  check(): void {
    if (this.#finish !== undefined) throw new HeraldError('ERR_SYSCALL', textOf(this.#reason))
  }

  #failed(error: unknown, waitMs: number): void {
    this.#reason = messageOf(error).split('\n')[0] ?? ''
    this.#failures++
    this.#nextMs = this.#nowMs() + waitMs
    this.#log(textOf(this.#reason))
  }
}

function textOf(reason: string): string {
  return `programs were replaced in part and nothing is written until they all are: ${reason}`
}
