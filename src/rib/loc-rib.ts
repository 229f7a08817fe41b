/**
 * What this node wants to announce: prefix -> its routes, as the agent said last. Equal route lists of different
 * prefixes are one object, so 100 000 host routes of one policy cost one entry each and one list.
 */
import type { RouteAttributes } from '../desired/model.ts'
import type { Prefix } from '../ip/prefix.ts'

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
}

/** Interned lists that nothing uses any more are swept when they could outnumber the entries by this many. */
const sweepMargin = 1024

export class LocRib {
  readonly #entries = new Map<Prefix, LocRibEntry>()
  readonly #lists = new Map<string, LocalRoutes>()

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
  set(prefix: Prefix, routes: LocalRoutes, now: number): boolean {
    if (routes.length === 0) return this.#entries.delete(prefix)
    const interned = this.#intern(routes)
    if (this.#entries.get(prefix)?.routes === interned) return false
    this.#entries.set(prefix, { routes: interned, since: now })
    return true
  }

  #intern(routes: LocalRoutes): LocalRoutes {
    const key = routes.map(routeKey).join('\n')
    const known = this.#lists.get(key)
    if (known !== undefined) return known
    if (this.#lists.size > this.#entries.size + sweepMargin) this.#sweep()
    this.#lists.set(key, routes)
    return routes
  }

  #sweep(): void {
    const used = new Set([...this.#entries.values()].map((entry) => entry.routes))
    for (const [key, routes] of this.#lists) if (!used.has(routes)) this.#lists.delete(key)
  }
}

// By hand: this runs once for every route that is said, and is several times faster than JSON.
function routeKey({ neighbors, attributes }: LocalRoute): string {
  const { communities, largeCommunities, localPreference, med } = attributes
  return `${neighbors.join()}|${communities?.join() ?? ''}|${largeCommunities?.join() ?? ''}|${localPreference ?? ''}|${med ?? ''}`
}
