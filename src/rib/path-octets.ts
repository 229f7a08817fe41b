/**
 * Paths of an Adj-RIB-In as octets, as they lie in its columns: they go to the thread of who asked as one piece, and
 * are decoded and made text there. Of a path that is passed here no object is made, so that to list a table leaves the
 * speaker hardly anything to collect.
 *
 *     length, flags, context: an octet each   time, path identifier: 32 bits   attributes: 16 bits of their length
 *     address: 4 or 16 octets                 the attributes, where they are not those of the path before
 */
import { u32At } from '../bgp/messages/reader.ts'
import { type CodecContext, type PathAttributes, unicastOf } from '../bgp/messages/types.ts'
import { decodeBlock } from '../bgp/messages/update.ts'
import type { Family } from '../ip/address.ts'
import { type Prefix, prefixOf } from '../ip/prefix.ts'
import { type AttributeBlocks, noBlock } from './attribute-blocks.ts'
import type { PathShards } from './path-shards.ts'
import type { ReceivedPath } from './adj-rib-in.ts'

const headBytes = 13
const attributesLengthAt = 11
const flag = { stale: 1, sameAttributes: 2 } as const
const wordsOf: Readonly<Record<Family, 1 | 4>> = { ipv4: 1, ipv6: 4 }
const firstBytes = 1_024

export class PathOctets {
  readonly #words: 1 | 4
  #bytes = new Uint8Array(firstBytes)
  /** Of the last path. */
  #block = noBlock
  /** Paths. */
  count = 0
  length = 0
  /** Octets with the attributes of each path, also where they are packed once: as text they are made for each. */
  unpackedLength = 0

  constructor(family: Family) {
    this.#words = wordsOf[family]
  }

  /** A copy of all of them. */
  get octets(): Uint8Array {
    return this.#bytes.slice(0, this.length)
  }

  /**
   * A path that lies in a table, without its attributes where the path before, `isSameTable`, has the same: all paths
   * are added before the table changes.
   */
  add(table: PathShards, slot: number, blocks: AttributeBlocks, isSameTable: boolean): void {
    const block = table.blockAt(slot)
    const isSame = isSameTable && block === this.#block
    const length = blocks.lengthAt(block)
    let at = this.#make(headBytes + this.#words * 4 + (isSame ? 0 : length))
    const bytes = this.#bytes
    bytes[at] = table.lengthAt(slot)
    bytes[at + 1] = (table.isMarked(slot, 'stale') ? flag.stale : 0) | (isSame ? flag.sameAttributes : 0)
    bytes[at + 2] = blocks.contextAt(block)
    putWord(bytes, at + 3, table.timeAt(slot))
    putWord(bytes, at + 7, table.pathIdAt(slot))
    bytes[at + attributesLengthAt] = length >>> 8
    bytes[at + attributesLengthAt + 1] = length
    at += headBytes
    for (let word = 0; word < this.#words; word++, at += 4) putWord(bytes, at, table.wordAt(slot, word))
    if (!isSame) blocks.copyTo(block, bytes, at)
    this.#block = block
    this.unpackedLength += headBytes + this.#words * 4 + length
  }

  /** Room for one more path; answers where. */
  #make(length: number): number {
    const at = this.length
    if (at + length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(at + length, this.#bytes.length * 2))
      larger.set(this.#bytes.subarray(0, at))
      this.#bytes = larger
    }
    this.count++
    this.length += length
    return at
  }
}

/** So many paths from `from` on, of one table with these contexts; answers where they end. */
export function readPaths(
  octets: Uint8Array,
  from: number,
  count: number,
  family: Family,
  contexts: readonly CodecContext[],
  found: (prefix: Prefix, path: ReceivedPath) => void,
): number {
  let at = from
  let attributes: PathAttributes = {}
  for (let i = 0; i < count; i++) {
    const [length, flags, context] = [octets[at] as number, octets[at + 1] as number, octets[at + 2] as number]
    const [timeSec, pathId] = [u32At(octets, at + 3), u32At(octets, at + 7)]
    const attributesLength = ((octets[at + attributesLengthAt] as number) << 8) | (octets[at + 12] as number)
    at += headBytes
    const address =
      family === 'ipv4' ? u32At(octets, at) : String.fromCharCode(...octets.subarray(at, at + wordsOf.ipv6 * 4))
    at += wordsOf[family] * 4
    if ((flags & flag.sameAttributes) === 0) {
      const block = octets.subarray(at, at + attributesLength)
      attributes = decodeBlock(block, unicastOf[family], contexts[context] as CodecContext)
      at += attributesLength
    }
    found(prefixOf(address, length), {
      attributes,
      at: timeSec * 1000,
      ...(pathId === 0 ? {} : { pathId }),
      isStale: (flags & flag.stale) !== 0,
    })
  }
  return at
}

function putWord(bytes: Uint8Array, at: number, word: number): void {
  bytes[at] = word >>> 24
  bytes[at + 1] = word >>> 16
  bytes[at + 2] = word >>> 8
  bytes[at + 3] = word
}
