/** The inventory of a cluster, by GET alone. */
import { readOnce, type ReadRequest } from './apiserver/inventory.ts'
import { ApiRequests } from './apiserver/requests.ts'
import type { Transport } from './apiserver/transport.ts'
import { clusterReads, secretRead } from './dialects/moving/reads.ts'
import type { FoundObject, Inventory, Unread } from './dialects/moving/report.ts'
import { isClusterScoped } from './kinds/table.ts'
import { type MovingOptions, secretsNamed } from './moving.ts'
import { type RawObject, recordOf } from './source.ts'

const requestMs = 60_000

/** Rejects with ERR_API_SERVER where the server does not answer. */
export async function readCluster(transport: Transport, options: MovingOptions): Promise<Inventory> {
  const requests = new ApiRequests(transport, requestMs)
  const objects: FoundObject[] = []
  const unread: Unread[] = []
  const read = async (wanted: ReadRequest): Promise<void> => {
    // Of all that a transport can do, reading is all that is handed on.
    const answer = await readOnce({ get: (path) => requests.get(path) }, wanted)
    objects.push(...answer.objects.map(foundOf))
    if (answer.failure !== undefined) unread.push(unreadOf(wanted, answer.failure))
  }
  for (const wanted of clusterReads) await read(wanted)
  for (const id of secretsNamed({ objects, unread, isWhole: true }, options)) await read(secretRead(id))
  return { objects, unread, isWhole: true }
}

/** By the scope of its kind. */
export function foundOf(object: RawObject): FoundObject {
  const { apiVersion, kind, metadata } = object
  const { name, namespace } = recordOf(metadata)
  const [version, ofKind] = [String(apiVersion), String(kind)]
  const isScoped = typeof namespace === 'string' && !isClusterScoped(version, ofKind)
  return {
    key: { apiVersion: version, kind: ofKind, namespace: isScoped ? namespace : '', name: String(name) },
    object,
  }
}

/** `Secret/ns/name`, or the list. */
function unreadOf(
  { kind, place, isSingle = false }: ReadRequest,
  failure: { readonly status: number; readonly message: string },
): Unread {
  const [, namespace, , name] = place.split('/')
  const what = isSingle && place.startsWith('namespaces/') ? `${kind}/${namespace}/${name}` : place
  return { what, status: failure.status, why: failure.message }
}
