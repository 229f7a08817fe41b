/**
 * Who of several operators works, as client-go has it: a Lease that is renewed, and taken over when it was seen
 * unchanged for as long as it lasts. Pure but for its ports.
 *
 *     standby: look every 2 s --free, or unchanged for 15 s--> update --> leading: renew every 2 s
 *                                                                           `--no success for 10 s, or taken--> lost
 *
 * Only the local clock counts, never a time that the Lease says. A leader counts as one until 10 s after the beginning
 * of its last renewal that succeeded; others wait 15 s. Who has lost never leads again: its process ends.
 */
import type { Clock, Wait } from '../clock/clock.ts'
import type { LeaseAnswer, LeaseRecord, LeaseSpec, LeaseStore } from '../k8s/lease.ts'
import type { OperatorLog } from './log.ts'

const leaseDurationSec = 15
/** Whatever a Lease says: who lives renews it every 2 s, and a Lease of 68 years must not outlast its holder. */
const longestWaitSec = 60
const renewDeadlineMs = 10_000
const retryMs = 2_000
/** After an answer that took longer than that: a lost request must not cost the time of the next one. */
const leastMs = 200
/** Looks of those that wait are spread by a fifth more. */
const spread = 1.2
const rememberedTerms = 8

export interface ElectionParts {
  readonly store: LeaseStore
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly identity: string
  readonly log: OperatorLog
  /** Once. */
  readonly onLeading: () => void
  /** Once, after which nothing may be written. */
  readonly onLost: (why: string) => void
}

type Role = 'standby' | 'leading' | 'over'

export class Election {
  readonly #parts: ElectionParts
  #role: Role = 'standby'
  #observed: LeaseRecord | undefined
  #observedText = ''
  #observedAtMs = 0
  #leadsUntilMs = 0
  #running: Promise<void> = Promise.resolve()
  #wait: Wait | undefined
  #deadline: Wait | undefined
  #failure = ''
  /** Of what was written, or asked for, last: an edit of anything else leaves the Lease ours. */
  #terms: readonly string[] = []

  constructor(parts: ElectionParts) {
    this.#parts = parts
  }

  /** To be asked right before each write. */
  get isLeader(): boolean {
    return this.#role === 'leading' && this.#parts.clock.monotonic() < this.#leadsUntilMs
  }

  /** As far as it was seen; empty when nobody does. */
  get holder(): string {
    return this.#observed?.spec.holder ?? ''
  }

  start(): void {
    this.#running = this.#look()
  }

  /** Lets another one lead at once. What was to be written has to be written by now. */
  async stop(): Promise<void> {
    const wasLeader = this.isLeader
    this.#end()
    await this.#running
    const lease = this.#observed
    if (!wasLeader || lease === undefined || lease.spec.holder !== this.#parts.identity) return
    const now = this.#now()
    const spec = { ...lease.spec, holder: '', durationSec: 1, renewTime: now, acquireTime: now }
    await this.#parts.store.update(spec, lease.resourceVersion)
  }

  #end(): void {
    this.#role = 'over'
    this.#wait?.cancel()
    this.#deadline?.cancel()
  }

