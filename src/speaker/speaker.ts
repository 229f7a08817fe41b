/**
 * The BGP speaker of a node: many neighbors, one Loc-RIB, one event loop. Knows nothing of threads.
 *
 *     ToSpeaker --configure--> peers ----established----> update group (joins)
 *               --routes-----> Loc-RIB --dirty prefixes--> flush, once per turn --> every update group --> sessions
 *               --query------> queries.ts, in bounded pieces --> FromSpeaker
 *
 * Messages of one turn are flushed together, so the newest state of a prefix is the only one that is sent, and a
 * prefix that came and went in the same turn is not sent at all. Work per turn is bounded; what is left waits for
 * the next turn, so that the timers of other sessions are never late.
 */
import type { FsmState } from '../bgp/fsm/events.ts'
import type { Clock, Wait } from '../clock/clock.ts'
import { afterRunning } from '../clock/running.ts'
import type { AddressFamilyName } from '../desired/model.ts'
import { messageOf } from '../errors.ts'
import { parsePrefix, type Prefix } from '../ip/prefix.ts'
import { LocRib } from '../rib/loc-rib.ts'
import { afiSafiOf } from '../bgp/fsm/negotiate.ts'
import { encodeEndOfRib } from '../bgp/messages/pack.ts'
import type { Environment, LocalAddress, Timer } from './session/environment.ts'
import type { NegotiatedSession } from './session/types.ts'
import { Chores } from './chores.ts'
import { runCommand } from './commands.ts'
import { FigureWriter } from './figures.ts'
import { type DrainPhase, groupKey, type GroupView, groupView } from './group-view.ts'
import { abandon, type Handover, nothingSent } from './handover.ts'
import { Listeners } from './listeners.ts'
import { type Peer, peerSnapshot, type PeersHost } from './peer.ts'
import { Peers } from './peers.ts'
import { Presence } from './presence.ts'
import type {
  CommandAnswer,
  FromSpeaker,
  PrefixRoutes,
  SharedMemory,
  SpeakerCommand,
  SpeakerOptions,
  ToSpeaker,
} from './protocol.ts'
import { Queries } from './queries.ts'
import { UpdateGroup } from './update-group.ts'

/** Prefixes compared per turn; large, because every cut costs one UPDATE that is not full. */
const maxPrefixesPerTurn = 32_768
const minPrefixesPerTurn = 1_024
/** Of the first turns: what they cost is not known yet. */
const firstPrefixesPerTurn = 8_192
/** A turn that took longer makes the next one half as large: many attribute sets cost more than many prefixes. */
const turnMs = 20

/** Routers need this long to move their traffic away from routes that carry GRACEFUL_SHUTDOWN. */
const gracefulShutdownSec = 10

/** A session waits so long for what is handed over without an end (the cap of a deferred selection, RFC 4724 4.1). */
const handOverSec = 60

/** A family that is left out for want of an address is looked at again after so long. */
const addressRetrySec = 10
/** With graceful restart its End-of-RIB waits so long for one. */
const addressWaitSec = 60

export class Speaker implements PeersHost {
  readonly figures: FigureWriter
  readonly #options: SpeakerOptions
  readonly #environment: Environment
  readonly #emit: (message: FromSpeaker) => void
  readonly #locRib = new LocRib()
  readonly #chores: Chores
  readonly #peers: Peers
  readonly #queries: Queries
  readonly #groups = new Map<string, UpdateGroup[]>()
  readonly #presence: Presence
  #dirty = new Set<Prefix>()
  #isFlushDue = false
  #prefixesPerTurn = firstPrefixesPerTurn
  #handOver: 'never' | 'following' | 'whole' = 'never'
  #drain: DrainPhase = 'none'
  #drainTimer: Wait | undefined
  #addressTimer: Timer | undefined
  #isStopping = false
  readonly #listeners: Listeners | undefined
  /** What the listeners met with the last set of neighbors. */
  #keyProblems: readonly string[] = []

