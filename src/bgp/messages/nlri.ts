/** Prefixes on the wire, RFC 4271 4.3 and RFC 4760 5:  (length:u8 address:ceil(length/8) octets)* */
import { type Prefix, prefixLength, prefixOf } from '../../ip/prefix.ts'
import type { Reader } from './reader.ts'
import type { Writer } from './writer.ts'

/** Prefixes as they came; `pathIds` in the same order where each was preceded by one. */
export interface Nlri {
  readonly prefixes: readonly Prefix[]
  readonly pathIds?: readonly number[]
}

/** Most UPDATEs withdraw nothing. */
const nothing: Nlri = { prefixes: [] }

/**
 * Reads to the end of `reader`; a string says what is wrong. Bits beyond the length are cleared. May overrun.
 * With `hasPathIds` each prefix comes as  pathId:u32 length:u8 address  (RFC 7911 3).
 */
export function decodePrefixes(reader: Reader, afi: number, hasPathIds = false): Nlri | string {
  if (reader.left === 0 && !hasPathIds) return nothing
  const prefixes: Prefix[] = []
  const pathIds: number[] = []
  const maximum = afi === 1 ? 32 : 128
  while (reader.left > 0) {
    if (hasPathIds) {
      if (reader.left < 5) return 'path identifier cut short'
      pathIds.push(reader.u32())
    }
    const length = reader.u8()
    if (length > maximum) return `prefix length ${length}`
    const octets = (length + 7) >> 3
    if (octets > reader.left) return `prefix of length ${length} cut short`
    prefixes.push(afi === 1 ? decodeIpv4(reader, length, octets) : decodeIpv6(reader, length, octets))
  }
  return hasPathIds ? { prefixes, pathIds } : { prefixes }
}

/** How many IPv4 prefixes lie there, none with a path identifier; -1: something is wrong with one of them. */
export function countIpv4Prefixes(bytes: Uint8Array, from: number, to: number): number {
  let count = 0
  let at = from
  for (; at < to; count++) {
    const length = bytes[at] as number
    if (length > 32) return -1
    at += ipv4PrefixBytes(length)
  }
  return at === to ? count : -1
}

/** For prefixes that were counted. */
export function ipv4Prefixes(bytes: Uint8Array, from: number, to: number): Prefix[] {
  const prefixes: Prefix[] = []
  for (let at = from; at < to; at += ipv4PrefixBytes(bytes[at] as number))
    prefixes.push(ipv4PrefixOf(ipv4WordAt(bytes, at), bytes[at] as number))
  return prefixes
}

/** What an IPv4 prefix of a length takes on the wire. */
export function ipv4PrefixBytes(length: number): number {
  return 1 + ((length + 7) >> 3)
}

/** The prefix of an address as {@link ipv4WordAt} has it. */
export function ipv4PrefixOf(word: number, length: number): Prefix {
  return (word >>> 0) * 64 + length
}

/**
 * The address of a prefix that was counted, bits beyond its length cleared, as 32 bits with a sign: half of all
 * addresses without one are numbers that the engine puts on its heap.
 */
export function ipv4WordAt(bytes: Uint8Array, at: number): number {
  const length = bytes[at] as number
  if (length === 0) return 0
  let address = (bytes[at + 1] as number) << 24
  if (length > 8) address |= (bytes[at + 2] as number) << 16
  if (length > 16) address |= (bytes[at + 3] as number) << 8
  if (length > 24) address |= bytes[at + 4] as number
  return address & (-1 << (32 - length))
}

function decodeIpv4(reader: Reader, length: number, octets: number): Prefix {
  let address = 0
  for (let shift = 24, i = 0; i < octets; i++, shift -= 8) address |= reader.u8() << shift
  return prefixOf(address >>> 0, length)
}

/** The characters of an IPv6 prefix: an array for each one would cost more than all the rest. */
const characters = new Array<number>(17).fill(0)

/** As {@link prefixOf} makes it, which costs tens of times as much: a peer sends thousands in a message. */
function decodeIpv6(reader: Reader, length: number, octets: number): Prefix {
  for (let i = 0; i < 16; i++) characters[i] = i < octets ? reader.u8() : 0
  const rest = length & 7
  if (rest > 0) characters[octets - 1] = (characters[octets - 1] ?? 0) & (0xff00 >> rest) & 0xff
  characters[16] = length
  return String.fromCharCode(...characters)
}

export function encodePrefixes({ prefixes, pathIds }: Nlri, out: Writer): void {
  for (const [i, prefix] of prefixes.entries()) {
    if (pathIds !== undefined) out.u32(pathIds[i] ?? 0)
    encodePrefix(prefix, out)
  }
}

export function encodePrefix(prefix: Prefix, out: Writer): void {
  const length = prefixLength(prefix)
  out.u8(length)
  const octets = (length + 7) >> 3
  if (typeof prefix === 'number') {
    if (octets === 4) {
      out.u32(Math.floor(prefix / 64))
      return
    }
    const address = Math.floor(prefix / 64)
    for (let i = 0; i < octets; i++) out.u8((address >>> (24 - 8 * i)) & 255)
    return
  }
  for (let i = 0; i < octets; i++) out.u8(prefix.charCodeAt(i))
}

/** Octets that a prefix takes on the wire. */
export function prefixBytes(prefix: Prefix): number {
  return 1 + ((prefixLength(prefix) + 7) >> 3)
}
