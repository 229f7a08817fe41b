/**
 * One TCP connection (or the wait for one) with its state machine.
 *
 *     socket --chunks--> frames --> FSM event --> step() --> actions --> socket, timers, host
 *
 * Events are queued and each one's actions run to completion; nothing recurses. The table decides by state and type
 * before a body is decoded. At most `messagesPerTurn` messages are handled before the loop gets a turn; while a
 * backlog waits, the socket is paused, so the buffer is bounded by one read.
 */
import type net from 'node:net'
import { decodeMessage } from '../messages/decode.ts'
import { defaultMaxMessageBytes, frameMessage } from '../messages/header.ts'
import { keepaliveBytes } from '../messages/keepalive.ts'
import { encodeNotification } from '../messages/notification.ts'
import { encodeOpen } from '../messages/open.ts'
import { type CodecContext, type Message, MessageType, type NotificationFault, type OpenMessage, type RouteRefreshMessage, type UpdateMessage, type UpdateProblem } from '../messages/types.ts'
import type { Direction } from '../fsm/collision.ts'
import type { FsmAction, FsmEvent, FsmFacts, TimerName } from '../fsm/events.ts'
import type { Agreement } from '../fsm/negotiate.ts'
import { step } from '../fsm/table.ts'
import type { FsmState } from '../speaker/protocol.ts'
import { unwrittenBytes } from '../../sys/tcp-socket.ts'
import type { Clock, Timer } from './clock.ts'

const messagesPerTurn = 64
/** A NOTIFICATION gets this long to leave before the connection is cut. */
const closeGraceSec = 1
/** Above this many unsent octets the speaker stops, to resync when the queue is empty. */
const highWaterBytes = 1_048_576

/** Facts that outlive a connection: they belong to the peer. */
export interface SharedFacts {
  readonly passive: boolean
  readonly connectRetrySec: number
  dialFailures: number
  sessionFailures: number
}

export interface ConnectionHost {
  dial(): net.Socket
  readonly clock: Clock
  readonly peerPort: number
  readonly peerAddress: string
  localOpen(): OpenMessage
  /** Judges an OPEN; a `drop` means that another connection is kept. */
  openReceived(connection: Connection, open: OpenMessage): { readonly kind: 'agreed'; readonly agreement: Agreement } | { readonly kind: 'refused'; readonly fault: NotificationFault } | { readonly kind: 'drop' }
  changed(connection: Connection, previous: FsmState, event: FsmEvent, actions: readonly FsmAction[]): void
  up(connection: Connection): void
  update(message: UpdateMessage, problems: readonly UpdateProblem[]): void
  routeRefresh(message: RouteRefreshMessage): void
  drained(): void
}

export class Connection {
  state: FsmState
  direction: Direction = 'outgoing'
  agreement: Agreement | undefined
  remoteOpen: OpenMessage | undefined
  /** Why the last fault or NOTIFICATION happened, in words. */
  detail: string | undefined
  messagesIn = 0
  messagesOut = 0
  readonly #host: ConnectionHost
  readonly #shared: SharedFacts
  readonly #events: FsmEvent[] = []
  readonly #timers = new Map<TimerName, { readonly handle: Timer; readonly sec: number }>()
  #facts = { holdTimeSec: 0, keepaliveSec: 0 }
  #isStepping = false
  #socket: net.Socket | undefined
  #received: Uint8Array = new Uint8Array(0)
  #isBacklogged = false
  /** The speaker was told to stop and waits for `drained`. */
  #isFull = false
  #progress: SendProgress = { flushed: 0, unwritten: 0 }
  #pending: { readonly message: Message; readonly problems: readonly UpdateProblem[] } | undefined

  /** Starts in Idle; a connection that the peer opened starts in Active, waiting to be adopted. */
  constructor(host: ConnectionHost, shared: SharedFacts, state: 'Idle' | 'Active' = 'Idle') {
    this.#host = host
    this.#shared = shared
    this.state = state
  }

  get socket(): net.Socket | undefined {
    return this.#socket
  }

  /** Takes a connection that the peer opened. */
  adopt(socket: net.Socket): void {
    this.direction = 'incoming'
    this.#attach(socket)
    this.fire({ type: 'tcpUp' })
  }

  fire(event: FsmEvent): void {
    this.#events.push(event)
    if (this.#isStepping) return
    this.#isStepping = true
    try {
      for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift()) this.#step(next)
    } finally {
      this.#isStepping = false
    }
  }

  /** Writes whole messages; false when the queue is above its high-water mark. */
  write(bytes: Uint8Array, count: number): boolean {
    const socket = this.#socket
    if (socket === undefined || socket.destroyed) return false
    this.messagesOut += count
    socket.write(bytes)
    this.#isFull ||= socket.writableLength > highWaterBytes
    return !this.#isFull
  }

