/**
 * What the API shows: snapshots of the agent, the speaker and the datapath as JSON values. Nothing is computed twice:
 * verdicts come from where they were made.
 */
import type {
  AgentViews,
  ExplainSubject,
  ExplainView,
  Page,
  PageQuery,
  PeerView,
  ProblemView,
  RouteView,
  RoutesQuery,
  StatusView,
  VerdictView,
} from '../api/types.ts'
import type { PeerSnapshot, RouteSnapshot } from '../speaker/protocol.ts'
import type { SpeakerThread } from '../speaker/speaker-thread.ts'
import type { Datapath } from '../datapath/datapath.ts'
import type { Problem } from '../desired/model.ts'
import { HeraldError } from '../errors.ts'
import { hostPrefix } from '../ip/prefix.ts'
import { parseAddress } from '../ip/address.ts'
import { formatPrefix, parsePrefix } from '../ip/prefix.ts'
import type { Agent } from './agent.ts'
import { countServices, servicesPage, serviceVerdicts } from './service-views.ts'
import { announcedVerdict, peerVerdicts, podCidrVerdicts, receivedVerdicts } from './explain.ts'

export interface ViewParts {
  readonly nodeName: string
  readonly version: string
  readonly agent: Agent
  readonly speaker: SpeakerThread
  readonly datapath: Datapath
  readonly sourceDetail: string
  /** Set when the datapath that was asked for could not be had. */
  readonly datapathProblem: string | undefined
  /** Warnings of the start that hold as long as the process lives. */
  readonly warnings: readonly string[]
  readonly metrics: (views: AgentViews) => Promise<string>
}

interface Snapshots {
  readonly nodeName: string
  readonly speaker: Pick<SpeakerThread, 'routes'>
  /** ms since the epoch: which process a walk belongs to. */
  readonly started: number
}

export function createViews(parts: ViewParts): AgentViews {
  const started = Date.now()
  const snapshots: Snapshots = { nodeName: parts.nodeName, speaker: parts.speaker, started }
  const peers = async (): Promise<readonly PeerView[]> =>
    (await parts.speaker.peers()).map((peer) => peerView(parts.nodeName, peer))
  const views: AgentViews = {
    peers,
    status: async () => statusView(parts, await parts.speaker.peers(), secondsSince(started)),
    routes: (query, page) => routesPage(snapshots, query, page),
    services: async (page) => servicesPage(parts, page),
    explain: (subject) => explain(parts, subject),
    metrics: () => parts.metrics(views),
    ready: () => readiness(parts),
  }
  return views
}

function readiness(parts: ViewParts): { readonly ok: boolean; readonly text: string } {
  if (!parts.agent.isSynced) return { ok: false, text: 'manifests are being read' }
  if (parts.datapathProblem !== undefined) return { ok: false, text: parts.datapathProblem }
  return { ok: true, text: 'ok' }
}

const secondsSince = (at: number): number => Math.max(0, Math.round((Date.now() - at) / 1000))

async function statusView(
  parts: ViewParts,
  peers: readonly PeerSnapshot[],
  uptimeSeconds: number,
): Promise<StatusView> {
  const { agent, datapath } = parts
  const { total, states, routes } = await countServices(parts)
  const problems = agent.problems.map(problemView)
  const established = peers.filter((peer) => peer.state === 'Established').length
  const warnings = [
    ...parts.warnings,
    ...(parts.datapathProblem === undefined ? [] : [parts.datapathProblem]),
    ...(agent.uplinkProblem === undefined ? [] : [agent.uplinkProblem]),
    ...peers
      .filter((peer) => peer.state !== 'Established')
      .map((peer) => `peer ${peer.peerAddress}: ${peer.reason ?? peer.state}`),
    ...(agent.isSynced ? [] : ['manifests are being read']),
  ]
  const isDegraded = warnings.length > parts.warnings.length || problems.some((problem) => problem.severity === 'error')
  return {
    node: parts.nodeName,
    version: parts.version,
    uptimeSeconds,
    health: isDegraded ? 'degraded' : 'ok',
    source: { kind: 'manifests', synced: agent.isSynced, detail: parts.sourceDetail },
    sessions: { established, configured: peers.length },
    routes: {
      advertised: peers.reduce(
        (sum, peer) => sum + peer.families.reduce((all, family) => all + family.advertised, 0),
        0,
      ),
      podCidrs: agent.podCidrs.length,
      services: routes,
    },
    services: {
      total,
      announced: states.Announced,
      pending: states.Pending + states.Programmed,
      notServed: states.NotServed,
    },
    datapath: {
      ...datapath.status,
      interfaces: [...datapath.status.interfaces],
      maps: datapath.usage().map((map) => ({ ...map })),
      reasons: { ...datapath.reasons() },
      ...(parts.datapathProblem === undefined ? {} : { problem: parts.datapathProblem }),
    },
    warnings,
    problems,
  }
}

