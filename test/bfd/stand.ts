/** BFD sessions on a table: a clock that is turned by hand, a wire that loses what it is told to. */
import { BfdCounters } from '../../src/bfd/counters.ts'
import { type ControlPacket, decodeControl } from '../../src/bfd/packet.ts'
import type { BfdPath, BfdReport } from '../../src/bfd/path.ts'
import { BfdSession } from '../../src/bfd/session.ts'
import { type BfdDatagram, BfdSessions } from '../../src/bfd/sessions.ts'
import type { BfdSettings } from '../../src/desired/model.ts'
import { parseAddress } from '../../src/ip/address.ts'

export const settings = (more: Partial<BfdSettings> = {}): BfdSettings => ({
  receiveIntervalMs: 100,
  transmitIntervalMs: 100,
  detectMultiplier: 3,
  isPassive: false,
  ...more,
})

/** One session and what it has sent, each with its time. */
export class Lone {
  nowMs = 0
  chance = 1
  changes = 0
  readonly sent: (ControlPacket & { readonly atMs: number })[] = []
  readonly session: BfdSession

  constructor(own: BfdSettings = settings(), discriminator = 1) {
    const host = {
      random: () => this.chance,
      send: (packet: ControlPacket) => void this.sent.push({ ...packet, atMs: this.nowMs }),
      changed: () => void this.changes++,
    }
    this.session = new BfdSession(discriminator, own, host, 0)
  }

  get last(): ControlPacket & { readonly atMs: number } {
    const last = this.sent.at(-1)
    if (last === undefined) throw new RangeError('nothing was sent')
    return last
  }

  /** Lets time pass, with everything that is due in it. */
  advance(ms: number): void {
    const endMs = this.nowMs + ms
    while (this.session.dueMs <= endMs) {
      this.nowMs = Math.max(this.nowMs, this.session.dueMs)
      this.session.expire(this.nowMs)
    }
    this.nowMs = endMs
  }

  hear(packet: Partial<ControlPacket>): void {
    this.session.receive({ ...heard, ...packet }, this.nowMs)
  }

  /** A peer that is up and wants 100 ms. */
  up(): this {
    this.hear({ state: 'Down', yourDiscriminator: 0 })
    this.hear({ state: 'Up' })
    this.hear({ state: 'Up', final: true })
    return this
  }
}

export const heard: ControlPacket = {
  diagnostic: 0,
  state: 'Down',
  poll: false,
  final: false,
  controlPlaneIndependent: false,
  demand: false,
  detectMultiplier: 3,
  myDiscriminator: 77,
  yourDiscriminator: 1,
  desiredMinTxUs: 100_000,
  requiredMinRxUs: 100_000,
  requiredMinEchoRxUs: 0,
}

/** A node with sessions; what it sends goes to the node at the other end of the wire. */
export class Node {
  readonly sessions: BfdSessions
  readonly counters = new BfdCounters()
  readonly reports: { readonly id: number; readonly report: BfdReport }[] = []
  readonly octets: Uint8Array[] = []
  /** Opening a socket fails with this. */
  refusal: string | undefined
  problem: string | undefined
  openLinks = 0
  deviceIndex = 2
  readonly address: string
  readonly deliver: (datagram: BfdDatagram) => void

  constructor(address: string, deliver: (datagram: BfdDatagram) => void = () => {}, seed = 1) {
    this.address = address
    this.deliver = deliver
    let state = seed
    this.sessions = new BfdSessions(
      {
        random: () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647,
        open: (path) => this.#open(path),
        problem: () => this.problem,
        tell: (message) => void this.reports.push(message),
      },
      this.counters,
    )
  }

  get report(): BfdReport {
    const last = this.reports.at(-1)
    if (last === undefined) throw new RangeError('nothing was told')
    return last.report
  }

  /** What it has sent last, read. */
  get last(): ControlPacket {
    const read = decodeControl(this.octets.at(-1) ?? new Uint8Array())
    if (typeof read === 'string') throw new RangeError(read)
    return read
  }

  #open(path: BfdPath): ReturnType<ConstructorParameters<typeof BfdSessions>[0]['open']> {
    if (this.refusal !== undefined) throw new RangeError(this.refusal)
    const [source, destination] = [parseAddress(path.source ?? this.address) ?? 0, parseAddress(path.peer) ?? 0]
    this.openLinks++
    return {
      source,
      deviceIndex: path.device === undefined ? 0 : this.deviceIndex,
      send: (octets) => {
        if (this.refusal !== undefined) throw new RangeError(this.refusal)
        this.octets.push(octets)
        this.deliver({ octets, source, destination, deviceIndex: 2, ttl: 255, isMultihop: path.isMultihop })
      },
      close: () => void this.openLinks--,
    }
  }
}

/** Two nodes at the two ends of a wire. */
export class Wire {
  nowMs = 0
  isCut = false
  readonly a: Node
  readonly b: Node
  readonly #queue: (() => void)[] = []

  constructor(a = '192.0.2.1', b = '192.0.2.2') {
    const to =
      (other: () => Node) =>
      (datagram: BfdDatagram): void => {
        if (!this.isCut) this.#queue.push(() => other().sessions.receive(datagram, this.nowMs))
      }
    this.a = new Node(
      a,
      to(() => this.b),
      3,
    )
    this.b = new Node(
      b,
      to(() => this.a),
      5,
    )
  }

  path(peer: string, more: Partial<BfdPath> = {}): BfdPath {
    const device = peer.startsWith('fe80') ? { device: 'eth0' } : {}
    return { peer, isMultihop: false, minimumTtl: 1, ...device, ...more }
  }

  /** Both watch each other. */
  begin(ofA = settings(), ofB = settings()): this {
    this.a.sessions.watch(1, this.path(this.b.address), ofA, this.nowMs)
    this.b.sessions.watch(1, this.path(this.a.address), ofB, this.nowMs)
    return this
  }

  advance(ms: number): void {
    const endMs = this.nowMs + ms
    for (;;) {
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) next()
      const dueMs = Math.min(this.a.sessions.dueMs, this.b.sessions.dueMs)
      if (dueMs > endMs) break
      this.nowMs = Math.max(this.nowMs, dueMs)
      this.a.sessions.expire(this.nowMs)
      this.b.sessions.expire(this.nowMs)
    }
    this.nowMs = endMs
  }
}
