/** What becomes of several wishes for one route. Pure. */
import type { RouteAttributes } from './model.ts'

/**
 * Of several wishes for one route: communities of every kind are united, the highest local preference, the lowest MED
 * and the longest prepend hold.
 */
export function united(all: readonly RouteAttributes[]): RouteAttributes {
  if (all.length === 0) return {}
  const [only] = all
  if (only !== undefined && all.length === 1) return only
  const union = <T extends string | number>(lists: readonly (readonly T[] | undefined)[]): readonly T[] =>
    [...new Set(lists.flatMap((list) => list ?? []))].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
  const numbers = (key: 'localPreference' | 'med' | 'asPathPrepend'): readonly number[] =>
    all.flatMap((one) => one[key] ?? [])
  const communities = union(all.map((one) => one.communities))
  const largeCommunities = union(all.map((one) => one.largeCommunities))
  const extendedCommunities = union(all.map((one) => one.extendedCommunities))
  const [preferences, meds, prepends] = [numbers('localPreference'), numbers('med'), numbers('asPathPrepend')]
  return {
    ...(communities.length === 0 ? {} : { communities }),
    ...(largeCommunities.length === 0 ? {} : { largeCommunities }),
    ...(preferences.length === 0 ? {} : { localPreference: Math.max(...preferences) }),
    ...(meds.length === 0 ? {} : { med: Math.min(...meds) }),
    ...(prepends.length === 0 ? {} : { asPathPrepend: Math.max(...prepends) }),
    ...(extendedCommunities.length === 0 ? {} : { extendedCommunities }),
  }
}
