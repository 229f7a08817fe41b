/** Which nodes no configuration is for, seen from where none of them is. Pure. */
import type { FoundObject } from './dialects/moving/report.ts'
import { isServed } from './kinds/table.ts'
import { NodeTranslation } from './translate/node.ts'
import { ObjectStore } from './translate/store.ts'

/**
 * By name of the node why it has no session to have. A node is not there when some configuration applies to it, and
 * none is while an object cannot be read: it might be for any of them.
 */
export function unconfiguredNodes(
  objects: readonly FoundObject[],
  nodes: readonly FoundObject[],
): ReadonlyMap<string, string> {
  const store = new ObjectStore()
  for (const { key, object, origin } of [...objects, ...nodes]) if (isServed(key)) store.upsert(key, object, origin)
  if (store.problems().some(({ severity }) => severity === 'error')) return new Map()
  return new Map(
    nodes.flatMap(({ key: { name } }) => {
      const options = { nodeName: name, datapath: 'none', secretsNamespace: '', isElsewhere: true } as const
      const { exports, noExports } = new NodeTranslation(options).translate(store.objects)
      return exports === undefined ? [[name, noExports.message] as const] : []
    }),
  )
}
