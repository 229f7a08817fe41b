/**
 * ATOMIC_AGGREGATE (RFC 4271 5.1.6, RFC 7606 7.6): empty. AGGREGATOR (RFC 4271 5.1.7, RFC 7606 7.7):  asn:u16|u32
 * address:u32
 */
import { AttributeType, asTrans } from '../numbers.ts'
import { u32At } from '../reader.ts'
import { type AttributeCodec, optionalTransitive, wellKnown, wrongLength } from './codec.ts'

export const atomicAggregate: AttributeCodec = {
  type: AttributeType.atomicAggregate,
  name: 'ATOMIC_AGGREGATE',
  flags: wellKnown,
  onMalformed: 'attribute-discard',
  subcode: 5,
  isPlain: (_bytes, at, end) => at === end,
  decode: (value) => (value.left === 0 ? { atomicAggregate: true } : wrongLength(value.left, '0')),
  encode: (attributes) => attributes.atomicAggregate === true,
}

export const aggregator: AttributeCodec = {
  type: AttributeType.aggregator,
  name: 'AGGREGATOR',
  flags: optionalTransitive,
  onMalformed: 'attribute-discard',
  subcode: 9,
  isPlain: (bytes, at, end) => end - at === 8 && u32At(bytes, at) !== 0,
  decode: (value, ctx) => {
    const length = ctx.fourOctetAs ? 8 : 6
    if (value.left !== length) return wrongLength(value.left, String(length))
    const asn = ctx.fourOctetAs ? value.u32() : value.u16()
    return asn === 0 ? 'AS 0 (RFC 7607)' : { aggregator: { asn, address: value.u32() } }
  },
  encode: ({ aggregator: from }, out, ctx) => {
    if (from === undefined) return false
    if (ctx.fourOctetAs) out.u32(from.asn)
    else out.u16(from.asn > 0xffff ? asTrans : from.asn)
    out.u32(from.address)
    return true
  },
}
