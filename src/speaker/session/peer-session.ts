/**
 * One peer: the connection that is or seeks its session, and at times a candidate beside it.
 *
 *     speaker --start/configure/send/stop--> PeerSession --> session   Connection  (dials, waits, carries the session)
 *     peer opens a connection --------------------'-------> candidate Connection  (until its OPEN says who it is)
 *
 * Each connection has its own state machine; which of two is kept, ../../bgp/fsm/pair.ts decides. An event of a
 * connection that was let go reaches nobody, and what a candidate does is not charged to the session.
 */
import { Cease, ErrorCode } from '../../bgp/messages/numbers.ts'
import type { FsmAction, FsmEvent, FsmState } from '../../bgp/fsm/events.ts'
import { finalCease } from '../../bgp/fsm/cease.ts'
import { keepaliveSecOf, localOpen, negotiate, ownAsn } from '../../bgp/fsm/negotiate.ts'
import {
  admit,
  type Admission,
  type CollisionVerdict,
  DecisionBudget,
  isAwaitedAfter,
  judgeOpen,
  keepsRoutes,
  type SessionEnd,
  type Speaker,
} from '../../bgp/fsm/pair.ts'
import { collisionWaitSec, dialTimeoutSec, openHoldSec, sendHoldSec } from '../../bgp/fsm/timers.ts'
import { encodeShutdownText } from '../../bgp/messages/notification.ts'
import type { NotificationFault, OpenMessage, RouteRefreshMessage } from '../../bgp/messages/types.ts'
import type { DecodedUpdate } from '../../bgp/messages/update.ts'
import type { Neighbor } from '../../desired/model.ts'
import { messageOf } from '../../errors.ts'
import { type Address, parseIpv4 } from '../../ip/address.ts'
import type { ResetReason, SessionTransition } from '../protocol.ts'
import { Connection, type ConnectionFacts, type ConnectionHost } from './connection.ts'
import { dialOptions } from './dial-options.ts'
import type { Environment, Transport } from './environment.ts'
import { changedFields, configuredFacts, pendingChanges } from './neighbor-effects.ts'
import { PeerAddress } from './peer-address.ts'
import { SessionReport } from './session-report.ts'
import { progressReason } from './transitions.ts'
import type { NegotiatedSession, PeerSession, SessionEvents } from './types.ts'

export interface SessionOptions {
  readonly neighbor: Neighbor
  readonly events: SessionEvents
  /** RFC 4724 R and F for sessions that an earlier process left; see {@link restartFlags}. */
  readonly isRestart: boolean
  readonly isForwardingPreserved: boolean
  readonly environment: Environment
}

/** `peer`: its address, unknown while an unnumbered one was not found. */
export type AcceptingSession = PeerSession & { readonly peer: Address | undefined; accept(transport: Transport): void }

const rank: Readonly<Record<FsmState, number>> = {
  Idle: 0,
  Connect: 1,
  Active: 1,
  OpenSent: 2,
  OpenConfirm: 3,
  Established: 4,
}

export function createPeerSession(options: SessionOptions): AcceptingSession {
  return new Session(options)
}

const isCollision = (event: FsmEvent): boolean =>
  event.type === 'notificationReceived' && event.code === ErrorCode.cease && event.subcode === Cease.connectionCollision

class Session implements AcceptingSession, ConnectionHost {
  readonly environment: Environment
  flaps = 0
  negotiated: NegotiatedSession | undefined
  #neighbor: Neighbor
  readonly #peer: PeerAddress
  readonly #events: SessionEvents
  readonly #options: SessionOptions
  readonly #facts: ConnectionFacts
  readonly #report: SessionReport
  #session: Connection
  #candidate: Connection | undefined
  /** Of the environment's uptime. */
  #candidateSinceSec = 0
  /** The candidate waits for the peer's OPEN because of the session. */
  #isListening = false
  /** Not started, or stopped; a stop is for good. */
  #isStopped = true
  #hasEnded = false
  #wasEstablishedOnce = false
  #establishedAtSec = 0
  /** The last session ended in a way after which the peer is let in without idle hold. */
  #isAwaited = false
  readonly #decisions = new DecisionBudget()
  /** The wait was ordered from outside ({@link fail}). */
  #isHeld = false
  /** An operator's command is being carried out. */
  #isResetting = false

