/**
 * Tells the other nodes at which addresses this one takes packets in tunnels: in a Lease that is written when that
 * changes, or when somebody changed the Lease, and at no other time. All agents watch these Leases, this one its own
 * among them: what it reads there is what the others hear.
 *
 *     other addresses, or not what the others hear --> read --> make or change the Lease --fails--> again, ever later
 */
import type { Clock, Wait } from '../clock/clock.ts'
import { spread } from '../clock/spread.ts'
import type { DesiredTunnels } from '../desired/model.ts'
import type { LeaseAnswer, LeaseSpec, LeaseStore } from '../k8s/lease.ts'
import type { Faults } from './faults.ts'

export interface TunnelTellerParts {
  readonly node: string
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  /** Writes what {@link TunnelTeller.own} is at the moment beside the spec. */
  readonly store: LeaseStore
  readonly faults: Pick<Faults, 'raise' | 'clear'>
}

const fault = 'tunnel lease'
/** Whoever changes the Lease again and again does not have us write more often. */
const leastMs = 1_000
const lastRetryMs = 60_000
/** What was written and is not read is written again after so long. */
const recheckMs = 30_000
/** It is never renewed: how long it lasts means nothing, and has to be something. */
const durationSec = 3_600

export class TunnelTeller {
  readonly #parts: TunnelTellerParts
  #own: readonly string[] = []
  #isTold = true
  /** The last thing that was said is that it takes nothing, of which the watch may not tell. */
  #isNoneSaid = false
  #isWriting = false
  #failures = 0
  #lastAt = -Infinity
  #wait: Wait | undefined
  #isStopped = false

  constructor(parts: TunnelTellerParts) {
    this.#parts = parts
  }

  /** Addresses that are to be told; none: this node takes nothing. */
  get own(): readonly string[] {
    return this.#own
  }

  want({ own, isTold }: Pick<DesiredTunnels, 'own' | 'isTold'>): void {
    this.#own = own
    this.#isTold = isTold || (own.length === 0 && this.#isNoneSaid)
    if (!this.#isTold) return this.#soon()
    // The Lease is right, whoever wrote it.
    this.#wait?.cancel()
    this.#wait = undefined
    this.#failures = 0
    this.#parts.faults.clear(fault, '')
  }

  /** A Lease stays: while the agent restarts the kernel goes on taking packets. */
  stop(): void {
    this.#isStopped = true
    this.#wait?.cancel()
  }

  #soon(): void {
    if (this.#isWriting || this.#wait !== undefined || this.#isStopped) return
    const { clock, random } = this.#parts
    const pauseMs = this.#failures === 0 ? leastMs : Math.min(leastMs * 2 ** this.#failures, lastRetryMs)
    const leftMs = this.#lastAt + spread(pauseMs, random) - clock.monotonic()
    if (leftMs <= 0) void this.#write()
    else this.#later(leftMs)
  }

  #later(ms: number): void {
    this.#wait = this.#parts.clock.after(ms, () => {
      this.#wait = undefined
      if (!this.#isTold) void this.#write()
    })
  }

  async #write(): Promise<void> {
    const { clock, faults } = this.#parts
    const own = this.#own
    this.#isWriting = true
    this.#lastAt = clock.monotonic()
    const answer = await this.#put()
    this.#isWriting = false
    if (this.#isStopped) return
    const isDone = answer.kind === 'found' || (answer.kind === 'absent' && own.length === 0)
    if (isDone) {
      this.#failures = 0
      faults.clear(fault, '')
      this.#isNoneSaid = own.length === 0
      if (own !== this.#own && !this.#isTold) this.#soon()
      // It is for the watch to say that all is well, unless somebody wrote over it in the same moment.
      else if (own.length > 0 && !this.#isTold) this.#later(recheckMs)
      return
    }
    this.#failures++
    const why = answer.kind === 'failed' ? answer.message : 'somebody else writes it'
    faults.raise(fault, '', `the other nodes cannot be told where this one takes packets for its backends: ${why}`)
    if (!this.#isTold) this.#soon()
  }

  async #put(): Promise<LeaseAnswer> {
    const { store } = this.#parts
    const found = await store.read()
    if (this.#isStopped || found.kind === 'failed' || found.kind === 'taken') return found
    if (found.kind === 'found') return store.update(this.#spec(), found.lease.resourceVersion)
    // A node that takes nothing and never did has nothing to say.
    return this.#own.length === 0 ? found : store.create(this.#spec())
  }

  #spec(): LeaseSpec {
    const { node, clock } = this.#parts
    const time = new Date(clock.now()).toISOString().replace('Z', '000Z')
    return { holder: node, durationSec, acquireTime: time, renewTime: time, transitions: 0 }
  }
}
