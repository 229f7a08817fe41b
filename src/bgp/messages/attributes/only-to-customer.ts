/** ONLY_TO_CUSTOMER, RFC 9234 5:  asn:u32 */
import { AttributeType } from '../numbers.ts'
import { type AttributeCodec, isFourOctets, optionalTransitive, wrongLength } from './codec.ts'

export const onlyToCustomer: AttributeCodec = {
  type: AttributeType.onlyToCustomer,
  name: 'ONLY_TO_CUSTOMER',
  flags: optionalTransitive,
  onMalformed: 'treat-as-withdraw',
  subcode: 9,
  isPlain: isFourOctets,
  decode: (value) => (value.left === 4 ? { otc: value.u32() } : wrongLength(value.left, '4')),
  encode: ({ otc }, out) => {
    if (otc !== undefined) out.u32(otc)
    return otc !== undefined
  },
}
