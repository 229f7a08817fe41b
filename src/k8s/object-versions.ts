/**
 * Which version of an object is in force: that of the first file in order of names, and the one before while what it
 * lacks may be missing for a moment only. Pure.
 *
 *     appears, gains, changes values   at once
 *     vanishes, loses a part           when that was seen in several looks, for a time in which the file did not change
 */
import type { Problem } from '../desired/model.ts'
import type { ManifestRecord } from './directory/manifest-record.ts'
import { isServed } from './kinds/table.ts'
import { duplicateProblem } from './duplicates.ts'
import { lossOf } from './shape.ts'
import type { Path } from './yaml.ts'

export interface Patience {
  /** What is missing has to stay so for this long... */
  readonly confirmMs: number
  /** ...and for this long where nearly everything is missing at once. */
  readonly confirmAllMs: number
  /** A file without an end of its last line may be cut in it, and is given this long to go on. */
  readonly cutMs: number
}

export interface Change {
  readonly remove?: ManifestRecord
  readonly upsert?: ManifestRecord
  /** It vanished, or lost a part, and that was confirmed. */
  readonly isLoss: boolean
}

/** An object that is not just in one file and in force. */
interface Waiting {
  present: readonly ManifestRecord[]
  /** It is in another file too, and was before the version in force vanished. */
  hasRival: boolean
  since: number | undefined
  looks: number
  lastLook: number
}

/** Looks that must agree. */
const looksNeeded = 3
/** A file that never stops changing is believed after so many times the patience. */
const restlessFactor = 10
/** Of the objects in force: when more are missing, something happened to the folder. */
const nearlyAll = 0.9

export class ObjectVersions {
  readonly #patience: Patience
  readonly #inForce = new Map<string, ManifestRecord>()
  readonly #waiting = new Map<string, Waiting>()
  #look = 0
  #isNearlyAllGone = false

  constructor(patience: Patience) {
    this.#patience = patience
  }

  get size(): number {
    return this.#inForce.size
  }

