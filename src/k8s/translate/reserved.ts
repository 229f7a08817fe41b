/**
 * The addresses that something has, so that no Service may: nodes, their pods, neighbors, and the interfaces of this
 * node. Pure.
 */
import type { ReservedPlace } from '../../allocation/reserved.ts'
import type { Neighbor } from '../../desired/model.ts'
import type { Node } from '../kinds/node.ts'
import type { LocalAddress } from './types.ts'

/** Where kube-proxy (IPVS) and administrators put the very addresses of Services. */
const servingInterfaces: ReadonlySet<string> = new Set(['lo', 'kube-ipvs0'])

/** Sorted, so that equal places are equal text. */
export function reservedPlaces(
  nodes: Iterable<Node>,
  neighbors: readonly Pick<Neighbor, 'peerAddress'>[],
  local: readonly LocalAddress[] = [],
  elsewhere: readonly ReservedPlace[] = [],
): readonly ReservedPlace[] {
  const places = new Map(elsewhere.map(({ place, reason }) => [place, reason]))
  for (const { interface: name, address } of local)
    if (!servingInterfaces.has(name)) places.set(address, `an address of this node, on ${name}`)
  for (const node of nodes) {
    const { name } = node.metadata
    for (const cidr of node.podCidrs) places.set(cidr, `of pods on node ${name}`)
    for (const { address } of node.addresses) places.set(address, `the address of node ${name}`)
  }
  for (const { peerAddress } of neighbors) places.set(peerAddress, 'the address of a neighbor')
  return [...places].sort(([a], [b]) => (a < b ? -1 : 1)).map(([place, reason]) => ({ place, reason }))
}
