/**
 * Attributes that a node speaker has no use for. Some are checked for their length, because RFC 7606 asks for it
 * whether they are used or not; the rest is discarded without a look inside, which is where other engines crashed.
 */
import { AttributeType } from '../numbers.ts'
import { type AttributeCodec, optionalNonTransitive, optionalTransitive } from './codec.ts'

interface Unused {
  readonly type: number
  readonly name: string
  readonly flags: number
  readonly isLengthValid?: (length: number) => boolean
}

function ofLength({ type, name, flags, isLengthValid }: Unused): AttributeCodec {
  return {
    type,
    name,
    flags,
    onMalformed: 'treat-as-withdraw',
    subcode: 9,
    decode: (value) => {
      const length = value.left
      if (isLengthValid?.(length) === false) return `${length} octets`
      return { unknown: [{ flags, type, value: value.copy(length) }] }
    },
    encode: () => false,
  }
}

function discarded({ type, name, flags }: Unused): AttributeCodec {
  return {
    type,
    name,
    flags,
    onMalformed: 'attribute-discard',
    subcode: 9,
    isExpected: () => false,
    decode: () => ({}),
    encode: () => false,
  }
}

export const unused: readonly AttributeCodec[] = [
  // RFC 5701 2 and RFC 7606 7.15
  ofLength({
    type: AttributeType.ipv6ExtendedCommunities,
    name: 'IPv6 EXTENDED COMMUNITIES',
    flags: optionalTransitive,
    isLengthValid: (length) => length > 0 && length % 20 === 0,
  }),
  discarded({ type: AttributeType.tunnelEncapsulation, name: 'TUNNEL_ENCAPSULATION', flags: optionalTransitive }),
  discarded({ type: AttributeType.aigp, name: 'AIGP', flags: optionalNonTransitive }),
  discarded({ type: AttributeType.bgpLs, name: 'BGP-LS', flags: optionalNonTransitive }),
  discarded({
    type: AttributeType.nextHopDependentCharacteristics,
    name: 'NEXT_HOP_DEPENDENT_CHARACTERISTICS',
    flags: optionalTransitive,
  }),
  discarded({ type: AttributeType.prefixSid, name: 'PREFIX_SID', flags: optionalTransitive }),
]