  /** Objects that stay as they were until what is missing is confirmed. */
  get unconfirmed(): number {
    return [...this.#waiting.values()].filter(({ since }) => since !== undefined).length
  }

  get isNearlyAllGone(): boolean {
    return this.#isNearlyAllGone
  }

  /** Files that objects vanished from, of which that is not confirmed. */
  awaited(): ReadonlySet<ManifestRecord['source']> {
    const held = [...this.#waiting].map(([id, { present }]) => (present.length > 0 ? undefined : this.#inForce.get(id)))
    return new Set(held.flatMap((record) => record?.source ?? []))
  }

  inForce(): Iterable<ManifestRecord> {
    return this.#inForce.values()
  }

  /** A new look at the folder begins. */
  beginLook(): void {
    this.#look++
  }

  /** A file holds `now` in place of `before`, if it had that. */
  replace(before: ManifestRecord | undefined, now: ManifestRecord): void {
    const waiting = this.#open(now.id)
    waiting.present = [...waiting.present.filter((each) => each !== before), now].sort(byPlace)
    if (waiting.present.length === 1) waiting.hasRival = false
  }

  /** A file holds it no more. */
  absent(record: ManifestRecord): void {
    const waiting = this.#open(record.id)
    waiting.present = waiting.present.filter((each) => each !== record)
    if (record === this.#inForce.get(record.id) && waiting.present.length > 0) waiting.hasRival = true
  }

  #open(id: string): Waiting {
    let waiting = this.#waiting.get(id)
    if (waiting === undefined) {
      const held = this.#inForce.get(id)
      waiting = {
        present: held === undefined ? [] : [held],
        hasRival: false,
        since: undefined,
        looks: 0,
        lastLook: 0,
      }
      this.#waiting.set(id, waiting)
    }
    return waiting
  }

  /** All that wait, at the end of a look. */
  pending(): readonly string[] {
    const missing = [...this.#waiting].filter(([id, { present }]) => present.length === 0 && this.#inForce.has(id))
    this.#isNearlyAllGone = missing.length > 0 && missing.length >= nearlyAll * this.#inForce.size
    return [...this.#waiting.keys()]
  }

  /** ms until a look is due because something waits; undefined when nothing does. */
  get nextLookMs(): number | undefined {
    let next: number | undefined
    for (const [id, { present, since }] of this.#waiting) {
      const isCut = present[0] !== undefined && this.#isCut(present[0])
      // Until it is whole again looking confirms nothing.
      if (present.length === 0 && this.#inForce.get(id)?.source.isBroken === true) continue
      const inMs = isCut ? this.#patience.cutMs : since === undefined ? undefined : this.#patience.confirmMs / 4
      if (inMs !== undefined && !this.#isSettled(id)) next = Math.min(next ?? inMs, inMs)
    }
    return next
  }

  #isSettled(id: string): boolean {
    const first = this.#waiting.get(id)?.present[0]
    return first !== undefined && first === this.#inForce.get(id)
  }

  /** What is to be delivered of this object now, which is then in force; only what `isAtHand` can be delivered. */
  decide(id: string, now: number, isAtHand: (record: ManifestRecord) => boolean): Change | undefined {
    const waiting = this.#waiting.get(id)
    if (waiting === undefined) return undefined
    const held = this.#inForce.get(id)
    const [wanted] = waiting.present
    if (wanted === undefined) return this.#decideAbsent(id, held, waiting, now)
    const change = this.#decidePresent(id, held, wanted, { waiting, now })
    if (change === undefined || !isAtHand(wanted)) return undefined
    this.#settle(id, waiting, wanted)
    return change
  }

  #decidePresent(
    id: string,
    held: ManifestRecord | undefined,
    wanted: ManifestRecord,
    { waiting, now }: { readonly waiting: Waiting; readonly now: number },
  ): Change | undefined {
    if (this.#isCut(wanted) && now - wanted.source.changedAt < this.#patience.cutMs && held?.digest !== wanted.digest)
      return undefined
    if (held === undefined) return { upsert: wanted, isLoss: false }
    if (isOther(held, wanted)) return { remove: held, upsert: wanted, isLoss: false }
    if (held.digest === wanted.digest && held.apiVersion === wanted.apiVersion) {
      if (held !== wanted) held.movedTo = wanted
      this.#settle(id, waiting, wanted)
      return undefined
    }
    const isLoss = waiting.hasRival || losesPart(held, wanted)
    if (isLoss && !this.#isConfirmed(waiting, wanted, now)) return undefined
    const isUnserved = isServed(held) && !isServed(wanted)
    return { ...(isUnserved ? { remove: held } : {}), upsert: wanted, isLoss }
  }

  #decideAbsent(id: string, held: ManifestRecord | undefined, waiting: Waiting, now: number): Change | undefined {
    if (held?.source.isBroken === true) {
      Object.assign(waiting, { since: now, looks: 0 })
      return undefined
    }
    if (held !== undefined && !this.#isConfirmed(waiting, held, now)) return undefined
    this.#waiting.delete(id)
    this.#inForce.delete(id)
    return held === undefined ? undefined : { remove: held, isLoss: true }
  }

  #isConfirmed(waiting: Waiting, { source }: ManifestRecord, now: number): boolean {
    waiting.since ??= now
    if (waiting.lastLook !== this.#look) waiting.looks++
    waiting.lastLook = this.#look
    const { confirmMs, confirmAllMs } = this.#patience
    const isAbsent = waiting.present.length === 0
    const neededMs = isAbsent && this.#isNearlyAllGone ? confirmAllMs : confirmMs
    const waitedMs = now - waiting.since
    const quietMs = source.isGone ? waitedMs : now - source.changedAt
    if (waiting.looks < looksNeeded || waitedMs < neededMs) return false
    return quietMs >= neededMs || waitedMs >= neededMs * restlessFactor
  }

  #isCut({ source, openPath }: ManifestRecord): boolean {
    return source.isCut && openPath !== undefined && openPath.length > 0
  }

  #settle(id: string, waiting: Waiting, record: ManifestRecord): void {
    this.#inForce.set(id, record)
    // It may have been left before, and be where those lead that were in force since.
    record.movedTo = undefined
    if (waiting.present.length === 1) this.#waiting.delete(id)
    else Object.assign(waiting, { since: undefined, looks: 0, hasRival: false })
  }

  /** One for each version that is not in force because another file comes first. */
  problems(): readonly Problem[] {
    return [...this.#waiting.values()]
      .filter(({ present }) => present.length > 1)
      .flatMap(({ present: [first, ...others] }) =>
        first === undefined ? [] : others.map((found) => duplicateProblem(found, found, first)),
      )
  }
}

/** Another uid is another object, whatever its name. */
function isOther({ version: { uid: before } }: ManifestRecord, { version: { uid: now } }: ManifestRecord): boolean {
  return before !== undefined && now !== undefined && before !== now
}

function losesPart(held: ManifestRecord, wanted: ManifestRecord): boolean {
  if (isServed(held) && !isServed(wanted)) return true
  const loss = lossOf(held.shape, wanted.shape)
  if (loss === undefined) return false
  // Endpoints come and go all the time: only where the file may end too early is a shorter list doubted.
  return wanted.kind !== 'EndpointSlice' || isOpenAt(wanted, loss)
}

function isOpenAt({ path: base, openPath }: ManifestRecord, loss: Path): boolean {
  const path = [...base, ...loss]
  return openPath !== undefined && path.length < openPath.length && path.every((step, at) => step === openPath[at])
}

function byPlace(a: ManifestRecord, b: ManifestRecord): number {
  if (a.source !== b.source) return a.source.name < b.source.name ? -1 : 1
  return a.start - b.start || comparePaths(a.path, b.path)
}

function comparePaths(a: Path, b: Path): number {
  const at = a.findIndex((step, index) => step !== b[index])
  return at < 0 ? 0 : Number(a[at]) - Number(b[at])
}
