/**
 * MP_REACH_NLRI, RFC 4760 3:  afi:u16 safi:u8 nextHopLength:u8 nextHop reserved:u8 nlri
 * MP_UNREACH_NLRI, RFC 4760 4:  afi:u16 safi:u8 nlri
 * Faults here leave no prefixes to withdraw, so they reset the session (RFC 7606 5.3, 7.11, 7.12).
 */
import { AttributeType } from '../numbers.ts'
import { type Address, addressBytes, addressFromBytes } from '../../../ip/address.ts'
import { decodePrefixes, encodePrefixes, type Nlri } from '../nlri.ts'
import type { Reader } from '../reader.ts'
import type { AfiSafi, CodecContext, MpReach, MpUnreach } from '../types.ts'
import type { Writer } from '../writer.ts'
import { optionalNonTransitive } from './codec.ts'
import { isHostAddress } from './next-hop.ts'

export const mpReachType = AttributeType.mpReachNlri
export const mpUnreachType = AttributeType.mpUnreachNlri
export const mpFlags = optionalNonTransitive

/** `badNextHop`: the prefixes are known and the next hop is unusable, they are withdrawn. */
export type MpReachResult =
  | { readonly kind: 'reach'; readonly reach: MpReach; readonly badNextHop?: string }
  | { readonly kind: 'ignored' }
  | { readonly kind: 'fault'; readonly reason: string }
export type MpUnreachResult =
  | { readonly kind: 'unreach'; readonly unreach: MpUnreach }
  | { readonly kind: 'ignored' }
  | { readonly kind: 'fault'; readonly reason: string }

export function isNegotiated(family: AfiSafi, ctx: CodecContext): boolean {
  return includes(ctx.families, family)
}

/** RFC 7911: received prefixes of the family carry a path identifier. */
export function hasPathIds(family: AfiSafi, ctx: CodecContext): boolean {
  return ctx.addPathReceive.length > 0 && includes(ctx.addPathReceive, family)
}

const includes = (families: readonly AfiSafi[], { afi, safi }: AfiSafi): boolean =>
  families.some((family) => family.afi === afi && family.safi === safi)

export function decodeMpReach(value: Reader, ctx: CodecContext): MpReachResult {
  if (value.left < 5) return { kind: 'fault', reason: `${value.left} octets` }
  const family = { afi: value.u16(), safi: value.u8() }
  const nextHopLength = value.u8()
  if (nextHopLength + 1 > value.left)
    return { kind: 'fault', reason: `next hop of ${nextHopLength} octets runs past the attribute` }
  if (!isNegotiated(family, ctx)) return { kind: 'ignored' }
  if (!(family.afi === 1 ? [4, 16, 32] : [16, 32]).includes(nextHopLength))
    return { kind: 'fault', reason: `next hop of ${nextHopLength} octets` }
  const octets = value.copy(nextHopLength)
  // Reserved, once the number of SNPAs: ignored on receipt.
  value.u8()
  const nlri = decodePrefixes(value, family.afi, hasPathIds(family, ctx))
  if (typeof nlri === 'string') return { kind: 'fault', reason: nlri }
  const linkLocal =
    nextHopLength === 32 && octets[16] === 0xfe && ((octets[17] ?? 0) & 0xc0) === 0x80
      ? (addressFromBytes(octets.subarray(16)) as string)
      : undefined
  // BIRD has :: for the global address where the session runs over link-local ones: the other one is what it means.
  const isGlobalAbsent = linkLocal !== undefined && octets.subarray(0, 16).every((octet) => octet === 0)
  const nextHop = isGlobalAbsent ? linkLocal : addressFromBytes(octets.subarray(0, nextHopLength === 4 ? 4 : 16))
  const badNextHop =
    family.afi === 1 && nextHopLength !== 4 && !ctx.extendedNextHop
      ? 'an IPv6 next hop that was not negotiated (RFC 8950)'
      : nextHopFault(nextHop)
  return {
    kind: 'reach',
    reach: { family, nextHop, ...(linkLocal === undefined || isGlobalAbsent ? {} : { linkLocal }), ...nlri },
    ...(badNextHop === undefined ? {} : { badNextHop }),
  }
}

/** Addresses that no host has: unspecified, loopback, multicast, and IPv4 in IPv6 clothes. */
function nextHopFault(nextHop: Address): string | undefined {
  if (typeof nextHop === 'number')
    return isHostAddress(nextHop) ? undefined : 'the next hop is not the address of a host'
  const bytes = addressBytes(nextHop)
  const isLow = bytes.subarray(0, 15).every((octet) => octet === 0) && (bytes[15] ?? 0) <= 1
  const isMapped = bytes.subarray(0, 10).every((octet) => octet === 0) && bytes[10] === 0xff && bytes[11] === 0xff
  return isLow || isMapped || bytes[0] === 0xff ? 'the next hop is not the address of a host' : undefined
}

export function decodeMpUnreach(value: Reader, ctx: CodecContext): MpUnreachResult {
  if (value.left < 3) return { kind: 'fault', reason: `${value.left} octets` }
  const family = { afi: value.u16(), safi: value.u8() }
  if (!isNegotiated(family, ctx)) return { kind: 'ignored' }
  const nlri = decodePrefixes(value, family.afi, hasPathIds(family, ctx))
  return typeof nlri === 'string' ? { kind: 'fault', reason: nlri } : { kind: 'unreach', unreach: { family, ...nlri } }
}

/** Everything of MP_REACH_NLRI before its prefixes. */
export function encodeMpReachHead({ family, nextHop, linkLocal }: Omit<MpReach, keyof Nlri>, out: Writer): void {
  const octets = addressBytes(nextHop)
  out
    .u16(family.afi)
    .u8(family.safi)
    .u8(octets.length + (linkLocal === undefined ? 0 : 16))
    .bytes(octets)
  if (linkLocal !== undefined) out.bytes(addressBytes(linkLocal))
  out.u8(0)
}

export function encodeMpReach(reach: MpReach, out: Writer): void {
  encodeMpReachHead(reach, out)
  encodePrefixes(reach, out)
}

export function encodeMpUnreach(unreach: MpUnreach, out: Writer): void {
  out.u16(unreach.family.afi).u8(unreach.family.safi)
  encodePrefixes(unreach, out)
}
