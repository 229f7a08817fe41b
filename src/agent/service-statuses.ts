/**
 * To which neighbors this node is to announce each Service, told to the cluster where somebody asked for it: an object
 * for each Service that it announces, made, changed and taken away as that changes.
 *
 *     services settled --> list: what an earlier process made
 *     service changed ---> due --> to be said, said --> create, status, remove     one write at a time
 *
 * They are not watched: what somebody deletes is made again with the next change of its Service. What cannot be written
 * is tried again, ever later, and is no reason to announce anything less.
 */
import { createHash } from 'node:crypto'
import type { Clock, Wait } from '../clock/clock.ts'
import { backOff, spreadBehind } from '../clock/spread.ts'
import { sameValue } from '../desired/same-value.ts'
import {
  serviceStatus,
  serviceStatusAbsent,
  serviceStatusKind,
  serviceStatusLabels,
  serviceStatusObject,
  serviceStatusResource,
  statedService,
} from '../k8s/dialects/service-bgp-status.ts'
import { type RawObject, recordOf, textOf } from '../k8s/source.ts'
import type { ObjectSink, ObjectVersionRef, StatusOutcome, StatusSink } from '../k8s/status.ts'
import type { Faults } from './faults.ts'

export interface ServiceStatusesParts {
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly objects: Pick<ObjectSink, 'list' | 'create' | 'remove'>
  readonly sink: Pick<StatusSink, 'apply'>
  readonly faults: Pick<Faults, 'raise' | 'clear'>
  readonly node: string
  /** Where they are. */
  readonly namespace: string
  /** Every Service that there is, as `namespace/name`. */
  readonly services: () => Iterable<string>
  /** The neighbors to which a Service is to be announced, by name. */
  readonly peersOf: (service: string) => readonly string[]
}

/** Changes that come together are told together. */
const settleMs = 500
const retryMs = { first: 1_000, most: 60_000 } as const
const fault = 'service statuses'
/** Where so many are refused in turn, the others are not tried. */
const maxRefused = 16

interface Known {
  readonly target: ObjectVersionRef
  readonly peers: readonly string[]
  /** It goes with a Node that is gone, of the same name. */
  readonly isLeaving: boolean
}

/** Why a write did not succeed. */
interface Hindrance {
  readonly message: string
  /** Until it may be tried again, where that is known. */
  readonly afterMs?: number
  /** The others may be written all the same. */
  readonly isOfOne?: boolean
}

export class ServiceStatuses {
  readonly #parts: ServiceStatusesParts
  /** By Service; undefined: it is not known what there is. */
  #known: Map<string, Known> | undefined
  readonly #due = new Set<string>()
  #nodeUid: string | undefined
  #isSettled = false
  #isBusy = false
  #isStopped = false
  #failures = 0
  #wait: Wait | undefined

  constructor(parts: ServiceStatusesParts) {
    this.#parts = parts
  }

