/**
 * The loop of one node: objects in, desired state out, applied in order.
 *
 *     source --upsert/remove--> translator --flush--> delta --> order --> datapath, speaker
 *                                                        `----> speaker (neighbors)
 *
 * Everything runs on events of the main thread; the speaker has a thread of its own. A delta is applied at once, the
 * Services in it in slices, so that a relist of thousands never holds the loop.
 */
import type { SpeakerThread } from '../speaker/speaker-thread.ts'
import type { PeerSnapshot } from '../speaker/protocol.ts'
import type { Datapath } from '../datapath/datapath.ts'
import type { DesiredDelta, DesiredPodCidr, DesiredSpeaker, Problem } from '../desired/model.ts'
import { messageOf } from '../errors.ts'
import type { ObjectSource } from '../k8s/source.ts'
import type { Translator } from '../k8s/translate/translator.ts'
import type { Logger } from '../observe/logger.ts'
import { Order } from './order.ts'
import type { RestartMarker } from './restart-marker.ts'

export interface AgentParts {
  readonly source: ObjectSource
  readonly translator: Translator
  readonly datapath: Datapath
  readonly speaker: SpeakerThread
  readonly marker: RestartMarker
  readonly log: Logger
  /** The interfaces on which packets for VIPs arrive, given the neighbors' addresses. */
  uplinks(neighbors: readonly string[]): readonly string[]
}

/** A withdrawn address is served this long: a router's reconvergence, generously. */
const drainMs = 5_000
const retryMs = 500
const retryMaxMs = 30_000
/** Services per slice; each costs some tens of microseconds. */
const sliceServices = 64
/**
 * A restart waits so long for an object that cannot be read now: what it says may be on the routers and in the kernel,
 * and End-of-RIB would remove it (RFC 4724 4.1; the cap is that of a deferred selection).
 */
const heldBackMs = 60_000
/** Problems of a file or an object that is not in force in any version. */
const unread: ReadonlySet<string> = new Set(['InvalidYaml', 'NoObject', 'Unreadable', 'InvalidField'])
/** Interfaces come and go without an event of ours. */
const uplinksEveryMs = 5_000

export class Agent {
  readonly order: Order
  isDrained = false
  readonly #parts: AgentParts
  readonly #timers = new Set<NodeJS.Timeout>()
  #speaker: DesiredSpeaker | undefined
  #podCidrs: readonly DesiredPodCidr[] = []
  #problems: readonly Problem[] = []
  #fileProblems: readonly Problem[] = []
  #isRunning = false
  #isSynced = false
  #isSettled = false
  /** When an earlier agent's routes may be given up all the same; undefined: there was none. */
  readonly #holdBackUntil: number | undefined
  #isHeldBack = false
  #uplinkProblem: string | undefined
  #attached = ''
  /** Duration of the last application of a delta, ms, and when it was. */
  readonly reconcile = { count: 0, errors: 0, lastMs: 0, lastAt: 0 }

  constructor(parts: AgentParts) {
    this.#parts = parts
    this.#holdBackUntil = parts.marker.isRestart ? performance.now() + heldBackMs : undefined
    this.order = new Order(
      {
        datapath: parts.datapath,
        announce: (prefixes) => parts.speaker.post({ type: 'routes', prefixes }),
        later: (afterMs, action) => this.#later(afterMs, action),
        wake: () => this.#wake(),
      },
      { drainMs, retryMs, retryMaxMs },
    )
  }

  get speaker(): DesiredSpeaker | undefined {
    return this.#speaker
  }

  get podCidrs(): readonly DesiredPodCidr[] {
    return this.#podCidrs
  }

