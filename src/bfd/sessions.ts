/**
 * All BFD sessions of a node: which one a packet is of (RFC 5880 6.3), and who watches by which. Pure: sockets, chance
 * and what is told come through its ports.
 *
 *     watch --path--> Watched (one for two addresses, however many watch) --> BfdSession --packet--> BfdLink
 *     datagram --discriminator, or who sent it--> BfdSession --report--> everyone who watches
 */
import type { BfdSettings } from '../desired/model.ts'
import { type Address, formatAddress, isLinkLocal, parseAddress } from '../ip/address.ts'
import { type BfdCounters, maxRows } from './counters.ts'
import { type ControlPacket, decodeControl, type DropReason, encodeControl } from './packet.ts'
import type { BfdPath, BfdReport, FromWatcher } from './path.ts'
import { BfdSession } from './session.ts'

/** The socket that a session sends from. */
export interface BfdLink {
  readonly source: Address
  /** Index of the path's interface; 0: it names none. */
  readonly deviceIndex: number
  /** Throws ERR_SYSCALL. */
  send(octets: Uint8Array): void
  close(): void
}

/** A datagram, and what it was received with. */
export interface BfdDatagram {
  readonly octets: Uint8Array
  readonly source: Address
  readonly destination: Address
  readonly deviceIndex: number
  readonly ttl: number
  readonly isMultihop: boolean
}

export interface BfdAdmission {
  readonly peers: readonly Address[]
  readonly discriminators: readonly number[]
}

export interface BfdPorts {
  random(): number
  /** Throws ERR_SYSCALL while there is no such source, interface or route. */
  open(path: BfdPath): BfdLink
  /** Why packets do not arrive, for paths of this kind; undefined: they do. */
  problem(path: BfdPath): string | undefined
  tell(message: FromWatcher): void
}

/** A socket that could not be opened is tried again after so long. */
const reopenMs = 1_000
/** What a peer can cause with every packet is told so often in a row, then once in so long: the last of it. */
const [reportsAtOnce, msPerReport] = [10, 100]
/** RFC 5881 5, RFC 5082: nothing has forwarded it. */
export const directTtl = 255

interface Watched {
  readonly path: BfdPath
  readonly peer: Address
  readonly source: Address | undefined
  readonly session: BfdSession
  readonly row: number
  readonly watchers: Map<number, BfdSettings>
  link: BfdLink | undefined
  linkProblem: string | undefined
  reopenAtMs: number
  /** Nobody watches any more: it says AdminDown until then (RFC 5880 6.8.16). */
  endsAtMs: number
  /** What was told last, as text. */
  told: string
  /** Reports are paid for until then; infinite: none waits. */
  paidUntilMs: number
  tellAtMs: number
}

const keyOf = ({ peer, device, isMultihop }: BfdPath): string =>
  `${isMultihop ? 'multi' : 'single'} ${peer}%${device ?? ''}`

/** Where its packets leave from; undefined: the kernel has yet to say. */
const sourceOf = ({ source, link }: Watched): Address | undefined => source ?? link?.source

const peerOf = ({ peer }: BfdPath): Address => parseAddress(peer) ?? peer

const textOf = (address: Address | undefined): string | undefined =>
  address === undefined ? undefined : formatAddress(address)

export class BfdSessions {
  readonly #ports: BfdPorts
  readonly #counters: BfdCounters
  readonly #all = new Set<Watched>()
  readonly #byDiscriminator = new Map<number, Watched>()
  readonly #byPeer = new Map<Address, readonly Watched[]>()
  readonly #byWatcher = new Map<number, Watched>()
  readonly #rows = Array.from({ length: maxRows }, () => false)
  #generation = 0
  #dueMs = Number.POSITIVE_INFINITY
  /** Of the call under way. */
  #nowMs = 0

  constructor(ports: BfdPorts, counters: BfdCounters) {
    this.#ports = ports
    this.#counters = counters
  }

  get size(): number {
    return this.#all.size
  }

  /** Another number: {@link admission} is another. */
  get generation(): number {
    return this.#generation
  }

