/**
 * `explain service --cluster`: what every node does with a Service and why not, in one answer.
 *
 *     objects, flags that agents told --translation of each node--> what it is to announce, and to whom
 *     sessions that nodes told, Leases --------------------------------> whether it can
 */
import type { ClusterPeerView, ClusterServiceNodeView, ClusterServiceView, VerdictView } from '../api/types.ts'
import { HeraldError } from '../errors.ts'
import { formatAddress, parseAddress } from '../ip/address.ts'
import type { FoundObject } from '../k8s/dialects/moving/report.ts'
import { reportedDrain, reportedNeighbors } from '../k8s/dialects/node-report.ts'
import { foundOf } from '../k8s/moving-cluster.ts'
import { serviceElsewhere, tunnelLeasesQuery } from '../k8s/service-elsewhere.ts'
import { type RawObject, recordOf } from '../k8s/source.ts'
import { clusterPeers } from './cluster.ts'
import { readConfiguration } from './cluster-configuration.ts'
import { type ClusterReads, type KnownNode, knownNodes, readingCluster } from './cluster-reads.ts'
import type { ClusterLocation } from './reading.ts'
import { silenceText } from './text.ts'

const allocatedCondition = 'herald.dev/AddressAllocated'
/** Of some kilobytes each. */
const pageServices = 250
const endpointSlices = '/apis/discovery.k8s.io/v1/namespaces'

/** `name` as `namespace/name`, or in the namespace of the context. Throws ERR_API_SERVER and ERR_KUBECONFIG. */
export async function clusterService(location: ClusterLocation, name: string): Promise<ClusterServiceView> {
  return readingCluster(location, async (reads, usual) => {
    const key = name.includes('/') ? name : `${location.namespace ?? usual ?? 'default'}/${name}`
    const service = await reads.get(`/api/v1/namespaces/${key.split('/').map(encodeURIComponent).join('/services/')}`)
    if (service === undefined) return missing(key)
    // Of the Service the flag is the namespace, and Leases may be in any.
    const nodes = await knownNodes(reads, undefined)
    const objects = [
      ...(await readConfiguration(reads)),
      ...(await tunnelLeases(reads)),
      ...(await aroundService(reads, key, service)),
    ]
    return viewOf(
      key,
      service,
      nodes.flatMap((known) => serviceOnNode(objects, key, known) ?? []),
    )
  })
}

function missing(key: string): ClusterServiceView {
  const verdict: VerdictView = {
    step: 'valid',
    ok: false,
    code: 'NotFound',
    message: `There is no Service ${key} in this cluster`,
    remedy: 'Check namespace and name',
  }
  return { subject: `service ${key}`, exists: false, ok: false, addresses: [], verdicts: [verdict], nodes: [] }
}

/** Where nodes take packets for their backends, in whatever namespace they say so. */
async function tunnelLeases(reads: ClusterReads): Promise<readonly FoundObject[]> {
  const apiVersion = 'coordination.k8s.io/v1'
  const found = await reads.list(`/apis/${apiVersion}/leases`, tunnelLeasesQuery)
  return (found?.items ?? []).map((object) => foundOf({ ...object, apiVersion, kind: 'Lease' }))
}

/** It, its endpoints, its namespace, and every Service that has an address of it as well. */
async function aroundService(reads: ClusterReads, key: string, service: RawObject): Promise<readonly FoundObject[]> {
  const [namespace = '', name = ''] = key.split('/')
  const place = encodeURIComponent(namespace)
  const selector = `labelSelector=${encodeURIComponent(`kubernetes.io/service-name=${name}`)}`
  const slices = (await reads.list(`${endpointSlices}/${place}/endpointslices`, selector))?.items ?? []
  const space = await reads.get(`/api/v1/namespaces/${place}`)
  const held = new Set(addressesIn(service))
  const services = (await reads.list('/api/v1/services', '', pageServices))?.items ?? []
  const sharing = services.filter((other) => addressesIn(other).some((address) => held.has(address)))
  const as = (apiVersion: string, kind: string, all: readonly RawObject[]): readonly FoundObject[] =>
    all.map((object) => foundOf({ ...object, apiVersion, kind }))
  return [
    ...as('v1', 'Namespace', space === undefined ? [] : [space]),
    ...as('discovery.k8s.io/v1', 'EndpointSlice', slices),
    ...as('v1', 'Service', [...sharing.filter((other) => nameOf(other) !== key), service]),
  ]
}

