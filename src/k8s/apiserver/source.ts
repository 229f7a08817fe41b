/**
 * A Kubernetes API server as a source of objects: a reflector per kind, and one per Secret that is needed, over one
 * connection. Changes of one turn are applied together.
 *
 *     every kind but Secrets read --> which Secrets? --> those read --> synced
 *     each flush --------------------> which Secrets? --> begin and end their reflectors
 */
import type { Clock } from '../../clock/clock.ts'
import type { Problem } from '../../desired/model.ts'
import { messageOf } from '../../errors.ts'
import { kinds, ofOneNode, type ServedKind } from '../kinds/table.ts'
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
  /** What is read; undefined: every kind. */
  readonly kinds?: ReadonlySet<ServedKind>
}

export function apiServerSource(options: ApiServerOptions): ObjectSource {
  return new ApiServerSource(options)
}

class ApiServerSource implements ObjectSource {
  readonly #options: ApiServerOptions
  readonly #ofKind: ReadonlyMap<string, Reflector>
  /** By `namespace/name`. */
  readonly #ofSecret = new Map<string, Reflector>()
  /** Objects that could not be taken in, by kind and name. */
  readonly #failed = new Map<string, Problem>()
  #wantedSecrets: ReadonlySet<string> = new Set()
  #events: SourceEvents | undefined
  readonly #running = new Set<Promise<void>>()
  #hasHadObjects = false
  #isFlushDue = false
  #isSynced = false

  constructor(options: ApiServerOptions) {
    this.#options = options
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
    for (const reflector of this.#all()) reflector.stop()
    await Promise.all(this.#running)
    await this.#options.transport.close()
  }

  rescan(): void {
    for (const reflector of this.#all()) reflector.relist()
  }

  #reflector(resource: Resource): Reflector {
    const { transport, clock, random } = this.#options
    return new Reflector({
      resource,
      transport,
      clock,
      random,
      events: {
        upsert: (key, object, version) => this.#upsert(key, object, version),
        remove: (key) => {
          this.#failed.delete(idOf(key))
          this.#events?.remove(key)
        },
        relistBegins: () => this.#events?.relistBegins?.([resource.kind]),
        relistEnds: () => this.#events?.relistEnds?.([resource.kind]),
        changed: () => this.#flushSoon(),
        stateChanged: () => this.#stateChanged(),
      },
    })
  }

  /** One object cannot end the agent, nor keep those after it from being read. */
  #upsert(key: ObjectKey, object: RawObject, version: ObjectVersion): void {
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
      this.#events?.flush()
      if (this.#isSynced) this.#followSecrets()
    })
  }

  #report(): void {
    const unread = this.#all().flatMap(({ resource, state: { problem } }) => problemOf(resource, problem))
    this.#events?.problems([...unread, ...this.#failed.values()])
  }

  #stateChanged(): void {
    this.#report()
    if (this.#isSynced || !this.#areKindsSynced()) return
    this.#followSecrets()
    if (![...this.#ofSecret.values()].every(({ state }) => state.isSynced)) return
    this.#isSynced = true
    this.#events?.flush()
    this.#events?.synced()
    this.#followSecrets()
  }

  #areKindsSynced(): boolean {
    return [...this.#ofKind.values()].every(({ state }) => state.isSynced)
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

const idOf = ({ kind, namespace, name }: ObjectKey): string => `${kind}/${namespace}/${name}`

function failureOf({ kind, namespace, name }: ObjectKey, error: unknown): Problem {
  return {
    severity: 'error',
    object: { kind, ...(namespace === '' ? {} : { namespace }), name },
    field: '',
    code: 'Unreadable',
    message: `it cannot be taken in: ${messageOf(error)}`,
    remedy: 'Its last version stays in force. Look for what is unusual in it.',
  }
}

const absent: KindState = { isSynced: true, problem: undefined }

/** Of what cannot be read now. */
function problemOf({ kind, object }: Resource, message: string | undefined): readonly Problem[] {
  if (message === undefined) return []
  const { namespace, name } = object ?? { namespace: '', name: '' }
  const what = object === undefined ? 'this kind' : `Secrets in namespace ${namespace}`
  const right = `let the role of the agent list and watch ${what}, or see to the server.`
  return [
    {
      severity: 'error',
      object: { kind, ...(namespace === '' ? {} : { namespace }), name },
      field: '',
      code: 'Unreadable',
      message,
      remedy: `What was read last stays in force; ${right}`,
    },
  ]
}

/** Only this Node and nothing of other nodes is asked for: permission and traffic are for no more. */
function resourcesOf({ nodeName, kinds: wanted }: ApiServerOptions): readonly Resource[] {
  const read = (Object.keys(kinds) as ServedKind[]).filter((kind) => kind !== 'Secret' && (wanted?.has(kind) ?? true))
  return read.map((kind) => ({
    kind,
    places: placesOf(kind, ''),
    ...(ofOneNode.has(kind) && nodeName !== undefined ? { fieldSelector: `metadata.name=${nodeName}` } : {}),
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
