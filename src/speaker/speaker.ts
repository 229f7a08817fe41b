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
import type { AddressFamilyName } from '../desired/model.ts'
import { messageOf } from '../errors.ts'
import type { Address } from '../ip/address.ts'
import { parsePrefix, type Prefix } from '../ip/prefix.ts'
import { chooseNextHop, type ExportView } from '../policy/export.ts'
import { egressOtc } from '../policy/import.ts'
import { LocRib } from '../rib/loc-rib.ts'
import { afiSafiOf } from '../bgp/fsm/negotiate.ts'
import { encodeEndOfRib } from '../bgp/messages/pack.ts'
import type { Environment, Listener, Timer } from './session/environment.ts'
import type { NegotiatedSession } from './session/types.ts'
import { runCommand } from './commands.ts'
import { type Peer, peerSnapshot, type PeersHost } from './peer.ts'
import { Peers } from './peers.ts'
import { Presence } from './presence.ts'
import type { CommandAnswer, FromSpeaker, PrefixRoutes, SpeakerCommand, SpeakerOptions, ToSpeaker } from './protocol.ts'
import { Queries } from './queries.ts'
import { groupKey, UpdateGroup } from './update-group.ts'

/** Prefixes compared per turn, about 20 ms; large, because every cut costs one UPDATE that is not full. */
const maxPrefixesPerTurn = 32_768
const minPrefixesPerTurn = 1_024
/** A turn that took longer makes the next one half as large: many attribute sets cost more than many prefixes. */
const turnMs = 50

/** Routers need this long to move their traffic away from routes that carry GRACEFUL_SHUTDOWN. */
const gracefulShutdownSec = 10

type DrainPhase = 'none' | 'announcing' | 'withdrawn'

type FamilyReason = Partial<Record<AddressFamilyName, string>>

export class Speaker implements PeersHost {
  readonly #options: SpeakerOptions
  readonly #environment: Environment
  readonly #emit: (message: FromSpeaker) => void
  readonly #locRib = new LocRib()
  readonly #peers: Peers
  readonly #queries: Queries
  readonly #groups = new Map<string, UpdateGroup[]>()
  readonly #presence: Presence
  #dirty = new Set<Prefix>()
  #isFlushDue = false
  #prefixesPerTurn = maxPrefixesPerTurn
  #isSynced = false
  #drain: DrainPhase = 'none'
  #drainTimer: Timer | undefined
  #isStopping = false
  #listener: Listener | undefined

