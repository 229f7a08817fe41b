/**
 * Composition root of `herald agent`: builds the graph, starts it, handles signals. No logic lives here.
 *
 * SIGTERM is a restart: sessions with graceful restart close silently and the kernel keeps serving. SIGINT is a stop,
 * and so is SIGTERM on a drained node.
 */
import { readFileSync } from 'node:fs'
import { findPackageJSON } from 'node:module'
import { dirname, join } from 'node:path'
import { Agent } from './agent/agent.ts'
import { InForceRecord } from './agent/in-force.ts'
import type { AgentOptions } from './agent/options.ts'
import { createCommands } from './agent/commands.ts'
import { ownAddresses, ownGateways } from './agent/own-addresses.ts'
import { DrainMark } from './agent/drain-mark.ts'
import { ended } from './agent/end-signals.ts'
import { Faults } from './agent/faults.ts'
import { Heartbeat } from './agent/heartbeat.ts'
import { forwardingNotes } from './agent/forwarding-notes.ts'
import { forwardingOf, RestartMarker, tellForwarding } from './agent/restart-marker.ts'
import type { ProxyParts } from './agent/proxy-views.ts'
import { type ProxyFacts, ProxyWatch } from './agent/proxy-watch.ts'
import { Reading } from './agent/reading.ts'
import { seldom } from './agent/seldom.ts'
import { ServiceStatuses } from './agent/service-statuses.ts'
import { SessionAges } from './agent/session-ages.ts'
import { lookAtFolder } from './agent/manifests-folder.ts'
import { NetfilterWatch } from './agent/netfilter-watch.ts'
import { type NodeSockets, nodeSockets } from './agent/node-sockets.ts'
import { snatAbility } from './agent/snat-ability.ts'
import { StateLock } from './agent/state-lock.ts'
import { systemLinks } from './agent/system-links.ts'
import { TunnelTeller } from './agent/tunnel-teller.ts'
import { createViews } from './agent/views.ts'
import { openFileBook } from './allocation/file-book.ts'
import { HealthChecks } from './api/health-checks.ts'
import { type ApiServerOptions, createApiServer } from './api/server.ts'
import type { AgentViews } from './api/types.ts'
import { systemClock } from './clock/system-clock.ts'
import type { SpeakerOptions } from './speaker/protocol.ts'
import type { SpeakerThread } from './speaker/speaker-thread.ts'
import type { Datapath } from './datapath/datapath.ts'
import { NetfilterLook } from './datapath/netfilter-look.ts'
import { openDatapath, type OpenedDatapath } from './datapath/open.ts'
import { type OpenedSockets, openSocketBalancer } from './datapath/open-sockets.ts'
import { Pins } from './datapath/pins.ts'
import { ownSocketMaps } from './datapath/sockets.ts'
import { type Flows, FlowsThread, noFlows } from './flows/flows-thread.ts'
import { leaseOnServer } from './k8s/apiserver/lease.ts'
import { ApiRequests } from './k8s/apiserver/requests.ts'
import { apiServerSource } from './k8s/apiserver/source.ts'
import { objectsOnServer, statusOnServer } from './k8s/apiserver/status-writer.ts'
import { directorySource } from './k8s/directory.ts'
import { Door } from './k8s/directory/knock.ts'
import { tunnelEnd, tunnelLeaseName, tunnelMetadata } from './k8s/kinds/tunnel-lease.ts'
import type { LeaseMetadata } from './k8s/lease.ts'
import { type AgentFacts, lifeMetadata, lifeName } from './k8s/node-life.ts'
import type { ObjectSource } from './k8s/source.ts'
import { nodeFieldManager, type StatusSink } from './k8s/status.ts'
import { createTranslator, type Translator, type TranslatorOptions } from './k8s/translate/translator.ts'
import type { ServedBy } from './k8s/translate/types.ts'
import { createLogger, type Logger, LogOutput } from './observe/logger.ts'
import type { ReconcileFigures } from './observe/metrics/reconcile.ts'
import { forwardingOff } from './sys/forwarding.ts'
import { listAddresses } from './sys/addresses.ts'
import type { FirstSignal } from './sys/first-signal.ts'
import { defaultGateways } from './sys/gateways.ts'
import { listListeners } from './sys/listeners.ts'
import { loadPart } from './sys/parts.ts'
import { peerCredentials } from './sys/unix-socket.ts'

