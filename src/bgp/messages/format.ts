/** Attributes as people write them. */
import { SegmentType, wellKnownCommunities } from './numbers.ts'
import type { AsPathSegment } from './types.ts'

/** Every thousand, as it stands first in a number and behind other digits. */
const first: readonly string[] = Array.from({ length: 1_000 }, (_, n) => String(n))
const behind = first.map((digits) => digits.padStart(3, '0'))

/**
 * A whole number, not negative. The engine's own conversion remembers thousands of texts, each for so long that only a
 * whole collection takes it away: a listing of a table made the heap of the speaker twice as large.
 */
function decimal(value: number): string {
  if (value < 1_000) return first[value] ?? ''
  return `${decimal(Math.floor(value / 1_000))}${behind[value % 1_000] ?? ''}`
}

/** `65000:100`, or the IANA name of a well-known community. */
export function formatCommunity(community: number): string {
  return wellKnownCommunities[community] ?? `${decimal(community >>> 16)}:${decimal(community & 0xffff)}`
}

export function formatLargeCommunity(community: readonly [number, number, number]): string {
  return community.map(decimal).join(':')
}

/** Around the ASes of a set and of a confederation's sequence and set (RFC 5065). */
const brackets: Readonly<Record<number, readonly [string, string]>> = {
  [SegmentType.asSet]: ['{', '}'],
  [SegmentType.confederationSequence]: ['(', ')'],
  [SegmentType.confederationSet]: ['[', ']'],
}

/** `65001 65002 {65003 65004}`; empty for a path inside the AS. */
export function formatAsPath(asPath: readonly AsPathSegment[]): string {
  return asPath.map(({ type, asns }) => (brackets[type] ?? ['', '']).join(asns.map(decimal).join(' '))).join(' ')
}

export function formatOrigin(origin: number | undefined): 'IGP' | 'EGP' | 'INCOMPLETE' {
  return origin === 0 ? 'IGP' : origin === 1 ? 'EGP' : 'INCOMPLETE'
}
