/** Communities as MetalLB spells them: `65000:100`, `large:65000:1:2`. Pure. */

export interface WrittenCommunity {
  readonly kind: 'standard' | 'large'
  /** RFC 1997 as an unsigned number of 32 bits, or RFC 8092 as `65000:1:2`. */
  readonly value: number | string
}

/** Why a text that has the form of a community is none. */
export interface CommunityFault {
  readonly message: string
  readonly remedy: string
}

/** undefined: the text has not the form of a community, and may be the name of one. */
export function parseMetallbCommunity(text: string): WrittenCommunity | CommunityFault | undefined {
  const [, high, low] = /^(\d{1,20}):(\d{1,20})$/.exec(text) ?? []
  if (high !== undefined && low !== undefined) {
    const [a, b] = [Number(high), Number(low)]
    if (a <= 0xffff && b <= 0xffff) return { kind: 'standard', value: a * 65536 + b }
    const message = `${text} is no community: each half is at most 65535`
    return { message, remedy: a > 0xffff ? `Write large:${high}:${low}:0, or a smaller AS` : 'Write 65000:100' }
  }
  const parts = /^large:(\d{1,20}):(\d{1,20}):(\d{1,20})$/.exec(text)?.slice(1).map(Number)
  if (parts !== undefined)
    return parts.every((part) => part <= 0xffffffff)
      ? { kind: 'large', value: parts.join(':') }
      : { message: `${text} is no large community: each part is at most 4294967295`, remedy: 'Write large:65000:1:2' }
  if (!/^[\w.-]*(:[\w.-]*)+$/.test(text) || !/:\d+$/.test(text)) return undefined
  return { message: `${text} is no community`, remedy: 'Write 65000:100, or large:65000:1:2' }
}

export function isCommunityFault(found: WrittenCommunity | CommunityFault): found is CommunityFault {
  return 'message' in found
}

/** As it is written. */
export function formatMetallbCommunity({ value }: WrittenCommunity): string {
  return typeof value === 'string' ? `large:${value}` : `${value >>> 16}:${value & 0xffff}`
}
