/** AS_PATH, RFC 4271 5.1.2, RFC 6793, RFC 7606 7.2:  (segmentType:u8 count:u8 asn:u16|u32 * count)* */
import { AttributeType, SegmentType, asTrans } from '../numbers.ts'
import { type Reader, u32At } from '../reader.ts'
import type { AsPathSegment, CodecContext, PathAttributes } from '../types.ts'
import type { Writer } from '../writer.ts'
import { type AttributeCodec, wellKnown } from './codec.ts'

const { asSet, asSequence, confederationSet: lastKnownType } = SegmentType
const maxSegmentAses = 255

function decode(value: Reader, ctx: CodecContext): Partial<PathAttributes> | string {
  const asPath: AsPathSegment[] = []
  const asnBytes = ctx.fourOctetAs ? 4 : 2
  while (value.left > 0) {
    if (value.left < 2) return 'an octet is left over'
    const type = value.u8()
    const count = value.u8()
    if (type < asSet || type > lastKnownType) return `segment type ${type}`
    // RFC 5065 5: confederation segments have no place on a session with an outside AS.
    if (type > asSequence && ctx.isExternal) return `confederation segment type ${type} from an external peer`
    if (count === 0) return 'a segment of no ASes'
    if (count * asnBytes > value.left) return `a segment of ${count} ASes runs past the attribute`
    const asns: number[] = []
    for (let i = 0; i < count; i++) asns.push(ctx.fourOctetAs ? value.u32() : value.u16())
    if (asns.includes(0)) return 'AS 0 (RFC 7607)'
    asPath.push({ type, asns })
  }
  return { asPath }
}

/** Nothing, or one AS_SEQUENCE of four octets to an AS. */
function isPlain(bytes: Uint8Array, at: number, end: number): boolean {
  if (at === end) return true
  const count = bytes[at + 1] as number
  if (bytes[at] !== asSequence || count === 0 || end - at !== 2 + 4 * count) return false
  for (let i = at + 2; i < end; i += 4) if (u32At(bytes, i) === 0) return false
  return true
}

function encode({ asPath }: PathAttributes, out: Writer, ctx: CodecContext): boolean {
  for (const { type, asns } of asPath ?? []) {
    for (let from = 0; from < asns.length; from += maxSegmentAses) {
      const part = asns.slice(from, from + maxSegmentAses)
      out.u8(type).u8(part.length)
      for (const asn of part) {
        if (ctx.fourOctetAs) out.u32(asn)
        else out.u16(asn > 0xffff ? asTrans : asn)
      }
    }
  }
  return asPath !== undefined
}

export const asPath: AttributeCodec = {
  type: AttributeType.asPath,
  name: 'AS_PATH',
  flags: wellKnown,
  onMalformed: 'treat-as-withdraw',
  subcode: 11,
  isPlain,
  decode,
  encode,
}
