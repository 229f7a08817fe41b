/**
 * One kind of objects, kept as the API server has them: list, then watch, for ever.
 *
 *     list ---------------------> watch from its version --ends--> watch from the last version seen
 *      ^ pages, as a stream         |
 *      '------ 410, 404, gone <-----'     nothing is removed but by a watch, or by a list that is complete
 *
 * Nothing that fails takes anything away: what was delivered stays in force until the server says otherwise.
 */
import type { Clock, Wait } from '../../clock/clock.ts'
import { messageOf } from '../../errors.ts'
import type { KindState } from '../source.ts'
import { Delivered, type DeliveredEvents, isOlder, isRecord, metadataOf } from './delivered.ts'
import { ItemSplitter, LineSplitter, StreamFault } from './json-stream.ts'
import { Patience } from './patience.ts'
import { reasonOf, Rejected } from './rejected.ts'
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

export interface ReflectorEvents extends DeliveredEvents {
  relistBegins(): void
  relistEnds(): void
  /** Something was said: soon is the time to apply it. */
  changed(): void
  stateChanged(): void
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
/** A watch that lasted so long was in order: what fails next is the first failure. One that ends sooner is none. */
const healthyMs = 10_000
const shortWatchMs = 1_000
/** The end of a watch is told when it is not over by then. */
const momentMs = 2_000
/** A page that does not go on for so long is asked for again, and one that takes so long in all. */
const pagePatience = { stallMs: 30_000, wholeMs: 180_000 }
/** Watches from one version that the server answers with no: then it is listed. */
const maxRefusals = 3
/** A list that lost all of its objects, or its kind, is asked for once more after so long before it is believed. */
const confirmMs = 2_000
const confirmAbsenceMs = 10_000
/** A kind that is not installed is looked for so often. */
const absentMs = 15_000
/**
 * A server that is behind what we have seen for so long came back from a backup: its versions count from then on. What
 * it does not have any more is held for the time in which controllers and people put it there again.
 */
const behindMs = 60_000
/** A server that was behind for so long may have come back with another past: what it lacks is not certain. */
const doubtMs = 10_000
const behindRetryMs = 5_000
const heldMs = 600_000

type Phase = 'list' | 'watch'

/** Of a watch: what is wrong is the version that it goes on from, not the server. */
function isAboutVersion(error: unknown): boolean {
  return (
    error instanceof StreamFault || (error instanceof Rejected && [0, 400, 403, 404, 500, 504].includes(error.status))
  )
}

export class Reflector {
  readonly #parts: ReflectorParts
  readonly #delivered: Delivered
  readonly #abort = new AbortController()
  /** Of the place that answered last. */
  #place = 0
  /** Where the watch goes on; undefined: list first. */
  #resourceVersion: string | undefined
  /** The newest that was seen, for "not older than". */
  #newest: string | undefined
  /** Without pages: the server forgot where the next one begins. */
  #isInOnePiece = false
  /** One after the other. */
  readonly #failures = { list: 0, watch: 0 }
  #refusals = 0
  #behindSince: number | undefined
  /** Objects of the last list that are none. */
  #broken = 0
  #watchProblem: string | undefined
  #state: KindState = { isSynced: false, problem: undefined }
  #wake: (() => void) | undefined
  #endWatch: (() => void) | undefined
  #isRelistAsked = false
  #held: Wait | undefined
  #untold: Wait | undefined
  /** A watch ended: who goes on may be another server, or the same one with an older store. */
  #isToBeChecked = false

  constructor(parts: ReflectorParts) {
    this.#parts = parts
    this.#delivered = new Delivered(parts.resource.kind, parts.events)
  }

  get state(): KindState {
    return this.#state
  }

  get resource(): Resource {
    return this.#parts.resource
  }

  get size(): number {
    return this.#delivered.size
  }

  /** Objects in force that the server does not have any more, and does not say that they were deleted. */
  get unconfirmed(): number {
    return this.#delivered.held
  }

  stop(): void {
    this.#abort.abort()
    this.#held?.cancel()
    this.#untold?.cancel()
    this.#wake?.()
  }

  /** What was delivered is not needed any more. */
  forget(): void {
    this.#delivered.mayGoBack = false
    this.#delivered.letGo()
    this.#delivered.sweep(new Set())
    this.#parts.events.changed()
  }

