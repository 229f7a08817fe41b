/** metallb.io/v1beta1 L2Advertisement: judged as it is written, and said to be without effect in this version. */
import * as z from 'zod'
import type { RawObject } from '../source.ts'
import { duplicateFaults, selectorFaults } from './duplicates.ts'
import { labelSelectorSchema } from './label-syntax.ts'
import { fault, lastGoodStays, metadataSchema, narrow, type Fault, type Narrowed } from './narrow.ts'
import { optionalList } from './schemas.ts'

export const l2AdvertisementSpec = z.strictObject({
  ipAddressPools: optionalList(z.string()),
  ipAddressPoolSelectors: optionalList(labelSelectorSchema),
  nodeSelectors: optionalList(labelSelectorSchema),
  interfaces: optionalList(z.string()),
  serviceSelectors: optionalList(labelSelectorSchema),
  preferredNodeSelectors: optionalList(
    z.strictObject({ weight: z.number().int().min(1).max(100), preference: labelSelectorSchema }),
  ),
})

const schema = z.object({
  metadata: metadataSchema,
  spec: l2AdvertisementSpec.nullish(),
  status: z.unknown().optional(),
})

export type L2Advertisement = z.infer<typeof schema>

export function parseL2Advertisement(raw: RawObject, before?: L2Advertisement): Narrowed<L2Advertisement> {
  const part = { at: [], meanwhile: lastGoodStays, before }
  return narrow(schema, raw, ({ spec }) => [...checkSpec(spec ?? undefined), notServed], part)
}

const notServed = fault(
  'warning',
  [],
  'NotServed',
  'addresses are not announced by ARP and NDP in this version: it has no effect',
  'Announce the pool to a router with a BGPPeer and a BGPAdvertisement.',
)

function checkSpec(spec: NonNullable<L2Advertisement['spec']> | undefined): readonly Fault[] {
  if (spec === undefined) return []
  return [
    ...duplicateFaults(spec.ipAddressPools, ['spec', 'ipAddressPools']),
    ...duplicateFaults(spec.interfaces, ['spec', 'interfaces']),
    ...(['ipAddressPoolSelectors', 'nodeSelectors', 'serviceSelectors'] as const).flatMap((field) =>
      selectorFaults(spec[field], ['spec', field]),
    ),
  ]
}