// The same for the sources of a checkout and for the emitted program below build/.
const packageFile = findPackageJSON(import.meta.url) ?? 'package.json'
const root = dirname(packageFile)

const version = String(JSON.parse(readFileSync(packageFile, 'utf8')).version)

/** A write of a status is given up after so long, and tried again. */
const requestMs = 10_000

/** Begins the work of a thread that is being loaded. */
type Begin = (options: SpeakerOptions) => SpeakerThread

/** Runs the agent until a signal or a fatal error ends it; the answer is the exit code. */
export async function runAgent(options: AgentOptions, begin: Begin, signals: FirstSignal): Promise<number> {
  const output = new LogOutput()
  const log = createLogger({ level: options.logLevel, format: options.logFormat }, output)
  // What Node itself has to say may be lost like any line of the log; a hang-up during the start is no reason to die.
  process.stderr.on('error', () => {})
  process.on('SIGHUP', () => {})
  const lock = new StateLock(options.stateDir)
  try {
    return await runLocked({ options, begin, signals, log, output, lock })
  } finally {
    lock.end()
  }
}

interface Start {
  readonly options: AgentOptions
  readonly begin: Begin
  readonly signals: FirstSignal
  readonly log: Logger
  readonly output: LogOutput
  readonly lock: StateLock
}

async function runLocked({ options, begin, signals, log, output, lock }: Start): Promise<number> {
  const marker = new RestartMarker(options.stateDir, systemClock, () => lock.keep())
  if (signals.first !== undefined) return endedEarly(signals, log)
  const opened = await openNode(options, marker, log)
  const { source, server: asked, translator, reading, datapath, releaseBpffs, watch } = opened
  if (signals.first !== undefined) return endedEarly(signals, log, opened)
  const sockets = nodeSockets({ options, opened: await openSockets(options, datapath, log), source, translator, log })
  const forwarding = forwardingOf(datapath.status)
  if (marker.isRestart) tellForwarding(forwarding, log)
  const speaker = startSpeaker(options, begin, marker.isRestart, forwarding.isPreserved, log)
  const life = asked === undefined ? undefined : lifeOf(options, asked.requests, datapath, log)
  const statuses = statusesOf(options, asked, life?.faults, () => agent)
  const teller = asked && life && tellerOf(options, asked.requests, life, datapath)
  const place = placeOf(options, datapath, sockets, () => agent)
  translator.serveBy(servedBy(options, datapath, place))
  const agent: Agent = new Agent({
    ...{ source, translator, reading },
    datapath,
    speaker,
    marker,
    log,
    ...(asked === undefined ? {} : { report: { sink: asked.sink, peers: () => speaker.peers() } }),
    ...{ ...(life && { onNode: life.onNode }), ...(statuses && { statuses }), ...(teller && { teller }) },
    ...{ ...(sockets.order && { sockets: sockets.order }), ...(place.health && { healthChecks: place.health }) },
    ...{ record: new InForceRecord(options.stateDir), clock: systemClock, links: systemLinks(options, opened.doubt) },
    ...{ replacesKubeProxy: place.watch !== undefined, ...snatAbility(datapath.status).ports },
  })
  const drain = new DrainMark(options.stateDir)
  agent.setDrained(drain.isSet)
  const views = createViews({
    nodeName: options.nodeName,
    version,
    agent,
    speaker,
    ages: new SessionAges(speaker, systemClock),
    datapath,
    source: { kind: options.source.kind, detail: opened.sourceDetail },
    datapathProblem: opened.problem,
    sockets: { ...sockets, isReplacing: () => place.watch?.isReplacing === true },
    ...(options.kubeProxyReplacement && { proxy: () => proxyOf(agent, datapath, sockets, place) }),
    log: output,
    notes: () => [...(life?.faults.current.map(({ text }) => text) ?? []), ...forwardingNotesOf(agent, datapath)],
    metrics: metricsOf(() => figuresOf(agent, [sockets.faults, life?.faults], output), options.metricAliases),
  })
  const flows = startFlows({ options, datapath, agent, sockets }, log)
  const commands = { ...createCommands({ agent, speaker, drain, log }), callerOf: peerCredentials }
  // From here on somebody is answered, and may have us end.
  const ending = ended(signals, speaker, () => agent.isDrained || agent.speaker?.isDraining === true)
  const server = await createApiServer({ views, flows, commands, ...listenersOf(options, log) })
  if (server.problem !== undefined) log.warn(server.problem)
  log.info({ node: options.nodeName, version, datapath: datapath.status, restart: marker.isRestart }, 'agent started')
  await agent.start()
  if (datapath.status.kind !== 'none') watch?.start(() => datapath.follow())
  life?.heartbeat.start()
  rescanOnHangup(source, log)

  const end = await ending
  log[end.code === 0 ? 'info' : 'error']({ why: end.why }, 'agent stopping')
  life?.heartbeat.stop()
  watch?.stop()
  await agent.stop()
  if (end.mode !== undefined) await speaker.stop(end.mode, end.why)
  if (end.mode === 'shutdown') await marker.clear()
  await flows.stop()
  await Promise.all([server.close(), place.health?.close()])
  sockets.close()
  datapath.close()
  releaseBpffs()
  return end.code
}

