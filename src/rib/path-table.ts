/**
 * Paths of one family in columns of numbers: (prefix, path identifier) -> attribute block, time, round.
 *
 *     hash of the prefix --probing--> slot: key words, length, identifier, block, time, round
 *
 * A round is the span between two marks. Each path knows the round that it was announced in, so that to mark all of
 * them is one number, and what carries the mark is what is of an earlier round. What is doomed is removed in slices.
 *
 * A million prefixes are five arrays and no object. Paths of one prefix differ in their identifier only and lie in one
 * run of probes, so that all of them are found.
 */
import { type Prefix, prefixLength } from '../ip/prefix.ts'
import { free, type Slots } from './columns.ts'

/** What a path can carry that was not announced again since a moment: a restart of the peer, a BoRR. */
export type Mark = 'stale' | 'refresh'

/** Rounds are octets: when they run out, those that still mean something are numbered anew. */
const maxRound = 255

/** Paths of one prefix: enough for a fabric, and no chain that a peer could make endless (RFC 7911). */
export const maxPathsPerPrefix = 64

const firstSlots = 64
const smallSlots = 16_384
/** Of the slots: with three quarters taken, a new prefix walked past four others. */
const [fullNumerator, fullDenominator] = [5, 8] as const
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
  /** Slots that {@link findOrCount} and {@link findAll} went past, for tests of their bound. */
  passed = 0
  #keys: Uint32Array<ArrayBuffer>
  /** Prefix length + 1; 0 is an empty slot. */
  #lengths: Uint8Array<ArrayBuffer>
  #rounds: Uint8Array<ArrayBuffer>
  #blocks: Uint32Array<ArrayBuffer>
  #times: Uint32Array<ArrayBuffer>
  /** Only where RFC 7911 was negotiated. */
  #pathIds: Uint32Array<ArrayBuffer> | undefined
  readonly #key = new Uint32Array(4)
  /** Of paths that are announced now. */
  #round = 0
  /** A path was announced in this round. */
  #isRoundUsed = false
  /** Paths of an earlier round carry the mark; 0: none does. */
  readonly #marked: Record<Mark, number> = { stale: 0, refresh: 0 }
  /** Paths of an earlier round are to be removed; 0: none is. */
  #doomed = 0
  /** The next slot that the removal looks at. */
  #cursor = 0

  constructor(words: 1 | 4, seed: number) {
    this.#words = words
    this.#seed = seed >>> 0
    this.#keys = new Uint32Array(firstSlots * words)
    this.#lengths = new Uint8Array(firstSlots)
    this.#rounds = new Uint8Array(firstSlots)
    this.#blocks = new Uint32Array(firstSlots)
    this.#times = new Uint32Array(firstSlots)
  }

  get bytes(): number {
    return (
      this.#keys.byteLength +
      this.#lengths.byteLength +
      this.#rounds.byteLength +
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
    for (let slot = this.#home(length) & mask; this.#lengths[slot] !== 0; slot = (slot + stride) & mask) {
      this.passed++
      if (this.#isKey(slot, length)) found.push(slot)
    }
    return found
  }

  /** One walk: the slot of a path, or how many paths its prefix has beside it, as -1 - count. */
  findOrCount(prefix: Prefix, pathId: number): number {
    const length = this.#read(prefix)
    const mask = this.#lengths.length - 1
    let count = 0
    for (let slot = this.#home(length) & mask; this.#lengths[slot] !== 0; slot = (slot + stride) & mask) {
      this.passed++
      if (!this.#isKey(slot, length)) continue
      if (this.pathIdAt(slot) === pathId) return slot
      count++
    }
    return -1 - count
  }

  /** Replaces or adds a path, which carries no mark from then on; answers the block that it had, or -1. */
  set(prefix: Prefix, pathId: number, block: number, timeSec: number): number {
    if (pathId !== 0 && this.#pathIds === undefined) this.#pathIds = new Uint32Array(this.#lengths.length)
    const length = this.#read(prefix)
    const slot = this.#probe(length, pathId)
    if (this.#lengths[slot] !== 0) return this.#put(slot, block, timeSec)
    if (this.#isFull) {
      this.#grow()
      return this.set(prefix, pathId, block, timeSec)
    }
    this.#write(slot, length, pathId)
    this.size++
    this.#put(slot, block, timeSec)
    return -1
  }

  /**
   * The same for an IPv4 prefix without an identifier, of which no value is made; `word` is its address as 32 bits,
   * with a sign or without.
   */
  setIpv4(word: number, length: number, block: number, timeSec: number): number {
    const slot = this.#probeWord(length + 1, word)
    if (this.#lengths[slot] !== 0) return this.#put(slot, block, timeSec)
    if (this.#isFull) {
      this.#grow()
      return this.setIpv4(word, length, block, timeSec)
    }
    this.#keys[slot] = word
    this.#lengths[slot] = length + 1
    if (this.#pathIds !== undefined) this.#pathIds[slot] = 0
    this.size++
    this.#put(slot, block, timeSec)
    return -1
  }

  get #isFull(): boolean {
    return (this.size + 1) * fullDenominator > this.#lengths.length * fullNumerator
  }

  /** Small tables by more at a time: all that is in them moves. */
  #grow(): void {
    const slots = this.#lengths.length
    this.#resize(slots < smallSlots ? slots * 4 : slots * 2)
  }

  /** Answers the block that was there. */
  #put(slot: number, block: number, timeSec: number): number {
    const previous = this.#blocks[slot] as number
    this.#blocks[slot] = block
    this.#times[slot] = timeSec
    this.#rounds[slot] = this.#round
    this.#isRoundUsed = true
    return previous
  }

  /** {@link #probe} for an IPv4 prefix without an identifier. */
  #probeWord(length: number, word: number): number {
    const [lengths, keys] = [this.#lengths, this.#keys]
    const mask = lengths.length - 1
    let slot = this.#homeOfWord(length, word) & mask
    for (let found = lengths[slot]; found !== 0; found = lengths[slot]) {
      if (found === length && ((keys[slot] as number) ^ word) === 0 && this.pathIdAt(slot) === 0) break
      slot = (slot + stride) & mask
    }
    return slot
  }

  /** Removes a path; answers the block that it had, or -1. */
  delete(prefix: Prefix, pathId: number): number {
    const slot = this.find(prefix, pathId)
    if (slot < 0) return -1
    const block = this.#blocks[slot] as number
    this.#remove(slot)
    return block
  }

  /** The slots that are taken, while the table does not change. */
  *used(): Generator<number, void> {
    for (let slot = 0; slot < this.#lengths.length; slot++) if (this.#lengths[slot] !== 0) yield slot
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

  isMarked(slot: number, mark: Mark): boolean {
    return (this.#rounds[slot] as number) < this.#marked[mark]
  }

  lengthAt(slot: number): number {
    return (this.#lengths[slot] as number) - 1
  }

  /** A 32-bit word of the address. */
  wordAt(slot: number, word: number): number {
    return this.#keys[slot * this.#words + word] as number
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
  bucket(cursor: number, found: Slots): number {
    const mask = this.#lengths.length - 1
    const home = cursor & mask
    for (let slot = home; this.#lengths[slot] !== 0; slot = (slot + stride) & mask)
      if ((this.#homeOf(slot) & mask) === home) found.add(slot)
    return reversed(reversed(cursor | ~mask) + 1)
  }

  /** Every path that is there carries the mark; costs the same however many there are. */
  mark(mark: Mark): void {
    if (this.#isRoundUsed || this.#round === 0) {
      if (this.#round === maxRound) this.#renumber()
      this.#round++
      this.#isRoundUsed = false
    }
    this.#marked[mark] = this.#round
  }

  /** Nothing carries the mark any more. */
  unmark(mark: Mark): void {
    this.#marked[mark] = 0
  }

  /** What carries the mark is to be removed: by {@link sweep}, from the beginning. */
  doom(mark: Mark): void {
    if (this.#marked[mark] === 0) return
    this.#doomed = Math.max(this.#doomed, this.#marked[mark])
    this.#marked[mark] = 0
    this.#cursor = 0
  }

  /** Something doomed may be left. */
  get isDoomed(): boolean {
    return this.#doomed > 0
  }

  /**
   * Looks at so many slots and removes what is doomed of them, told one by one before it goes; answers what is left.
   */
  sweep(slots: number, gone: (slot: number) => void): number {
    if (this.#doomed === 0) return slots
    for (let left = slots; left > 0; left--) {
      const slot = this.#cursor
      if (slot >= this.#lengths.length) return this.#endSweep(left)
      if (this.#lengths[slot] !== 0 && (this.#rounds[slot] as number) < this.#doomed) {
        gone(slot)
        // What moves up into the slot is looked at next.
        this.#remove(slot)
      } else this.#cursor++
    }
    return 0
  }

  #endSweep(left: number): number {
    this.#doomed = this.#cursor = 0
    const fitting = fittingSlots(this.size)
    if (fitting < this.#lengths.length / 4) this.#resize(fitting)
    return left
  }

  /** The least numbers that keep every path on its side of each mark. */
  #renumber(): void {
    const limits = [...new Set([this.#marked.stale, this.#marked.refresh, this.#doomed])].sort((a, b) => a - b)
    const renumbered = (round: number): number => limits.filter((limit) => limit > 0 && limit <= round).length
    const table = Uint8Array.from({ length: maxRound + 1 }, (_, round) => renumbered(round))
    for (let slot = 0; slot < this.#rounds.length; slot++)
      this.#rounds[slot] = table[this.#rounds[slot] as number] as number
    this.#marked.stale = renumbered(this.#marked.stale)
    this.#marked.refresh = renumbered(this.#marked.refresh)
    this.#doomed = renumbered(this.#doomed)
    this.#round = limits.length
  }

  /** Address into the scratch key; answers length + 1. */
  #read(prefix: Prefix): number {
    const key = this.#key
    if (typeof prefix === 'number') {
      const address = Math.floor(prefix / 64)
      key[0] = address
      // Not by %: of numbers beyond 31 bits that is a call of fmod(3).
      return prefix - address * 64 + 1
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
    if (this.#words === 1) return this.#homeOfWord(length, this.#key[0] as number)
    let hash = this.#seed ^ Math.imul(length, 0x9e3779b1)
    for (let word = 0; word < this.#words; word++) hash = mixed(hash, this.#key[word] as number, this.#seed)
    return hash >>> 0
  }

  #homeOfWord(length: number, key: number): number {
    const network = length === 1 ? 0 : key >>> (33 - length)
    const hash = mixed(this.#seed ^ Math.imul(length, 0x9e3779b1), network >>> groupBits, this.#seed)
    return ((hash << groupBits) | (network & groupMask)) >>> 0
  }

  #homeOf(slot: number): number {
    return this.#homeIn(this.#keys, slot, this.#lengths[slot] as number)
  }

  #homeIn(keys: Uint32Array, slot: number, length: number): number {
    for (let word = 0; word < this.#words; word++) this.#key[word] = keys[slot * this.#words + word] as number
    return this.#home(length)
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
    // The removal has not seen what comes from behind it.
    if (to < this.#cursor && from >= this.#cursor) this.#cursor = to
    for (let word = 0; word < this.#words; word++)
      this.#keys[to * this.#words + word] = this.#keys[from * this.#words + word] as number
    this.#lengths[to] = this.#lengths[from] as number
    this.#rounds[to] = this.#rounds[from] as number
    this.#blocks[to] = this.#blocks[from] as number
    this.#times[to] = this.#times[from] as number
    if (this.#pathIds !== undefined) this.#pathIds[to] = this.#pathIds[from] as number
  }

  /** Gives back what it holds; nothing can be done with it any more. */
  end(): void {
    for (const column of [this.#keys, this.#lengths, this.#rounds, this.#blocks, this.#times, this.#pathIds])
      if (column !== undefined) free(column)
  }

  #resize(slots: number): void {
    const [oldKeys, oldLengths, oldRounds] = [this.#keys, this.#lengths, this.#rounds]
    const [oldBlocks, oldTimes, oldPathIds] = [this.#blocks, this.#times, this.#pathIds]
    this.#cursor = 0
    const words = this.#words
    const keys = (this.#keys = new Uint32Array(slots * words))
    const lengths = (this.#lengths = new Uint8Array(slots))
    const rounds = (this.#rounds = new Uint8Array(slots))
    const blocks = (this.#blocks = new Uint32Array(slots))
    const times = (this.#times = new Uint32Array(slots))
    const pathIds = oldPathIds === undefined ? undefined : (this.#pathIds = new Uint32Array(slots))
    const mask = slots - 1
    for (let from = 0; from < oldLengths.length; from++) {
      const length = oldLengths[from] as number
      if (length === 0) continue
      const home = words === 1 ? this.#homeOfWord(length, oldKeys[from] as number) : this.#homeIn(oldKeys, from, length)
      let to = home & mask
      while (lengths[to] !== 0) to = (to + stride) & mask
      if (words === 1) keys[to] = oldKeys[from] as number
      else for (let word = 0; word < words; word++) keys[to * words + word] = oldKeys[from * words + word] as number
      lengths[to] = length
      rounds[to] = oldRounds[from] as number
      blocks[to] = oldBlocks[from] as number
      times[to] = oldTimes[from] as number
      if (pathIds !== undefined && oldPathIds !== undefined) pathIds[to] = oldPathIds[from] as number
    }
    for (const column of [oldKeys, oldLengths, oldRounds, oldBlocks, oldTimes, oldPathIds])
      if (column !== undefined) free(column)
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

/** The least power of two that `size` does not fill. */
function fittingSlots(size: number): number {
  let slots = firstSlots
  while (size * fullDenominator > slots * fullNumerator) slots *= 2
  return slots
}