function peerView(node: string, peer: PeerSnapshot): PeerView {
  const {
    state,
    since,
    localAsn,
    peerAsn,
    holdTimeSec,
    keepaliveSec,
    capabilities,
    families,
    lastReset,
    transitions,
    ...rest
  } = peer
  return {
    ...rest,
    node,
    localAs: localAsn,
    peerAs: peerAsn,
    sessionState: state,
    capabilities: [...capabilities],
    transitions: transitions.map((transition) => ({ ...transition })),
    families: families.map((family) => ({ ...family })),
    ...(state === 'Established' ? { uptimeSeconds: secondsSince(Date.parse(since)) } : {}),
    ...(holdTimeSec === undefined ? {} : { holdTimeSeconds: holdTimeSec }),
    ...(keepaliveSec === undefined ? {} : { keepaliveSeconds: keepaliveSec }),
    ...(lastReset === undefined ? {} : { lastReset: { ...lastReset } }),
  }
}

function routeView(node: string, route: RouteSnapshot): RouteView {
  const { since, communities, largeCommunities, extendedCommunities, ...rest } = route
  return {
    ...rest,
    node,
    ageSeconds: secondsSince(Date.parse(since)),
    communities: [...communities],
    largeCommunities: [...largeCommunities],
    extendedCommunities: [...extendedCommunities],
  }
}

/** `continue` is the number of a walk that the speaker keeps, and is of this process only. */
async function routesPage(
  { nodeName, speaker, started }: Snapshots,
  query: RoutesQuery,
  { limit, continue: token }: PageQuery,
): Promise<Page<RouteView>> {
  const [process, walk] = token?.split('.') ?? []
  if (token !== undefined && (process !== started.toString(36) || !/^[1-9]\d{0,14}$/.test(walk ?? '')))
    throw new HeraldError('ERR_EXPIRED', 'continue: no such place in this table')
  const { routes, next } = await speaker.routes(query, limit, walk === undefined ? undefined : Number(walk))
  return {
    items: routes.map((route) => routeView(nodeName, route)),
    ...(next === undefined ? {} : { continue: `${started.toString(36)}.${next}` }),
  }
}

async function explain(parts: ViewParts, subject: ExplainSubject): Promise<ExplainView> {
  switch (subject.kind) {
    case 'service':
      return explainService(parts, subject.name)
    case 'peer':
      return explainPeer(parts, subject.name)
    case 'route':
      return explainRoute(parts, subject.name)
  }
}

function answer(subject: string, verdicts: readonly VerdictView[], announcedTo: readonly RouteView[]): ExplainView {
  return {
    subject,
    exists: true,
    ok: verdicts.every((verdict) => verdict.ok),
    verdicts: [...verdicts],
    announcedTo: [...announcedTo],
  }
}

function missing(subject: string, message: string, remedy: string): ExplainView {
  return {
    subject,
    exists: false,
    ok: false,
    verdicts: [{ step: 'valid', ok: false, code: 'NotFound', message, remedy }],
    announcedTo: [],
  }
}

