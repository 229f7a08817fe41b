/** Routes as the API shows them. */
import type { Neighbor } from '../desired/model.ts'
import { formatAddress } from '../ip/address.ts'
import { formatPrefix, type Prefix, prefixFamily } from '../ip/prefix.ts'
import type { LocRibEntry } from '../rib/loc-rib.ts'
import { formatAsPath, formatCommunity, formatLargeCommunity, formatOrigin } from '../bgp/messages/format.ts'
import type { PathAttributes } from '../bgp/messages/types.ts'
import type { RouteSnapshot } from './protocol.ts'

/** A path of an Adj-RIB. `at` is ms since the epoch. */
export function pathSnapshot(
  neighbor: Neighbor,
  prefix: Prefix,
  path: {
    readonly attributes: PathAttributes
    readonly at: number
    readonly pathId?: number
    readonly isStale?: boolean
  },
): RouteSnapshot {
  const {
    origin,
    asPath = [],
    nextHop,
    med,
    localPref,
    communities = [],
    largeCommunities = [],
    extendedCommunities = [],
  } = path.attributes
  return {
    peer: neighbor.id,
    virtualRouter: neighbor.virtualRouter,
    prefix: formatPrefix(prefix),
    nextHop: nextHop === undefined ? '' : formatAddress(nextHop),
    since: new Date(path.at).toISOString(),
    origin: formatOrigin(origin),
    asPath: formatAsPath(asPath),
    ...(med === undefined ? {} : { med }),
    ...(localPref === undefined ? {} : { localPreference: localPref }),
    communities: communities.map(formatCommunity),
    largeCommunities: largeCommunities.map(formatLargeCommunity),
    extendedCommunities,
    ...(path.pathId === undefined ? {} : { pathId: path.pathId }),
    ...(path.isStale === true ? { stale: true } : {}),
  }
}

/**
 * A route of the Loc-RIB, once per virtual router whose neighbors it is for. Its next hop is decided by each session.
 */
export function localSnapshots(
  prefix: Prefix,
  entry: LocRibEntry,
  virtualRouterOf: (neighborId: string) => string | undefined,
): readonly RouteSnapshot[] {
  return entry.routes.flatMap(({ neighbors, attributes }) => {
    const virtualRouters = new Set(neighbors.map(virtualRouterOf).filter((name) => name !== undefined))
    return [...virtualRouters].map(
      (virtualRouter): RouteSnapshot => ({
        virtualRouter,
        prefix: formatPrefix(prefix),
        nextHop: prefixFamily(prefix) === 'ipv4' ? '0.0.0.0' : '::',
        since: new Date(entry.since).toISOString(),
        origin: 'IGP',
        asPath: '',
        ...(attributes.med === undefined ? {} : { med: attributes.med }),
        ...(attributes.localPreference === undefined ? {} : { localPreference: attributes.localPreference }),
        communities: (attributes.communities ?? []).map(formatCommunity),
        largeCommunities: attributes.largeCommunities ?? [],
        extendedCommunities: attributes.extendedCommunities ?? [],
      }),
    )
  })
}
