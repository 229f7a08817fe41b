/** Routes as the API shows them. */
import type { Neighbor } from '../desired/model.ts'
import { formatAddress } from '../ip/address.ts'
import { formatPrefix, type Prefix, prefixFamily } from '../ip/prefix.ts'
import type { LocRibEntry } from '../rib/loc-rib.ts'
import { formatAsPath, formatCommunity, formatLargeCommunity, formatOrigin } from '../bgp/messages/format.ts'
import type { PathAttributes } from '../bgp/messages/types.ts'
import type { RouteSnapshot } from './protocol.ts'

/**
 * A path of an Adj-RIB. `at` is ms since the epoch. What few routes have is put into it at the end, since a literal
 * with parts that may be absent takes 1 kB more, and a listing makes thousands of them.
 */
export function pathSnapshot(
  neighbor: Pick<Neighbor, 'id' | 'virtualRouter'>,
  prefix: Prefix,
  path: {
    readonly attributes: PathAttributes
    readonly at: number
    readonly pathId?: number
    readonly isStale?: boolean
  },
): RouteSnapshot {
  const { nextHop, origin, asPath, communities, largeCommunities, extendedCommunities } = setSnapshot(path.attributes)
  const snapshot: { -readonly [key in keyof RouteSnapshot]: RouteSnapshot[key] } = {
    peer: neighbor.id,
    virtualRouter: neighbor.virtualRouter,
    prefix: formatPrefix(prefix),
    nextHop,
    since: timeText(path.at),
    origin,
    asPath,
    communities,
    largeCommunities,
    extendedCommunities,
  }
  const { med, localPref } = path.attributes
  if (med !== undefined) snapshot.med = med
  if (localPref !== undefined) snapshot.localPreference = localPref
  if (path.pathId !== undefined) snapshot.pathId = path.pathId
  if (path.isStale === true) snapshot.stale = true
  return snapshot
}

type SetSnapshot = Pick<
  RouteSnapshot,
  'nextHop' | 'origin' | 'asPath' | 'communities' | 'largeCommunities' | 'extendedCommunities'
>

/**
 * Routes that follow each other often share a set and came within a second: what is shown of the last one is made once,
 * and goes to the other thread once in an answer.
 */
let lastSet: { readonly attributes: PathAttributes; readonly snapshot: SetSnapshot } | undefined
let lastTime = { at: 0, text: new Date(0).toISOString() }

function setSnapshot(attributes: PathAttributes): SetSnapshot {
  if (lastSet?.attributes !== attributes) lastSet = { attributes, snapshot: snapshotOf(attributes) }
  return lastSet.snapshot
}

function snapshotOf(attributes: PathAttributes): SetSnapshot {
  const { origin, asPath = [], nextHop, communities = [], largeCommunities = [], extendedCommunities = [] } = attributes
  return {
    nextHop: nextHop === undefined ? '' : formatAddress(nextHop),
    origin: formatOrigin(origin),
    asPath: formatAsPath(asPath),
    communities: communities.map(formatCommunity),
    largeCommunities: largeCommunities.map(formatLargeCommunity),
    extendedCommunities,
  }
}

function timeText(at: number): string {
  if (lastTime.at !== at) lastTime = { at, text: new Date(at).toISOString() }
  return lastTime.text
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

/** What a community takes as text. */
const octetsPerItem = 12

/** About what comes with a route, as text. */
export function textOctets({ asPath, communities, largeCommunities, extendedCommunities }: RouteSnapshot): number {
  const items = communities.length + largeCommunities.length + extendedCommunities.length
  return asPath.length + items * octetsPerItem
}
