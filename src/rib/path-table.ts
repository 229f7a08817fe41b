/**
 * Paths of one family in columns of numbers: (prefix, path identifier) -> attribute block, time, marks.
 *
 *     hash of the prefix --probing--> slot: key words, length, identifier, block, time, marks
 *
 * A million prefixes are five arrays and no object. Paths of one prefix differ in their identifier only and lie in one
 * run of probes, so that all of them are found.
 */
import { type Prefix, prefixLength } from '../ip/prefix.ts'

/** Marks of a slot beside its length. */
export const Mark = { stale: 1, refresh: 2 } as const

/** Paths of one prefix: enough for a fabric, and no chain that a peer could make endless (RFC 7911). */
export const maxPathsPerPrefix = 64

const firstSlots = 64
const groupBits = 4
const groupMask = (1 << groupBits) - 1
/**
 * From a taken slot probing goes on in the next group: with steps of one, two groups that meet would make each of their
 * prefixes walk past all of the other's. Odd, so that every slot comes by; the inverse modulo 2^32 counts steps.
 */
const stride = 17
const inverseStride = 0xf0f0f0f1

export class PathTable {
  /** 32-bit words of an address: 1 or 4. */
  readonly #words: 1 | 4
  readonly #seed: number
  size = 0
  #keys: Uint32Array
  /** Prefix length + 1; 0 is an empty slot. */
  #lengths: Uint8Array
  #marks: Uint8Array
  #blocks: Uint32Array
  #times: Uint32Array
  /** Only where RFC 7911 was negotiated. */
  #pathIds: Uint32Array | undefined
  readonly #key = new Uint32Array(4)

  constructor(words: 1 | 4, seed: number) {
    this.#words = words
    this.#seed = seed >>> 0
    this.#keys = new Uint32Array(firstSlots * words)
    this.#lengths = new Uint8Array(firstSlots)
    this.#marks = new Uint8Array(firstSlots)
    this.#blocks = new Uint32Array(firstSlots)
    this.#times = new Uint32Array(firstSlots)
  }

