/**
 * One peer: the connection that carries or seeks the session, and at times a second one that the peer opened.
 *
 *     speaker --start/send/stop--> PeerSession --> primary Connection  (dials, waits, carries the session)
 *                                       `-------> second Connection   (incoming while the primary has one: collision)
 *
 * Each connection has its own state machine; the one that wins becomes the primary, the other one ends with
 * Cease/Connection Collision Resolution. An event of a connection that was let go reaches nobody.
 */
import type { Neighbor } from '../../desired/model.ts'
import { type Address, formatScoped, isLinkLocal, parseAddress, parseIpv4 } from '../../ip/address.ts'
import { HeraldError, messageOf } from '../../errors.ts'
import { judgeCollision } from '../../bgp/fsm/collision.ts'
import type { FsmAction, FsmEvent, FsmState } from '../../bgp/fsm/events.ts'
import { localOpen, negotiate, ownAsn } from '../../bgp/fsm/negotiate.ts'
import { dialTimeoutSec, openHoldSec, sendHoldSec } from '../../bgp/fsm/timers.ts'
import { Cease, encodeShutdownText } from '../../bgp/messages/notification.ts'
import type { NotificationFault, OpenMessage, RouteRefreshMessage } from '../../bgp/messages/types.ts'
import type { DecodedUpdate } from '../../bgp/messages/update.ts'
import type { ResetReason, SessionTransition } from '../protocol.ts'
import { Connection, type ConnectionHost, type SharedFacts } from './connection.ts'
import type { DialOptions, Environment, Transport } from './environment.ts'
import { progressReason, resetReason, TransitionLog } from './transitions.ts'
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

/** `::` with an interface stands for whatever router is there. */
const isUnnumbered = ({ peerAddress }: Neighbor): boolean => peerAddress === '::'

class Session implements AcceptingSession, ConnectionHost {
  readonly environment: Environment
  flaps = 0
  lastReset: ResetReason | undefined
  negotiated: NegotiatedSession | undefined
  #neighbor: Neighbor
  /** Unknown while no router was found on the interface of an unnumbered neighbor. */
  #peer: Address | undefined
  #discovery: { close(): void } | undefined
  #discoveryProblem: string | undefined
  readonly #events: SessionEvents
  readonly #options: SessionOptions
  readonly #shared: SharedFacts
  readonly #log = new TransitionLog()
  #primary: Connection
  #second: Connection | undefined
  #shown: FsmState = 'Idle'
  #isStopped = true
  #wasEstablishedOnce = false
  #establishedAtSec = 0
  /** After the loss of a session that was stable and may come back by a graceful restart. */
  #isRestartAwaited = false
  #dialProblem: string | undefined
  /** An operator's command is being carried out. */
  #isResetting = false
  /** Wait until the next attempt, as last armed. */
  #idleHoldSec = 0