function nameOf({ metadata }: RawObject): string {
  const { namespace, name } = recordOf(metadata)
  return `${String(namespace)}/${String(name)}`
}

/** Canonical: what it was given, and what it brings. */
function addressesIn({ spec, status }: RawObject): readonly string[] {
  const { clusterIPs, externalIPs } = recordOf(spec)
  const { ingress } = recordOf(recordOf(status)['loadBalancer'])
  const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])
  return [
    ...listOf(clusterIPs),
    ...listOf(externalIPs),
    ...listOf(ingress).map((each) => recordOf(each)['ip']),
  ].flatMap((text) => {
    const parsed = typeof text === 'string' ? parseAddress(text) : undefined
    return parsed === undefined ? [] : [formatAddress(parsed)]
  })
}

interface NodeAnswer {
  readonly view: ClusterServiceNodeView
  readonly all: readonly VerdictView[]
  readonly addresses: readonly string[]
  readonly pool: string | undefined
}

/** undefined: there is no such node any more. */
export function serviceOnNode(objects: readonly FoundObject[], key: string, known: KnownNode): NodeAnswer | undefined {
  const { node, object, report, life, silentSec, isSilent } = known
  if (object === undefined) return undefined
  const own = foundOf({ ...object, apiVersion: 'v1', kind: 'Node' })
  const { service, speaker } = serviceElsewhere([...objects, own], key, node, life?.facts)
  if (service === undefined) return undefined
  const neighbors = speaker?.neighbors ?? []
  const wanted = [...new Set(service.routes.flatMap((route) => route.neighbors))].flatMap(
    (id) => neighbors.find((neighbor) => neighbor.id === id) ?? [],
  )
  const told = report === undefined ? new Map() : reportedNeighbors(report, neighbors)
  const isToldDrained = report !== undefined && reportedDrain(report)
  const isDraining = speaker?.isDraining === true || isToldDrained
  const reached = wanted.filter(({ id }) => !isDraining && told.get(id)?.state === 'Established')
  const addressesOf = (all: typeof wanted): string[] => all.map(({ peerAddress }) => peerAddress)
  const isKnown = !isSilent && life !== undefined
  const verdicts = [...service.verdicts]
  const failed: VerdictView[] = []
  const say = (code: string, message: string, remedy: string): void =>
    void failed.push({ step: 'announced', ok: false, code, message, remedy })
  const lookHere = 'Look at the agent of this node: `herald status` there, or its pod'
  if (wanted.length > 0 && !isKnown)
    say('NotAnnounced', isSilent ? `no word for ${silenceText(silentSec ?? 0)}` : 'its agent renews no Lease', lookHere)
  else if (wanted.length > 0 && isDraining)
    say('Drained', 'the node is drained', 'Undo it: take herald.dev/drain off the Node, or `herald drain --undo` there')
  else
    for (const { id, peerAddress } of wanted) {
      const state = told.get(id)?.state
      if (state === 'Established') continue
      const see = `See \`herald explain peer ${peerAddress}\` on the node`
      if (state === undefined) say('NotConfigured', `it has said nothing of peer ${peerAddress} yet`, see)
      else say('NotEstablished', `the session with ${peerAddress} is ${state}`, see)
    }
  return {
    all: [...verdicts, ...failed],
    addresses: service.addresses,
    pool: service.pool,
    view: {
      node,
      announces: wordOf(wanted.length, reached.length, isKnown),
      announcedTo: isKnown ? addressesOf(reached) : [],
      wantedBy: addressesOf(wanted),
      verdicts: [],
      ...(silentSec === undefined ? {} : { silentSeconds: silentSec }),
    },
  }
}

