/**
 * Addresses as values that are cheap Map keys: IPv4 is an unsigned 32-bit number, IPv6 a string of 16 characters,
 * one per octet (U+0000..U+00FF). Text exists at the edges only.
 */
import { Address6 } from 'ip-address'

export type Ipv4Address = number
export type Ipv6Address = string
export type Address = Ipv4Address | Ipv6Address
export type Family = 'ipv4' | 'ipv6'

export function familyOfAddress(address: Address): Family {
  return typeof address === 'number' ? 'ipv4' : 'ipv6'
}

/**
 * Parses dotted IPv4 (no leading zeros: they read as octal elsewhere) or IPv6 without zone; undefined when it is
 * neither.
 */
export function parseAddress(text: string): Address | undefined {
  return text.includes(':') ? parseIpv6(text) : parseIpv4(text)
}

export function parseIpv4(text: string): Ipv4Address | undefined {
  let value = 0
  let octet = -1
  let dots = 0
  for (let at = 0; at < text.length; at++) {
    const digit = text.charCodeAt(at) - 48
    if (text[at] === '.') {
      if (octet < 0) return undefined
      value = value * 256 + octet
      octet = -1
      dots++
    } else if (digit < 0 || digit > 9 || octet === 0) return undefined
    else octet = octet < 0 ? digit : octet * 10 + digit
    if (octet > 255) return undefined
  }
  return dots === 3 && octet >= 0 ? value * 256 + octet : undefined
}

function parseIpv6(text: string): Ipv6Address | undefined {
  if (text.includes('%') || text.includes('/') || !Address6.isValid(text)) return undefined
  // The library drops leading zero octets.
  const significant = new Address6(text).toUnsignedByteArray()
  const bytes = new Uint8Array(16)
  bytes.set(significant.slice(-16), 16 - Math.min(16, significant.length))
  return String.fromCharCode(...bytes)
}

/** Text of an address: dotted IPv4, RFC 5952 IPv6. */
export function formatAddress(address: Address): string {
  if (typeof address === 'number') {
    return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`
  }
  return formatIpv6(address)
}

function formatIpv6(address: Ipv6Address): string {
  const groups: number[] = []
  for (let i = 0; i < 16; i += 2) groups.push(address.charCodeAt(i) * 256 + address.charCodeAt(i + 1))
  const isMapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff
  if (isMapped) return `::ffff:${formatAddress(((groups[6] ?? 0) * 65536 + (groups[7] ?? 0)) >>> 0)}`
  // RFC 5952 4.2: the longest run of two or more zero groups, the first of equals.
  let best = { start: -1, length: 1 }
  for (let i = 0; i < 8; i++) {
    let length = 0
    while (i + length < 8 && groups[i + length] === 0) length++
    if (length > best.length) best = { start: i, length }
  }
  const hex = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(':')
  if (best.start < 0) return hex(groups)
  return `${hex(groups.slice(0, best.start))}::${hex(groups.slice(best.start + best.length))}`
}

/** fe80::/10. */
export function isLinkLocal(address: Address): boolean {
  return typeof address === 'string' && address.charCodeAt(0) === 0xfe && (address.charCodeAt(1) & 0xc0) === 0x80
}

/** With its zone where the address means nothing without one, as fe80::1%eth0 (RFC 4007 11). */
export function formatScoped(address: Address, zone: string | undefined): string {
  return isLinkLocal(address) && zone !== undefined ? `${formatAddress(address)}%${zone}` : formatAddress(address)
}

/** `fe80::1%eth0` as address and zone. */
export function splitZone(text: string): readonly [address: string, zone: string | undefined] {
  const at = text.indexOf('%')
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)]
}

/** Whether `asked` is the address `has`, however each is written; a zone that is asked for has to agree. */
export function isAddressNamed(has: string, asked: string): boolean {
  const [[address, zone], [askedAddress, askedZone]] = [splitZone(has), splitZone(asked)]
  const value = parseAddress(askedAddress)
  return value !== undefined && parseAddress(address) === value && (askedZone === undefined || askedZone === zone)
}

/** 4 octets give an IPv4 address, 16 an IPv6 address; any other length is a bug of the caller. */
export function addressFromBytes(bytes: Uint8Array): Address {
  if (bytes.length === 4)
    return (((bytes[0] ?? 0) << 24) | ((bytes[1] ?? 0) << 16) | ((bytes[2] ?? 0) << 8) | (bytes[3] ?? 0)) >>> 0
  return String.fromCharCode(...bytes)
}

/** The octets of an address in network order: 4 or 16. */
export function addressBytes(address: Address): Uint8Array {
  if (typeof address === 'number')
    return Uint8Array.of(address >>> 24, (address >>> 16) & 255, (address >>> 8) & 255, address & 255)
  return Uint8Array.from(address, (character) => character.charCodeAt(0))
}

/** Of canonical text. */
export function familyOfText(address: string): Family {
  return address.includes(':') ? 'ipv6' : 'ipv4'
}

/** Numeric order; IPv4 before IPv6. */
export function compareAddresses(a: Address, b: Address): number {
  if (typeof a === 'number') return typeof b === 'number' ? a - b : -1
  if (typeof b === 'number') return 1
  return a < b ? -1 : a > b ? 1 : 0
}

/**
 * A unicast host address that a router may be known by: not of 0/8, 127/8, 224/4 or 240/4 (RFC 4271 6.2, RFC 6890).
 */
export function isUnicastIpv4(address: Ipv4Address): boolean {
  const first = address >>> 24
  return first >= 1 && first <= 223 && first !== 127
}

/** An address that one host can have on a link: not an unspecified one, a loopback, or one of many hosts. */
export function isUnicast(address: Address): boolean {
  if (typeof address === 'number') return isUnicastIpv4(address)
  return address[0] !== '\xff' && !(address.startsWith(zeros) && address.charCodeAt(15) < 2)
}

/**
 * Whether packets to an address are forwarded at all: not to an unspecified one, a loopback, one of a link, or many
 * hosts. The API server takes the same for endpoints.
 */
export function isForwardable(address: Address): boolean {
  if (typeof address === 'string') return isUnicast(address) && !isLinkLocal(address)
  const first = address >>> 24
  return address !== 0 && first !== 127 && first >> 4 !== 14 && address >>> 16 !== 0xa9fe
}

const zeros = '\0'.repeat(15)

/** The IPv4 address that ::ffff:a.b.c.d stands for (RFC 4291 2.5.5.2); any other address as it is. */
export function unmapped(address: Address): Address {
  return typeof address === 'string' && address.startsWith(mappedStart)
    ? addressFromBytes(addressBytes(address).subarray(12))
    : address
}

const mappedStart = `${'\0'.repeat(10)}\xff\xff`
