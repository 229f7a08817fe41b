/**
 * One kind of objects, kept as the API server has them: list, then watch, for ever.
 *
 *     list ---------------------> watch from its version --ends--> watch from the last version seen
 *      ^ pages, as a stream         |
 *      '------ 410, 404, gone <-----'     nothing is removed but by a watch, or by a list that is complete
 *
 * Nothing that fails takes anything away: what was delivered stays in force until the server says otherwise.
 */
import type { Clock } from '../../clock/clock.ts'
import { messageOf } from '../../errors.ts'
import type { KindState, ObjectKey, ObjectVersion, RawObject } from '../source.ts'
import { ItemSplitter, LineSplitter } from './json-stream.ts'
import type { Answer, Transport } from './transport.ts'

/** Where objects of a kind are on the server. */
export interface Resource {
  readonly kind: string
  /** Tried in this order: the first that the server has is used. */
  readonly places: readonly { readonly apiVersion: string; readonly path: string }[]
  readonly fieldSelector?: string
  /**
   * The one object that it is. Nothing else depends on it: where we may not read it (403), or it cannot be read
   * (500: the key that encrypted it is lost), it counts as read.
   */
  readonly object?: { readonly namespace: string; readonly name: string }
}

export interface ReflectorEvents {
  upsert(key: ObjectKey, object: RawObject, version: ObjectVersion): void
  remove(key: ObjectKey): void
  relistBegins(): void
  relistEnds(): void
  /** Something was said: soon is the time to apply it. */
  changed(): void
  stateChanged(): void
  /** 401: the next request needs fresh credentials. */
  unauthorized(): void
}

export interface ReflectorParts {
  readonly resource: Resource
  readonly transport: Transport
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly events: ReflectorEvents
}

/** Items of one page. The splitter takes a list in one piece as well, where a server ignores the limit. */
const pageItems = 500
/** A watch is ended by the server after 4 to 8 minutes, so that those of many nodes are spread. */
const watchLeastSec = 240
const watchSpreadSec = 240
/** A server that does not end a watch as it was asked to has lost it. */
const watchGraceSec = 30
const firstRetryMs = 500
const lastRetryMs = 30_000
/** Of a Secret that the server cannot read either: a word that stands after so many tries. */
const finalFailures = 3
/** A watch that lasted so long was in order: what fails next is the first failure. */
const healthyMs = 10_000
/** A list that lost all of its objects, or its kind, is asked for once more after so long before it is believed. */
const confirmMs = 2_000
const confirmAbsenceMs = 10_000
/** A kind that is not installed is looked for so often. */
const absentMs = 15_000
/** A server that stays behind what we have seen came back from a backup: after so many tries its word counts. */
const maxStaleTries = 8

/** An answer other than 200. */
class Rejected extends Error {
  readonly status: number
  readonly retryAfterSec: number | undefined

  constructor(status: number, message: string, retryAfterSec: number | undefined) {
    super(message)
    this.name = 'Rejected'
    this.status = status
    this.retryAfterSec = retryAfterSec
  }
}

interface Known {
  readonly key: ObjectKey
  readonly uid: string
  readonly resourceVersion: string
}

export class Reflector {
  readonly #parts: ReflectorParts
  readonly #known = new Map<string, Known>()
  readonly #abort = new AbortController()
  /** Of the place that answered last. */
  #place = 0
  /** Where the watch goes on; undefined: list first. */
  #resourceVersion: string | undefined
  /** The newest that was seen, for "not older than". */
  #newest: string | undefined
  #failures = 0
  #staleTries = 0
  #state: KindState = { isSynced: false, problem: undefined }
  #wake: (() => void) | undefined
  #endWatch: (() => void) | undefined

  constructor(parts: ReflectorParts) {
    this.#parts = parts
  }

  get state(): KindState {
    return this.#state
  }

  get resource(): Resource {
    return this.#parts.resource
  }

  get size(): number {
    return this.#known.size
  }

  stop(): void {
    this.#abort.abort()
    this.#wake?.()
  }

  /** What was delivered is not needed any more. */
  forget(): void {
    this.#sweep(new Set())
  }

  /** Lists again at once. */
  relist(): void {
    this.#resourceVersion = undefined
    this.#endWatch?.()
    this.#wake?.()
  }

