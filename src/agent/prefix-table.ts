/**
 * Which owners (Services, the node's PodCIDRs) want which routes, merged per prefix: two Services that share an
 * address announce one prefix, and it stays announced while one of them still wants it. Pure.
 */
import type { PrefixRoutes } from '../speaker/protocol.ts'
import type { Route, RouteAttributes } from '../desired/model.ts'
import { united } from '../desired/route-attributes.ts'

export class PrefixTable {
  readonly #byOwner = new Map<string, readonly Route[]>()
  readonly #owners = new Map<string, Set<string>>()
  #version = 0

  /** Replaces what an owner wants; answers the prefixes whose routes may have changed. */
  set(owner: string, routes: readonly Route[]): ReadonlySet<string> {
    const before = this.routesOf(owner)
    const touched = new Set([...before, ...routes].map(({ prefix }) => prefix))
    const had = [...touched].map((prefix) => this.#owners.has(prefix))
    for (const { prefix } of before) {
      const owners = this.#owners.get(prefix)
      owners?.delete(owner)
      if (owners?.size === 0) this.#owners.delete(prefix)
    }
    if (routes.length === 0) this.#byOwner.delete(owner)
    else this.#byOwner.set(owner, routes)
    for (const { prefix } of routes) {
      const owners = this.#owners.get(prefix)
      if (owners === undefined) this.#owners.set(prefix, new Set([owner]))
      else owners.add(owner)
    }
    if ([...touched].some((prefix, i) => this.#owners.has(prefix) !== had[i])) this.#version++
    return touched
  }

  /** An owner wants these prefixes no more; answers those of them that it wanted. */
  drop(owner: string, prefixes: ReadonlySet<string>): ReadonlySet<string> {
    const routes = this.routesOf(owner)
    const kept = routes.filter(({ prefix }) => !prefixes.has(prefix))
    if (kept.length === routes.length) return new Set()
    this.set(owner, kept)
    return new Set(routes.filter(({ prefix }) => prefixes.has(prefix)).map(({ prefix }) => prefix))
  }

  has(prefix: string): boolean {
    return this.#owners.has(prefix)
  }

  routesOf(owner: string): readonly Route[] {
    return this.#byOwner.get(owner) ?? []
  }

  get prefixes(): IterableIterator<string> {
    return this.#owners.keys()
  }

  get size(): number {
    return this.#owners.size
  }

  /** Another number whenever a prefix came or went. */
  get version(): number {
    return this.#version
  }

  /**
   * What the speaker should hold for a prefix: for each neighbor the routes of all owners made one, whatever their
   * order ({@link united}); neighbors that hear the same share a route.
   */
  merged(prefix: string): PrefixRoutes {
    const wanted = [...(this.#owners.get(prefix) ?? [])].flatMap((owner) =>
      (this.#byOwner.get(owner) ?? []).filter((route) => route.prefix === prefix),
    )
    const [only] = wanted
    if (only !== undefined && wanted.length === 1)
      return { prefix, routes: [{ neighbors: only.neighbors, attributes: only.attributes }] }
    const byNeighbor = new Map<string, RouteAttributes[]>()
    for (const { neighbors, attributes } of wanted)
      for (const neighbor of neighbors) byNeighbor.set(neighbor, [...(byNeighbor.get(neighbor) ?? []), attributes])
    const routes = new Map<string, { readonly neighbors: string[]; readonly attributes: RouteAttributes }>()
    for (const [neighbor, all] of [...byNeighbor].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const attributes = united(all)
      const key = JSON.stringify(attributes)
      const route = routes.get(key)
      if (route === undefined) routes.set(key, { neighbors: [neighbor], attributes })
      else route.neighbors.push(neighbor)
    }
    return { prefix, routes: [...routes.values()] }
  }
}