  /** `shared`: memory that the agent sees too, see presence.ts and figures.ts. */
  constructor(
    options: SpeakerOptions,
    environment: Environment,
    emit: (message: FromSpeaker) => void,
    shared: SharedMemory = {},
  ) {
    this.figures = new FigureWriter(shared.figures)
    this.#options = options
    this.#environment = environment
    this.#emit = emit
    this.#chores = new Chores(environment)
    this.#locRib.onRoom = () => {
      for (const peer of this.#peers.all) peer.importer.roomMade()
    }
    this.#peers = new Peers(options, environment, this.#locRib, this)
    this.#listeners = options.listen === undefined ? undefined : this.#listenersAt(options.listen.host)
    this.#queries = new Queries(this.#peers, this.#locRib)
    this.#presence = new Presence(shared.presence, this.#locRib, (prefix) =>
      this.#allGroups().some(({ adjRibOut }) => adjRibOut.paths(prefix).length > 0),
    )
  }

  /** The port that the listener got; undefined without one. */
  get port(): number | undefined {
    return this.#listeners?.port
  }

  /** Buffers encoded by all update groups since they exist. */
  get encodings(): number {
    return this.#allGroups().reduce((sum, group) => sum + group.encodings, 0)
  }

  #listenersAt(host: string): Listeners {
    return new Listeners(this.#environment, {
      host,
      onRefused: (address) =>
        this.#emit({
          type: 'log',
          level: 'info',
          message: `refused a connection of ${address}: no neighbor has this address`,
        }),
      onProblem: (message) => this.#keyProblem(message),
    })
  }

  /** Opens the listener and reports `ready`; never rejects: without a listener the speaker goes on dialling. */
  async start(): Promise<void> {
    const { listen } = this.#options
    if (listen === undefined) return this.#emit({ type: 'ready', listening: false })
    try {
      await this.#listeners?.open(listen.port)
      this.#emit({ type: 'ready', listening: true })
    } catch (error) {
      this.#emit({
        type: 'ready',
        listening: false,
        problem: `${messageOf(error)}; peers are dialled only. Free the port, or choose another with --bgp-listen`,
      })
    }
  }

  /** Handles one message of the agent; `configure` and `routes` are idempotent. */
  handle(message: ToSpeaker): void {
    switch (message.type) {
      case 'configure':
        if (this.#isStopping) return
        this.#setDraining(message.isDraining === true)
        this.#peers.configure(message.neighbors)
        this.#setListenerPeers()
        return this.#peers.start()
      case 'routes':
        return this.#setRoutes(message.prefixes)
      case 'syncing':
        if (this.#handOver === 'whole') this.#handOver = 'following'
        return
      case 'synced':
        this.#handOver = 'whole'
        return this.#handedOver(this.#peers.all)
      case 'stop':
        return void this.#stop(message.mode, message.text)
      case 'query':
        return this.#emit({ type: 'answer', id: message.id, ...this.#queries.answer(message.query) })
      case 'command':
        return this.#emit({ type: 'answer', id: message.id, command: this.#run(message.command) })
    }
  }

  stateChanged(peer: Peer, state: FsmState, previous: FsmState): void {
    this.#emit({ type: 'peer', peer: { ...peerSnapshot(peer), state }, previous })
  }

  established(peer: Peer, negotiated: NegotiatedSession): void {
    peer.endOfRibsSent.clear()
    peer.isHandedOver = this.#handOver === 'whole'
    if (this.#handOver === 'following')
      peer.handOverWait = afterRunning(millisecondsOf(this.#environment), handOverSec * 1000, () =>
        this.#handedOver([peer]),
      )
    this.#joinGroup(peer, negotiated, nothingSent, this.#view(peer, negotiated))
    if (peer.withoutAddress.length > 0 && peer.neighbor.gracefulRestart !== undefined) this.#awaitAddress(peer)
  }

  /**
   * An empty End-of-RIB would have the router remove what it keeps of an earlier session (RFC 4724 4.2), while an
   * address is only late: that of an interface which came up a moment ago, or is looked for in the link (RFC 4862 5.4).
   */
  #awaitAddress(peer: Peer): void {
    peer.addressWait = afterRunning(millisecondsOf(this.#environment), addressWaitSec * 1000, () => {
      peer.addressWait = undefined
      for (const family of peer.withoutAddress)
        this.log(
          peer,
          'warn',
          `End-of-RIB of ${family} goes out without a route: ${addressWaitSec} s without a next hop`,
        )
      this.#schedule()
    })
  }

  #handedOver(peers: readonly Peer[]): void {
    for (const peer of peers) {
      peer.isHandedOver = true
      peer.handOverWait?.cancel()
    }
    this.#schedule()
  }

  down(peer: Peer): void {
    peer.handOverWait?.cancel()
    peer.addressWait?.cancel()
    peer.addressWait = undefined
    abandon(this.#leaveGroup(peer))
    this.#schedule()
  }

  drained(peer: Peer): void {
    peer.group?.drained(peer.neighbor.id)
    this.#schedule()
  }

  peerFound(): void {
    this.#setListenerPeers()
  }

  routeRefresh(peer: Peer, family: AddressFamilyName): void {
    peer.group?.refresh(peer.neighbor.id, family)
    this.#schedule()
  }

  workDue(peer: Peer): void {
    if (!this.#isStopping) this.#chores.add(peer)
  }

  viewChanged(peer: Peer): void {
    const { negotiated } = peer.session
    if (peer.group === undefined || negotiated === undefined) return
    const view = this.#view(peer, negotiated)
    const { group } = peer
    if (groupKey(view.view, negotiated.codec, view.limits) === groupKey(group.view, negotiated.codec, group.limits))
      return
    this.#joinGroup(peer, negotiated, this.#leaveGroup(peer), view)
  }

  log(peer: Peer, level: 'info' | 'warn' | 'error', message: string): void {
    this.#emit({ type: 'log', level, peer: peer.neighbor.id, message })
  }

  /** RFC 8326 4: first the community, so that routers move on while packets are still served; then the routes go. */
  #setDraining(isDraining: boolean): void {
    if (isDraining === (this.#drain !== 'none')) return
    // Nobody was told anything yet: a node that was drained before it started is not announced for a moment again.
    const isNews = this.#peers.all.length > 0
    this.#drain = !isDraining ? 'none' : isNews ? 'announcing' : 'withdrawn'
    this.#drainTimer?.cancel()
    if (!isNews) return
    this.#drainTimer = !isDraining
      ? undefined
      : afterRunning(millisecondsOf(this.#environment), gracefulShutdownSec * 1000, () => {
          this.#drain = 'withdrawn'
          for (const peer of this.#peers.all) this.viewChanged(peer)
          this.#emit({ type: 'log', level: 'info', message: 'drained: every route is withdrawn, the sessions stay' })
        })
    for (const peer of this.#peers.all) this.viewChanged(peer)
    this.#emit({
      type: 'log',
      level: 'info',
      message: isDraining
        ? `draining: routes carry GRACEFUL_SHUTDOWN and are withdrawn after ${gracefulShutdownSec} s (RFC 8326)`
        : 'drain undone: every route is announced as before',
    })
  }

  #run(command: SpeakerCommand): CommandAnswer {
    const peers = command.peer === '*' ? this.#peers.all : this.#peers.find(command.peer)
    return runCommand(command, peers, (peer, family) => this.routeRefresh(peer, family))
  }

  #setListenerPeers(): void {
    // What is still wrong is told again: every key and port that is not in force is tried again.
    if (this.#keyProblems.length > 0) this.#emit({ type: 'problems', about: 'keys', texts: (this.#keyProblems = []) })
    this.#listeners?.setPeers(this.#peers.listenerPeers)
  }

  #keyProblem(text: string): void {
    this.#keyProblems = [...this.#keyProblems, text]
    this.#emit({ type: 'problems', about: 'keys', texts: this.#keyProblems })
  }

  /** What the session hears from now on; what is wrong with it is told when it is new. */
  #view(peer: Peer, negotiated: NegotiatedSession): GroupView {
    let addresses: readonly LocalAddress[] | undefined
    const view = groupView(peer.neighbor, negotiated, this.#drain, () => {
      addresses ??= this.#environment.localAddresses()
      return addresses
    })
    for (const [family, problem] of Object.entries(view.problems))
      if (peer.problems[family as AddressFamilyName] !== problem) this.log(peer, 'warn', problem)
    peer.problems = view.problems
    peer.stepped()
    peer.withoutAddress = view.withoutAddress
    if (view.withoutAddress.length > 0) this.#lookAgain()
    return view
  }

  /** An address may come later than the session that needs it. */
  #lookAgain(): void {
    this.#addressTimer ??= this.#environment.after(addressRetrySec, () => {
      this.#addressTimer = undefined
      if (this.#isStopping) return
      for (const peer of this.#peers.all) if (Object.keys(peer.problems).length > 0) this.viewChanged(peer)
    })
  }

  #joinGroup(peer: Peer, negotiated: NegotiatedSession, handover: Handover, { view, limits }: GroupView): void {
    const key = groupKey(view, negotiated.codec, limits)
    const groups = this.#groups.get(key) ?? []
    let group = groups.find((candidate) => !candidate.isFull)
    if (group === undefined) {
      group = new UpdateGroup(view, negotiated.codec, this.#locRib, limits, this.#presence.changed)
      this.#groups.set(key, [...groups, group])
    }
    peer.group = group
    group.join(
      {
        id: peer.neighbor.id,
        // RFC 7313 4: with graceful restart no BoRR goes out before End-of-RIB.
        get isRefreshFramed() {
          const isTimely = peer.isEndOfRibSent || peer.neighbor.gracefulRestart === undefined
          return negotiated.enhancedRouteRefresh && isTimely
        },
        send: (messages, count) => peer.session.send(messages, count),
      },
      handover,
    )
    this.#schedule()
  }

  #leaveGroup(peer: Peer): Handover {
    const handover = peer.group?.leave(peer.neighbor.id) ?? nothingSent
    peer.group = undefined
    peer.counted()
    return handover
  }

  #dropEmptyGroups(): void {
    for (const [key, groups] of this.#groups) {
      const kept = groups.filter((group) => !group.isEmpty)
      if (kept.length === 0) this.#groups.delete(key)
      else this.#groups.set(key, kept)
    }
  }

  #setRoutes(prefixes: readonly PrefixRoutes[]): void {
    const now = this.#environment.now()
    for (const { prefix: text, routes, mark } of prefixes) {
      const prefix = parsePrefix(text)
      if (prefix === undefined) {
        this.#emit({ type: 'log', level: 'error', message: `${text} is no prefix and is not announced` })
        continue
      }
      if (this.#locRib.set(prefix, routes, now, mark)) this.#dirty.add(prefix)
      this.#presence.marked(prefix, mark)
    }
    if (this.#dirty.size > 0) this.#schedule()
  }

  #schedule(): void {
    if (this.#isStopping || this.#isFlushDue) return
    this.#isFlushDue = true
    this.#environment.soon(() => {
      this.#isFlushDue = false
      if (!this.#isStopping) this.#flush()
    })
  }

  #flush(): void {
    const now = this.#environment.now()
    const isOver = this.#environment.startTurn(turnMs)
    const groups = this.#allGroups()
    const limit = Math.ceil(this.#prefixesPerTurn / Math.max(1, groups.length))
    const prefixes = [...this.#takeDirty(limit)]
    // What one group fills its last message up with, the others behind it are told of too.
    const more = (count: number): readonly Prefix[] => {
      const added = this.#takeDirty(count)
      prefixes.push(...added)
      return added
    }
    for (const [i, group] of groups.entries()) {
      if (prefixes.length > 0) group.flush([...prefixes], now, i === 0 ? more : undefined)
      if (prefixes.length < limit) group.step(limit - prefixes.length, now)
    }
    this.#prefixesPerTurn = isOver()
      ? Math.max(minPrefixesPerTurn, this.#prefixesPerTurn / 2)
      : Math.min(maxPrefixesPerTurn, this.#prefixesPerTurn * 2)
    this.#dropEmptyGroups()
    if (this.#dirty.size === 0) this.#sendEndOfRib()
    if (this.#dirty.size > 0 || this.#allGroups().some((group) => group.isBusy)) this.#schedule()
  }

  #takeDirty(limit: number): readonly Prefix[] {
    if (this.#dirty.size <= limit) {
      const all = [...this.#dirty]
      this.#dirty = new Set()
      return all
    }
    const taken: Prefix[] = []
    for (const prefix of this.#dirty) {
      if (taken.length === limit) break
      taken.push(prefix)
      this.#dirty.delete(prefix)
    }
    return taken
  }

  /** RFC 4724 2 and 4.1: per family, once per session, when all that is wanted has been sent on it. */
  #sendEndOfRib(): void {
    for (const peer of this.#peers.all) {
      const { negotiated } = peer.session
      if (!peer.isHandedOver || negotiated === undefined || peer.isEndOfRibSent) continue
      if (peer.group?.isInSync(peer.neighbor.id) !== true) continue
      const awaited = peer.addressWait === undefined ? [] : peer.withoutAddress.map((name) => afiSafiOf[name].afi)
      for (const family of negotiated.families) {
        if (peer.endOfRibsSent.has(family.afi) || awaited.includes(family.afi)) continue
        peer.endOfRibsSent.add(family.afi)
        peer.session.send(encodeEndOfRib(family), 1)
      }
    }
  }

  async #stop(mode: 'restart' | 'shutdown', text: string): Promise<void> {
    if (this.#isStopping) return
    this.#isStopping = true
    this.#chores.end()
    this.#drainTimer?.cancel()
    this.#addressTimer?.cancel()
    await this.#peers.stop(mode, text)
    await this.#listeners?.close()
    this.#emit({ type: 'stopped' })
  }

  #allGroups(): readonly UpdateGroup[] {
    return [...this.#groups.values()].flat()
  }
}

const millisecondsOf = (environment: Environment): Pick<Clock, 'monotonic' | 'after'> => ({
  monotonic: () => environment.uptimeSec() * 1000,
  after: (ms, action) => environment.after(ms / 1000, action),
})
