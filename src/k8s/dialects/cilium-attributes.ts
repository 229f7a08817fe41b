/** Path attributes as Cilium's kinds have them, in neutral form. Pure. */
import type { RouteAttributes } from '../../desired/model.ts'

interface Written {
  readonly communities?:
    | {
        readonly standard?: readonly number[] | null | undefined
        readonly wellKnown?: readonly number[] | null | undefined
        readonly large?: readonly string[] | null | undefined
      }
    | null
    | undefined
  readonly localPreference?: number | null | undefined
}

export function ciliumAttributes({ communities, localPreference }: Written): RouteAttributes {
  const standard = new Set([...(communities?.standard ?? []), ...(communities?.wellKnown ?? [])])
  const large = new Set(communities?.large ?? [])
  return {
    ...(standard.size === 0 ? {} : { communities: [...standard].sort((a, b) => a - b) }),
    ...(large.size === 0 ? {} : { largeCommunities: [...large].sort() }),
    ...(localPreference === undefined || localPreference === null ? {} : { localPreference }),
  }
}