  /** Of whom packets may come, and by which discriminators; nobody else's are of a session. */
  get admission(): BfdAdmission {
    return { peers: [...this.#byPeer.keys()], discriminators: [...this.#byDiscriminator.keys()] }
  }

  /** When {@link expire} may have something to do, and not later: a packet that comes may put it off. */
  get dueMs(): number {
    return this.#dueMs
  }

  /** A watch over a path; what it finds is told by its id, also at once. */
  watch(id: number, path: BfdPath, settings: BfdSettings, nowMs: number): void {
    this.#nowMs = nowMs
    const known = this.#known(path)
    // Who says AdminDown still is another session than the one that begins.
    const isOver = known !== undefined && known.watchers.size === 0
    if (isOver) this.#remove(known)
    const watched = known === undefined || isOver ? this.#add(path, settings, nowMs) : known
    this.#byWatcher.set(id, watched)
    watched.watchers.set(id, settings)
    this.#settle(watched, nowMs)
    this.#ports.tell({ id, report: this.#report(watched) })
  }

  /**
   * Between two addresses there is one session (RFC 5881 3, RFC 5883 4): who watches a peer from another address of
   * ours has one of his own. As long as the kernel has not said from which, it is taken for the one that is there.
   */
  #known(path: BfdPath): Watched | undefined {
    const alike = (this.#byPeer.get(peerOf(path)) ?? []).filter((one) => keyOf(one.path) === keyOf(path))
    const same = alike.find((one) => one.path.source === path.source)
    if (same !== undefined || alike.length === 0) return same
    const source = path.source ?? this.#chosenSource(path)
    return alike.find((one) => {
      const own = textOf(sourceOf(one))
      return source === undefined || own === undefined || own === source
    })
  }

  /** Where the kernel would send from; undefined: nowhere for now. */
  #chosenSource(path: BfdPath): string | undefined {
    try {
      const link = this.#ports.open(path)
      link.close()
      return textOf(link.source)
    } catch {
      return undefined
    }
  }

  configure(id: number, settings: BfdSettings, nowMs: number): void {
    this.#nowMs = nowMs
    const watched = this.#byWatcher.get(id)
    if (watched === undefined) return
    watched.watchers.set(id, settings)
    this.#settle(watched, nowMs)
  }

  close(id: number, nowMs: number): void {
    this.#nowMs = nowMs
    const watched = this.#byWatcher.get(id)
    if (watched === undefined) return
    this.#byWatcher.delete(id)
    watched.watchers.delete(id)
    if (watched.watchers.size > 0) return this.#settle(watched, nowMs)
    watched.session.disable(nowMs)
    watched.endsAtMs = nowMs + watched.session.settings.detectMultiplier * watched.session.transmitIntervalMs
    this.#noteDue(watched)
  }

  /** The process ends: every session says AdminDown once. */
  stop(nowMs: number): void {
    this.#nowMs = nowMs
    for (const watched of this.#all) {
      watched.session.disable(nowMs)
      watched.link?.close()
    }
  }

  /** What is wrong with the sockets of all has changed. */
  retell(): void {
    for (const watched of this.#all) this.#tell(watched)
  }

  /** One packet: a bounded amount of work, whoever sent it. */
  receive(datagram: BfdDatagram, nowMs: number): void {
    this.#nowMs = nowMs
    const packet = decodeControl(datagram.octets)
    if (typeof packet === 'string') return this.#counters.drop(packet)
    const watched = this.#select(packet, datagram)
    if (typeof watched === 'string') return this.#counters.drop(watched)
    if (isOfStranger(packet, watched.session)) {
      watched.session.doubt(nowMs)
      this.#noteDue(watched)
      return this.#counters.drop('yourDiscriminator')
    }
    this.#counters.add(watched.row, 'packetsIn')
    this.#during(watched, () => watched.session.receive(packet, nowMs))
    this.#noteDue(watched)
  }

  /** Does what is due. Packets that have come by now are to be received before. */
  expire(nowMs: number): void {
    if (nowMs < this.#dueMs) return
    this.#nowMs = nowMs
    this.#dueMs = Number.POSITIVE_INFINITY
    for (const watched of this.#all) {
      if (nowMs >= watched.endsAtMs) {
        this.#remove(watched)
        continue
      }
      if (watched.link === undefined && nowMs >= watched.reopenAtMs) this.#open(watched, nowMs)
      if (nowMs >= watched.session.dueMs) this.#during(watched, () => watched.session.expire(nowMs))
      if (nowMs >= watched.tellAtMs) this.#tell(watched)
      this.#noteDue(watched)
    }
  }

  #noteDue({ session, endsAtMs, tellAtMs, link, reopenAtMs }: Watched): void {
    const openMs = link === undefined ? reopenAtMs : endsAtMs
    this.#dueMs = Math.min(this.#dueMs, session.dueMs, endsAtMs, tellAtMs, openMs)
  }

  /** RFC 5880 6.3 and 6.8.6, RFC 5881 5, RFC 5883 5. */
  #select(packet: ControlPacket, datagram: BfdDatagram): Watched | DropReason {
    const { yourDiscriminator } = packet
    const watched =
      yourDiscriminator === 0 ? this.#selectBySender(datagram) : this.#byDiscriminator.get(yourDiscriminator)
    // A session on the link is reached through its own port alone: the other one has a laxer check of hops.
    if (watched === undefined || watched.path.isMultihop !== datagram.isMultihop)
      return yourDiscriminator === 0 ? 'noSession' : 'yourDiscriminator'
    const { path, session } = watched
    const leastTtl = path.isMultihop ? (session.settings.minimumTtl ?? path.minimumTtl) : directTtl
    return datagram.ttl < leastTtl ? 'ttl' : watched
  }

  /** Of two sessions with one peer address that of our address, then of the interface (RFC 5881 4, RFC 5883 4). */
  #selectBySender({ source, destination, deviceIndex, isMultihop }: BfdDatagram): Watched | undefined {
    const isOn = (one: Watched): boolean => one.link?.deviceIndex === deviceIndex
    const fitting = (this.#byPeer.get(source) ?? []).filter(
      (one) =>
        one.path.isMultihop === isMultihop &&
        (!isLinkLocal(one.peer) || one.link === undefined || isOn(one)) &&
        (one.source === undefined || one.source === destination),
    )
    const exact = fitting.filter((one) => sourceOf(one) === destination)
    const among = exact.length > 0 ? exact : fitting
    return among.find(isOn) ?? among[0]
  }

