/** What allocation tells of one Service: addresses and a verdict. Pure. */
import type { VerdictCode } from '../desired/codes.ts'
import type { Verdict } from '../desired/model.ts'
import type { BookWarning } from './address-book.ts'
import type { AddressAnswer } from './address-source.ts'
import { type Assignment, isRefusal } from './allocate.ts'
import type { OwnPorts } from './port-owners.ts'
import type { Refusal } from './refusals.ts'
import { isSameTenure } from './tenure.ts'

const no = (code: VerdictCode, message: string, remedy: string): AddressAnswer => ({
  addresses: [],
  verdict: { step: 'allocated', ok: false, code, message, remedy },
})

/** Nothing was chosen for it yet, for want of the book. */
export function notYet(warning: BookWarning | undefined): AddressAnswer {
  const message =
    warning === undefined || warning.code === 'RecordBusy'
      ? 'it waits for another agent, which holds the allocation record or is ahead of what was read here'
      : `no address is given away: ${warning.message}`
  const isBusy = warning === undefined || warning.code === 'RecordBusy'
  return no(isBusy ? 'RecordBusy' : 'NotRecorded', message, warning?.remedy ?? 'It is tried again by itself.')
}

/** Its line is there and says nothing that can be read: another address would be a move. */
export const unclearLine: AddressAnswer = no(
  'RecordDamaged',
  'its line in the allocation record cannot be read',
  'Correct the line, or delete it for a new address.',
)

/** Nobody has given it an address yet. */
export const notAllocated: AddressAnswer = no(
  'NotInStatus',
  'its status has no address: no allocator has given it one yet',
  'See that an allocator runs (herald operator, or that of your load balancer) and what it says of the Service.',
)

export function answerOf(found: Assignment | Refusal): AddressAnswer {
  if (isRefusal(found)) return no(found.code, found.message, found.remedy)
  const { addresses, from, refusal, lost } = found
  const held = lost === undefined ? from : `${from}, in place of another: ${lost.refusal.message}`
  const verdict: Verdict =
    refusal === undefined
      ? { step: 'allocated', ok: true, code: 'Allocated', message: held }
      : { step: 'allocated', ok: true, code: 'RequestRefused', message: `${held} is kept: ${refusal.message}` }
  return { addresses, verdict }
}

/** Somebody wrote addresses into the status that are none of ours. `refusal`: why there is none in their place. */
export function notInPool(status: readonly string[], refusal?: Refusal): AddressAnswer {
  const found = `${status.join(', ')} of the status is in no pool, and so it is not announced`
  const message = refusal === undefined ? found : `${found}; ${refusal.message}`
  return no('NotInPool', message, 'Put the address into a pool, which may be disabled, or clear the status.')
}

/** Somebody wrote an address into the status that the Service, as it is now, cannot have. */
export function ofOtherFamily(address: string): AddressAnswer {
  return no(
    'FamilyMismatch',
    `${address} of the status is none of the families of the Service, and so it is not announced`,
    'See that an allocator runs, which takes it back and gives one of its families, or correct spec.ipFamilies.',
  )
}

export function isSameAnswer(a: AddressAnswer | undefined, b: AddressAnswer): boolean {
  return (
    a !== undefined &&
    a.verdict.code === b.verdict.code &&
    a.verdict.message === b.verdict.message &&
    a.addresses.join() === b.addresses.join() &&
    isSameMap(a.lostPorts, b.lostPorts) &&
    isSameTenure(a.tenure, b.tenure)
  )
}

/** With what it has of the ports of shared addresses. */
export function withPorts(answer: AddressAnswer, ports: OwnPorts | undefined): AddressAnswer {
  const { addresses, verdict } = answer
  if (ports === undefined || addresses.length === 0) return { addresses, verdict }
  const { tenure, lost } = ports
  return { addresses, verdict, tenure, ...(lost.size === 0 ? {} : { lostPorts: lost }) }
}

function isSameMap(a: ReadonlyMap<string, string> | undefined, b: ReadonlyMap<string, string> | undefined): boolean {
  return (a?.size ?? 0) === (b?.size ?? 0) && [...(a ?? [])].every(([key, value]) => b?.get(key) === value)
}