  /** `presence`: memory that is shared with the agent, see presence.ts. */
  constructor(
    options: SpeakerOptions,
    environment: Environment,
    emit: (message: FromSpeaker) => void,
    presence?: SharedArrayBuffer,
  ) {
    this.#options = options
    this.#environment = environment
    this.#emit = emit
    this.#peers = new Peers(options, environment, this.#locRib, this)
    this.#queries = new Queries(this.#peers, this.#locRib)
    this.#presence = new Presence(presence, this.#locRib, (prefix) =>
      this.#allGroups().some(({ adjRibOut }) => adjRibOut.paths(prefix).length > 0),
    )
  }

  /** The port that the listener got; undefined without one. */
  get port(): number | undefined {
    return this.#listener?.port
  }

  /** Buffers encoded by all update groups since they exist. */
  get encodings(): number {
    return this.#allGroups().reduce((sum, group) => sum + group.encodings, 0)
  }

  /** Opens the listener and reports `ready`; never rejects: without a listener the speaker goes on dialling. */
  async start(): Promise<void> {
    const { listen } = this.#options
    if (listen === undefined) return this.#emit({ type: 'ready', listening: false })
    try {
      this.#listener = await this.#environment.listen({
        ...listen,
        onRefused: (address) =>
          this.#emit({
            type: 'log',
            level: 'info',
            message: `refused a connection of ${address}: no neighbor has this address`,
          }),
        onProblem: (message) => this.#emit({ type: 'log', level: 'error', message }),
      })
      this.#listener.setPeers(this.#peers.listenerPeers)
      this.#emit({ type: 'ready', listening: true })
    } catch (error) {
      this.#emit({
        type: 'ready',
        listening: false,
        problem: `cannot listen on ${listen.host} port ${listen.port}: ${messageOf(error)}; peers are dialled only`,
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
      case 'synced':
        this.#isSynced = true
        return this.#schedule()
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
    peer.isEndOfRibSent = false
    this.#joinGroup(peer, negotiated, [])
  }

  down(peer: Peer): void {
    this.#leaveGroup(peer)
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

  viewChanged(peer: Peer): void {
    const { negotiated } = peer.session
    if (peer.group === undefined || negotiated === undefined) return
    const sent = [...peer.group.sentTo(peer.neighbor.id)]
    this.#leaveGroup(peer)
    this.#joinGroup(peer, negotiated, sent)
  }

  log(peer: Peer, level: 'info' | 'warn' | 'error', message: string): void {
    this.#emit({ type: 'log', level, peer: peer.neighbor.id, message })
  }

  /** RFC 8326 4: first the community, so that routers move on while packets are still served; then the routes go. */
  #setDraining(isDraining: boolean): void {
    if (isDraining === (this.#drain !== 'none')) return
    this.#drain = isDraining ? 'announcing' : 'none'
    this.#drainTimer?.cancel()
    this.#drainTimer = !isDraining
      ? undefined
      : this.#environment.after(gracefulShutdownSec, () => {
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
    try {
      this.#listener?.setPeers(this.#peers.listenerPeers)
    } catch (error) {
      this.#emit({
        type: 'log',
        level: 'error',
        message: `the listener does not know every neighbor's key: ${messageOf(error)}`,
      })
    }
  }

  #joinGroup(peer: Peer, negotiated: NegotiatedSession, sent: Parameters<UpdateGroup['join']>[1]): void {
    const { view, reasons } = exportView(peer, negotiated, this.#drain)
    for (const reason of Object.values(reasons)) this.log(peer, 'warn', reason)
    peer.problems = reasons
    const { maxPrefixesOut } = peer.neighbor
    const limits = maxPrefixesOut === undefined ? {} : { maxPrefixesOut }
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
        isRefreshEnhanced: negotiated.enhancedRouteRefresh,
        send: (messages, count) => peer.session.send(messages, count),
      },
      sent,
    )
    this.#schedule()
  }

  #leaveGroup(peer: Peer): void {
    peer.group?.leave(peer.neighbor.id)
    peer.group = undefined
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
    const prefixes = this.#takeDirty(limit)
    for (const group of groups) {
      if (prefixes.length > 0) group.flush(prefixes, now)
      if (prefixes.length < limit) group.continueResync(limit - prefixes.length, now)
    }
    this.#prefixesPerTurn = isOver()
      ? Math.max(minPrefixesPerTurn, this.#prefixesPerTurn / 2)
      : Math.min(maxPrefixesPerTurn, this.#prefixesPerTurn * 2)
    if (this.#dirty.size > 0 || groups.some((group) => group.isBusy)) this.#schedule()
    else if (this.#isSynced) this.#sendEndOfRib()
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
      if (peer.isEndOfRibSent || negotiated === undefined || peer.group?.isInSync(peer.neighbor.id) !== true) continue
      peer.isEndOfRibSent = true
      for (const family of negotiated.families) peer.session.send(encodeEndOfRib(family), 1)
    }
  }

  async #stop(mode: 'restart' | 'shutdown', text: string): Promise<void> {
    if (this.#isStopping) return
    this.#isStopping = true
    this.#drainTimer?.cancel()
    await this.#peers.stop(mode, text)
    await this.#listener?.close()
    this.#emit({ type: 'stopped' })
  }

  #allGroups(): readonly UpdateGroup[] {
    return [...this.#groups.values()].flat()
  }
}

/** What this session hears, and why a configured family is left out. */
function exportView(
  { neighbor }: Peer,
  negotiated: NegotiatedSession,
  drain: DrainPhase,
): { readonly view: ExportView; readonly reasons: FamilyReason } {
  const nextHops: Partial<Record<AddressFamilyName, Address>> = {}
  const reasons: FamilyReason = {}
  for (const family of drain === 'withdrawn' ? [] : neighbor.families) {
    const { afi, safi } = afiSafiOf[family]
    if (!negotiated.families.some((other) => other.afi === afi && other.safi === safi)) {
      reasons[family] = `${family} is not announced: the peer did not offer it`
      continue
    }
    const choice = chooseNextHop(family, neighbor, {
      localAddress: negotiated.localAddress,
      extendedNextHop: negotiated.codec.extendedNextHop,
      interfaceAddresses: [],
    })
    if (choice.ok) nextHops[family] = choice.nextHop
    else reasons[family] = choice.reason
  }
  const { localAsn, localAs, role } = neighbor
  const otc = negotiated.codec.isExternal ? egressOtc(role, localAs ?? localAsn) : undefined
  return {
    reasons,
    view: {
      localAsn,
      isExternal: negotiated.codec.isExternal,
      nextHops,
      ...(localAs === undefined ? {} : { localAs }),
      ...(otc === undefined ? {} : { otc }),
      ...(drain === 'announcing' ? { isGracefulShutdown: true } : {}),
    },
  }
}
