/**
 * What the API shows: snapshots of the agent, the speaker and the datapath as JSON values. Nothing is computed twice:
 * verdicts come from where they were made.
 */
import type {
  AgentViews,
  Page,
  PageQuery,
  PeerView,
  ProblemView,
  RouteView,
  RoutesQuery,
  StatusView,
} from '../api/types.ts'
import type { PeerSnapshot } from '../speaker/protocol.ts'
import type { SpeakerThread } from '../speaker/speaker-thread.ts'
import type { Datapath } from '../datapath/datapath.ts'
import type { DesiredTunnels, Problem } from '../desired/model.ts'
import { HeraldError } from '../errors.ts'
import type { Agent } from './agent.ts'
import { bfdNotes, bfdView } from './bfd-views.ts'
import { explain, type ExplainParts } from './explain-views.ts'
import { proxyFailures, proxyNotes, type ProxyParts, proxyView } from './proxy-views.ts'
import { routeView, secondsSince } from './route-view.ts'
import type { SessionAges } from './session-ages.ts'
import { socketFailures, socketNotes, type SocketParts, socketView } from './socket-views.ts'
import { countServices, familyKey, type ServiceCounts, servicesPage, type ServiceParts } from './service-views.ts'

export interface ViewParts {
  readonly nodeName: string
  readonly version: string
  readonly agent: ServiceParts['agent'] &
    ExplainParts['agent'] &
    Pick<Agent, 'isSynced' | 'faults' | 'tunnels' | 'restartNote'>
  readonly speaker: Pick<
    SpeakerThread,
    'peers' | 'routes' | 'route' | 'paths' | 'isAtAnyPeer' | 'problems' | 'bfdDrops'
  >
  readonly ages: Pick<SessionAges, 'secondsOf'>
  readonly datapath: Pick<Datapath, 'status' | 'counters' | 'usage' | 'reasons' | 'drops'>
  readonly source: { readonly kind: StatusView['source']['kind']; readonly detail: string }
  /** Set when the datapath that was asked for could not be had. */
  readonly datapathProblem: string | undefined
  /** Absent: no socket LB in this process. */
  readonly sockets?: SocketParts
  /** Absent: the place of kube-proxy was not asked for. */
  readonly proxy?: () => ProxyParts
  /** What is not as it should be, and costs this node nothing. */
  readonly notes?: () => readonly string[]
  /** Where lines of the log get lost. */
  readonly log: { readonly lostLines: number; problem(): string | undefined }
  readonly metrics: (views: AgentViews) => Promise<string>
}

interface Snapshots {
  readonly nodeName: string
  readonly speaker: Pick<SpeakerThread, 'routes'>
  /** ms since the epoch: which process a walk belongs to. */
  readonly started: number
}

export function createViews(parts: ViewParts): AgentViews {
  const [started, startedMs] = [Date.now(), performance.now()]
  const snapshots: Snapshots = { nodeName: parts.nodeName, speaker: parts.speaker, started }
  const peers = async (): Promise<readonly PeerView[]> =>
    (await parts.speaker.peers()).map((peer) => peerView(parts.nodeName, peer, parts.ages.secondsOf(peer.id)))
  const views: AgentViews = {
    peers,
    status: async () =>
      statusView(parts, await parts.speaker.peers(), Math.round((performance.now() - startedMs) / 1000)),
    routes: (query, page) => routesPage(snapshots, query, page),
    services: async (page) => servicesPage(parts, page),
    explain: (subject) => explain(parts, subject),
    metrics: () => parts.metrics(views),
    ready: () => readiness(parts),
  }
  return views
}

function readiness(parts: ViewParts): { readonly ok: boolean; readonly text: string } {
  if (!parts.agent.isSynced) return { ok: false, text: 'objects are being read' }
  if (parts.datapathProblem !== undefined) return { ok: false, text: parts.datapathProblem }
  return { ok: true, text: 'ok' }
}

async function statusView(
  parts: ViewParts,
  peers: readonly PeerSnapshot[],
  uptimeSeconds: number,
): Promise<StatusView> {
  const { agent, datapath, sockets } = parts
  const proxy = parts.proxy?.()
  const { total, states, routes, families } = await countServices(parts)
  for (const { prefix, neighbors } of agent.podCidrs.flatMap((podCidr) => podCidr.routes))
    for (const id of neighbors) families.add(familyKey(id, prefix))
  const problems = agent.problems.map(problemView)
  // Of the maps' problems faults are made.
  const { problems: _, lostUplinks: __, ...status } = datapath.status
  const established = peers.filter((peer) => peer.state === 'Established').length
  const failures = failuresOf(parts, proxy, peers, families)
  const warnings = [
    ...parts.speaker.problems,
    ...familyProblems(peers, families, true),
    ...bfdNotes(peers),
    ...(agent.restartNote === undefined ? [] : [agent.restartNote]),
    ...(parts.notes?.() ?? []),
    ...(sockets === undefined ? [] : socketNotes(sockets)),
    ...proxyNotes(proxy),
    ...failures,
  ]
  const isDegraded = failures.length > 0 || problems.some((problem) => problem.severity === 'error')
  const isAnnotated = agent.speaker?.isDraining === true
  return {
    node: parts.nodeName,
    version: parts.version,
    uptimeSeconds,
    health: isDegraded ? 'degraded' : 'ok',
    source: { ...parts.source, synced: agent.isSynced },
    sessions: { established, configured: peers.length },
    routes: {
      advertised: peers.reduce(
        (sum, peer) => sum + peer.families.reduce((all, family) => all + family.advertised, 0),
        0,
      ),
      podCidrs: agent.podCidrs.length,
      services: routes,
    },
    services: servicesPart(total, states),
    ...(agent.tunnels === undefined ? {} : { tunnels: tunnelsView(agent.tunnels) }),
    ...bfdPart(parts, peers),
    ...socketPart(sockets),
    ...(proxy === undefined ? {} : { kubeProxy: proxyView(proxy) }),
    datapath: {
      ...status,
      interfaces: [...status.interfaces],
      maps: datapath.usage().map((map) => ({ ...map })),
      reasons: { ...datapath.reasons() },
      drops: datapath.drops().map((drop) => ({ ...drop })),
      ...(parts.datapathProblem === undefined ? {} : { problem: parts.datapathProblem }),
    },
    ...(agent.isDrained || isAnnotated ? { drain: { command: agent.isDrained, annotation: isAnnotated } } : {}),
    warnings,
    problems,
  }
}

