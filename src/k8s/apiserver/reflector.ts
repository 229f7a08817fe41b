/**
 * One kind of objects, kept as the API server has them: list, then watch, for ever.
 *
 *     list ---------------------> watch from its version --ends--> watch from the last version seen
 *      ^ pages, as a stream         |
 *      '------ 410, 404, gone <-----'     nothing is removed but by a watch, or by a list that is complete
 *
 * Nothing that fails takes anything away: what was delivered stays in force until the server says otherwise.
 */
import type { Wait } from '../../clock/clock.ts'
import { backOff, spread, spreadBehind } from '../../clock/spread.ts'
import { messageOf } from '../../errors.ts'
import { isRecord, type KindState, shortened } from '../source.ts'
import { Delivered, type DeliveredEvents, isOlder, metadataOf } from './delivered.ts'
import { LineSplitter, StreamFault } from './json-stream.ts'
import { behindText, type List, ListReader, type ListReaderParts, type Resource } from './list-reader.ts'
import { Rejected } from './rejected.ts'

export interface ReflectorEvents extends DeliveredEvents {
  relistBegins(): void
  relistEnds(): void
  /** Something was said: soon is the time to apply it. */
  changed(): void
  stateChanged(): void
}

export interface ReflectorParts extends ListReaderParts {
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly events: ReflectorEvents
}

