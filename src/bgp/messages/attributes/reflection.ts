/**
 * ORIGINATOR_ID (RFC 4456 8, RFC 7606 7.9):  id:u32. CLUSTER_LIST (8, 7.10):  id:u32 *. Of meaning inside an AS only.
 */
import { AttributeType } from '../numbers.ts'
import { type AttributeCodec, isFourOctets, isListOf, optionalNonTransitive, wrongLength } from './codec.ts'

export const originatorId: AttributeCodec = {
  type: AttributeType.originatorId,
  name: 'ORIGINATOR_ID',
  flags: optionalNonTransitive,
  onMalformed: 'treat-as-withdraw',
  subcode: 9,
  isExpected: (ctx) => !ctx.isExternal,
  isPlain: isFourOctets,
  decode: (value) => (value.left === 4 ? { originatorId: value.u32() } : wrongLength(value.left, '4')),
  encode: ({ originatorId: id }, out) => {
    if (id !== undefined) out.u32(id)
    return id !== undefined
  },
}

export const clusterList: AttributeCodec = {
  type: AttributeType.clusterList,
  name: 'CLUSTER_LIST',
  flags: optionalNonTransitive,
  onMalformed: 'treat-as-withdraw',
  subcode: 9,
  isExpected: (ctx) => !ctx.isExternal,
  isPlain: isListOf(4),
  decode: (value) => {
    if (value.left === 0 || value.left % 4 !== 0) return `${value.left} octets are no list of 4`
    const clusterList: number[] = []
    while (value.left > 0) clusterList.push(value.u32())
    return { clusterList }
  },
  encode: ({ clusterList: all }, out) => {
    for (const id of all ?? []) out.u32(id)
    return all !== undefined && all.length > 0
  },
}
