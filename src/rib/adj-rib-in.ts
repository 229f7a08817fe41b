/**
 * Adj-RIB-In of one peer: what it sent (RFC 4271 3.2). Paths are numbers in columns, attributes octets in one buffer
 * (path-table.ts, attribute-blocks.ts), so a full table is some tens of megabytes and is decoded only where somebody
 * looks. Both have a bound: beyond it prefixes are counted and not kept.
 *
 *     UPDATE --withdrawals--> paths of each family <--announcements, one interned block for all of them
 */
import {
  type AfiSafi,
  type CodecContext,
  type PathAttributes,
  unicastOf,
  type UpdateProblem,
} from '../bgp/messages/types.ts'
import { ipv4PrefixBytes, ipv4Prefixes, ipv4PrefixOf, ipv4WordAt } from '../bgp/messages/nlri.ts'
import { PlainUpdate } from '../bgp/messages/plain-update.ts'
import type { DecodedUpdate } from '../bgp/messages/update.ts'
import type { Family } from '../ip/address.ts'
import { type Prefix, prefixFamily } from '../ip/prefix.ts'
import { AttributeBlocks, noBlock } from './attribute-blocks.ts'
import { Slots } from './columns.ts'
import type { PathOctets } from './path-octets.ts'
import { PathShards } from './path-shards.ts'
import { maxPathsPerPrefix } from './path-table.ts'

export interface ReceivedPath {
  readonly attributes: PathAttributes
  /** ms since the epoch, of whole seconds. */
  readonly at: number
  /** Where RFC 7911 was negotiated and the peer gave another one than 0. */
  readonly pathId?: number
  /** Of a peer that restarts (RFC 4724 4.2), not announced again yet. */
  readonly isStale: boolean
}

export interface AdjRibInOptions {
  readonly maxPrefixes?: number
  readonly maxAttributeBytes?: number
  /** Of the hash tables; a peer must not know it. */
  readonly seed?: number
}

/** A full table and some. */
const defaultMaxPrefixes = 1_200_000
const defaultMaxAttributeBytes = 128 * 1024 * 1024

const familyOf = ({ afi }: AfiSafi): Family => (afi === 1 ? 'ipv4' : 'ipv6')
const families: readonly Family[] = ['ipv4', 'ipv6']

export class AdjRibIn {
  readonly #maxPrefixes: number
  readonly #blocks: AttributeBlocks
  readonly #tables: Readonly<Record<Family, PathShards>>
  readonly #beyond: Record<Family, number> = { ipv4: 0, ipv6: 0 }

  constructor({
    maxPrefixes = defaultMaxPrefixes,
    maxAttributeBytes = defaultMaxAttributeBytes,
    seed = 0,
  }: AdjRibInOptions = {}) {
    this.#maxPrefixes = maxPrefixes
    this.#blocks = new AttributeBlocks(maxAttributeBytes, seed)
    this.#tables = { ipv4: new PathShards(1, seed), ipv6: new PathShards(4, seed) }
  }

  /** Memory held, octets. */
  get bytes(): number {
    return this.#blocks.bytes + this.#tables.ipv4.bytes + this.#tables.ipv6.bytes
  }

  /** Different attribute sets. */
  get attributeSets(): number {
    return this.#blocks.size
  }

  /** Slots that look-ups for path identifiers went past, for tests of their bound. */
  get passed(): number {
    return this.#tables.ipv4.passed + this.#tables.ipv6.passed
  }

  /** Some prefixes are counted only. */
  get isIncomplete(): boolean {
    return this.#beyond.ipv4 + this.#beyond.ipv6 > 0
  }

  /** Paths that the peer announces; those beyond the bound are counted by announcement and may count twice. */
  count(family: Family): number {
    return this.#tables[family].size + this.#beyond[family]
  }

