/** A Service that is looked at in an exchange: what it has already, and when its turn is. Pure. */
import type { Recorded } from './address-book.ts'
import type { AddressRequest, Holding } from './allocate.ts'
import { byAge } from './sharing.ts'
import { hasOtherTerms } from './tenure.ts'
import { byRank } from './waiting.ts'

/**
 * Who has addresses goes first: by the book; by a status that tells more than the address; by status alone; who shares
 * under other terms than are recorded; then who has none. Of those by a status all that are attested go before all
 * others, which anybody may have written. Of two that are attested, which no allocator does, one is forged, and since
 * nobody takes it back it was forged while nobody allocated: before it goes who was written earlier.
 */
const ranks = { recorded: 0, held: 1, inStatus: 2, changed: 3, without: 4 } as const

export interface Candidate {
  readonly request: AddressRequest
  readonly subject: object
  readonly holding: Holding
  readonly rank: keyof typeof ranks
}

/** `own`: what it holds here, and lost; `isGiven`: whatever is recorded of it. */
export function candidateOf(
  request: AddressRequest,
  subject: object,
  own: Pick<Holding, 'addresses' | 'lost'>,
  { entries, released }: Recorded,
  isGiven: boolean,
): Candidate {
  const line = entries.get(request.key)
  const { addresses: recorded, lost } = isGiven ? own : (line ?? own)
  const isRecorded = recorded.length > 0
  const addresses = isRecorded ? recorded : request.status
  const tenure = isRecorded ? line?.tenure : request.tenure
  // Also of one that is not understood now: what its status says is not given away before it is looked at.
  const isThere = addresses.length > 0 || (request.lingering ?? []).length > 0
  const rankOf = (): Candidate['rank'] => {
    if (!isThere) return 'without'
    if (hasOtherTerms(tenure, request.sharing)) return 'changed'
    return isRecorded ? 'recorded' : tenure === undefined ? 'inStatus' : 'held'
  }
  // One that was gone comes back to its address, and to the ports that nobody took meanwhile.
  const ports = released.has(request.key) ? undefined : tenure?.ports
  const holding = { addresses, isRecorded, mayChoose: request.isLeaving !== true, ports, lost }
  return { request, subject, rank: rankOf(), holding }
}

function isByStatus({ rank }: Candidate): boolean {
  return rank !== 'recorded' && rank !== 'without'
}

function placeOf(candidate: Candidate): number {
  const { rank, request } = candidate
  return (
    ranks[rank] + (rank === 'without' || (isByStatus(candidate) && request.isAttested !== true) ? ranks.without : 0)
  )
}

/** By what is attested and in force; 0 for all others. */
function byWriting(a: Candidate, b: Candidate): number {
  const [one, other] = [a, b].map((each) => {
    const { writtenAt, isAttested } = each.request
    return isAttested === true && isByStatus(each) && each.rank !== 'changed' ? writtenAt : undefined
  })
  return one === undefined || other === undefined ? 0 : one - other
}

/** Those of a rank by age, or, where they have nothing yet, by what they ask for. */
export function inLine(a: Candidate, b: Candidate): number {
  const places = byWriting(a, b) || placeOf(a) - placeOf(b)
  if (places !== 0) return places
  return a.rank === 'without' ? byRank(a.request, b.request) : byAge(a.request, b.request)
}
