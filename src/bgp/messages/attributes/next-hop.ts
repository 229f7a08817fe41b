/** NEXT_HOP, RFC 4271 5.1.3, RFC 7606 7.3:  address:u32 */
import { AttributeType } from '../numbers.ts'
import { addressBytes } from '../../../ip/address.ts'
import { u32At } from '../reader.ts'
import { type AttributeCodec, wellKnown, wrongLength } from './codec.ts'

/** 0.0.0.0/8, 127.0.0.0/8 and everything from 224.0.0.0 up can be no next hop (RFC 4271 6.3). */
export function isHostAddress(address: number): boolean {
  const first = address >>> 24
  return first !== 0 && first !== 127 && first < 224
}

export const nextHop: AttributeCodec = {
  type: AttributeType.nextHop,
  name: 'NEXT_HOP',
  flags: wellKnown,
  onMalformed: 'treat-as-withdraw',
  subcode: 8,
  isPlain: (bytes, at, end) => end - at === 4 && isHostAddress(u32At(bytes, at)),
  decode: (value) => {
    if (value.left !== 4) return wrongLength(value.left, '4')
    const address = value.u32()
    return isHostAddress(address) ? { nextHop: address } : 'not the address of a host'
  },
  encode: ({ nextHop: address }, out) => {
    // An IPv6 next hop travels in MP_REACH_NLRI.
    if (typeof address !== 'number') return false
    out.bytes(addressBytes(address))
    return true
  },
}
