/** MULTI_EXIT_DISC (RFC 4271 5.1.4, RFC 7606 7.4) and LOCAL_PREF (5.1.5, 7.5):  value:u32 each */
import { AttributeType } from '../numbers.ts'
import { type AttributeCodec, isFourOctets, optionalNonTransitive, wellKnown, wrongLength } from './codec.ts'

export const multiExitDisc: AttributeCodec = {
  type: AttributeType.multiExitDisc,
  name: 'MULTI_EXIT_DISC',
  flags: optionalNonTransitive,
  onMalformed: 'treat-as-withdraw',
  subcode: 5,
  isPlain: isFourOctets,
  decode: (value) => (value.left === 4 ? { med: value.u32() } : wrongLength(value.left, '4')),
  encode: ({ med }, out) => {
    if (med !== undefined) out.u32(med)
    return med !== undefined
  },
}

export const localPref: AttributeCodec = {
  type: AttributeType.localPref,
  name: 'LOCAL_PREF',
  flags: wellKnown,
  onMalformed: 'treat-as-withdraw',
  subcode: 5,
  isExpected: (ctx) => !ctx.isExternal,
  isPlain: isFourOctets,
  decode: (value) => (value.left === 4 ? { localPref: value.u32() } : wrongLength(value.left, '4')),
  encode: ({ localPref: preference }, out) => {
    if (preference !== undefined) out.u32(preference)
    return preference !== undefined
  },
}
