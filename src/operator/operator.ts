/**
 * The operator while it leads: objects in, addresses chosen, statuses and events out.
 *
 *     source --upsert, remove--> allocation --flush--> Services and pools whose status is another one
 *        `-- versions, statuses --> service-, configuration-, node-, state-writes <--turn-- write-queue --> sink
 *
 * The source is started when the Lease is held, so that what it lists is what every leader before wrote.
 */
import { goOn, type Work } from '../allocation/work.ts'
import type { Clock, Wait } from '../clock/clock.ts'
import { Due } from '../clock/due.ts'
import type { Problem } from '../desired/model.ts'
import type { ObjectKey, ObjectSource, ObjectVersion, RawObject, SourceEvents } from '../k8s/source.ts'
import type { ObjectSink, StatusOutcome, StatusSink } from '../k8s/status.ts'
import { Allocation, type AllocationOptions } from './allocation.ts'
import { ConfigurationWrites, isConfiguration, isPool, toldOfConfiguration } from './configuration-writes.ts'
import { EventLog } from './event-log.ts'
import type { OperatorFigures } from './figures.ts'
import { inTurns } from '../desired/in-turns.ts'
import { notWritten, type OperatorLog } from './log.ts'
import { NodePlans } from './node-plans.ts'
import { KeysOfNodes } from './keys-of-nodes.ts'
import { isNodeObject, NodeWrites } from './node-writes.ts'
import { RefusalsOfNodes } from './refusals-of-nodes.ts'
import { ServiceWrites } from './service-writes.ts'
import { StateWrites } from './state-writes.ts'
import { type Lane, lanes, WriteQueue } from './write-queue.ts'

export interface OperatorParts extends AllocationOptions {
  readonly source: ObjectSource
  readonly sink: StatusSink
  readonly objects: ObjectSink
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly log: OperatorLog
  /** Where states of the configuration are; undefined: they are told nowhere. */
  readonly namespace?: string
  /** Whether this process leads, asked right before each write. */
  readonly isLeader: () => boolean
}

/** Counts of pools are written so long after they changed. */
const countMs = 1_000
/** Who wrote a status may have let go of it, which is no change that is seen. */
const ownedRetryMs = 5 * 60_000
/** How long the loop is kept in one turn. */
const turnMs = 5
/** A watch is not behind for so long what was written through the same server. */
const passedOverMs = 10_000
/**
 * Services that are looked at in one turn, each some tens of microseconds: of a first list nearly all say what is so.
 */
const saidTogether = 128
/** So many problems of objects are told as events. */
const maxProblems = 256
/** So many reasons for which writes fail are remembered, each told once in so long. */
const maxTold = 64
const tellAgainMs = 10 * 60_000

interface ObjectProblem {
  readonly object: Problem['object']
  readonly code: string
  readonly text: string
  readonly action: string
}

type Outcomes = Record<StatusOutcome['kind'], number>

export class Operator {
  readonly #parts: OperatorParts
  readonly #allocation: Allocation
  readonly #services: ServiceWrites
  readonly #configuration: ConfigurationWrites
  readonly #plans: NodePlans
  readonly #nodes: NodeWrites
  readonly #states: StateWrites | undefined
  readonly #keys = new KeysOfNodes()
  readonly #refusals = new RefusalsOfNodes()
  readonly #events: EventLog
  readonly #queue: WriteQueue
  #touched = new Set<string>()
  /** Settled, and still to be said. */
  readonly #due = new Set<string>()
  /** Services that came while they were written: what their status says is looked at when that is over. */
  readonly #crossed = new Set<string>()
  readonly #outcomes = Object.fromEntries(lanes.map((lane) => [lane, noOutcomes()])) as Record<Lane, Outcomes>
  readonly #told = new Map<string, number>()
  readonly #ownedRetries = new Map<string, Wait>()
  /** Services of which an older version came than the one that we wrote. */
  readonly #passedOver = new Map<string, Wait>()
  /** Those that were told. */
  #problems: ReadonlySet<string> = new Set()
  #isSynced = false
  #isStopped = false
  /** Objects came, or what was written, that no flush has looked at. */
  #isFlushDue = false
  #flushing: Work<void> | undefined
  readonly #turns: Due
  #count: Wait | undefined
  /** It is for the end of the flush that is under way. */
  #isCountDue = false
  /** What is to be said of objects of the configuration may be something else. */
  #isJudgementDue = false
  #isSaying = false
  /** Objects came or went that were not flushed. */
  #isInBatch = false
  #unreadable: ReadonlyMap<string, string> = new Map()

