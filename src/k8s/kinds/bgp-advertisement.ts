/** metallb.io/v1beta1 BGPAdvertisement: which pools are announced, from where, to whom and with what. */
import * as z from 'zod'
import type { RawObject } from '../source.ts'
import { unknownAnnotations } from './annotations.ts'
import { type AttributesAnnotation, attributesAnnotation, parseAttributesAnnotation } from './attributes-annotation.ts'
import { duplicateFaults, selectorFaults } from './duplicates.ts'
import { labelSelectorSchema } from './label-syntax.ts'
import { isCommunityFault, parseMetallbCommunity } from './metallb-communities.ts'
import { fault, lastGoodStays, metadataSchema, narrow, type Fault, type Narrowed } from './narrow.ts'
import { optionalList } from './schemas.ts'

/** A length that is not written or 0 is that of one address. */
const length = (most: number) =>
  z
    .number()
    .int()
    .min(1)
    .max(most)
    .nullish()
    .transform((value) => value ?? most)

export const bgpAdvertisementSpec = z.strictObject({
  aggregationLength: length(32),
  aggregationLengthV6: length(128),
  /** 0 is none, as in FRR. */
  localPref: z
    .number()
    .int()
    .min(0)
    .max(4_294_967_295)
    .nullish()
    .transform((value) => value ?? 0),
  /** `65000:100`, `large:65000:1:2`, or the name of one in a Community. */
  communities: optionalList(z.string().min(1)),
  ipAddressPools: optionalList(z.string()),
  ipAddressPoolSelectors: optionalList(labelSelectorSchema),
  nodeSelectors: optionalList(labelSelectorSchema),
  peers: optionalList(z.string()),
  serviceSelectors: optionalList(labelSelectorSchema),
})

const schema = z.object({
  metadata: metadataSchema,
  spec: bgpAdvertisementSpec.nullish().transform((spec) => spec ?? emptySpec),
  status: z.unknown().optional(),
})

const emptySpec = {
  aggregationLength: 32,
  aggregationLengthV6: 128,
  localPref: 0,
  communities: [],
  ipAddressPools: [],
  ipAddressPoolSelectors: [],
  nodeSelectors: [],
  peers: [],
  serviceSelectors: [],
}

export type BgpAdvertisement = z.infer<typeof schema> & {
  /** `herald.dev/attributes` */
  readonly attributeKeys: AttributesAnnotation
}

const readAnnotations = { prefixes: ['herald.dev/'], names: [attributesAnnotation] }

export function parseBgpAdvertisement(raw: RawObject, before?: BgpAdvertisement): Narrowed<BgpAdvertisement> {
  const part = { at: [], meanwhile: lastGoodStays, before }
  const { value, faults } = narrow(schema, raw, ({ spec }) => checkSpec(spec), part)
  if (value === undefined) return { faults }
  const unknown = unknownAnnotations(value.metadata.annotations, readAnnotations)
  const annotation = parseAttributesAnnotation(value.metadata.annotations, before?.attributeKeys)
  return { value: { ...value, attributeKeys: annotation.keys }, faults: [...faults, ...annotation.faults, ...unknown] }
}

function checkSpec(spec: BgpAdvertisement['spec']): readonly Fault[] {
  const faults: Fault[] = spec.communities.flatMap((text, index) => {
    const found = parseMetallbCommunity(text.trim())
    if (found === undefined || !isCommunityFault(found)) return []
    return [fault('error', ['spec', 'communities', index], 'InvalidField', found.message, found.remedy)]
  })
  for (const field of ['communities', 'ipAddressPools', 'peers'] as const)
    for (const each of duplicateFaults(spec[field], ['spec', field])) faults.push(each)
  for (const field of ['ipAddressPoolSelectors', 'nodeSelectors', 'serviceSelectors'] as const)
    for (const each of selectorFaults(spec[field], ['spec', field])) faults.push(each)
  const isAggregated = spec.aggregationLength !== 32 || spec.aggregationLengthV6 !== 128
  if (isAggregated && spec.serviceSelectors.length > 0) {
    const message = 'an aggregation length is written beside it, and an aggregate is of all Services in it'
    const remedy = 'Write two BGPAdvertisements: one with the length, and one with the selectors'
    faults.push(fault('error', ['spec', 'serviceSelectors'], 'InvalidField', message, remedy))
  }
  return faults
}
