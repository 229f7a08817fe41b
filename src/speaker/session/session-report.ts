/**
 * What is told of a session: the state that is shown, how it came about, why the last one ended and why dials come to
 * nothing. Of the candidate only what is said when there is no session. Pure.
 */
import type { FsmAction, FsmEvent, FsmState } from '../../bgp/fsm/events.ts'
import { ErrorCode } from '../../bgp/messages/numbers.ts'
import type { Neighbor } from '../../desired/model.ts'
import type { ResetReason, SessionTransition } from '../protocol.ts'
import type { Connection } from './connection.ts'
import type { Environment } from './environment.ts'
import { progressReason, resetReason, stateReason, TransitionLog } from './transitions.ts'
import type { SessionEvents } from './types.ts'

export interface ReportedSession {
  readonly environment: Pick<Environment, 'now' | 'uptimeSec'>
  readonly events: Pick<SessionEvents, 'stateChanged' | 'log'>
  readonly neighbor: () => Neighbor
  /** The address of the peer, or how it is looked for. */
  readonly peerText: () => string
  readonly isStopped: () => boolean
}

export class SessionReport {
  lastReset: ResetReason | undefined
  shown: FsmState = 'Idle'
  readonly #of: ReportedSession
  readonly #log = new TransitionLog()
  #dialProblem: string | undefined
  /** Why a connection that the peer opened came to nothing. */
  #candidateProblem: string | undefined
  /** Of the environment's uptime. */
  #idleUntilSec = 0

  constructor(of: ReportedSession) {
    this.#of = of
  }

  get transitions(): readonly SessionTransition[] {
    return this.#log.entries
  }

  /** Why the session is not Established. */
  reason(state: FsmState, isPeerConnected: boolean): string | undefined {
    return stateReason(state, {
      isStopped: this.#of.isStopped(),
      dialling: `${this.#of.peerText()} port ${this.#of.neighbor().peerPort}`,
      problem: this.#dialProblem ?? this.#candidateProblem,
      lastReset: this.lastReset?.text,
      isPeerConnected,
      idleSec: this.#idleUntilSec - this.#of.environment.uptimeSec(),
    })
  }

  show(state: FsmState, reason: string): void {
    if (state === this.shown) return
    const previous = this.shown
    this.shown = state
    this.#log.add(this.at(), previous, state, reason)
    this.#of.events.stateChanged(state, previous)
  }

  /**
   * What the last change of a connection means, in words; an end is remembered as the last reset. `ended`: the state in
   * which the connection was when it ended.
   */
  why(connection: Connection, ended: FsmState | undefined, event: FsmEvent, actions: readonly FsmAction[]): string {
    const { detail, direction } = connection
    connection.detail = undefined
    if (ended === undefined)
      return event.type === 'tcpFailed' ? this.#dialReason(event.reason) : progressReason(event, direction)
    // A router that keeps a session shut down takes connections and ends them without a word: what it said stays.
    if (ended === 'OpenSent' && event.type === 'tcpFailed' && hasSaidWhy(this.lastReset)) return event.reason
    this.lastReset = this.#end(event, actions, detail) ?? this.lastReset
    return this.lastReset?.text ?? progressReason(event, direction)
  }

  /** What was armed with a change. */
  armed(actions: readonly FsmAction[]): void {
    for (const action of actions)
      if (action.do === 'arm' && action.timer === 'idleHold')
        this.#idleUntilSec = this.#of.environment.uptimeSec() + action.sec
  }

  dialled(): void {
    this.#dialProblem = undefined
  }

  established(): void {
    this.#dialProblem = undefined
    this.#candidateProblem = undefined
  }

  /** Told once, however often the dial fails in the same way. */
  dialFailed(reason: string): void {
    const problem = this.#dialReason(reason)
    const { peerPort } = this.#of.neighbor()
    if (problem !== this.#dialProblem)
      this.#of.events.log('warn', `cannot connect to ${this.#of.peerText()} port ${peerPort}: ${problem}`)
    this.#dialProblem = problem
  }

  /** A connection that the peer opened ended before it was the session. */
  candidateFailed(candidate: Connection, event: FsmEvent, actions: readonly FsmAction[]): void {
    const end = this.#end(event, actions, candidate.detail)?.text
    if (end === undefined) return
    const problem = `the peer connected and no session came of it: ${end}`
    if (problem !== this.#candidateProblem) this.#of.events.log('warn', problem)
    this.#candidateProblem = problem
  }

  at(): string {
    return new Date(this.#of.environment.now()).toISOString()
  }

  #end(event: FsmEvent, actions: readonly FsmAction[], detail: string | undefined): ResetReason | undefined {
    return resetReason(this.at(), event, actions, { detail, isStopped: this.#of.isStopped() })
  }

  #dialReason(reason: string): string {
    const isMd5Suspect = this.#of.neighbor().password !== undefined && reason.startsWith('no answer')
    return isMd5Suspect ? `${reason}: SYN unanswered while a key is set, MD5 key mismatch suspected` : reason
  }
}

function hasSaidWhy(reset: ResetReason | undefined): boolean {
  return reset?.direction === 'received' && reset.code === ErrorCode.cease
}
