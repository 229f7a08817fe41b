/**
 * The attributes of the announced routes of one UPDATE as octets: equal blocks mean equal attributes, so that a table
 * interns octets and decodes them when somebody looks.
 *
 *     attributes field, as it came          no multiprotocol attribute in it: a view, nothing is copied
 *     MP_REACH_NLRI without its prefixes, then the others     else
 */
import type { MpReach } from '../types.ts'
import { Writer } from '../writer.ts'
import { flag } from './codec.ts'
import { encodeMpReachHead, mpFlags, mpReachType, mpUnreachType } from './mp-nlri.ts'

/** `attributes` is the field of a decoded UPDATE, `mpReach` what was found in it. */
export function attributeBlock(attributes: Uint8Array, mpReach: MpReach | undefined): Uint8Array {
  const parts = withoutMultiprotocol(attributes)
  if (parts === undefined) return attributes
  const out = new Writer(attributes.length + 48)
  if (mpReach !== undefined) {
    const head = new Writer(40)
    encodeMpReachHead(mpReach, head)
    out.u8(mpFlags).u8(mpReachType).u8(head.length).bytes(head.finish())
  }
  for (const part of parts) out.bytes(part)
  return out.finish()
}

/** The attributes between the multiprotocol ones; undefined when there is none of those. A cut tail stays as it is. */
function withoutMultiprotocol(attributes: Uint8Array): readonly Uint8Array[] | undefined {
  const parts: Uint8Array[] = []
  let from = 0
  let isFound = false
  for (let at = 0; at + 2 < attributes.length; ) {
    const isLong = ((attributes[at] as number) & flag.extendedLength) !== 0
    const length = isLong
      ? ((attributes[at + 2] as number) << 8) | (attributes[at + 3] ?? 0)
      : (attributes[at + 2] as number)
    const end = at + (isLong ? 4 : 3) + length
    const type = attributes[at + 1]
    if (type === mpReachType || type === mpUnreachType) {
      if (at > from) parts.push(attributes.subarray(from, at))
      from = end
      isFound = true
    }
    at = end
  }
  if (!isFound) return undefined
  if (from < attributes.length) parts.push(attributes.subarray(from))
  return parts
}
