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
import { parsePrefix, type Prefix, prefixFamily } from '../ip/prefix.ts'
import type { LocRib } from '../rib/loc-rib.ts'
import { type Peer, peerSnapshot } from './peer.ts'
import type { Peers } from './peers.ts'
import type { QueryAnswer, RoutesQuery, RouteSnapshot, SpeakerQuery } from './protocol.ts'
import { localSnapshots, pathSnapshot } from './route-snapshot.ts'

/** Of one answer. A route costs some microseconds, most of them for its way to the other thread. */
export const maxRoutesPerAnswer = 64
/** Prefixes, or empty places of a table, that one answer passes. */
export const maxStepsPerAnswer = 4_096
export const maxPeersPerAnswer = 32
/** Walks that wait for their next question. */
export const maxWalks = 32

/** One step each: a route to show, or nothing at this place. */
type Steps = Generator<RouteSnapshot | undefined, void>

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
    if (from === undefined) return this.#page({ query: key, steps: this.#steps(what) }, limit)
    const walk = this.#walks.get(from)
    this.#walks.delete(from)
    // Also a number that belongs to another question.
    return walk?.query === key ? this.#page(walk, limit) : { routes: [], isExpired: true }
  }

  #peersFrom(from: number): QueryAnswer {
    const all = this.#peers.all
    const to = from + maxPeersPerAnswer
    this.lastSteps = Math.min(all.length, to) - from
    return { peers: all.slice(from, to).map(peerSnapshot), ...(to < all.length ? { next: to } : {}) }
  }

  #page(walk: Walk, limit: number): QueryAnswer {
    const most = Math.min(limit, maxRoutesPerAnswer)
    const routes: RouteSnapshot[] = []
    let steps = 0
    while (steps < maxStepsPerAnswer && routes.length < most) {
      const { done, value } = walk.steps.next()
      if (done === true) {
        this.lastSteps = steps
        return { routes }
      }
      steps++
      if (value !== undefined) routes.push(value)
    }
    this.lastSteps = steps
    return { routes, next: this.#keep(walk) }
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
      yield* table === 'advertised' ? advertised(peer, family) : received(peer, family)
  }

  /** Of some peers: what is meant for one of them. */
  *#available(family: RoutesQuery['family'], peers?: readonly Peer[]): Steps {
    const ids = peers && new Set(peers.map(({ neighbor }) => neighbor.id))
    const virtualRouterOf =
      ids === undefined ? this.#virtualRouterOf : (id: string) => (ids.has(id) ? this.#virtualRouterOf(id) : undefined)
    for (const [prefix, entry] of this.#locRib.entries()) {
      yield undefined
      if (isOf(prefix, family)) yield* localSnapshots(prefix, entry, virtualRouterOf)
    }
  }

  /** Who was sent a prefix. */
  *#sentTo(prefix: Prefix): Steps {
    for (const peer of this.#peers.all) {
      const path = peer.group?.sentPath(peer.neighbor.id, prefix)
      yield path === undefined ? undefined : pathSnapshot(peer.neighbor, prefix, path)
    }
  }

  /** Our own routes and what peers announce of one prefix. */
  *#paths(prefix: Prefix): Steps {
    const entry = this.#locRib.get(prefix)
    for (const route of entry === undefined ? [] : localSnapshots(prefix, entry, this.#virtualRouterOf))
      yield { ...route, best: true, decision: 'originated by this node' }
    for (const peer of this.#peers.all) {
      yield undefined
      for (const path of peer.adjRibIn.paths(prefix))
        yield { ...pathSnapshot(peer.neighbor, prefix, path), ...peer.importer.standing(prefix, path) }
    }
  }

  readonly #virtualRouterOf = (id: string): Neighbor['virtualRouter'] | undefined =>
    this.#peers.get(id)?.neighbor.virtualRouter
}

const isOf = (prefix: Prefix, family: RoutesQuery['family']): boolean =>
  prefixFamily(prefix) === (family === 'ipv4-unicast' ? 'ipv4' : 'ipv6')

function* none(): Steps {}

function* advertised(peer: Peer, family: RoutesQuery['family']): Steps {
  const { group } = peer
  if (group === undefined) return
  for (const prefix of group.adjRibOut.prefixes()) {
    // The session ended meanwhile: its place in the group may be another peer's.
    if (peer.group !== group) return
    const path = isOf(prefix, family) ? group.sentPath(peer.neighbor.id, prefix) : undefined
    yield path === undefined ? undefined : pathSnapshot(peer.neighbor, prefix, path)
  }
}

function* received(peer: Peer, family: RoutesQuery['family']): Steps {
  for (const found of peer.adjRibIn.walk(family === 'ipv4-unicast' ? 'ipv4' : 'ipv6')) {
    if (peer.isGone) return
    if (found === undefined) yield undefined
    else {
      const [prefix, path] = found
      const snapshot = pathSnapshot(peer.neighbor, prefix, path)
      const { decision } = peer.importer.ineligible(prefix, path)
      yield decision === undefined ? snapshot : { ...snapshot, decision }
    }
  }
}
