/**
 * cilium.io CiliumBGPAdvertisement: what is announced, with which attributes. Its entries have no names: one that is
 * broken is what it was where the list is as long as before, else the whole object is.
 */
import * as z from 'zod'
import type { RawObject } from '../source.ts'
import { parseAttributesAnnotation, type AttributesAnnotation } from './attributes-annotation.ts'
import { communities, localPreference, serviceAddressTypes } from './cilium-bgp.ts'
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
import { narrowParts } from './parts.ts'

const entrySchema = z.strictObject({
  advertisementType: z.enum(['PodCIDR', 'CiliumPodIPPool', 'Service', 'Interface']),
  service: z
    .strictObject({
      addresses: z
        .array(z.enum(serviceAddressTypes))
        .min(1, 'no type of address is written, and at least one is needed'),
      aggregationLengthIPv4: z.number().int().min(0).max(31).nullish(),
      aggregationLengthIPv6: z.number().int().min(0).max(127).nullish(),
    })
    .nullish(),
  interface: z.strictObject({ name: z.string().min(1) }).nullish(),
  selector: labelSelectorSchema.nullish(),
  attributes: z.strictObject({ communities, localPreference }).nullish(),
})

const schema = z.object({
  metadata: metadataSchema,
  spec: z.strictObject({ advertisements: z.array(z.unknown()) }),
})

/** With its parts in place: what the API server checks. */
export const advertisementSpec = z.strictObject({ advertisements: z.array(entrySchema) })

type WrittenEntry = z.infer<typeof entrySchema>

export type BgpAdvertisement = WrittenEntry & {
  /** Where it stands in the object. */
  readonly path: FieldPath
}

export interface CiliumBgpAdvertisement {
  readonly metadata: z.infer<typeof metadataSchema>
  readonly advertisements: readonly BgpAdvertisement[]
  readonly attributeKeys: AttributesAnnotation
}

const list = ['spec', 'advertisements'] as const

export function parseAdvertisement(raw: RawObject, before?: CiliumBgpAdvertisement): Narrowed<CiliumBgpAdvertisement> {
  const long = tooLong(raw, [[list, 256]])
  if (long.length > 0) return { faults: long }
  const { value, faults: ownFaults } = narrow(schema, raw)
  if (value === undefined) return { faults: ownFaults }
  const written = value.spec.advertisements
  const isComparable = before?.advertisements.length === written.length
  const isWhole = before !== undefined && !isComparable
  const { parts, faults } = narrowParts<WrittenEntry, readonly [number, unknown]>(
    written.map((entry, index) => [
      [...list, index],
      [index, entry],
    ]),
    {
      what: 'this advertisement',
      before: new Map(
        isComparable ? before.advertisements.map(({ path: _path, ...entry }, index) => [String(index), entry]) : [],
      ),
      keyOf: ([index]) => String(index),
      parse: ([, entry], part, known) =>
        narrow(entrySchema, entry, (found) => checkEntry(found, part.at), {
          ...part,
          ...(isWhole ? { meanwhile: lastGoodStays } : {}),
          before: known,
        }),
    },
  )
  const { metadata } = value
  const annotation = parseAttributesAnnotation(metadata.annotations, before?.attributeKeys)
  const said = [...ownFaults, ...faults, ...annotation.faults]
  const isBroken = faults.some(({ severity }) => severity === 'error')
  if (isBroken && isWhole) return { faults: said }
  const advertisements = parts.map(({ at, value: entry }) => ({ ...entry, path: at }))
  if (isBroken && advertisements.length === 0) return { faults: said }
  return { value: { metadata, advertisements, attributeKeys: annotation.keys }, faults: said }
}

/** What CEL asks of it at an API server, and what is not served. */
function checkEntry(entry: WrittenEntry, at: FieldPath): readonly Fault[] {
  const { advertisementType: type, selector } = entry
  const faults: Fault[] = []
  const say = (field: string, message: string, remedy: string): void => {
    faults.push(fault('error', [...at, field], 'InvalidField', message, remedy))
  }
  if (type === 'Service' && !entry.service)
    say('service', 'advertisementType Service needs it', 'Write service: {addresses: [LoadBalancerIP]}')
  if (type !== 'Service' && entry.service)
    say('service', `advertisementType ${type} takes none`, 'Remove it, or write advertisementType: Service')
  if (type === 'Interface' && !entry.interface)
    say('interface', 'advertisementType Interface needs it', 'Write interface: {name: eth0}')
  if (type !== 'Interface' && entry.interface) say('interface', `advertisementType ${type} takes none`, 'Remove it')
  if (type === 'PodCIDR' && selector) say('selector', 'advertisementType PodCIDR takes none', 'Remove it')
  if (type === 'Service' && !selector) {
    const remedy = 'Write selector with matchLabels, or {} for every Service.'
    faults.push(
      fault('warning', [...at, 'selector'], 'NoServiceSelector', 'it is absent: no Service is announced', remedy),
    )
  }
  if (type === 'CiliumPodIPPool') {
    const message = 'it has no effect: pod IP pools exist in Cilium only'
    faults.push(fault('warning', [...at, 'advertisementType'], 'NotServed', message, 'Use PodCIDR.'))
  }
  if (type === 'Interface') {
    const message = 'it has no effect: addresses of interfaces are not announced'
    const remedy = 'Announce a Service, or a PodCIDR.'
    faults.push(fault('warning', [...at, 'advertisementType'], 'NotServed', message, remedy))
  }
  return faults
}
