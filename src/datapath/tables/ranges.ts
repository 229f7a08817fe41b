/**
 * Source ranges: sets of them, which frontends and VIPs name. A set is written whole before it is named, is never
 * changed, and goes when nobody has named it for a while, so that no packet meets half of one: it is judged by the
 * ranges before a change or by those after it. Equal sets are one.
 *
 *     take:  entries of a new set --> (the frontend names it) --> nobody names the one before --> a second --> gone
 *
 * A set is read back whole after it was written. What somebody else changes in it later, or writes into it, is found
 * some entries with each reading: the thousand ports of a Service may name a thousand ranges. Pure.
 */
import type { SourceRange } from '../../desired/model.ts'
import { HeraldError } from '../../errors.ts'
import { decodeRangeKey, encodeRangeKey } from '../layout.ts'
import { indexKey, indexOf, type MapEntry, type MapStore } from '../maps.ts'
import { IdPool } from '../slots.ts'
import type { TableTimes } from './backends.ts'

/** A packet that read a frontend just before it was replaced reads its ranges within this. */
const graceNs = 1_000_000_000n
/** Entries of a set, and of the map, that are looked at with each reading of a set. */
const walkedAtOnce = 64

interface Held {
  readonly id: number
  readonly name: string
  /** In the order of {@link inOrder}. */
  readonly ranges: readonly SourceRange[]
  readonly prefixes: ReadonlySet<string>
  /** What was not as it was written when it was looked at last: as it was; undefined: it was not there. */
  readonly edited: Map<string, SourceRange | undefined>
  /** Where the next reading goes on. */
  next: number
  /** It was not read back since it was written. */
  isUnread: boolean
  users: number
  leavesNs: bigint | undefined
}

export class RangeTable {
  readonly #store: MapStore
  readonly #times: TableTimes
  readonly #ids: IdPool
  readonly #byName = new Map<string, Held>()
  readonly #byId = new Map<number, Held>()
  readonly #leaving = new Set<Held>()
  /** By set: what somebody else put into it. */
  readonly #foreign = new Map<number, readonly SourceRange[]>()
  /** In a row of readings: the sets that were looked at in it. */
  #looked: Set<Held | undefined> | undefined
  #walk: Iterator<readonly [Uint8Array, Uint8Array]> | undefined
  #used = 0

  /** Takes over every set; those that nobody takes until {@link finishAdoption} go. */
  constructor(store: MapStore, times: TableTimes) {
    this.#store = store
    this.#times = times
    this.#ids = new IdPool('sets of source ranges', 2 ** 31)
    this.#ids.reserve(0)
    const found = [...store.entries()].map(([key, value]) => {
      const { set, prefix } = decodeRangeKey(key)
      return { key, set, range: { prefix, isAllowed: indexOf(value) !== 0 } }
    })
    for (const [id, entries] of Map.groupBy(found, ({ set }) => set))
      if (id !== 0) this.#hold(id, inOrder(entries.map(({ range }) => range)))
      // Whoever names 0 lets everybody in: it is no set.
      else for (const { key } of entries) store.delete(key)
  }

  get used(): number {
    return this.#used
  }

  get maxEntries(): number {
    return this.#store.maxEntries
  }

