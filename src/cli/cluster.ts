/** `status --cluster` and `bgp peers --cluster`: what every node does, as the nodes told the API server. */
import type { ClusterNodeView, ClusterPeerView } from '../api/types.ts'
import {
  healthyCondition,
  type NodeReport,
  nodeReportKind,
  reportedDrain,
  reportedStackReason,
} from '../k8s/dialects/node-report.ts'
import { whyUnconfigured } from './cluster-configuration.ts'
import { type KnownNode, knownNodes, readingCluster } from './cluster-reads.ts'
import type { ClusterLocation } from './reading.ts'
import { silenceText } from './text.ts'
import { recordOf } from '../k8s/source.ts'

/** A row for each session that a node tells of. Throws ERR_API_SERVER and ERR_KUBECONFIG. */
export async function clusterPeers(location: ClusterLocation): Promise<readonly ClusterPeerView[]> {
  const nodes = await readingCluster(location, (reads) => knownNodes(reads, location.namespace))
  return nodes.flatMap(peersOf)
}

function peersOf({ node, report, isSilent, silentSec }: KnownNode): readonly ClusterPeerView[] {
  const silence = isSilent && silentSec !== undefined ? { silentSeconds: silentSec } : {}
  return (report?.instances ?? []).flatMap(({ name, localAsn, peers }) =>
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
      ...silence,
      families: peer.families.map((family) => ({ ...family })),
    })),
  )
}

/** A row for each Node, and for each that tells something and is none any more. */
export async function clusterNodes(location: ClusterLocation): Promise<readonly ClusterNodeView[]> {
  return readingCluster(location, async (reads) => {
    const nodes = await knownNodes(reads, location.namespace)
    const unconfigured = await whyUnconfigured(reads, nodes)
    return nodes.map((known) => nodeView(known, unconfigured.get(known.node)))
  })
}

/** `unconfigured`: why the node has nothing to say. */
export function nodeView(known: KnownNode, unconfigured: string | undefined): ClusterNodeView {
  const { node, report, life, silentSec, isSilent } = known
  const stackReason = report === undefined || isSilent ? undefined : reportedStackReason(report)
  const peers = report?.instances.flatMap((instance) => instance.peers) ?? []
  return {
    node,
    ...healthOf(known, unconfigured),
    sessions: { established: peers.filter(({ state }) => state === 'Established').length, configured: peers.length },
    advertised: peers.flatMap(({ families }) => families).reduce((sum, { advertised }) => sum + advertised, 0),
    ...(report !== undefined && !isSilent && reportedDrain(report) ? { isDrained: true } : {}),
    ...(stackReason === undefined ? {} : { stackReason }),
    ...(silentSec === undefined ? {} : { silentSeconds: silentSec }),
    ...(life?.facts === undefined ? {} : { version: life.facts.version }),
  }
}

/** What a node said last holds for as long as its agent lives. */
function healthOf(known: KnownNode, unconfigured: string | undefined): Pick<ClusterNodeView, 'health' | 'message'> {
  const { report, silentSec, isSilent } = known
  const condition = report?.conditions.find(({ type }) => type === healthyCondition)
  const said = condition?.message ?? ''
  if (isSilent && silentSec !== undefined) {
    const ready = isReady(known) ? '' : ', and the Node is not ready'
    const before = said === '' ? '' : `; it said last: ${said}`
    return { health: 'degraded', message: `no word for ${silenceText(silentSec)}${ready}${before}` }
  }
  // Nothing is asked of it, whether or not an agent would do it.
  if (unconfigured !== undefined)
    return { health: 'ok', message: `${silentSec === undefined ? 'no agent is known to run; ' : ''}${unconfigured}` }
  if (condition === undefined || condition.status === 'Unknown')
    return { health: 'unknown', message: whyUntold(report, silentSec !== undefined) }
  if (silentSec === undefined) {
    const why = 'whether its agent lives is not known: it renews no Lease'
    return { health: condition.status === 'True' ? 'unknown' : 'degraded', message: `${why}; it said last: ${said}` }
  }
  return { health: condition.status === 'True' ? 'ok' : 'degraded', message: said }
}

function whyUntold(report: NodeReport | undefined, isAlive: boolean): string {
  if (report === undefined) {
    const agent = isAlive ? 'its agent lives; ' : 'no agent is known to run; '
    return `${agent}no configuration applies to this node, or no operator has made a ${nodeReportKind} for it`
  }
  return report.isOurs
    ? 'the agent of this node has not said anything yet'
    : `another operator made its ${nodeReportKind}: delete it where that operator does not run any more`
}

/** As kubelet and its controller say. */
function isReady({ object }: KnownNode): boolean {
  const { conditions } = recordOf(object?.['status'])
  const ready = (Array.isArray(conditions) ? conditions : []).map(recordOf).find(({ type }) => type === 'Ready')
  return ready === undefined || ready['status'] === 'True'
}

function uptimeOf(establishedTime: string | undefined): { readonly uptimeSeconds?: number } {
  const sinceMs = Date.parse(establishedTime ?? '')
  return Number.isNaN(sinceMs) ? {} : { uptimeSeconds: Math.max(0, Math.floor((Date.now() - sinceMs) / 1000)) }
}
