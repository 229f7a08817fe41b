/**
 * Which owners (Services, the node's PodCIDRs) want which routes, merged per prefix: two Services that share an
 * address announce one prefix, and it stays announced while one of them still wants it. Pure.
 */
import type { PrefixRoutes } from '../speaker/protocol.ts'
import type { Route, RouteAttributes } from '../desired/model.ts'
import { sameValue } from '../desired/same-value.ts'
import { united } from '../desired/route-attributes.ts'

/** What some owners want alike of one prefix. */
interface Wish {
  readonly neighbors: readonly string[]
  readonly attributes: RouteAttributes
  owners: number
}

const nothing: ReadonlySet<string> = new Set()
const noRoutes: readonly Route[] = []

export class PrefixTable {
  readonly #byOwner = new Map<string, readonly Route[]>()
  /** Thousands of Services may be in one aggregate, and nearly all of them want the same. */
  readonly #wishes = new Map<string, Wish | readonly Wish[]>()
  #version = 0

  /** Replaces what an owner wants; answers the prefixes whose routes changed. */
  set(owner: string, routes: readonly Route[]): ReadonlySet<string> {
    const before = this.routesOf(owner)
    const [was, is] = [before[0], routes[0]]
    // Nearly always: the one prefix of a Service, which is heard in another way.
    if (before.length === 1 && routes.length === 1 && was !== undefined && is !== undefined && was.prefix === is.prefix)
      return this.#reword(owner, routes, was, is)
    if (before.length === 0 && routes.length === 1 && is !== undefined) return this.#begin(owner, routes, is)
    const touched = new Set([...before, ...routes].map(({ prefix }) => prefix))
    const had = [...touched].map((prefix) => this.#wishes.has(prefix))
    // Added first: what stays as it was is no news.
    const news = [...routes.filter((route) => this.#add(route)), ...before.filter((route) => this.#end(route))]
    if (routes.length === 0) this.#byOwner.delete(owner)
    else this.#byOwner.set(owner, routes)
    if ([...touched].some((prefix, i) => this.#wishes.has(prefix) !== had[i])) this.#version++
    return new Set(news.map(({ prefix }) => prefix))
  }

  /** Of thousands of Services at the start, each has its first prefix. */
  #begin(owner: string, routes: readonly Route[], is: Route): ReadonlySet<string> {
    this.#byOwner.set(owner, routes)
    if (!this.#wishes.has(is.prefix)) this.#version++
    return this.#add(is) ? new Set([is.prefix]) : nothing
  }

  #reword(owner: string, routes: readonly Route[], was: Route, is: Route): ReadonlySet<string> {
    this.#byOwner.set(owner, routes)
    const [only, ...others] = this.#wishesOf(is.prefix)
    const isAlone = only?.owners === 1 && others.length === 0
    if (!isAlone) return [this.#add(is), this.#end(was)].includes(true) ? new Set([is.prefix]) : nothing
    if (isSameWish(was, is)) return nothing
    this.#wishes.set(is.prefix, { neighbors: is.neighbors, attributes: is.attributes, owners: 1 })
    return new Set([is.prefix])
  }

  /** Whether nobody wanted it before. */
  #add({ prefix, neighbors, attributes }: Route): boolean {
    const wishes = this.#wishesOf(prefix)
    const alike = wishes.find((wish) => isSameWish(wish, { neighbors, attributes }))
    if (alike !== undefined) alike.owners++
    else this.#keep(prefix, [...wishes, { neighbors, attributes, owners: 1 }])
    return alike === undefined
  }

  /** Whether nobody wants it any more. */
  #end(route: Route): boolean {
    const wishes = this.#wishesOf(route.prefix)
    const wish = wishes.find((each) => isSameWish(each, route))
    if (wish === undefined || --wish.owners > 0) return false
    this.#keep(
      route.prefix,
      wishes.filter((each) => each !== wish),
    )
    return true
  }

  #wishesOf(prefix: string): readonly Wish[] {
    const wishes = this.#wishes.get(prefix) ?? []
    return 'owners' in wishes ? [wishes] : wishes
  }

  /** Of nearly all prefixes there is one, and there are thousands. */
  #keep(prefix: string, wishes: readonly Wish[]): void {
    const [only] = wishes
    if (only === undefined) this.#wishes.delete(prefix)
    else this.#wishes.set(prefix, wishes.length === 1 ? only : wishes)
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
    return this.#wishes.has(prefix)
  }

  routesOf(owner: string): readonly Route[] {
    return this.#byOwner.get(owner) ?? noRoutes
  }

  get prefixes(): IterableIterator<string> {
    return this.#wishes.keys()
  }

  get size(): number {
    return this.#wishes.size
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
    const wanted = this.#wishesOf(prefix)
    const [only] = wanted
    if (only !== undefined && wanted.length === 1) return { prefix, routes: sharedRoutes(only) }
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

type Asked = Pick<Route, 'neighbors' | 'attributes'>

const lists = new WeakMap<RouteAttributes, WeakMap<readonly string[], PrefixRoutes['routes']>>()

/** One list for all prefixes that are wanted alike: a message to the speaker has it once. */
function sharedRoutes({ neighbors, attributes }: Asked): PrefixRoutes['routes'] {
  const ofNeighbors = lists.get(attributes) ?? new WeakMap<readonly string[], PrefixRoutes['routes']>()
  lists.set(attributes, ofNeighbors)
  const routes = ofNeighbors.get(neighbors) ?? [{ neighbors, attributes }]
  ofNeighbors.set(neighbors, routes)
  return routes
}

function isSameWish(a: Asked, b: Asked): boolean {
  return sameValue(a.neighbors, b.neighbors) && sameValue(a.attributes, b.attributes)
}
