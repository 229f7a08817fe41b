/**
 * AS4_PATH, RFC 6793 3:  (segmentType:u8 count:u8 asn:u32 * count)*. AS4_AGGREGATOR:  asn:u32 address:u32.
 * Sent to a two-octet speaker when, and only when, AS_PATH or AGGREGATOR hold an AS that does not fit (4.2.2);
 * discarded from a four-octet speaker (6); from a two-octet one kept as bytes, a stub has no path to mend.
 */
import type { AsPathSegment, CodecContext, PathAttributes } from '../types.ts'
import { asPath, asSequence } from './as-path.ts'
import { type AttributeCodec, optionalTransitive } from './codec.ts'

const isOldSpeaker = (ctx: CodecContext): boolean => !ctx.fourOctetAs
const isLarge = (asn: number): boolean => asn > 0xffff
/** What came from a peer goes on as it came. */
const isKept = ({ unknown }: PathAttributes, type: number): boolean => unknown?.some((one) => one.type === type) === true
const hasLarge = (segments: readonly AsPathSegment[]): boolean => segments.some(({ asns }) => asns.some(isLarge))

export const as4Path: AttributeCodec = {
  type: 17,
  name: 'AS4_PATH',
  flags: optionalTransitive,
  onMalformed: 'attribute-discard',
  subcode: 9,
  isExpected: isOldSpeaker,
  decode: (value) => {
    const length = value.left
    if (length < 6 || length % 2 !== 0) return `${length} octets`
    return { unknown: [{ flags: optionalTransitive, type: 17, value: value.copy(length) }] }
  },
  encode: (attributes, out, ctx) => {
    // RFC 6793 3: segments of confederations stay out.
    const segments = (attributes.asPath ?? []).filter(({ type }) => type <= asSequence)
    if (isKept(attributes, 17) || !hasLarge(segments)) return false
    return asPath.encode({ asPath: segments }, out, { ...ctx, fourOctetAs: true })
  },
}

export const as4Aggregator: AttributeCodec = {
  type: 18,
  name: 'AS4_AGGREGATOR',
  flags: optionalTransitive,
  onMalformed: 'attribute-discard',
  subcode: 9,
  isExpected: isOldSpeaker,
  decode: (value) => {
    const length = value.left
    return length === 8 ? { unknown: [{ flags: optionalTransitive, type: 18, value: value.copy(length) }] } : `${length} octets`
  },
  encode: (attributes, out) => {
    const from = attributes.aggregator
    if (from === undefined || !isLarge(from.asn) || isKept(attributes, 18)) return false
    out.u32(from.asn).u32(from.address)
    return true
  },
}
