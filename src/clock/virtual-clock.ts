/** A clock that stands still until it is turned: then everything that falls due runs, in its order. Pure. */
import type { Clock, Wait } from './clock.ts'

interface Alarm {
  readonly at: number
  readonly action: () => void
}

export class VirtualClock implements Clock {
  #elapsedMs = 0
  readonly #epochMs: number
  /** In the order of their making; those of one moment run in it. */
  #alarms: Alarm[] = []
  #soon: (() => void)[] = []

  constructor(epochMs = 1_700_000_000_000) {
    this.#epochMs = epochMs
  }

  now(): number {
    return this.#epochMs + this.#elapsedMs
  }

  monotonic(): number {
    return this.#elapsedMs
  }

  after(ms: number, action: () => void): Wait {
    const alarm = { at: this.#elapsedMs + Math.max(0, ms), action }
    this.#alarms.push(alarm)
    return {
      cancel: () => {
        this.#alarms = this.#alarms.filter((other) => other !== alarm)
      },
    }
  }

  soon(action: () => void): void {
    this.#soon.push(action)
  }

  /** Waits that are under way. */
  get pending(): number {
    return this.#alarms.length
  }

  /** Runs what was asked for `soon`, and what that asks for, until nothing is left. */
  settle(): void {
    for (let action = this.#soon.shift(); action !== undefined; action = this.#soon.shift()) action()
  }

  /**
   * Lets `ms` go by in which the process stands still: what falls due meanwhile runs when it goes on, all of it late.
   */
  standStill(ms: number): void {
    this.#elapsedMs += ms
    this.advance(0)
  }

  /** Lets `ms` go by. */
  advance(ms: number): void {
    const until = this.#elapsedMs + ms
    this.settle()
    for (let next = this.#next(until); next !== undefined; next = this.#next(until)) {
      this.#alarms = this.#alarms.filter((other) => other !== next)
      this.#elapsedMs = Math.max(this.#elapsedMs, next.at)
      next.action()
      this.settle()
    }
    this.#elapsedMs = until
  }

  #next(until: number): Alarm | undefined {
    let next: Alarm | undefined
    for (const alarm of this.#alarms) if (alarm.at <= until && (next === undefined || alarm.at < next.at)) next = alarm
    return next
  }
}
