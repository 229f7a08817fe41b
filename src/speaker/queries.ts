/**
 * What the speaker is asked, answered in bounded pieces: no answer looks at a whole table, so that nothing that is
 * asked makes a timer late.
 *
 *     query --first time--> walk over a table --at most so many routes, so many steps--> answer, `next`
 *           --`next`------> the same walk goes on, in a later turn
 *
 * A walk lives in the table while it changes: what was there all along comes exactly once (Adj-RIB-In while it is
 * made larger: at least once). Few walks are kept; the one that waits longest makes room for a new one.
 */
import type { Neighbor } from '../desired/model.ts'
import type { Family } from '../ip/address.ts'
import { parsePrefix, type Prefix, prefixFamily } from '../ip/prefix.ts'
import type { LocRib } from '../rib/loc-rib.ts'
import { Slots } from '../rib/columns.ts'
import { type Peer, peerSnapshot } from './peer.ts'
import type { Peers } from './peers.ts'
import { maxRoutesPerAnswer, Page } from './page.ts'
import type { QueryAnswer, RoutesQuery, SpeakerQuery } from './protocol.ts'
import { localSnapshots, pathSnapshot } from './route-snapshot.ts'

export const maxPeersPerAnswer = 32
/** Walks that wait for their next question: some kilobytes each. A listing must not end because others begin some. */
export const maxWalks = 128

/** Goes on with the page that is made now: a little at a time, so that it is never much more than full. */
type Steps = Generator<undefined, void>

interface Walk {
  readonly query: string
  readonly steps: Steps
}

export class Queries {
  readonly #peers: Peers
  readonly #locRib: LocRib
  /** By the number that was told as `next`; the oldest first. */
  readonly #walks = new Map<number, Walk>()
  #next = 1
  /** Of the answer that is made now. */
  #page = new Page(0)
  /** Steps of the last answer, for tests of its bound. */
  lastSteps = 0

  constructor(peers: Peers, locRib: LocRib) {
    this.#peers = peers
    this.#locRib = locRib
  }

  answer(query: SpeakerQuery): QueryAnswer {
    if (query.what === 'peers') return this.#peersFrom(query.from ?? 0)
    const { from, limit = maxRoutesPerAnswer, ...what } = { limit: undefined, ...query }
    const key = JSON.stringify(what)
    const isStranger = what.what === 'routes' && what.peer !== undefined && this.#peers.find(what.peer).length === 0
    // A neighbor that goes during a walk ends it: what was there is all there is.
    if (from === undefined && isStranger) return { routes: [], isStranger }
    if (from === undefined) return this.#pageOf({ query: key, steps: this.#steps(what) }, limit)
    const walk = this.#walks.get(from)
    this.#walks.delete(from)
    // Also a number that belongs to another question.
    return walk?.query === key ? this.#pageOf(walk, limit) : { routes: [], isExpired: true }
  }

