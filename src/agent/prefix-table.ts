/**
 * Which owners (Services, the node's PodCIDRs) want which routes, merged per prefix: two Services that share an
 * address announce one prefix, and it stays announced while one of them still wants it. Pure.
 */
import type { PrefixRoutes } from '../bgp/speaker/protocol.ts'
import type { Route, RouteAttributes } from '../desired/model.ts'

export class PrefixTable {
  readonly #byOwner = new Map<string, readonly Route[]>()
  readonly #owners = new Map<string, Set<string>>()

  /** Replaces what an owner wants; answers the prefixes whose routes may have changed. */
  set(owner: string, routes: readonly Route[]): ReadonlySet<string> {
    const touched = new Set<string>()
    for (const { prefix } of this.#byOwner.get(owner) ?? []) {
      touched.add(prefix)
      const owners = this.#owners.get(prefix)
      owners?.delete(owner)
      if (owners?.size === 0) this.#owners.delete(prefix)
    }
    if (routes.length === 0) this.#byOwner.delete(owner)
    else this.#byOwner.set(owner, routes)
    for (const { prefix } of routes) {
      touched.add(prefix)
      const owners = this.#owners.get(prefix)
      if (owners === undefined) this.#owners.set(prefix, new Set([owner]))
      else owners.add(owner)
    }
    return touched
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

  /** What the speaker should hold for a prefix. Where owners differ for one neighbor, the first owner by name wins. */
  merged(prefix: string): PrefixRoutes {
    const taken = new Set<string>()
    const routes: { neighbors: readonly string[]; attributes: RouteAttributes }[] = []
    for (const owner of [...(this.#owners.get(prefix) ?? [])].sort()) {
      for (const route of this.#byOwner.get(owner) ?? []) {
        if (route.prefix !== prefix) continue
        const neighbors = route.neighbors.filter((neighbor) => !taken.has(neighbor))
        for (const neighbor of neighbors) taken.add(neighbor)
        if (neighbors.length > 0) routes.push({ neighbors, attributes: route.attributes })
      }
    }
    return { prefix, routes }
  }
}
