/**
 * When the memory of a process is given back: once after its start, and again whenever it has grown since and little
 * happens, as when many objects came and went.
 */

export interface MemoryParts {
  /** A wait that does not keep the process alive. */
  after(ms: number, action: () => void): void
  /** Share of the time in which the loop was busy since this was asked the last time, 0 to 1. */
  busyShare(): number
  /** Resident memory now; undefined where it cannot be seen. */
  residentMiB(): number | undefined
  /** Counts collections of all garbage from now on. */
  watchCollections(): Watched
  collectGarbage(): void
  giveBack(): Promise<void>
}

interface Watched {
  readonly count: number
  end(): void
}

/** How long the engine is waited for that is to collect by itself, and which loop is idle enough. */
interface Patience {
  readonly firstLookMs: number
  readonly idleShare: number
  /** A collection at a stretch holds the loop. */
  readonly isTold: boolean
}

/** What the start left behind is garbage by then, and the engine begins to collect it in small steps. */
const watchedMs = 5_000
const lookMs = 1_000
/** Idle looks without a collection after one: it was the last. And all that are waited for one. */
const [quietLooks, mostLooks] = [2, 8]
/** A start that takes longer leaves its garbage later: the loop has to be idle for most of so long. */
const afterStart: Patience = { firstLookMs: 5_000, idleShare: 0.5, isTold: true }
/** Later nobody waits for it, and events come first. */
const afterGrowth: Patience = { firstLookMs: lookMs, idleShare: 0.05, isTold: false }
/** Between two looks whether it has grown; the pages that are in use are back at the first one. */
const growthMs = 5_000
/** By less it grows and shrinks by itself. */
const growthMiB = 8

export function keepMemorySmall(parts: MemoryParts): void {
  parts.after(watchedMs, () => {
    parts.busyShare()
    giveBackWhenIdle(parts, afterStart)
  })
}

function giveBackWhenGrown(parts: MemoryParts): void {
  let leastMiB = Infinity
  const look = (): void => {
    const isIdle = parts.busyShare() < afterGrowth.idleShare
    const nowMiB = parts.residentMiB()
    leastMiB = Math.min(leastMiB, nowMiB ?? Infinity)
    if (isIdle && nowMiB !== undefined && nowMiB >= leastMiB + growthMiB) giveBackWhenIdle(parts, afterGrowth)
    else parts.after(growthMs, look)
  }
  parts.after(growthMs, look)
}

/** The engine collects by itself, in small steps and twice, when little happens. */
function giveBackWhenIdle(parts: MemoryParts, { firstLookMs, idleShare, isTold }: Patience): void {
  const collections = parts.watchCollections()
  let [seen, counted, quiet, left] = [0, 0, 0, mostLooks]
  const isDone = (isIdle: boolean): boolean => {
    quiet = isIdle && collections.count === seen ? quiet + 1 : 0
    seen = collections.count
    // What was collected before others made garbage is not all.
    if (!isIdle) counted = seen
    if (!isIdle || (seen > counted && quiet >= quietLooks)) return isIdle
    left--
    // It counts as one of the engine's own: its pages are given back when they are swept.
    if (isTold && left === quietLooks && seen === counted) parts.collectGarbage()
    return left < 0
  }
  const look = (): void => {
    if (!isDone(parts.busyShare() < idleShare)) return parts.after(lookMs, look)
    collections.end()
    void parts.giveBack().then(() => giveBackWhenGrown(parts))
  }
  parts.after(firstLookMs, look)
}