  /** Lists again at once; what is held goes if the list does not have it. */
  relist(): void {
    this.#isRelistAsked = true
    this.#resourceVersion = undefined
    this.#endWatch?.()
    this.#wake?.()
  }

  /** Resolves when it was stopped. */
  async run(): Promise<void> {
    const { clock } = this.#parts
    while (!this.#abort.signal.aborted) {
      const started = clock.monotonic()
      const phase = this.#resourceVersion === undefined ? 'list' : 'watch'
      try {
        await (phase === 'watch' ? this.#watch() : this.#list())
      } catch (error) {
        if (this.#abort.signal.aborted) return
        // The watch was ended for a list.
        if (phase === 'watch' && this.#isRelistAsked) continue
        if (phase === 'watch' && clock.monotonic() - started > healthyMs) this.#failures.watch = 0
        await this.#failed(error, phase)
      }
    }
  }

  async #failed(error: unknown, phase: Phase): Promise<void> {
    const wasWatch = phase === 'watch'
    const failures = this.#failures[phase]++
    const status = error instanceof Rejected ? error.status : 0
    if (status === 410) {
      this.#resourceVersion = undefined
      if (failures > 0) await this.#backOff(failures)
      return
    }
    if (status === 404) return this.#absent()
    if (wasWatch && isAboutVersion(error) && ++this.#refusals >= maxRefusals) this.#resourceVersion = undefined
    if (wasWatch) this.#watchProblem = messageOf(error)
    // "Too large resource version": the server has yet to see what we have seen (504); nothing older is taken from it.
    else if (status === 504) this.#isBehind()
    // A server whose store changes its leader answers 500 for a moment.
    const isFinal = status === 403 || (status === 500 && failures >= finalFailures)
    const isEnough = isFinal && this.#parts.resource.object !== undefined
    // Connections end and tokens expire in the best of clusters: what is over with the next try is not told.
    const isMoment = wasWatch && failures === 0 && (status === 401 || !(error instanceof Rejected))
    const tell = (): void => this.#setState(this.#state.isSynced || isEnough, messageOf(error))
    this.#untold?.cancel()
    if (isMoment) this.#untold = this.#parts.clock.after(momentMs, tell)
    else tell()
    if (status === 504 && !wasWatch) await this.#sleep(Math.min(behindRetryMs, firstRetryMs * 2 ** failures))
    else await this.#backOff(failures, error instanceof Rejected ? (error.retryAfterSec ?? 0) * 1000 : 0)
  }

  /** `failures`: before this one. */
  #backOff(failures: number, askedMs = 0): Promise<void> {
    const backoffMs =
      Math.min(firstRetryMs * 2 ** Math.min(failures, 10), lastRetryMs) * (0.75 + this.#parts.random() / 2)
    return this.#sleep(Math.max(backoffMs, Math.min(askedMs, lastRetryMs)))
  }

  #isBehind(): void {
    const now = this.#parts.clock.monotonic()
    this.#behindSince ??= now
    if (now - this.#behindSince < behindMs) return
    this.#newest = undefined
    this.#delivered.mayGoBack = true
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
    if (this.#delivered.size > 0 && this.#state.problem !== absentText) {
      this.#setState(this.#state.isSynced, absentText)
      return this.#sleep(confirmAbsenceMs)
    }
    this.forget()
    this.#failures.list = 0
    this.#watchProblem = undefined
    this.#setState(true, undefined)
    await this.#sleep(absentMs * (0.75 + this.#parts.random() / 2))
  }

  async #list(): Promise<void> {
    const letsGo = this.#isRelistAsked
    this.#isRelistAsked = false
    let list = await this.#listOnce()
    if (list.seen.size === 0 && this.#delivered.size > this.#delivered.held) {
      await this.#sleep(confirmMs)
      if (this.#abort.signal.aborted) return
      list = await this.#listOnce()
    }
    const { monotonic } = this.#parts.clock
    const behindForMs = this.#behindSince === undefined ? 0 : monotonic() - this.#behindSince
    this.#delivered.mayGoBack ||= behindForMs >= doubtMs
    if (letsGo) this.#delivered.mayGoBack = false
    this.#delivered.sweep(list.seen)
    if (letsGo) this.#delivered.letGo()
    this.#delivered.mayGoBack = false
    this.#behindSince = undefined
    this.#refusals = this.#failures.list = 0
    this.#broken = list.broken
    if (!this.#isRelistAsked) this.#resourceVersion = list.resourceVersion
    this.#isToBeChecked = false
    this.#newest = list.resourceVersion
    this.#watchHeld()
    this.#parts.events.changed()
    this.#setState(true, undefined)
  }

  #watchHeld(): void {
    if (this.#delivered.held === 0 || this.#held !== undefined) return
    this.#held = this.#parts.clock.after(heldMs, () => {
      this.#held = undefined
      this.#delivered.letGo()
      this.#parts.events.changed()
      this.#setState(this.#state.isSynced, undefined)
    })
  }

  /** Everything that there is, delivered as it comes. */
  async #listOnce(): Promise<List> {
    const list: List = { seen: new Set(), broken: 0, resourceVersion: '' }
    this.#parts.events.relistBegins()
    try {
      let next = ''
      do next = await this.#page(next, list)
      while (next !== '')
      this.#isInOnePiece = false
      return list
    } finally {
      this.#parts.events.relistEnds()
      this.#parts.events.changed()
    }
  }

  /** Answers where the next page goes on; empty: that was the last. */
  async #page(from: string, list: List): Promise<string> {
    const query = new URLSearchParams(this.#isInOnePiece ? {} : { limit: String(pageItems) })
    if (from !== '') query.set('continue', from)
    else if (this.#newest !== undefined) {
      query.set('resourceVersion', this.#newest)
      query.set('resourceVersionMatch', 'NotOlderThan')
    }
    const apiVersion = this.#parts.resource.places[this.#place]?.apiVersion ?? ''
    const splitter = new ItemSplitter()
    let isCurrent = false
    const opened = (before: unknown): void => {
      this.#refuseOlder(before)
      isCurrent = this.#newest !== undefined && typeof metadataOf(before)['resourceVersion'] === 'string'
    }
    const found = (item: unknown): void => {
      const id = this.#delivered.upsert(item, apiVersion, isCurrent)
      if (id === undefined) list.broken++
      else list.seen.add(id)
    }
    try {
      await this.#read(query, (chunk) => splitter.push(chunk, found, opened))
    } catch (error) {
      // An expired continue token: what would begin with another page now may end the same way.
      if (from !== '' && error instanceof Rejected && error.status === 410) this.#isInOnePiece = true
      throw error
    }
    const around = splitter.end()
    const { resourceVersion, continue: next } = metadataOf(around)
    if (typeof resourceVersion !== 'string' || resourceVersion === '' || !isRecord(around) || !('items' in around))
      throw new Rejected(0, 'the answer is no list: this is no Kubernetes API server', undefined)
    this.#refuseOlder(around)
    list.resourceVersion = resourceVersion
    return typeof next === 'string' ? next : ''
  }

  /** A server that does not know "not older than", and is. */
  #refuseOlder(around: unknown): void {
    const { resourceVersion } = metadataOf(around)
    if (typeof resourceVersion === 'string' && this.#newest !== undefined && isOlder(resourceVersion, this.#newest))
      throw new Rejected(504, `${this.#parts.resource.kind}: ${behindText}`, undefined)
  }

  /** Reads one answer to its end, within bounds of time. */
  async #read(query: URLSearchParams, take: (chunk: Uint8Array) => void): Promise<void> {
    const patience = new Patience(this.#parts.clock, this.#abort.signal, pagePatience)
    try {
      for await (const chunk of (await this.#get(query, patience.signal)).body) {
        patience.goesOn()
        take(chunk)
      }
    } catch (error) {
      if (patience.problem !== undefined)
        throw new Rejected(0, `${this.#parts.resource.kind}: ${patience.problem}`, undefined)
      throw error
    } finally {
      patience.end()
    }
  }

  /**
   * A watch from a version that the server has yet to reach is silent until it does, which may be for ever. A list of
   * one item, not older, is answered with an error.
   */
  async #check(): Promise<void> {
    const query = new URLSearchParams({ limit: '1', resourceVersionMatch: 'NotOlderThan' })
    query.set('resourceVersion', this.#newest ?? '')
    const splitter = new ItemSplitter()
    try {
      await this.#read(query, (chunk) => splitter.push(chunk, () => undefined))
      this.#refuseOlder(splitter.end())
    } catch (error) {
      if (error instanceof Rejected && error.status === 504) this.#resourceVersion = undefined
      throw error
    }
    this.#isToBeChecked = false
  }

  async #watch(): Promise<void> {
    if (this.#isToBeChecked) await this.#check()
    this.#isToBeChecked = true
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
    const began = clock.monotonic()
    let hasNews = false
    try {
      const answer = await this.#get(query, AbortSignal.any([this.#abort.signal, late.signal]))
      this.#watchProblem = undefined
      this.#untold?.cancel()
      this.#setState(this.#state.isSynced, undefined)
      const lines = new LineSplitter()
      for await (const chunk of answer.body) {
        lines.push(chunk, (line) => this.#event(line))
        hasNews = true
        this.#failures.watch = this.#refusals = 0
        events.changed()
        if (this.#resourceVersion === undefined) return
      }
    } finally {
      events.changed()
      cut.cancel()
      late.abort()
    }
    const lastedMs = clock.monotonic() - began
    if (lastedMs > healthyMs) this.#failures.watch = 0
    if (hasNews || lastedMs > shortWatchMs) return
    await this.#backOff(this.#failures.watch++)
  }

  /** Throws Rejected for an ERROR event, of which one may be that the version expired (410). */
  #event(line: unknown): void {
    const { type, object } = isRecord(line) ? line : {}
    const { resourceVersion } = metadataOf(object)
    const apiVersion = this.#parts.resource.places[this.#place]?.apiVersion ?? ''
    this.#refuseRepeated(resourceVersion)
    switch (type) {
      case 'ADDED':
      case 'MODIFIED':
        if (this.#delivered.upsert(object, apiVersion) === undefined)
          throw new Rejected(0, `${this.#parts.resource.kind}: a watch event without an object`, undefined)
        break
      case 'DELETED':
        this.#delivered.remove(object)
        break
      case 'BOOKMARK':
        break
      default: {
        const { code, message } = isRecord(object) ? object : {}
        const text = typeof message === 'string' ? message : `a watch event of type ${String(type).slice(0, 60)}`
        throw new Rejected(typeof code === 'number' ? code : 0, `${this.#parts.resource.kind}: ${text}`, undefined)
      }
    }
    if (typeof resourceVersion === 'string' && this.#resourceVersion !== undefined)
      this.#resourceVersion = this.#newest = resourceVersion
  }

  /** Events of a watch come in order: one that is older is of a server that went back, or of a proxy's memory. */
  #refuseRepeated(resourceVersion: unknown): void {
    const since = this.#resourceVersion
    if (typeof resourceVersion !== 'string' || since === undefined || !isOlder(resourceVersion, since)) return
    this.#resourceVersion = undefined
    throw new Rejected(0, `${this.#parts.resource.kind}: ${behindText}`, undefined)
  }

  async #get(query: URLSearchParams, signal: AbortSignal): Promise<Answer> {
    const { resource, transport } = this.#parts
    if (resource.fieldSelector !== undefined) query.set('fieldSelector', resource.fieldSelector)
    const answer = await transport.get(`${resource.places[this.#place]?.path ?? ''}?${query}`, signal)
    if (answer.status === 200) return answer
    throw new Rejected(answer.status, await reasonOf(resource.kind, answer), answer.retryAfterSec)
  }

  #setState(isSynced: boolean, failure: string | undefined): void {
    const problem = failure ?? this.#watchProblem ?? this.#oddity()
    if (this.#state.isSynced === isSynced && this.#state.problem === problem) return
    this.#state = { isSynced, problem }
    this.#parts.events.stateChanged()
  }

  /** What is wrong while it is read and watched. */
  #oddity(): string | undefined {
    const { kind } = this.#parts.resource
    if (this.#delivered.held > 0)
      return (
        `${kind}: the API server went back in time, as after a restore from a backup; ${this.#delivered.held} that ` +
        `it has no more stay in force for ${heldMs / 60_000} minutes`
      )
    return this.#broken === 0 ? undefined : `${kind}: ${this.#broken} items of the list are no objects`
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

interface List {
  readonly seen: Set<string>
  broken: number
  resourceVersion: string
}

const absentText = 'the API server has no such kind any more'
const behindText = 'the API server is behind what it said before'