  #add(path: BfdPath, settings: BfdSettings, nowMs: number): Watched {
    const row = this.#rows.indexOf(false)
    if (row >= 0) this.#rows[row] = true
    this.#counters.clear(row)
    const host = {
      random: () => this.#ports.random(),
      send: (packet: ControlPacket) => this.#send(watched, packet),
      changed: () => this.#tell(watched),
    }
    const session = new BfdSession(this.#newDiscriminator(), settings, host, nowMs)
    const peer = peerOf(path)
    const source = path.source === undefined ? undefined : parseAddress(path.source)
    const watched: Watched = {
      ...{ path, peer, source, session, row, watchers: new Map(), link: undefined, linkProblem: undefined },
      ...{ reopenAtMs: nowMs, endsAtMs: Number.POSITIVE_INFINITY, told: '' },
      ...{ paidUntilMs: 0, tellAtMs: Number.POSITIVE_INFINITY },
    }
    this.#generation++
    this.#all.add(watched)
    this.#byDiscriminator.set(session.discriminator, watched)
    this.#byPeer.set(peer, [...(this.#byPeer.get(peer) ?? []), watched])
    this.#open(watched, nowMs)
    this.#noteDue(watched)
    return watched
  }

  #remove(watched: Watched): void {
    watched.link?.close()
    watched.link = undefined
    if (watched.row >= 0) this.#rows[watched.row] = false
    this.#generation++
    this.#all.delete(watched)
    this.#byDiscriminator.delete(watched.session.discriminator)
    const others = (this.#byPeer.get(watched.peer) ?? []).filter((one) => one !== watched)
    if (others.length > 0) this.#byPeer.set(watched.peer, others)
    else this.#byPeer.delete(watched.peer)
  }

  /** Unique here and not to be guessed (RFC 5880 6.8.1): who does not know it can reach no session that is Up by it. */
  #newDiscriminator(): number {
    for (;;) {
      const discriminator = Math.floor(this.#ports.random() * 2 ** 32)
      if (discriminator !== 0 && !this.#byDiscriminator.has(discriminator)) return discriminator
    }
  }

  #open(watched: Watched, nowMs: number): void {
    watched.reopenAtMs = nowMs + reopenMs
    try {
      watched.link = this.#ports.open(watched.path)
      watched.linkProblem = undefined
    } catch (error) {
      watched.linkProblem = error instanceof Error ? error.message : String(error)
    }
    this.#tell(watched)
  }

