/** When several Services may have one address, and who of them has a port that two of them want. Pure. */

/** What a Service says about sharing; without it, it shares with nobody. */
export interface SharingTerms {
  readonly key: string
  readonly namespace: string
  /** Namespaces besides its own whose Services may share with it; `*`: any. */
  readonly sharedWith: readonly string[]
  /** Equal for Services that may share: the traffic policy, under Local with the selector where pods may not differ. */
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
  const obstacle = termsObstacle(own, other)
  if (obstacle !== undefined || own === undefined || other === undefined) return obstacle
  const taken = setOf(other.ports)
  const port = own.ports.find((each) => taken.has(each))
  return port === undefined ? undefined : { kind: 'port', port }
}

/** The same, whatever their ports are: hundreds that share an address have hundreds of ports each. */
export function termsObstacle(
  own: SharingTerms | undefined,
  other: SharingTerms | undefined,
): SharingObstacle | undefined {
  if (own === undefined || other === undefined || own.key !== other.key) return { kind: 'key' }
  if (!permits(own, other) || !permits(other, own)) return { kind: 'namespace' }
  return own.trafficKey === other.trafficKey ? undefined : { kind: 'traffic' }
}

function permits({ namespace, sharedWith }: SharingTerms, other: SharingTerms): boolean {
  if (namespace === other.namespace) return true
  const all = setOf(sharedWith)
  return all.has('*') || all.has(other.namespace)
}

const sets = new WeakMap<readonly string[], ReadonlySet<string>>()

/** Made once for each list: it is asked for every other one that shares. */
export function setOf(list: readonly string[]): ReadonlySet<string> {
  const known = sets.get(list)
  if (known !== undefined) return known
  const made = new Set(list)
  sets.set(list, made)
  return made
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
