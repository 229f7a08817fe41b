/**
 * The one place that decides that the speaker has every route that is wanted, which End-of-RIB says of a session's
 * first update (RFC 4724 2).
 *
 *     starting --all handed over, nothing of an earlier agent missed--> whole     --synced---> speaker
 *     whole ------other neighbors, or more than one slice-------------> following --syncing--> speaker
 *     following --all handed over-------------------------------------> whole     --synced---> speaker
 *
 * Neighbors are told to the speaker before the routes that name them, and their sessions may be up in a millisecond: a
 * router that has chosen nothing yet, or keeps what it had of us, would take a part of the routes for all of them. For
 * changes without an end the speaker lets no session wait longer than a minute.
 */
import type { Clock } from '../clock/clock.ts'
import { deadline } from '../clock/deadline.ts'
import { Due } from '../clock/due.ts'
import type { Problem } from '../desired/model.ts'
import type { ObjectSource } from '../k8s/source.ts'
import type { ToSpeaker } from '../speaker/protocol.ts'
import type { AgentLog } from './agent-log.ts'
import type { Faults } from './faults.ts'
import { type InForce, missingAfterRestart } from './in-force.ts'

export interface EndOfRibPorts {
  readonly clock: Clock
  readonly log: Pick<AgentLog, 'warn'>
  readonly faults: Pick<Faults, 'raise' | 'clear' | 'current'>
  readonly source: Pick<ObjectSource, 'state'>
  /** There was an earlier agent, and what it had in force; `record` is undefined when that is not known. */
  readonly earlier: { readonly record: InForce | undefined } | undefined
  post(message: ToSpeaker): void
  inForce(): InForce
  problems(): readonly Problem[]
  /** What is waited for may be over: call {@link EndOfRib.handedOver} when it is true. */
  wake(): void
}

/**
 * A restart waits so long for what was in force before and is not now: it may be on the routers and in the kernel, and
 * End-of-RIB would remove it (RFC 4724 4.1; the cap is that of a deferred selection).
 */
const heldBackMs = 60_000
const retryMs = 30_000
/** Named in a log line; the others are counted. */
const namedMissing = 5

export class EndOfRib {
  readonly #ports: EndOfRibPorts
  readonly #startedMs: number
  readonly #sourceRetries: Due
  #phase: 'starting' | 'whole' | 'following' = 'starting'
  #isPatienceOver = false
  #note: string | undefined

  constructor(ports: EndOfRibPorts) {
    const { clock, earlier } = ports
    this.#ports = ports
    this.#startedMs = clock.monotonic()
    this.#sourceRetries = new Due(clock, () => ports.wake())
    // What is waited for is read by this process: time in which it stands still does not count.
    if (earlier !== undefined)
      deadline(clock, heldBackMs, () => {
        this.#isPatienceOver = true
        ports.wake()
      })
  }

  /** All that was wanted was handed over once: what an earlier agent left is nobody's. */
  get isSettled(): boolean {
    return this.#phase !== 'starting'
  }

  /** What is waited for after a restart, while it is. */
  get note(): string | undefined {
    return this.#note
  }

  /** More follows; to be said before the first of it is posted. */
  follows(): void {
    if (this.#phase !== 'whole') return
    this.#phase = 'following'
    this.#ports.post({ type: 'syncing' })
  }

  /** Nothing wanted is left to be posted; true when that is so for the first time, and nothing is waited for. */
  handedOver(): boolean {
    const isFirst = this.#phase === 'starting'
    if (isFirst && this.#mustHoldBack()) return false
    if (isFirst) this.#ports.faults.clear('restart', '')
    this.#note = undefined
    if (this.#phase !== 'whole') this.#ports.post({ type: 'synced' })
    this.#phase = 'whole'
    return isFirst
  }

  /** After a restart, while something that was in force is missing and the wait for it is not over. */
  #mustHoldBack(): boolean {
    const { earlier, source, log, faults } = this.#ports
    if (earlier === undefined) return false
    const missing = missingAfterRestart({
      before: earlier.record,
      now: this.#ports.inForce(),
      problems: this.#ports.problems(),
      hasFaults: faults.current.some(({ key }) => key !== 'restart'),
      source: source.state,
    })
    if (missing.length === 0) return false
    const names = [
      ...missing.slice(0, namedMissing),
      ...(missing.length > namedMissing ? [`${missing.length - namedMissing} more`] : []),
    ].join(', ')
    if (!this.#isPatienceOver) {
      const leftMs = this.#startedMs + heldBackMs - this.#ports.clock.monotonic()
      const isTold = this.#note !== undefined
      this.#note =
        `in force before the restart and not now: ${names}; End-of-RIB and what an earlier agent left wait up to ` +
        `${Math.max(1, Math.ceil(leftMs / 1000))} s for it`
      if (!isTold) log.warn({ missing: missing.length }, this.#note)
      return true
    }
    if (source.state.isReachable) {
      log.warn({ missing: missing.length }, `waited long enough after the restart, given up: ${names}`)
      return false
    }
    this.#note = undefined
    // Nothing is given up on the strength of a source that cannot be read.
    faults.raise('restart', '', `the source cannot be read; kept as an earlier agent left it: ${names}`)
    this.#sourceRetries.after(retryMs)
    return true
  }
}