  constructor(options: SessionOptions) {
    const { neighbor } = options
    this.#options = options
    this.environment = options.environment
    this.#neighbor = neighbor
    this.#events = options.events
    this.#peer = isUnnumbered(neighbor) ? undefined : parseAddress(neighbor.peerAddress)
    this.#shared = {
      passive: neighbor.passive,
      connectRetrySec: neighbor.connectRetrySec,
      delayOpenSec: neighbor.delayOpenSec ?? 0,
      dialFailures: 0,
      sessionFailures: 0,
    }
    this.#primary = new Connection(this, this.#shared)
  }

  get state(): FsmState {
    const second = this.#second
    return second !== undefined && rank[second.state] > rank[this.#primary.state] ? second.state : this.#primary.state
  }

  get transitions(): readonly SessionTransition[] {
    return this.#log.entries
  }

  get messagesIn(): number {
    return this.#primary.messagesIn
  }

  get messagesOut(): number {
    return this.#primary.messagesOut
  }

  get reason(): string | undefined {
    switch (this.state) {
      case 'Established':
        return undefined
      case 'Connect':
        return this.#dialProblem ?? `dialling ${this.#peerText} port ${this.#neighbor.peerPort}`
      case 'Active':
        // A passive session waits; what an earlier connection died of says more.
        return this.#dialProblem ?? this.lastReset?.text ?? 'waiting for the peer to dial'
      case 'OpenSent':
        return 'connected, waiting for the OPEN of the peer'
      case 'OpenConfirm':
        return 'waiting for the KEEPALIVE that confirms the OPEN'
      case 'Idle':
        return this.#isStopped
          ? 'stopped'
          : `${this.lastReset?.text ?? 'starting'}; the next attempt follows after ${Math.ceil(this.#idleHoldSec)} s`
    }
  }

  get peer(): Address | undefined {
    return this.#peer
  }

  start(): void {
    this.#isStopped = false
    this.#discover()
    this.#primary.fire({ type: 'start' })
  }

  configure(neighbor: Neighbor): void {
    const isLimitChanged = neighbor.maxPrefixes !== this.#neighbor.maxPrefixes
    this.#neighbor = neighbor
    this.#shared.passive = neighbor.passive
    this.#shared.connectRetrySec = neighbor.connectRetrySec
    this.#shared.delayOpenSec = neighbor.delayOpenSec ?? 0
    this.#boundUnacknowledged()
    // Who raised a limit does not want to wait for the session that the old one ended.
    if (isLimitChanged && !this.#isStopped && this.state === 'Idle') this.#primary.fire({ type: 'start' })
  }

  fail({ code, subcode, data, reason }: NotificationFault, idleHoldSec: number): void {
    this.#primary.detail = reason
    this.#primary.fire({ type: 'fault', code, subcode, data: [...data], idleHoldSec })
  }

  send(messages: Uint8Array, count: number): boolean {
    return this.#primary.state === 'Established' && this.#primary.write(messages, count)
  }

  reset(subcode: number): string | undefined {
    if (this.#isStopped) return 'the session has not begun or was stopped'
    const cease = this.#ceaseEvent(subcode, [])
    this.#isResetting = true
    this.#second?.fire(cease)
    this.#primary.fire(cease)
    this.#isRestartAwaited = false
    this.#primary.fire({ type: 'start' })
    this.#isResetting = false
    return undefined
  }

  async stop(cease: { readonly subcode: number; readonly text: string } | 'silent'): Promise<void> {
    this.#isStopped = true
    this.#discovery?.close()
    this.#discovery = undefined
    const closing = [this.#primary.closed, this.#second?.closed]
    const event: FsmEvent =
      cease === 'silent'
        ? { type: 'abandon' }
        : this.#ceaseEvent(cease.subcode, cease.text === '' ? [] : [...encodeShutdownText(cease.text)])
    this.#second?.fire(event)
    this.#primary.fire(event)
    await Promise.all(closing)
  }

  /**
   * A connection that the peer opened; refused while idle, so that a peer that errs cannot spin. One that restarts
   * gracefully is let in at once, since its routes are stale until then (RFC 4724 4.2).
   */
  accept(transport: Transport): void {
    const primary = this.#primary
    if (this.#isStopped || this.#second !== undefined || (primary.state === 'Idle' && !this.#isRestartAwaited))
      return transport.destroy()
    if (primary.state === 'Idle') primary.fire({ type: 'start' })
    this.#isRestartAwaited = false
    try {
      transport.prepare(this.#dialOptions())
    } catch (error) {
      this.#events.log('warn', `cannot prepare a connection of the peer: ${messageOf(error)}`)
      return transport.destroy()
    }
    if (primary.state === 'Active' && primary.transport === undefined) {
      primary.delayOpenSec = undefined
      return primary.adopt(transport)
    }
    // The dial under way may meet a dial of the peer: both go on, and the OPENs decide (RFC 4271 6.8). Ours waits for
    // the peer's there: with one OPEN of ours, on the first connection, the two sides cannot choose differently.
    this.#second = new Connection(this, this.#shared, 'Active')
    this.#second.delayOpenSec = openHoldSec
    this.#second.adopt(transport)
  }

  dial(): Transport {
    // An interface that was not there at the start may be there now.
    this.#discover()
    return this.environment.dial(this.#dialOptions())
  }

  localOpen(): OpenMessage {
    return localOpen(this.#neighbor, this.#restartFlags())
  }

  openReceived(connection: Connection, open: OpenMessage): ReturnType<ConnectionHost['openReceived']> {
    const agreed = negotiate(this.#neighbor, open)
    if (!agreed.ok) return { kind: 'refused', fault: agreed.fault }
    const agreement = agreed.value
    const other = connection === this.#primary ? this.#second : this.#primary
    // A connection that waits for the peer's OPEN counts like one on which ours was sent.
    const rival =
      other === undefined
        ? undefined
        : {
            state: other.isConnected && rank[other.state] < rank.OpenSent ? ('OpenSent' as const) : other.state,
            direction: other.direction,
            gracefulRestart: other.agreement?.gracefulRestart === true,
            establishedSec: this.environment.uptimeSec() - this.#establishedAtSec,
          }
    const local = { bgpId: parseIpv4(this.#neighbor.routerId) ?? 0, asn: ownAsn(this.#neighbor) }
    const verdict = judgeCollision(local, { bgpId: open.bgpId, asn: agreement.peerAsn }, connection.direction, rival)
    if (verdict === 'dump' || verdict === 'yield')
      this.#events.log(
        'info',
        `two connections met (RFC 4271 6.8): the ${connection.direction} one ` +
          `${verdict === 'dump' ? 'is kept' : 'is closed'}`,
      )
    if (verdict === 'yield') return { kind: 'drop' }
    if (verdict === 'supersede' && other?.state === 'Established')
      this.lastReset = { at: this.#at(), direction: 'local', text: 'the peer opened a new connection: it restarted' }
    if (verdict !== 'alone') other?.fire({ type: verdict === 'dump' ? 'collisionDump' : 'abandon' })
    if (connection === this.#second) this.#promote()
    return { kind: 'agreed', agreement }
  }

  up(connection: Connection): void {
    const { agreement, remoteOpen, transport } = connection
    if (agreement === undefined || remoteOpen === undefined || transport === undefined) return
    if (connection !== this.#primary) this.#promote()
    const { localAddress, localPort, remotePort } = transport
    this.negotiated = { ...agreement, remoteOpen, localAddress, localPort, remotePort }
    this.#boundUnacknowledged()
    this.#wasEstablishedOnce = true
    this.#establishedAtSec = this.environment.uptimeSec()
    this.#dialProblem = undefined
  }

  changed(connection: Connection, previous: FsmState, event: FsmEvent, actions: readonly FsmAction[]): void {
    if (event.type === 'tcpFailed' && rank[previous] < rank.OpenSent) this.#dialFailed(event.reason)
    if (event.type === 'connectRetryExpired' && previous === 'Connect')
      this.#dialFailed(`no answer within ${dialTimeoutSec} s`)
    if (connection.state === 'OpenSent') this.#dialProblem = undefined
    for (const action of actions) if (action.do === 'arm' && action.timer === 'idleHold') this.#idleHoldSec = action.sec
    const hasEnded = rank[previous] >= rank.OpenSent && rank[connection.state] < rank.OpenSent
    const why = this.#why(connection, hasEnded, event, actions)
    const wasPrimary = connection === this.#primary
    const isRestart = this.#isRestart(event, actions)
    this.#settle(connection)
    if (hasEnded && previous === 'Established') this.#lost(isRestart)
    else if (hasEnded && wasPrimary && event.type !== 'collisionDump' && rank[this.state] < rank.OpenSent)
      this.#down({ wasEstablished: false, isRestart: false })
    this.#show(why)
    if (
      connection === this.#primary &&
      connection.state === 'Established' &&
      previous === 'OpenConfirm' &&
      this.negotiated !== undefined
    )
      this.#events.established(this.negotiated)
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

  /** After an event of a connection: one that gave up is let go, and one that is still good becomes the session. */
  #settle(connection: Connection): void {
    if (connection === this.#second && rank[connection.state] < rank.OpenSent && connection.transport === undefined) {
      this.#second = undefined
      connection.fire({ type: 'abandon' })
    }
    const hasGivenUp = connection === this.#primary && rank[connection.state] < rank.OpenSent
    if (hasGivenUp && !this.#isStopped && this.#second?.isConnected === true) this.#promote()
  }

  /**
   * The second connection becomes the primary; the old one is let go without a word unless it still has something to
   * say.
   */
  #promote(): void {
    const old = this.#primary
    if (this.#second === undefined) return
    this.#primary = this.#second
    this.#second = old.isConnected ? old : undefined
    if (this.#second === undefined) old.fire({ type: 'abandon' })
    // It is the session now: its OPEN waits for nobody any more.
    if (this.#primary.state === 'Active' && this.#primary.isConnected) this.#primary.fire({ type: 'delayOpenExpired' })
  }

  /** An unnumbered neighbor is the router that is found on its interface (RFC 4861 4.2). */
  #discover(): void {
    const { interface: device } = this.#neighbor
    // A router with an interface for a neighbor takes whom it has heard advertise himself, also where we were told its
    // address.
    const isOnLink = isUnnumbered(this.#neighbor) || (this.#peer !== undefined && isLinkLocal(this.#peer))
    if (!isOnLink || device === undefined || this.#discovery !== undefined) return
    try {
      this.#discovery = this.environment.discoverRouters(device, (router) => this.#found(router))
    } catch (error) {
      if (this.#discoveryProblem !== messageOf(error))
        this.#events.log('error', `routers on ${device} cannot be looked for: ${messageOf(error)}`)
      this.#discoveryProblem = messageOf(error)
    }
  }

  /** A router that is there is kept for as long as its session is. */
  #found(router: Address): void {
    if (
      !isUnnumbered(this.#neighbor) ||
      router === this.#peer ||
      (this.#peer !== undefined && rank[this.state] >= rank.OpenSent)
    )
      return
    this.#peer = router
    this.#events.log('info', `found router ${this.#peerText} on ${this.#neighbor.interface ?? ''}`)
    this.#events.peerFound()
    if (!this.#neighbor.passive && this.#primary.state === 'Active' && this.#primary.transport === undefined)
      this.#primary.fire({ type: 'connectRetryExpired' })
  }

  get #peerText(): string {
    return this.#peer === undefined ? this.#neighbor.peerAddress : formatScoped(this.#peer, this.#neighbor.interface)
  }

  #lost(isRestart: boolean): void {
    this.negotiated = undefined
    this.flaps++
    this.#isRestartAwaited = isRestart && this.#shared.sessionFailures <= 1
    this.#down({ wasEstablished: true, isRestart })
  }

  #down(end: Parameters<SessionEvents['down']>[1]): void {
    this.#events.down(this.lastReset ?? { at: this.#at(), direction: 'local', text: 'the session ended' }, end)
  }

  /**
   * RFC 4724 4.2: a lost connection; RFC 8538 4: with the N bit also a NOTIFICATION of either side that is no Hard
   * Reset.
   */
  #isRestart(event: FsmEvent, actions: readonly FsmAction[]): boolean {
    const { negotiated } = this
    if (negotiated?.gracefulRestart !== true || this.#isStopped) return false
    const said = event.type === 'notificationReceived' ? event : actions.find((action) => action.do === 'notify')
    if (said === undefined) return true
    return negotiated.notificationRestart && !(said.code === 6 && said.subcode === Cease.hardReset)
  }

  /**
   * RFC 8538 3.1: where both sides keep routes over a NOTIFICATION, a real end is a Hard Reset that carries the reason.
   */
  #ceaseEvent(subcode: number, data: readonly number[]): FsmEvent {
    return this.negotiated?.notificationRestart === true
      ? { type: 'stop', subcode: Cease.hardReset, data: [6, subcode, ...data] }
      : { type: 'stop', subcode, data }
  }

  #show(reason: string): void {
    const state = this.state
    if (state === this.#shown) return
    const previous = this.#shown
    this.#shown = state
    this.#log.add(this.#at(), previous, state, reason)
    this.#events.stateChanged(state, previous)
  }

  /** In words; an end is remembered as the last reset. */
  #why(connection: Connection, hasEnded: boolean, event: FsmEvent, actions: readonly FsmAction[]): string {
    const { detail, lastNotification: notification } = connection
    connection.detail = undefined
    if (this.#isResetting && !hasEnded) return 'reset by command'
    if (!hasEnded || event.type === 'collisionDump')
      return event.type === 'tcpFailed' ? this.#dialReason(event.reason) : progressReason(event, connection.direction)
    this.lastReset =
      resetReason(this.#at(), event, actions, { detail, notification, isStopped: this.#isStopped }) ?? this.lastReset
    return this.lastReset?.text ?? progressReason(event, connection.direction)
  }

  /** Told once, however often the dial fails in the same way. */
  #dialFailed(reason: string): void {
    const problem = this.#dialReason(reason)
    if (problem !== this.#dialProblem)
      this.#events.log('warn', `cannot connect to ${this.#peerText} port ${this.#neighbor.peerPort}: ${problem}`)
    this.#dialProblem = problem
  }

  #dialReason(reason: string): string {
    const isMd5Suspect = this.#neighbor.password !== undefined && reason.startsWith('no answer')
    return isMd5Suspect ? `${reason}: SYN unanswered while a key is set, MD5 key mismatch suspected` : reason
  }

  /** A peer that no longer acknowledges is noticed by TCP no later than by the send hold timer (RFC 5482). */
  #boundUnacknowledged(): void {
    const { negotiated } = this
    const timeoutSec = this.#neighbor.tcpUserTimeoutSec ?? sendHoldSec(negotiated?.holdTimeSec ?? 0)
    if (negotiated !== undefined && timeoutSec > 0) this.#primary.transport?.setUserTimeout(timeoutSec * 1000)
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

  #dialOptions(): DialOptions {
    const {
      ttlSecurityHops,
      multihopTtl,
      password,
      sourceAddress,
      peerAsn,
      peerPort,
      peerAddress,
      tcpUserTimeoutSec,
      interface: device,
    } = this.#neighbor
    if (this.#peer === undefined)
      throw new HeraldError(
        'ERR_SYSCALL',
        device === undefined
          ? `${peerAddress} is no address`
          : this.#discovery === undefined
            ? `routers on ${device} cannot be looked for: ${this.#discoveryProblem ?? 'not started'}`
            : `no router has advertised itself on ${device} yet`,
      )
    const source = sourceAddress === undefined ? undefined : parseAddress(sourceAddress)
    const isInternal = ownAsn(this.#neighbor) === peerAsn
    return {
      peer: this.#peer,
      port: peerPort,
      ttl: ttlSecurityHops !== undefined ? 255 : isInternal ? 64 : multihopTtl,
      ...(ttlSecurityHops === undefined ? {} : { minTtl: 256 - ttlSecurityHops }),
      ...(password === undefined ? {} : { password }),
      ...(source === undefined ? {} : { source }),
      ...(device === undefined ? {} : { device }),
      ...(tcpUserTimeoutSec === undefined ? {} : { userTimeoutMs: tcpUserTimeoutSec * 1000 }),
    }
  }

  #at(): string {
    return new Date(this.environment.now()).toISOString()
  }
}
