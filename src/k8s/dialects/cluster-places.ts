/** What something elsewhere in the cluster has, as the operator tells an agent in the object of its node. Pure. */
import type { ServedKind, StoredObjects } from '../kinds/table.ts'

export const clusterPlacesKind: ServedKind = 'CiliumBGPNodeConfig'

/** What is no address and no prefix is for the reader to pass over. */
export function clusterPlaces(
  { CiliumBGPNodeConfig: reports }: StoredObjects,
  node: string,
): readonly { readonly place: string; readonly reason: string }[] {
  const reason = 'of a node, a pod or a neighbor somewhere in the cluster, as the operator says'
  return (reports.get(node)?.value.reserved ?? []).map((place) => ({ place, reason }))
}
