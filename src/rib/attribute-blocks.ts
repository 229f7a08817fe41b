/**
 * Interned attribute blocks: equal octets of one context are one number, counted by reference, in a row of chunks.
 *
 *     block (octets of an UPDATE) --hash--> id --offset, length--> octets, decoded when somebody looks
 *
 * A full table of 200 000 attribute sets is 200 000 slices of some buffers, and no object.
 */
import type { AfiSafi, CodecContext, PathAttributes } from '../bgp/messages/types.ts'
import { decodeBlock } from '../bgp/messages/update.ts'
import { type Column, copyOctets, free } from './columns.ts'
import { halfSipHash } from './half-sip-hash.ts'

/** No block. */
export const noBlock = 0xffffffff

/** A chunk holds at least four of the largest blocks; a block never spans two. */
const chunkBits = 18
const chunkBytes = 1 << chunkBits

/** Octets that nobody refers to are tolerated up to this many before chunks are emptied. */
const tolerableWaste = 1_048_576
/** Chunks that are emptied at a time: some milliseconds. */
const maxEmptied = 16
/** Offset of an id that is free. */
const nowhere = 0xffffffff
/**
 * Decoded sets that are remembered: routes that follow each other share them. Each has one place, so that what it takes
 * the place of is garbage while it is young: a listing of a table made the heap four times as large with a Map.
 */
const decodedPlaces = 128

export class AttributeBlocks {
  readonly #maxBytes: number
  readonly #seed: number
  /** Undefined: given back. */
  #chunks: (Uint8Array<ArrayBuffer> | undefined)[] = []
  /** Octets of each chunk that nobody refers to. */
  #wastedIn: number[] = []
  #freeChunks: number[] = []
  /** The chunk that blocks go to, and where in it. */
  #current = -1
  #at = chunkBytes
  #held = 0
  #wasted = 0
  /** By id. */
  #offsets = new Uint32Array(64)
  #lengths = new Uint16Array(64)
  #references = new Uint32Array(64)
  #contextOf = new Uint8Array(64)
  #hashes = new Uint32Array(64)
  #ids = 0
  #free: number[] = []
  /** Open addressing; id + 1, 0 is empty. */
  #slots = new Uint32Array(128)
  /** Blocks of other octets that {@link intern} went past, for tests of its bound. */
  passed = 0
  readonly #contexts: CodecContext[] = []
  /** Of the block before, and which of them it is: each session has an object of its own, mostly equal to another. */
  #lastCtx: CodecContext | undefined
  #lastContext = 0
  /** By place: id and family of what is remembered, and what. */
  readonly #decodedKeys = new Float64Array(decodedPlaces).fill(-1)
  readonly #decoded: (PathAttributes | undefined)[] = Array.from({ length: decodedPlaces }, () => undefined)
  /** By the same key: what somebody keeps, as long as anybody does. */
  readonly #kept = new Map<number, WeakRef<PathAttributes>>()

  /** `seed` keeps a peer from choosing blocks that collide. */
  constructor(maxBytes: number, seed: number) {
    this.#maxBytes = maxBytes
    this.#seed = seed >>> 0
  }

  /** Blocks in use. */
  get size(): number {
    return this.#ids - this.#free.length
  }

