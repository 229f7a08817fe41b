/**
 * Says that this agent lives: its Lease is renewed every 10 s, one small write that nobody watches. Who asks for the
 * cluster sees by it that a node is gone, of which the last word stays.
 *
 *     start --> read or make the Lease --> renew in 9 to 11 s --no answer, or another version--> read it again
 */
import type { Clock, Wait } from '../clock/clock.ts'
import type { LeaseAnswer, LeaseRecord, LeaseSpec, LeaseStore } from '../k8s/lease.ts'
import { lifeLastsSec, renewEverySec } from '../k8s/node-life.ts'
import type { Faults } from './faults.ts'

export interface HeartbeatParts {
  readonly node: string
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly store: LeaseStore
  readonly faults: Pick<Faults, 'raise' | 'clear'>
}

const fault = 'heartbeat'
/** Many agents must not ask in one moment. */
const spread = 0.2

export class Heartbeat {
  readonly #parts: HeartbeatParts
  readonly #startedAt: string
  #known: LeaseRecord | undefined
  #transitions = 0
  #isOurs = false
  #wait: Wait | undefined
  #isStopped = false

  constructor(parts: HeartbeatParts) {
    this.#parts = parts
    this.#startedAt = this.#now()
  }

  start(): void {
    void this.#beat()
  }

  /** The Lease stays: a restart renews it before anybody misses it. */
  stop(): void {
    this.#isStopped = true
    this.#wait?.cancel()
  }

  async #beat(): Promise<void> {
    const { clock, random, faults } = this.#parts
    let answer = await this.#renew()
    // Somebody put a label on it, or took it away: once more with what is there now.
    if (answer.kind === 'taken' || answer.kind === 'absent') {
      this.#known = undefined
      answer = await this.#renew()
    }
    if (this.#isStopped) return
    if (answer.kind === 'found') {
      this.#known = answer.lease
      this.#isOurs = true
      faults.clear(fault, '')
    } else {
      this.#known = undefined
      const why = answer.kind === 'failed' ? answer.message : 'somebody else writes it'
      faults.raise(fault, '', `the Lease by which the cluster knows that this agent lives cannot be renewed: ${why}`)
    }
    const ms = renewEverySec * 1000 * (1 - spread / 2 + random() * spread)
    this.#wait = clock.after(ms, () => void this.#beat())
  }

  async #renew(): Promise<LeaseAnswer> {
    const { store } = this.#parts
    if (this.#known !== undefined) return store.update(this.#spec(), this.#known.resourceVersion)
    const found = await store.read()
    if (this.#isStopped || found.kind === 'failed') return found
    if (found.kind !== 'found') return store.create(this.#spec())
    // Each process counts, as each holder of a Lease does.
    if (!this.#isOurs) this.#transitions = found.lease.spec.transitions + 1
    return store.update(this.#spec(), found.lease.resourceVersion)
  }

  #spec(): LeaseSpec {
    const { node } = this.#parts
    return {
      holder: node,
      durationSec: lifeLastsSec,
      acquireTime: this.#startedAt,
      renewTime: this.#now(),
      transitions: this.#transitions,
    }
  }

  /** MicroTime of Kubernetes; for people. */
  #now(): string {
    return new Date(this.#parts.clock.now()).toISOString().replace('Z', '000Z')
  }
}
