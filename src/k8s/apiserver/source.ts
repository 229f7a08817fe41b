/**
 * A Kubernetes API server as a source of objects: a reflector per kind over one connection. Changes of one turn are
 * applied together.
 */
import type { Clock } from '../../clock/clock.ts'
import type { Problem } from '../../desired/model.ts'
import { kinds, type ServedKind } from '../kinds/table.ts'
import type { ObjectSource, SourceEvents, SourceState } from '../source.ts'
import { Reflector, type Resource } from './reflector.ts'
import type { Transport } from './transport.ts'

export interface ApiServerOptions {
  readonly transport: Transport
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  /** The only Node that is read. */
  readonly nodeName: string
  /** The only namespace whose Secrets are read. */
  readonly secretsNamespace: string
}

export function apiServerSource(options: ApiServerOptions): ObjectSource {
  return new ApiServerSource(options)
}

class ApiServerSource implements ObjectSource {
  readonly #options: ApiServerOptions
  readonly #reflectors: ReadonlyMap<string, Reflector>
  #events: SourceEvents | undefined
  #running: Promise<unknown> = Promise.resolve()
  #hasHadObjects = false
  #isFlushDue = false
  #isSynced = false

  constructor(options: ApiServerOptions) {
    this.#options = options
    this.#reflectors = new Map(resourcesOf(options).map((resource) => [resource.kind, this.#reflector(resource)]))
  }

  get state(): SourceState {
    const all = [...this.#reflectors.values()]
    return {
      isReachable: all.every(({ state }) => state.problem === undefined),
      objects: all.reduce((sum, { size }) => sum + size, 0),
      hasHadObjects: this.#hasHadObjects,
      unconfirmed: 0,
      ofKind: (kind) => this.#reflectors.get(kind)?.state ?? { isSynced: true, problem: undefined },
    }
  }

  async start(events: SourceEvents): Promise<void> {
    this.#events = events
    this.#running = Promise.all([...this.#reflectors.values()].map((reflector) => reflector.run()))
  }

  async stop(): Promise<void> {
    this.#events = undefined
    for (const reflector of this.#reflectors.values()) reflector.stop()
    await this.#running
    await this.#options.transport.close()
  }

  rescan(): void {
    for (const reflector of this.#reflectors.values()) reflector.relist()
  }

  #reflector(resource: Resource): Reflector {
    const { transport, clock, random } = this.#options
    return new Reflector({
      resource,
      transport,
      clock,
      random,
      events: {
        upsert: (key, object, version) => {
          this.#hasHadObjects = true
          this.#events?.upsert(key, object, undefined, version)
        },
        remove: (key) => this.#events?.remove(key),
        relistBegins: () => this.#events?.relistBegins?.([resource.kind]),
        relistEnds: () => this.#events?.relistEnds?.([resource.kind]),
        changed: () => this.#flushSoon(),
        stateChanged: () => this.#stateChanged(),
        unauthorized: () => transport.renew(),
      },
    })
  }

  #flushSoon(): void {
    if (this.#isFlushDue) return
    this.#isFlushDue = true
    this.#options.clock.soon(() => {
      this.#isFlushDue = false
      this.#events?.flush()
    })
  }

  #stateChanged(): void {
    this.#events?.problems(
      [...this.#reflectors].flatMap(([kind, { state }]) =>
        state.problem === undefined ? [] : problemOf(kind, state.problem),
      ),
    )
    if (this.#isSynced || ![...this.#reflectors.values()].every(({ state }) => state.isSynced)) return
    this.#isSynced = true
    this.#events?.synced()
  }
}

/** Of a kind that cannot be read now. */
function problemOf(kind: string, message: string): Problem {
  return {
    severity: 'error',
    object: { kind, name: '' },
    field: '',
    code: 'Unreadable',
    message,
    remedy:
      'What was read last stays in force; let the role of the agent list and watch this kind, or see to the server.',
  }
}

/** Kinds of this node alone, or of one namespace, are asked for as such: permission and traffic are for no more. */
function resourcesOf({ nodeName, secretsNamespace }: ApiServerOptions): readonly Resource[] {
  return (Object.keys(kinds) as ServedKind[]).map((kind) => {
    const row = kinds[kind]
    // The newest version is the last of a row.
    const versions: readonly string[] = [...row.versions].reverse()
    const within = kind === 'Secret' ? `/namespaces/${encodeURIComponent(secretsNamespace)}` : ''
    const places = versions.map((apiVersion) => ({
      apiVersion,
      path: `${apiVersion.includes('/') ? '/apis' : '/api'}/${apiVersion}${within}/${row.resource}`,
    }))
    return {
      kind,
      places,
      ...(kind === 'Node' ? { fieldSelector: `metadata.name=${nodeName}` } : {}),
      isOptional: kind === 'Secret',
    }
  })
}