/** What makes a node degraded. */
function failuresOf(
  parts: ViewParts,
  proxy: ProxyParts | undefined,
  peers: readonly PeerSnapshot[],
  families: ReadonlySet<string>,
): readonly string[] {
  const { agent, sockets } = parts
  const logProblem = parts.log.problem()
  return [
    ...(parts.datapathProblem === undefined ? [] : [parts.datapathProblem]),
    ...agent.faults.map(({ text }) => text),
    ...(sockets === undefined ? [] : socketFailures(sockets)),
    ...proxyFailures(proxy),
    ...peersDown(agent, peers),
    ...familyProblems(peers, families, false),
    ...(logProblem === undefined
      ? []
      : [`the log cannot be written: ${logProblem}; ${parts.log.lostLines} lines are lost so far`]),
    ...(agent.isSynced ? [] : ['objects are being read']),
  ]
}

function bfdPart({ speaker }: ViewParts, peers: readonly PeerSnapshot[]): Pick<StatusView, 'bfd'> {
  const isAny = peers.some(({ bfdSession }) => bfdSession !== undefined)
  return isAny ? { bfd: { drops: { ...speaker.bfdDrops } } } : {}
}

function servicesPart(total: number, states: ServiceCounts['states']): StatusView['services'] {
  return {
    total,
    announced: states.Announced,
    pending: states.Pending + states.Programmed,
    notServed: states.NotServed,
    ...(states.Served === 0 ? {} : { served: states.Served }),
  }
}

function socketPart(sockets: SocketParts | undefined): Pick<StatusView, 'socketLb'> {
  const socketLb = sockets === undefined ? undefined : socketView(sockets)
  return socketLb === undefined ? {} : { socketLb }
}

function tunnelsView({ own, isTold, senders }: DesiredTunnels): NonNullable<StatusView['tunnels']> {
  return { addresses: [...own], isTold, nodes: senders.length }
}

/** Also those that the speaker was told of and did not say anything of yet: that is not "no peer is down". */
function peersDown({ speaker }: ViewParts['agent'], peers: readonly PeerSnapshot[]): readonly string[] {
  const known = new Set(peers.map(({ id }) => id))
  const starting = (speaker?.neighbors ?? []).filter(({ id }) => !known.has(id))
  return [
    ...peers
      .filter(({ state }) => state !== 'Established')
      .map(({ peerAddress, reason, state }) => `peer ${peerAddress}: ${reason ?? state}`),
    ...starting.map(({ peerAddress }) => `peer ${peerAddress}: about to be started`),
  ]
}

/** Of families that are announced all the same, which may be meant so; or of those that a peer is sent nothing of. */
function familyProblems(
  peers: readonly PeerSnapshot[],
  wanted: ReadonlySet<string>,
  isSent: boolean,
): readonly string[] {
  return peers.flatMap((peer) =>
    peer.families.flatMap(({ family, problem, advertised }) =>
      problem !== undefined && advertised > 0 === isSent && wanted.has(`${peer.id} ${family}`)
        ? [`peer ${peer.peerAddress}: ${problem}`]
        : [],
    ),
  )
}

function peerView(node: string, peer: PeerSnapshot, upSeconds: number | undefined): PeerView {
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
    pending,
    idleHoldSec,
    bfdSession,
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
    ...(state === 'Established' ? { uptimeSeconds: upSeconds ?? secondsSince(Date.parse(since)) } : {}),
    ...(holdTimeSec === undefined ? {} : { holdTimeSeconds: holdTimeSec }),
    ...(keepaliveSec === undefined ? {} : { keepaliveSeconds: keepaliveSec }),
    ...(lastReset === undefined ? {} : { lastReset: { ...lastReset } }),
    ...(pending === undefined ? {} : { pending: [...pending] }),
    ...(bfdSession === undefined ? {} : { bfd: bfdView(bfdSession) }),
    ...(idleHoldSec === undefined ? {} : { idleHoldSeconds: Math.ceil(idleHoldSec) }),
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