  #step(event: FsmEvent): void {
    const previous = this.state
    const facts: FsmFacts = { ...this.#shared, ...this.#facts, random: Math.random() }
    const transition = step(previous, facts, event)
    this.state = transition.next
    const { holdTimeSec = this.#facts.holdTimeSec, keepaliveSec = this.#facts.keepaliveSec } = transition.facts ?? {}
    this.#facts = { holdTimeSec, keepaliveSec }
    this.#shared.dialFailures = transition.facts?.dialFailures ?? this.#shared.dialFailures
    this.#shared.sessionFailures = transition.facts?.sessionFailures ?? this.#shared.sessionFailures
    for (const action of transition.actions) this.#run(action)
    if (previous !== this.state || event.type === 'tcpFailed' || event.type === 'connectRetryExpired') this.#host.changed(this, previous, event, transition.actions)
  }

  #run(action: FsmAction): void {
    switch (action.do) {
      case 'dial':
        return this.#dial()
      case 'sendOpen':
        return void this.write(encodeOpen(this.#host.localOpen()), 1)
      case 'sendKeepalive':
        return void this.write(keepaliveBytes, 1)
      case 'notify':
        return void this.write(encodeNotification({ ...action, data: Uint8Array.from(action.data) }), 1)
      case 'close':
        return this.#close()
      case 'arm':
        return this.#arm(action.timer, action.sec)
      case 'disarm':
        return this.#disarm(action.timer)
      case 'sessionUp':
        return this.#host.up(this)
      case 'deliver':
        return this.#deliver()
    }
  }

  #deliver(): void {
    const pending = this.#pending
    this.#pending = undefined
    if (pending?.message.type === 'update') this.#host.update(pending.message, pending.problems)
    else if (pending?.message.type === 'routeRefresh') this.#host.routeRefresh(pending.message)
  }

  #dial(): void {
    this.direction = 'outgoing'
    try {
      const socket = this.#host.dial()
      this.#attach(socket)
      socket.once('connect', () => {
        if (this.#socket === socket) this.fire({ type: 'tcpUp' })
      })
      socket.connect({ port: this.#host.peerPort, host: this.#host.peerAddress })
    } catch (error) {
      // The socket could not be made (no such source address, no privilege): the same as a failed dial, later.
      this.#events.push({ type: 'tcpFailed', reason: error instanceof Error ? error.message : String(error) })
    }
  }

  #attach(socket: net.Socket): void {
    this.#socket = socket
    this.#received = new Uint8Array(0)
    this.#isBacklogged = false
    this.#isFull = false
    this.agreement = undefined
    this.remoteOpen = undefined
    this.messagesIn = 0
    this.messagesOut = 0
    socket.setNoDelay(true)
    socket.on('data', (chunk: Uint8Array) => {
      if (this.#socket === socket) this.#receive(chunk)
    })
    socket.on('drain', () => {
      if (this.#socket !== socket || !this.#isFull) return
      this.#isFull = false
      this.#host.drained()
    })
    socket.on('error', (error: NodeJS.ErrnoException) => this.#failed(socket, connectError(error)))
    socket.on('close', () => this.#failed(socket, 'the peer closed the connection'))
    socket.on('end', () => this.#failed(socket, 'the peer closed the connection'))
  }

  #failed(socket: net.Socket, reason: string): void {
    if (this.#socket !== socket) return
    this.fire({ type: 'tcpFailed', reason })
  }

  #close(): void {
    const socket = this.#socket
    this.#socket = undefined
    this.#received = new Uint8Array(0)
    if (socket === undefined || socket.destroyed) return
    if (socket.connecting) {
      socket.destroy()
      return
    }
    const cut = this.#host.clock.after(closeGraceSec, () => socket.destroy())
    socket.once('close', () => cut.cancel())
    // Flushes what was written, says FIN, and does not wait for the peer's.
    socket.destroySoon()
  }

  #receive(chunk: Uint8Array): void {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk])
    if (!this.#isBacklogged) this.#drain()
  }

  #drain(): void {
    const socket = this.#socket
    this.#isBacklogged = false
    let at = 0
    for (let handled = 0; this.#socket === socket; handled++) {
      if (handled === messagesPerTurn) {
        this.#isBacklogged = true
        socket?.pause()
        setImmediate(() => {
          if (this.#socket !== socket) return
          socket?.resume()
          this.#drain()
        })
        break
      }
      const frame = frameMessage(this.#received, at, this.#received.length, this.agreement?.codec.maxMessageBytes ?? defaultMaxMessageBytes)
      if (frame.kind === 'more') break
      if (frame.kind === 'fault') return this.#fault(frame.fault)
      at += frame.length
      this.messagesIn++
      this.#message(frame.type, frame.body)
    }
    if (this.#socket === socket) this.#received = this.#received.subarray(at)
  }

  #fault(fault: NotificationFault): void {
    this.detail = fault.reason
    this.fire({ type: 'fault', code: fault.code, subcode: fault.subcode, data: [...fault.data] })
  }

  #message(type: number, body: Uint8Array): void {
    const isExpected = this.state === 'Established' || (type === MessageType.open && this.state === 'OpenSent')
    if (type === MessageType.keepalive) return this.fire({ type: 'keepaliveReceived' })
    if (!isExpected && type !== MessageType.notification) return this.fire(unexpectedEvent(type))
    if (type === MessageType.open && this.state === 'Established') return this.fire(unexpectedEvent(type))
    const decoded = decodeMessage(type, body, this.agreement?.codec ?? openContext)
    if (!decoded.ok) return this.#fault(decoded.fault)
    const { message, problems } = decoded.value
    switch (message.type) {
      case 'open':
        return this.#open(message)
      case 'update':
        this.#pending = { message, problems }
        return this.fire({ type: 'updateReceived' })
      case 'routeRefresh':
        this.#pending = { message, problems }
        return this.fire({ type: 'routeRefreshReceived' })
      case 'notification':
        this.lastNotification = message
        return this.fire({ type: 'notificationReceived', code: message.code, subcode: message.subcode })
      case 'keepalive':
        return undefined
    }
  }

  /** The NOTIFICATION that ended the connection, when the peer sent one. */
  lastNotification: { readonly code: number; readonly subcode: number; readonly data: Uint8Array } | undefined

  #open(open: OpenMessage): void {
    this.remoteOpen = open
    const answer = this.#host.openReceived(this, open)
    if (answer.kind === 'refused') return this.#fault(answer.fault)
    if (answer.kind === 'drop') return this.fire({ type: 'collisionDump' })
    this.agreement = answer.agreement
    this.fire({ type: 'openReceived', holdTimeSec: answer.agreement.holdTimeSec, keepaliveSec: answer.agreement.keepaliveSec })
  }

  #arm(timer: TimerName, sec: number): void {
    const armed = this.#timers.get(timer)
    if (armed?.sec === sec) {
      armed.handle.refresh()
      return
    }
    this.#disarm(timer)
    if (timer === 'sendHold') this.#progress = this.#sendProgress()
    this.#timers.set(timer, { handle: this.#host.clock.after(sec, () => this.#expired(timer)), sec })
  }

  #disarm(timer: TimerName): void {
    this.#timers.get(timer)?.handle.cancel()
    this.#timers.delete(timer)
  }

  #expired(timer: TimerName): void {
    if (timer === 'hold') return this.#holdExpired()
    if (timer === 'sendHold' && !this.#isSendBlocked()) {
      this.#timers.get(timer)?.handle.refresh()
      return
    }
    this.#timers.delete(timer)
    this.fire({ type: `${timer}Expired` })
  }

  /** A busy loop may have kept us from reading: what has arrived is read before the peer is declared dead. */
  #holdExpired(): void {
    const heard = this.messagesIn
    const armed = this.#timers.get('hold')
    setImmediate(() => setImmediate(() => {
      if (this.#timers.get('hold') !== armed || armed === undefined) return
      if (this.messagesIn !== heard || this.#isBacklogged) {
        armed.handle.refresh()
        return
      }
      this.#timers.delete('hold')
      this.fire({ type: 'holdExpired' })
    }))
  }

  #sendProgress(): SendProgress {
    const socket = this.#socket
    return socket === undefined ? { flushed: 0, unwritten: 0 } : { flushed: socket.bytesWritten - socket.writableLength, unwritten: unwrittenBytes(socket) }
  }

  /** RFC 9687: something waits to be sent and nothing of it left since the timer was armed. */
  #isSendBlocked(): boolean {
    const before = this.#progress
    const now = this.#sendProgress()
    this.#progress = now
    return (this.#socket?.writableLength ?? 0) > 0 && now.flushed === before.flushed && now.unwritten === before.unwritten
  }
}

/** What has left: whole writes, and how much of the one under way has not. */
interface SendProgress {
  readonly flushed: number
  readonly unwritten: number
}

/** Before negotiation only an OPEN or a NOTIFICATION is decoded, and neither looks at this. */
const openContext: CodecContext = { fourOctetAs: true, isExternal: true, families: [], maxMessageBytes: defaultMaxMessageBytes, extendedNextHop: false, addPathReceive: [] }

function unexpectedEvent(type: number): FsmEvent {
  if (type === MessageType.open) return { type: 'openReceived', holdTimeSec: 0, keepaliveSec: 0 }
  return { type: type === MessageType.update ? 'updateReceived' : 'routeRefreshReceived' }
}

const connectErrors: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'the peer refuses connections on this port',
  EHOSTUNREACH: 'no route to the peer',
  ENETUNREACH: 'no route to the peer',
  ETIMEDOUT: 'no answer',
  ECONNRESET: 'the peer reset the connection',
  EPIPE: 'the peer closed the connection',
}

function connectError(error: NodeJS.ErrnoException): string {
  return connectErrors[error.code ?? ''] ?? error.message
}
