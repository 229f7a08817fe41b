/** When several Services may have one address, and who of them has a port that two of them want. Pure. */

/** What a Service says about sharing; without it, it shares with nobody. */
export interface SharingTerms {
  readonly key: string
  readonly namespace: string
  /** Namespaces besides its own whose Services may share with it; `*`: any. */
  readonly sharedWith: readonly string[]
  /** Equal for Services that may share: the traffic policy, with the selector under Local. */
  readonly trafficKey: string
  /** `80/TCP`. */
  readonly ports: readonly string[]
}

/** Each of those that share an address is compared with all others. */
export const maxSharing = 256

export type SharingObstacle =
  | { readonly kind: 'key' | 'namespace' | 'traffic' | 'crowd' }
  | { readonly kind: 'port'; readonly port: string }

/** Why two Services cannot have one address; undefined: they can. */
export function sharingObstacle(
  own: SharingTerms | undefined,
  other: SharingTerms | undefined,
): SharingObstacle | undefined {
  if (own === undefined || other === undefined || own.key !== other.key) return { kind: 'key' }
  if (!permits(own, other) || !permits(other, own)) return { kind: 'namespace' }
  if (own.trafficKey !== other.trafficKey) return { kind: 'traffic' }
  const port = own.ports.find((each) => other.ports.includes(each))
  return port === undefined ? undefined : { kind: 'port', port }
}

function permits({ namespace, sharedWith }: SharingTerms, other: SharingTerms): boolean {
  return namespace === other.namespace || sharedWith.includes('*') || sharedWith.includes(other.namespace)
}

/** Oldest first: the time of creation, then the name; never the order of arrival. */
export interface Aged {
  readonly key: string
  /** Milliseconds since 1970; Infinity where it is not known. */
  readonly createdMs: number
}

export function byAge(a: Aged, b: Aged): number {
  if (a.createdMs !== b.createdMs) return a.createdMs < b.createdMs ? -1 : 1
  return a.key < b.key ? -1 : a.key > b.key ? 1 : 0
}