  #again(startedMs: number): void {
    if (this.#role === 'over') return
    const { clock, random } = this.#parts
    const leaderMs = Math.max(leastMs, startedMs + retryMs - clock.monotonic())
    const ms = this.#role === 'leading' ? leaderMs : retryMs * (1 + random() * (spread - 1))
    this.#wait = clock.after(ms, () => {
      this.#running = this.#look()
    })
  }

  async #look(): Promise<void> {
    const startedMs = this.#parts.clock.monotonic()
    // A pause may have outlasted the lease: then this turn is the first to know.
    if (this.#role === 'leading' && !this.isLeader) return this.#lost('the Lease was not renewed in time')
    const answer = this.#role === 'leading' ? await this.#renew() : await this.#acquire()
    if (this.#role === 'over') {
      if (answer.kind === 'found') this.#observe(answer.lease)
      return
    }
    if (answer.kind === 'failed') this.#failed(answer.message)
    else this.#failure = ''
    if (answer.kind === 'found') {
      this.#observe(answer.lease)
      if (answer.lease.spec.holder === this.#parts.identity) this.#holds(startedMs)
      else if (this.#role === 'leading') this.#lost(`${answer.lease.spec.holder || 'nobody'} holds the Lease`)
    }
    this.#again(startedMs)
  }

  /** Each reason once. */
  #failed(message: string): void {
    if (message === this.#failure) return
    this.#failure = message
    this.#parts.log.warn({ why: message }, 'the Lease can be neither read nor written')
  }

  #holds(startedMs: number): void {
    const { clock, log, identity, onLeading } = this.#parts
    this.#leadsUntilMs = startedMs + renewDeadlineMs
    this.#deadline?.cancel()
    const leftMs = this.#leadsUntilMs - clock.monotonic()
    this.#deadline = clock.after(leftMs, () => this.#lost('the Lease was not renewed in time'))
    if (this.#role === 'leading' || !(leftMs > 0)) return
    this.#role = 'leading'
    log.info({ identity }, 'this operator leads')
    onLeading()
  }

  #lost(why: string): void {
    if (this.#role !== 'leading') return
    this.#end()
    this.#parts.onLost(why)
  }

  /** With the version that is known; somebody who changed it is looked at. */
  async #renew(): Promise<LeaseAnswer> {
    const { store, identity } = this.#parts
    const known = this.#observed
    if (known !== undefined) {
      const spec = { ...known.spec, durationSec: leaseDurationSec, renewTime: this.#now() }
      const answer = await this.#update(spec, known.resourceVersion)
      if (answer.kind === 'found' || answer.kind === 'failed') return answer
    }
    const found = await store.read()
    // Deleted, or with a label more: it is still ours.
    if (found.kind === 'absent') return this.#create()
    if (found.kind !== 'found' || found.lease.spec.holder !== identity) return found
    if (!this.#terms.includes(termOf(found.lease.spec))) {
      this.#lost(`another operator calls itself ${identity} as well`)
      return { kind: 'taken' }
    }
    const spec = { ...found.lease.spec, durationSec: leaseDurationSec, renewTime: this.#now() }
    return this.#update(spec, found.lease.resourceVersion)
  }

  #create(): Promise<LeaseAnswer> {
    const spec = this.#specOf(undefined)
    this.#remember(spec)
    return this.#parts.store.create(spec)
  }

  #update(spec: LeaseSpec, resourceVersion: string): Promise<LeaseAnswer> {
    this.#remember(spec)
    return this.#parts.store.update(spec, resourceVersion)
  }

  /** An update without an answer may have been made. */
  #remember(spec: LeaseSpec): void {
    this.#terms = [...this.#terms.slice(1 - rememberedTerms), termOf(spec)]
  }

  async #acquire(): Promise<LeaseAnswer> {
    const found = await this.#parts.store.read()
    // Deleted: who held it may not know yet, and has it back at its next renewal.
    if (found.kind === 'absent') return this.#isHeldByAnother() ? found : this.#create()
    if (found.kind !== 'found') return found
    this.#observe(found.lease)
    if (this.#isHeldByAnother()) return found
    return this.#role === 'over' ? found : this.#update(this.#specOf(found.lease.spec), found.lease.resourceVersion)
  }

  /** As far as it was seen. A length that was shortened by hand is not known to the holder. */
  #isHeldByAnother(): boolean {
    const { holder = '', durationSec = 0 } = this.#observed?.spec ?? {}
    if (holder === '' || holder === this.#parts.identity) return false
    const waitSec = Math.min(Math.max(durationSec, leaseDurationSec), longestWaitSec)
    return this.#parts.clock.monotonic() < this.#observedAtMs + waitSec * 1000
  }

  #observe(lease: LeaseRecord): void {
    const text = JSON.stringify(lease.spec)
    if (this.#observed === undefined || text !== this.#observedText) {
      if (lease.spec.holder !== this.#observed?.spec.holder && lease.spec.holder !== this.#parts.identity)
        this.#parts.log.info({ holder: lease.spec.holder }, 'another operator holds the Lease')
      this.#observedAtMs = this.#parts.clock.monotonic()
      this.#observedText = text
    }
    this.#observed = lease
  }

  #specOf(before: LeaseSpec | undefined): LeaseSpec {
    const now = this.#now()
    return {
      holder: this.#parts.identity,
      durationSec: leaseDurationSec,
      acquireTime: now,
      renewTime: now,
      transitions: before === undefined ? 0 : before.transitions + 1,
    }
  }

  /** MicroTime of Kubernetes. */
  #now(): string {
    return new Date(this.#parts.clock.now()).toISOString().replace('Z', '000Z')
  }
}

/** From taking a Lease to losing it: two processes of one name have different ones. */
function termOf({ acquireTime, transitions }: LeaseSpec): string {
  return `${transitions} ${acquireTime}`
}
