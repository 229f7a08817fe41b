/**
 * Writes to the API server: each key once at a time, at most 16 under way, as fast as the server takes them. What is
 * written is decided when its turn comes, so that a key that changes while it waits costs one write. Pure but for its
 * clock.
 *
 *     add(key) --> lane: statuses of Services, of pools ... events --free?--> write(key) --> outcome
 *                    ^--- failed: later, ever later; limited: for as long as the server says --'
 *
 * No lane can keep another from being written, by how much it has to write, by how slow the server takes it, or by a
 * limit that is for it alone; nor can a key that is limited keep others of its lane. Whether a limit is for one key or
 * for us the server does not say, so one of the others is tried, a second later where none was taken since. Where the
 * server has few places for us (API priority and fairness), what is limited is tried by ever fewer at once: all of it
 * would be limited once more.
 *
 * Within a lane what somebody waits for goes first: a leader that begins beside 50 000 Services may have something to
 * say of each, and a new one would have its address after the last of them.
 * What was limited while others were taken goes behind both, and is tried ever later.
 */
import type { Clock, Wait } from '../clock/clock.ts'
import { Due } from '../clock/due.ts'
import { spread } from '../clock/spread.ts'
import type { StatusOutcome } from '../k8s/status.ts'

export const maxInFlight = 16
const firstRetryMs = 500
const lastRetryMs = 30_000
/** An object that changed since it was read follows by the watch; should it not, it is looked at again. */
const staleRetryMs = 2_000

/** One object is written so often in a while: somebody may take back what we write, or change it all the time. */
const maxPerObject = 8
const whileMs = 10_000

/** In the order in which they go. */
export const lanes = ['service', 'pool', 'node', 'configuration', 'event'] as const
export type Lane = (typeof lanes)[number]
/** Each lane has one place of its own; of those for all a lane leaves so many to each lane before it. */
const forAll = maxInFlight - lanes.length
const leftToEach = 2
/** Of so many that are begun in a lane one at least is none that somebody waits for, or one that was limited. */
const aheadAtMost = 8
/** So long a lane begins nothing after a limit, where nothing was taken since the one before. */
const longestPauseMs = 1_000
/** A lane that was limited has half of its places, and one more after each such while without another limit. */
const placeBackMs = 1_000
/** Who was limited so often while others were taken says nothing of how many places there are. */
const surelyAlone = 2

export interface WriteQueueParts {
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  /** Asked right before each write. */
  readonly mayWrite: () => boolean
  /** Whether a key waits; when it does no more, {@link WriteQueue.resume} says so. */
  readonly isHeldBack?: (lane: Lane, key: string) => boolean
  /** Whether somebody waits for it: it goes before the others of its lane. By default nobody does. */
  readonly isAwaited?: (lane: Lane, key: string) => boolean
  /** undefined: there is nothing to write any more. */
  readonly write: (lane: Lane, key: string) => Promise<StatusOutcome> | undefined
  /** Also of what is tried again by itself: all but what is written, gone, or owned by others. */
  readonly onOutcome: (lane: Lane, key: string, outcome: StatusOutcome) => void
}

const isFinal: Readonly<Record<StatusOutcome['kind'], boolean>> = {
  written: true,
  gone: true,
  owned: true,
  undeclared: true,
  stale: false,
  limited: false,
  refused: false,
  failed: false,
}

interface Entry {
  failures: number
  isInFlight: boolean
  /** Added again while it was under way. */
  isAgain: boolean
  retry: Wait | undefined
  /** The server wants no write of it before. */
  notBeforeMs: number
  /** How many writes of its lane the server had taken when it was limited; undefined: it never was. */
  takenBefore: number | undefined
  /** So often it was limited while others were taken. */
  timesAlone: number
}

interface Waiting {
  readonly awaited: Set<string>
  readonly others: Set<string>
  /** Those that were limited while others were taken, somebody waits for them or not. */
  readonly limited: Set<string>
  /** Begun since one of the others was, and since one of the limited. */
  ahead: number
  aheadOfLimited: number
}

const noneWaiting = (): Waiting => ({
  ...{ awaited: new Set(), others: new Set(), limited: new Set() },
  ...{ ahead: 0, aheadOfLimited: 0 },
})
const waitingOf = ({ awaited, others, limited }: Waiting): readonly Set<string>[] => [awaited, others, limited]

export class WriteQueue {
  readonly #parts: WriteQueueParts
  readonly #waiting = Object.fromEntries(lanes.map((lane) => [lane, noneWaiting()])) as Readonly<Record<Lane, Waiting>>
  readonly #entries = new Map<string, Entry>()
  readonly #inFlight = Object.fromEntries(lanes.map((lane) => [lane, 0])) as Record<Lane, number>
  readonly #pauses = new Map<Lane, Wait>()
  /** Writes that the server did not limit. */
  readonly #taken = Object.fromEntries(lanes.map((lane) => [lane, 0])) as Record<Lane, number>
  /** As many when something of the lane was limited last. */
  readonly #takenBefore = new Map<Lane, number>()
  /** Places of lanes that were limited, as they were at a moment. */
  readonly #places = new Map<Lane, { readonly count: number; readonly atMs: number }>()
  readonly #pumps: Due
  #isStopped = false
  #onIdle: (() => void)[] = []
  /** Writes by object since {@link #windowMs}. */
  #recent = new Map<string, number>()
  #windowMs = Number.NEGATIVE_INFINITY
  /** Objects that were written often enough for now. */
  #hot = new Map<string, readonly [Lane, string]>()
  #cool: Wait | undefined

