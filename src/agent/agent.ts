/**
 * The loop of one node: objects in, desired state out, applied in order.
 *
 *     source --upsert/remove--> translator --flush--> delta --> order --> datapath, speaker
 *                                                        `----> speaker (neighbors)
 *     links --events--> uplinks --> datapath (attach), order (serving or not)
 *
 * Everything runs on events of the main thread; the speaker has a thread of its own. A delta is applied at once, the
 * Services in it in slices, so that a relist of thousands never holds the loop.
 */
import type { Clock } from '../clock/clock.ts'
import { Due } from '../clock/due.ts'
import { ScopedClock } from '../clock/scoped-clock.ts'
import type { Datapath } from '../datapath/datapath.ts'
import type {
  DesiredDelta,
  DesiredPodCidr,
  DesiredService,
  DesiredSpeaker,
  DesiredTunnels,
  PortRange,
  Problem,
} from '../desired/model.ts'
import type { ObjectSource } from '../k8s/source.ts'
import type { Translator } from '../k8s/translate/translator.ts'
import type { PeerSnapshot } from '../speaker/protocol.ts'
import type { SpeakerThread } from '../speaker/speaker-thread.ts'
import type { Reach } from '../sys/links.ts'
import type { AgentLog } from './agent-log.ts'
import { EndOfRib } from './end-of-rib.ts'
import { NodeReporter, type NodeReporterParts } from './node-reporter.ts'
import { type CurrentFault, Faults } from './faults.ts'
import { FullMaps } from './full-maps.ts'
import type { InForce, InForceRecord } from './in-force.ts'
import type { Links } from './links.ts'
import { Order } from './order.ts'
import { problemLine } from './problem-line.ts'
import { Reading } from './reading.ts'
import { Refusals } from './refusals.ts'
import type { RestartMarker } from './restart-marker.ts'
import { seldomMs } from './seldom.ts'
import type { ServiceStatuses } from './service-statuses.ts'
import type { SocketOrder } from './socket-order.ts'
import { StateKeeper } from './state-keeper.ts'
import { TunnelEnds } from './tunnel-ends.ts'
import type { TunnelTeller } from './tunnel-teller.ts'
import { Uplinks } from './uplinks.ts'

export interface AgentParts {
  readonly source: ObjectSource
  readonly translator: Translator
  /** Of both, where it began before there was an agent. */
  readonly reading?: Reading
  readonly datapath: Datapath
  readonly speaker: Pick<SpeakerThread, 'post' | 'onPeer'>
  readonly marker: RestartMarker
  readonly record: InForceRecord
  readonly links: Links
  readonly clock: Clock
  readonly log: AgentLog
  /** Where the node says what its sessions are; absent: there is nobody to tell. */
  readonly report?: Pick<NodeReporterParts, 'sink' | 'peers'>
  /** Told of each Node that is read. */
  readonly onNode?: (name: string, uid: string | undefined) => void
  /** Where the other nodes are told at which addresses this one takes packets in tunnels. */
  readonly teller?: Pick<TunnelTeller, 'want' | 'stop'>
  /** Of this node, for flows to pods on nodes that take no packets in tunnels; absent: there are none. */
  readonly snatPorts?: PortRange
  /** Where the cluster is told to whom Services are announced. */
  readonly statuses?: Pick<ServiceStatuses, 'readNode' | 'touch' | 'settled' | 'stop'>
  /** What leads sockets on this node to backends. */
  readonly sockets?: Pick<SocketOrder, 'want' | 'wantNodes' | 'settled' | 'ownerOf'>
  /** Clients come for node ports, also where nothing is announced. */
  readonly replacesKubeProxy?: boolean
  /** What answers load balancers in the place of kube-proxy. */
  readonly healthChecks?: { want(service: string, check: DesiredService['healthCheck']): void }
}

/** Processes of the node come and go without a word. */
const processesMs = 4_000
/** What is known of the interfaces is younger than this. */
const networkMs = seldomMs + 100
/** A withdrawn address is served this long: a router's reconvergence, generously. */
const drainMs = 5_000
const retryMs = 500
const retryMaxMs = 30_000
/** A record of addresses that another agent has, or that takes nothing, is tried again after so long. */
const recordRetryMs = 2_000
/** So many frontends are compared with the maps a second: some tenths of a millisecond. */
const [auditMs, auditFrontends] = [1_000, 64]
/** Of so many looks one is at the addresses of the nodes, too: a walk over some hundreds. */
const nodesEvery = 30
/** Services per slice; each costs some tens of microseconds. */
const sliceServices = 64

