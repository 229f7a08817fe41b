/**
 * Whether flows may go past netfilter, as it is now and as long as it lasts.
 *
 *     every three seconds: has anything changed? --yes--> read the rules --> something is in the way: at once
 *     every half minute: read what no number tells of --'                `-> nothing is: only when it has lasted
 *
 * What reading costs decides how often it is done: not more than a hundredth of the loop while rules change all the
 * time, and far less while they do not.
 */
import type { Clock, Wait } from '../clock/clock.ts'
import { messageOf } from '../errors.ts'

export interface NetfilterLooker {
  hasChanged(): boolean
  /** For people: what is in the way; undefined: nothing. */
  read(): string | undefined
}

/** A rule that is new is seen within this, and the time that reading all takes a hundred times. */
export const glanceMs = 3_000
const changingShare = 100
/** Of iptables a rule in place of one of the same size. */
const thoroughMs = 30_000
const idleShare = 12_000
/** Rules that are written anew vanish for a moment, and so do those of an enforcer that is being upgraded. */
export const lastingMs = 600_000

export class NetfilterWatch {
  readonly #looker: NetfilterLooker
  readonly #clock: Clock
  #found: string | undefined
  /** Since when nothing is in the way any more. */
  #clearAt: number | undefined
  #earliestAt = -Infinity
  #thoroughAt = -Infinity
  #changed: () => void = () => undefined
  #wait: Wait | undefined

  /** Looks at once. */
  constructor(looker: NetfilterLooker, clock: Clock) {
    this.#looker = looker
    this.#clock = clock
    this.#look()
  }

  /** For people: what is in the way, or was a while ago; undefined: nothing. */
  get reason(): string | undefined {
    return this.#clearAt === undefined
      ? this.#found
      : `${this.#found ?? ''}; it is gone, and has to be for ${lastingMs / 60_000} minutes`
  }

  start(changed: () => void): void {
    this.#changed = changed
    this.#glanceLater()
  }

  stop(): void {
    this.#wait?.cancel()
  }

  #glanceLater(): void {
    this.#wait = this.#clock.after(glanceMs, () => {
      const before = this.reason
      this.#look()
      if (this.reason !== before) this.#changed()
      this.#glanceLater()
    })
  }

  #look(): void {
    const now = this.#clock.monotonic()
    try {
      if (now >= this.#thoroughAt || (now >= this.#earliestAt && this.#looker.hasChanged())) this.#read(now)
    } catch (error) {
      this.#take(`it cannot be seen what netfilter does: ${messageOf(error)}`, now)
    }
    // A reading that is not due confirms what the last one has found.
    if (this.#clearAt !== undefined && now - this.#clearAt >= lastingMs) {
      this.#found = undefined
      this.#clearAt = undefined
    }
  }

  #read(now: number): void {
    try {
      this.#take(this.#looker.read(), now)
    } finally {
      const tookMs = this.#clock.monotonic() - now
      this.#earliestAt = now + tookMs * changingShare
      this.#thoroughAt = now + Math.max(thoroughMs, tookMs * idleShare)
    }
  }

  #take(found: string | undefined, now: number): void {
    if (found !== undefined) {
      this.#found = found
      this.#clearAt = undefined
    } else if (this.#found !== undefined) this.#clearAt ??= now
  }
}
