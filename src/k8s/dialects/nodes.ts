/** What is known of nodes: their Nodes, and where Cilium gives pods their addresses, what it says of them. Pure. */
import type { Problem } from '../../desired/model.ts'
import { fault } from '../kinds/narrow.ts'
import { problemOf } from '../kinds/problems.ts'
import type { Node } from '../kinds/node.ts'
import type { ServedKind, StoredObjects } from '../kinds/table.ts'

/** Objects of these have the name of their node, and say what it is. */
export const nodeKinds: ReadonlySet<ServedKind> = new Set<ServedKind>(['Node', 'CiliumNode'])

/** A CiliumNode goes before the Node also where it has no prefix: then none of its pods has an address of one. */
export function nodeOf({ Node: nodes, CiliumNode: others }: StoredObjects, name: string): Node | undefined {
  const node = nodes.get(name)?.value
  const other = others.get(name)?.value
  return node === undefined || other === undefined ? node : { ...node, podCidrs: other.podCidrs }
}

/** What a node without PodCIDRs is told, of a field that exports them. */
export interface NoPodCidrs {
  readonly message: string
  remedy(field: string): string
}

export function noPodCidrs({ CiliumNode: others }: StoredObjects, name: string): NoPodCidrs {
  return others.has(name)
    ? {
        message: `node ${name} has no PodCIDR by its CiliumNode, which goes before the Node`,
        remedy: (field) =>
          `Turn ${field} off where Cilium allocates in another way than cluster-pool or kubernetes; delete the ` +
          'CiliumNode and restart the agent where Cilium is gone.',
      }
    : {
        message: `node ${name} has no PodCIDR`,
        remedy: (field) => `Give the Node spec.podCIDRs, or turn ${field} off.`,
      }
}

/** Of a CiliumNode that is gone: for a moment, as when Cilium writes it again, or for ever, as Cilium may be. */
export function goneProblems({ CiliumNode: others }: StoredObjects, name: string): readonly Problem[] {
  const stored = others.get(name)
  if (stored?.isGone !== true) return []
  const message = 'it is deleted: the PodCIDRs that it gave its node stay in force'
  const remedy = 'Where Cilium is gone, restart the agent of the node: it takes those of the Node then.'
  return [problemOf(fault('warning', [], 'PodCidrsKept', message, remedy), stored.key, stored.origin)]
}

export function allNodes(objects: StoredObjects): readonly Node[] {
  return [...objects.Node.keys()].flatMap((name) => nodeOf(objects, name) ?? [])
}
