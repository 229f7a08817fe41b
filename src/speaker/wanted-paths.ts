/**
 * What the members of an update group should have of a list of routes: computed once for all prefixes with that list.
 *
 *     LocalRoutes --members that they name, exportAttributes, interned--> WantedPath[] of each family
 */
import type { PathAttributes } from '../bgp/messages/types.ts'
import type { AddressFamilyName } from '../desired/model.ts'
import type { Address } from '../ip/address.ts'
import { exportAttributes, type ExportView } from '../policy/export.ts'
import type { MemberMask, WantedPath } from '../rib/adj-rib-out.ts'
import { AttributeTable } from '../rib/attribute-table.ts'
import type { LocalRoutes } from '../rib/loc-rib.ts'

/** What was computed of route lists is remembered up to this many, or twice what is in use. */
const minRemembered = 8192

const nothing: readonly WantedPath[] = []

export class WantedPaths {
  readonly #view: ExportView
  readonly #bitOf: (neighbor: string) => MemberMask
  readonly #inUse: () => ReadonlySet<PathAttributes>
  readonly #table = new AttributeTable()
  readonly #known = new Map<LocalRoutes, Readonly<Record<AddressFamilyName, readonly WantedPath[]>>>()
  #sweepAt = minRemembered

  /** `bitOf` a neighbor that is no member is 0; `inUse`: attribute sets that some member has. */
  constructor(view: ExportView, bitOf: (neighbor: string) => MemberMask, inUse: () => ReadonlySet<PathAttributes>) {
    this.#view = view
    this.#bitOf = bitOf
    this.#inUse = inUse
  }

  /** Attribute sets that are remembered. */
  get size(): number {
    return this.#table.size
  }

  intern(attributes: PathAttributes): PathAttributes {
    return this.#table.intern(attributes)
  }

  of(routes: LocalRoutes | undefined, family: AddressFamilyName): readonly WantedPath[] {
    if (routes === undefined) return nothing
    let wanted = this.#known.get(routes)
    if (wanted === undefined) {
      if (this.#known.size + this.#table.size >= this.#sweepAt) this.#sweep()
      wanted = {
        'ipv4-unicast': this.#paths(routes, this.#view.nextHops['ipv4-unicast']),
        'ipv6-unicast': this.#paths(routes, this.#view.nextHops['ipv6-unicast']),
      }
      this.#known.set(routes, wanted)
    }
    return wanted[family]
  }

  /** Other members are there now. */
  forgetMembers(): void {
    this.#known.clear()
  }

  #sweep(): void {
    this.#known.clear()
    this.#table.keepOnly(this.#inUse())
    this.#sweepAt = Math.max(minRemembered, 2 * this.#table.size)
  }

  /** The first route that names a member is the one that it gets. */
  #paths(routes: LocalRoutes, nextHop: Address | undefined): readonly WantedPath[] {
    if (nextHop === undefined) return nothing
    const paths = new Map<PathAttributes, MemberMask>()
    let served = 0
    for (const { neighbors, attributes } of routes) {
      const members = neighbors.reduce((mask, id) => mask | this.#bitOf(id), 0) & ~served
      if (members === 0) continue
      served |= members
      const path = this.#table.intern(exportAttributes(attributes, this.#view, nextHop))
      paths.set(path, (paths.get(path) ?? 0) | members)
    }
    return [...paths].map(([attributes, members]) => ({ attributes, members }))
  }
}