  get problems(): readonly Problem[] {
    return [...this.#fileProblems, ...this.#problems]
  }

  /** Every kind was read once. */
  get isSynced(): boolean {
    return this.#isSynced
  }

  get uplinkProblem(): string | undefined {
    return this.#uplinkProblem
  }

  async start(): Promise<void> {
    const { source, translator, speaker } = this.#parts
    speaker.onPeer((peer, previous) => this.#peerChanged(peer, previous))
    const uplinks = setInterval(() => this.#attach(), uplinksEveryMs)
    this.#timers.add(uplinks)
    await source.start({
      upsert: (key, object, origin) => translator.upsert(key, object, origin),
      remove: (key) => translator.remove(key),
      problems: (list) => {
        this.#report(this.#fileProblems, list)
        this.#fileProblems = list
        this.#wake()
      },
      flush: () => this.#translate(),
      synced: () => {
        translator.synced()
        this.#isSynced = true
        this.#translate()
        this.#wake()
      },
    })
  }

  /** Stops reading and working; the kernel keeps what it has. */
  async stop(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer)
    this.#timers.clear()
    await this.#parts.source.stop()
  }

  /** A bounded number of Services; the others follow in turns of their own. */
  #translate(): void {
    const { translator } = this.#parts
    this.#apply(translator.flush())
    if (translator.hasMore) setImmediate(() => this.#translate())
  }

  #apply(delta: DesiredDelta): void {
    const started = performance.now()
    if (delta.speaker !== undefined) {
      this.#speaker = delta.speaker
      if (delta.speaker.neighbors.length > 0) this.#mark()
      this.#attach()
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
    this.order.want(delta.services)
    // A small delta goes out in this turn: one Service is announced without waiting for the loop.
    if (this.order.pending > 0) this.#run()
    else if (!this.#isSettled) this.#wake()
    this.reconcile.count++
    this.reconcile.lastMs = performance.now() - started
    this.reconcile.lastAt = Date.now()
  }

  /** `herald drain`, beside the annotation of the Node. */
  setDrained(isDrained: boolean): void {
    this.isDrained = isDrained
    this.#configure()
  }

  #configure(): void {
    if (this.#speaker === undefined) return
    const { neighbors, isDraining } = this.#speaker
    this.#parts.speaker.post({ type: 'configure', neighbors, isDraining: isDraining || this.isDrained })
  }

  /** A state directory that takes nothing costs the restart's grace, not the sessions. */
  #mark(): void {
    try {
      this.#parts.marker.set()
    } catch (error) {
      this.#parts.log.error(
        { err: error },
        'the state directory takes no mark: the next start of the agent will not count as a restart',
      )
    }
  }

  #wake(): void {
    if (this.#isRunning) return
    this.#isRunning = true
    setImmediate(() => {
      this.#isRunning = false
      this.#run()
    })
  }

  #run(): void {
    if (this.order.run(sliceServices)) this.#wake()
    else if (this.#isSynced && !this.#parts.translator.hasMore && !this.#isSettled && !this.#mustHoldBack())
      this.#settle()
  }

  /** After a restart, while something cannot be read and the wait for it is not over. */
  #mustHoldBack(): boolean {
    const leftMs = (this.#holdBackUntil ?? 0) - performance.now()
    const missing = this.problems.filter(({ severity, code }) => severity === 'error' && unread.has(code))
    if (leftMs <= 0 || missing.length === 0) return false
    if (!this.#isHeldBack) {
      this.#parts.log.warn(
        { missing: missing.map(problemText) },
        `not everything can be read: End-of-RIB and what an earlier agent left wait up to ` +
          `${Math.ceil(leftMs / 1000)} s for it`,
      )
      this.#later(leftMs + 1, () => this.#wake())
    }
    this.#isHeldBack = true
    return true
  }

  /** Every desired route was handed to the speaker once: End-of-RIB may go out, leftovers may drain. */
  #settle(): void {
    this.#isSettled = true
    this.#parts.speaker.post({ type: 'synced' })
    this.order.releaseLeftovers()
    this.#parts.log.info(
      { services: this.order.services.size, neighbors: this.#speaker?.neighbors.length ?? 0 },
      'all objects read and applied',
    )
  }

  #attach(): void {
    const neighbors = this.#speaker?.neighbors.map((neighbor) => neighbor.peerAddress) ?? []
    if (neighbors.length === 0 || this.#parts.datapath.status.kind === 'none') return
    try {
      const interfaces = this.#parts.uplinks(neighbors)
      this.#parts.datapath.attach(interfaces)
      this.#uplinkProblem =
        interfaces.length === 0
          ? 'no interface routes to a neighbor: packets for announced addresses would not be served'
          : undefined
      const attached = interfaces.join(' ')
      if (attached !== this.#attached) this.#parts.log.info({ interfaces }, 'attached to uplinks')
      this.#attached = attached
    } catch (error) {
      if (this.#uplinkProblem !== messageOf(error))
        this.#parts.log.error({ err: error }, 'attaching to uplinks failed, tried again')
      this.#uplinkProblem = messageOf(error)
      this.reconcile.errors++
    }
  }

  /** Logs what was not known before. */
  #report(known: readonly Problem[], problems: readonly Problem[]): void {
    const texts = new Set(known.map(problemText))
    for (const problem of problems) {
      const text = problemText(problem)
      if (!texts.has(text))
        this.#parts.log[problem.severity === 'error' ? 'error' : 'warn']({ code: problem.code }, text)
    }
  }

  #peerChanged(peer: PeerSnapshot, previous: string): void {
    const fields = { peer: peer.peerAddress, peerAs: peer.peerAsn, state: peer.state, previous }
    if (peer.state === 'Established') this.#parts.log.info(fields, 'session established')
    else if (previous === 'Established')
      this.#parts.log.warn({ ...fields, reason: peer.lastReset?.text }, 'session lost')
    else this.#parts.log.debug(fields, 'session state')
  }

  #later(afterMs: number, action: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      action()
    }, afterMs)
    this.#timers.add(timer)
  }
}

export function problemText(problem: Problem): string {
  const { object } = problem
  const name = [object.kind, object.namespace, object.name]
    .filter((part) => part !== undefined && part !== '')
    .join('/')
  const place = object.file === undefined ? '' : `${object.file}${object.line === undefined ? '' : `:${object.line}`}: `
  return `${place}${name}${problem.field === '' ? '' : ` ${problem.field}`}: ${problem.message}. ${problem.remedy}`
}