  /** Resolves when it was stopped. */
  async run(): Promise<void> {
    const { clock } = this.#parts
    while (!this.#abort.signal.aborted) {
      const started = clock.monotonic()
      try {
        if (this.#resourceVersion === undefined) await this.#list()
        else await this.#watch()
        this.#failures = 0
      } catch (error) {
        if (this.#abort.signal.aborted) return
        if (isAbort(error) && this.#resourceVersion === undefined) continue
        if (clock.monotonic() - started > healthyMs) this.#failures = 0
        await this.#failed(error)
      }
    }
  }

  async #failed(error: unknown): Promise<void> {
    const status = error instanceof Rejected ? error.status : 0
    if (status === 410) {
      this.#resourceVersion = undefined
      return
    }
    if (status === 404) return this.#absent()
    if (status === 401) this.#parts.events.unauthorized()
    // "Too large resource version": the server has yet to see what we have seen (504); nothing older is taken from it.
    if (status === 504 && this.#resourceVersion === undefined && ++this.#staleTries >= maxStaleTries)
      this.#newest = undefined
    // A server whose store changes its leader answers 500 for a moment.
    const isFinal = status === 403 || (status === 500 && this.#failures >= finalFailures)
    const isEnough = isFinal && this.#parts.resource.object !== undefined
    this.#setState({ isSynced: this.#state.isSynced || isEnough, problem: messageOf(error) })
    const backoffMs =
      Math.min(firstRetryMs * 2 ** Math.min(this.#failures++, 10), lastRetryMs) * (0.75 + this.#parts.random() / 2)
    const askedMs = error instanceof Rejected ? (error.retryAfterSec ?? 0) * 1000 : 0
    await this.#sleep(Math.max(backoffMs, Math.min(askedMs, lastRetryMs)))
  }

  /** The server has no such kind: counts as read, and is looked for again. What was delivered goes when it is sure. */
  async #absent(): Promise<void> {
    const { places } = this.#parts.resource
    if (this.#place + 1 < places.length) {
      this.#place++
      this.#resourceVersion = undefined
      return
    }
    this.#place = 0
    this.#resourceVersion = undefined
    if (this.#known.size > 0 && this.#state.problem !== absentText) {
      this.#setState({ isSynced: this.#state.isSynced, problem: absentText })
      return this.#sleep(confirmAbsenceMs)
    }
    this.#sweep(new Set())
    this.#setState({ isSynced: true, problem: undefined })
    await this.#sleep(absentMs * (0.75 + this.#parts.random() / 2))
  }

  async #list(): Promise<void> {
    let seen = await this.#listOnce()
    if (seen.size === 0 && this.#known.size > 0) {
      await this.#sleep(confirmMs)
      if (this.#abort.signal.aborted) return
      seen = await this.#listOnce()
    }
    this.#sweep(seen)
    this.#staleTries = 0
    this.#setState({ isSynced: true, problem: undefined })
  }

  /** Everything that there is, delivered as it comes; the keys of it. */
  async #listOnce(): Promise<ReadonlySet<string>> {
    const seen = new Set<string>()
    this.#parts.events.relistBegins()
    try {
      let next = ''
      do next = await this.#page(next, seen)
      while (next !== '')
      return seen
    } finally {
      this.#parts.events.relistEnds()
      this.#parts.events.changed()
    }
  }

  /** Answers where the next page goes on; empty: that was the last. */
  async #page(from: string, seen: Set<string>): Promise<string> {
    const query = new URLSearchParams({ limit: String(pageItems) })
    if (from !== '') query.set('continue', from)
    else if (this.#newest !== undefined) {
      query.set('resourceVersion', this.#newest)
      query.set('resourceVersionMatch', 'NotOlderThan')
    }
    const answer = await this.#get(query)
    const splitter = new ItemSplitter()
    for await (const chunk of answer.body) splitter.push(chunk, (item) => seen.add(this.#upsert(item)))
    const { resourceVersion, continue: next } = metadataOf(splitter.end())
    if (typeof resourceVersion !== 'string' || resourceVersion === '')
      throw new Rejected(0, 'the list has no resourceVersion: this is no Kubernetes API server', undefined)
    this.#resourceVersion = this.#newest = resourceVersion
    return typeof next === 'string' ? next : ''
  }

  async #watch(): Promise<void> {
    const { clock, events, random } = this.#parts
    const seconds = Math.round(watchLeastSec + random() * watchSpreadSec)
    const query = new URLSearchParams({
      watch: '1',
      allowWatchBookmarks: 'true',
      resourceVersion: this.#resourceVersion ?? '',
      timeoutSeconds: String(seconds),
    })
    const late = new AbortController()
    this.#endWatch = () => late.abort()
    const cut = clock.after((seconds + watchGraceSec) * 1000, () => late.abort())
    try {
      const answer = await this.#get(query, AbortSignal.any([this.#abort.signal, late.signal]))
      this.#setState({ isSynced: this.#state.isSynced, problem: undefined })
      const lines = new LineSplitter()
      for await (const chunk of answer.body) {
        lines.push(chunk, (line) => this.#event(line))
        events.changed()
        if (this.#resourceVersion === undefined) return
      }
    } finally {
      cut.cancel()
      late.abort()
    }
  }

  /** Throws Rejected for an ERROR event; the version that expired while the watch ran is one (410). */
  #event(line: unknown): void {
    const { type, object } = isRecord(line) ? line : {}
    const { resourceVersion } = metadataOf(object)
    switch (type) {
      case 'ADDED':
      case 'MODIFIED':
        this.#upsert(object)
        break
      case 'DELETED':
        this.#remove(object)
        break
      case 'BOOKMARK':
        break
      default: {
        const { code, message } = isRecord(object) ? object : {}
        const text = typeof message === 'string' ? message : `a watch event of type ${String(type)}`
        throw new Rejected(typeof code === 'number' ? code : 0, text, undefined)
      }
    }
    if (typeof resourceVersion === 'string' && this.#resourceVersion !== undefined)
      this.#resourceVersion = this.#newest = resourceVersion
  }

  async #get(query: URLSearchParams, signal = this.#abort.signal): Promise<Answer> {
    const { resource, transport } = this.#parts
    if (resource.fieldSelector !== undefined) query.set('fieldSelector', resource.fieldSelector)
    const answer = await transport.get(`${resource.places[this.#place]?.path ?? ''}?${query}`, signal)
    if (answer.status === 200) return answer
    throw new Rejected(answer.status, await reasonOf(resource.kind, answer), answer.retryAfterSec)
  }

  /** Answers the key; an equal version is not delivered again, another uid is another object. */
  #upsert(item: unknown): string {
    const { name, namespace, uid, resourceVersion, generation } = metadataOf(item)
    if (!isRecord(item) || typeof name !== 'string')
      throw new Rejected(0, 'an object without a name: this is no Kubernetes API server', undefined)
    const { resource, events } = this.#parts
    const apiVersion = resource.places[this.#place]?.apiVersion ?? ''
    const key = { apiVersion, kind: resource.kind, namespace: typeof namespace === 'string' ? namespace : '', name }
    const id = `${key.namespace}/${name}`
    const before = this.#known.get(id)
    const now = { key, uid: String(uid ?? ''), resourceVersion: String(resourceVersion ?? '') }
    if (
      before?.uid === now.uid &&
      before.resourceVersion === now.resourceVersion &&
      before.key.apiVersion === apiVersion
    )
      return id
    if (before !== undefined && before.uid !== now.uid) events.remove(before.key)
    this.#known.set(id, now)
    const version = { uid: now.uid, resourceVersion: now.resourceVersion }
    events.upsert(key, pruned(item, apiVersion, resource.kind), {
      ...version,
      ...(typeof generation === 'number' ? { generation } : {}),
    })
    return id
  }

  #remove(object: unknown): void {
    const { name, namespace } = metadataOf(object)
    const id = `${typeof namespace === 'string' ? namespace : ''}/${String(name)}`
    const known = this.#known.get(id)
    if (known === undefined) return
    this.#known.delete(id)
    this.#parts.events.remove(known.key)
  }

  /** What a complete list did not have is gone. */
  #sweep(seen: ReadonlySet<string>): void {
    for (const [id, { key }] of this.#known) {
      if (seen.has(id)) continue
      this.#known.delete(id)
      this.#parts.events.remove(key)
    }
    this.#parts.events.changed()
  }

  #setState(state: KindState): void {
    if (this.#state.isSynced === state.isSynced && this.#state.problem === state.problem) return
    this.#state = state
    this.#parts.events.stateChanged()
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const wait = this.#parts.clock.after(ms, resolve)
      this.#wake = () => {
        wait.cancel()
        resolve()
      }
    })
  }
}

const absentText = 'the API server has no such kind any more'

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function metadataOf(object: unknown): Readonly<Record<string, unknown>> {
  const metadata = isRecord(object) ? object['metadata'] : undefined
  return isRecord(metadata) ? metadata : {}
}

/** Items of a list name neither version nor kind; who wrote which field, and kubectl's copy, are half of an object. */
function pruned(item: Readonly<Record<string, unknown>>, apiVersion: string, kind: string): RawObject {
  const { managedFields: _managed, annotations, ...metadata } = metadataOf(item)
  const { 'kubectl.kubernetes.io/last-applied-configuration': _applied, ...kept } = isRecord(annotations)
    ? annotations
    : {}
  return { ...item, apiVersion, kind, metadata: { ...metadata, annotations: kept } }
}

/** Of {@link Reflector.relist}, through whatever wrapped it. */
function isAbort(error: unknown): boolean {
  return error instanceof Error && (error.name === 'AbortError' || isAbort(error.cause))
}

/** The server's words, from the Status that it sends with an error. */
async function reasonOf(kind: string, { status, body }: Answer): Promise<string> {
  const splitter = new ItemSplitter()
  try {
    for await (const chunk of body) splitter.push(chunk, () => undefined)
    const found = splitter.end()
    if (isRecord(found) && typeof found['message'] === 'string') return `${kind}: ${found['message']}`
  } catch {
    // A proxy's page in HTML, or nothing: the number says as much.
  }
  return `${kind}: the API server answers ${status}`
}