  constructor(parts: WriteQueueParts) {
    this.#parts = parts
    this.#pumps = new Due(parts.clock, () => this.#pump())
  }

  get inFlight(): number {
    return lanes.reduce((sum, lane) => sum + this.#inFlight[lane], 0)
  }

  /** Of a lane, those under way not counted. */
  waiting(lane: Lane): number {
    return waitingOf(this.#waiting[lane]).reduce((sum, { size }) => sum + size, 0)
  }

  /** Whether a key waits for its turn, or is under way. */
  isBusy(lane: Lane, key: string): boolean {
    const isWaiting = waitingOf(this.#waiting[lane]).some((keys) => keys.has(key))
    return isWaiting || this.#entries.get(`${lane} ${key}`)?.isInFlight === true
  }

  add(lane: Lane, key: string): void {
    if (this.#isStopped) return
    const entry = this.#entries.get(`${lane} ${key}`)
    if (entry?.isInFlight === true) entry.isAgain = true
    else this.#wait(lane, key)
    this.#pumps.soon()
  }

  /** Who waits already keeps the place. */
  #wait(lane: Lane, key: string): void {
    const waiting = this.#waiting[lane]
    const isLimited = (this.#entries.get(`${lane} ${key}`)?.timesAlone ?? 0) > 0
    const isAwaited = this.#parts.isAwaited?.(lane, key) === true
    const to = isLimited ? waiting.limited : isAwaited ? waiting.awaited : waiting.others
    for (const keys of waitingOf(waiting)) if (keys !== to) keys.delete(key)
    to.add(key)
  }

  /** What was held back may go on. */
  resume(): void {
    if (lanes.some((lane) => this.waiting(lane) > 0)) this.#pumps.soon()
  }

  /** Nothing is begun any more; resolves when what is under way has ended. */
  stop(): Promise<void> {
    this.#isStopped = true
    for (const wait of this.#pauses.values()) wait.cancel()
    this.#cool?.cancel()
    for (const { retry } of this.#entries.values()) retry?.cancel()
    return this.inFlight === 0 ? Promise.resolve() : new Promise((resolve) => this.#onIdle.push(resolve))
  }

  #pump(): void {
    // A limit may be for its lane and those before it alone: one write at a time finds out.
    let isBehindLimit = false
    for (const lane of lanes) {
      if (this.#pauses.has(lane)) {
        isBehindLimit = true
        continue
      }
      for (const key of inOrder(this.#waiting[lane])) {
        if (this.#isStopped || !this.#parts.mayWrite()) return
        if (isBehindLimit ? this.#inFlight[lane] > 0 : !this.#hasRoom(lane)) break
        if (this.#parts.isHeldBack?.(lane, key) === true || this.#isLimited(lane, key)) continue
        this.#take(lane, key)
        if (this.#isHot(lane, key)) this.#hold(lane, key)
        else this.#begin(lane, key)
      }
    }
  }

  #take(lane: Lane, key: string): void {
    const waiting = this.#waiting[lane]
    if (waiting.limited.delete(key)) waiting.aheadOfLimited = 0
    else {
      waiting.aheadOfLimited++
      waiting.ahead = waiting.awaited.delete(key) ? waiting.ahead + 1 : 0
      waiting.others.delete(key)
    }
  }

  #isLimited(lane: Lane, key: string): boolean {
    const notBeforeMs = this.#entries.get(`${lane} ${key}`)?.notBeforeMs
    return notBeforeMs !== undefined && notBeforeMs > this.#parts.clock.monotonic()
  }

  #hasRoom(lane: Lane): boolean {
    if (this.#inFlight[lane] === 0) return true
    if (this.#inFlight[lane] >= this.#placesOf(lane)) return false
    const taken = lanes.reduce((sum, each) => sum + Math.max(0, this.#inFlight[each] - 1), 0)
    return taken < forAll - leftToEach * lanes.indexOf(lane)
  }

  #placesOf(lane: Lane): number {
    const { count, atMs } = this.#places.get(lane) ?? { count: maxInFlight, atMs: 0 }
    const back = Math.floor((this.#parts.clock.monotonic() - atMs) / placeBackMs)
    return Math.min(count + Math.max(back, 0), maxInFlight)
  }

  #isHot(lane: Lane, key: string): boolean {
    const nowMs = this.#parts.clock.monotonic()
    if (nowMs - this.#windowMs >= whileMs) {
      this.#windowMs = nowMs
      this.#recent = new Map()
    }
    return (this.#recent.get(`${lane} ${key}`) ?? 0) >= maxPerObject
  }

  #hold(lane: Lane, key: string): void {
    const { clock } = this.#parts
    this.#hot.set(`${lane} ${key}`, [lane, key])
    this.#cool ??= clock.after(this.#windowMs + whileMs - clock.monotonic(), () => {
      this.#cool = undefined
      const hot = [...this.#hot.values()]
      this.#hot = new Map()
      for (const [each, of] of hot) this.add(each, of)
    })
  }

  #begin(lane: Lane, key: string): void {
    const id = `${lane} ${key}`
    const writing = this.#parts.write(lane, key)
    if (writing !== undefined) this.#recent.set(id, (this.#recent.get(id) ?? 0) + 1)
    const entry = this.#entries.get(id) ?? newEntry()
    entry.retry?.cancel()
    if (writing === undefined) {
      this.#entries.delete(id)
      return
    }
    entry.isInFlight = true
    entry.isAgain = false
    this.#entries.set(id, entry)
    this.#inFlight[lane]++
    void writing.then((outcome) => {
      this.#inFlight[lane]--
      entry.isInFlight = false
      this.#ended(lane, key, entry, outcome)
      if (this.inFlight > 0) return
      for (const resolve of this.#onIdle.splice(0)) resolve()
    })
  }

  #ended(lane: Lane, key: string, entry: Entry, outcome: StatusOutcome): void {
    const id = `${lane} ${key}`
    if (outcome.kind !== 'limited') this.#taken[lane]++
    if (isFinal[outcome.kind]) this.#entries.delete(id)
    else if (outcome.kind === 'limited') this.#limited(lane, key, entry, outcome.afterMs)
    else this.#later(lane, key, entry, outcome)
    const { isAgain } = entry
    entry.isAgain = false
    this.#parts.onOutcome(lane, key, outcome)
    if (isAgain) this.add(lane, key)
    this.#pumps.soon()
  }

  #limited(lane: Lane, key: string, entry: Entry, afterMs: number): void {
    const { clock } = this.#parts
    const nowMs = clock.monotonic()
    // Others were taken since it was limited before: what is limited is this one.
    const isOfKey = entry.takenBefore !== undefined && entry.takenBefore < this.#taken[lane]
    entry.takenBefore = this.#taken[lane]
    if (isOfKey) entry.timesAlone++
    const isKnown = entry.timesAlone > 0
    const backoffMs = isKnown ? Math.min(afterMs * 2 ** Math.min(entry.timesAlone - 1, 10), lastRetryMs) : 0
    const laterMs = Math.max(afterMs, backoffMs)
    entry.notBeforeMs = nowMs + laterMs
    this.#wait(lane, key)
    // The server takes some and limits others: fewer at once is enough of an answer.
    const isMixed = (this.#takenBefore.get(lane) ?? Number.POSITIVE_INFINITY) < this.#taken[lane]
    this.#takenBefore.set(lane, this.#taken[lane])
    const pauseMs = isKnown || isMixed ? 0 : Math.min(afterMs, longestPauseMs)
    if (entry.timesAlone < surelyAlone) {
      const count = Math.max(1, Math.floor(this.#placesOf(lane) / 2))
      this.#places.set(lane, { count, atMs: nowMs + pauseMs })
    }
    if (this.#isStopped) return
    entry.retry?.cancel()
    entry.retry = clock.after(laterMs, () => this.#pumps.soon())
    if (pauseMs === 0 || this.#pauses.has(lane)) return
    const wait = clock.after(pauseMs, () => {
      this.#pauses.delete(lane)
      this.#pump()
    })
    this.#pauses.set(lane, wait)
  }

  #later(lane: Lane, key: string, entry: Entry, { kind }: StatusOutcome): void {
    if (this.#isStopped) return
    const backoffMs = Math.min(firstRetryMs * 2 ** Math.min(entry.failures++, 10), lastRetryMs)
    const ms = spread(Math.max(backoffMs, kind === 'stale' ? staleRetryMs : 0), this.#parts.random)
    entry.retry?.cancel()
    entry.retry = this.#parts.clock.after(ms, () => this.add(lane, key))
  }
}

function newEntry(): Entry {
  const never = { notBeforeMs: Number.NEGATIVE_INFINITY, takenBefore: undefined, timesAlone: 0 }
  return { failures: 0, isInFlight: false, isAgain: false, retry: undefined, ...never }
}

/** Looked at while it is taken from. */
function inOrder(waiting: Waiting): Iterable<string> {
  const fresh = inTurn(waiting.awaited, waiting.others, () => waiting.ahead >= aheadAtMost)
  return inTurn(fresh, waiting.limited, () => waiting.aheadOfLimited >= aheadAtMost)
}

/** All of the first, then those of the second; one of these before each where it is due. */
function* inTurn(first: Iterable<string>, second: Iterable<string>, isDue: () => boolean): Generator<string> {
  const rest = second[Symbol.iterator]()
  for (const key of first) {
    const next = isDue() ? rest.next() : undefined
    if (next?.done === false) yield next.value
    yield key
  }
  for (let next = rest.next(); next.done !== true; next = rest.next()) yield next.value
}