  constructor(options: SessionOptions) {
    const { neighbor, environment, events } = options
    this.#options = options
    this.environment = environment
    this.#neighbor = neighbor
    this.#events = events
    this.#report = new SessionReport({
      environment,
      events,
      neighbor: () => this.#neighbor,
      peerText: () => this.#peer.text,
      isStopped: () => this.#isStopped,
    })
    this.#peer = new PeerAddress(neighbor, environment, {
      mayMove: () => rank[this.state] < rank.OpenSent,
      found: () => this.#found(),
      problem: (message) => events.log('error', message),
    })
    this.#facts = { ...configuredFacts(neighbor), dialFailures: 0, sessionFailures: 0 }
    this.#session = new Connection(this, this.#facts)
  }

  get state(): FsmState {
    return this.#session.state
  }

  get transitions(): readonly SessionTransition[] {
    return this.#report.transitions
  }

  get messagesIn(): number {
    return this.#session.messagesIn
  }

  get messagesOut(): number {
    return this.#session.messagesOut
  }

  get updatesIn(): number {
    return this.#session.updatesIn
  }

  get updatesOut(): number {
    return this.#session.updatesOut
  }

  get peer(): Address | undefined {
    return this.#peer.address
  }

  get pending(): readonly string[] {
    const { offered } = this.#session
    return offered === undefined ? [] : pendingChanges(offered, this.#neighbor)
  }

  get reason(): string | undefined {
    return this.#report.reason(this.state, this.#candidate !== undefined)
  }

  get lastReset(): ResetReason | undefined {
    return this.#report.lastReset
  }

  start(): void {
    if (this.#hasEnded) return
    this.#isStopped = false
    this.#peer.look()
    this.#session.fire({ type: 'start' })
  }

  configure(neighbor: Neighbor): void {
    const changed = changedFields(this.#neighbor, neighbor)
    this.#neighbor = neighbor
    Object.assign(this.#facts, configuredFacts(neighbor))
    for (const connection of [this.#session, this.#candidate]) this.#boundUnacknowledged(connection)
    if (this.#isStopped) return
    this.#session.fire({ type: 'configured', changed, ...this.#keepalive() })
    this.#configureCandidate(changed)
    // Who changed a limit does not want to wait for the session that the old one ended.
    if (changed.includes('maxPrefixes') && this.#isHeld && this.state === 'Idle') this.#session.fire({ type: 'start' })
  }

  fail({ code, subcode, data, reason }: NotificationFault, idleHoldSec: number): void {
    const said =
      code === ErrorCode.cease
        ? finalCease(subcode, [...data], this.#isNotificationRestart)
        : { code, subcode, data: [...data] }
    this.#drop(this.#candidate, { type: 'abandon' })
    this.#session.detail = reason
    this.#session.fire({ type: 'fault', ...said, idleHoldSec })
    this.#isHeld = true
  }

  send(messages: Uint8Array, count: number): boolean {
    return this.#session.state === 'Established' && this.#session.write(messages, count)
  }

  reset(subcode: number): string | undefined {
    if (this.#isStopped) return 'the session has not begun or was stopped'
    const cease = this.#ceaseEvent(subcode, [])
    this.#isResetting = true
    this.#drop(this.#candidate, cease)
    this.#session.fire(cease)
    this.#isAwaited = false
    this.#session.fire({ type: 'start' })
    this.#isResetting = false
    return undefined
  }

  async stop(cease: { readonly subcode: number; readonly text: string } | 'silent'): Promise<void> {
    this.#isStopped = true
    this.#hasEnded = true
    this.#peer.close()
    const closing = [this.#session.closed, this.#candidate?.closed]
    const event: FsmEvent =
      cease === 'silent'
        ? { type: 'abandon' }
        : this.#ceaseEvent(cease.subcode, cease.text === '' ? [] : [...encodeShutdownText(cease.text)])
    this.#drop(this.#candidate, event)
    this.#session.fire(event)
    await Promise.all(closing)
  }

  accept(transport: Transport): void {
    const admission = admit(this.#session, this.#candidate, { isStopped: this.#isStopped, isAwaited: this.#isAwaited })
    if (admission === 'refuse') return transport.destroy()
    this.#isAwaited = false
    this.#take(transport, admission)
    if (admission === 'begin') this.#session.fire({ type: 'start' })
  }

  #take(transport: Transport, admission: Exclude<Admission, 'refuse'>): void {
    try {
      transport.prepare(dialOptions(this.#neighbor, this.#peer.known()))
    } catch (error) {
      this.#events.log('warn', `cannot prepare a connection of the peer: ${messageOf(error)}`)
      return transport.destroy()
    }
    this.#drop(this.#candidate, { type: 'abandon' })
    const facts = this.#candidateFacts()
    const candidate = new Connection(this, facts, 'Active')
    this.#isListening = admission === 'listen'
    if (this.#isListening) facts.delayOpenSec = openHoldSec
    this.#candidate = candidate
    this.#candidateSinceSec = this.environment.uptimeSec()
    candidate.adopt(transport)
    this.#boundUnacknowledged(candidate)
  }

  isPeerConnected(connection: Connection): boolean {
    if (connection !== this.#session || this.#candidate === undefined) return false
    return this.environment.uptimeSec() - this.#candidateSinceSec < collisionWaitSec
  }

  dial(): Transport {
    // An interface that was not there at the start may be there now.
    this.#peer.look()
    return this.environment.dial(dialOptions(this.#neighbor, this.#peer.known()))
  }

  localOpen(connection: Connection): OpenMessage {
    connection.offered = this.#neighbor
    return localOpen(this.#neighbor, this.#restartFlags())
  }

  openReceived(
    connection: Connection,
    open: OpenMessage,
    hasWaited: boolean,
  ): ReturnType<ConnectionHost['openReceived']> {
    // What our OPEN said holds, however the configuration has changed since.
    const { keepaliveSec } = this.#neighbor
    const agreed = negotiate({ ...(connection.offered ?? this.#neighbor), keepaliveSec }, open)
    const other = connection === this.#session ? this.#candidate : this.#session
    if (!agreed.ok) {
      // Of a peer with no better connection, this is what its session came to.
      if (other === this.#session && !other.isConnected) this.#becomeSession(connection)
      return { kind: 'refused', fault: agreed.fault }
    }
    const remote = { bgpId: open.bgpId, asn: agreed.value.peerAsn }
    const verdict = this.#judge(connection, other, remote, hasWaited)
    if (verdict === 'yield') return { kind: 'drop' }
    if (verdict === 'wait') return { kind: 'wait', sec: collisionWaitSec }
    if (verdict === 'supersede' && other?.state === 'Established') {
      this.#report.lastReset = this.#localReset('the peer opened a new connection: it restarted')
      other.fire({ type: 'abandon' })
    }
    if (connection !== this.#session) this.#becomeSession(connection)
    if (verdict === 'dump') this.#drop(this.#candidate, { type: 'collisionDump' })
    return { kind: 'agreed', agreement: agreed.value }
  }

  up(connection: Connection): void {
    const { agreement, remoteOpen, transport } = connection
    if (agreement === undefined || remoteOpen === undefined || transport === undefined) return
    const { localAddress, localPort, remotePort } = transport
    this.negotiated = { ...agreement, remoteOpen, localAddress, localPort, remotePort }
    this.#boundUnacknowledged(connection)
    this.#wasEstablishedOnce = true
    this.#establishedAtSec = this.environment.uptimeSec()
    this.#report.established()
  }

  changed(connection: Connection, previous: FsmState, event: FsmEvent, actions: readonly FsmAction[]): void {
    if (connection === this.#candidate) return this.#candidateChanged(connection, event, actions)
    if (connection !== this.#session) return
    if (event.type === 'tcpFailed' && rank[previous] < rank.OpenSent) this.#report.dialFailed(event.reason)
    if (event.type === 'connectRetryExpired' && previous === 'Connect')
      this.#report.dialFailed(`no answer within ${dialTimeoutSec} s`)
    if (connection.state === 'OpenSent') this.#report.dialled()
    if (connection.state !== 'Idle') this.#isHeld = false
    this.#report.armed(actions)
    const hasEnded = rank[previous] >= rank.OpenSent && rank[connection.state] < rank.OpenSent
    if (hasEnded && previous !== 'Established' && isCollision(event) && this.#candidate !== undefined)
      return this.#yielded(this.#candidate)
    const told = this.#report.why(connection, hasEnded ? previous : undefined, event, actions)
    const why = this.#isResetting && !hasEnded ? 'reset by command' : told
    if (hasEnded && previous === 'Established')
      this.#lost({ event, actions, agreement: this.negotiated, isStopped: this.#isStopped })
    else if (hasEnded) this.#down({ wasEstablished: false, isRestart: false })
    this.#show(why)
    // A candidate that waits because of us need not wait any longer.
    if (hasEnded && this.#candidate?.state === 'Active') this.#candidate.fire({ type: 'delayOpenExpired' })
    if (hasEnded) this.#candidate?.reconsider()
    if (connection.state === 'Established' && previous === 'OpenConfirm' && this.negotiated !== undefined)
      this.#events.established(this.negotiated)
  }

  counted(): void {
    this.#events.counted()
  }

  stepped(): void {
    this.#events.stepped()
  }

  update(update: DecodedUpdate): void {
    this.#events.update(update)
  }

  routeRefresh(message: RouteRefreshMessage): void {
    this.#events.routeRefresh(message)
  }

  drained(): void {
    this.#events.drained()
  }

  #judge(connection: Connection, other: Connection | undefined, remote: Speaker, hasWaited: boolean): CollisionVerdict {
    const local = { bgpId: parseIpv4(this.#neighbor.routerId) ?? 0, asn: ownAsn(this.#neighbor) }
    const { state, direction, isConnected, hasOpen, agreement } = other ?? connection
    const verdict = judgeOpen(
      local,
      remote,
      connection.direction,
      other && {
        state,
        direction,
        isConnected,
        hasOpen,
        gracefulRestart: agreement?.gracefulRestart === true,
        establishedSec: this.environment.uptimeSec() - this.#establishedAtSec,
      },
      hasWaited,
    )
    if (verdict === 'dump' || verdict === 'yield')
      this.#events.log(
        'info',
        `two connections met (RFC 4271 6.8): the ${connection.direction} one ` +
          `${verdict === 'dump' ? 'is kept' : 'is closed'}`,
      )
    return verdict
  }

  /** The other one, if it is connected, is the candidate from now on. */
  #becomeSession(connection: Connection): void {
    const old = this.#session
    connection.facts = this.#facts
    old.facts = this.#candidateFacts()
    this.#session = connection
    this.#candidate = old.isConnected ? old : undefined
    if (this.#candidate === undefined) old.fire({ type: 'abandon' })
    if (rank[connection.state] > rank[this.#report.shown]) this.#show('the peer connected')
  }

  /** The peer keeps the other connection. */
  #yielded(candidate: Connection): void {
    this.#becomeSession(candidate)
    if (candidate.state === 'Active') candidate.fire({ type: 'delayOpenExpired' })
    this.#show(progressReason({ type: 'collisionDump' }, candidate.direction))
  }

  /** Its failures are its own, and it never dials again. */
  #candidateFacts(): ConnectionFacts {
    return { ...this.#facts, passive: true, dialFailures: 0, sessionFailures: 0 }
  }

  /** A connection of the peer waits with our OPEN as configured, unless it waits because of us. */
  #configureCandidate(changed: readonly string[]): void {
    const candidate = this.#candidate
    if (candidate === undefined || this.#isListening || !changed.includes('delayOpenSec')) return
    candidate.facts.delayOpenSec = this.#facts.delayOpenSec
    candidate.fire({ type: 'configured', changed })
  }

  /** Lets a candidate go. */
  #drop(candidate: Connection | undefined, event: FsmEvent): void {
    if (candidate === undefined) return
    this.#candidate = undefined
    candidate.fire(event)
    candidate.fire({ type: 'abandon' })
  }

  #candidateChanged(candidate: Connection, event: FsmEvent, actions: readonly FsmAction[]): void {
    if (candidate.isConnected) return
    this.#drop(candidate, { type: 'abandon' })
    this.#session.reconsider()
    if (!this.#session.isConnected && !this.#isStopped) this.#report.candidateFailed(candidate, event, actions)
  }

  #found(): void {
    this.#events.log('info', `found router ${this.#peer.text} on ${this.#neighbor.interface ?? ''}`)
    this.#events.peerFound()
    if (!this.#neighbor.passive && this.#session.state === 'Active' && !this.#session.isConnected)
      this.#session.fire({ type: 'connectRetryExpired' })
  }

  #lost(end: SessionEnd): void {
    const isRestart = keepsRoutes(end)
    this.negotiated = undefined
    this.flaps++
    const nowSec = this.environment.uptimeSec()
    this.#isAwaited = !this.#isStopped && isAwaitedAfter(end, this.#facts.sessionFailures, this.#decisions, nowSec)
    this.#down({ wasEstablished: true, isRestart })
  }

  #down(end: Parameters<SessionEvents['down']>[1]): void {
    this.#events.down(this.lastReset ?? this.#localReset('the session ended'), end)
  }

  get #isNotificationRestart(): boolean {
    return this.negotiated?.notificationRestart === true
  }

  #ceaseEvent(subcode: number, data: readonly number[]): FsmEvent {
    return { type: 'stop', ...finalCease(subcode, data, this.#isNotificationRestart) }
  }

  /** The interval that the configuration asks for now, where something was agreed; no OPEN carries it. */
  #keepalive(): { readonly keepaliveSec?: number } {
    const { agreement } = this.#session
    if (agreement === undefined) return {}
    const keepaliveSec = keepaliveSecOf(this.#neighbor, agreement.holdTimeSec)
    this.#session.agreement = { ...agreement, keepaliveSec }
    if (this.negotiated !== undefined) this.negotiated = { ...this.negotiated, keepaliveSec }
    return { keepaliveSec }
  }

  #show(reason: string): void {
    this.#report.show(this.state, reason)
  }

  #localReset(text: string): ResetReason {
    return { at: this.#report.at(), direction: 'local', text }
  }

  /** A peer that no longer acknowledges is noticed by TCP no later than by the send hold timer (RFC 5482). */
  #boundUnacknowledged(connection: Connection | undefined): void {
    const isSession = connection === this.#session
    const timeoutSec =
      this.#neighbor.tcpUserTimeoutSec ?? (isSession ? sendHoldSec(this.negotiated?.holdTimeSec ?? 0) : 0)
    connection?.transport?.setUserTimeout(timeoutSec * 1000)
  }

  /**
   * R is set for one restart time after a restarted process began. F is set when forwarding outlived the session that
   * the peer remembers: an earlier process's, or an earlier one of this process. Never on a first start (RFC 4724 4.1).
   */
  #restartFlags(): { readonly isRestart: boolean; readonly isForwardingPreserved: boolean } {
    const isRestart =
      this.#options.isRestart &&
      !this.#wasEstablishedOnce &&
      this.environment.uptimeSec() < (this.#neighbor.gracefulRestart?.restartTimeSec ?? 0)
    return {
      isRestart,
      isForwardingPreserved: this.#wasEstablishedOnce || (isRestart && this.#options.isForwardingPreserved),
    }
  }
}