interface OpenedNode extends OpenedSource, OpenedDatapath {
  readonly translator: Translator
  readonly reading: Reading
  readonly watch: NetfilterWatch | undefined
}

function listenersOf(
  { socket, http }: AgentOptions,
  log: Logger,
): Pick<ApiServerOptions, 'socket' | 'http' | 'onSocketAgain'> {
  const onSocketAgain = (): void => log.warn(`${socket} was removed by somebody, and is there again`)
  return { socket, onSocketAgain, ...(http && { http }) }
}

/** The kernel loads in another thread, and objects are read meanwhile. */
async function openNode(options: AgentOptions, marker: RestartMarker, log: Logger): Promise<OpenedNode> {
  const opened = await openSource(options, marker, log)
  const isAuto = options.datapath !== 'none' && options.datapathMode === 'auto'
  const watch = isAuto ? new NetfilterWatch(new NetfilterLook(), systemClock) : undefined
  const opening = chosenDatapath(options, watch, log)
  const translator = translatorOf(options, opened.addresses)
  const reading = new Reading({ source: opened.source, translator })
  reading.begin()
  return { ...opened, translator, reading, watch, ...(await opening) }
}

/** Nobody has heard of this process yet; what the kernel has by now is what the next one takes over. */
function endedEarly({ first }: FirstSignal, log: Logger, opened?: OpenedNode): number {
  log.info({ why: first }, 'agent stopping before it began')
  opened?.datapath.close()
  opened?.releaseBpffs()
  return 0
}

function figuresOf(agent: Agent, faults: readonly (Faults | undefined)[], { lostLines }: LogOutput): ReconcileFigures {
  const failures = new Map([...agent.failures, ...faults.flatMap((each) => [...(each?.totals ?? [])])])
  return { ...agent.reconcile, failures, lostLogLines: lostLines }
}

function forwardingNotesOf({ order }: Agent, { status: { interfaces } }: Datapath): readonly string[] {
  if (interfaces.length === 0) return []
  return forwardingNotes(order.services.values(), (family) => forwardingOff(family, interfaces))
}