export class Agent {
  readonly order: Order
  isDrained = false
  readonly #parts: AgentParts
  readonly #faults: Faults
  readonly #fullMaps: FullMaps
  readonly #uplinks: Uplinks
  readonly #endOfRib: EndOfRib
  readonly #ends: TunnelEnds
  readonly #reporter: NodeReporter | undefined
  readonly #refusals = new Refusals()
  readonly #clock: ScopedClock
  #speaker: DesiredSpeaker | undefined
  #podCidrs: readonly DesiredPodCidr[] = []
  #problems: readonly Problem[] = []
  #fileProblems: readonly Problem[] = []
  readonly #runs: Due
  /** What is still to be translated; what comes meanwhile is for the same turn. */
  readonly #translations: Due
  readonly #networkLooks: Due
  readonly #processLooks: Due
  readonly #recordRetries: Due
  #audits = 0
  #isSynced = false
  #isTranslated = false
  #isStopped = false
  readonly #state: StateKeeper
  /** Duration of the last application of a delta, ms, and when it was. */
  #endWatch: () => void = () => undefined
  readonly reconcile = { count: 0, errors: 0, lastMs: 0, lastAt: 0 }

  constructor(parts: AgentParts) {
    const { datapath, log, marker, record, speaker } = parts
    const clock = new ScopedClock(parts.clock)
    this.#parts = parts
    this.#clock = clock
    this.#runs = new Due(clock, () => this.#run())
    const translate = (): void => this.#translate()
    this.#translations = new Due(clock, translate)
    this.#networkLooks = new Due(clock, translate)
    this.#processLooks = new Due(clock, translate)
    this.#recordRetries = new Due(clock, translate)
    this.#faults = new Faults(clock, log)
    this.#endOfRib = new EndOfRib({
      ...{ clock, log, faults: this.#faults, source: parts.source },
      earlier: marker.isRestart ? { record: record.read() } : undefined,
      post: (message) => speaker.post(message),
      inForce: () => this.#inForce(),
      problems: () => this.problems,
      wake: () => this.#wake(),
    })
    this.#state = new StateKeeper({
      ...{ clock, marker, record, faults: this.#faults },
      inForce: () => this.#inForce(),
      inForceMark: () => this.#inForceMark(),
      announcedCount: () => this.order.announced.size,
    })
    this.#fullMaps = new FullMaps(datapath, this.#faults)
    this.order = new Order(
      {
        datapath,
        clock,
        faults: this.#faults,
        announce: (prefixes) => speaker.post({ type: 'routes', prefixes }),
        wake: () => this.#wake(),
        ...(log.isLevelEnabled('debug') ? { trace: (step: string) => log.debug({}, step) } : {}),
      },
      { drainMs, retryMs, retryMaxMs },
    )
    this.#uplinks = new Uplinks({
      datapath,
      clock,
      log,
      links: parts.links,
      faults: this.#faults,
      areAlwaysNeeded: parts.replacesKubeProxy === true,
      serving: (isServing) => {
        this.order.setServing(isServing)
        this.#ends.setServing(isServing)
      },
    })
    const { teller, snatPorts } = parts
    const faults = this.#faults
    const reach = (nodes: readonly Reach[]): void => this.#uplinks.setNodes(nodes)
    this.#ends = new TunnelEnds(
      { datapath, clock, faults, teller, snatPorts, reach },
      datapath.status.interfaces.length > 0,
    )
    this.#reporter = parts.report === undefined ? undefined : this.#reporterOf(parts.report)
  }

  #reporterOf(report: NonNullable<AgentParts['report']>): NodeReporter {
    return new NodeReporter({
      clock: this.#clock,
      random: Math.random,
      ...report,
      faults: this.#faults,
      figures: () => ({
        neighbors: this.#speaker?.neighbors ?? [],
        problems: this.problems,
        failures: this.#faults.current.map(({ text }) => text),
        refusals: this.#refusals.list(this.order.failures),
        isSynced: this.#isTranslated,
        isDrained: this.isDrained || this.#speaker?.isDraining === true,
        datapath: this.#parts.datapath.status,
      }),
    })
  }

  get speaker(): DesiredSpeaker | undefined {
    return this.#speaker
  }

  /** Which Service has a frontend, and the pod behind it that has an address, both as `namespace/name`. */
  namesOf(frontend: string, backend: string): { readonly service?: string; readonly pod?: string } {
    const service = this.order.ownerOf(frontend) ?? this.#parts.sockets?.ownerOf(frontend)
    if (service === undefined) return {}
    const pod = backend === '' ? undefined : this.#parts.translator.slices.podOf(service, backend)
    return { service, ...(pod === undefined ? {} : { pod }) }
  }

  /** Names of the neighbors to which a Service is to be announced. */
  peersOf(service: string): readonly string[] {
    const ids = new Set(this.order.service(service)?.routes.flatMap(({ neighbors }) => neighbors))
    const found = this.#speaker?.neighbors.filter(({ id }) => ids.has(id)) ?? []
    return [...new Set(found.map(({ peerName, peerAddress }) => peerName ?? peerAddress))]
  }

  get podCidrs(): readonly DesiredPodCidr[] {
    return this.#podCidrs
  }

  /** undefined: backends on other nodes are not served. */
  get tunnels(): DesiredTunnels | undefined {
    return this.#ends.tunnels
  }

  /** Addresses of this node at which node ports are served. */
  get nodePorts(): readonly string[] {
    return this.#ends.nodePorts
  }

  get problems(): readonly Problem[] {
    return [...this.#fileProblems, ...this.#problems]
  }

  /** What fails now and is tried again. */
  get faults(): readonly CurrentFault[] {
    return this.#faults.current
  }

  /** What a restart waits for. */
  get restartNote(): string | undefined {
    return this.#endOfRib.note
  }

  /** Failures since the start, by the key of their fault. */
  get failures(): ReadonlyMap<string, number> {
    return this.#faults.totals
  }

  /** Everything was read once, and what it asks for is on its way: before that, no session that is down is seen. */
  get isSynced(): boolean {
    return this.#isTranslated
  }

  async start(): Promise<void> {
    const { translator, speaker } = this.#parts
    speaker.onPeer((peer, previous) => this.#peerChanged(peer, previous))
    this.#uplinks.start()
    this.#auditSoon()
    this.#endWatch = this.#watchNetwork()
    const reading = this.#parts.reading ?? new Reading(this.#parts)
    await reading.follow({
      report: (key, object, version) => this.#reporter?.read(key, object, version),
      reportGone: () => this.#reporter?.forget(),
      node: (name, uid) => {
        this.#parts.onNode?.(name, uid)
        this.#parts.statuses?.readNode(name, uid)
      },
      problems: (list) => {
        this.#report(this.#fileProblems, list)
        this.#fileProblems = list
        this.#wake()
      },
      flush: () => this.#translate(),
      synced: () => {
        translator.synced()
        this.#isSynced = true
        // Not in the turn in which the last list was read.
        this.#translations.soon()
      },
      note: (message) => this.#parts.log.info({}, message),
    })
  }

  #auditSoon(): void {
    this.#clock.after(auditMs, () => {
      this.order.audit(auditFrontends)
      this.#fullMaps.judge()
      if (++this.#audits % nodesEvery === 0) this.#ends.audit()
      if (this.#parts.translator.usesProcesses && this.#isSynced) this.#processLooks.after(processesMs)
      this.#auditSoon()
    })
  }

  /** Stops reading and working; the kernel keeps what it has. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.#clock.end()
    this.#parts.translator.stop()
    this.#endWatch()
    this.#uplinks.stop()
    this.#parts.statuses?.stop()
    this.#parts.teller?.stop()
    await this.#parts.source.stop()
    if (this.#endOfRib.isSettled) await this.#state.stop()
  }

  /** Neighbors may follow the default route, and leave from the address of an interface. */
  #watchNetwork(): () => void {
    const { links, translator } = this.#parts
    const look = (): void => {
      if (translator.usesNetwork) this.#networkLooks.after(networkMs)
    }
    try {
      return links.watch(look)
    } catch {
      // The uplinks say so; each change of an object looks, too.
      return () => undefined
    }
  }

  /** A bounded number of Services; the others follow in turns of their own. */
  #translate(): void {
    const { translator } = this.#parts
    if (this.#translations.isDue || this.#isStopped) return
    this.#apply(translator.flush())
    if (translator.hasMore) return this.#translations.soon()
    if (translator.isRecordDue) this.#recordRetries.after(recordRetryMs)
    if (this.#isSynced && !this.#isTranslated) {
      this.#isTranslated = true
      if (this.tunnels === undefined) this.#ends.applyNone()
      this.#reporter?.touch()
      this.#wake()
    }
  }

  #apply(delta: DesiredDelta): void {
    const started = this.#clock.monotonic()
    if (delta.speaker !== undefined) {
      const { neighbors } = delta.speaker
      this.#speaker = delta.speaker
      if (neighbors.length > 0) this.#state.mark()
      this.#uplinks.setNeighbors(
        neighbors.map(({ peerAddress, interface: device }) => ({
          address: peerAddress,
          ...(device === undefined ? {} : { interface: device }),
        })),
      )
      this.#endOfRib.follows()
      this.#configure()
    }
    if (delta.problems !== undefined) {
      this.#report(this.#problems, delta.problems)
      this.#problems = delta.problems
    }
    if (delta.podCidrs !== undefined) {
      this.#podCidrs = delta.podCidrs
      this.order.wantPodCidrs(delta.podCidrs)
    }
    if (delta.tunnels !== undefined) this.#ends.apply(delta.tunnels, delta.nodePorts)
    else if (delta.nodePorts !== undefined) this.#ends.serveNodePorts(delta.nodePorts)
    if (delta.otherNodes !== undefined) this.#parts.sockets?.wantNodes(delta.otherNodes)
    if (delta.sockets !== undefined) this.#parts.sockets?.want(delta.sockets)
    for (const [key, service] of delta.services) {
      this.#parts.healthChecks?.want(key, service?.healthCheck)
      this.#refusals.want(key, service)
    }
    this.order.want(delta.services)
    this.#parts.statuses?.touch(delta.speaker === undefined ? delta.services.keys() : undefined)
    // A small delta goes out in this turn: one Service is announced without waiting for the loop.
    if (this.order.pending > 0) this.#run()
    else this.#wake()
    this.reconcile.count++
    this.reconcile.lastMs = this.#clock.monotonic() - started
    this.reconcile.lastAt = this.#clock.now()
  }

  /** `herald drain`, beside the annotation of the Node. */
  setDrained(isDrained: boolean): void {
    this.isDrained = isDrained
    this.#configure()
    this.#reporter?.touch()
  }

  #configure(): void {
    if (this.#speaker === undefined) return
    const { neighbors, isDraining } = this.#speaker
    this.#parts.speaker.post({ type: 'configure', neighbors, isDraining: isDraining || this.isDrained })
  }

  #wake(): void {
    this.#runs.soon()
  }

  #run(): void {
    if (this.#isStopped) return
    const { translator } = this.#parts
    if (this.order.pending > sliceServices || translator.hasMore) this.#endOfRib.follows()
    const hasMore = this.order.run(sliceServices)
    this.#fullMaps.judge()
    if (hasMore) {
      this.#endOfRib.follows()
      return this.#wake()
    }
    if (this.#isTranslated && !translator.hasMore && this.#endOfRib.handedOver()) this.#settled()
    else if (this.#endOfRib.isSettled) this.#state.rememberSoon()
  }

  /** Every desired route was handed to the speaker once: leftovers may drain. */
  #settled(): void {
    this.#parts.statuses?.settled()
    this.order.releaseLeftovers()
    this.#parts.sockets?.settled()
    this.#parts.log.info(
      { services: this.order.services.size, neighbors: this.#speaker?.neighbors.length ?? 0 },
      'all objects read and applied',
    )
    this.#state.rememberSoon()
  }

  #inForce(): InForce {
    const neighbors = this.#speaker?.neighbors.map(({ id }) => id) ?? []
    return { neighbors, prefixes: [...this.order.announced.prefixes] }
  }

  #inForceMark(): string {
    return `${this.order.announced.version} ${this.#speaker?.neighbors.map(({ id }) => id).join(' ') ?? ''}`
  }

  /** Logs what was not known before. */
  #report(known: readonly Problem[], problems: readonly Problem[]): void {
    // Of thousands nearly all are the very ones that are known.
    const same = new Set(known)
    const news = problems.filter((problem) => !same.has(problem))
    if (news.length === 0) return
    const still = new Set(problems)
    const texts = new Set(known.filter((problem) => !still.has(problem)).map(problemLine))
    for (const problem of news) {
      const text = problemLine(problem)
      if (!texts.has(text))
        this.#parts.log[problem.severity === 'error' ? 'error' : 'warn']({ code: problem.code }, text)
    }
  }

  #peerChanged(peer: PeerSnapshot, previous: string): void {
    this.#reporter?.touch()
    const fields = { peer: peer.peerAddress, peerAs: peer.peerAsn, state: peer.state, previous }
    if (peer.state === 'Established') this.#parts.log.info(fields, 'session established')
    else if (previous === 'Established')
      this.#parts.log.warn({ ...fields, reason: peer.lastReset?.text }, 'session lost')
    else this.#parts.log.debug(fields, 'session state')
  }
}
