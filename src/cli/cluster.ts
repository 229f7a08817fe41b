/**
 * `--cluster`: what every node does, as the nodes told the API server. Read by the verbs that ask for it: the
 * Kubernetes client is larger than all of the command line.
 */
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import type { ClusterNodeView, ClusterPeerView } from '../api/types.ts'
import { HeraldError } from '../errors.ts'
import { connectApiServer } from '../k8s/apiserver/connect.ts'
import { ApiRequests, isSuccess, recordOf } from '../k8s/apiserver/requests.ts'
import {
  healthyCondition,
  type NodeReport,
  nodeReportKind,
  nodeReportOf,
  nodeReportResource,
  nodeReportVersions,
} from '../k8s/dialects/node-report.ts'
import type { ClusterLocation } from './reading.ts'

const requestMs = 10_000
/** What an answer of so many objects takes stays well under the bound of one. */
const pageItems = 50

interface ClusterReports {
  readonly nodes: readonly string[]
  readonly reports: ReadonlyMap<string, NodeReport>
}

/** A row for each session that a node tells of. Throws ERR_API_SERVER and ERR_KUBECONFIG. */
export async function clusterPeers(location: ClusterLocation): Promise<readonly ClusterPeerView[]> {
  const { reports } = await read(location)
  return [...reports.values()].flatMap(({ node, instances }) =>
    instances.flatMap(({ name, localAsn, peers }) =>
      peers.map((peer) => ({
        node,
        instance: name,
        peer: peer.name,
        localAs: localAsn,
        peerAs: peer.peerAsn,
        peerAddress: peer.peerAddress,
        sessionState: peer.state,
        ...uptimeOf(peer.establishedTime),
        ...(peer.holdTimeSec === undefined ? {} : { holdTimeSeconds: peer.holdTimeSec }),
        ...(peer.keepaliveSec === undefined ? {} : { keepaliveSeconds: peer.keepaliveSec }),
        families: peer.families.map((family) => ({ ...family })),
      })),
    ),
  )
}

/** A row for each Node, and for each that tells something and is none any more. */
export async function clusterNodes(location: ClusterLocation): Promise<readonly ClusterNodeView[]> {
  const { nodes, reports } = await read(location)
  return [...new Set([...nodes, ...reports.keys()])].sort().map((node) => nodeView(node, reports.get(node)))
}

function nodeView(node: string, report: NodeReport | undefined): ClusterNodeView {
  const peers = report?.instances.flatMap((instance) => instance.peers) ?? []
  const condition = report?.conditions.find(({ type }) => type === healthyCondition)
  const health =
    condition === undefined || condition.status === 'Unknown'
      ? 'unknown'
      : condition.status === 'True'
        ? 'ok'
        : 'degraded'
  return {
    node,
    health,
    sessions: { established: peers.filter(({ state }) => state === 'Established').length, configured: peers.length },
    advertised: peers.flatMap(({ families }) => families).reduce((sum, { advertised }) => sum + advertised, 0),
    message: condition?.message ?? whySilent(report),
  }
}

function whySilent(report: NodeReport | undefined): string {
  if (report === undefined) return 'no configuration applies to this node, or no operator runs'
  return report.isOurs
    ? 'the agent of this node has not said anything yet'
    : `another operator made its ${nodeReportKind}: delete it where that operator does not run any more`
}

function uptimeOf(establishedTime: string | undefined): { readonly uptimeSeconds?: number } {
  const sinceMs = Date.parse(establishedTime ?? '')
  return Number.isNaN(sinceMs) ? {} : { uptimeSeconds: Math.max(0, Math.floor((Date.now() - sinceMs) / 1000)) }
}

async function read({ kubeconfig, context }: ClusterLocation): Promise<ClusterReports> {
  const { transport } = connectApiServer(kubeconfig ?? usualKubeconfig(), context)
  try {
    const requests = new ApiRequests(transport, requestMs)
    const nodes = (await listed(requests, '/api/v1/nodes')) ?? []
    let objects: readonly object[] | undefined
    for (const version of nodeReportVersions)
      objects ??= await listed(requests, `/apis/${version}/${nodeReportResource}`)
    if (objects === undefined)
      throw new HeraldError(
        'ERR_API_SERVER',
        `${nodeReportResource} is no kind of this cluster: no node can say anything`,
      )
    const reports = objects.map((object) => nodeReportOf(recordOf(object)))
    return {
      nodes: nodes.map((object) => String(recordOf(recordOf(object)['metadata'])['name'])),
      reports: new Map(reports.map((report) => [report.node, report])),
    }
  } finally {
    await transport.close()
  }
}

/** undefined: the server has no such kind. */
async function listed(requests: ApiRequests, path: string): Promise<readonly object[] | undefined> {
  const items: object[] = []
  for (let token = ''; ; ) {
    const more = token === '' ? '' : `&continue=${encodeURIComponent(token)}`
    const { status, object, message } = await requests.get(`${path}?limit=${pageItems}${more}`)
    if (status === 404) return undefined
    if (!isSuccess(status)) throw new HeraldError('ERR_API_SERVER', message)
    const page: unknown = object['items']
    for (const item of Array.isArray(page) ? page : []) items.push(recordOf(item))
    const next = recordOf(object['metadata'])['continue']
    if (typeof next !== 'string' || next === '') return items
    token = next
  }
}

/** As kubectl finds it; of several files in KUBECONFIG the first that is there. */
function usualKubeconfig(): string | undefined {
  const named = (process.env['KUBECONFIG'] ?? '').split(delimiter).filter((path) => path !== '')
  const found = [...named, join(homedir(), '.kube', 'config')].find((path) => existsSync(path))
  if (found !== undefined || process.env['KUBERNETES_SERVICE_HOST']) return found
  throw new HeraldError('ERR_KUBECONFIG', 'there is no kubeconfig: give --kubeconfig FILE, or set KUBECONFIG')
}