/** By what it serves is told when that is known. */
function translatorOf(options: AgentOptions, addresses: OpenedSource['addresses']): Translator {
  return createTranslator({
    ...{ nodeName: options.nodeName, datapath: 'none', secretsNamespace: options.bgpSecretsNamespace },
    ...addresses,
    nowMs: () => performance.now(),
    localAddresses: ownAddresses(listAddresses, systemClock),
    gateways: ownGateways(defaultGateways, systemClock),
    ...{ ignoreExcludeLb: options.ignoreExcludeLb, withdrawOn: options.withdrawOn },
    isClassRequired: options.requireLoadBalancerClass,
    ...(options.loadBalancerClass === undefined ? {} : { loadBalancerClass: options.loadBalancerClass }),
  })
}

function servedBy(
  options: AgentOptions,
  datapath: Pick<Datapath, 'status'>,
  { leadsSockets, watch, health }: Place,
): ServedBy {
  return {
    datapath: datapath.status.kind === 'none' ? 'none' : 'ebpf',
    ...(servesRemote(options, datapath) ? { tunnels: options.source.kind === 'manifests' ? 'nodes' : 'leases' } : {}),
    ...{ leadsSockets, whyNoSnat: snatAbility(datapath.status).whyNoSnat },
    ...(watch && { proxying: () => lookOf(watch, health), nodePortAddresses: options.nodeportAddresses }),
  }
}

const readsTunnels = ({ remoteBackends, datapath }: AgentOptions): boolean =>
  remoteBackends === 'tunnel' && datapath !== 'none'

/** Packets for backends on other nodes are sent there, and taken for backends here. */
function servesRemote(options: AgentOptions, { status }: Pick<Datapath, 'status'>): boolean {
  return readsTunnels(options) && status.kind !== 'none'
}

function chosenDatapath(
  { datapath, bpffs, attach, datapathMode, lbAcceleration }: AgentOptions,
  watch: NetfilterWatch | undefined,
  log: Logger,
): Promise<OpenedDatapath> {
  const objectFile = join(root, 'build', 'bpf', 'herald.bpf.o')
  return openDatapath({
    kind: datapath,
    bpffs,
    objectFile,
    attach,
    ...{ mode: datapathMode, acceleration: lbAcceleration },
    ...(watch && { netfilter: watch }),
    log: (level, message) => log[level](message),
  })
}

interface Place {
  readonly leadsSockets: boolean
  readonly watch?: ProxyWatch
  readonly health?: HealthChecks
}

/** Of kube-proxy; without a watch it was not asked for, or there is nothing to serve with. */
function placeOf(
  { kubeProxyReplacement }: AgentOptions,
  datapath: Datapath,
  { kubeProxy, balancer }: NodeSockets,
  agent: () => Agent,
): Place {
  const leadsSockets = balancer !== undefined
  if (!kubeProxyReplacement || datapath.status.kind === 'none') return { leadsSockets }
  const listeners = seldom<ReadonlySet<string>>(listListeners, new Set(), systemClock)
  const health = new HealthChecks({
    clock: systemClock,
    isHealthy: () => agent().isSynced && datapath.status.interfaces.length > 0,
    isEligible: () => !agent().isDrained && agent().speaker?.isDraining !== true,
    addresses: () => agent().nodePorts,
  })
  return { leadsSockets, watch: new ProxyWatch({ kubeProxy, listeners, clock: systemClock }), health }
}

function lookOf(watch: ProxyWatch, health: HealthChecks | undefined): ProxyFacts | undefined {
  const facts = watch.look()
  health?.setOn(facts !== undefined)
  return facts
}

function proxyOf(agent: Agent, { status }: Datapath, sockets: NodeSockets, { watch, health }: Place): ProxyParts {
  return {
    isReplacing: watch?.isReplacing === true,
    hasDatapath: status.kind !== 'none',
    hasSockets: sockets.balancer !== undefined,
    kubeProxy: sockets.kubeProxy,
    nodePortAddresses: () => agent.nodePorts,
    healthProblems: health && (() => health.problems()),
  }
}

