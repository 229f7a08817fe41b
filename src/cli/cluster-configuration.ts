/** What a cluster is configured to do, read once for the verbs that answer for every node. */
import { HeraldError } from '../errors.ts'
import { readOnce } from '../k8s/apiserver/inventory.ts'
import { clusterReads } from '../k8s/dialects/moving/reads.ts'
import type { FoundObject } from '../k8s/dialects/moving/report.ts'
import { poolInputKinds } from '../k8s/dialects/pools.ts'
import { planKinds } from '../k8s/dialects/table.ts'
import { foundOf } from '../k8s/moving-cluster.ts'
import { unconfiguredNodes } from '../k8s/plans-elsewhere.ts'
import type { ClusterReads, KnownNode } from './cluster-reads.ts'

/** Read in another way, or by nobody but the node itself. */
const readApart = new Set(['Service', 'EndpointSlice', 'Node', 'Namespace', 'Secret'])
const planOnly: ReadonlySet<string> = planKinds
const poolsToo: ReadonlySet<string> = new Set<string>([...planKinds, ...poolInputKinds])

/** What asks for sessions, pools and advertisements. Rejects with ERR_API_SERVER: half of it would answer wrongly. */
export function readConfiguration(reads: ClusterReads): Promise<readonly FoundObject[]> {
  return readKinds(reads, poolsToo)
}

/**
 * Of nodes that say nothing, why there is nothing for them to say. Without the right to read the configuration nobody
 * is in the answer.
 */
export async function whyUnconfigured(
  reads: ClusterReads,
  nodes: readonly KnownNode[],
): Promise<ReadonlyMap<string, string>> {
  const silent = nodes.flatMap(({ object, report }) =>
    object === undefined || report !== undefined ? [] : [foundOf({ ...object, apiVersion: 'v1', kind: 'Node' })],
  )
  if (silent.length === 0) return new Map()
  try {
    return unconfiguredNodes(await readKinds(reads, planOnly), silent)
  } catch (error) {
    if (error instanceof HeraldError && error.code === 'ERR_API_SERVER') return new Map()
    throw error
  }
}

async function readKinds(reads: ClusterReads, wanted: ReadonlySet<string>): Promise<readonly FoundObject[]> {
  const found: FoundObject[] = []
  for (const each of clusterReads.filter(({ kind }) => wanted.has(kind) && !readApart.has(kind))) {
    const { objects, failure } = await readOnce(reads.requests, each)
    if (failure !== undefined) throw new HeraldError('ERR_API_SERVER', failure.message)
    found.push(...objects.map(foundOf))
  }
  return found
}