  *entries(): Generator<readonly [Prefix, ReceivedPath]> {
    for (const family of families) {
      const table = this.#tables[family]
      for (const slot of table.used()) yield [table.prefixAt(slot), this.#pathAt(family, slot)]
    }
  }

  /**
   * Adds the slots of one place of a table, where there are any, and answers the place to go on with; 0 is the first,
   * and as an answer the end. The table may change between two calls, after which no slot of before means anything: a
   * path that is there all along comes at least once, and once only unless the table is made larger or smaller
   * meanwhile.
   */
  place(family: Family, cursor: number, found: Slots): number {
    return this.#tables[family].bucket(cursor, found)
  }

  /** By which a path is found again when the table has changed: prefix and path identifier. */
  keyAt(family: Family, slot: number): readonly [Prefix, number] {
    const table = this.#tables[family]
    return [table.prefixAt(slot), table.pathIdAt(slot)]
  }

  /** The slot of a path, or -1. */
  slotOf([prefix, pathId]: readonly [Prefix, number]): number {
    return this.#tables[prefixFamily(prefix)].find(prefix, pathId)
  }

  /** See {@link PathOctets.add}. */
  pack(family: Family, slot: number, into: PathOctets, isSameTable: boolean): void {
    into.add(this.#tables[family], slot, this.#blocks, isSameTable)
  }

  /** By which the attributes of what {@link pack} adds are read. */
  get contexts(): readonly CodecContext[] {
    return this.#blocks.contexts
  }

  /** Every prefix, once for each of its paths or more often; nothing is decoded. The table may change meanwhile. */
  *prefixes(): Generator<Prefix, void> {
    const slots = new Slots()
    const found: Prefix[] = []
    for (const table of [this.#tables.ipv4, this.#tables.ipv6]) {
      let cursor = 0
      do {
        slots.clear()
        cursor = table.bucket(cursor, slots)
        // All of them now: the table may change at each yield.
        found.length = 0
        for (let i = 0; i < slots.count; i++) found.push(table.prefixAt(slots.at(i)))
        if (slots.count > 0) yield* found
      } while (cursor !== 0)
    }
  }

  /** The paths of a prefix; more than one only with RFC 7911. */
  paths(prefix: Prefix): readonly ReceivedPath[] {
    const family = prefixFamily(prefix)
    return this.#tables[family].findAll(prefix).map((slot) => this.#pathAt(family, slot))
  }

  /** Identifiers of the paths of a prefix; 0 is that of a path without one. */
  pathIds(prefix: Prefix): readonly number[] {
    const table = this.#tables[prefixFamily(prefix)]
    return table.findAll(prefix).map((slot) => table.pathIdAt(slot))
  }

  path(prefix: Prefix, pathId: number): ReceivedPath | undefined {
    const family = prefixFamily(prefix)
    const slot = this.#tables[family].find(prefix, pathId)
    return slot < 0 ? undefined : this.#pathAt(family, slot)
  }

  /**
   * Of {@link paths}, for who keeps their attributes: equal ones of different prefixes are one object while anybody
   * has it.
   */
  pathsToKeep(prefix: Prefix): readonly ReceivedPath[] {
    const family = prefixFamily(prefix)
    const table = this.#tables[family]
    return table
      .findAll(prefix)
      .map((slot) => this.#pathAt(family, slot, this.#blocks.decodeToKeep(table.blockAt(slot), unicastOf[family])))
  }

  /**
   * Applies an UPDATE; with a treat-as-withdraw among the problems its announcements withdraw (RFC 7606 2). `touched`
   * is called for each prefix whose paths may have changed.
   */
  apply(
    update: Pick<DecodedUpdate, 'message' | 'problems' | 'block'>,
    ctx: CodecContext,
    now: number,
    touched?: (prefix: Prefix) => void,
  ): void {
    if (update instanceof PlainUpdate && this.#hasRoomForAll(update.nlriCount))
      return this.#applyPlain(update, ctx, Math.floor(now / 1000), touched)
    const { message, problems, block } = update
    const { withdrawn, withdrawnPathIds, nlri, nlriPathIds, mpReach, mpUnreach } = message
    this.#withdraw(withdrawn, withdrawnPathIds, touched)
    if (mpUnreach !== undefined) this.#withdraw(mpUnreach.prefixes, mpUnreach.pathIds, touched)
    if (nlri.length === 0 && mpReach === undefined) return
    if (isTreatedAsWithdraw(problems)) {
      this.#withdraw(nlri, nlriPathIds, touched)
      if (mpReach !== undefined) this.#withdraw(mpReach.prefixes, mpReach.pathIds, touched)
      return
    }
    const id = this.#blocks.intern(block, ctx)
    const timeSec = Math.floor(now / 1000)
    this.#announce(nlri, nlriPathIds, id, timeSec, touched)
    if (mpReach !== undefined) this.#announce(mpReach.prefixes, mpReach.pathIds, id, timeSec, touched)
    this.#blocks.discard(id)
  }

  /** RFC 4724 4.2: everything that is there is stale until it is announced again. */
  markStale(): void {
    for (const family of families) {
      this.#tables[family].mark('stale')
      // A refresh does not outlive its session.
      this.#tables[family].unmark('refresh')
      this.#beyond[family] = 0
    }
  }

  /** What is still stale of a family is to go: {@link sweep} removes it. */
  sweepStale(family: AfiSafi): void {
    this.#tables[familyOf(family)].doom('stale')
  }

  /** RFC 7313 4, BoRR: what is not announced again until EoRR goes. */
  beginRefresh(family: AfiSafi): void {
    this.#tables[familyOf(family)].mark('refresh')
    // They come again; counted twice they would end the session for too many prefixes.
    this.#beyond[familyOf(family)] = 0
  }

  /** RFC 7313 4, EoRR: what was not announced again is to go, see {@link sweep}; without a BoRR nothing is. */
  endRefresh(family: AfiSafi): void {
    this.#tables[familyOf(family)].doom('refresh')
  }

  /** Something is left for {@link sweep}. */
  get isSweepDue(): boolean {
    return this.#tables.ipv4.isDoomed || this.#tables.ipv6.isDoomed
  }

  /**
   * Removes what was found to be gone, looking at no more than so many paths; `touched` is called for each prefix that
   * lost one. Answers how many more it could have looked at.
   */
  sweep(slots: number, touched?: (prefix: Prefix) => void): number {
    let left = slots
    for (const family of families) {
      const table = this.#tables[family]
      const gone: Prefix[] = []
      left = table.sweep(left, (slot) => {
        this.#blocks.release(table.blockAt(slot))
        if (touched !== undefined) gone.push(table.prefixAt(slot))
      })
      if (touched !== undefined) for (const prefix of gone) touched(prefix)
    }
    return left
  }

  clear(): void {
    for (const family of families) this.#tables[family].clear()
    this.#blocks.clear()
    Object.assign(this.#beyond, { ipv4: 0, ipv6: 0 })
  }

  #pathAt(
    family: Family,
    slot: number,
    attributes = this.#blocks.decode(this.#tables[family].blockAt(slot), unicastOf[family]),
  ): ReceivedPath {
    const table = this.#tables[family]
    const pathId = table.pathIdAt(slot)
    return {
      attributes,
      at: table.timeAt(slot) * 1000,
      ...(pathId === 0 ? {} : { pathId }),
      isStale: table.isMarked(slot, 'stale'),
    }
  }

  #withdraw(
    prefixes: readonly Prefix[],
    pathIds: readonly number[] | undefined,
    touched?: (prefix: Prefix) => void,
  ): void {
    for (let i = 0; i < prefixes.length; i++)
      if (this.#remove(prefixes[i] as Prefix, pathIds?.[i] ?? 0)) touched?.(prefixes[i] as Prefix)
  }

  #announce(
    prefixes: readonly Prefix[],
    pathIds: readonly number[] | undefined,
    block: number,
    timeSec: number,
    touched?: (prefix: Prefix) => void,
  ): void {
    if (prefixes.length === 0) return
    const family = prefixFamily(prefixes[0] as Prefix)
    const table = this.#tables[family]
    // With room for all of them and no identifiers, which is nearly always, nothing else is to be asked.
    const isRoomy = block !== noBlock && pathIds === undefined && this.#hasRoomForAll(prefixes.length)
    for (let i = 0; i < prefixes.length; i++) {
      const prefix = prefixes[i] as Prefix
      const pathId = pathIds?.[i] ?? 0
      // A message can have 13 000 identifiers of one prefix: its paths are passed once for each of them.
      const found = isRoomy ? 0 : table.findOrCount(prefix, pathId)
      if (isRoomy || (block !== noBlock && this.#hasRoom(found))) this.#keep(table, prefix, pathId, block, timeSec)
      else {
        // What has no room is counted; an older path of the same prefix is no longer true and goes.
        this.#beyond[family]++
        if (found < 0) continue
        this.#drop(table, prefix, pathId)
      }
      touched?.(prefix)
    }
  }

  /** The same where it lies: no value is made of a prefix that nobody wants to be told of. */
  #applyPlain(update: PlainUpdate, ctx: CodecContext, timeSec: number, touched?: (prefix: Prefix) => void): void {
    const { bytes, withdrawnAt, withdrawnEnd, attributesAt, attributesEnd, end, nlriCount } = update
    if (withdrawnEnd > withdrawnAt) this.#withdraw(ipv4Prefixes(bytes, withdrawnAt, withdrawnEnd), undefined, touched)
    if (nlriCount === 0) return
    const block = this.#blocks.intern(bytes, ctx, attributesAt, attributesEnd)
    if (block === noBlock)
      return this.#announce(ipv4Prefixes(bytes, attributesEnd, end), undefined, block, timeSec, touched)
    const table = this.#tables.ipv4
    this.#blocks.hold(block, nlriCount)
    for (let at = attributesEnd; at < end; ) {
      const length = bytes[at] as number
      const word = ipv4WordAt(bytes, at)
      const previous = table.setIpv4(word, length, block, timeSec)
      if (previous >= 0) this.#blocks.release(previous)
      if (touched !== undefined) touched(ipv4PrefixOf(word, length))
      at += ipv4PrefixBytes(length)
    }
  }

  #hasRoomForAll(count: number): boolean {
    return this.#tables.ipv4.size + this.#tables.ipv6.size + count <= this.#maxPrefixes
  }

  #keep(table: PathShards, prefix: Prefix, pathId: number, block: number, timeSec: number): void {
    this.#blocks.hold(block)
    const previous = table.set(prefix, pathId, block, timeSec)
    if (previous >= 0) this.#blocks.release(previous)
  }

  /** For a path that was found, or not: `found` is of {@link PathTable.findOrCount}. */
  #hasRoom(found: number): boolean {
    if (found >= 0) return true
    const isFull = this.#tables.ipv4.size + this.#tables.ipv6.size >= this.#maxPrefixes
    return !isFull && -1 - found < maxPathsPerPrefix
  }

  /** False where there was no such path. */
  #remove(prefix: Prefix, pathId: number): boolean {
    const family = prefixFamily(prefix)
    const isGone = this.#drop(this.#tables[family], prefix, pathId)
    if (!isGone && this.#beyond[family] > 0) this.#beyond[family]--
    return isGone
  }

  #drop(table: PathShards, prefix: Prefix, pathId: number): boolean {
    const block = table.delete(prefix, pathId)
    if (block >= 0) this.#blocks.release(block)
    return block >= 0
  }
}

function isTreatedAsWithdraw(problems: readonly UpdateProblem[]): boolean {
  return problems.length > 0 && problems.some(({ action }) => action === 'treat-as-withdraw')
}
