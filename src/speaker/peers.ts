/**
 * The neighbors of the configuration.
 *
 *     configure --compare--> gone: Cease 6/3     changed: Cease 6/6, then a new session     same: untouched
 *
 * Only what a session is made of resets it (./session/neighbor-effects.ts); names, next hops and routes never do.
 */
import { Cease } from '../bgp/messages/numbers.ts'
import type { Neighbor } from '../desired/model.ts'
import { formatScoped, isAddressNamed, parseAddress } from '../ip/address.ts'
import type { LocRib } from '../rib/loc-rib.ts'
import { isOurs } from './group-view.ts'
import type { AwaitedPeer } from './listeners.ts'
import type { Environment } from './session/environment.ts'
import { changedFields, effectsOf } from './session/neighbor-effects.ts'
import { Peer, type PeersHost } from './peer.ts'
import type { SpeakerOptions } from './protocol.ts'

export class Peers {
  readonly #options: SpeakerOptions
  readonly #environment: Environment
  readonly #locRib: LocRib
  readonly #host: PeersHost
  readonly #peers = new Map<string, Peer>()
  /** Sessions on their way out, by neighbor id: a successor starts when its predecessor is closed. */
  readonly #closing = new Map<string, Promise<void>>()
  /** Nothing starts any more. */
  #isStopping = false

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

  /** The peers that a user names: by id, with or without our AS, or by address. */
  find(name: string): readonly Peer[] {
    return this.all.filter(
      ({ neighbor, session }) =>
        neighbor.id === name ||
        neighbor.id.slice(neighbor.id.indexOf('/') + 1) === name ||
        neighbor.peerAddress === name ||
        isAddressNamed(neighbor.peerAddress, name) ||
        (session.peer !== undefined && isAddressNamed(formatScoped(session.peer, neighbor.interface), name)),
    )
  }

  /** Who may connect to the listener. */
  get listenerPeers(): readonly AwaitedPeer[] {
    return this.all.flatMap(({ neighbor, session }) => {
      const address = session.peer
      if (address === undefined) return []
      const { password, listenPort, interface: device } = neighbor
      return [
        {
          address,
          ...(password === undefined ? {} : { password }),
          ...(device === undefined ? {} : { device }),
          ...(listenPort === undefined ? {} : { listenPort }),
          accept: (transport) => session.accept(transport),
        } satisfies AwaitedPeer,
      ]
    })
  }

  configure(neighbors: readonly Neighbor[]): void {
    const wanted = new Map(neighbors.map((neighbor) => [neighbor.id, neighbor]))
    for (const peer of this.all) {
      const next = wanted.get(peer.neighbor.id)
      if (next === undefined) this.#remove(peer, Cease.peerDeconfigured)
      else {
        const changed = effectsOf(changedFields(peer.neighbor, next))
        if (changed.has('newSession')) this.#remove(peer, Cease.otherConfigurationChange)
        else peer.configure(next, changed)
      }
    }
    for (const neighbor of wanted.values())
      if (!this.#peers.has(neighbor.id))
        this.#peers.set(neighbor.id, new Peer(neighbor, this.#options, this.#environment, this.#locRib, this.#host))
    this.#giveRows()
  }

  /** Each peer has the row of its place among all. */
  #giveRows(): void {
    this.#host.figures.changed()
    for (const [row, peer] of this.all.entries()) {
      peer.row = row
      peer.counted()
    }
  }

  /** To be called after `configure`, when the listener knows the keys of the new peers. */
  start(): void {
    if (this.#isStopping) return
    for (const peer of this.all) {
      if (peer.since !== 0) continue
      peer.since = this.#environment.now()
      peer.stepped()
      this.#warnOfSource(peer)
      peer.path.look()
      const closing = this.#closing.get(peer.neighbor.id)
      if (closing === undefined) peer.session.start()
      else
        void closing.then(() => {
          if (!peer.isGone && !this.#isStopping) peer.session.start()
        })
    }
  }

  #warnOfSource(peer: Peer): void {
    const { sourceAddress } = peer.neighbor
    const source = sourceAddress === undefined ? undefined : parseAddress(sourceAddress)
    if (source === undefined || isOurs(source, this.#environment.localAddresses())) return
    this.#host.log(
      peer,
      'warn',
      `the source address ${sourceAddress} is no address of this node: nothing leaves from it`,
    )
  }

  /**
   * Ends all sessions: silently where the peer keeps our routes meanwhile and this is a restart (RFC 4724 4), else with
   * 6/2.
   */
  async stop(mode: 'restart' | 'shutdown', text: string): Promise<void> {
    this.#isStopping = true
    const cease = { subcode: Cease.administrativeShutdown, text }
    // Before a connection ends: a router that hears it first does not take the path for lost.
    for (const peer of this.all) peer.path.close(true)
    const ends = this.all.map(({ session }) =>
      session.stop(mode === 'restart' && session.negotiated?.gracefulRestart === true ? 'silent' : cease),
    )
    for (const { staleRoutes } of this.all) staleRoutes.end()
    await Promise.all([...ends, ...this.#closing.values()])
  }

  #remove(peer: Peer, subcode: number): void {
    const { id } = peer.neighbor
    this.#peers.delete(id)
    const previous = peer.session.state
    this.#host.down(peer)
    // Its row becomes another's.
    peer.row = -1
    this.#host.figures.changed()
    peer.forget()
    peer.path.close()
    peer.isGone = true
    const earlier = this.#closing.get(id)
    const closing = Promise.all([earlier, peer.session.stop({ subcode, text: '' })]).then(() => {
      if (this.#closing.get(id) === closing) this.#closing.delete(id)
    })
    this.#closing.set(id, closing)
    if (previous !== 'Idle') this.#host.stateChanged(peer, 'Idle', previous)
  }
}
