/**
 * The decision process (RFC 4271 9.1.2.2, RFC 4456 9): of all paths to a prefix, the best one, and for each other one
 * the step that it lost at, in words. Steps remove paths from the set, so the order of arrival has no say, and MED is
 * compared among the paths of one neighbor AS only.
 *
 * The interior cost of step e is not known to a node that resolves no next hops, and is left out.
 */
import { SegmentType } from '../bgp/messages/numbers.ts'
import type { AsPathSegment, PathAttributes } from '../bgp/messages/types.ts'
import { type Address, compareAddresses, formatAddress } from '../ip/address.ts'

export interface Candidate {
  /** Id of the neighbor that sent it; undefined: of this node. */
  readonly peer: string | undefined
  readonly attributes: PathAttributes
  readonly isExternal: boolean
  /** BGP Identifier of the peer. */
  readonly bgpId: number
  readonly peerAddress: Address
  readonly pathId: number
}

export interface Loss {
  readonly candidate: Candidate
  /** Name of the step, and both values. */
  readonly reason: string
}

export interface Decision {
  readonly best: Candidate
  readonly losses: readonly Loss[]
}

const defaultLocalPref = 100

/** A step keeps the paths with the least value; `show` is for people. */
interface Step {
  readonly name: string
  value(candidate: Candidate): number | Address
  show(candidate: Candidate): string
  /** Paths are compared only with those of the same group. */
  group?(candidate: Candidate): string
}

/** RFC 4271 9.1.2.2 a: a set counts as one, confederations as nothing (RFC 5065 5.3). */
export function asPathLength(asPath: readonly AsPathSegment[] = []): number {
  return asPath.reduce(
    (sum, { type, asns }) => sum + (type === SegmentType.asSequence ? asns.length : type === SegmentType.asSet ? 1 : 0),
    0,
  )
}

const neighborAs = ({ attributes: { asPath = [] } }: Candidate): string =>
  String(asPath.find(({ type }) => type === SegmentType.asSequence)?.asns[0] ?? 'own')
const localPref = ({ attributes }: Candidate): number => attributes.localPref ?? defaultLocalPref
const numeric = (name: string, value: (candidate: Candidate) => number, more: Partial<Step> = {}): Step => ({
  name,
  value,
  show: (candidate) => String(value(candidate)),
  ...more,
})

const steps: readonly Step[] = [
  {
    name: 'locally originated',
    value: ({ peer }) => (peer === undefined ? 0 : 1),
    show: ({ peer }) => (peer === undefined ? 'of this node' : 'received'),
  },
  // RFC 4271 9.1.1
  {
    name: 'higher LOCAL_PREF',
    value: (candidate) => -localPref(candidate),
    show: (candidate) => String(localPref(candidate)),
  },
  // RFC 4271 9.1.2.2 a
  numeric('shorter AS_PATH', ({ attributes }) => asPathLength(attributes.asPath)),
  // RFC 4271 9.1.2.2 b
  {
    name: 'lower ORIGIN',
    value: ({ attributes }) => attributes.origin ?? 2,
    show: ({ attributes }) => ['IGP', 'EGP', 'INCOMPLETE'][attributes.origin ?? 2] ?? 'INCOMPLETE',
  },
  // RFC 4271 9.1.2.2 c
  numeric('lower MED of the same neighbor AS', ({ attributes }) => attributes.med ?? 0, { group: neighborAs }),
  // RFC 4271 9.1.2.2 d
  {
    name: 'eBGP before iBGP',
    value: ({ isExternal }) => (isExternal ? 0 : 1),
    show: ({ isExternal }) => (isExternal ? 'eBGP' : 'iBGP'),
  },
  // RFC 4271 9.1.2.2 f, RFC 4456 9
  {
    name: 'lower BGP Identifier',
    value: ({ attributes, bgpId }) => attributes.originatorId ?? bgpId,
    show: ({ attributes, bgpId }) => formatAddress(attributes.originatorId ?? bgpId),
  },
  // RFC 4456 9: between f and g
  numeric('shorter CLUSTER_LIST', ({ attributes }) => attributes.clusterList?.length ?? 0),
  // RFC 4271 9.1.2.2 g
  {
    name: 'lower peer address',
    value: ({ peerAddress }) => peerAddress,
    show: ({ peerAddress }) => formatAddress(peerAddress),
  },
  // RFC 7911 leaves it open; without it two paths of one peer would be equal.
  numeric('lower path identifier', ({ pathId }) => pathId),
  // Two links to one router, each unnumbered: identifier and address are the same.
  { name: 'first neighbor by name', value: ({ peer = '' }) => peer, show: ({ peer = '' }) => peer },
]

/** Peer and path identifier name a path of a prefix: with them the order of arrival has no say in what is told. */
const byName = (a: Candidate, b: Candidate): number =>
  compareAddresses(a.peer ?? '', b.peer ?? '') || a.pathId - b.pathId

/** undefined without candidates. */
export function decide(candidates: readonly Candidate[]): Decision | undefined {
  let left = candidates.length < 2 ? candidates : candidates.toSorted(byName)
  const losses: Loss[] = []
  for (const step of steps) {
    if (left.length < 2) break
    const kept = survivors(left, step)
    for (const loser of left)
      if (!kept.has(loser))
        losses.push({
          candidate: loser,
          reason: `${step.name}: ${step.show(winnerOver(loser, kept, step))} against ${step.show(loser)}`,
        })
    left = left.filter((candidate) => kept.has(candidate))
  }
  const [best, ...equal] = left
  if (best === undefined) return undefined
  return { best, losses: [...losses, ...equal.map((candidate) => ({ candidate, reason: 'the same path again' }))] }
}

function survivors(candidates: readonly Candidate[], step: Step): ReadonlySet<Candidate> {
  const least = new Map<string, number | Address>()
  const groupOf = (candidate: Candidate): string => step.group?.(candidate) ?? ''
  for (const candidate of candidates) {
    const group = groupOf(candidate)
    const known = least.get(group)
    const value = step.value(candidate)
    if (known === undefined || compareAddresses(value, known) < 0) least.set(group, value)
  }
  return new Set(candidates.filter((candidate) => step.value(candidate) === least.get(groupOf(candidate))))
}

function winnerOver(loser: Candidate, kept: ReadonlySet<Candidate>, step: Step): Candidate {
  const group = step.group?.(loser)
  return [...kept].find((candidate) => step.group?.(candidate) === group) ?? loser
}