  get bytes(): number {
    return (
      this.#keys.byteLength +
      this.#lengths.byteLength +
      this.#marks.byteLength +
      this.#blocks.byteLength +
      this.#times.byteLength +
      (this.#pathIds?.byteLength ?? 0)
    )
  }

  get slots(): number {
    return this.#lengths.length
  }

  /** The slot of a path, or -1. */
  find(prefix: Prefix, pathId: number): number {
    const slot = this.#locate(prefix, pathId)
    return this.#lengths[slot] === 0 ? -1 : slot
  }

  /** Every slot of a prefix. */
  findAll(prefix: Prefix): readonly number[] {
    const found: number[] = []
    const length = this.#read(prefix)
    const mask = this.#lengths.length - 1
    for (let slot = this.#home(length) & mask; this.#lengths[slot] !== 0; slot = (slot + stride) & mask)
      if (this.#isKey(slot, length)) found.push(slot)
    return found
  }

  /** Replaces or adds a path and clears its marks; answers the block that it had, or -1. */
  set(prefix: Prefix, pathId: number, block: number, timeSec: number): number {
    if (pathId !== 0 && this.#pathIds === undefined) this.#pathIds = new Uint32Array(this.#lengths.length)
    const length = this.#read(prefix)
    let slot = this.#probe(length, pathId)
    let previous = -1
    if (this.#lengths[slot] !== 0) previous = this.#blocks[slot] as number
    else {
      if ((this.size + 1) * 4 > this.#lengths.length * 3) {
        this.#resize(this.#lengths.length * 2)
        this.#read(prefix)
        slot = this.#probe(length, pathId)
      }
      this.#write(slot, length, pathId)
      this.size++
    }
    this.#blocks[slot] = block
    this.#times[slot] = timeSec
    this.#marks[slot] = 0
    return previous
  }

  /** Removes a path; answers the block that it had, or -1. */
  delete(prefix: Prefix, pathId: number): number {
    const slot = this.find(prefix, pathId)
    if (slot < 0) return -1
    const block = this.#blocks[slot] as number
    this.#remove(slot)
    return block
  }

  isUsed(slot: number): boolean {
    return this.#lengths[slot] !== 0
  }

  blockAt(slot: number): number {
    return this.#blocks[slot] as number
  }

  timeAt(slot: number): number {
    return this.#times[slot] as number
  }

  pathIdAt(slot: number): number {
    return this.#pathIds?.[slot] ?? 0
  }

  isMarked(slot: number, mark: number): boolean {
    return ((this.#marks[slot] as number) & mark) !== 0
  }

  prefixAt(slot: number): Prefix {
    const length = (this.#lengths[slot] as number) - 1
    if (this.#words === 1) return (this.#keys[slot] as number) * 64 + length
    let text = ''
    for (let i = 0; i < 16; i++)
      text += String.fromCharCode(((this.#keys[slot * 4 + (i >> 2)] as number) >>> (24 - 8 * (i & 3))) & 255)
    return text + String.fromCharCode(length)
  }

  /**
   * Adds to `found` the slots of the paths whose probing begins at one place, and answers the place to go on with; 0
   * is the first, and as an answer the end. Places come by reversed bits: when the table doubles or halves between two
   * calls, the places that were seen are again exactly those before the cursor.
   */
  bucket(cursor: number, found: number[]): number {
    const mask = this.#lengths.length - 1
    const home = cursor & mask
    for (let slot = home; this.#lengths[slot] !== 0; slot = (slot + stride) & mask)
      if ((this.#homeOf(slot) & mask) === home) found.push(slot)
    return reversed(reversed(cursor | ~mask) + 1)
  }

  /** Marks every path. */
  markAll(mark: number): void {
    for (let slot = 0; slot < this.#lengths.length; slot++)
      if (this.#lengths[slot] !== 0) this.#marks[slot] = (this.#marks[slot] as number) | mark
  }

  /** Removes every path with this mark, told one by one before it goes. */
  sweep(mark: number, gone: (slot: number) => void): void {
    const doomed: (readonly [Prefix, number])[] = []
    for (let slot = 0; slot < this.#lengths.length; slot++) {
      if (this.#lengths[slot] === 0 || !this.isMarked(slot, mark)) continue
      gone(slot)
      doomed.push([this.prefixAt(slot), this.pathIdAt(slot)])
    }
    for (const [prefix, pathId] of doomed) this.delete(prefix, pathId)
    const fitting = fittingSlots(this.size)
    if (fitting < this.#lengths.length / 4) this.#resize(fitting)
  }

  /** Address into the scratch key; answers length + 1. */
  #read(prefix: Prefix): number {
    const key = this.#key
    if (typeof prefix === 'number') {
      key[0] = Math.floor(prefix / 64)
      return (prefix % 64) + 1
    }
    for (let word = 0; word < 4; word++) {
      const at = word * 4
      key[word] =
        ((prefix.charCodeAt(at) << 24) |
          (prefix.charCodeAt(at + 1) << 16) |
          (prefix.charCodeAt(at + 2) << 8) |
          prefix.charCodeAt(at + 3)) >>>
        0
    }
    return prefixLength(prefix) + 1
  }

  /**
   * Of the scratch key. IPv4 prefixes that follow each other, as routers send them, lie side by side: the last four
   * bits of the network number choose the slot in a group, the rest is hashed. One line of the cache then serves
   * several.
   */
  #home(length: number): number {
    if (this.#words === 1) {
      const network = length === 1 ? 0 : (this.#key[0] as number) >>> (33 - length)
      return (
        ((mixed(this.#seed ^ Math.imul(length, 0x9e3779b1), network >>> groupBits, this.#seed) << groupBits) |
          (network & groupMask)) >>>
        0
      )
    }
    let hash = this.#seed ^ Math.imul(length, 0x9e3779b1)
    for (let word = 0; word < this.#words; word++) hash = mixed(hash, this.#key[word] as number, this.#seed)
    return hash >>> 0
  }

  #homeOf(slot: number): number {
    for (let word = 0; word < this.#words; word++) this.#key[word] = this.#keys[slot * this.#words + word] as number
    return this.#home(this.#lengths[slot] as number)
  }

  #isKey(slot: number, length: number): boolean {
    if (this.#lengths[slot] !== length) return false
    if (this.#words === 1) return this.#keys[slot] === this.#key[0]
    for (let word = 0; word < 4; word++) if (this.#keys[slot * 4 + word] !== this.#key[word]) return false
    return true
  }

  /** The slot of a path, or the empty one where it would go. */
  #locate(prefix: Prefix, pathId: number): number {
    return this.#probe(this.#read(prefix), pathId)
  }

  /** The same for the scratch key. */
  #probe(length: number, pathId: number): number {
    const lengths = this.#lengths
    const mask = lengths.length - 1
    let slot = this.#home(length) & mask
    while (lengths[slot] !== 0 && !(this.#isKey(slot, length) && this.pathIdAt(slot) === pathId))
      slot = (slot + stride) & mask
    return slot
  }

  /** Puts the scratch key into a slot. */
  #write(slot: number, length: number, pathId: number): void {
    this.#lengths[slot] = length
    for (let word = 0; word < this.#words; word++) this.#keys[slot * this.#words + word] = this.#key[word] as number
    if (this.#pathIds !== undefined) this.#pathIds[slot] = pathId
  }

  /** What follows moves up, so that no gap cuts a run of slots. */
  #remove(slot: number): void {
    const mask = this.#lengths.length - 1
    let gap = slot
    for (let next = (gap + stride) & mask; this.#lengths[next] !== 0; next = (next + stride) & mask) {
      const home = this.#homeOf(next) & mask
      if (steps(home, next, mask) < steps(gap, next, mask)) continue
      this.#move(next, gap)
      gap = next
    }
    this.#lengths[gap] = 0
    this.size--
  }

  #move(from: number, to: number): void {
    for (let word = 0; word < this.#words; word++)
      this.#keys[to * this.#words + word] = this.#keys[from * this.#words + word] as number
    this.#lengths[to] = this.#lengths[from] as number
    this.#marks[to] = this.#marks[from] as number
    this.#blocks[to] = this.#blocks[from] as number
    this.#times[to] = this.#times[from] as number
    if (this.#pathIds !== undefined) this.#pathIds[to] = this.#pathIds[from] as number
  }

  #resize(slots: number): void {
    const [oldKeys, oldLengths, oldMarks, oldBlocks, oldTimes, oldPathIds] = [
      this.#keys,
      this.#lengths,
      this.#marks,
      this.#blocks,
      this.#times,
      this.#pathIds,
    ]
    const words = this.#words
    const mask = slots - 1
    const key = this.#key
    const keys = (this.#keys = new Uint32Array(slots * words))
    const lengths = (this.#lengths = new Uint8Array(slots))
    const marks = (this.#marks = new Uint8Array(slots))
    const blocks = (this.#blocks = new Uint32Array(slots))
    const times = (this.#times = new Uint32Array(slots))
    const pathIds = oldPathIds === undefined ? undefined : (this.#pathIds = new Uint32Array(slots))
    for (let from = 0; from < oldLengths.length; from++) {
      const length = oldLengths[from] as number
      if (length === 0) continue
      for (let word = 0; word < words; word++) key[word] = oldKeys[from * words + word] as number
      let to = this.#home(length) & mask
      while (lengths[to] !== 0) to = (to + stride) & mask
      for (let word = 0; word < words; word++) keys[to * words + word] = key[word] as number
      lengths[to] = length
      marks[to] = oldMarks[from] as number
      blocks[to] = oldBlocks[from] as number
      times[to] = oldTimes[from] as number
      if (pathIds !== undefined && oldPathIds !== undefined) pathIds[to] = oldPathIds[from] as number
    }
  }
}

/** Probes from one slot to another. */
function steps(from: number, to: number, mask: number): number {
  return Math.imul(to - from, inverseStride) & mask
}

/** The 32 bits in the other order. */
function reversed(value: number): number {
  let bits = value
  bits = ((bits >>> 1) & 0x55555555) | ((bits & 0x55555555) << 1)
  bits = ((bits >>> 2) & 0x33333333) | ((bits & 0x33333333) << 2)
  bits = ((bits >>> 4) & 0x0f0f0f0f) | ((bits & 0x0f0f0f0f) << 4)
  bits = ((bits >>> 8) & 0x00ff00ff) | ((bits & 0x00ff00ff) << 8)
  return ((bits >>> 16) | (bits << 16)) >>> 0
}

/** 32 bits of both, by a multiplier that the seed decides. */
function mixed(hash: number, word: number, seed: number): number {
  let all = Math.imul(hash ^ word, (0x85ebca6b ^ seed) | 1)
  all = Math.imul(all ^ (all >>> 15), 0x2c1b3c6d)
  return all ^ (all >>> 13)
}

/** The least power of two that `size` fills by no more than three quarters. */
function fittingSlots(size: number): number {
  let slots = firstSlots
  while (size * 4 > slots * 3) slots *= 2
  return slots
}
