/**
 * COMMUNITIES, RFC 1997, RFC 7606 7.8:  community:u32 *
 * EXTENDED COMMUNITIES, RFC 4360 2, 3, RFC 7606 7.14:  8 octets *
 * LARGE_COMMUNITY, RFC 8092 3:  global:u32 local1:u32 local2:u32 *
 */
import { AttributeType } from '../numbers.ts'
import type { Reader } from '../reader.ts'
import { type AttributeCodec, isListOf, optionalTransitive } from './codec.ts'

/** A list of at least one element of `bytes` octets each. */
function list<T>(value: Reader, bytes: number, read: () => T): readonly T[] | string {
  if (value.left === 0 || value.left % bytes !== 0) return `${value.left} octets are no list of ${bytes}`
  const found: T[] = []
  while (value.left > 0) found.push(read())
  return found
}

export const communities: AttributeCodec = {
  type: AttributeType.communities,
  name: 'COMMUNITIES',
  flags: optionalTransitive,
  onMalformed: 'treat-as-withdraw',
  subcode: 9,
  isPlain: isListOf(4),
  decode: (value) => {
    const found = list(value, 4, () => value.u32())
    return typeof found === 'string' ? found : { communities: found }
  },
  encode: ({ communities: all }, out) => {
    for (const community of all ?? []) out.u32(community)
    return all !== undefined && all.length > 0
  },
}

export const extendedCommunities: AttributeCodec = {
  type: AttributeType.extendedCommunities,
  name: 'EXTENDED COMMUNITIES',
  flags: optionalTransitive,
  onMalformed: 'treat-as-withdraw',
  subcode: 9,
  isPlain: isListOf(8),
  decode: (value) => {
    const hex = (): string => value.u32().toString(16).padStart(8, '0')
    const found = list(value, 8, () => hex() + hex())
    return typeof found === 'string' ? found : { extendedCommunities: found }
  },
  encode: ({ extendedCommunities: all }, out) => {
    for (const community of all ?? [])
      out.u32(Number.parseInt(community.slice(0, 8), 16)).u32(Number.parseInt(community.slice(8), 16))
    return all !== undefined && all.length > 0
  },
}

export const largeCommunities: AttributeCodec = {
  type: AttributeType.largeCommunities,
  name: 'LARGE_COMMUNITY',
  flags: optionalTransitive,
  onMalformed: 'treat-as-withdraw',
  subcode: 9,
  isPlain: isListOf(12),
  decode: (value) => {
    const found = list(value, 12, () => [value.u32(), value.u32(), value.u32()] as const)
    return typeof found === 'string' ? found : { largeCommunities: withoutRepeats(found) }
  },
  encode: ({ largeCommunities: all }, out) => {
    for (const community of all ?? []) for (const part of community) out.u32(part)
    return all !== undefined && all.length > 0
  },
}

/** RFC 8092 5: a repeated value is removed silently. */
function withoutRepeats(
  all: readonly (readonly [number, number, number])[],
): readonly (readonly [number, number, number])[] {
  return [...new Map(all.map((community) => [community.join(':'), community])).values()]
}
