/**
 * One peer: the connection that carries or seeks the session, and at times a second one that the peer opened.
 *
 *     speaker --start/send/stop--> PeerSession --> primary Connection  (dials, waits, carries the session)
 *                                       `-------> second Connection   (incoming while the primary has one: collision)
 *
 * Each connection has its own state machine; the one that wins becomes the primary, the other one ends with
 * Cease/Connection Collision Resolution. An event of a connection that was let go reaches nobody.
 */
import type net from 'node:net'
import type { Neighbor } from '../../desired/model.ts'
import { type Address, parseAddress, parseIpv4 } from '../../ip/address.ts'
import { messageOf } from '../../errors.ts'
import { createDialSocket, prepareAccepted, setUserTimeout } from '../../sys/tcp-socket.ts'
import { judgeCollision } from '../fsm/collision.ts'
import type { FsmAction, FsmEvent } from '../fsm/events.ts'
import { localOpen, negotiate } from '../fsm/negotiate.ts'
import { dialTimeoutSec, sendHoldSec } from '../fsm/timers.ts'
import { Cease, encodeShutdownText, notificationText } from '../messages/notification.ts'
import type { OpenMessage, RouteRefreshMessage, UpdateMessage, UpdateProblem } from '../messages/types.ts'
import type { FsmState, ResetReason } from '../speaker/protocol.ts'
import { type Clock, systemClock } from './clock.ts'
import { Connection, type ConnectionHost, type SharedFacts } from './connection.ts'
import type { NegotiatedSession, PeerSession, SessionEvents } from './types.ts'

export interface SessionOptions {
  readonly neighbor: Neighbor
  readonly events: SessionEvents
  /** RFC 4724 R and F for sessions that an earlier process left; see {@link restartFlags}. */
  readonly isRestart: boolean
  readonly isForwardingPreserved: boolean
  /** For tests that run time faster. */
  readonly clock?: Clock
}

export type AcceptingSession = PeerSession & { accept(socket: net.Socket): void }

const rank: Readonly<Record<FsmState, number>> = { Idle: 0, Connect: 1, Active: 1, OpenSent: 2, OpenConfirm: 3, Established: 4 }

export function createPeerSession(options: SessionOptions): AcceptingSession {
  return new Session(options)
}

class Session implements AcceptingSession, ConnectionHost {
  readonly peerAddress: string
  readonly peerPort: number
  readonly clock: Clock
  flaps = 0
  lastReset: ResetReason | undefined
  negotiated: NegotiatedSession | undefined
  readonly #neighbor: Neighbor
  readonly #peer: Address
  readonly #events: SessionEvents
  readonly #options: SessionOptions
  readonly #shared: SharedFacts
  #primary: Connection
  #second: Connection | undefined
  #shown: FsmState = 'Idle'
  #isStopped = true
  #wasEstablishedOnce = false
  #establishedAtSec = 0
  #dialProblem: string | undefined
  /** Wait until the next attempt, as last armed. */
  #idleHoldSec = 0

  constructor(options: SessionOptions) {
    const { neighbor } = options
    this.#options = options
    this.clock = options.clock ?? systemClock
    this.#neighbor = neighbor
    this.#events = options.events
    this.#peer = parseAddress(neighbor.peerAddress) ?? 0
    this.peerAddress = neighbor.peerAddress
    this.peerPort = neighbor.peerPort
    this.#shared = { passive: neighbor.passive, connectRetrySec: neighbor.connectRetrySec, dialFailures: 0, sessionFailures: 0 }
    this.#primary = new Connection(this, this.#shared)
  }

