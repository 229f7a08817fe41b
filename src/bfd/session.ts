/**
 * One BFD session (RFC 5880 6.8): its states, its timers and the Poll Sequence. Time comes as an argument, in ms of a
 * clock that never goes back; what it sends and what changed goes to its host. Echo packets are neither sent nor asked
 * for, and Demand mode is honoured where the other side asks for it (RFC 5880 6.6), never asked for.
 *
 *     packet --receive--> state, timers --send--> packet          dueMs --expire--> periodic packet, or detection
 */
import type { BfdSettings } from '../desired/model.ts'
import { type BfdState, type ControlPacket, Diagnostic } from './packet.ts'

export interface SessionHost {
  /** Uniform in [0, 1). */
  random(): number
  send(packet: ControlPacket): void
  /** State, or what is told of the session, is another. */
  changed(): void
}

/** RFC 5880 6.8.3: a session that is not Up sends no faster. */
const slowUs = 1_000_000
const usPerMs = 1_000

/** What the other side said last; these values while nothing was heard of it (6.8.1). */
const unheard = {
  state: 'Down' as BfdState,
  diagnostic: Diagnostic.none as number,
  discriminator: 0,
  minRxUs: 1,
  minTxUs: 0,
  detectMultiplier: 0,
  demand: false,
  isIndependent: false,
}

export class BfdSession {
  readonly discriminator: number
  state: BfdState = 'Down'
  diagnostic: number = Diagnostic.none
  remote = unheard
  readonly #host: SessionHost
  #settings: BfdSettings
  /** What we say, and what holds until the other side has confirmed it (6.8.3). */
  #desiredMinTxUs: number
  #activeMinTxUs: number
  #activeMinRxUs: number
  #poll: 'none' | 'running' | 'again' = 'none'
  #sentMs = Number.NEGATIVE_INFINITY
  #nextMs: number
  #intervalMs = 0
  #heardMs = Number.NEGATIVE_INFINITY
  /** Until then the other side has to say a word; infinite: nobody says that it began anew. */
  #doubtMs = Number.POSITIVE_INFINITY

  constructor(discriminator: number, settings: BfdSettings, host: SessionHost, nowMs: number) {
    this.discriminator = discriminator
    this.#settings = settings
    this.#host = host
    this.#desiredMinTxUs = this.#activeMinTxUs = this.#wantedMinTxUs
    this.#activeMinRxUs = this.#requiredMinRxUs
    this.#nextMs = nowMs
    this.#schedule(nowMs)
  }

  get settings(): BfdSettings {
    return this.#settings
  }

