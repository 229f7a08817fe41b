/**
 * States of the configuration, where the server has such a kind: one object of the operator itself, one of each node,
 * made where it is missing and changed with what it says. They are listed when this process begins to lead, so that
 * what an earlier leader said stays as it is, and again in a while: somebody may have deleted one.
 *
 *     list --> what is there --.
 *     problems, reports --> what is to be said --write--> created, or its status applied
 *
 * They are not watched: of hundreds of nodes each write would come back to us. They go with their Nodes.
 */
import type { Clock, Wait } from '../clock/clock.ts'
import type { Problem } from '../desired/model.ts'
import { sameValue } from '../desired/same-value.ts'
import { firstInOrder } from '../desired/some-of.ts'
import {
  type Component,
  controllerState,
  isStateError,
  mostErrors,
  nodeOfState,
  stateKind,
  stateNameOf,
  stateObject,
  stateResource,
  stateStatus,
} from '../k8s/dialects/configuration-state.ts'
import { isOwnObject, problemText, reportedErrors } from '../k8s/dialects/node-report.ts'
import { type RawObject, recordOf } from '../k8s/source.ts'
import {
  conditionsOf,
  type ObjectSink,
  type ObjectVersionRef,
  type StatusOutcome,
  type StatusSink,
} from '../k8s/status.ts'
import { isConfiguration, isPool } from './configuration-writes.ts'
import type { OperatorLog } from './log.ts'

/** A kind that is not installed, or cannot be listed, is looked for so often. */
const absentMs = 60_000
/** What is there is looked at so often. */
const lookMs = 5 * 60_000

interface Known {
  readonly target: ObjectVersionRef
  readonly isOurs: boolean
  readonly status: RawObject
}

export interface StateWritesParts {
  readonly clock: Clock
  readonly sink: Pick<StatusSink, 'apply'>
  readonly objects: Pick<ObjectSink, 'list' | 'create'>
  readonly log: OperatorLog
  /** Where they are. */
  readonly namespace: string
  /** Each Node with its uid. */
  readonly nodes: () => ReadonlyMap<string, string>
  readonly problemsOf: (node: string) => readonly Problem[]
  /** Has {@link StateWrites.write} called for a name when its turn comes. */
  readonly add: (name: string) => void
}

export class StateWrites {
  readonly #parts: StateWritesParts
  /** By name; undefined: it is not known what there is, or there is no such kind. */
  #known: Map<string, Known> | undefined
  /** Those that are another version than the one that we know. */
  readonly #behind = new Set<string>()
  /** What cannot be written, by name. */
  readonly #untaken = new Map<string, RawObject>()
  /** What agents say of their nodes. */
  readonly #reports = new Map<string, readonly string[]>()
  /** What is wrong wherever it is read; undefined: nothing was judged yet. */
  #errors: { readonly pools: readonly string[]; readonly all: readonly string[] } | undefined
  #nodes: ReadonlyMap<string, string> = new Map()
  #look: Wait | undefined
  #isLooking = false
  #isStopped = false
  /** What was told, and is not told again while it lasts. */
  readonly #told = new Set<string>()

  constructor(parts: StateWritesParts) {
    this.#parts = parts
  }

  stop(): void {
    this.#isStopped = true
    this.#look?.cancel()
  }

  /** Everything was looked at: `problems` are those of objects, wherever they are read. */
  judge(problems: readonly Problem[]): void {
    const errors = errorsOf(problems)
    const isFirst = this.#errors === undefined
    this.#errors = { pools: textsOf(errors.filter(({ object }) => isPool(object))), all: textsOf(errors) }
    this.#nodes = this.#parts.nodes()
    if (isFirst) this.#lookIn(0)
    else this.#addAll()
  }