  #send(watched: Watched, packet: ControlPacket): void {
    const { link } = watched
    if (link === undefined) return
    try {
      link.send(encodeControl(packet))
      this.#counters.add(watched.row, 'packetsOut')
    } catch (error) {
      // Its interface or its source is gone: the session ends for want of answers, and goes on when they are back.
      link.close()
      watched.link = undefined
      watched.linkProblem = error instanceof Error ? error.message : String(error)
      this.#tell(watched)
    }
  }

  /** RFC 5881 3: of all who watch a path the fastest decides: nobody is told later than he asked for. */
  #settle(watched: Watched, nowMs: number): void {
    const wanted = fastest([...watched.watchers.values()])
    if (wanted !== undefined && JSON.stringify(wanted) !== JSON.stringify(watched.session.settings))
      watched.session.configure(wanted, nowMs)
    this.#noteDue(watched)
  }

  #during(watched: Watched, work: () => void): void {
    const wasUp = watched.session.state === 'Up'
    work()
    const isUp = watched.session.state === 'Up'
    if (isUp !== wasUp) this.#counters.add(watched.row, isUp ? 'upEvents' : 'downEvents')
  }

  #tell(watched: Watched): void {
    const report = this.#report(watched)
    const told = JSON.stringify(report)
    watched.tellAtMs = Number.POSITIVE_INFINITY
    if (told === watched.told) return
    const paidUntilMs = Math.max(watched.paidUntilMs, this.#nowMs) + msPerReport
    if (paidUntilMs > this.#nowMs + reportsAtOnce * msPerReport) {
      watched.tellAtMs = paidUntilMs - reportsAtOnce * msPerReport
      return
    }
    watched.paidUntilMs = paidUntilMs
    watched.told = told
    const silentMs = Math.max(0, this.#nowMs - watched.session.heardMs)
    const whole = Number.isFinite(silentMs) ? { ...report, silentMs } : report
    for (const id of watched.watchers.keys()) this.#ports.tell({ id, report: whole })
  }

  #report({ session, link, linkProblem, path, row }: Watched): BfdReport {
    const { remote, detectionTimeMs } = session
    const problem = linkProblem ?? this.#ports.problem(path)
    return {
      state: session.state,
      diagnostic: session.diagnostic,
      remoteState: remote.state,
      remoteDiagnostic: remote.diagnostic,
      discriminator: session.discriminator,
      remoteDiscriminator: remote.discriminator,
      ...(link === undefined ? {} : { source: formatAddress(link.source) }),
      isMultihop: path.isMultihop,
      transmitIntervalMs: session.transmitIntervalMs,
      ...(detectionTimeMs === undefined ? {} : { detectionTimeMs }),
      remoteTransmitIntervalMs: remote.minTxUs / 1_000,
      remoteReceiveIntervalMs: remote.minRxUs / 1_000,
      remoteDetectMultiplier: remote.detectMultiplier,
      isRemoteIndependent: remote.isIndependent,
      row,
      ...(problem === undefined ? {} : { problem }),
    }
  }
}

/**
 * A session that is Up is not ended by who knows no more than the addresses, as in FRR's bfdd: whoever says neither our
 * discriminator nor the one of the peer has not heard either of us. A peer that has lost us names itself (6.8.1), and
 * of one that began anew the old session falls silent.
 */
const isOfStranger = (packet: ControlPacket, { state, remote }: BfdSession): boolean =>
  state === 'Up' && packet.yourDiscriminator === 0 && packet.myDiscriminator !== remote.discriminator

function fastest(all: readonly BfdSettings[]): BfdSettings | undefined {
  const [first] = all
  if (first === undefined || all.length === 1) return first
  const ttls = all.flatMap(({ minimumTtl }) => minimumTtl ?? [])
  return {
    receiveIntervalMs: Math.min(...all.map(({ receiveIntervalMs }) => receiveIntervalMs)),
    transmitIntervalMs: Math.min(...all.map(({ transmitIntervalMs }) => transmitIntervalMs)),
    detectMultiplier: Math.min(...all.map(({ detectMultiplier }) => detectMultiplier)),
    isPassive: all.every(({ isPassive }) => isPassive),
    ...(ttls.length === 0 ? {} : { minimumTtl: Math.max(...ttls) }),
  }
}
