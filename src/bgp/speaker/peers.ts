/**
 * The neighbors of the configuration and their sessions.
 *
 *     configure --compare--> gone: Cease 6/3     changed: Cease 6/6, then a new session     same: untouched
 *
 * Only what a session is made of resets it; names, next hops and routes never do.
 */
import type { AddressFamilyName, Neighbor } from '../../desired/model.ts'
import { AdjRibIn } from '../../rib/adj-rib-in.ts'
import { ownAsInPath } from '../../policy/import.ts'
import type { LocRib } from '../../rib/loc-rib.ts'
import { formatAddress } from '../../ip/address.ts'
import { Cease } from '../messages/notification.ts'
import { encodeRouteRefresh, RefreshSubtype } from '../messages/route-refresh.ts'
import type { AfiSafi } from '../messages/types.ts'
import { sessionParameters } from '../session/session-parameters.ts'
import type { Environment, ListenerPeer } from '../session/environment.ts'
import { type AcceptingSession, createPeerSession } from '../session/peer-session.ts'
import type { NegotiatedSession, SessionEvents } from '../session/types.ts'
import { Importer } from './importer.ts'
import type { FsmState, PeerSnapshot, SpeakerOptions } from './protocol.ts'
import { type PeerRestart, StaleRoutes, unicastFamilies } from './stale-routes.ts'
import type { UpdateGroup } from './update-group.ts'

/** One neighbor and its session. */
export interface Peer {
  neighbor: Neighbor
  readonly session: AcceptingSession
  readonly adjRibIn: AdjRibIn
  readonly importer: Importer
  /** What is kept for the peer while it restarts. */
  readonly staleRoutes: StaleRoutes
  /** ms since the epoch of the last change of state. */
  since: number
  /** Set while Established. */
  group: UpdateGroup | undefined
  /** End-of-RIB went out on this session (RFC 4724 2). */
  isEndOfRibSent: boolean
  /** Let go: its session still closes, its events reach nobody. */
  isGone: boolean
}

export interface PeersHost {
  stateChanged(peer: Peer, state: FsmState, previous: FsmState): void
  established(peer: Peer, negotiated: NegotiatedSession): void
  down(peer: Peer): void
  drained(peer: Peer): void
  /** Who may connect to the listener has changed. */
  peerFound(): void
  routeRefresh(peer: Peer, family: AddressFamilyName): void
  /** Facts changed that shape UPDATEs but not the session. */
  viewChanged(peer: Peer): void
  log(peer: Peer, level: 'info' | 'warn' | 'error', message: string): void
}

export class Peers {
  readonly #options: SpeakerOptions
  readonly #environment: Environment
  readonly #locRib: LocRib
  readonly #host: PeersHost
  readonly #peers = new Map<string, Peer>()
  /** Sessions on their way out, by neighbor id: a successor starts when its predecessor is closed. */
  readonly #closing = new Map<string, Promise<void>>()

  constructor(options: SpeakerOptions, environment: Environment, locRib: LocRib, host: PeersHost) {
    this.#options = options
    this.#environment = environment
    this.#locRib = locRib
    this.#host = host
  }