function wordOf(wanted: number, reached: number, isKnown: boolean): ClusterServiceNodeView['announces'] {
  if (wanted === 0) return 'no'
  if (!isKnown) return 'unknown'
  if (reached === 0) return 'no'
  return reached === wanted ? 'yes' : 'to-some'
}

/** What all nodes say alike is said once. */
function viewOf(key: string, service: RawObject, answers: readonly NodeAnswer[]): ClusterServiceView {
  const subject = `service ${key}`
  const [first] = answers
  if (first === undefined) {
    const { type } = recordOf(service['spec'])
    const message = `It is of type ${String(type)}, and no advertisement asks for an address of its own`
    const verdict: VerdictView = {
      step: 'valid',
      ok: false,
      code: 'NotFound',
      message,
      remedy: 'Make spec.type LoadBalancer, or advertise its cluster or external IPs',
    }
    return { subject, exists: true, ok: false, addresses: [], verdicts: [verdict], nodes: [] }
  }
  const isSame = (a: VerdictView, b: VerdictView): boolean => a.code === b.code && a.message === b.message
  const shared = first.all.filter((one) => answers.every(({ all }) => all.some((other) => isSame(one, other))))
  const nodes = answers.map(({ view, all }) => ({
    ...view,
    verdicts: all.filter((one) => !shared.some((other) => isSame(one, other))),
  }))
  const verdicts = [...withOperator(service, shared)]
  const isWhole = nodes.every(({ announcedTo, wantedBy }) => announcedTo.length === wantedBy.length)
  return {
    subject,
    exists: true,
    ok: isWhole && verdicts.every(({ ok }) => ok) && nodes.some(({ announces }) => announces === 'yes'),
    addresses: [...first.addresses],
    ...(first.pool === undefined ? {} : { pool: first.pool }),
    verdicts,
    nodes,
  }
}

/**
 * With why the operator gives no address, which agents do not know: it stands where they say that nobody gave one, in
 * the order of the steps.
 */
export function withOperator({ status }: RawObject, shared: readonly VerdictView[]): readonly VerdictView[] {
  const { conditions } = recordOf(status)
  const said = (Array.isArray(conditions) ? conditions : [])
    .map(recordOf)
    .find(({ type }) => type === allocatedCondition)
  if (said?.['status'] !== 'False') return shared
  const [code, text] = [String(said['reason']), String(said['message'])]
  if (shared.some((one) => !one.ok && one.code === code)) return shared
  // The operator writes the remedy behind the message.
  const end = text.indexOf('. ')
  const [message, remedy] =
    end < 0 ? [text, 'See the events of the Service'] : [text.slice(0, end), text.slice(end + 2)]
  const verdict: VerdictView = { step: 'allocated', ok: false, code, message, remedy }
  const rest = shared.filter((one) => one.code !== 'NotInStatus')
  const at = rest.findIndex(({ step }) => step !== 'valid' && step !== 'class')
  return rest.toSpliced(at < 0 ? rest.length : at, 0, verdict)
}

/** The sessions of every node with this address. */
export async function clusterPeer(location: ClusterLocation, name: string): Promise<readonly ClusterPeerView[]> {
  const [host = '', zone] = name.split('%')
  const wanted = parseAddress(host)
  if (wanted === undefined) throw new HeraldError('ERR_USAGE', `explain peer ${name}: not an address`)
  const isNamed = ({ peerAddress }: ClusterPeerView): boolean => {
    const [other = '', device] = peerAddress.split('%')
    const parsed = parseAddress(other)
    return parsed !== undefined && formatAddress(parsed) === formatAddress(wanted) && (zone ?? device) === device
  }
  return (await clusterPeers(location)).filter(isNamed)
}