  /** The object in which the agent of a node has its say; undefined: it is gone. */
  read(node: string, object: RawObject | undefined): void {
    const said = object === undefined ? [] : reportedErrors(object)
    const ofConfiguration = said.filter(({ kind }) => isConfiguration({ kind })).map(({ text }) => text)
    const texts = ofConfiguration.slice(0, mostErrors)
    if (sameValue(texts, this.#reports.get(node) ?? [])) return
    if (texts.length === 0) this.#reports.delete(node)
    else this.#reports.set(node, texts)
    this.#parts.add(stateNameOf(node))
  }

  write(name: string): Promise<StatusOutcome> | undefined {
    const component = this.#componentOf(name)
    if (this.#known === undefined || component === undefined || this.#behind.has(name)) return undefined
    const known = this.#known.get(name)
    if (known === undefined) return this.#create(name, component)
    if (!known.isOurs) {
      this.#tell('foreign', { state: name }, 'this state is of another program, which is left alone')
      return undefined
    }
    const { clock, sink } = this.#parts
    const now = new Date(clock.now()).toISOString().replace(/\.\d+Z$/, 'Z')
    const status = stateStatus(component.kind, this.#errorsOf(component), known.status, now)
    if (isSaid(status, known.status) || isSameSaying(status, this.#untaken.get(name))) return undefined
    return sink.apply({ target: known.target, status }).then((outcome) => {
      this.#wrote(name, known, status, outcome)
      return outcome
    })
  }

  #componentOf(name: string): Component | undefined {
    if (name === controllerState) return { kind: 'controller' }
    const node = nodeOfState(name)
    const nodeUid = node === undefined ? undefined : this.#nodes.get(node)
    return node === undefined || nodeUid === undefined ? undefined : { kind: 'speaker', node, nodeUid }
  }

  #errorsOf(component: Component): readonly string[] {
    const { pools, all } = this.#errors ?? { pools: [], all: [] }
    if (component.kind === 'controller') return pools
    const { node } = component
    const own = textsOf(errorsOf(this.#parts.problemsOf(node)))
    const said = this.#reports.get(node) ?? []
    return own.length + said.length === 0 ? all : firstInOrder([...all, ...own, ...said], mostErrors)
  }

  #create(name: string, component: Component): Promise<StatusOutcome> | undefined {
    const { objects, namespace, add } = this.#parts
    const object = stateObject(namespace, component)
    if (object === undefined) return undefined
    return objects.create(stateResource, object).then((outcome) => {
      if (outcome.kind === 'gone') this.#isAbsent()
      else if (outcome.kind === 'stale') this.#isBehind(name)
      else if (outcome.kind === 'written') {
        const { uid = '', resourceVersion } = outcome
        const target = { ...stateKind, resource: stateResource, namespace, name, uid, resourceVersion }
        this.#known?.set(name, { target, isOurs: true, status: {} })
        add(name)
      }
      return outcome
    })
  }

  #wrote(name: string, known: Known, status: RawObject, outcome: StatusOutcome): void {
    switch (outcome.kind) {
      case 'written':
        if (this.#known?.get(name) !== known) return
        this.#known.set(name, {
          ...known,
          target: { ...known.target, resourceVersion: outcome.resourceVersion },
          status,
        })
        this.#untaken.delete(name)
        return
      case 'stale':
      case 'gone':
        return this.#isBehind(name)
      case 'owned':
        this.#untaken.set(name, status)
        return
      case 'undeclared':
        this.#untaken.set(name, status)
        return this.#tell('undeclared', { state: name, why: outcome.message }, 'this server has another kind of states')
    }
  }

  #isBehind(name: string): void {
    this.#behind.add(name)
    this.#lookIn(0)
  }

  #isAbsent(): void {
    this.#known = undefined
    this.#lookIn(absentMs)
  }

  #lookIn(ms: number): void {
    if (this.#isStopped) return
    this.#look?.cancel()
    this.#look = this.#parts.clock.after(ms, () => void this.#list())
  }

  async #list(): Promise<void> {
    const { objects, namespace, log } = this.#parts
    if (this.#isLooking) return
    this.#isLooking = true
    const listed = await objects.list({ ...stateKind, resource: stateResource, namespace })
    this.#isLooking = false
    if (listed.kind === 'failed') {
      this.#tell('list', { why: listed.message }, 'states of the configuration cannot be listed')
      return this.#lookIn(absentMs)
    }
    this.#told.delete('list')
    if (listed.kind === 'absent') return this.#isAbsent()
    if (this.#known === undefined) log.info(stateKind, 'states of the configuration are told')
    this.#known = new Map(listed.objects.map((object) => knownOf(object, namespace)))
    this.#behind.clear()
    // Who owned one may have let go of it.
    this.#untaken.clear()
    this.#lookIn(lookMs)
    this.#addAll()
  }

  #addAll(): void {
    this.#parts.add(controllerState)
    for (const node of this.#nodes.keys()) this.#parts.add(stateNameOf(node))
  }

  #tell(once: string, fields: object, text: string): void {
    if (this.#told.has(once)) return
    this.#told.add(once)
    this.#parts.log.warn(fields, text)
  }
}

function errorsOf(problems: readonly Problem[]): readonly Problem[] {
  return problems.filter((problem) => isStateError(problem) && isConfiguration(problem.object))
}

/** Each once, in the same order whoever says it, and no more than a status says. */
function textsOf(problems: readonly Problem[]): readonly string[] {
  return firstInOrder(problems.map(problemText), mostErrors)
}

/** Whether a status says all of it, and no error beside. */
function isSaid(wanted: RawObject, status: RawObject): boolean {
  const there = conditionsOf(status)
  return (
    isSameSaying(wanted, status) && conditionsOf(wanted).every((each) => there.some((other) => sameValue(each, other)))
  )
}

/** Conditions aside, which have times. */
function isSameSaying(status: RawObject, other: RawObject | undefined): boolean {
  return other?.['result'] === status['result'] && other?.['errorSummary'] === status['errorSummary']
}

function knownOf(object: RawObject, namespace: string): [string, Known] {
  const metadata = recordOf(object['metadata'])
  const [name = '', uid = '', resourceVersion = ''] = ['name', 'uid', 'resourceVersion'].map((field) =>
    String(metadata[field] ?? ''),
  )
  const target = { ...stateKind, resource: stateResource, namespace, name, uid, resourceVersion }
  return [name, { target, isOurs: isOwnObject(object), status: recordOf(object['status']) }]
}
