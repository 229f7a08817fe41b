/**
 * A network of hosts in memory: an {@link Environment} for each of them over one virtual clock, without sockets or
 * timers of the process. Two speakers, or a speaker and a script, talk over it, and every run is the same.
 *
 *     speaker --dial, write, after--> InMemoryHost --> InMemoryNetwork: what is due, in its order
 *     script  --dial, listen, write-> InMemoryHost ----^    `--advance(sec), until(isTrue)--> clock
 *
 * Nothing happens until somebody lets time pass. Octets arrive in order after `latencySec`; a write of any length
 * arrives as one piece.
 */
import type { BfdReport, PathWatch, WantedPath } from '../../bfd/path.ts'
import type { BfdSettings } from '../../desired/model.ts'
import type { Address } from '../../ip/address.ts'
import { formatAddress, formatScoped, isLinkLocal } from '../../ip/address.ts'
import { HeraldError } from '../../errors.ts'
import type {
  DialOptions,
  Environment,
  Listener,
  ListenerOptions,
  ListenerPeer,
  LocalAddress,
  Timer,
  Transport,
} from './environment.ts'
import { InMemoryTransport, link } from './in-memory-transport.ts'
import { seededRandom } from './random.ts'

/** 2026-01-01T00:00:00Z */
const epochMs = 1_767_225_600_000

interface Due {
  readonly atMs: number
  run: (() => void) | undefined
}

export class InMemoryNetwork {
  readonly latencySec: number
  readonly #hosts = new Map<Address, InMemoryHost>()
  readonly #random: () => number
  /** By time, and of one time in the order of their making. */
  #due: Due[] = []
  #nowMs = 0

  constructor({ latencySec = 0.001, seed = 1 }: { readonly latencySec?: number; readonly seed?: number } = {}) {
    this.latencySec = latencySec
    this.#random = seededRandom(seed)
  }

  /** Seconds that have passed. */
  get sec(): number {
    return this.#nowMs / 1000
  }

