/**
 * How much is worked on at once: a few answers, some more that wait, and the rest is told to come again. Equal
 * questions share an answer, so a thousand of one kind cost one.
 */
import { HeraldError } from '../errors.ts'

export interface LaneLimits {
  readonly maxRunning: number
  readonly maxWaiting: number
}

export const laneLimits: LaneLimits = { maxRunning: 2, maxWaiting: 64 }

export class Lane<T> {
  readonly #limits: LaneLimits
  readonly #underWay = new Map<string, Promise<T>>()
  readonly #waiting: (() => void)[] = []
  #running = 0

  constructor(limits: LaneLimits = laneLimits) {
    this.#limits = limits
  }

  /** The answer of `work`, or of an equal one that is under way. Rejects with ERR_BUSY when too much waits. */
  run(key: string, work: () => Promise<T>): Promise<T> {
    const known = this.#underWay.get(key)
    if (known !== undefined) return known
    if (this.#running >= this.#limits.maxRunning && this.#waiting.length >= this.#limits.maxWaiting)
      return Promise.reject(new HeraldError('ERR_BUSY', `${this.#limits.maxWaiting} requests wait already`))
    const answer = this.#turn(work).finally(() => this.#underWay.delete(key))
    this.#underWay.set(key, answer)
    return answer
  }

  async #turn(work: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#limits.maxRunning) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    else this.#running++
    try {
      return await work()
    } finally {
      // A place that is free goes to who waits longest, and is never counted as free between the two.
      const next = this.#waiting.shift()
      if (next === undefined) this.#running--
      else next()
    }
  }
}