  readNode(name: string, uid: string | undefined): void {
    if (name !== this.#parts.node || uid === undefined || uid === this.#nodeUid) return
    // The objects of the Node before it go with that one: others take their place.
    if (this.#nodeUid !== undefined) this.#known = undefined
    this.#nodeUid = uid
    this.#wake(settleMs)
  }

  /** Every Service was read once: before that nothing is taken away. */
  settled(): void {
    this.#isSettled = true
    this.#wake(settleMs)
  }

  /** Services that changed, or are gone; undefined: any of them may be announced to others. */
  touch(services?: Iterable<string>): void {
    // Until it is known what there is, all of them are due anyway.
    if (this.#known === undefined) return
    this.#add(services ?? this.#parts.services())
    if (services === undefined) this.#add(this.#known.keys())
    this.#wake(settleMs)
  }

  #add(services: Iterable<string>): void {
    for (const service of services) this.#due.add(service)
  }

  /** What was told stays: a restart tells the same. */
  stop(): void {
    this.#isStopped = true
    this.#wait?.cancel()
  }

  #wake(ms: number): void {
    const isNothingDue = this.#known !== undefined && this.#due.size === 0
    if (this.#isStopped || this.#isBusy || this.#wait !== undefined || isNothingDue) return
    if (!this.#isSettled || this.#nodeUid === undefined) return
    this.#wait = this.#parts.clock.after(ms, () => {
      this.#wait = undefined
      void this.#run()
    })
  }

  async #run(): Promise<void> {
    this.#isBusy = true
    const hindrance = await this.#work()
    this.#isBusy = false
    const { faults, random } = this.#parts
    if (hindrance === undefined) {
      this.#failures = 0
      faults.clear(fault, '')
      return this.#wake(settleMs)
    }
    faults.raise(fault, '', `to whom Services are announced cannot be told: ${hindrance.message}`)
    const backOffMs = backOff(retryMs, this.#failures++, random)
    this.#wake(hindrance.afterMs === undefined ? backOffMs : spreadBehind(hindrance.afterMs, random))
  }

  async #work(): Promise<Hindrance | undefined> {
    const failed = this.#known === undefined ? await this.#list() : undefined
    if (failed !== undefined) return failed
    const refused: string[] = []
    let first: Hindrance | undefined
    for (const service of this.#due) {
      if (this.#isStopped) break
      this.#due.delete(service)
      const hindrance = await this.#tell(service)
      if (hindrance === undefined) continue
      first ??= hindrance
      refused.push(service)
      if (hindrance.isOfOne !== true || refused.length === maxRefused) break
    }
    // Behind the others: theirs is the next turn.
    this.#add(refused)
    return first
  }

  async #list(): Promise<Hindrance | undefined> {
    const { objects, node, namespace, services } = this.#parts
    const kind = { ...serviceStatusKind, resource: serviceStatusResource, namespace }
    const listed = await objects.list(kind, serviceStatusLabels(node))
    if (listed.kind === 'absent') return { message: serviceStatusAbsent, afterMs: retryMs.most }
    if (listed.kind === 'failed') return listed
    this.#known = new Map(
      listed.objects.flatMap((object) => {
        const stated = statedService(object)
        if (stated === undefined) return []
        const target = this.#targetOf(stated.service, recordOf(object['metadata']))
        // Of a node of another name.
        if (target.name !== textOf(recordOf(object['metadata'])['name'])) return []
        const isLeaving = stated.nodeUid !== this.#nodeUid
        return [[stated.service, { target, peers: stated.peers, isLeaving }] as const]
      }),
    )
    this.#add(this.#known.keys())
    this.#add(services())
    return undefined
  }

  async #tell(service: string): Promise<Hindrance | undefined> {
    const { objects, sink, node } = this.#parts
    const peers = [...this.#parts.peersOf(service)].sort()
    const known = this.#known?.get(service)
    if (known === undefined) return peers.length === 0 ? undefined : this.#make(service)
    if (peers.length === 0 || known.isLeaving) {
      const failed = this.#ended(await objects.remove(known.target), () => this.#known?.delete(service))
      return failed ?? this.#tell(service)
    }
    if (sameValue(known.peers, peers)) return undefined
    const outcome = await sink.apply({ target: known.target, status: serviceStatus(node, service, peers) })
    return this.#ended(outcome, (resourceVersion) =>
      this.#known?.set(service, { ...known, target: { ...known.target, resourceVersion }, peers }),
    )
  }

  async #make(service: string): Promise<Hindrance | undefined> {
    const { objects, node, namespace } = this.#parts
    const { name } = this.#targetOf(service, {})
    const object = serviceStatusObject({ name, namespace, node, nodeUid: this.#nodeUid ?? '', service })
    const outcome = await objects.create(serviceStatusResource, object)
    const failed = this.#ended(outcome, (resourceVersion, uid) => {
      const target = this.#targetOf(service, { resourceVersion, uid })
      this.#known?.set(service, { target, peers: [], isLeaving: false })
    })
    return failed ?? this.#tell(service)
  }

  /** What became of a write; `then` with version and uid where it was done. */
  #ended(outcome: StatusOutcome, then: (resourceVersion: string, uid: string) => void): Hindrance | undefined {
    switch (outcome.kind) {
      case 'written':
        then(outcome.resourceVersion, outcome.uid ?? '')
        return undefined
      case 'stale':
      case 'gone':
        // Another version, or none: what there is has to be read anew.
        this.#known = undefined
        return { message: 'somebody else changed the objects, which are read anew' }
      case 'limited':
        return { message: 'the API server wants us to wait', afterMs: outcome.afterMs }
      case 'owned':
      case 'undeclared':
      case 'refused':
        return { message: outcome.message, isOfOne: true }
      case 'failed':
        return outcome
    }
  }

  #targetOf(service: string, { uid, resourceVersion }: RawObject): ObjectVersionRef {
    const { node, namespace } = this.#parts
    const hash = createHash('sha256').update(`${node}\0${service}`).digest('hex').slice(0, 20)
    return {
      ...serviceStatusKind,
      resource: serviceStatusResource,
      namespace,
      name: `bgp-${hash}`,
      uid: textOf(uid),
      resourceVersion: textOf(resourceVersion),
    }
  }
}