async function explainService(parts: ViewParts, name: string): Promise<ExplainView> {
  const subject = `service ${name}`
  const service = parts.agent.order.service(name)
  if (service === undefined) {
    const problem = parts.agent.problems.find(
      ({ object }) => object.kind === 'Service' && `${object.namespace}/${object.name}` === name,
    )
    if (problem !== undefined) return missing(subject, `${problem.field}: ${problem.message}`, problem.remedy)
    return missing(
      subject,
      `No LoadBalancer Service ${name} was read from ${parts.sourceDetail}`,
      'Check namespace and name, and that spec.type is LoadBalancer',
    )
  }
  const verdicts = serviceVerdicts(parts, service)
  const sent = await routesTo(
    parts,
    service.routes.map((route) => route.prefix),
  )
  if (verdicts.every((verdict) => verdict.ok))
    verdicts.push(announcedVerdict(service.routes, sent, await parts.speaker.peers()))
  return answer(subject, verdicts, sent)
}

async function explainPeer(parts: ViewParts, address: string): Promise<ExplainView> {
  const subject = `peer ${address}`
  const peer = (await parts.speaker.peers()).find((found) =>
    [found.peerAddress, found.peerAddress.replace(/%.*/, ''), found.id].includes(address),
  )
  if (peer === undefined) {
    const problem = parts.agent.problems.find((found) => found.message.includes(address))
    return missing(
      subject,
      problem?.message ?? `No policy that selects this node has a neighbor ${address}`,
      problem?.remedy ?? 'Add the neighbor to the policy, or correct the address',
    )
  }
  const neighbor = parts.agent.speaker?.neighbors.find((found) => found.id === peer.id)
  return {
    ...answer(subject, peerVerdicts(peer, neighbor), []),
    transitions: peer.transitions.map((transition) => ({ ...transition })),
  }
}

async function explainRoute(parts: ViewParts, text: string): Promise<ExplainView> {
  const prefix = canonicalPrefix(text)
  const subject = `route ${prefix ?? text}`
  if (prefix === undefined)
    return missing(subject, `${text} is neither an address nor a prefix`, 'Write 192.0.2.1 or 192.0.2.0/24')
  const paths = (await parts.speaker.paths(prefix)).map((route) => routeView(parts.nodeName, route))
  return { ...(await explainOrigin(parts, subject, prefix, paths)), ...(paths.length === 0 ? {} : { paths }) }
}

/** Why this node announces a prefix, or that it only knows it from others. */
async function explainOrigin(
  parts: ViewParts,
  subject: string,
  prefix: string,
  paths: readonly RouteView[],
): Promise<ExplainView> {
  const sent = await routesTo(parts, [prefix])
  const podCidr = parts.agent.podCidrs.find((found) => found.prefix === prefix)
  if (podCidr !== undefined) return answer(subject, podCidrVerdicts(podCidr, sent, await parts.speaker.peers()), sent)
  const service = [...parts.agent.order.services.values()].find((found) =>
    found.addresses.some((address) => canonicalPrefix(address) === prefix),
  )
  if (service === undefined && paths.length > 0) return answer(subject, receivedVerdicts(paths), sent)
  if (service === undefined) {
    const faulty = (await parts.speaker.peers())
      .filter(({ updateErrors }) => updateErrors !== undefined)
      .map(({ peerAddress }) => `\`herald explain peer ${peerAddress}\``)
    return missing(
      subject,
      'No Service holds this address and no PodCIDR of this node equals it',
      [
        'See `herald bgp routes available`',
        ...faulty.map((command) => `${command} (not every UPDATE counts as sent)`),
      ].join(', '),
    )
  }
  return { ...(await explainService(parts, service.key)), subject }
}

function canonicalPrefix(text: string): string | undefined {
  const prefix = parsePrefix(text)
  if (prefix !== undefined) return formatPrefix(prefix)
  const address = parseAddress(text)
  return address === undefined ? undefined : formatPrefix(hostPrefix(address))
}

async function routesTo(parts: ViewParts, prefixes: readonly string[]): Promise<readonly RouteView[]> {
  const found = await Promise.all(prefixes.map((prefix) => parts.speaker.route(prefix)))
  return found.flat().map((route) => routeView(parts.nodeName, route))
}

function problemView(problem: Problem): ProblemView {
  const { object, column, ...rest } = problem
  return {
    ...rest,
    object: [object.kind, object.namespace, object.name].filter((part) => part !== undefined && part !== '').join('/'),
    ...(object.file === undefined ? {} : { file: object.file }),
    ...(object.line === undefined ? {} : { line: object.line }),
    ...(column === undefined ? {} : { column }),
  }
}
