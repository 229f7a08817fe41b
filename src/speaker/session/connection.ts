/**
 * One TCP connection (or the wait for one) with its state machine.
 *
 *     socket --chunks--> frames --> FSM event --> step() --> actions --> socket, timers, host
 *
 * Events are queued and each one's actions run to completion; nothing recurses. The table decides by state and type
 * before a body is decoded. At most `unitsPerTurn` of work are done before the loop gets a turn, and a message more;
 * while a backlog waits, the socket is paused, so the buffer is bounded by one read.
 */
import { MessageType } from '../../bgp/messages/numbers.ts'
import { type DecodedMessage, decodeMessage } from '../../bgp/messages/decode.ts'
import { defaultMaxMessageBytes, frameMessage, headerBytes, wholeUpdate } from '../../bgp/messages/header.ts'
import { keepaliveBytes } from '../../bgp/messages/keepalive.ts'
import { encodeNotification } from '../../bgp/messages/notification.ts'
import { encodeOpen } from '../../bgp/messages/open.ts'
import type { CodecContext, NotificationFault, OpenMessage, RouteRefreshMessage } from '../../bgp/messages/types.ts'
import { PlainUpdate, readPlainUpdate } from '../../bgp/messages/plain-update.ts'
import type { DecodedUpdate } from '../../bgp/messages/update.ts'
import type { FsmAction, FsmEvent, FsmFacts, FsmState, TimerName } from '../../bgp/fsm/events.ts'
import type { Agreement } from '../../bgp/fsm/negotiate.ts'
import type { ConnectionView, Direction } from '../../bgp/fsm/pair.ts'
import { isExpected, step } from '../../bgp/fsm/table.ts'
import type { Neighbor } from '../../desired/model.ts'
import { messageOf } from '../../errors.ts'
import type { Environment, Timer, Transport } from './environment.ts'

/** Some milliseconds, two socket reads of 64 KB with ordinary UPDATEs; a unit is one prefix. */
const unitsPerTurn = 32_768
/** Of a message, whatever is in it. */
const messageUnits = 64
/** Of an ordinary UPDATE, of which nothing is made. */
const plainUnits = 24
/** So many octets of a body are a unit, for what is not prefixes. */
const octetsPerUnit = 16
/** A prefix with a path identifier (RFC 7911) is looked for among others. */
const multipathUnits = 4
/** Less in one read is not remembered for the next one of the same turn. */
const rememberedUnits = 4_096
/** Events of which nothing is told but that a message came or went. */
const quietEvents: ReadonlySet<FsmEvent['type']> = new Set([
  'keepaliveReceived',
  'keepaliveExpired',
  'updateReceived',
  'routeRefreshReceived',
])
/** The last octet of a header is the type of the message (RFC 4271 4.1). */
const typeOffset = headerBytes - 1
/** A NOTIFICATION gets this long to leave before the connection is cut. */
const closeGraceSec = 1

/**
 * What outlives a connection: of the session the peer's own; a connection that is none has its own, and they end with
 * it.
 */
export interface ConnectionFacts {
  passive: boolean
  connectRetrySec: number
  delayOpenSec: number
  dialFailures: number
  sessionFailures: number
}

export interface ConnectionHost {
  readonly environment: Environment
  /** See {@link FsmFacts.isPeerConnected}; never of a connection that is not the session. */
  isPeerConnected(connection: Connection): boolean
  /** Throws ERR_SYSCALL. */
  dial(): Transport
  localOpen(connection: Connection): OpenMessage
  /** Judges an OPEN; a `drop` means that another connection is kept, a `wait` that it is asked again later. */
  openReceived(
    connection: Connection,
    open: OpenMessage,
    hasWaited: boolean,
  ):
    | { readonly kind: 'agreed'; readonly agreement: Agreement }
    | { readonly kind: 'refused'; readonly fault: NotificationFault }
    | { readonly kind: 'drop' }
    | { readonly kind: 'wait'; readonly sec: number }
  changed(connection: Connection, previous: FsmState, event: FsmEvent, actions: readonly FsmAction[]): void
  up(connection: Connection): void
  counted(): void
  stepped(): void
  update(update: DecodedUpdate): void
  routeRefresh(message: RouteRefreshMessage): void
  drained(): void
}

