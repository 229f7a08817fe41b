/**
 * A Kubernetes API server as a source of objects: a reflector per kind, and one per Secret that is needed, over one
 * connection. Changes of one turn are applied together.
 *
 *     every kind but Secrets read --> which Secrets? --> those read --> synced
 *     each flush --------------------> which Secrets? --> begin and end their reflectors
 *
 * An agent does without a kind that it was never allowed to read, but for those of {@link neededBeside}. Objects that
 * would mean something else without such a kind, and come later, wait until it was read.
 */
import type { Clock, Wait } from '../../clock/clock.ts'
import { Turn } from '../../clock/turn.ts'
import type { Problem } from '../../desired/model.ts'
import { messageOf } from '../../errors.ts'
import { kinds, neededBeside, ofOneNode, type ServedKind } from '../kinds/table.ts'
import { tunnelSelector } from '../kinds/tunnel-lease.ts'
import type {
  KindState,
  ObjectKey,
  ObjectSource,
  ObjectVersion,
  RawObject,
  SourceEvents,
  SourceState,
} from '../source.ts'
import type { Resource } from './list-reader.ts'
import { Reflector } from './reflector.ts'
import type { Transport } from './transport.ts'

export interface ApiServerOptions {
  readonly transport: Transport
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  /** The only node of which objects are read that are about one; undefined: all of them. */
  readonly nodeName?: string
  /** Where agents say in Leases at which addresses they take packets in tunnels; undefined: no Lease is read. */
  readonly tunnelNamespace?: string
  /** What is read; undefined: every kind. */
  readonly kinds?: ReadonlySet<ServedKind>
  /** A kind that may never be read counts as absent after a while, where what is left is right without it. */
  readonly mayLackKinds?: boolean
}

/** What all kinds together are read for in one turn of the loop, and one read more. */
const readingMs = 3
/** A role is often given in the same moment; what is refused for so long will be. */
const refusedMs = 30_000

export function apiServerSource(options: ApiServerOptions): ObjectSource {
  return new ApiServerSource(options)
}

class ApiServerSource implements ObjectSource {
  readonly #options: ApiServerOptions
  readonly #turn: Turn
  readonly #ofKind: ReadonlyMap<string, Reflector>
  /** By `namespace/name`. */
  readonly #ofSecret = new Map<string, Reflector>()
  /** Objects that could not be taken in, by kind and name. */
  readonly #failed = new Map<string, Problem>()
  /** Objects that came while a kind was refused without which they are not what they say, by kind and name. */
  readonly #waiting = new Map<string, Delivery>()
  #wantedSecrets: ReadonlySet<string> = new Set()
  #events: SourceEvents | undefined
  readonly #running = new Set<Promise<void>>()
  #hasHadObjects = false
  #isFlushDue = false
  #isReportDue = false
  #isSynced = false
  #patience: Wait | undefined

  constructor(options: ApiServerOptions) {
    this.#options = options
    this.#turn = new Turn(options.clock, readingMs)
    this.#ofKind = new Map(resourcesOf(options).map((resource) => [resource.kind, this.#reflector(resource)]))
  }

  get state(): SourceState {
    const all = this.#all()
    return {
      isReachable: all.every(({ state }) => state.problem === undefined),
      objects: all.reduce((sum, { size }) => sum + size, 0),
      hasHadObjects: this.#hasHadObjects,
      unconfirmed: all.reduce((sum, { unconfirmed }) => sum + unconfirmed, 0),
      ofKind: (kind) => this.#ofKind.get(kind)?.state ?? (kind === 'Secret' ? this.#secretState() : absent),
    }
  }

  #all(): readonly Reflector[] {
    return [...this.#ofKind.values(), ...this.#ofSecret.values()]
  }

  #secretState(): KindState {
    const states = [...this.#ofSecret.values()].map(({ state }) => state)
    return {
      isSynced: this.#areKindsSynced() && states.every(({ isSynced }) => isSynced),
      problem: states.find(({ problem }) => problem !== undefined)?.problem,
    }
  }