  /**
   * A set of exactly these, which is to be given back; 0: everybody. Throws ERR_MAP_FULL and has changed nothing then.
   */
  take(wanted: readonly SourceRange[] | undefined): number {
    if (wanted === undefined) return 0
    const ranges = inOrder(wanted)
    const held = this.#byName.get(nameOf(ranges)) ?? this.#make(ranges)
    if (!this.#isIntact(held)) this.#restore(held)
    held.users++
    held.leavesNs = undefined
    this.#leaving.delete(held)
    return held.id
  }

  /** Once for each {@link take} or {@link adopt}. */
  give(set: number): void {
    const held = this.#byId.get(set)
    if (held === undefined || --held.users > 0) return
    held.leavesNs = this.#times.nowNs() + graceNs
    this.#leaving.add(held)
  }

  /** A frontend that was found names it. */
  adopt(set: number): void {
    if (set === 0) return
    const held = this.#byId.get(set) ?? this.#hold(set, [])
    held.users++
  }

  finishAdoption(): void {
    for (const held of [...this.#byId.values()]) if (held.users === 0) this.#remove(held)
  }

  /** What the map holds of a set, and what packets are judged by; undefined: everybody is let in. */
  read(set: number): readonly SourceRange[] | undefined {
    if (set === 0) return undefined
    this.#walkOn()
    const held = this.#byId.get(set)
    if (held === undefined) return this.#foreign.get(set) ?? []
    this.#look(held)
    const foreign = this.#foreign.get(set)
    const { ranges, edited } = held
    if (edited.size === 0 && foreign === undefined) return ranges
    const own = ranges.flatMap((range) => (edited.has(range.prefix) ? (edited.get(range.prefix) ?? []) : range))
    return inOrder([...own, ...(foreign ?? [])])
  }

  /** Until {@link endRow} a set is looked at once, however many ports name it. */
  beginRow(): void {
    this.#looked = new Set()
  }

  endRow(): void {
    this.#looked = undefined
  }

  #isLookedAt(held: Held | undefined): boolean {
    if (this.#looked?.has(held) === true) return true
    this.#looked?.add(held)
    return false
  }

  /** At the next entries of a set; at all of them where it was written. */
  #look(held: Held): void {
    if (!held.isUnread && this.#isLookedAt(held)) return
    const { id, ranges, edited } = held
    const count = held.isUnread ? ranges.length : Math.min(walkedAtOnce, ranges.length)
    for (let left = count; left > 0; left--) {
      const range = ranges[held.next++ % ranges.length]
      if (range === undefined) continue
      const value = this.#get(id, range.prefix)
      const isAllowed = value === undefined ? undefined : indexOf(value) !== 0
      if (isAllowed === range.isAllowed) edited.delete(range.prefix)
      else edited.set(range.prefix, isAllowed === undefined ? undefined : { prefix: range.prefix, isAllowed })
    }
    held.next %= Math.max(1, ranges.length)
    held.isUnread = false
  }

  /** As it was written; undefined for 0. */
  known(set: number): readonly SourceRange[] | undefined {
    return set === 0 ? undefined : (this.#byId.get(set)?.ranges ?? [])
  }

  /** Ends what nobody names any more. */
  purge(): void {
    if (this.#leaving.size === 0) return
    const now = this.#times.nowNs()
    for (const held of this.#leaving) {
      if ((held.leavesNs ?? now) > now) return
      this.#remove(held)
    }
  }

  #hold(id: number, ranges: readonly SourceRange[]): Held {
    const prefixes = new Set(ranges.map(({ prefix }) => prefix))
    const read = { edited: new Map<string, SourceRange | undefined>(), next: 0, isUnread: true }
    const held: Held = { id, name: nameOf(ranges), ranges, prefixes, ...read, users: 0, leavesNs: undefined }
    this.#ids.reserve(id)
    this.#byId.set(id, held)
    // A set that is there twice, as a crash may leave it, is one of them for whoever asks for it next.
    if (!this.#byName.has(held.name)) this.#byName.set(held.name, held)
    this.#used += ranges.length
    return held
  }

  #make(ranges: readonly SourceRange[]): Held {
    const id = this.#ids.take(this.#times.nowNs())
    const entries = entriesOf(id, ranges)
    try {
      this.#store.putAll(entries)
    } catch (error) {
      const written = error instanceof HeraldError ? (error.written ?? 0) : 0
      for (const [key] of entries.slice(0, written)) this.#store.delete(key)
      this.#ids.give(id, this.#times.nowNs())
      throw error
    }
    return this.#hold(id, ranges)
  }

  #get(set: number, prefix: string): Uint8Array | undefined {
    const key = encodeRangeKey({ set, prefix })
    return key === undefined ? undefined : this.#store.get(key)
  }

  #remove(held: Held): void {
    for (const { prefix } of [...held.ranges, ...(this.#foreign.get(held.id) ?? [])]) this.#delete(held.id, prefix)
    this.#foreign.delete(held.id)
    this.#leaving.delete(held)
    this.#byId.delete(held.id)
    if (this.#byName.get(held.name) === held) this.#byName.delete(held.name)
    this.#used -= held.ranges.length
    this.#ids.give(held.id, this.#times.nowNs())
  }

  #delete(set: number, prefix: string): void {
    const key = encodeRangeKey({ set, prefix })
    if (key !== undefined) this.#store.delete(key)
  }

  #isIntact(held: Held): boolean {
    if (this.#foreign.has(held.id)) return false
    this.#look(held)
    return held.edited.size === 0
  }

  #restore(held: Held): void {
    this.#store.putAll(entriesOf(held.id, held.ranges))
    held.isUnread = true
    for (const { prefix } of this.#foreign.get(held.id) ?? []) this.#delete(held.id, prefix)
    this.#foreign.delete(held.id)
  }

  #walkOn(): void {
    if (this.#isLookedAt(undefined)) return
    this.#walk ??= this.#store.entries()[Symbol.iterator]()
    for (let left = walkedAtOnce; left > 0; left--) {
      const next = this.#walk.next()
      if (next.done === true) {
        this.#walk = undefined
        return
      }
      this.#lookAt(...next.value)
    }
  }

  #lookAt(key: Uint8Array, value: Uint8Array): void {
    const { set, prefix } = decodeRangeKey(key)
    const held = this.#byId.get(set)
    if (held === undefined) this.#store.delete(key)
    else if (!held.prefixes.has(prefix)) {
      const others = (this.#foreign.get(set) ?? []).filter((range) => range.prefix !== prefix)
      this.#foreign.set(set, [...others, { prefix, isAllowed: indexOf(value) !== 0 }])
    }
  }
}

function entriesOf(set: number, ranges: readonly SourceRange[]): readonly MapEntry[] {
  return ranges.map(({ prefix, isAllowed }) => [
    encodeRangeKey({ set, prefix }) ?? new Uint8Array(),
    indexKey(isAllowed ? 1 : 0),
  ])
}

const names = new WeakMap<readonly SourceRange[], string>()

/** Made once for each list: every port of a Service has the same one. */
function nameOf(ranges: readonly SourceRange[]): string {
  const known = names.get(ranges)
  if (known !== undefined) return known
  const made = ranges.map(({ prefix, isAllowed }) => `${isAllowed ? '+' : '-'}${prefix}`).join(' ')
  names.set(ranges, made)
  return made
}

/** Each once; by text, which is canonical. The very list where it is so already. */
function inOrder(ranges: readonly SourceRange[]): readonly SourceRange[] {
  if (ranges.every(({ prefix }, index) => index === 0 || (ranges[index - 1]?.prefix ?? '') < prefix)) return ranges
  return [...new Map(ranges.map((range) => [range.prefix, range])).values()].sort((a, b) =>
    a.prefix < b.prefix ? -1 : Number(a.prefix > b.prefix),
  )
}