  get all(): readonly Peer[] {
    return [...this.#peers.values()]
  }

  get(id: string): Peer | undefined {
    return this.#peers.get(id)
  }

  /** The peer that a user names: by id, or by address. */
  find(name: string): readonly Peer[] {
    return this.all.filter(({ neighbor, session }) => neighbor.id === name || neighbor.peerAddress === name || (session.peer !== undefined && formatAddress(session.peer) === name))
  }

  /** Who may connect to the listener. */
  get listenerPeers(): readonly ListenerPeer[] {
    return this.all.flatMap(({ neighbor, session }) => {
      const address = session.peer
      if (address === undefined) return []
      const { password } = neighbor
      return [{ address, ...(password === undefined ? {} : { password }), accept: (transport) => session.accept(transport) } satisfies ListenerPeer]
    })
  }

  configure(neighbors: readonly Neighbor[]): void {
    const wanted = new Map(neighbors.map((neighbor) => [neighbor.id, neighbor]))
    for (const peer of this.all) {
      const next = wanted.get(peer.neighbor.id)
      if (next === undefined) this.#remove(peer, Cease.peerDeconfigured)
      else if (sessionParameters(next) !== sessionParameters(peer.neighbor)) this.#remove(peer, Cease.otherConfigurationChange)
      else this.#update(peer, next)
    }
    for (const neighbor of wanted.values()) if (!this.#peers.has(neighbor.id)) this.#add(neighbor)
  }

  /** To be called after `configure`, when the listener knows the keys of the new peers. */
  start(): void {
    for (const peer of this.all) {
      if (peer.since !== 0) continue
      peer.since = this.#environment.now()
      const closing = this.#closing.get(peer.neighbor.id)
      if (closing === undefined) peer.session.start()
      else void closing.then(() => peer.isGone || peer.session.start())
    }
  }

  /** Ends all sessions: silently where the peer keeps our routes meanwhile and this is a restart (RFC 4724 4), else with 6/2. */
  async stop(mode: 'restart' | 'shutdown', text: string): Promise<void> {
    const cease = { subcode: Cease.administrativeShutdown, text }
    const ends = this.all.map(({ session }) => session.stop(mode === 'restart' && session.negotiated?.gracefulRestart === true ? 'silent' : cease))
    for (const { staleRoutes } of this.all) staleRoutes.end()
    await Promise.all([...ends, ...this.#closing.values()])
  }

  #add(neighbor: Neighbor): void {
    const isCurrent = (): boolean => !peer.isGone
    const host = this.#host
    const environment = this.#environment
    const tolerated = new LineBudget()
    const events: SessionEvents = {
      stateChanged: (state, previous) => {
        peer.since = environment.now()
        if (isCurrent()) host.stateChanged(peer, state, previous)
      },
      established: (negotiated) => {
        restart = negotiated.peerRestart
        importer.established(peer.neighbor, negotiated)
        peer.staleRoutes.established(restart)
        if (isCurrent()) host.established(peer, negotiated)
      },
      down: (_reason, { isRestart }) => {
        if (isRestart && restart !== undefined && isCurrent()) peer.staleRoutes.lost(restart)
        // A failed attempt meanwhile changes nothing for a peer that is waited for.
        else if (restart !== undefined || !peer.staleRoutes.isHelping) forget(peer)
        restart = undefined
        if (isCurrent()) host.down(peer)
      },
      drained: () => isCurrent() && host.drained(peer),
      peerFound: () => isCurrent() && host.peerFound(),
      update: (update) => {
        const now = environment.now()
        const received = importer.receive(update)
        const { problems, endOfRib } = received
        const codec = peer.session.negotiated?.codec
        if (codec === undefined) return
        adjRibIn.apply(received, codec, now, importer.touched)
        for (const { action, reason } of problems) {
          if (reason === ownAsInPath) continue
          const more = tolerated.take(now)
          if (more !== undefined) host.log(peer, 'warn', `UPDATE error tolerated as ${action} (RFC 7606): ${reason}${more === 0 ? '' : `; ${more} before it were not logged`}`)
        }
        if (endOfRib !== undefined) peer.staleRoutes.endOfRib(endOfRib)
        boundPrefixes(peer)
      },
      routeRefresh: ({ family, subtype }) => {
        const name = unicastFamilies.find(([one]) => one.afi === family.afi && one.safi === family.safi)?.[1]
        const isEnhanced = peer.session.negotiated?.enhancedRouteRefresh === true
        if (name === undefined || !isCurrent()) return
        if (subtype === RefreshSubtype.request) host.routeRefresh(peer, name)
        // RFC 7313 5: BoRR and EoRR mean something only where both sides announced it; other subtypes are ignored.
        else if (subtype === RefreshSubtype.begin && isEnhanced) adjRibIn.beginRefresh(family)
        else if (subtype === RefreshSubtype.end && isEnhanced) adjRibIn.endRefresh(family, importer.touched)
      },
      log: (level, message) => host.log(peer, level, message),
    }
    let restart: PeerRestart | undefined
    const { isRestart, isForwardingPreserved } = this.#options
    const session = createPeerSession({ neighbor, events, isRestart, isForwardingPreserved, environment })
    const adjRibIn = new AdjRibIn({ seed: Math.floor(environment.random() * 2 ** 32) })
    const importer = new Importer(neighbor, adjRibIn, this.#locRib, () => {
      const more = tolerated.take(environment.now())
      if (more !== undefined) host.log(peer, 'warn', 'more prefixes are imported than the Loc-RIB holds: some are not used')
    })
    const staleTable = { markStale: () => adjRibIn.markStale(), sweepStale: (family: AfiSafi) => adjRibIn.sweepStale(family, importer.touched) }
    const staleRoutes = new StaleRoutes(staleTable, environment, (message) => host.log(peer, 'info', message))
    const peer: Peer = { neighbor, session, adjRibIn, importer, staleRoutes, since: 0, group: undefined, isEndOfRibSent: false, isGone: false }
    this.#peers.set(neighbor.id, peer)
  }

  #update(peer: Peer, next: Neighbor): void {
    const view = ({ nextHops, maxPrefixesOut }: Neighbor): string => JSON.stringify([nextHops ?? {}, maxPrefixesOut])
    const isViewChanged = view(peer.neighbor) !== view(next)
    peer.neighbor = next
    peer.session.configure(next)
    if (peer.importer.configure(next)) askAgain(peer)
    if (isViewChanged) this.#host.viewChanged(peer)
  }

  #remove(peer: Peer, subcode: number): void {
    const { id } = peer.neighbor
    this.#peers.delete(id)
    const previous = peer.session.state
    this.#host.down(peer)
    forget(peer)
    peer.isGone = true
    const earlier = this.#closing.get(id)
    const closing = Promise.all([earlier, peer.session.stop({ subcode, text: '' })]).then(() => {
      if (this.#closing.get(id) === closing) this.#closing.delete(id)
    })
    this.#closing.set(id, closing)
    if (previous !== 'Idle') this.#host.stateChanged(peer, 'Idle', previous)
  }
}

/** RFC 2918 3: a new import policy needs what was counted only; everything else is in Adj-RIB-In. */
function askAgain({ session, adjRibIn }: Peer): void {
  const { negotiated } = session
  if (negotiated?.routeRefresh !== true || !adjRibIn.isIncomplete) return
  for (const family of negotiated.families) session.send(encodeRouteRefresh({ type: 'routeRefresh', family, subtype: RefreshSubtype.request }), 1)
}

function forget({ staleRoutes, adjRibIn, importer }: Peer): void {
  staleRoutes.end()
  adjRibIn.clear()
  importer.forget()
}

/** A session that was ended for its prefixes is not tried again for so long; a changed limit ends the wait. */
const tooManyPrefixesSec = 300

/** RFC 4486 4: more prefixes than the neighbor may send end its session; the data is family and limit. */
function boundPrefixes({ neighbor, adjRibIn, session }: Peer): void {
  const { maxPrefixes } = neighbor
  if (maxPrefixes === undefined) return
  for (const [family, name] of unicastFamilies) {
    const count = adjRibIn.count(family.afi === 1 ? 'ipv4' : 'ipv6')
    if (count <= maxPrefixes) continue
    const data = Uint8Array.of(0, family.afi, family.safi, maxPrefixes >>> 24, maxPrefixes >>> 16, maxPrefixes >>> 8, maxPrefixes)
    return session.fail({ code: 6, subcode: Cease.maximumPrefixes, data, reason: `${count} prefixes of ${name}, at most ${maxPrefixes} are taken (maxPrefixes)` }, tooManyPrefixesSec)
  }
}

const linesPerWindow = 10
const windowMs = 10_000

/** A peer decides how many errors it sends, not how many lines are logged. */
class LineBudget {
  #windowAt = 0
  #taken = 0
  #withheld = 0

