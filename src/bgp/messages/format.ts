/** Attributes as people write them. */
import { SegmentType, wellKnownCommunities } from './numbers.ts'
import type { AsPathSegment } from './types.ts'

/** `65000:100`, or the IANA name of a well-known community. */
export function formatCommunity(community: number): string {
  return wellKnownCommunities[community] ?? `${community >>> 16}:${community & 0xffff}`
}

export function formatLargeCommunity(community: readonly [number, number, number]): string {
  return community.join(':')
}

/** Around the ASes of a set and of a confederation's sequence and set (RFC 5065). */
const brackets: Readonly<Record<number, readonly [string, string]>> = {
  [SegmentType.asSet]: ['{', '}'],
  [SegmentType.confederationSequence]: ['(', ')'],
  [SegmentType.confederationSet]: ['[', ']'],
}

/** `65001 65002 {65003 65004}`; empty for a path inside the AS. */
export function formatAsPath(asPath: readonly AsPathSegment[]): string {
  return asPath.map(({ type, asns }) => (brackets[type] ?? ['', '']).join(asns.join(' '))).join(' ')
}

export function formatOrigin(origin: number | undefined): 'IGP' | 'EGP' | 'INCOMPLETE' {
  return origin === 0 ? 'IGP' : origin === 1 ? 'EGP' : 'INCOMPLETE'
}