function openSockets(options: AgentOptions, datapath: Datapath, log: Logger): Promise<OpenedSockets> {
  const { bpffs, cgroupRoot } = options
  const isAsked = options.socketLb || options.kubeProxyReplacement
  const objectFile = join(root, 'build', 'bpf', 'socket.bpf.o')
  const say = (level: 'info' | 'warn' | 'error', message: string): void => log[level](message)
  const isServing = datapath.status.kind === 'ebpf'
  return openSocketBalancer({ isAsked, isServing, bpffs, cgroupRoot, objectFile, log: say })
}

function startSpeaker(
  { bgpListen, record }: AgentOptions,
  begin: Begin,
  isRestart: boolean,
  isForwardingPreserved: boolean,
  log: Logger,
): SpeakerThread {
  const speaker = begin({
    ...(bgpListen === undefined ? {} : { listen: bgpListen }),
    isRestart,
    isForwardingPreserved,
    ...(record === undefined ? {} : { record }),
  })
  speaker.onLog(({ level, peer, message }) => log[level](peer === undefined ? {} : { peer }, message))
  return speaker
}

interface FlowParts {
  readonly options: AgentOptions
  readonly datapath: Datapath
  readonly agent: Agent
  readonly sockets: NodeSockets
}

function startFlows({ options, datapath, agent, sockets }: FlowParts, log: Logger): Flows {
  if (datapath.status.kind !== 'ebpf') return noFlows
  return new FlowsThread({
    mapsFolder: new Pins(options.bpffs).mapsFolder,
    socketMapsFolder: sockets.balancer && ownSocketMaps(options.bpffs),
    nodeName: options.nodeName,
    isAlways: options.flowEvents === 'always',
    names: ({ frontend, backend }) => agent.namesOf(frontend, backend),
    warn: (message) => log.warn(message),
  })
}

function rescanOnHangup(source: ObjectSource, log: Logger): void {
  process.on('SIGHUP', () => {
    log.info('SIGHUP: everything is read again')
    source.rescan()
  })
}

/** The metrics library is loaded by the first scrape: an agent that nobody scrapes does without it. */
function metricsOf(figures: () => ReconcileFigures, hasAliases: boolean): (views: AgentViews) => Promise<string> {
  let metrics: Promise<(views: AgentViews) => Promise<string>> | undefined
  return async (views) => {
    metrics ??= import('./observe/metrics.ts').then(({ createMetrics }) => createMetrics(figures, hasAliases))
    return (await metrics)(views)
  }
}

interface OpenedSource {
  readonly source: ObjectSource
  /** For people: where objects come from. */
  readonly sourceDetail: string
  /** Who gives addresses to Services: this agent where there is only a folder, else whoever writes their status. */
  readonly addresses: Pick<TranslatorOptions, 'addressBook' | 'isAllocatedElsewhere' | 'apiServer'>
  /** The network changed, and what is read over it may not answer any more. */
  readonly doubt?: () => void
  /** Where the node says what its sessions are and that it lives; undefined: nobody would read it. */
  readonly server?: { readonly sink: StatusSink; readonly requests: ApiRequests }
}

function statusesOf(
  { nodeName: node, serviceStatusNamespace: namespace }: AgentOptions,
  server: OpenedSource['server'],
  faults: Faults | undefined,
  agent: () => Agent,
): ServiceStatuses | undefined {
  if (namespace === undefined || server === undefined || faults === undefined) return undefined
  const { requests, sink } = server
  return new ServiceStatuses({
    ...{ clock: systemClock, random: Math.random, sink, faults, node, namespace },
    objects: objectsOnServer(requests, nodeFieldManager),
    services: () => agent().order.services.keys(),
    peersOf: (service) => agent().peersOf(service),
  })
}

