/** A route as the API shows it. */
import type { RouteView } from '../api/types.ts'
import type { RouteSnapshot } from '../speaker/protocol.ts'

export function routeView(node: string, route: RouteSnapshot): RouteView {
  const { since, communities, largeCommunities, extendedCommunities, ...rest } = route
  return {
    ...rest,
    node,
    ageSeconds: secondsSince(Date.parse(since)),
    communities: [...communities],
    largeCommunities: [...largeCommunities],
    extendedCommunities: [...extendedCommunities],
  }
}

/** Of ms since the epoch; never negative, whatever a clock does. */
export const secondsSince = (at: number): number => Math.max(0, Math.round((Date.now() - at) / 1000))
