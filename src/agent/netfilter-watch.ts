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
import type { Netfilter, RulesMet, Traffic } from '../datapath/datapath.ts'
import { messageOf } from '../errors.ts'

export interface NetfilterLooker extends Netfilter {
  hasChanged(): boolean
}

/** A rule that is new is seen within this, and the time that reading all takes a hundred times. */
export const glanceMs = 3_000
const changingShare = 100
/** Of iptables a rule in place of one of the same size. */
export const thoroughMs = 30_000
const idleShare = 12_000
/**
 * Whatever a reading took: it may have been the process that stood still meanwhile. The first is less than what a look
 * is believed for (`permitSec`).
 */
export const mostPauseMs = 240_000
export const mostIdleMs = 600_000
/** So often it is told that all is as it was: who is not told so for a while no longer believes it. */
export const confirmMs = 60_000
/** Rules that are written anew vanish for a moment, and so do those of an enforcer that is being upgraded. */
export const lastingMs = 600_000

/** What is in the way, and was a while ago. */
class Finding {
  #found: string | undefined
  /** Since when nothing is in the way any more. */
  #clearAt: number | undefined

  get reason(): string | undefined {
    return this.#clearAt === undefined
      ? this.#found
      : `${this.#found ?? ''}; it is gone, and has to be for ${lastingMs / 60_000} minutes`
  }

  take(found: string | undefined, now: number): void {
    if (found !== undefined) {
      this.#found = found
      this.#clearAt = undefined
    } else if (this.#found !== undefined) this.#clearAt ??= now
  }

  forgetOld(now: number): void {
    if (this.#clearAt === undefined || now - this.#clearAt < lastingMs) return
    this.#found = undefined
    this.#clearAt = undefined
  }
}

export class NetfilterWatch implements Netfilter {
  readonly #looker: NetfilterLooker
  readonly #clock: Clock
  readonly #policy = new Finding()
  /** The same of this traffic alone. */
  readonly #rule = new Finding()
  readonly #translation = new Finding()
  /** What was asked about last. */
  #traffic: Traffic = { pods: new Map(), former: new Set(), shown: new Set(), uplinks: [], elsewhere: [] }
  #earliestAt = -Infinity
  #thoroughAt = -Infinity
  #toldAt = -Infinity
  #changed: () => void = () => undefined
  #wait: Wait | undefined

  /** Looks at once. */
  constructor(looker: NetfilterLooker, clock: Clock) {
    this.#looker = looker
    this.#clock = clock
    this.#look()
  }

  policies(): string | undefined {
    return this.#policy.reason
  }

  /** This traffic is what is looked for from here on. */
  rules(traffic: Traffic, fresh?: Iterable<string>): RulesMet {
    this.#traffic = traffic
    this.#takeRules(fresh)
    return { policy: this.#rule.reason, translation: this.#translation.reason }
  }

  #takeRules(fresh?: Iterable<string>): void {
    const { policy, translation } = this.#looker.rules(this.#traffic, fresh)
    const now = this.#clock.monotonic()
    this.#rule.take(policy, now)
    this.#translation.take(translation, now)
  }

  /** `changed` is called also when nothing has for {@link confirmMs}. */
  start(changed: () => void): void {
    this.#changed = changed
    this.#toldAt = this.#clock.monotonic()
    this.#glanceLater()
  }

  stop(): void {
    this.#wait?.cancel()
  }

  get #findings(): readonly Finding[] {
    return [this.#policy, this.#rule, this.#translation]
  }

  get #reasons(): string {
    return this.#findings.map(({ reason }) => reason).join('\n')
  }

  #glanceLater(): void {
    this.#wait = this.#clock.after(glanceMs, () => {
      const before = this.#reasons
      this.#look()
      const now = this.#clock.monotonic()
      if (this.#reasons !== before || now - this.#toldAt >= confirmMs) {
        this.#toldAt = now
        this.#changed()
      }
      this.#glanceLater()
    })
  }

  #look(): void {
    const now = this.#clock.monotonic()
    try {
      if (now >= this.#thoroughAt || (now >= this.#earliestAt && this.#looker.hasChanged())) this.#read(now)
    } catch (error) {
      this.#policy.take(`it cannot be seen what netfilter does: ${messageOf(error)}`, now)
    }
    // A reading that is not due confirms what the last one has found.
    for (const finding of this.#findings) finding.forgetOld(now)
  }

  #read(now: number): void {
    try {
      this.#policy.take(this.#looker.policies(), now)
      this.#takeRules()
    } finally {
      const tookMs = this.#clock.monotonic() - now
      this.#earliestAt = now + Math.min(tookMs * changingShare, mostPauseMs)
      this.#thoroughAt = now + Math.min(Math.max(thoroughMs, tookMs * idleShare), mostIdleMs)
    }
  }
}