  get state(): FsmState {
    const second = this.#second
    return second !== undefined && rank[second.state] > rank[this.#primary.state] ? second.state : this.#primary.state
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
        return this.#dialProblem ?? `dialling ${this.peerAddress} port ${this.peerPort}`
      case 'Active':
        // A passive session waits; what an earlier connection died of says more.
        return this.#dialProblem ?? this.lastReset?.text ?? 'waiting for the peer to dial'
      case 'OpenSent':
        return 'connected, waiting for the OPEN of the peer'
      case 'OpenConfirm':
        return 'waiting for the KEEPALIVE that confirms the OPEN'
      case 'Idle':
        return this.#isStopped ? 'stopped' : `${this.lastReset?.text ?? 'starting'}; the next attempt follows after ${Math.ceil(this.#idleHoldSec)} s`
    }
  }

  start(): void {
    this.#isStopped = false
    this.#primary.fire({ type: 'start' })
  }

  send(messages: Uint8Array, count: number): boolean {
    return this.#primary.state === 'Established' && this.#primary.write(messages, count)
  }

  async stop(cease: { readonly subcode: number; readonly text: string } | 'silent'): Promise<void> {
    this.#isStopped = true
    const closing = [this.#primary, this.#second].map((connection) => closed(connection?.socket))
    const event: FsmEvent = cease === 'silent' ? { type: 'abandon' } : this.#ceaseEvent(cease.subcode, cease.text === '' ? [] : [...encodeShutdownText(cease.text)])
    this.#second?.fire(event)
    this.#primary.fire(event)
    await Promise.all(closing)
  }

  /** A connection that the peer opened; refused while idle, so that a peer that errs cannot spin. */
  accept(socket: net.Socket): void {
    const primary = this.#primary
    if (this.#isStopped || primary.state === 'Idle' || this.#second !== undefined) {
      socket.destroy()
      return
    }
    try {
      prepareAccepted(socket, this.#socketOptions())
    } catch (error) {
      this.#events.log('warn', `cannot prepare a connection of the peer: ${messageOf(error)}`)
      socket.destroy()
      return
    }
    if (primary.state === 'Active') return primary.adopt(socket)
    // The dial under way may meet a dial of the peer: both go on, and the OPENs decide (RFC 4271 6.8).
    this.#second = new Connection(this, this.#shared, 'Active')
    this.#second.adopt(socket)
  }

  dial(): net.Socket {
    return createDialSocket(this.#socketOptions())
  }

  localOpen(): OpenMessage {
    return localOpen(this.#neighbor, this.#restartFlags())
  }

  openReceived(connection: Connection, open: OpenMessage): ReturnType<ConnectionHost['openReceived']> {
    const agreed = negotiate(this.#neighbor, open)
    if (!agreed.ok) return { kind: 'refused', fault: agreed.fault }
    const agreement = agreed.value
    const other = connection === this.#primary ? this.#second : this.#primary
    const rival = other === undefined ? undefined : { state: other.state, direction: other.direction, gracefulRestart: other.agreement?.gracefulRestart === true, establishedSec: this.clock.uptimeSec() - this.#establishedAtSec }
    const local = { bgpId: parseIpv4(this.#neighbor.routerId) ?? 0, asn: this.#neighbor.localAsn }
    const verdict = judgeCollision(local, { bgpId: open.bgpId, asn: agreement.peerAsn }, connection.direction, rival)
    if (verdict === 'dump' || verdict === 'yield') this.#events.log('info', `two connections met (RFC 4271 6.8): the ${connection.direction} one ${verdict === 'dump' ? 'is kept' : 'is closed'}`)
    if (verdict === 'yield') return { kind: 'drop' }
    if (verdict === 'supersede' && other?.state === 'Established') this.lastReset = reset('local', 'the peer opened a new connection: it restarted')
    if (verdict !== 'alone') other?.fire({ type: verdict === 'dump' ? 'collisionDump' : 'abandon' })
    return { kind: 'agreed', agreement }
  }

  up(connection: Connection): void {
    const { agreement, remoteOpen, socket } = connection
    if (agreement === undefined || remoteOpen === undefined || socket === undefined) return
    if (connection !== this.#primary) this.#promote()
    const { holdTimeSec, keepaliveSec, families, routeRefresh, gracefulRestart, capabilities, codec, peerAsn } = agreement
    this.negotiated = {
      codec, holdTimeSec, keepaliveSec, families, routeRefresh, gracefulRestart, capabilities, peerAsn, remoteOpen,
      localAddress: localAddressOf(socket),
      localPort: socket.localPort ?? 0,
      remotePort: socket.remotePort ?? 0,
    }
    // A peer that no longer acknowledges is noticed by TCP no later than by the send hold timer.
    if (holdTimeSec > 0) setUserTimeout(socket, sendHoldSec(holdTimeSec) * 1000)
    this.#wasEstablishedOnce = true
    this.#establishedAtSec = this.clock.uptimeSec()
    this.#dialProblem = undefined
  }

  changed(connection: Connection, previous: FsmState, event: FsmEvent, actions: readonly FsmAction[]): void {
    if (event.type === 'tcpFailed' && rank[previous] < rank.OpenSent) this.#dialFailed(event.reason)
    if (event.type === 'connectRetryExpired' && previous === 'Connect') this.#dialFailed(`no answer within ${dialTimeoutSec} s`)
    if (connection.state === 'OpenSent') this.#dialProblem = undefined
    for (const action of actions) if (action.do === 'arm' && action.timer === 'idleHold') this.#idleHoldSec = action.sec
    const changedPrimary = this.#primary
    const isLost = previous === 'Established' && connection.state !== 'Established'
    if (rank[previous] >= rank.OpenSent && rank[connection.state] < rank.OpenSent && event.type !== 'collisionDump') this.#note(connection, event, actions)
    if (connection === this.#second && rank[connection.state] < rank.OpenSent) {
      this.#second = undefined
      connection.fire({ type: 'abandon' })
    }
    // The primary gave up while the peer's connection is still good: that one is the session now.
    if (connection === this.#primary && rank[connection.state] < rank.OpenSent && this.#second !== undefined && rank[this.#second.state] >= rank.OpenSent && !this.#isStopped) {
      this.#promote()
    }
    const isFailed = !isLost && connection === changedPrimary && rank[previous] >= rank.OpenSent && rank[this.state] < rank.OpenSent
    if (isFailed) this.#events.down(this.lastReset ?? reset('local', 'the session ended'), false)
    if (isLost) {
      this.negotiated = undefined
      this.flaps++
      this.#events.down(this.lastReset ?? reset('local', 'the session ended'), true)
    }
    this.#show()
    if (connection === this.#primary && connection.state === 'Established' && previous === 'OpenConfirm' && this.negotiated !== undefined) this.#events.established(this.negotiated)
  }

  update(message: UpdateMessage, problems: readonly UpdateProblem[]): void {
    this.#events.update(message, problems)
  }

  routeRefresh(message: RouteRefreshMessage): void {
    this.#events.routeRefresh(message)
  }

  drained(): void {
    this.#events.drained()
  }

  /** The second connection becomes the primary; the old one is let go without a word unless it still has an OPEN to answer. */
  #promote(): void {
    const old = this.#primary
    if (this.#second === undefined) return
    this.#primary = this.#second
    this.#second = rank[old.state] >= rank.OpenSent ? old : undefined
    if (this.#second === undefined) old.fire({ type: 'abandon' })
  }

  /** RFC 8538 3.1: where both sides keep routes over a NOTIFICATION, a real end is a Hard Reset that carries the reason. */
  #ceaseEvent(subcode: number, data: readonly number[]): FsmEvent {
    const theirs = this.negotiated?.remoteOpen.capabilities.find((capability) => capability.type === 'gracefulRestart')
    const isKept = this.#neighbor.gracefulRestart?.notification === true && theirs?.notification === true
    return isKept ? { type: 'stop', subcode: Cease.hardReset, data: [6, subcode, ...data] } : { type: 'stop', subcode, data }
  }

  #show(): void {
    const state = this.state
    if (state === this.#shown) return
    const previous = this.#shown
    this.#shown = state
    this.#events.stateChanged(state, previous)
  }

  #note(connection: Connection, event: FsmEvent, actions: readonly FsmAction[]): void {
    const sent = actions.find((action) => action.do === 'notify')
    const detail = connection.detail === undefined ? '' : `: ${connection.detail}`
    connection.detail = undefined
    if (event.type === 'notificationReceived') {
      const { code, subcode, data } = connection.lastNotification ?? { ...event, data: new Uint8Array(0) }
      this.lastReset = { ...reset('received', `peer closed: ${notificationText(code, subcode, data)}`), code, subcode }
    } else if (sent !== undefined) {
      const why = event.type === 'holdExpired' ? ': nothing heard from the peer' : event.type === 'sendHoldExpired' ? ': the peer does not read' : detail
      this.lastReset = { ...reset('sent', `${notificationText(sent.code, sent.subcode, Uint8Array.from(sent.data))}${why}`), code: sent.code, subcode: sent.subcode }
    } else if (event.type === 'tcpFailed') {
      this.lastReset = reset('local', event.reason)
    } else if (event.type !== 'abandon' || this.#isStopped) {
      this.lastReset = reset('local', this.#isStopped ? 'stopped here' : event.type)
    }
  }

  /** Told once, however often the dial fails in the same way. */
  #dialFailed(reason: string): void {
    const problem = this.#dialReason(reason)
    if (problem !== this.#dialProblem) this.#events.log('warn', `cannot connect to ${this.peerAddress} port ${this.peerPort}: ${problem}`)
    this.#dialProblem = problem
  }

  #dialReason(reason: string): string {
    const isMd5Suspect = this.#neighbor.password !== undefined && reason.startsWith('no answer')
    return isMd5Suspect ? `${reason}: SYN unanswered while a key is set, MD5 key mismatch suspected` : reason
  }

  /**
   * R is set for one restart time after a restarted process began. F is set when forwarding outlived the session that
   * the peer remembers: an earlier process's, or an earlier one of this process. Never on a first start.
   */
  #restartFlags(): { readonly isRestart: boolean; readonly isForwardingPreserved: boolean } {
    const isRestart = this.#options.isRestart && !this.#wasEstablishedOnce && this.clock.uptimeSec() < (this.#neighbor.gracefulRestart?.restartTimeSec ?? 0)
    return { isRestart, isForwardingPreserved: this.#wasEstablishedOnce || (isRestart && this.#options.isForwardingPreserved) }
  }

  #socketOptions(): Parameters<typeof createDialSocket>[0] {
    const { ttlSecurityHops, multihopTtl, password, sourceAddress, localAsn, peerAsn } = this.#neighbor
    const source = sourceAddress === undefined ? undefined : parseAddress(sourceAddress)
    const isInternal = localAsn === peerAsn
    return {
      peer: this.#peer,
      ttl: ttlSecurityHops !== undefined ? 255 : isInternal ? 64 : multihopTtl,
      ...(ttlSecurityHops === undefined ? {} : { minTtl: 256 - ttlSecurityHops }),
      ...(password === undefined ? {} : { password }),
      ...(source === undefined ? {} : { source }),
    }
  }
}

function reset(direction: ResetReason['direction'], text: string): ResetReason {
  return { at: new Date().toISOString(), direction, text }
}

function localAddressOf(socket: net.Socket): Address {
  const text = (socket.localAddress ?? '0.0.0.0').replace(/^::ffff:(?=\d+\.)/, '').replace(/%.*$/, '')
  return parseAddress(text) ?? 0
}

async function closed(socket: net.Socket | undefined): Promise<void> {
  if (socket === undefined || socket.destroyed) return
  await new Promise<void>((resolve) => socket.once('close', () => resolve()))
}
