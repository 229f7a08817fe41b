/**
 * Frontends that nobody wants any more: served for a while after the withdrawal, then removed in bounded slices; a
 * removal that fails is tried again with back-off.
 */
import type { Clock, Wait } from '../clock/clock.ts'

export interface DrainTimes {
  readonly drainMs: number
  readonly retryMs: number
  readonly retryMaxMs: number
}

/** Removals in one turn of the loop; each is a few system calls. */
const sliceRemovals = 64
/** A withdrawal reaches the routers only while this process runs: a step in which it stood still does not count. */
const stepMs = 1_000

interface Drain {
  readonly at: number
  readonly attempts: number
}

export class Drains {
  readonly #clock: Clock
  readonly #times: DrainTimes
  /** False: it failed, try again later. */
  readonly #remove: (id: string) => boolean
  readonly #drains = new Map<string, Drain>()
  #wait: { readonly at: number; readonly wait: Wait } | undefined

  constructor(clock: Clock, times: DrainTimes, remove: (id: string) => boolean) {
    this.#clock = clock
    this.#times = times
    this.#remove = remove
  }

  /** Begins to drain; one that drains already begins anew. */
  add(id: string): void {
    this.#set(id, { at: this.#clock.monotonic() + this.#times.drainMs, attempts: 0 })
  }

  /** It is wanted again. */
  cancel(id: string): void {
    this.#drains.delete(id)
  }

  #set(id: string, drain: Drain): void {
    // Anew at the end: the order of the map is that of the moments, but for retries.
    this.#drains.delete(id)
    this.#drains.set(id, drain)
    this.#wake(drain.at)
  }

  #wake(at: number): void {
    if (this.#wait !== undefined && this.#wait.at <= at) return
    this.#wait?.wait.cancel()
    const began = this.#clock.monotonic()
    const leftMs = Math.max(0, at - began)
    const wait = this.#clock.after(Math.min(leftMs, stepMs), () => {
      this.#wait = undefined
      const tookMs = this.#clock.monotonic() - began
      if (tookMs >= 2 * stepMs) this.#putOff(tookMs)
      else if (leftMs > stepMs) return this.#wake(at)
      this.#run()
    })
    this.#wait = { at, wait }
  }

  #putOff(ms: number): void {
    for (const [id, { at, attempts }] of this.#drains) this.#drains.set(id, { at: at + ms, attempts })
  }

  #run(): void {
    const now = this.#clock.monotonic()
    const due = [...this.#drains].filter(([, { at }]) => at <= now).slice(0, sliceRemovals)
    for (const [id, { attempts }] of due) {
      this.#drains.delete(id)
      if (this.#remove(id)) continue
      const waitMs = Math.min(this.#times.retryMs * 2 ** attempts, this.#times.retryMaxMs)
      this.#drains.set(id, { at: now + waitMs, attempts: attempts + 1 })
    }
    let next = Infinity
    for (const { at } of this.#drains.values()) next = Math.min(next, at)
    if (next < Infinity) this.#wake(next)
  }
}