/** A watch is ended by the server after 4 to 8 minutes, so that those of many nodes are spread. */
const watchLeastSec = 240
const watchSpreadSec = 240
/** A server that does not end a watch as it was asked to has lost it. */
const watchGraceSec = 30
const retryMs = { first: 500, most: 30_000 } as const
/** Of a Secret that the server cannot read either: a word that stands after so many tries. */
const finalFailures = 3
/** A watch that lasted so long was in order: what fails next is the first failure. One that ends sooner is none. */
const healthyMs = 10_000
const shortWatchMs = 1_000
/** The end of a watch is told when it is not over by then. */
const momentMs = 2_000
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
  readonly #reader: ListReader
  /** Where the watch goes on; undefined: list first. */
  #resourceVersion: string | undefined
  /** One after the other. */
  readonly #failures = { list: 0, watch: 0 }
  #refusals = 0
  #behindSince: number | undefined
  /** Nothing was ever read, and the server says since then that it may not be (403). */
  #refusedSince: number | undefined
  /** Objects of the last list that are none. */
  #broken = 0
  #watchProblem: string | undefined
  #state: KindState = { isSynced: false, problem: undefined }
  #wake: (() => void) | undefined
  #endWatch: (() => void) | undefined
  #isRelistAsked = false
  /** The last try had no answer, or none of a server that is well: what another kind gets is to be had for this one. */
  #isUnanswered = false
  /** The server asked to wait until then. */
  #askedUntil = 0
  #asked: Wait | undefined
  #held: Wait | undefined
  #untold: Wait | undefined
  /** A watch ended: who goes on may be another server, or the same one with an older store. */
  #isToBeChecked = false

  constructor(parts: ReflectorParts) {
    this.#parts = parts
    this.#delivered = new Delivered(parts.resource.kind, parts.events)
    this.#reader = new ListReader(parts, this.#abort.signal)
  }

  get state(): KindState {
    return this.#state
  }

  get resource(): Resource {
    return this.#parts.resource
  }

  /** ms for which a list was answered by 403 and nothing else, while nothing was ever read. */
  get refusedForMs(): number | undefined {
    if (this.#state.isSynced || this.#refusedSince === undefined) return undefined
    return this.#parts.clock.monotonic() - this.#refusedSince
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
    this.#asked?.cancel()
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

  /** Another kind had an answer after none: the server is back, and nobody has to wait for half a minute. */
  retry(): void {
    if (!this.#isUnanswered) return
    // A server that has only begun refuses the next try as well: that is a first failure again, and soon over.
    this.#failures.list = this.#failures.watch = 0
    const { clock } = this.#parts
    const leftMs = this.#askedUntil - clock.monotonic()
    const wake = this.#wake
    if (leftMs <= 0) wake?.()
    else this.#asked ??= clock.after(leftMs, () => wake?.())
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
    const isRefused = status === 403 && !wasWatch && !this.#state.isSynced
    this.#refusedSince = isRefused ? (this.#refusedSince ?? this.#parts.clock.monotonic()) : undefined
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
    const saidMs = error instanceof Rejected ? (error.retryAfterSec ?? 0) * 1000 : 0
    const askedMs = spreadBehind(Math.min(saidMs, retryMs.most), this.#parts.random)
    this.#askedUntil = this.#parts.clock.monotonic() + askedMs
    this.#isUnanswered = status === 0 || status === 429 || status >= 500
    if (status === 504 && !wasWatch) await this.#sleep(Math.min(behindRetryMs, retryMs.first * 2 ** failures))
    else await this.#backOff(failures, askedMs)
    this.#isUnanswered = false
    this.#asked?.cancel()
    this.#asked = undefined
  }

  /** `failures`: before this one. */
  #backOff(failures: number, askedMs = 0): Promise<void> {
    return this.#sleep(Math.max(backOff(retryMs, failures, this.#parts.random), askedMs))
  }

  #isBehind(): void {
    const now = this.#parts.clock.monotonic()
    this.#behindSince ??= now
    if (now - this.#behindSince < behindMs) return
    this.#reader.newest = undefined
    this.#delivered.mayGoBack = true
  }

  /** The server has no such kind: counts as read, and is looked for again. What was delivered goes when it is sure. */
  async #absent(): Promise<void> {
    this.#resourceVersion = undefined
    if (this.#reader.tryNextPlace()) return
    if (this.#delivered.size > 0 && this.#state.problem !== absentText) {
      this.#setState(this.#state.isSynced, absentText)
      return this.#sleep(confirmAbsenceMs)
    }
    this.forget()
    this.#failures.list = 0
    this.#watchProblem = undefined
    this.#setState(true, undefined)
    await this.#sleep(spread(absentMs, this.#parts.random))
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
    this.#reader.newest = list.resourceVersion
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
    this.#parts.events.relistBegins()
    try {
      return await this.#reader.read((item, apiVersion, isCurrent) =>
        this.#delivered.upsert(item, apiVersion, isCurrent),
      )
    } finally {
      this.#parts.events.relistEnds()
      this.#parts.events.changed()
    }
  }

  async #check(): Promise<void> {
    try {
      await this.#reader.check()
    } catch (error) {
      if (error instanceof Rejected && error.status === 504) this.#resourceVersion = undefined
      throw error
    }
    this.#isToBeChecked = false
  }

  async #watch(): Promise<void> {
    if (this.#isToBeChecked) await this.#check()
    this.#isToBeChecked = true
    const { clock, events, random, turn } = this.#parts
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
      const answer = await this.#reader.get(query, AbortSignal.any([this.#abort.signal, late.signal]))
      this.#watchProblem = undefined
      this.#untold?.cancel()
      this.#setState(this.#state.isSynced, undefined)
      const lines = new LineSplitter()
      for await (const chunk of answer.body) {
        while (!turn.hasTime()) await turn.next
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
    const { apiVersion } = this.#reader
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
        const text =
          typeof message === 'string' ? shortened(message) : `a watch event of type ${String(type).slice(0, 60)}`
        throw new Rejected(typeof code === 'number' ? code : 0, `${this.#parts.resource.kind}: ${text}`, undefined)
      }
    }
    if (typeof resourceVersion === 'string' && this.#resourceVersion !== undefined)
      this.#resourceVersion = this.#reader.newest = resourceVersion
  }

  /** Events of a watch come in order: one that is older is of a server that went back, or of a proxy's memory. */
  #refuseRepeated(resourceVersion: unknown): void {
    const since = this.#resourceVersion
    if (typeof resourceVersion !== 'string' || since === undefined || !isOlder(resourceVersion, since)) return
    this.#resourceVersion = undefined
    throw new Rejected(0, `${this.#parts.resource.kind}: ${behindText}`, undefined)
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

const absentText = 'the API server has no such kind any more'
