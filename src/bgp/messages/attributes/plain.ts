/**
 * The attributes of an UPDATE judged where they lie: each of an ordinary kind, well formed, there once, and what a
 * route must have among them. A full table has hundreds of thousands of sets, and values are made of few of them.
 */
import { AttributeType } from '../numbers.ts'
import type { CodecContext } from '../types.ts'
import { type AttributeCodec, flag, optionalTransitive } from './codec.ts'
import { attributeCodecs } from './table.ts'

/** The attributes are not of the ordinary kind: they are to be decoded. */
export const notPlain = -1
/** AS_PATH is empty. No path begins where a message begins. */
export const noPath = 0

interface Plain {
  /** Optional and Transitive bits of its class. */
  readonly flags: number
  /** Its bit among those that were seen. */
  readonly bit: number
  readonly isOutside: boolean
  readonly isPlain: NonNullable<AttributeCodec['isPlain']>
}

const outside: CodecContext = {
  fourOctetAs: true,
  isExternal: true,
  families: [],
  maxMessageBytes: 0,
  extendedNextHop: false,
  addPathReceive: [],
}

/** By type; of one shape all of them. */
const plainByType: readonly (Plain | undefined)[] = Array.from({ length: 256 }, () => undefined).map((_, type) => {
  const index = attributeCodecs.findIndex((codec) => codec.type === type)
  const codec = attributeCodecs[index]
  return codec?.isPlain === undefined
    ? undefined
    : {
        flags: codec.flags,
        bit: 1 << index,
        isOutside: codec.isExpected?.(outside) !== false,
        isPlain: codec.isPlain,
      }
})
const bitOf = (type: number): number => plainByType[type]?.bit ?? 0
const { origin, asPath, nextHop, localPref } = AttributeType
const mandatory = bitOf(origin) | bitOf(asPath) | bitOf(nextHop)
const mandatoryInside = mandatory | bitOf(localPref)

/**
 * Where the first segment of AS_PATH is in the attributes of announced IPv4 routes, {@link noPath} where it has none;
 * {@link notPlain}. Of a session with four octets to an AS.
 */
export function plainAttributes(bytes: Uint8Array, from: number, to: number, isExternal: boolean): number {
  let seen = 0
  let pathAt = noPath
  let at = from
  while (at < to) {
    // The shortest header; a value that is missing ends beyond `to`.
    if (at + 3 > to) return notPlain
    const flags = bytes[at] as number
    const type = bytes[at + 1] as number
    let length = bytes[at + 2] as number
    at += 3
    if ((flags & flag.extendedLength) !== 0) {
      if (at === to) return notPlain
      length = (length << 8) | (bytes[at++] as number)
    }
    const end = at + length
    const plain = plainByType[type]
    if (end > to || plain === undefined || (seen & plain.bit) !== 0 || (isExternal && !plain.isOutside)) return notPlain
    if (!hasClass(flags, plain.flags) || !plain.isPlain(bytes, at, end)) return notPlain
    seen |= plain.bit
    if (type === asPath && length > 0) pathAt = at
    at = end
  }
  const wanted = isExternal ? mandatory : mandatoryInside
  return (seen & wanted) === wanted ? pathAt : notPlain
}

/** RFC 4271 4.3: the Partial bit is for what is optional and transitive; the low four bits are ignored. */
function hasClass(flags: number, wanted: number): boolean {
  const upper = flags & (flag.optional | flag.transitive | flag.partial)
  return upper === wanted || (wanted === optionalTransitive && upper === (wanted | flag.partial))
}