export class Connection implements ConnectionView {
  state: FsmState
  direction: Direction = 'outgoing'
  agreement: Agreement | undefined
  remoteOpen: OpenMessage | undefined
  /** TCP is up. */
  isConnected = false
  /** The configuration that our OPEN on it was made of; undefined before. */
  offered: Neighbor | undefined
  facts: ConnectionFacts
  /** Why the last fault happened, in words. */
  detail: string | undefined
  messagesIn = 0
  messagesOut = 0
  /** Of these the UPDATEs. */
  updatesIn = 0
  updatesOut = 0
  /** Resolves when the last connection is gone for good. */
  closed: Promise<void> = Promise.resolve()
  readonly #host: ConnectionHost
  readonly #events: FsmEvent[] = []
  readonly #timers = new Map<TimerName, { readonly handle: Timer; readonly sec: number }>()
  #negotiated = { holdTimeSec: 0, keepaliveSec: 0 }
  #isStepping = false
  #transport: Transport | undefined
  #received: Uint8Array = new Uint8Array(0)
  #isBacklogged = false
  /** Work of this turn, in units. */
  #spent = 0
  #isSpentDue = false
  /** What had left when the send hold timer was armed. */
  #sendMark = ''
  #pendingUpdate: DecodedUpdate | undefined
  /** An UPDATE was handled in this turn. */
  #hasUpdate = false
  #pendingRefresh: RouteRefreshMessage | undefined
  /** An OPEN that is not judged yet. */
  #waiting: OpenMessage | undefined
  #waitTimer: Timer | undefined

  /** Starts in Idle; a connection that the peer opened starts in Active, waiting to be adopted. */
  constructor(host: ConnectionHost, facts: ConnectionFacts, state: 'Idle' | 'Active' = 'Idle') {
    this.#host = host
    this.facts = facts
    this.state = state
  }

  get hasOpen(): boolean {
    return this.agreement !== undefined
  }

  get isWaiting(): boolean {
    return this.#waiting !== undefined
  }

  get transport(): Transport | undefined {
    return this.#transport
  }

  /** Takes a connection that the peer opened. */
  adopt(transport: Transport): void {
    this.direction = 'incoming'
    this.#attach(transport)
    this.isConnected = true
    this.fire({ type: 'tcpUp' })
  }

  fire(event: FsmEvent): void {
    this.#events.push(event)
    if (this.#isStepping) return
    this.#isStepping = true
    let isQuiet = this.state === 'Established'
    try {
      for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift()) {
        isQuiet &&= quietEvents.has(next.type)
        this.#step(next)
      }
    } finally {
      this.#isStepping = false
    }
    if (!isQuiet) this.#host.stepped()
  }

  /** Writes whole messages; false when the queue is above its high-water mark. */
  write(bytes: Uint8Array, count: number): boolean {
    if (this.#transport === undefined) return false
    this.messagesOut += count
    // What is written in one piece is of one type.
    if (bytes[typeOffset] === MessageType.update) this.updatesOut += count
    this.#host.counted()
    return this.#transport.write(bytes)
  }

  #step(event: FsmEvent): void {
    const previous = this.state
    const facts: FsmFacts = {
      ...this.facts,
      ...this.#negotiated,
      isConnected: this.isConnected,
      isPeerConnected: this.#host.isPeerConnected(this),
      random: this.#host.environment.random(),
    }
    const transition = step(previous, facts, event)
    this.state = transition.next
    const { dialFailures, sessionFailures, holdTimeSec, keepaliveSec } = { ...facts, ...transition.facts }
    this.#negotiated = { holdTimeSec, keepaliveSec }
    this.facts.dialFailures = dialFailures
    this.facts.sessionFailures = sessionFailures
    for (const action of transition.actions) this.#run(action)
    if (previous !== this.state || event.type === 'tcpFailed' || event.type === 'connectRetryExpired')
      this.#host.changed(this, previous, event, transition.actions)
  }

