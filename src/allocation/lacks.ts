/** Of what a Service asks for what it did not get. Pure. */
import { familyOfText } from '../ip/address.ts'
import { type AddressRequest, type Assignment, isRefusal } from './allocate.ts'
import type { Refusal } from './refusals.ts'

export type Lack = Pick<Refusal, 'code' | 'family'>

/** Of what it asks for what it has not; also families that it can do without. */
export function lacksOf({ families, needsAllFamilies }: AddressRequest, found: Assignment | Refusal): readonly Lack[] {
  const [addresses, refusal] = isRefusal(found) ? [[], found] : [found.addresses, found.refusal]
  if (refusal !== undefined && (refusal.code !== 'OutOfAddresses' || needsAllFamilies)) return [refusal]
  const missing = families.filter((each) => !addresses.some((address) => familyOfText(address) === each))
  const lacking = new Set([refusal?.family ?? [], missing].flat())
  return [...lacking].map((family) => ({ code: 'OutOfAddresses', family }))
}
