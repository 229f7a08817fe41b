/** metallb.io/v1beta1 IPAddressPool: prefixes and ranges of addresses, and whom they are for. */
import * as z from 'zod'
import { parseAddress } from '../../ip/address.ts'
import { splitPrefix } from '../../ip/prefix.ts'
import type { RawObject } from '../source.ts'
import { type AddressBlock, checkBlock, hostBitsOf, overlapFaults, prefixMeantBy } from './address-blocks.ts'
import { duplicateFaults, selectorFaults } from './duplicates.ts'
import { labelSelectorSchema } from './label-syntax.ts'
import {
  fault,
  lastGoodStays,
  metadataSchema,
  narrow,
  tooLong,
  type Fault,
  type FieldPath,
  type Narrowed,
} from './narrow.ts'
import { flag, optionalList } from './schemas.ts'

export const ipAddressPoolSpec = z.strictObject({
  addresses: z.array(z.string()).min(1, 'no address is written, and at least one is needed'),
  autoAssign: flag(true),
  avoidBuggyIPs: flag(false),
  serviceAllocation: z
    .strictObject({
      /** Lower ones are preferred; 0 comes last. */
      priority: z
        .number()
        .int()
        .nullish()
        .transform((value) => value ?? 0),
      namespaces: optionalList(z.string()),
      namespaceSelectors: optionalList(labelSelectorSchema),
      serviceSelectors: optionalList(labelSelectorSchema),
    })
    .nullish(),
})

const schema = z.object({
  metadata: metadataSchema,
  spec: ipAddressPoolSpec,
  // Of a pool that was read from a cluster; it says nothing to us.
  status: z.unknown().optional(),
})

export type IpAddressPool = z.infer<typeof schema>

const limits = [[['spec', 'addresses'], 10_000]] as const

export function parseIpAddressPool(raw: RawObject, before?: IpAddressPool): Narrowed<IpAddressPool> {
  const long = tooLong(raw, limits)
  if (long.length > 0) return { faults: long }
  const part = { at: [], meanwhile: lastGoodStays, before }
  return narrow(schema, raw, ({ spec }) => [...checkAddresses(spec.addresses), ...checkAllocation(spec)], part)
}

function checkAddresses(addresses: readonly string[]): readonly Fault[] {
  const written = addresses.map((text, index) => ({ block: blockOf(text), path: ['spec', 'addresses', index] }))
  const faults = written.flatMap(({ block, path }, index) => checkEntry(addresses[index] ?? '', block, path))
  return faults.some(({ severity }) => severity === 'error') ? faults : [...faults, ...overlapFaults(written, 'error')]
}

function checkAllocation({ serviceAllocation: allocation }: IpAddressPool['spec']): readonly Fault[] {
  if (!allocation) return []
  const path = ['spec', 'serviceAllocation']
  return (['namespaces', 'namespaceSelectors', 'serviceSelectors'] as const).flatMap((field) =>
    field === 'namespaces'
      ? duplicateFaults(allocation[field], [...path, field])
      : selectorFaults(allocation[field], [...path, field]),
  )
}

/** `192.0.2.0/24`, or `192.0.2.10-192.0.2.20` with blanks around the dash or without. */
export function blockOf(text: string): AddressBlock {
  const dash = text.indexOf('-')
  return dash < 0 ? { cidr: text.trim() } : { start: text.slice(0, dash).trim(), stop: text.slice(dash + 1).trim() }
}

const form = '192.0.2.0/24, 192.0.2.10-192.0.2.20 or 2001:db8::/120'

/** The faults of a block, in the words of a pool that has each on one line. */
function checkEntry(text: string, block: AddressBlock, path: FieldPath): readonly Fault[] {
  const { cidr, start = '', stop = '' } = block
  if (cidr !== undefined) {
    if (splitPrefix(cidr) === undefined)
      return [fault('error', path, 'InvalidPrefix', `${text} is no prefix and no range`, prefixMeantBy(cidr) ?? remedy)]
    const wider = hostBitsOf(cidr)
    if (wider === undefined) return []
    const words = `Write ${wider.meant} if you mean that, or ${wider.network}.`
    return [fault('warning', path, 'HostBits', `${cidr} is ${wider.is}`, words)]
  }
  const wrong = [start, stop].find((end) => parseAddress(end) === undefined)
  if (wrong !== undefined) {
    const message = `${text}: ${wrong === '' ? 'an end of the range is missing' : `${wrong} is not an address`}`
    return [fault('error', path, 'InvalidAddress', message, remedy)]
  }
  return checkBlock(block, path).map((found) => ({
    ...found,
    path,
    remedy: found.code === 'ReversedRange' ? `Write ${stop}-${start}.` : found.remedy,
  }))
}

const remedy = `Write ${form}.`
