/**
 * RFC 7606 once more, by other means: what an UPDATE must at least lead to, from its octets alone. Written from the
 * clauses and not from the decoder, so that a mutated message that the decoder judges too mildly is found.
 */
import type { CodecContext } from '../../src/bgp/messages/types.ts'

export const Severity = { accept: 0, discard: 1, withdraw: 2, reset: 3 } as const
export type Severity = (typeof Severity)[keyof typeof Severity]

const { accept, discard, withdraw, reset } = Severity

/** Optional and Transitive bits of the class of each attribute (RFC 7606 3 c). */
const classes: Readonly<Record<number, number>> = {
  1: 0x40,
  2: 0x40,
  3: 0x40,
  4: 0x80,
  5: 0x40,
  6: 0x40,
  7: 0xc0,
  8: 0xc0,
  9: 0x80,
  10: 0x80,
  14: 0x80,
  15: 0x80,
  16: 0xc0,
  17: 0xc0,
  18: 0xc0,
  25: 0xc0,
  32: 0xc0,
  35: 0xc0,
}
const skipped = new Set([23, 26, 29, 39, 40])

interface Element {
  readonly flags: number
  readonly type: number
  readonly value: Uint8Array
}

/** The least severe answer to the body of an UPDATE that RFC 7606 allows. */
export function leastSeverity(body: Uint8Array, ctx: CodecContext): Severity {
  const withdrawnLength = u16(body, 0)
  if (withdrawnLength + 4 > body.length) return reset
  const attributesLength = u16(body, 2 + withdrawnLength)
  const from = 4 + withdrawnLength
  if (from + attributesLength > body.length) return reset
  const hasNlri = from + attributesLength < body.length
  const { elements, isCut, cutType } = split(body.subarray(from, from + attributesLength))
  if (isCut && (cutType === 14 || cutType === 15)) return reset
  let worst: Severity = isCut ? withdraw : accept
  const seen = new Set<number>()
  let isReach = hasNlri
  for (const element of elements) {
    const isRepeated = seen.has(element.type)
    seen.add(element.type)
    // RFC 7606 3 g
    const found = isRepeated
      ? element.type === 14 || element.type === 15
        ? reset
        : accept
      : severityOf(element, ctx, hasNlri)
    worst = Math.max(worst, found) as Severity
    if (element.type === 14 && found !== reset && isKnownFamily(element.value, ctx) && hasPrefixes(element.value))
      isReach = true
  }
  // RFC 7606 3 d
  const mandatory = [1, 2, ...(hasNlri ? [3] : []), ...(ctx.isExternal ? [] : [5])]
  if (isReach && mandatory.some((type) => !seen.has(type))) worst = Math.max(worst, withdraw) as Severity
  // RFC 7606 5.2
  return worst === withdraw && !isReach ? reset : worst
}

function severityOf({ flags, type, value }: Element, ctx: CodecContext, hasNlri: boolean): Severity {
  if (type === 0 || skipped.has(type)) return accept
  const wanted = classes[type]
  // RFC 4271 6.3: a well-known attribute that nobody knows.
  if (wanted === undefined) return (flags & 0x80) === 0 ? reset : accept
  if (isUnexpected(type, ctx)) return discard
  // RFC 4760 3: without NLRI of its own, NEXT_HOP is ignored.
  if (type === 3 && !hasNlri) return accept
  const isMultiprotocol = type === 14 || type === 15
  if ((flags & 0xc0) !== wanted) return isMultiprotocol ? reset : withdraw
  const length = value.length
  switch (type) {
    case 1:
      return length === 1 && (value[0] ?? 9) <= 2 ? accept : withdraw
    case 2:
      return isPath(value, ctx) ? accept : withdraw
    case 3:
      return length === 4 ? accept : withdraw
    case 4:
    case 5:
    case 9:
    case 35:
      return length === 4 ? accept : withdraw
    case 6:
      return length === 0 ? accept : discard
    case 7:
      return length === (ctx.fourOctetAs ? 8 : 6) ? accept : discard
    case 8:
    case 10:
      return isList(length, 4)
    case 16:
      return isList(length, 8)
    case 25:
      return isList(length, 20)
    case 32:
      return isList(length, 12)
    case 18:
      return length === 8 ? accept : discard
    case 14:
      return length < 5 || (value[3] ?? 0) + 5 > length ? reset : accept
    case 15:
      return length < 3 ? reset : accept
    default:
      return accept
  }
}

const u16 = (bytes: Uint8Array, at: number): number => (bytes[at] ?? 0) * 256 + (bytes[at + 1] ?? 0)
const isList = (length: number, element: number): Severity => (length > 0 && length % element === 0 ? accept : withdraw)
/** RFC 7606 7.5, 7.9, 7.10, RFC 6793 6. */
const isUnexpected = (type: number, ctx: CodecContext): boolean =>
  (ctx.isExternal && [5, 9, 10].includes(type)) || (ctx.fourOctetAs && [17, 18].includes(type))
const isKnownFamily = (value: Uint8Array, ctx: CodecContext): boolean =>
  ctx.families.some(({ afi, safi }) => afi === u16(value, 0) && safi === value[2])
const hasPrefixes = (value: Uint8Array): boolean => value.length > 5 + (value[3] ?? 0)

/** RFC 7606 7.2. */
function isPath(value: Uint8Array, ctx: CodecContext): boolean {
  const octets = ctx.fourOctetAs ? 4 : 2
  let at = 0
  while (at < value.length) {
    const [type = 0, count = 0] = [value[at], value[at + 1]]
    if (at + 2 > value.length || type < 1 || type > 4 || count === 0) return false
    if (ctx.isExternal && type > 2) return false
    at += 2 + count * octets
  }
  return at === value.length
}

/** RFC 7606 4: the attributes up to one that runs past the end. */
function split(attributes: Uint8Array): {
  readonly elements: readonly Element[]
  readonly isCut: boolean
  readonly cutType: number | undefined
} {
  const elements: Element[] = []
  let at = 0
  while (at < attributes.length) {
    const flags = attributes[at] ?? 0
    const isLong = (flags & 0x10) !== 0
    const head = isLong ? 4 : 3
    if (at + head > attributes.length) return { elements, isCut: true, cutType: undefined }
    const type = attributes[at + 1] ?? 0
    const length = isLong ? u16(attributes, at + 2) : (attributes[at + 2] ?? 0)
    if (at + head + length > attributes.length) return { elements, isCut: true, cutType: type }
    elements.push({ flags, type, value: attributes.subarray(at + head, at + head + length) })
    at += head + length
  }
  return { elements, isCut: false, cutType: undefined }
}
