/**
 * What `--cluster` reads of an API server, by GET alone, and where that server is. Loaded by the verbs that ask for it:
 * the Kubernetes client is larger than all of the command line.
 */
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { HeraldError } from '../errors.ts'
import { connectApiServer } from '../k8s/apiserver/connect.ts'
import { readPages } from '../k8s/apiserver/inventory.ts'
import { type ContextPlace, placeOfContext } from '../k8s/apiserver/kubeconfig-files.ts'
import { ApiRequests, isSuccess } from '../k8s/apiserver/requests.ts'
import { type NodeReport, nodeReportOf, nodeReportResource, nodeReportVersions } from '../k8s/dialects/node-report.ts'
import { lifeSelector, type NodeLife, nodeLifeOf, silenceSec } from '../k8s/node-life.ts'
import { type RawObject, recordOf } from '../k8s/source.ts'
import type { ClusterLocation } from './reading.ts'

const requestMs = 10_000
/** What an answer of so many objects takes stays well under the bound of one. */
const pageItems = 50

export interface Listed {
  readonly items: readonly RawObject[]
  /** By the server's clock, ms since the epoch. */
  readonly dateMs: number | undefined
}

export class ClusterReads {
  readonly requests: ApiRequests

  constructor(requests: ApiRequests) {
    this.requests = requests
  }

  /** undefined: the server has no such kind. Rejects with ERR_API_SERVER. */
  async list(path: string, query = '', limit = pageItems): Promise<Listed | undefined> {
    const { items, last } = await readPages(this.requests, path, query, limit)
    if (last.status === 404) return undefined
    if (!isSuccess(last.status)) throw new HeraldError('ERR_API_SERVER', last.message)
    return { items, dateMs: last.dateMs }
  }

  /** undefined: there is none. Rejects with ERR_API_SERVER. */
  async get(path: string): Promise<RawObject | undefined> {
    const { status, object, message } = await this.requests.get(path)
    if (status === 404) return undefined
    if (!isSuccess(status)) throw new HeraldError('ERR_API_SERVER', message)
    return object
  }
}

/** A node as the cluster knows it. */
export interface KnownNode {
  readonly node: string
  /** Its Node; undefined: there is none any more. */
  readonly object: RawObject | undefined
  readonly report: NodeReport | undefined
  readonly life: NodeLife | undefined
  /** Since its agent's last sign of life; undefined: none is known. */
  readonly silentSec: number | undefined
  /** It was to give one by now. */
  readonly isSilent: boolean
}

/** Every Node, and each that tells something and is none any more, in the order of names. */
export async function knownNodes(reads: ClusterReads, namespace: string | undefined): Promise<readonly KnownNode[]> {
  const nodes = (await reads.list('/api/v1/nodes'))?.items ?? []
  let reports: readonly RawObject[] | undefined
  for (const version of nodeReportVersions)
    reports ??= (await reads.list(`/apis/${version}/${nodeReportResource}`))?.items
  if (reports === undefined) {
    const why = `nodes say what they do in ${nodeReportResource}, which is no kind of this cluster: the chart brings it`
    throw new HeraldError('ERR_API_SERVER', why)
  }
  const place = namespace === undefined ? '' : `namespaces/${encodeURIComponent(namespace)}/`
  const selector = `labelSelector=${encodeURIComponent(lifeSelector)}`
  const leases = await reads.list(`/apis/coordination.k8s.io/v1/${place}leases`, selector)
  const [objects, told, lives] = [
    new Map(nodes.map((object) => [String(recordOf(object['metadata'])['name']), object])),
    new Map(reports.map((object) => nodeReportOf(object)).map((report) => [report.node, report])),
    newestOf((leases?.items ?? []).flatMap((lease) => nodeLifeOf(lease) ?? [])),
  ]
  return [...new Set([...objects.keys(), ...told.keys()])].sort().map((node) => {
    const life = lives.get(node)
    const silentSec = life === undefined ? undefined : silenceSec(life, leases?.dateMs)
    const isSilent = life !== undefined && silentSec !== undefined && silentSec > life.lastsSec
    return { node, object: objects.get(node), report: told.get(node), life, silentSec, isSilent }
  })
}

/** A release that moved to another namespace has left Leases behind. */
function newestOf(all: readonly NodeLife[]): ReadonlyMap<string, NodeLife> {
  const sorted = all.toSorted((a, b) => (a.renewedMs ?? 0) - (b.renewedMs ?? 0))
  return new Map(sorted.map((life) => [life.node, life]))
}

/** `read` gets the namespace of the context as well. Throws ERR_API_SERVER and ERR_KUBECONFIG. */
export async function readingCluster<T>(
  { kubeconfig, context }: ClusterLocation,
  read: (reads: ClusterReads, namespace: string | undefined) => Promise<T>,
): Promise<T> {
  const usual = kubeconfig === undefined ? usualKubeconfig(context) : { path: kubeconfig, context }
  const { transport, namespace } = connectApiServer(usual.path, usual.context)
  try {
    return await read(new ClusterReads(new ApiRequests(transport, requestMs)), namespace)
  } finally {
    await transport.close()
  }
}

/** As kubectl finds it; of several files in KUBECONFIG that with the context. */
function usualKubeconfig(context: string | undefined): ContextPlace {
  const named = (process.env['KUBECONFIG'] ?? '').split(delimiter).filter((path) => path !== '')
  const there = named.filter((path) => existsSync(path))
  if (there.length > 0) return placeOfContext(there, context)
  const own = join(homedir(), '.kube', 'config')
  if (named.length === 0 && existsSync(own)) return { path: own, context }
  if (process.env['KUBERNETES_SERVICE_HOST']) return { path: undefined, context }
  throw new HeraldError('ERR_KUBECONFIG', 'there is no kubeconfig: give --kubeconfig FILE, or set KUBECONFIG')
}
