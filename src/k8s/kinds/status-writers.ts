/**
 * Who wrote what the status of a Service says, as the API server keeps it (managedFields). A tenant who may write the
 * statuses of his own Services writes any address into one, under any name: what stays in force of that, with an
 * operator that leads, is never the operator's alone. It applies without force, so what it takes back it takes back at
 * once, and what it may not touch has another owner. Pure.
 */
import { isRecord, operatorManager, type RawObject, recordOf } from '../source.ts'

export const allocatedCondition = 'herald.dev/AddressAllocated'
export const portsHeldCondition = 'herald.dev/PortsHeld'

/** Whether an operator of Herald, and nobody beside it, wrote it. */
export interface StatusWriters {
  readonly isAllocatedOwn: boolean
  readonly isPortsHeldOwn: boolean
}

const subresource = 'status'

/** All that is kept of managedFields: whose they are is asked of the status alone. */
export function statusEntries(managedFields: unknown): readonly unknown[] {
  if (!Array.isArray(managedFields)) return none
  const found = managedFields.filter((each) => isRecord(each) && each['subresource'] === subresource)
  return found.length === 0 ? none : found
}

const none: readonly unknown[] = []

/** undefined: nobody says who wrote it, as in a folder. */
export function statusWritersOf({ metadata }: RawObject): StatusWriters | undefined {
  const entries = statusEntries(recordOf(metadata)['managedFields']).map(recordOf)
  if (entries.length === 0) return undefined
  const isOperators = ({ manager, operation }: RawObject): boolean =>
    manager === operatorManager && operation === 'Apply'
  const own = entries.filter(isOperators).map(statusIn)
  const others = entries.filter((each) => !isOperators(each)).map(statusIn)
  const isOwn = (type: string): boolean => {
    const key = `k:{"type":${JSON.stringify(type)}}`
    const has = (fields: RawObject): boolean => key in recordOf(fields['f:conditions'])
    return own.some(has) && !others.some(has)
  }
  const hasAddresses = own.some((fields) => 'f:ingress' in recordOf(fields['f:loadBalancer']))
  return { isAllocatedOwn: hasAddresses && isOwn(allocatedCondition), isPortsHeldOwn: isOwn(portsHeldCondition) }
}

function statusIn({ fieldsV1 }: RawObject): RawObject {
  return recordOf(recordOf(fieldsV1)['f:status'])
}
