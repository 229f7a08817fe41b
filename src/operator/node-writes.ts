/**
 * The object of each node in which its agent says what its sessions are: made where some configuration applies to the
 * node, changed with it, and taken away when nothing applies any more. What another operator made is left alone.
 */
import type { ReservedPlace } from '../allocation/reserved.ts'
import type { Clock, Wait } from '../clock/clock.ts'
import {
  isOwnObject,
  nodeReportKind,
  nodeReportObject,
  nodeReportResource,
  nodeReportVersions,
  reservedIn,
  reservedText,
} from '../k8s/dialects/node-report.ts'
import type { ObjectKey, ObjectVersion, RawObject } from '../k8s/source.ts'
import type { ObjectSink, ObjectVersionRef, StatusOutcome } from '../k8s/status.ts'
import { sameValue } from '../desired/same-value.ts'
import type { OperatorLog } from './log.ts'
import type { NodePlans } from './node-plans.ts'

/** A kind that is not installed is looked for so often. */
const absentMs = 60_000

interface Known {
  readonly target: ObjectVersionRef
  readonly isOurs: boolean
  readonly spec: unknown
  readonly reserved: string | undefined
}

export interface NodeWritesParts {
  readonly clock: Clock
  readonly sink: ObjectSink
  readonly log: OperatorLog
  readonly plans: NodePlans
  /** Has {@link NodeWrites.write} called for a node when its turn comes. */
  readonly add: (node: string) => void
}

export function isNodeObject({ kind }: ObjectKey): boolean {
  return kind === nodeReportKind
}

export class NodeWrites {
  readonly #parts: NodeWritesParts
  readonly #known = new Map<string, Known>()
  /** Which of the versions of the kind the server has, as far as we know. */
  #version = 0
  #absent: Wait | undefined
  #hasToldAbsence = false
  #hasToldForeign = false
  #isPlanned = false
  #places: readonly ReservedPlace[] = []
  #reserved = ''

  constructor(parts: NodeWritesParts) {
    this.#parts = parts
  }

  /** How many of them there are that another operator made. */
  get foreign(): number {
    return [...this.#known.values()].filter(({ isOurs }) => !isOurs).length
  }

  stop(): void {
    this.#absent?.cancel()
  }

  /** Every node was looked at once: before, a node without a plan is one that was not. */
  planned(): void {
    if (this.#isPlanned) return
    this.#isPlanned = true
    for (const node of new Set([...this.#known.keys(), ...this.#parts.plans.nodes])) this.#parts.add(node)
  }

  read(key: ObjectKey, object: RawObject, version: ObjectVersion): void {
    const { uid = '', resourceVersion = '' } = version
    const target = { ...key, resource: nodeReportResource, uid, resourceVersion }
    const isOurs = isOwnObject(object)
    this.#known.set(key.name, { target, isOurs, spec: object['spec'], reserved: reservedIn(object) })
    this.#parts.add(key.name)
  }

  /** What of the pools something has: an agent reads its own Node alone, and is told of all others. */
  reserve(places: readonly ReservedPlace[]): void {
    if (places === this.#places) return
    this.#places = places
    this.#reserved = reservedText(places)
    for (const node of this.#parts.plans.nodes) this.#parts.add(node)
  }

  forget({ name }: ObjectKey): void {
    this.#known.delete(name)
    this.#parts.add(name)
  }

  write(node: string): Promise<StatusOutcome> | undefined {
    if (!this.#isPlanned) return undefined
    const { plans, sink } = this.#parts
    const [plan, known] = [plans.planOf(node), this.#known.get(node)]
    if (known !== undefined && !known.isOurs) {
      this.#tellForeign(node)
      return undefined
    }
    if (plan === undefined) return known === undefined ? undefined : sink.remove(known.target)
    const apiVersion = known?.target.apiVersion ?? nodeReportVersions[this.#version] ?? ''
    // What was said once is said to be nothing, and not left out.
    const reserved = this.#reserved === '' && known?.reserved === undefined ? undefined : this.#reserved
    const object = nodeReportObject(node, apiVersion, plan.neighbors, plan.names, reserved)
    if (known === undefined) return this.#absent === undefined ? this.#create(object) : undefined
    const isSame = sameValue(known.spec, object['spec']) && known.reserved === reserved
    return isSame ? undefined : sink.change(known.target, object)
  }

  #create(object: RawObject): Promise<StatusOutcome> {
    return this.#parts.sink.create(nodeReportResource, object).then((outcome) => {
      if (outcome.kind === 'gone') this.#isAbsent()
      return outcome
    })
  }

  /** The server has no such kind: it may come, or it is an older version. */
  #isAbsent(): void {
    const { clock, log, plans, add } = this.#parts
    if (this.#absent !== undefined) return
    this.#version = (this.#version + 1) % nodeReportVersions.length
    const hasAnother = this.#version !== 0
    if (!hasAnother && !this.#hasToldAbsence) {
      this.#hasToldAbsence = true
      log.info({ kind: nodeReportKind }, 'this kind is not installed: nodes cannot tell the cluster of their sessions')
    }
    this.#absent = clock.after(hasAnother ? 0 : absentMs, () => {
      this.#absent = undefined
      for (const node of plans.nodes) add(node)
    })
  }

  #tellForeign(node: string): void {
    if (this.#hasToldForeign) return
    this.#hasToldForeign = true
    this.#parts.log.warn(
      { node, kind: nodeReportKind },
      'another operator made this object, which is left alone: delete it where that operator does not run any more',
    )
  }
}