  #run(action: FsmAction): void {
    switch (action.do) {
      case 'dial':
        return this.#dial()
      case 'sendOpen':
        return void this.write(encodeOpen(this.#host.localOpen(this)), 1)
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
    const [update, refresh] = [this.#pendingUpdate, this.#pendingRefresh]
    this.#pendingUpdate = this.#pendingRefresh = undefined
    if (update !== undefined) this.#host.update(update)
    if (refresh !== undefined) this.#host.routeRefresh(refresh)
  }

  #dial(): void {
    this.direction = 'outgoing'
    try {
      this.#attach(this.#host.dial())
    } catch (error) {
      // The socket could not be made (no such source address, no privilege): the same as a failed dial, later.
      this.#events.push({ type: 'tcpFailed', reason: messageOf(error) })
    }
  }

  #attach(transport: Transport): void {
    this.isConnected = false
    this.#transport = transport
    this.#received = new Uint8Array(0)
    this.#isBacklogged = false
    this.#spent = 0
    this.#forget()
    this.messagesIn = this.updatesIn = 0
    this.messagesOut = this.updatesOut = 0
    let close: () => void = () => {}
    this.closed = new Promise((resolve) => {
      close = resolve
    })
    transport.attach({
      connected: () => {
        this.isConnected = true
        this.fire({ type: 'tcpUp' })
      },
      data: (chunk) => this.#receive(chunk),
      drained: () => this.#host.drained(),
      failed: (reason) => this.fire({ type: 'tcpFailed', reason }),
      closed: close,
    })
  }

  #close(): void {
    this.isConnected = false
    this.#transport?.close(closeGraceSec)
    this.#transport = undefined
    this.#received = new Uint8Array(0)
    this.#forget()
  }