  /** Between two of our packets, before jitter (RFC 5880 6.8.2). */
  get transmitIntervalMs(): number {
    return Math.max(this.#activeMinTxUs, this.remote.minRxUs) / usPerMs
  }

  /** RFC 5880 6.8.4; undefined while nothing was heard. */
  get detectionTimeMs(): number | undefined {
    const { discriminator, detectMultiplier, minTxUs } = this.remote
    if (discriminator === 0) return undefined
    return (detectMultiplier * Math.max(this.#activeMinRxUs, minTxUs)) / usPerMs
  }

  /** When the other side was heard the last time. */
  get heardMs(): number {
    return this.#heardMs
  }

  /** When {@link expire} has something to do; Infinity: never, unless a packet comes. */
  get dueMs(): number {
    return Math.min(this.#detectMs, this.#mayTransmit ? this.#nextMs : Number.POSITIVE_INFINITY)
  }

  /** A packet that was selected for this session (6.8.6). */
  receive(packet: ControlPacket, nowMs: number): void {
    const before = this.#told()
    this.#doubtMs = Number.POSITIVE_INFINITY
    this.remote = {
      state: packet.state,
      diagnostic: packet.diagnostic,
      discriminator: packet.myDiscriminator,
      minRxUs: packet.requiredMinRxUs,
      minTxUs: packet.desiredMinTxUs,
      detectMultiplier: packet.detectMultiplier,
      demand: packet.demand,
      isIndependent: packet.controlPlaneIndependent,
    }
    this.#heardMs = nowMs
    if (packet.final) this.#confirmed()
    const changed = this.state === 'AdminDown' ? undefined : nextState(this.state, packet.state)
    if (changed !== undefined) this.#enter(changed, Diagnostic.neighborSignaledDown)
    this.#schedule(nowMs)
    if (packet.poll && this.state !== 'AdminDown') this.#transmit(nowMs, true)
    // 6.8.7: what is different is told before it is due.
    else if (changed !== undefined && this.#mayTransmit) this.#transmit(nowMs)
    if (before !== this.#told()) this.#host.changed()
  }

  /**
   * Somebody at the other side's address says that it began anew. If that is true nothing more is heard of the session
   * that is Up: two intervals, in which one packet may be lost, show it.
   */
  doubt(nowMs: number): void {
    const { detectionTimeMs = 0, remote } = this
    if (this.state === 'Up')
      this.#doubtMs = Math.min(this.#doubtMs, nowMs + (2 * detectionTimeMs) / remote.detectMultiplier)
  }

  /** Does what is due by now. Packets that have come by now are to be received before. */
  expire(nowMs: number): void {
    if (nowMs >= this.#detectMs) {
      const isFault = this.state === 'Init' || this.state === 'Up'
      const why = nowMs >= this.#doubtMs ? Diagnostic.neighborSignaledDown : Diagnostic.detectionTimeExpired
      // 6.8.1: after a Detection Time of silence nothing is known of the other side.
      this.remote = unheard
      if (isFault) this.#enter('Down', why)
      this.#schedule(nowMs)
      if (isFault && this.#mayTransmit) this.#transmit(nowMs)
      this.#host.changed()
    }
    if (this.#mayTransmit && nowMs >= this.#nextMs) this.#transmit(nowMs)
  }

  /** Other timers: told by a Poll Sequence, in force when the other side has confirmed them where that matters. */
  configure(settings: BfdSettings, nowMs: number): void {
    const [rxUs, txUs] = [this.#requiredMinRxUs, this.#desiredMinTxUs]
    this.#settings = settings
    this.#desiredMinTxUs = this.#wantedMinTxUs
    const isUp = this.state === 'Up'
    // 6.8.3: Up, we send no slower and detect no faster than the other side knows.
    if (!isUp || this.#desiredMinTxUs < this.#activeMinTxUs) this.#activeMinTxUs = this.#desiredMinTxUs
    if (!isUp || this.#requiredMinRxUs > this.#activeMinRxUs) this.#activeMinRxUs = this.#requiredMinRxUs
    if (isUp && (rxUs !== this.#requiredMinRxUs || txUs !== this.#desiredMinTxUs)) this.#beginPoll()
    this.#schedule(nowMs)
    this.#host.changed()
  }

  /** 6.8.16: taken down by us, which is no failure of the path. */
  disable(nowMs: number): void {
    if (this.state === 'AdminDown') return
    this.#enter('AdminDown', Diagnostic.administrativelyDown)
    this.#schedule(nowMs)
    if (this.#mayTransmit) this.#transmit(nowMs)
    this.#host.changed()
  }

  get #requiredMinRxUs(): number {
    return this.#settings.receiveIntervalMs * usPerMs
  }

  get #wantedMinTxUs(): number {
    const configuredUs = this.#settings.transmitIntervalMs * usPerMs
    return this.state === 'Up' ? configuredUs : Math.max(slowUs, configuredUs)
  }

  get #detectMs(): number {
    const { detectionTimeMs } = this
    const silentMs = detectionTimeMs === undefined ? Number.POSITIVE_INFINITY : this.#heardMs + detectionTimeMs
    return Math.min(silentMs, this.#doubtMs)
  }

  /** RFC 5880 6.8.7: whether packets go out by themselves. */
  get #mayTransmit(): boolean {
    const { discriminator, minRxUs, demand, state } = this.remote
    if (this.#settings.isPassive && discriminator === 0) return false
    if (minRxUs === 0) return false
    return !(demand && this.state === 'Up' && state === 'Up') || this.#poll !== 'none'
  }

  #enter(state: BfdState, diagnostic: number): void {
    this.state = state
    this.#doubtMs = Number.POSITIVE_INFINITY
    this.diagnostic = state === 'Down' || state === 'AdminDown' ? diagnostic : this.diagnostic
    if (state === 'Up') this.diagnostic = Diagnostic.none
    const before = this.#desiredMinTxUs
    // Up it is faster at once; a session that is not Up waits for no confirmation.
    this.#desiredMinTxUs = this.#activeMinTxUs = this.#wantedMinTxUs
    this.#activeMinRxUs = this.#requiredMinRxUs
    if (state !== 'Up') this.#poll = 'none'
    else if (before !== this.#desiredMinTxUs) this.#beginPoll()
  }

  #beginPoll(): void {
    // RFC 5880 6.5: an answer that is under way may be to what was said before.
    this.#poll = this.#poll === 'none' ? 'running' : 'again'
  }

  #confirmed(): void {
    if (this.#poll === 'again') this.#poll = 'running'
    else if (this.#poll === 'running') {
      this.#poll = 'none'
      this.#activeMinTxUs = this.#desiredMinTxUs
      this.#activeMinRxUs = this.#requiredMinRxUs
    }
  }

  /** The next packet is due an interval after the last one; drawn anew only when the interval is another. */
  #schedule(nowMs: number): void {
    if (this.transmitIntervalMs === this.#intervalMs) return
    this.#intervalMs = this.transmitIntervalMs
    this.#nextMs = Math.max(nowMs, this.#sentMs + this.#jitteredMs())
  }

  /** 6.8.7: less by up to a quarter, and at least by a tenth where one lost packet is too many. */
  #jitteredMs(): number {
    const span = this.#settings.detectMultiplier === 1 ? 0.15 : 0.25
    return this.#intervalMs * (0.75 + span * this.#host.random())
  }

  #transmit(nowMs: number, final = false): void {
    this.#host.send({
      diagnostic: this.diagnostic,
      state: this.state,
      // 6.5: never both.
      poll: !final && this.#poll !== 'none',
      final,
      controlPlaneIndependent: false,
      demand: false,
      detectMultiplier: this.#settings.detectMultiplier,
      myDiscriminator: this.discriminator,
      yourDiscriminator: this.remote.discriminator,
      desiredMinTxUs: this.#desiredMinTxUs,
      requiredMinRxUs: this.#requiredMinRxUs,
      requiredMinEchoRxUs: 0,
    })
    // An answer comes beside the periodic packets, and moves none of them.
    if (final) return
    this.#sentMs = nowMs
    this.#nextMs = nowMs + this.#jitteredMs()
  }

  /** What is told of it, to see whether that is another. */
  #told(): string {
    const { state, remote } = this
    return [state, ...Object.values(remote), this.transmitIntervalMs, this.detectionTimeMs].join()
  }
}

/** 6.8.6; undefined: it stays. */
function nextState(state: BfdState, heard: BfdState): BfdState | undefined {
  if (heard === 'AdminDown') return state === 'Down' ? undefined : 'Down'
  if (state === 'Down') return heard === 'Down' ? 'Init' : heard === 'Init' ? 'Up' : undefined
  if (state === 'Init') return heard === 'Init' || heard === 'Up' ? 'Up' : undefined
  return heard === 'Down' ? 'Down' : undefined
}