interface Life {
  readonly heartbeat: Heartbeat
  /** That the cluster does not hear of this node harms nothing on it: these faults degrade no health. */
  readonly faults: Faults
  readonly onNode: (name: string, uid: string | undefined) => void
  /** Of our Node; undefined: it was not read yet. */
  readonly nodeUid: () => string | undefined
}

function lifeOf(options: AgentOptions, requests: ApiRequests, { status }: Datapath, log: Logger): Life {
  const { nodeName: node, loadBalancerClass } = options
  const facts: AgentFacts = {
    version,
    datapath: status.kind === 'none' ? 'none' : 'ebpf',
    secretsNamespace: options.bgpSecretsNamespace,
    ignoreExcludeLb: options.ignoreExcludeLb,
    withdrawOn: options.withdrawOn,
    isClassRequired: options.requireLoadBalancerClass,
    ...(loadBalancerClass === undefined ? {} : { loadBalancerClass }),
    ...{ remoteBackends: options.remoteBackends, whyNoSnat: snatAbility(status).whyNoSnat },
  }
  let uid: string | undefined
  const store = leaseOnServer(requests, options.leaseNamespace, lifeName(node), () => lifeMetadata(node, facts, uid))
  const faults = new Faults(systemClock, log)
  return {
    faults,
    heartbeat: new Heartbeat({ node, store, faults, clock: systemClock, random: Math.random }),
    onNode: (name, nodeUid) => {
      if (name === node) uid = nodeUid
    },
    nodeUid: () => uid,
  }
}

/** What an earlier process told is taken back where it is not so any more. */
function tellerOf(
  options: AgentOptions,
  requests: ApiRequests,
  { faults, nodeUid }: Life,
  datapath: Pick<Datapath, 'status'>,
): TunnelTeller {
  const { nodeName: node, leaseNamespace } = options
  const metadata = (): LeaseMetadata => tunnelMetadata(node, tunnelEnd(teller.own), nodeUid())
  const store = leaseOnServer(requests, leaseNamespace, tunnelLeaseName(node), metadata)
  const teller: TunnelTeller = new TunnelTeller({ node, store, faults, clock: systemClock, random: Math.random })
  if (!servesRemote(options, datapath)) teller.want({ own: [], isTold: false })
  return teller
}

async function openSource(options: AgentOptions, marker: RestartMarker, log: Logger): Promise<OpenedSource> {
  if (options.source.kind === 'manifests') {
    const { directory } = options.source
    await lookAtFolder(directory, { isRestart: marker.isRestart, clock: systemClock, log })
    const door = new Door(directory, systemClock)
    const addressBook = openFileBook(directory, options.stateDir, { isSilent: () => door.isSilent })
    const source = directorySource({ directory, knock: (folders) => door.knock(folders) })
    return { source, sourceDetail: directory, addresses: { addressBook }, doubt: () => door.doubt() }
  }
  // Read by those who need it: the Kubernetes client is larger than all of the rest.
  const { connectApiServer }: typeof import('./k8s/apiserver/connect.ts') = await loadPart(
    import.meta.url,
    './k8s/apiserver/connect.ts',
    './apiserver.cjs',
  )
  const { detail, host, transport } = connectApiServer(options.source.kubeconfig)
  const source = apiServerSource({
    transport,
    clock: systemClock,
    random: Math.random,
    nodeName: options.nodeName,
    ...(readsTunnels(options) ? { tunnelNamespace: options.leaseNamespace } : {}),
    mayLackKinds: true,
  })
  const requests = new ApiRequests(transport, requestMs)
  const sink = statusOnServer(requests, options.nodeName, nodeFieldManager)
  return {
    source,
    sourceDetail: detail,
    addresses: { isAllocatedElsewhere: true, apiServer: host },
    server: { sink, requests },
  }
}