  /** A machine with these addresses; the first of a family is the source of its connections. */
  host(...addresses: readonly Address[]): InMemoryHost {
    const host = new InMemoryHost(this, addresses, this.#random)
    for (const address of addresses) this.#hosts.set(address, host)
    return host
  }

  /** Who has this address. */
  at(address: Address): InMemoryHost | undefined {
    return this.#hosts.get(address)
  }

  /** Runs everything that is due within so many seconds, each with its promises, and lets so many pass. */
  async advance(sec: number): Promise<void> {
    const endMs = this.#nowMs + sec * 1000
    await settled()
    while (await this.#step(endMs));
    this.#nowMs = endMs
  }

  /** Lets time pass until this is true, or so many seconds have passed; answers which. */
  async until(isTrue: () => boolean, limitSec = 600): Promise<boolean> {
    const endMs = this.#nowMs + limitSec * 1000
    await settled()
    while (!isTrue()) {
      if (await this.#step(endMs)) continue
      this.#nowMs = endMs
      return isTrue()
    }
    return true
  }

  /**
   * Lets so many seconds pass in which nobody runs (SIGSTOP, a suspended machine): what falls due meanwhile is late.
   */
  standStill(sec: number): void {
    this.#nowMs += sec * 1000
  }

  after(sec: number, run: () => void): Timer {
    let due = this.#add(sec, run)
    return {
      refresh: () => {
        due.run = undefined
        due = this.#add(sec, run)
      },
      cancel: () => {
        due.run = undefined
      },
    }
  }

  async #step(endMs: number): Promise<boolean> {
    const next = this.#due[0]
    if (next === undefined || next.atMs > endMs) return false
    this.#due.shift()
    if (next.run === undefined) return true
    this.#nowMs = Math.max(this.#nowMs, next.atMs)
    next.run()
    await settled()
    return true
  }

  #add(sec: number, run: () => void): Due {
    const due: Due = { atMs: this.#nowMs + sec * 1000, run }
    let [low, high] = [0, this.#due.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#due[middle] as Due).atMs <= due.atMs) low = middle + 1
      else high = middle
    }
    this.#due.splice(low, 0, due)
    return due
  }
}

/** A watch over a path, of which a script says what it finds. */
export interface InMemoryWatch {
  readonly path: WantedPath
  settings: BfdSettings
  tell(report: BfdReport): void
}

const firstEphemeralPort = 32_768

export class InMemoryHost implements Environment {
  /** Nothing reaches it or leaves it, and nobody is told: power lost, a cable pulled, a firewall that drops. */
  isUnplugged = false
  /** How long what leaves here is under way, drawn anew for each connection. */
  delaySec: () => number
  /** So much leaves for a peer that does not read. */
  windowOctets = 65_536
  /** As many unsent octets as a socket of the process takes before it says stop. */
  highWaterOctets = 1_048_576
  /** How far the clock on its wall is wrong; the one since its start never is. */
  wallErrorMs = 0
  /** The socket calls of the next dials fail with this reason. */
  dialProblem: string | undefined
  /** Every connection that was dialled from here, the latest last. */
  readonly dialled: InMemoryTransport[] = []
  /** Those that are open, in the order of their beginning. */
  readonly watches = new Set<InMemoryWatch>()
  readonly network: InMemoryNetwork
  readonly addresses: readonly Address[]
  readonly #random: () => number
  readonly #listeners = new Map<number, InMemoryListener>()
  readonly #discoveries = new Map<string, Set<(router: Address) => void>>()
  #nextPort = firstEphemeralPort

  constructor(network: InMemoryNetwork, addresses: readonly Address[], random: () => number) {
    this.network = network
    this.addresses = addresses
    this.#random = random
    this.delaySec = () => network.latencySec
  }

  now(): number {
    return Math.floor(epochMs + this.network.sec * 1000) + this.wallErrorMs
  }

  uptimeSec(): number {
    return this.network.sec
  }

  random(): number {
    return this.#random()
  }

  after(sec: number, callback: () => void): Timer {
    return this.network.after(sec, callback)
  }

  soon(callback: () => void): void {
    this.network.after(0, callback)
  }

  /** Work takes no time here. */
  startTurn(): () => boolean {
    return () => false
  }

  dial(options: DialOptions): Transport {
    if (this.dialProblem !== undefined) throw new HeraldError('ERR_SYSCALL', this.dialProblem)
    const isSameFamily = (address: Address): boolean => typeof address === typeof options.peer
    const source = options.source ?? this.addresses.find(isSameFamily)
    if (source === undefined || !this.addresses.includes(source))
      throw new HeraldError('ERR_SYSCALL', 'bind to the source address: EADDRNOTAVAIL')
    const transport = new InMemoryTransport(this, { address: source, port: this.#nextPort++ }, options)
    transport.connect = () => this.network.after(transport.delaySec, () => this.#reach(transport, options))
    this.dialled.push(transport)
    return transport
  }

  async listen(options: ListenerOptions): Promise<Listener> {
    const port = options.port === 0 ? this.#nextPort++ : options.port
    if (this.#listeners.has(port))
      throw new HeraldError('ERR_BGP_LISTEN', `cannot listen on ${options.host} port ${port}: EADDRINUSE`)
    const listener = new InMemoryListener(port, options, () => this.#listeners.delete(port))
    this.#listeners.set(port, listener)
    return listener
  }

  localAddresses(): readonly LocalAddress[] {
    return this.addresses.map((address) => ({ device: 'eth0', address, isGlobal: !isLinkLocal(address) }))
  }

  discoverRouters(device: string, found: (router: Address) => void): { close(): void } {
    const waiting = this.#discoveries.get(device) ?? new Set()
    this.#discoveries.set(device, waiting.add(found))
    return { close: () => void waiting.delete(found) }
  }

  watchPath(path: WantedPath, settings: BfdSettings, told: (report: BfdReport) => void): PathWatch {
    const watch = { path, settings, tell: told }
    this.watches.add(watch)
    return {
      configure: (next) => void (watch.settings = next),
      close: () => void this.watches.delete(watch),
    }
  }

  /** A router advertises itself on an interface (RFC 4861 4.2). */
  advertise(device: string, router: Address): void {
    for (const found of this.#discoveries.get(device) ?? []) found(router)
  }

  /** The SYN arrives, or not. */
  #reach(from: InMemoryTransport, { peer, port, password }: DialOptions): void {
    const host = this.network.at(peer)
    // Nobody answers the ARP request of an address that nobody has.
    if (host === undefined) return from.fail('EHOSTUNREACH')
    // A dial that was given up meanwhile reaches nobody.
    if (host.isUnplugged || this.isUnplugged || from.isOver) return
    const listener = host.#listeners.get(port)
    if (listener === undefined) return from.fail('ECONNREFUSED')
    const source = formatScoped(from.localAddress, from.options?.device)
    const neighbor = listener.peer(source) ?? listener.peer(formatAddress(from.localAddress))
    // RFC 2385: a SYN that is not signed with the key of its source is dropped.
    if (neighbor?.password !== password && (neighbor !== undefined || password !== undefined)) return
    const accepted = new InMemoryTransport(host, { address: peer, port })
    link(from, accepted)
    if (neighbor === undefined) {
      accepted.destroy()
      listener.refused(source)
      return
    }
    from.arrived()
    neighbor.accept(accepted)
  }
}

class InMemoryListener implements Listener {
  readonly port: number
  readonly #options: ListenerOptions
  readonly #onClose: () => void
  #peers: ReadonlyMap<string, ListenerPeer> = new Map()

  constructor(port: number, options: ListenerOptions, onClose: () => void) {
    this.port = port
    this.#options = options
    this.#onClose = onClose
  }

  setPeers(peers: readonly ListenerPeer[]): void {
    // Of two with one address the first is taken.
    this.#peers = new Map(peers.toReversed().map((peer) => [formatScoped(peer.address, peer.device), peer]))
  }

  peer(source: string): ListenerPeer | undefined {
    return this.#peers.get(source)
  }

  refused(source: string): void {
    this.#options.onRefused(source)
  }

  async close(): Promise<void> {
    this.#onClose()
  }
}

/** What promises have to do after an event is done when this resolves: no chain of them in the speaker is this long. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 16; turn++) await Promise.resolve()
}
