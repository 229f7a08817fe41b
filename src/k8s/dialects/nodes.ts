/** What is known of nodes: their Nodes, and where Cilium gives pods their addresses, what it says of them. Pure. */
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

export function allNodes(objects: StoredObjects): readonly Node[] {
  return [...objects.Node.keys()].flatMap((name) => nodeOf(objects, name) ?? [])
}