  constructor(parts: OperatorParts) {
    this.#parts = parts
    const { clock, random, sink, isLeader } = parts
    this.#turns = new Due(clock, () => this.#turn())
    this.#allocation = new Allocation(parts)
    this.#events = new EventLog(clock, sink, (key) => this.#queue.add('event', key))
    this.#services = new ServiceWrites({ clock, sink, allocation: this.#allocation, events: this.#events })
    this.#configuration = new ConfigurationWrites({ clock, allocation: this.#allocation, sink })
    this.#plans = new NodePlans({
      clock,
      objects: () => this.#allocation.objects,
      onPlan: (node) => this.#queue.add('node', node),
      onSwept: () => {
        this.#nodes.planned()
        this.#judgeSoon()
      },
    })
    const add = (node: string): void => this.#queue.add('node', node)
    this.#nodes = new NodeWrites({ clock, sink: parts.objects, log: parts.log, plans: this.#plans, add })
    this.#states = this.#statesIn(parts.namespace)
    this.#queue = new WriteQueue({
      clock,
      random,
      mayWrite: isLeader,
      // What a Service lets go of in a flush must not get into its status before that is over.
      isHeldBack: (lane, key) => lane === 'service' && this.#allocation.isBeingSettled(key),
      isAwaited: (lane, key) => lane === 'service' && this.#services.isAwaited(key),
      write: (lane, key) => this.#write(lane, key),
      onOutcome: (lane, key, outcome) => this.#wrote(lane, key, outcome),
    })
  }

  get figures(): OperatorFigures {
    const problems = this.#allocation.problems()
    return {
      isSynced: this.#isSynced,
      unreadable: this.#unreadable,
      services: this.#services.counts,
      pools: this.#configuration.counted(),
      problems: {
        error: problems.filter(({ severity }) => severity === 'error').length,
        warning: problems.filter(({ severity }) => severity === 'warning').length,
      },
      notAccepted: this.#configuration.notAccepted,
      broken: this.#configuration.broken,
      outcomes: this.#outcomes,
      waiting: Object.fromEntries(lanes.map((lane) => [lane, this.#queue.waiting(lane)])),
      inFlight: this.#queue.inFlight,
      droppedEvents: this.#events.dropped,
    }
  }

  #statesIn(namespace: string | undefined): StateWrites | undefined {
    if (namespace === undefined) return undefined
    const { clock, sink, objects, log } = this.#parts
    const nodes = (): ReadonlyMap<string, string> =>
      new Map([...this.#allocation.objects.Node].map(([name, { value }]) => [name, value.metadata.uid ?? '']))
    return new StateWrites({
      ...{ clock, sink, objects, log, namespace, nodes },
      problemsOf: (node) => this.#plans.problemsOf(node),
      add: (name) => this.#queue.add('configuration', `${ofState}${name}`),
    })
  }

  async start(): Promise<void> {
    await this.#parts.source.start(this.#sourceEvents())
  }

  /** Resolves when nothing is written any more. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.#count?.cancel()
    this.#nodes.stop()
    this.#states?.stop()
    for (const wait of [...this.#ownedRetries.values(), ...this.#passedOver.values()]) wait.cancel()
    await this.#queue.stop()
    await this.#parts.source.stop()
  }

  #sourceEvents(): SourceEvents {
    return {
      upsert: (key, object, _origin, version) => this.#upsert(key, object, version),
      remove: (key) => this.#remove(key),
      problems: (list) => this.#setUnreadable(list),
      flush: () => this.#flush(),
      synced: () => {
        this.#isSynced = true
        this.#allocation.synced()
        this.#parts.log.info({}, 'everything was read once: addresses are given away from now on')
        this.#flush()
      },
    }
  }

  #upsert(key: ObjectKey, object: RawObject, version: ObjectVersion): void {
    if (isNodeObject(key)) {
      this.#heardOf(key.name, object)
      return this.#nodes.read(key, object, version)
    }
    if (key.kind !== 'Service') {
      this.#configuration.read(key, object, version)
      // Somebody may have written its status.
      if (isConfiguration(key)) this.#configured()
      return this.#allocation.upsert(key, object)
    }
    const id = `${key.namespace}/${key.name}`
    this.#passedOver.get(id)?.cancel()
    this.#passedOver.delete(id)
    const read = this.#services.read(id, key, object, version)
    // Older than what we wrote: the allocation would take its status for a wish.
    if (read === 'older') return this.#passOver(id, key, object, version)
    if (read === 'own' && this.#allocation.written(key, object)) return
    this.#allocation.upsert(key, object)
    this.#allocation.touch(id)
    this.#touched.add(id)
  }

  /** What the agent of a node says; undefined: nothing any more. */
  #heardOf(node: string, object: RawObject | undefined): void {
    this.#states?.read(node, object)
    const news = [this.#keys.read(node, object), this.#refusals.read(node, object)]
    if (news.includes(true)) this.#judgeSoon()
  }

  /** What we wrote follows by the watch; should it not, the server went back to a backup. */
  #passOver(id: string, key: ObjectKey, object: RawObject, version: ObjectVersion): void {
    const { clock, log } = this.#parts
    const wait = clock.after(passedOverMs, () => {
      log.warn({ service: id }, 'the API server does not know what was written any more: what it has now counts')
      this.#services.forget(id)
      this.#upsert(key, object, version)
      this.#flush()
    })
    this.#passedOver.set(id, wait)
  }

  #configured(): void {
    this.#isInBatch = true
    this.#judgeSoon()
  }

  *#adopt(touched: Iterable<string>): Work<void> {
    const rewritten: string[] = []
    for (const id of touched) {
      if (this.#queue.isBusy('service', id)) this.#crossed.add(id)
      else {
        this.#crossed.delete(id)
        rewritten.push(id)
      }
      yield
    }
    for (const service of yield* this.#allocation.adopt(rewritten))
      this.#parts.log.info({ service }, 'somebody else gave this Service another free address: it keeps that one')
  }

  #remove(key: ObjectKey): void {
    if (isNodeObject(key)) {
      this.#heardOf(key.name, undefined)
      return this.#nodes.forget(key)
    }
    this.#allocation.remove(key)
    if (key.kind !== 'Service') {
      if (isConfiguration(key)) this.#configured()
      return this.#configuration.forget(key)
    }
    const id = `${key.namespace}/${key.name}`
    this.#touched.delete(id)
    this.#crossed.delete(id)
    this.#passedOver.get(id)?.cancel()
    this.#passedOver.delete(id)
    this.#services.forget(id)
  }

  #flush(): void {
    if (!this.#isSynced) return
    this.#isFlushDue = true
    if (!this.#turns.isDue) this.#turn()
  }

  /** One Service is settled in this turn; of thousands some, and the others in turns of their own. */
  #turn(): void {
    const { clock } = this.#parts
    const endMs = clock.monotonic() + turnMs
    const isOver = (): boolean => clock.monotonic() >= endMs
    while (!this.#isStopped && (this.#flushing !== undefined || this.#isFlushDue)) {
      if (this.#flushing === undefined) {
        this.#isFlushDue = false
        this.#isInBatch = false
        this.#flushing = this.#flushed()
      }
      if (goOn(this.#flushing, isOver) === undefined) return this.#turns.soon()
      this.#flushing = undefined
      this.#queue.resume()
      // Half a flush has half of the counts; and one may follow the other without end.
      if (this.#isCountDue) this.#countNow()
    }
  }

  *#flushed(): Work<void> {
    const touched = this.#touched
    this.#touched = new Set()
    yield* this.#adopt(touched)
    const { moved, arePoolsNew, areProblemsNew, arePlansNew } = yield* this.#allocation.flush((id) =>
      this.#services.lingeringOf(id),
    )
    // Few are said at once, however many of a first list are still to be said.
    const areFew = touched.size + moved.length <= saidTogether
    for (const ids of [touched, moved])
      for (const id of ids) {
        if (areFew) this.#sayOf(id)
        else this.#due.add(id)
        yield
      }
    if (!this.#isSaying) this.#sayDue()
    if (arePoolsNew) this.#countSoon()
    if (areProblemsNew) this.#judgeSoon()
    this.#nodes.reserve(this.#allocation.placesInPools)
    if (arePlansNew) this.#plans.sweep()
  }

  /** Who is not in the queue yet can still be adopted. */
  #sayDue(): void {
    let left = saidTogether
    for (const id of this.#due) {
      if (left-- === 0) return this.#sayMore()
      this.#sayOf(id)
    }
  }

  #sayOf(id: string): void {
    this.#due.delete(id)
    this.#services.settled(id)
    this.#queue.add('service', id)
  }

  #sayMore(): void {
    if (this.#isSaying) return
    this.#isSaying = true
    this.#parts.clock.soon(() => {
      this.#isSaying = false
      this.#sayDue()
    })
  }

  #countSoon(): void {
    if (!this.#isSynced || this.#count !== undefined) return
    this.#count = this.#parts.clock.after(countMs, () => {
      this.#count = undefined
      if (this.#flushing === undefined) this.#countNow()
      else this.#isCountDue = true
    })
  }

  #countNow(): void {
    this.#isCountDue = false
    for (const id of this.#configuration.count()) this.#queue.add('pool', id)
    this.#judge()
  }

  #judgeSoon(): void {
    this.#isJudgementDue = true
    this.#countSoon()
  }

  /** Half of a batch, or some of the nodes, say nothing: their end comes here again. */
  #judge(): void {
    if (!this.#isJudgementDue || this.#isInBatch || this.#plans.isSweeping) return
    this.#isJudgementDue = false
    const ofObjects = this.#allocation.problems()
    const keys = this.#keys.reports()
    const problems = [...ofObjects, ...this.#plans.problems(), ...keys.faults]
    this.#states?.judge(ofObjects)
    for (const id of this.#configuration.judge(problems, this.#allocation.objects, keys))
      this.#queue.add(isPool({ kind: id.slice(0, id.indexOf('/')) }) ? 'pool' : 'configuration', id)
    this.#tellProblems(problems)
  }

  /** What cannot be understood, or only in part, says so on the object itself, once. */
  #tellProblems(problems: readonly Problem[]): void {
    const now = new Set<string>()
    const tell = ({ object: { kind, namespace = '', name }, code, text, action }: ObjectProblem): void => {
      const problem = `${kind}/${namespace}/${name} ${code} ${text}`
      if (this.#problems.has(problem)) return void now.add(problem)
      const id = `${namespace}/${name}`
      const isService = kind === 'Service'
      const target = isService ? this.#services.targetOf(id) : this.#configuration.targetOf(kind, namespace, name)
      if (target === undefined) return
      now.add(problem)
      this.#events.warn(target, code, action, text)
    }
    const ofConfiguration = toldOfConfiguration(problems).flatMap(([object, told]) =>
      told.map(({ code, text }): ObjectProblem => ({ object, code, text, action: 'Read' })),
    )
    // What nodes have to say of themselves they say themselves.
    const ofOthers = this.#allocation
      .problems()
      .flatMap(({ object, field, code, message, remedy }): ObjectProblem[] => {
        const text = `${field === '' ? '' : `${field}: `}${message}. ${remedy}`
        return isConfiguration(object) ? [] : [{ object, code, text, action: 'Read' }]
      })
    const ofNodes = this.#refusals.list().flatMap(({ service, code, message: text }): ObjectProblem[] => {
      const [namespace = '', name = ''] = service.split('/')
      // What it is told already is why nodes refuse it.
      return this.#services.isDenied(service)
        ? []
        : [{ object: { kind: 'Service', namespace, name }, code, text, action: 'Announce' }]
    })
    const namespaceOf = ({ object: { namespace = '' } }: ObjectProblem): string => namespace
    for (const each of inTurns([...ofConfiguration, ...ofOthers, ...ofNodes], namespaceOf, maxProblems)) tell(each)
    this.#problems = now
  }

  #write(lane: Lane, key: string): Promise<StatusOutcome> | undefined {
    switch (lane) {
      case 'service':
        return this.#services.write(key)
      case 'pool':
      case 'configuration':
        return key.startsWith(ofState) ? this.#states?.write(key.slice(ofState.length)) : this.#configuration.write(key)
      case 'node':
        return this.#nodes.write(key)
      case 'event':
        return this.#events.write(key)
    }
  }

  #wrote(lane: Lane, key: string, outcome: StatusOutcome): void {
    this.#outcomes[lane][outcome.kind]++
    if (lane === 'service') this.#lookAgain(key, outcome)
    if (lane === 'event') this.#events.wrote(key, outcome)
    // Without what cannot be written the rest can.
    const isLeftOut = outcome.kind === 'owned' || outcome.kind === 'undeclared'
    if (isLeftOut && (lane === 'pool' || lane === 'configuration')) this.#queue.add(lane, key)
    if (outcome.kind === 'owned' && lane === 'service') {
      // Without what belongs to others the rest can be said, at once; and what is theirs is tried again later.
      this.#services.settled(key)
      this.#queue.add(lane, key)
      this.#retryOwned(key)
    }
    this.#tell(lane, key, outcome)
  }

  /** Of what was written the version names what was read; else somebody may have been before us. */
  #lookAgain(key: string, { kind }: StatusOutcome): void {
    if (!this.#crossed.delete(key) || kind === 'written') return
    this.#touched.add(key)
    this.#flush()
  }

  #retryOwned(key: string): void {
    if (this.#ownedRetries.has(key)) return
    const retry = (): void => {
      this.#ownedRetries.delete(key)
      this.#services.retryOwned(key)
      this.#queue.add('service', key)
    }
    this.#ownedRetries.set(key, this.#parts.clock.after(ownedRetryMs, retry))
  }

  /** Each reason for a failure once in a while. */
  #tell(lane: Lane, key: string, outcome: StatusOutcome): void {
    if (outcome.kind !== 'refused' && outcome.kind !== 'failed' && outcome.kind !== 'owned') return
    const { log, clock } = this.#parts
    const reason = `${lane} ${outcome.kind} ${outcome.message}`
    const nowMs = clock.monotonic()
    const toldMs = this.#told.get(reason)
    if (toldMs !== undefined && nowMs - toldMs < tellAgainMs) return
    this.#told.delete(reason)
    const [oldest] = this.#told.keys()
    if (this.#told.size >= maxTold && oldest !== undefined) this.#told.delete(oldest)
    this.#told.set(reason, nowMs)
    log.warn({ what: `${lane} ${key}`, why: outcome.message }, notWritten[outcome.kind])
  }

  #setUnreadable(list: readonly Problem[]): void {
    const now = new Map(list.map(({ object, message }) => [object.kind, message]))
    const { log } = this.#parts
    for (const [kind, why] of now)
      if (this.#unreadable.get(kind) !== why) log.warn({ kind, why }, 'objects cannot be read; what was read stays')
    for (const kind of this.#unreadable.keys()) if (!now.has(kind)) log.info({ kind }, 'objects are read again')
    this.#unreadable = now
  }
}

/** By which keys of states differ from those of objects of the configuration. */
const ofState = 'state '

function noOutcomes(): Outcomes {
  return { written: 0, stale: 0, gone: 0, owned: 0, undeclared: 0, limited: 0, refused: 0, failed: 0 }
}