  /** What was said on a connection ends with it. */
  #forget(): void {
    this.#endWait()
    this.agreement = undefined
    this.remoteOpen = undefined
    this.offered = undefined
  }

  #receive(chunk: Uint8Array): void {
    const all = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk])
    // A view of a Buffer costs several times that of a plain array, and each message makes some.
    this.#received = new Uint8Array(all.buffer, all.byteOffset, all.length)
    if (!this.#isBacklogged && this.#waiting === undefined) this.#drain()
  }

  #drain(): void {
    const transport = this.#transport
    this.#isBacklogged = false
    this.#hasUpdate = false
    let at = 0
    while (this.#transport === transport && this.#waiting === undefined) {
      if (this.#spent >= unitsPerTurn) {
        this.#isBacklogged = true
        transport?.pause()
        break
      }
      const plainBytes = this.#plainUpdate(at)
      if (plainBytes > 0) {
        at += plainBytes
        continue
      }
      const frame = frameMessage(
        this.#received,
        at,
        this.#received.length,
        this.agreement?.codec.maxMessageBytes ?? defaultMaxMessageBytes,
      )
      if (frame.kind === 'more') break
      if (frame.kind === 'fault') return this.#fault(frame.fault)
      at += frame.length
      this.messagesIn++
      if (frame.type === MessageType.update) this.updatesIn++
      this.#spent += messageUnits + Math.floor(frame.length / octetsPerUnit)
      this.#message(frame.type, frame.body)
    }
    if (this.#transport === transport) this.#received = this.#received.subarray(at)
    this.#host.counted()
    this.#rest()
  }

  /** An ordinary UPDATE is handled where it lies; answers its length, or 0 where there is none. */
  #plainUpdate(at: number): number {
    const codec = this.agreement?.codec
    if (codec === undefined || this.state !== 'Established') return 0
    const length = wholeUpdate(this.#received, at, this.#received.length, codec.maxMessageBytes)
    if (length === 0) return 0
    const update = readPlainUpdate(this.#received, at + headerBytes, at + length, codec)
    if (update === undefined) return 0
    this.messagesIn++
    this.updatesIn++
    this.#spent += plainUnits + Math.floor(length / octetsPerUnit)
    this.#update(update)
    return length
  }

  /** The next turn begins with nothing spent, and with what this one has left. */
  #rest(): void {
    if (this.#isSpentDue || (!this.#isBacklogged && this.#spent < rememberedUnits)) return
    this.#isSpentDue = true
    this.#host.environment.soon(() => {
      this.#isSpentDue = false
      this.#spent = 0
      if (!this.#isBacklogged) return
      this.#transport?.resume()
      this.#drain()
    })
  }

  #fault(fault: NotificationFault): void {
    this.detail = fault.reason
    this.fire({ type: 'fault', code: fault.code, subcode: fault.subcode, data: [...fault.data] })
  }

  /** The table decides by state and type before a body is decoded (RFC 4271 8.2.2, RFC 6608 4). */
  #message(type: number, body: Uint8Array): void {
    if (!isExpected(this.state, type)) return this.fire({ type: 'unexpectedMessage', messageType: type })
    if (type === MessageType.keepalive) return this.fire({ type: 'keepaliveReceived' })
    const decoded = decodeMessage(type, body, this.agreement?.codec ?? openContext)
    if (!decoded.ok) return this.#fault(decoded.fault)
    if (isUpdate(decoded.value)) return this.#update(decoded.value)
    const { message } = decoded.value
    switch (message.type) {
      case 'open':
        return this.#open(message)
      case 'routeRefresh':
        this.#pendingRefresh = message
        return this.fire({ type: 'routeRefreshReceived' })
      case 'notification':
        return this.fire({
          type: 'notificationReceived',
          code: message.code,
          subcode: message.subcode,
          data: [...message.data],
        })
      case 'update':
      case 'keepalive':
        return undefined
    }
  }

  /** The first UPDATE of a turn is an event and restarts the hold timer; those behind it have arrived with it. */
  #update(update: DecodedUpdate): void {
    this.#spent += updateUnits(update)
    if (this.#hasUpdate && this.state === 'Established') return this.#host.update(update)
    this.#hasUpdate = true
    this.#pendingUpdate = update
    this.fire({ type: 'updateReceived' })
  }

  /** The wait for another connection is over: that one ended, or it took too long. */
  reconsider(): void {
    const open = this.#waiting
    if (open === undefined) return
    this.#endWait()
    this.#open(open, true)
    this.#transport?.resume()
    if (!this.#isBacklogged) this.#drain()
  }

  #endWait(): void {
    this.#waiting = undefined
    this.#waitTimer?.cancel()
  }

  #open(open: OpenMessage, hasWaited = false): void {
    this.remoteOpen = open
    const answer = this.#host.openReceived(this, open, hasWaited)
    if (answer.kind === 'wait') {
      // What follows the OPEN is not read meanwhile.
      this.#waiting = open
      this.#transport?.pause()
      this.#waitTimer = this.#host.environment.after(answer.sec, () => this.reconsider())
      return
    }
    if (answer.kind === 'refused') return this.#fault(answer.fault)
    if (answer.kind === 'drop') return this.fire({ type: 'collisionDump' })
    this.agreement = answer.agreement
    this.fire({
      type: 'openReceived',
      holdTimeSec: answer.agreement.holdTimeSec,
      keepaliveSec: answer.agreement.keepaliveSec,
    })
  }

  #arm(timer: TimerName, sec: number): void {
    const armed = this.#timers.get(timer)
    if (armed?.sec === sec) {
      armed.handle.refresh()
      return
    }
    this.#disarm(timer)
    if (timer === 'sendHold') this.#sendMark = this.#transport?.backlog().mark ?? ''
    this.#timers.set(timer, { handle: this.#host.environment.after(sec, () => this.#expired(timer)), sec })
  }

  #disarm(timer: TimerName): void {
    this.#timers.get(timer)?.handle.cancel()
    this.#timers.delete(timer)
  }

  #expired(timer: TimerName): void {
    // RFC 4271 6.5: what waits here to be read is of a peer that lives.
    const isHeard = timer === 'hold' && this.#isBacklogged
    if (isHeard || (timer === 'sendHold' && !this.#isSendBlocked())) {
      this.#timers.get(timer)?.handle.refresh()
      return
    }
    this.#timers.delete(timer)
    this.fire({ type: `${timer}Expired` })
  }

  /** RFC 9687: something waits to be sent and nothing of it left since the timer was armed. */
  #isSendBlocked(): boolean {
    const { octets, mark } = this.#transport?.backlog() ?? { octets: 0, mark: '' }
    const isStuck = octets > 0 && mark === this.#sendMark
    this.#sendMark = mark
    return isStuck
  }
}

/** Before negotiation only an OPEN or a NOTIFICATION is decoded, and neither looks at this. */
const openContext: CodecContext = {
  fourOctetAs: true,
  isExternal: true,
  families: [],
  maxMessageBytes: defaultMaxMessageBytes,
  extendedNextHop: false,
  addPathReceive: [],
}

/** Of the prefixes of an UPDATE. */
function updateUnits(update: DecodedUpdate): number {
  if (update instanceof PlainUpdate) return update.count
  const { message } = update
  const { withdrawn, nlri, mpReach, mpUnreach, withdrawnPathIds, nlriPathIds } = message
  const prefixes = withdrawn.length + nlri.length + (mpReach?.prefixes.length ?? 0) + (mpUnreach?.prefixes.length ?? 0)
  const isMultipath = (withdrawnPathIds ?? nlriPathIds ?? mpReach?.pathIds ?? mpUnreach?.pathIds) !== undefined
  return isMultipath ? prefixes * multipathUnits : prefixes
}

function isUpdate(decoded: DecodedMessage): decoded is DecodedMessage & DecodedUpdate {
  return decoded.message.type === 'update'
}
