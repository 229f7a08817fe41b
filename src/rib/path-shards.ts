/**
 * Paths of one family in several tables that grow one by one: a table that is made larger moves all that it has, and
 * one for a whole internet takes tens of milliseconds for that, in which no timer runs.
 *
 *     prefix --network of some length--> shard --> path-table.ts          slot here = slot there * shards + shard
 *
 * Prefixes that follow each other are in one shard, so that the cache serves them together: IPv4 some thousand
 * addresses, IPv6 all networks that differ in their last octet only.
 */
import type { Prefix } from '../ip/prefix.ts'
import type { Slots } from './columns.ts'
import { type Mark, PathTable } from './path-table.ts'

const shardBits = 4
const shards = 1 << shardBits
/** What an IPv4 prefix, which is a number, is divided by: 4096 addresses that follow each other share a shard. */
const perShardRun = 64 * 4096
/** Of an IPv6 prefix; its length follows. */
const addressOctets = 16

export class PathShards {
  /** Made when the first path comes: most peers send a few. What is marked is what was there before. */
  readonly #tables: (PathTable | undefined)[] = Array.from({ length: shards }, () => undefined)
  readonly #words: 1 | 4
  readonly #seed: number
  /** Paths in all of them. */
  size = 0

  /** `words`: 32-bit words of an address, 1 or 4. */
  constructor(words: 1 | 4, seed: number) {
    this.#words = words
    this.#seed = seed | 0
  }

  /** Slots that look-ups for identifiers went past, for tests of their bound. */
  get passed(): number {
    return this.#made().reduce((sum, [, table]) => sum + table.passed, 0)
  }

  /** Paths in the table that has most, for tests of how evenly they are divided. */
  get largest(): number {
    return Math.max(0, ...this.#made().map(([, { size }]) => size))
  }

  get bytes(): number {
    return this.#made().reduce((sum, [, table]) => sum + table.bytes, 0)
  }

  #shardOf(prefix: Prefix): number {
    if (typeof prefix === 'number')
      return Math.imul((prefix / perShardRun) ^ this.#seed, 0x9e3779b1) >>> (32 - shardBits)
    // All octets of the network but its last: those that were left out would be the ones that differ.
    const octets = (prefix.charCodeAt(addressOctets) + 7) >> 3
    let hash = this.#seed
    for (let at = 0; at < octets - 1; at++) {
      hash = Math.imul(hash ^ prefix.charCodeAt(at), 0x9e3779b1)
      hash ^= hash >>> 15
    }
    return hash >>> (32 - shardBits)
  }

  #made(): readonly (readonly [number, PathTable])[] {
    return this.#tables.flatMap((table, shard) => (table === undefined ? [] : [[shard, table] as const]))
  }

  /** The table of a slot that was found. */
  #at(slot: number): PathTable {
    return this.#tables[slot & (shards - 1)] as PathTable
  }

  /** The slot of a path, or -1. */
  find(prefix: Prefix, pathId: number): number {
    const shard = this.#shardOf(prefix)
    const slot = this.#tables[shard]?.find(prefix, pathId) ?? -1
    return slot < 0 ? -1 : slot * shards + shard
  }

  /** See {@link PathTable.findOrCount}. */
  findOrCount(prefix: Prefix, pathId: number): number {
    const shard = this.#shardOf(prefix)
    const found = this.#tables[shard]?.findOrCount(prefix, pathId) ?? -1
    return found < 0 ? found : found * shards + shard
  }

  /** Every slot of a prefix. */
  findAll(prefix: Prefix): readonly number[] {
    const shard = this.#shardOf(prefix)
    return this.#tables[shard]?.findAll(prefix).map((slot) => slot * shards + shard) ?? []
  }

  /** See {@link PathTable.set}. */
  set(prefix: Prefix, pathId: number, block: number, timeSec: number): number {
    const shard = this.#shardOf(prefix)
    const table = (this.#tables[shard] ??= new PathTable(this.#words, this.#seed))
    const previous = table.set(prefix, pathId, block, timeSec)
    if (previous < 0) this.size++
    return previous
  }

  /** See {@link PathTable.setIpv4}. */
  setIpv4(word: number, length: number, block: number, timeSec: number): number {
    const shard = Math.imul((word >>> 12) ^ this.#seed, 0x9e3779b1) >>> (32 - shardBits)
    const table = (this.#tables[shard] ??= new PathTable(this.#words, this.#seed))
    const previous = table.setIpv4(word, length, block, timeSec)
    if (previous < 0) this.size++
    return previous
  }

  /** Removes a path; answers the block that it had, or -1. */
  delete(prefix: Prefix, pathId: number): number {
    const block = this.#tables[this.#shardOf(prefix)]?.delete(prefix, pathId) ?? -1
    if (block >= 0) this.size--
    return block
  }

  /** The slots that are taken, while the tables do not change. */
  *used(): Generator<number, void> {
    for (const [shard, table] of this.#made()) for (const slot of table.used()) yield slot * shards + shard
  }

  blockAt(slot: number): number {
    return this.#at(slot).blockAt(slot >>> shardBits)
  }

  timeAt(slot: number): number {
    return this.#at(slot).timeAt(slot >>> shardBits)
  }

  pathIdAt(slot: number): number {
    return this.#at(slot).pathIdAt(slot >>> shardBits)
  }

  isMarked(slot: number, mark: Mark): boolean {
    return this.#at(slot).isMarked(slot >>> shardBits, mark)
  }

  prefixAt(slot: number): Prefix {
    return this.#at(slot).prefixAt(slot >>> shardBits)
  }

  lengthAt(slot: number): number {
    return this.#at(slot).lengthAt(slot >>> shardBits)
  }

  wordAt(slot: number, word: number): number {
    return this.#at(slot).wordAt(slot >>> shardBits, word)
  }

  /** See {@link PathTable.bucket}: one table after the other; the cursor is a place and a shard. */
  bucket(cursor: number, found: Slots): number {
    const shard = cursor & (shards - 1)
    const before = found.count
    const place = this.#tables[shard]?.bucket(cursor >>> shardBits, found) ?? 0
    for (let i = before; i < found.count; i++) found.replace(i, found.at(i) * shards + shard)
    return place === 0 ? (shard + 1) & (shards - 1) : place * shards + shard
  }

  /** Nothing is left, and nothing is marked. */
  clear(): void {
    for (const table of this.#tables) table?.end()
    this.#tables.fill(undefined)
    this.size = 0
  }

  mark(mark: Mark): void {
    for (const table of this.#tables) table?.mark(mark)
  }

  unmark(mark: Mark): void {
    for (const table of this.#tables) table?.unmark(mark)
  }

  doom(mark: Mark): void {
    for (const table of this.#tables) table?.doom(mark)
  }

  get isDoomed(): boolean {
    return this.#tables.some((table) => table?.isDoomed === true)
  }

  /** See {@link PathTable.sweep}. */
  sweep(slots: number, gone: (slot: number) => void): number {
    let left = slots
    for (const [shard, table] of this.#made())
      left = table.sweep(left, (slot) => {
        this.size--
        gone(slot * shards + shard)
      })
    return left
  }
}
