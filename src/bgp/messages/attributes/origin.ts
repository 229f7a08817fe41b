/** ORIGIN, RFC 4271 5.1.1, RFC 7606 7.1:  value:u8 in 0..2 */
import { AttributeType } from '../numbers.ts'
import { type AttributeCodec, wellKnown, wrongLength } from './codec.ts'

export const origin: AttributeCodec = {
  type: AttributeType.origin,
  name: 'ORIGIN',
  flags: wellKnown,
  onMalformed: 'treat-as-withdraw',
  subcode: 6,
  isPlain: (bytes, at, end) => end - at === 1 && (bytes[at] as number) <= 2,
  decode: (value) => {
    if (value.left !== 1) return wrongLength(value.left, '1')
    const origin = value.u8()
    return origin > 2 ? `value ${origin}` : { origin }
  },
  encode: ({ origin: value }, out) => {
    if (value !== undefined) out.u8(value)
    return value !== undefined
  },
}
