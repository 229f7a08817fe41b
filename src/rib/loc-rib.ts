/**
 * Loc-RIB (RFC 4271 3.2). What this node wants to announce: prefix -> its routes, as the agent said last; equal route
 * lists of different prefixes are one object, so 100 000 host routes of one policy cost one entry each and one list.
 * Beside it what was imported: the eligible paths of peers, with the decision between them.
 */
import type { RouteAttributes } from '../desired/model.ts'
import type { Prefix } from '../ip/prefix.ts'
import { PrefixMap } from '../ip/prefix-tables.ts'
import { type Candidate, decide, type Decision } from './decision.ts'

export interface LocalRoute {
  /** Neighbor ids. */
  readonly neighbors: readonly string[]
  readonly attributes: RouteAttributes
}

export type LocalRoutes = readonly LocalRoute[]

export interface LocRibEntry {
  readonly routes: LocalRoutes
  /** When the agent said so, ms since the epoch. */
  readonly since: number
  /** Where the agent wants to be told whether any peer has the prefix. */
  readonly mark: number | undefined
}

/** Of a path that this node originates. */
const ownCandidate: Candidate = {
  peer: undefined,
  attributes: {},
  isExternal: false,
  bgpId: 0,
  peerAddress: 0,
  pathId: 0,
}

/** Imported prefixes; what is beyond is refused until there is room. */
const defaultMaxImported = 100_000

/** Interned lists that nothing uses any more are swept when they could outnumber the entries by this many. */
const sweepMargin = 1024

interface Imported {
  readonly candidates: readonly Candidate[]
  readonly decision: Decision
}

export class LocRib {
  readonly #entries = new Map<Prefix, LocRibEntry>()
  readonly #lists = new Map<string, LocalRoutes>()
  readonly #imported = new PrefixMap<Imported>()
  /** The list that was said last, and the one that stands for it. */
  #said: LocalRoutes = []
  #interned: LocalRoutes = []
  readonly #maxImported: number
  /** Called when there is room again for an imported prefix. */
  onRoom: (() => void) | undefined

  constructor({ maxImported = defaultMaxImported }: { readonly maxImported?: number } = {}) {
    this.#maxImported = maxImported
  }

  get size(): number {
    return this.#entries.size
  }

  get(prefix: Prefix): LocRibEntry | undefined {
    return this.#entries.get(prefix)
  }

  /** Live iterators: entries may come and go while they run. */
  prefixes(): MapIterator<Prefix> {
    return this.#entries.keys()
  }

  entries(): MapIterator<[Prefix, LocRibEntry]> {
    return this.#entries.entries()
  }

  /** Replaces the routes of a prefix; no routes remove it. True when something changed. */
  set(prefix: Prefix, routes: LocalRoutes, now: number, mark?: number): boolean {
    if (routes.length === 0) return this.#entries.delete(prefix)
    const interned = this.#intern(routes)
    if (this.#entries.get(prefix)?.routes === interned) return false
    this.#entries.set(prefix, { routes: interned, since: now, mark })
    return true
  }

  /** Replaces what one peer offers for a prefix; none removes it. False when there is no room for another prefix. */
  setImported(prefix: Prefix, peer: string, candidates: readonly Candidate[]): boolean {
    const known = this.#imported.get(prefix)
    if (known === undefined && candidates.length === 0) return true
    if (!this.hasRoomFor(prefix)) return false
    const all = [...(known?.candidates ?? []).filter((candidate) => candidate.peer !== peer), ...candidates]
    const decision = decide(all)
    if (decision === undefined) {
      this.#imported.delete(prefix)
      this.onRoom?.()
    } else this.#imported.set(prefix, { candidates: all, decision })
    return true
  }

  /** Another prefix can be imported. */
  get hasRoom(): boolean {
    return this.#imported.size < this.#maxImported
  }

  /** What is offered for a prefix can be imported: it has a place already, or there is one. */
  hasRoomFor(prefix: Prefix): boolean {
    return this.hasRoom || this.#imported.has(prefix)
  }

  /** Whether something of this peer is among the paths of a prefix. */
  isOffered(prefix: Prefix, peer: string): boolean {
    return this.#imported.get(prefix)?.candidates.some((candidate) => candidate.peer === peer) === true
  }

  /** The chosen path of a prefix and why the others were not; a route of this node always wins. */
  decision(prefix: Prefix): Decision | undefined {
    const imported = this.#imported.get(prefix)
    return this.#entries.has(prefix) ? decide([ownCandidate, ...(imported?.candidates ?? [])]) : imported?.decision
  }

  /** Live iterator over the prefixes that were imported. */
  imported(): Generator<Prefix, void> {
    return this.#imported.keys()
  }

  #intern(routes: LocalRoutes): LocalRoutes {
    // A message has one list for all prefixes that are said alike.
    if (routes === this.#said) return this.#interned
    this.#said = routes
    this.#interned = this.#internedBy(routes)
    return this.#interned
  }

  #internedBy(routes: LocalRoutes): LocalRoutes {
    const key = routes.map(routeKey).join('\n')
    const known = this.#lists.get(key)
    if (known !== undefined) return known
    if (this.#lists.size > this.#entries.size + sweepMargin) this.#sweep()
    this.#lists.set(key, routes)
    return routes
  }

  #sweep(): void {
    this.#said = []
    const used = new Set([...this.#entries.values()].map((entry) => entry.routes))
    for (const [key, routes] of this.#lists) if (!used.has(routes)) this.#lists.delete(key)
  }
}

// By hand: this runs once for every route that is said, and is several times faster than JSON. An id may have the name
// of an interface in it, and that all characters but blanks.
function routeKey({ neighbors, attributes }: LocalRoute): string {
  const { communities, largeCommunities, localPreference, med, asPathPrepend, extendedCommunities } = attributes
  const lists = `${communities?.join() ?? ''}|${largeCommunities?.join() ?? ''}|${extendedCommunities?.join() ?? ''}`
  return `${neighbors.join(' ')}|${lists}|${localPreference ?? ''}|${med ?? ''}|${asPathPrepend ?? ''}`
}
