/** Who owns which place in the arrays of the kernel: ids, backend slots, stretches of the map of tables. */
import { HeraldError } from '../errors.ts'

/**
 * Hands out the numbers below `size`. A returned one rests until its time, and comes back last, so that what still
 * names it ages first; but before one from `preferred` on that is fresh.
 */
export class IdPool {
  readonly #name: string
  readonly #size: number
  readonly #preferred: number
  /** By number as far as one was in use, 1: it is. In a set each of thousands takes thirty times as much. */
  #isUsed = new Uint8Array(64)
  #used = 0
  readonly #returned: { readonly id: number; readonly fromNs: bigint }[] = []
  #next = 0
  #head = 0

  constructor(name: string, size: number, preferred = size) {
    this.#name = name
    this.#size = size
    this.#preferred = Math.min(preferred, size)
  }

  get used(): number {
    return this.#used
  }

  /** Takes a number that is known to be in use; only before the first {@link take}. */
  reserve(id: number): void {
    if (id >= this.#size || this.#isUsed[id] === 1) return
    if (id >= this.#isUsed.length) {
      const more = new Uint8Array(Math.min(this.#size, Math.max(id + 1, 2 * this.#isUsed.length)))
      more.set(this.#isUsed)
      this.#isUsed = more
    }
    this.#isUsed[id] = 1
    this.#used++
  }

  /** Throws ERR_MAP_FULL when none is left. */
  take(nowNs: bigint): number {
    const id = this.#fresh(this.#preferred) ?? this.#oldestReturned(nowNs) ?? this.#fresh(this.#size)
    if (id === undefined) throw new HeraldError('ERR_MAP_FULL', `all ${this.#size} ${this.#name} are in use`)
    this.reserve(id)
    return id
  }

  #fresh(below: number): number | undefined {
    while (this.#next < below && this.#isUsed[this.#next] === 1) this.#next++
    return this.#next < below ? this.#next++ : undefined
  }

  /** Free from `fromNs` on. */
  give(id: number, fromNs: bigint): void {
    if (this.#isUsed[id] !== 1) return
    this.#isUsed[id] = 0
    this.#used--
    this.#returned.push({ id, fromNs })
  }

  #oldestReturned(nowNs: bigint): number | undefined {
    for (let found = this.#returned[this.#head]; found !== undefined; found = this.#returned[this.#head]) {
      if (found.fromNs > nowNs) return undefined
      this.#head++
      // The front of the queue is cut off once it is most of it: amortised constant time.
      if (this.#head * 2 > this.#returned.length) {
        this.#returned.splice(0, this.#head)
        this.#head = 0
      }
      // A reserved number may have been handed out as a fresh one after it was returned.
      if (this.#isUsed[found.id] !== 1) return found.id
    }
    return undefined
  }
}

interface Stretch {
  readonly offset: number
  readonly length: number
}

/**
 * Stretches of one array, first fit. A returned one rests for `graceNs` before it is used again: a packet that read the
 * old frontend may still be reading the old table.
 */
export class StretchPool {
  readonly #graceNs: bigint
  #used: number
  #free: Stretch[]
  #resting: (Stretch & { readonly untilNs: bigint })[] = []

  constructor(size: number, graceNs: bigint, used: readonly Stretch[]) {
    this.#graceNs = graceNs
    this.#free = []
    let at = 0
    for (const stretch of [...used].sort((a, b) => a.offset - b.offset)) {
      if (stretch.offset > at) this.#free.push({ offset: at, length: stretch.offset - at })
      at = Math.max(at, stretch.offset + stretch.length)
    }
    if (at < size) this.#free.push({ offset: at, length: size - at })
    this.#used = size - this.#free.reduce((sum, { length }) => sum + length, 0)
  }

  /** Slots that are neither free nor resting. */
  get used(): number {
    return this.#used
  }

  /** The offset of `length` free slots. Throws ERR_MAP_FULL when no stretch is long enough. */
  take(length: number, nowNs: bigint): number {
    this.#wake(nowNs)
    const index = this.#free.findIndex((stretch) => stretch.length >= length)
    const found = this.#free[index]
    if (found === undefined)
      throw new HeraldError('ERR_MAP_FULL', `no ${length} free slots in a row are left for a Maglev table`)
    if (found.length === length) this.#free.splice(index, 1)
    else this.#free[index] = { offset: found.offset + length, length: found.length - length }
    this.#used += length
    return found.offset
  }

  give(offset: number, length: number, nowNs: bigint): void {
    this.#used -= length
    this.#resting.push({ offset, length, untilNs: nowNs + this.#graceNs })
  }

  #wake(nowNs: bigint): void {
    const ready = this.#resting.findIndex((stretch) => stretch.untilNs > nowNs)
    for (const stretch of this.#resting.splice(0, ready < 0 ? this.#resting.length : ready)) this.#merge(stretch)
  }

  #merge(stretch: Stretch): void {
    let low = 0
    for (let high = this.#free.length; low < high; ) {
      const middle = (low + high) >> 1
      if ((this.#free[middle]?.offset ?? 0) < stretch.offset) low = middle + 1
      else high = middle
    }
    let { offset, length } = stretch
    const [before, after] = [this.#free[low - 1], this.#free[low]]
    const joinsBefore = before !== undefined && before.offset + before.length === offset
    const joinsAfter = after !== undefined && offset + length === after.offset
    if (joinsBefore) offset = before.offset
    length += (joinsBefore ? before.length : 0) + (joinsAfter ? after.length : 0)
    this.#free.splice(low - (joinsBefore ? 1 : 0), (joinsBefore ? 1 : 0) + (joinsAfter ? 1 : 0), { offset, length })
  }
}
