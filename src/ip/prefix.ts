/**
 * Prefixes as values that are cheap Map keys: IPv4 is the number address * 64 + length (38 bits), IPv6 a string of
 * 17 characters, the 16 masked octets and the length. Two prefixes are equal exactly when their values are `===`.
 */
import { type Address, type Family, familyOfAddress, formatAddress, parseAddress } from './address.ts'

export type Prefix = number | string

/** The prefix of an address and a length (0..32 or 0..128); bits beyond the length are cleared. */
export function prefixOf(address: Address, length: number): Prefix {
  if (typeof address === 'number') {
    const mask = length === 0 ? 0 : (-1 << (32 - length)) >>> 0
    return ((address & mask) >>> 0) * 64 + length
  }
  const [whole, rest] = [length >> 3, length & 7]
  if (rest === 0) return address.slice(0, whole) + zeros.slice(whole) + String.fromCharCode(length)
  const cut = address.charCodeAt(whole) & (0xff00 >> rest)
  return address.slice(0, whole) + String.fromCharCode(cut) + zeros.slice(whole + 1) + String.fromCharCode(length)
}

const zeros = '\0'.repeat(16)

export function prefixFamily(prefix: Prefix): Family {
  return typeof prefix === 'number' ? 'ipv4' : 'ipv6'
}

export function prefixLength(prefix: Prefix): number {
  // Not by %: of numbers beyond 31 bits that is a call of fmod(3).
  return typeof prefix === 'number' ? prefix - Math.floor(prefix / 64) * 64 : prefix.charCodeAt(16)
}

export function prefixAddress(prefix: Prefix): Address {
  return typeof prefix === 'number' ? Math.floor(prefix / 64) : prefix.slice(0, 16)
}

/** The host prefix (/32 or /128) of an address. */
export function hostPrefix(address: Address): Prefix {
  return prefixOf(address, typeof address === 'number' ? 32 : 128)
}

/** Parses `address/length`; host bits are cleared (see {@link hasHostBits}). undefined when it is no prefix. */
export function parsePrefix(text: string): Prefix | undefined {
  const parts = splitPrefix(text)
  return parts === undefined ? undefined : prefixOf(parts.address, parts.length)
}

/** True when `text` is a prefix with bits set beyond its length, as 10.0.0.1/24. */
export function hasHostBits(text: string): boolean {
  const parts = splitPrefix(text)
  return parts !== undefined && prefixAddress(prefixOf(parts.address, parts.length)) !== parts.address
}

/** Splits `address/length` without masking; undefined when it is no prefix. */
export function splitPrefix(text: string): { readonly address: Address; readonly length: number } | undefined {
  const slash = text.indexOf('/')
  if (slash < 0) return undefined
  const address = parseAddress(text.slice(0, slash))
  const digits = text.slice(slash + 1)
  if (address === undefined || !/^(0|[1-9][0-9]{0,2})$/.test(digits)) return undefined
  const length = Number(digits)
  return length > (familyOfAddress(address) === 'ipv4' ? 32 : 128) ? undefined : { address, length }
}

export function formatPrefix(prefix: Prefix): string {
  return `${formatAddress(prefixAddress(prefix))}/${prefixLength(prefix)}`
}

export function prefixContains(prefix: Prefix, address: Address): boolean {
  return prefixFamily(prefix) === familyOfAddress(address) && prefixOf(address, prefixLength(prefix)) === prefix
}