  #peersFrom(from: number): QueryAnswer {
    const all = this.#peers.all
    const to = from + maxPeersPerAnswer
    this.lastSteps = Math.min(all.length, to) - from
    return { peers: all.slice(from, to).map(peerSnapshot), ...(to < all.length ? { next: to } : {}) }
  }

  #pageOf(walk: Walk, limit: number): QueryAnswer {
    const page = (this.#page = new Page(limit))
    let isOver = false
    while (!isOver && !page.isFull) isOver = walk.steps.next().done === true
    this.lastSteps = page.steps
    return isOver ? page.answer : { ...page.answer, next: this.#keep(walk) }
  }

  #keep(walk: Walk): number {
    const [oldest] = this.#walks.keys()
    if (oldest !== undefined && this.#walks.size >= maxWalks) this.#walks.delete(oldest)
    const number = this.#next++
    this.#walks.set(number, walk)
    return number
  }

  #steps(query: Exclude<SpeakerQuery, { readonly what: 'peers' }>): Steps {
    if (query.what === 'routes') return this.#routes(query)
    const prefix = parsePrefix(query.prefix)
    if (prefix === undefined) return none()
    return query.what === 'route' ? this.#sentTo(prefix) : this.#paths(prefix)
  }

  *#routes({ table, family, peer: name }: RoutesQuery): Steps {
    const peers = name === undefined ? undefined : this.#peers.find(name)
    if (table === 'available') return yield* this.#available(family, peers)
    for (const peer of peers ?? this.#peers.all)
      yield* table === 'advertised' ? this.#advertised(peer, family) : this.#received(peer, family)
  }

  /** Of some peers: what is meant for one of them. */
  *#available(family: RoutesQuery['family'], peers?: readonly Peer[]): Steps {
    const ids = peers && new Set(peers.map(({ neighbor }) => neighbor.id))
    const virtualRouterOf =
      ids === undefined ? this.#virtualRouterOf : (id: string) => (ids.has(id) ? this.#virtualRouterOf(id) : undefined)
    for (const [prefix, entry] of this.#locRib.entries()) {
      yield this.#passed()
      if (isOf(prefix, family))
        for (const route of localSnapshots(prefix, entry, virtualRouterOf)) yield this.#page.show(route)
    }
  }

  *#advertised(peer: Peer, family: RoutesQuery['family']): Steps {
    const { group } = peer
    if (group === undefined) return
    for (const prefix of group.adjRibOut.prefixes()) {
      // The session ended meanwhile: its place in the group may be another peer's.
      if (peer.group !== group) return
      const path = isOf(prefix, family) ? group.sentPath(peer.neighbor.id, prefix) : undefined
      yield path === undefined ? this.#passed() : this.#page.show(pathSnapshot(peer.neighbor, prefix, path))
    }
  }

  /**
   * What does not fit onto a page any more is looked up again for the next one: the table may have changed, and a walk
   * that kept it would keep 4 MB of a prefix with all the paths and attributes that a peer may send.
   */
  *#received(peer: Peer, familyName: RoutesQuery['family']): Steps {
    const family = familyName === 'ipv4-unicast' ? 'ipv4' : 'ipv6'
    const { adjRibIn } = peer
    const here = new Slots()
    let cursor = 0
    do {
      here.clear()
      cursor = adjRibIn.place(family, cursor, here)
      this.#passed()
      let i = 0
      for (; i < here.count && !this.#page.isFull; i++) this.#page.add(peer, family, here.at(i))
      if (i < here.count) yield* this.#left(peer, family, here, i)
      if (this.#page.isFull) yield
    } while (cursor !== 0 && !peer.isGone)
  }

  /** The paths of one place from one on, which is not on this page. */
  *#left(peer: Peer, family: Family, here: Slots, from: number): Steps {
    const { adjRibIn } = peer
    const keys = Array.from({ length: here.count - from }, (_, i) => adjRibIn.keyAt(family, here.at(from + i)))
    for (const key of keys) {
      if (this.#page.isFull) yield
      if (peer.isGone) return
      const slot = adjRibIn.slotOf(key)
      if (slot < 0) this.#passed()
      else this.#page.add(peer, family, slot)
    }
  }

  /** Who was sent a prefix. */
  *#sentTo(prefix: Prefix): Steps {
    for (const peer of this.#peers.all) {
      const path = peer.group?.sentPath(peer.neighbor.id, prefix)
      yield path === undefined ? this.#passed() : this.#page.show(pathSnapshot(peer.neighbor, prefix, path))
    }
  }

  /** Our own routes and what peers announce of one prefix. */
  *#paths(prefix: Prefix): Steps {
    const entry = this.#locRib.get(prefix)
    for (const route of entry === undefined ? [] : localSnapshots(prefix, entry, this.#virtualRouterOf))
      yield this.#page.show({ ...route, best: true, decision: 'originated by this node' })
    for (const peer of this.#peers.all) {
      yield this.#passed()
      // One by one: each may bring as many attributes as a message holds, and go before it is shown.
      for (const id of peer.adjRibIn.pathIds(prefix)) {
        const path = peer.adjRibIn.path(prefix, id)
        if (path !== undefined)
          yield this.#page.show({
            ...pathSnapshot(peer.neighbor, prefix, path),
            ...peer.importer.standing(prefix, path),
          })
      }
    }
  }

  /** A place of a table; what is to be shown of it is a step of its own. */
  #passed(): undefined {
    this.#page.steps++
  }

  readonly #virtualRouterOf = (id: string): Neighbor['virtualRouter'] | undefined =>
    this.#peers.get(id)?.neighbor.virtualRouter
}

const isOf = (prefix: Prefix, family: RoutesQuery['family']): boolean =>
  prefixFamily(prefix) === (family === 'ipv4-unicast' ? 'ipv4' : 'ipv6')

function* none(): Steps {}
