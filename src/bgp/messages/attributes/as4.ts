/**
 * AS4_PATH, RFC 6793 3:  (segmentType:u8 count:u8 asn:u32 * count)*. AS4_AGGREGATOR:  asn:u32 address:u32.
 * Sent to a two-octet speaker when, and only when, AS_PATH or AGGREGATOR hold an AS that does not fit (RFC 6793 4.2.2);
 * discarded from a four-octet speaker (RFC 6793 6); from a two-octet one merged into AS_PATH and AGGREGATOR (4.2.3), so
 * that
 * nobody beyond the decoder knows of them.
 */
import { AttributeType, SegmentType, asTrans } from '../numbers.ts'
import { Reader } from '../reader.ts'
import type { AsPathSegment, CodecContext, PathAttributes, UnknownAttribute } from '../types.ts'
import { asPath } from './as-path.ts'
import { type AttributeCodec, optionalTransitive } from './codec.ts'

const as4PathType = AttributeType.as4Path
const as4AggregatorType = AttributeType.as4Aggregator
const isOldSpeaker = (ctx: CodecContext): boolean => !ctx.fourOctetAs
const isLarge = (asn: number): boolean => asn > 0xffff
const hasLarge = (segments: readonly AsPathSegment[]): boolean => segments.some(({ asns }) => asns.some(isLarge))
/** RFC 6793 3: segments of confederations stay out. */
const withoutConfederations = (segments: readonly AsPathSegment[]): readonly AsPathSegment[] =>
  segments.filter(({ type }) => type <= SegmentType.asSequence)

export const as4Path: AttributeCodec = {
  type: as4PathType,
  name: 'AS4_PATH',
  flags: optionalTransitive,
  onMalformed: 'attribute-discard',
  subcode: 9,
  isExpected: isOldSpeaker,
  decode: (value) => {
    const raw = value.peek()
    const segments = segmentsOf(value)
    if (typeof segments === 'string') return segments
    if (segments.length === 0) return 'no ASes'
    return { unknown: [{ flags: optionalTransitive, type: as4PathType, value: raw.copy(raw.left) }] }
  },
  encode: (attributes, out, ctx) => {
    const segments = withoutConfederations(attributes.asPath ?? [])
    return hasLarge(segments) && asPath.encode({ asPath: segments }, out, { ...ctx, fourOctetAs: true })
  },
}

export const as4Aggregator: AttributeCodec = {
  type: as4AggregatorType,
  name: 'AS4_AGGREGATOR',
  flags: optionalTransitive,
  onMalformed: 'attribute-discard',
  subcode: 9,
  isExpected: isOldSpeaker,
  decode: (value) => {
    const length = value.left
    return length === 8
      ? { unknown: [{ flags: optionalTransitive, type: as4AggregatorType, value: value.copy(length) }] }
      : `${length} octets`
  },
  encode: (attributes, out) => {
    const from = attributes.aggregator
    if (from === undefined || !isLarge(from.asn)) return false
    out.u32(from.asn).u32(from.address)
    return true
  },
}

/** RFC 6793 4.2.3: the attributes as a four-octet speaker would have sent them. */
export function mergeAs4(attributes: PathAttributes): PathAttributes {
  const path = attributes.unknown?.find(({ type }) => type === as4PathType)
  const from = attributes.unknown?.find(({ type }) => type === as4AggregatorType)
  if (path === undefined && from === undefined) return attributes
  const { unknown, ...rest } = attributes
  const others = (unknown ?? []).filter((one) => one !== path && one !== from)
  const merged: PathAttributes = { ...rest, ...(others.length === 0 ? {} : { unknown: others }) }
  // An AGGREGATOR that is not AS_TRANS was written by an old speaker behind the last new one: both are out of date.
  if (from !== undefined && rest.aggregator !== undefined && rest.aggregator.asn !== asTrans) return merged
  return { ...merged, ...mergedAggregator(rest, from), ...mergedPath(rest, path) }
}

function mergedAggregator({ aggregator }: PathAttributes, from: UnknownAttribute | undefined): Partial<PathAttributes> {
  if (from === undefined || aggregator === undefined) return {}
  const value = new Reader(from.value)
  const asn = value.u32()
  // AS 0 (RFC 7607 2) names nobody: what there is stays.
  return asn === 0 ? {} : { aggregator: { asn, address: value.u32() } }
}

/** The ASes that only the old path has, then the new path; a new path that is longer is of no use. */
function mergedPath({ asPath: old }: PathAttributes, path: UnknownAttribute | undefined): Partial<PathAttributes> {
  const segments = path === undefined ? 'none' : segmentsOf(new Reader(path.value))
  if (old === undefined || typeof segments === 'string') return {}
  const recent = withoutConfederations(segments)
  const surplus = lengthOf(old) - lengthOf(recent)
  if (surplus < 0 || recent.length === 0) return {}
  return { asPath: joined([...leading(old, surplus), ...recent]) }
}

function segmentsOf(value: Reader): readonly AsPathSegment[] | string {
  const decoded = asPath.decode(value, {
    fourOctetAs: true,
    isExternal: false,
    families: [],
    maxMessageBytes: 0,
    extendedNextHop: false,
    addPathReceive: [],
  })
  return typeof decoded === 'string' ? decoded : (decoded.asPath ?? [])
}

/** RFC 4271 9.1.2.2 a, RFC 5065 5.3: a set counts one, confederations nothing. */
function lengthOf(segments: readonly AsPathSegment[]): number {
  return segments.reduce(
    (sum, { type, asns }) => sum + (type === SegmentType.asSequence ? asns.length : type === SegmentType.asSet ? 1 : 0),
    0,
  )
}

/** The first `count` ASes of a path, and the confederations among them. */
function leading(segments: readonly AsPathSegment[], count: number): readonly AsPathSegment[] {
  const taken: AsPathSegment[] = []
  let left = count
  for (const segment of segments) {
    if (segment.type > SegmentType.asSequence) {
      taken.push(segment)
      continue
    }
    if (left === 0) break
    const asns = segment.type === SegmentType.asSet ? segment.asns : segment.asns.slice(0, left)
    left -= segment.type === SegmentType.asSet ? 1 : asns.length
    taken.push({ type: segment.type, asns })
  }
  return taken
}

/** Sequences that follow each other are one. */
function joined(segments: readonly AsPathSegment[]): readonly AsPathSegment[] {
  const all: AsPathSegment[] = []
  for (const segment of segments) {
    const last = all.at(-1)
    if (last?.type === SegmentType.asSequence && segment.type === SegmentType.asSequence)
      all[all.length - 1] = { type: SegmentType.asSequence, asns: [...last.asns, ...segment.asns] }
    else all.push(segment)
  }
  return all
}
