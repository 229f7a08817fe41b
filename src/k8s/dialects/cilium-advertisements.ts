/** What the CiliumBGPAdvertisements that a family of a peer selects come to. Pure. */
import { selectorMatches } from '../../desired/label-selector.ts'
import type { AddressFamilyName } from '../../desired/model.ts'
import { annotatedAttributes } from '../kinds/attributes-annotation.ts'
import type { BgpAdvertisement } from '../kinds/cilium-bgp-advertisement.ts'
import type { PeerFamily } from '../kinds/cilium-bgp-peer-config.ts'
import type { Stored, StoredObjects } from '../kinds/table.ts'
import { ciliumAttributes } from './cilium-attributes.ts'
import type { Advertisement, AttributeRule, NodePlan } from './node-plan.ts'

type From = Stored<'CiliumBGPAdvertisement'>

const nameOf = ({ value }: From): string => `CiliumBGPAdvertisement ${value.metadata.name}`

/** By name, so that the order in which they came is nothing. */
function selectedBy({ advertisements }: PeerFamily, objects: StoredObjects): readonly From[] {
  if (advertisements === undefined) return []
  return [...objects.CiliumBGPAdvertisement.values()]
    .filter(({ value }) => selectorMatches(advertisements, value.metadata.labels))
    .sort((a, b) => (a.key.name < b.key.name ? -1 : 1))
}

export function advertisementsOf(family: PeerFamily, objects: StoredObjects): readonly Advertisement[] {
  return selectedBy(family, objects).flatMap((from) =>
    from.value.advertisements.flatMap((entry) => advertisementOf(from, entry, family.name)),
  )
}

function advertisementOf(from: From, entry: BgpAdvertisement, family: AddressFamilyName): readonly Advertisement[] {
  const { advertisementType, service, selector } = entry
  const attributes = [ruleOf(from, entry, family)]
  const said = { name: nameOf(from), family, attributes }
  if (advertisementType === 'PodCIDR') return [{ ...said, type: 'PodCIDR' }]
  if (advertisementType !== 'Service' || !service || !selector) return []
  const length = family === 'ipv4-unicast' ? service.aggregationLengthIPv4 : service.aggregationLengthIPv6
  return [
    {
      ...said,
      type: 'Service',
      selector,
      addressTypes: service.addresses,
      ...(length === undefined || length === null ? {} : { aggregationLength: length }),
    },
  ]
}

function ruleOf(from: From, { attributes, path }: BgpAdvertisement, family: AddressFamilyName): AttributeRule {
  return {
    from,
    path: [...path, 'attributes'],
    attributes: {
      ...ciliumAttributes(attributes ?? {}),
      ...annotatedAttributes(from.value.attributeKeys, family),
    },
  }
}

/** Which of them export PodCIDRs, each once. */
export function podCidrExportsOf(families: readonly PeerFamily[], objects: StoredObjects): NodePlan['podCidrExports'] {
  const selected = new Set(families.flatMap((family) => selectedBy(family, objects)))
  return [...selected].flatMap((from) =>
    from.value.advertisements
      .filter(({ advertisementType }) => advertisementType === 'PodCIDR')
      .map(({ path }) => ({
        from,
        name: nameOf(from),
        path: [...path, 'advertisementType'],
        field: 'advertisementType PodCIDR',
      })),
  )
}
