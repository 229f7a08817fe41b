/** Prefixes on the wire, RFC 4271 4.3 and RFC 4760 5:  (length:u8 address:ceil(length/8) octets)* */
import { addressBytes } from '../../ip/address.ts'
import { type Prefix, prefixAddress, prefixLength, prefixOf } from '../../ip/prefix.ts'
import type { Reader } from './reader.ts'
import type { Writer } from './writer.ts'

/** Reads to the end of `reader`; a string says what is wrong. Bits beyond the length are cleared. May overrun. */
export function decodePrefixes(reader: Reader, afi: number): readonly Prefix[] | string {
  const prefixes: Prefix[] = []
  const maximum = afi === 1 ? 32 : 128
  while (reader.left > 0) {
    const length = reader.u8()
    if (length > maximum) return `prefix length ${length}`
    const octets = (length + 7) >> 3
    if (octets > reader.left) return `prefix of length ${length} cut short`
    prefixes.push(afi === 1 ? decodeIpv4(reader, length, octets) : decodeIpv6(reader, length, octets))
  }
  return prefixes
}

function decodeIpv4(reader: Reader, length: number, octets: number): Prefix {
  let address = 0
  for (let i = 0; i < 4; i++) address = (address << 8) | (i < octets ? reader.u8() : 0)
  return prefixOf(address >>> 0, length)
}

function decodeIpv6(reader: Reader, length: number, octets: number): Prefix {
  let address = ''
  for (let i = 0; i < 16; i++) address += String.fromCharCode(i < octets ? reader.u8() : 0)
  return prefixOf(address, length)
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
  out.bytes(addressBytes(prefixAddress(prefix)).subarray(0, octets))
}

/** Octets that a prefix takes on the wire. */
export function prefixBytes(prefix: Prefix): number {
  return 1 + ((prefixLength(prefix) + 7) >> 3)
}
