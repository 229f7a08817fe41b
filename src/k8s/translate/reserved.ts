/** The addresses that something in the cluster has, so that no Service may: nodes, their pods, and neighbors. Pure. */
import type { ReservedPlace } from '../../allocation/reserved.ts'
import type { Neighbor } from '../../desired/model.ts'
import type { Node } from '../kinds/node.ts'

/** Sorted, so that equal places are equal text. */
export function reservedPlaces(
  nodes: Iterable<Node>,
  neighbors: readonly Pick<Neighbor, 'peerAddress'>[],
): readonly ReservedPlace[] {
  const places = new Map<string, string>()
  for (const node of nodes) {
    const { name } = node.metadata
    for (const cidr of node.podCidrs) places.set(cidr, `of pods on node ${name}`)
    for (const { address } of node.addresses) places.set(address, `the address of node ${name}`)
  }
  for (const { peerAddress } of neighbors) places.set(peerAddress, 'the address of a neighbor')
  return [...places].sort(([a], [b]) => (a < b ? -1 : 1)).map(([place, reason]) => ({ place, reason }))
}
