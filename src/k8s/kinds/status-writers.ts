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

/**
 * undefined: nobody says who wrote it, as in a folder. Of an object of a server the list is there, if empty: whoever
 * may write the Service may have the server forget all of it, and what nobody wrote no operator wrote.
 */
export function statusWritersOf({ metadata }: RawObject): StatusWriters | undefined {
  const { managedFields } = recordOf(metadata)
  if (!Array.isArray(managedFields)) return undefined
  const entries = statusEntries(managedFields).map(recordOf)
  const own = entries.filter(isOperators).map(statusIn)
  const others = entries.filter((each) => !isOperators(each)).map(statusIn)
  const isOwn = (type: string): boolean =>
    own.some((fields) => hasCondition(fields, type)) && !others.some((fields) => hasCondition(fields, type))
  const hasAddresses = own.some((fields) => 'f:ingress' in recordOf(fields['f:loadBalancer']))
  return { isAllocatedOwn: hasAddresses && isOwn(allocatedCondition), isPortsHeldOwn: isOwn(portsHeldCondition) }
}

/** Whether an operator of Herald, with others or alone, says these conditions; also where nobody says who does. */
export function isSaidByOperator({ metadata }: RawObject, types: readonly string[]): boolean {
  const { managedFields } = recordOf(metadata)
  if (!Array.isArray(managedFields)) return true
  const own = statusEntries(managedFields).map(recordOf).filter(isOperators).map(statusIn)
  return types.every((type) => own.some((fields) => hasCondition(fields, type)))
}

function isOperators({ manager, operation }: RawObject): boolean {
  return manager === operatorManager && operation === 'Apply'
}

function hasCondition(fields: RawObject, type: string): boolean {
  return `k:{"type":${JSON.stringify(type)}}` in recordOf(fields['f:conditions'])
}

function statusIn({ fieldsV1 }: RawObject): RawObject {
  return recordOf(recordOf(fieldsV1)['f:status'])
}