  /** How many lines were withheld since the last one; undefined: withhold this one too. */
  take(now: number): number | undefined {
    if (now - this.#windowAt >= windowMs) {
      this.#windowAt = now
      this.#taken = 0
    }
    if (this.#taken >= linesPerWindow) {
      this.#withheld++
      return undefined
    }
    this.#taken++
    const withheld = this.#withheld
    this.#withheld = 0
    return withheld
  }
}

/** The peer as the API shows it; never its key. */
export function peerSnapshot({ neighbor, session, adjRibIn, since, group }: Peer): PeerSnapshot {
  const { negotiated, lastReset, reason } = session
  return {
    id: neighbor.id,
    virtualRouter: neighbor.virtualRouter,
    localAsn: neighbor.localAsn,
    peerAsn: negotiated?.peerAsn ?? neighbor.peerAsn,
    peerAddress: session.peer === undefined ? neighbor.peerAddress : formatAddress(session.peer),
    peerPort: neighbor.peerPort,
    state: session.state,
    since: new Date(since).toISOString(),
    routerId: neighbor.routerId,
    ...(negotiated === undefined ? {} : {
      localAddress: formatAddress(negotiated.localAddress),
      peerRouterId: formatAddress(negotiated.remoteOpen.bgpId),
      holdTimeSec: negotiated.holdTimeSec,
      keepaliveSec: negotiated.keepaliveSec,
    }),
    capabilities: negotiated?.capabilities ?? [],
    gracefulRestart: negotiated?.gracefulRestart ?? false,
    families: neighbor.families.map((family) => {
      const short = family === 'ipv4-unicast' ? 'ipv4' : 'ipv6'
      return { family, received: adjRibIn.count(short), advertised: group?.sentCount(neighbor.id, short) ?? 0 }
    }),
    messagesIn: session.messagesIn,
    messagesOut: session.messagesOut,
    flaps: session.flaps,
    transitions: session.transitions,
    ...(lastReset === undefined ? {} : { lastReset }),
    ...(reason === undefined ? {} : { reason }),
  }
}