  /** Memory held, octets. */
  get bytes(): number {
    return (
      (this.#chunks.length - this.#freeChunks.length) * chunkBytes +
      this.#slots.byteLength +
      this.#offsets.byteLength +
      this.#lengths.byteLength +
      this.#references.byteLength +
      this.#contextOf.byteLength +
      this.#hashes.byteLength
    )
  }

  /**
   * The id of a block, which lies in [from, to) of `bytes`, without a reference of its own yet; {@link noBlock} when
   * there is no room. A copy is kept.
   */
  intern(bytes: Uint8Array, ctx: CodecContext, from = 0, to = bytes.length): number {
    const context = this.#contextIndex(ctx)
    const hash = halfSipHash(bytes, from, to, this.#seed, context)
    const mask = this.#slots.length - 1
    let slot = hash & mask
    for (let entry = this.#slots[slot] as number; entry !== 0; entry = this.#slots[slot] as number) {
      const id = entry - 1
      if (this.#hashes[id] === hash && this.#contextOf[id] === context && this.#isEqual(id, bytes, from, to)) return id
      this.passed++
      slot = (slot + 1) & mask
    }
    if (this.#held + to - from > this.#maxBytes) return noBlock
    const id = this.#add(bytes, from, to, context, hash)
    if (this.size * 2 > this.#slots.length) this.#rehash(this.#slots.length * 2)
    else this.#slots[slot] = id + 1
    return id
  }

  hold(id: number, times = 1): void {
    this.#references[id] = (this.#references[id] as number) + times
  }

  /** The last reference frees the block. */
  release(id: number): void {
    const references = (this.#references[id] as number) - 1
    this.#references[id] = references
    if (references > 0) return
    this.#unlink(id)
    if (this.#kept.size > 0) this.#forgetKept(id)
    const length = this.#lengths[id] as number
    this.#held -= length
    this.#waste((this.#offsets[id] as number) >>> chunkBits, length)
    this.#offsets[id] = nowhere
    this.#free.push(id)
    // By more than a chunk: then there is one to be emptied.
    if (this.#wasted > tolerableWaste && this.#wasted > this.#held + chunkBytes) this.#emptyChunks()
  }

  /** Frees a block that nothing came to refer to. */
  discard(id: number): void {
    if (id === noBlock || (this.#references[id] as number) > 0) return
    this.hold(id)
    this.release(id)
  }

  /** The same for who keeps it: routes that share a block share one object, however many others come between them. */
  decodeToKeep(id: number, family: AfiSafi): PathAttributes {
    const key = decodedKey(id, family.afi)
    const kept = this.#kept.get(key)?.deref()
    if (kept !== undefined) return kept
    const attributes = this.decode(id, family)
    this.#kept.set(key, new WeakRef(attributes))
    return attributes
  }

  decode(id: number, family: AfiSafi): PathAttributes {
    const key = decodedKey(id, family.afi)
    const place = key % decodedPlaces
    const known = this.#decodedKeys[place] === key ? this.#decoded[place] : undefined
    if (known !== undefined) return known
    const ctx = this.#contexts[this.#contextOf[id] as number] as CodecContext
    const attributes = decodeBlock(this.#block(id).slice(), family, ctx)
    this.#decodedKeys[place] = key
    this.#decoded[place] = attributes
    return attributes
  }

  /** Octets of a block. */
  lengthAt(id: number): number {
    return this.#lengths[id] as number
  }

  /** Its place among {@link contexts}, an octet. */
  contextAt(id: number): number {
    return this.#contextOf[id] as number
  }

  get contexts(): readonly CodecContext[] {
    return this.#contexts
  }

  copyTo(id: number, bytes: Uint8Array, at: number): void {
    const offset = this.#offsets[id] as number
    const from = offset & (chunkBytes - 1)
    copyOctets(this.#chunks[offset >>> chunkBits] as Uint8Array, from, from + this.lengthAt(id), bytes, at)
  }

  clear(): void {
    for (const chunk of this.#chunks) if (chunk !== undefined) free(chunk)
    free(this.#slots)
    this.#chunks = []
    this.#wastedIn = []
    this.#freeChunks = []
    this.#current = -1
    this.#at = chunkBytes
    this.#slots = new Uint32Array(128)
    this.#held = this.#wasted = this.#ids = 0
    this.#free = []
    this.#decodedKeys.fill(-1)
    this.#decoded.fill(undefined)
    this.#kept.clear()
    this.#grow(64)
  }

  #forgetKept(id: number): void {
    this.#kept.delete(decodedKey(id, 1))
    this.#kept.delete(decodedKey(id, 2))
  }

  #forget(key: number): void {
    const place = key % decodedPlaces
    if (this.#decodedKeys[place] === key) this.#decodedKeys[place] = -1
  }

  /** Sessions of one peer seldom differ in their context; a table sees very few. */
  #contextIndex(ctx: CodecContext): number {
    if (ctx !== this.#lastCtx) {
      this.#lastContext = this.#findContext(ctx)
      this.#lastCtx = ctx
    }
    return this.#lastContext
  }

  #findContext(ctx: CodecContext): number {
    const key = JSON.stringify(ctx)
    const equal = this.#contexts.findIndex((known) => JSON.stringify(known) === key)
    return equal >= 0 ? equal : this.#contexts.push(ctx) - 1
  }

  #isEqual(id: number, block: Uint8Array, from: number, to: number): boolean {
    if (this.#lengths[id] !== to - from) return false
    const offset = this.#offsets[id] as number
    const chunk = this.#chunks[offset >>> chunkBits] as Uint8Array
    const at = offset & (chunkBytes - 1)
    for (let i = from; i < to; i++) if (chunk[at + i - from] !== block[i]) return false
    return true
  }

  #block(id: number): Uint8Array {
    const offset = this.#offsets[id] as number
    const at = offset & (chunkBytes - 1)
    return (this.#chunks[offset >>> chunkBits] as Uint8Array).subarray(at, at + (this.#lengths[id] as number))
  }

  /** Copies a block behind the last one; answers where. */
  #append(block: Uint8Array, from: number, to: number): number {
    const length = to - from
    if (length > chunkBytes - this.#at || this.#at === chunkBytes) this.#nextChunk()
    const at = this.#at
    copyOctets(block, from, to, this.#chunks[this.#current] as Uint8Array, at)
    this.#at += length
    return ((this.#current << chunkBits) | at) >>> 0
  }

  #nextChunk(): void {
    if (this.#current >= 0) this.#waste(this.#current, chunkBytes - this.#at)
    this.#current = this.#freeChunks.pop() ?? this.#chunks.length
    this.#chunks[this.#current] = new Uint8Array(chunkBytes)
    this.#wastedIn[this.#current] = 0
    this.#at = 0
  }

  #waste(chunk: number, octets: number): void {
    this.#wastedIn[chunk] = (this.#wastedIn[chunk] as number) + octets
    this.#wasted += octets
  }

  #add(block: Uint8Array, from: number, to: number, context: number, hash: number): number {
    const id = this.#free.pop() ?? this.#ids++
    if (id >= this.#offsets.length) this.#grow(Math.ceil(this.#offsets.length * 1.5))
    this.#offsets[id] = this.#append(block, from, to)
    this.#held += to - from
    this.#lengths[id] = to - from
    this.#references[id] = 0
    this.#contextOf[id] = context
    this.#hashes[id] = hash
    // An id that was used before may still be remembered decoded.
    this.#forget(decodedKey(id, 1))
    this.#forget(decodedKey(id, 2))
    return id
  }

  #grow(length: number): void {
    const grown = <T extends Column>(array: T, next: T): T => {
      next.set(array.subarray(0, this.#ids))
      free(array)
      return next
    }
    this.#offsets = grown(this.#offsets, new Uint32Array(length))
    this.#lengths = grown(this.#lengths, new Uint16Array(length))
    this.#references = grown(this.#references, new Uint32Array(length))
    this.#contextOf = grown(this.#contextOf, new Uint8Array(length))
    this.#hashes = grown(this.#hashes, new Uint32Array(length))
  }

  #rehash(length: number): void {
    free(this.#slots)
    const slots = (this.#slots = new Uint32Array(length))
    const [offsets, hashes] = [this.#offsets, this.#hashes]
    const mask = length - 1
    for (let id = 0; id < this.#ids; id++) {
      if (offsets[id] === nowhere) continue
      let slot = (hashes[id] as number) & mask
      while (slots[slot] !== 0) slot = (slot + 1) & mask
      slots[slot] = id + 1
    }
  }

  /** Takes an id out of the hash table; what follows moves up, so that no gap cuts a chain. */
  #unlink(id: number): void {
    const mask = this.#slots.length - 1
    let gap = (this.#hashes[id] as number) & mask
    while (this.#slots[gap] !== id + 1) gap = (gap + 1) & mask
    for (let next = (gap + 1) & mask; this.#slots[next] !== 0; next = (next + 1) & mask) {
      const home = (this.#hashes[(this.#slots[next] as number) - 1] as number) & mask
      if (((next - home) & mask) < ((next - gap) & mask)) continue
      this.#slots[gap] = this.#slots[next] as number
      gap = next
    }
    this.#slots[gap] = 0
  }

  /** Moves what is in use out of chunks that are mostly waste, a few at a time, and gives them back. */
  #emptyChunks(): void {
    const emptied = new Map<number, Uint8Array<ArrayBuffer>>()
    for (const [index, chunk] of this.#chunks.entries()) {
      if (emptied.size === maxEmptied) break
      const isMostlyWaste = (this.#wastedIn[index] as number) * 2 > chunkBytes
      if (chunk !== undefined && index !== this.#current && isMostlyWaste) emptied.set(index, chunk)
    }
    for (let id = 0; id < this.#ids; id++) {
      const offset = this.#offsets[id] as number
      const chunk = offset === nowhere ? undefined : emptied.get(offset >>> chunkBits)
      if (chunk === undefined) continue
      const at = offset & (chunkBytes - 1)
      this.#offsets[id] = this.#append(chunk, at, at + (this.#lengths[id] as number))
    }
    for (const [index, chunk] of emptied) {
      this.#wasted -= this.#wastedIn[index] as number
      this.#chunks[index] = undefined
      free(chunk)
      this.#freeChunks.push(index)
    }
  }
}

const decodedKey = (id: number, afi: number): number => id * 2 + (afi === 1 ? 0 : 1)