  async start(events: SourceEvents): Promise<void> {
    this.#events = events
    for (const reflector of this.#ofKind.values()) this.#run(reflector)
  }

  #run(reflector: Reflector): void {
    const running = reflector.run().finally(() => this.#running.delete(running))
    this.#running.add(running)
  }

  async stop(): Promise<void> {
    this.#events = undefined
    this.#patience?.cancel()
    for (const reflector of this.#all()) reflector.stop()
    await Promise.all(this.#running)
    await this.#options.transport.close()
  }

  rescan(): void {
    for (const reflector of this.#all()) reflector.relist()
  }

  #reflector(resource: Resource): Reflector {
    const { transport, clock, random } = this.#options
    let wasWrong = false
    const reflector = new Reflector({
      resource,
      transport,
      clock,
      turn: this.#turn,
      random,
      events: {
        upsert: (key, object, version) => this.#arrived({ key, object, version }),
        remove: (key) => this.#remove(key),
        relistBegins: () => this.#events?.relistBegins?.([resource.kind]),
        relistEnds: () => this.#events?.relistEnds?.([resource.kind]),
        changed: () => this.#flushSoon(),
        stateChanged: () => {
          const isWrong = reflector.state.problem !== undefined
          if (wasWrong && !isWrong) for (const each of this.#all()) each.retry()
          wasWrong = isWrong
          this.#stateChanged()
        },
      },
    })
    return reflector
  }

  #arrived(delivery: Delivery): void {
    if (this.#isSynced && this.#lackedBy(delivery.key) !== undefined) {
      this.#waiting.set(idOf(delivery.key), delivery)
      this.#reportSoon()
    } else this.#upsert(delivery)
  }

  #remove(key: ObjectKey): void {
    this.#failed.delete(idOf(key))
    // What never came into force cannot be missed.
    if (this.#waiting.delete(idOf(key))) this.#reportSoon()
    else this.#events?.remove(key)
  }

  /** The kind that was never read, and without which this object would be taken for another. */
  #lackedBy({ kind }: ObjectKey): ServedKind | undefined {
    return besideOf.get(kind)?.find((each) => this.#ofKind.get(each)?.state.isSynced === false)
  }

  /** What waited for a kind that was read comes into force with it, in one flush. */
  #endWaits(): void {
    for (const [id, delivery] of this.#waiting) {
      if (this.#lackedBy(delivery.key) !== undefined) continue
      this.#waiting.delete(id)
      this.#upsert(delivery)
      this.#flushSoon()
    }
  }

  /** One object cannot end the agent, nor keep those after it from being read. */
  #upsert({ key, object, version }: Delivery): void {
    this.#hasHadObjects = true
    const id = idOf(key)
    try {
      this.#events?.upsert(key, object, undefined, version)
      if (this.#failed.delete(id)) this.#report()
    } catch (error) {
      this.#failed.set(id, failureOf(key, error))
      this.#report()
    }
  }

  #flushSoon(): void {
    if (this.#isFlushDue) return
    this.#isFlushDue = true
    this.#options.clock.soon(() => {
      this.#isFlushDue = false
      if (this.#isReportDue) this.#report()
      this.#events?.flush()
      if (this.#isSynced) this.#followSecrets()
      // What is needed beside an object alone is not when the object is gone.
      else if (this.#areKindsSynced()) this.#stateChanged()
    })
  }

  /** With the changes of this turn, of which there may be thousands. */
  #reportSoon(): void {
    this.#isReportDue = true
    this.#flushSoon()
  }

  #report(): void {
    this.#isReportDue = false
    const unread = this.#all().flatMap((each) => problemOf(each.resource, each.state.problem, this.#meanwhile(each)))
    const waiting = [...this.#waiting.values()].map(({ key }) => waitingProblem(key, this.#lackedBy(key)))
    this.#events?.problems([...unread, ...waiting, ...this.#failed.values()])
  }

  #meanwhile({ state: { isSynced }, resource: { object } }: Reflector): string {
    if (isSynced || object !== undefined) return 'What was read last stays in force'
    return this.#isSynced ? 'It counts as absent until then' : 'Nothing comes into force before it was read once'
  }

  #stateChanged(): void {
    this.#endWaits()
    this.#report()
    if (this.#isSynced) return
    if (!this.#areKindsSynced()) return this.#awaitRefused()
    this.#followSecrets()
    if (![...this.#ofSecret.values()].every(({ state }) => state.isSynced)) return
    this.#isSynced = true
    this.#report()
    this.#events?.flush()
    this.#events?.synced()
    this.#followSecrets()
  }

  #areKindsSynced(): boolean {
    return [...this.#ofKind.values()].every((each) => each.state.isSynced || this.#isGivenUp(each))
  }

  #isGivenUp({ refusedForMs = 0, resource: { kind } }: Reflector): boolean {
    if (this.#options.mayLackKinds !== true || refusedForMs < refusedMs) return false
    const beside = neededBeside[kind as ServedKind]
    if (beside === undefined || beside === 'always') return beside === undefined
    const other = this.#ofKind.get(beside)
    return other === undefined || (other.size === 0 && (other.state.isSynced || this.#isGivenUp(other)))
  }

  /** Until what is refused counts as absent; then it is looked at again. */
  #awaitRefused(): void {
    const refused = [...this.#ofKind.values()].flatMap(({ refusedForMs = refusedMs }) =>
      refusedForMs < refusedMs ? [refusedForMs] : [],
    )
    const isDue = refused.length > 0 && this.#patience === undefined && this.#events !== undefined
    if (!isDue || this.#options.mayLackKinds !== true) return
    this.#patience = this.#options.clock.after(Math.max(refusedMs - Math.min(...refused), 0) + 1, () => {
      this.#patience = undefined
      this.#stateChanged()
    })
  }

  /** A Secret that nobody needs any more is forgotten; one that vanishes while it is needed is a removal. */
  #followSecrets(): void {
    const wanted = this.#events?.secrets?.()
    if (wanted === undefined || wanted === this.#wantedSecrets) return
    this.#wantedSecrets = wanted
    for (const [id, reflector] of this.#ofSecret) {
      if (wanted.has(id)) continue
      this.#ofSecret.delete(id)
      reflector.stop()
      reflector.forget()
      if (reflector.state.problem !== undefined) this.#report()
    }
    for (const id of wanted) {
      if (this.#ofSecret.has(id)) continue
      const reflector = this.#reflector(secretResource(id))
      this.#ofSecret.set(id, reflector)
      this.#run(reflector)
    }
  }
}

interface Delivery {
  readonly key: ObjectKey
  readonly object: RawObject
  readonly version: ObjectVersion
}

/** The kinds that objects of a kind need beside them. */
const besideOf: ReadonlyMap<string, readonly ServedKind[]> = Map.groupBy(
  Object.keys(neededBeside) as ServedKind[],
  (each) => neededBeside[each] ?? '',
)

const idOf = ({ kind, namespace, name }: ObjectKey): string => `${kind}/${namespace}/${name}`

function failureOf(key: ObjectKey, error: unknown): Problem {
  const remedy = 'Its last version stays in force. Look for what is unusual in it.'
  return unreadable(key, `it cannot be taken in: ${messageOf(error)}`, remedy)
}

const absent: KindState = { isSynced: true, problem: undefined }

/** Of what cannot be read now. `meanwhile`: what counts until it can. */
function problemOf({ kind, object }: Resource, message: string | undefined, meanwhile: string): readonly Problem[] {
  if (message === undefined) return []
  const { namespace, name } = object ?? { namespace: '', name: '' }
  const what = object === undefined ? 'this kind' : `Secrets in namespace ${namespace}`
  const right = `let the role of the agent list and watch ${what}, or see to the server.`
  // The kind is named beside it.
  const why = message.startsWith(`${kind}: `) ? message.slice(kind.length + 2) : message
  return [unreadable({ kind, namespace, name }, why, `${meanwhile}; ${right}`)]
}

function waitingProblem(key: Pick<ObjectKey, 'kind' | 'namespace' | 'name'>, lacked = 'another kind'): Problem {
  return unreadable(
    key,
    `it waits for ${lacked}, which was never read and without which it may mean something else`,
    `Let the role of the agent list and watch ${lacked}.`,
  )
}

function unreadable(
  { kind, namespace, name }: Pick<ObjectKey, 'kind' | 'namespace' | 'name'>,
  message: string,
  remedy: string,
): Problem {
  const object = { kind, ...(namespace === '' ? {} : { namespace }), name }
  return { severity: 'error', object, field: '', code: 'Unreadable', message, remedy }
}

/** Only this Node and nothing of other nodes is asked for: permission and traffic are for no more. */
function resourcesOf({ nodeName, tunnelNamespace, kinds: wanted }: ApiServerOptions): readonly Resource[] {
  const isRead = (kind: ServedKind): boolean =>
    kind !== 'Secret' && (wanted?.has(kind) ?? true) && (kind !== 'Lease' || tunnelNamespace !== undefined)
  return (Object.keys(kinds) as ServedKind[]).filter(isRead).map((kind) => ({
    kind,
    places: placesOf(kind, kind === 'Lease' ? `/namespaces/${encodeURIComponent(tunnelNamespace ?? '')}` : ''),
    ...(ofOneNode.has(kind) && nodeName !== undefined ? { fieldSelector: `metadata.name=${nodeName}` } : {}),
    ...(kind === 'Lease' ? { labelSelector: tunnelSelector } : {}),
  }))
}

/** One Secret alone: the role may be for it by name, and nothing else of its namespace comes here. */
function secretResource(id: string): Resource {
  const [namespace = '', name = ''] = id.split('/')
  return {
    kind: 'Secret',
    places: placesOf('Secret', `/namespaces/${encodeURIComponent(namespace)}`),
    fieldSelector: `metadata.name=${name}`,
    object: { namespace, name },
  }
}

/** The newest version first, which is the last of a row. */
function placesOf(kind: ServedKind, within: string): Resource['places'] {
  const { versions, resource } = kinds[kind]
  return [...versions].reverse().map((apiVersion) => ({
    apiVersion,
    path: `${apiVersion.includes('/') ? '/apis' : '/api'}/${apiVersion}${within}/${resource}`,
  }))
}
