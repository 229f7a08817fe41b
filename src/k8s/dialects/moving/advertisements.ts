/** What a peer hears, in the words of a report. Pure. */
import { formatSelector } from '../../../desired/label-selector.ts'
import { united } from '../../../desired/route-attributes.ts'
import type { NeighborOverrides } from '../../kinds/neighbor-annotation.ts'
import type { Advertisement, PoolFilter } from '../node-plan.ts'
import type { AdvertisementView } from './report.ts'

export interface HeardBy {
  readonly peer: string
  readonly object: string
  readonly family: string
  readonly view: AdvertisementView
}

interface Hearer {
  readonly peer: string
  readonly overrides: NeighborOverrides
}

export function advertisementViews(all: readonly Advertisement[], { peer, overrides }: Hearer): readonly HeardBy[] {
  return all.map((one) => {
    const family = one.family === 'ipv4-unicast' ? 'ipv4' : 'ipv6'
    return { peer, object: one.name, family, view: viewOf(one, family, overrides) }
  })
}

function viewOf(one: Advertisement, family: 'ipv4' | 'ipv6', overrides: NeighborOverrides): AdvertisementView {
  const { type, pools, selector, aggregationLength, attributes, addressTypes } = one
  const said = united(attributes.map((rule) => rule.attributes))
  const { localPreference } = said
  const med = overrides.med?.[family] ?? said.med
  const prepend = overrides.asPathPrepend?.[family] ?? said.asPathPrepend ?? 0
  const own = overrides.extendedCommunities?.[family] ?? []
  return {
    type: type === 'PodCIDR' ? type : (addressTypes ?? ['LoadBalancerIP']).join(','),
    pools: type === 'PodCIDR' ? '-' : poolsText(pools),
    services: selector === undefined ? '-' : formatSelector(selector),
    ...(aggregationLength === undefined ? {} : { aggregationLength }),
    communities: [...(said.communities ?? []).map(communityText), ...(said.largeCommunities ?? [])],
    ...(localPreference === undefined ? {} : { localPreference }),
    ...(med === undefined ? {} : { med }),
    ...(prepend === 0 ? {} : { asPathPrepend: prepend }),
    extendedCommunities: [...new Set([...(said.extendedCommunities ?? []), ...own])].sort(),
  }
}

function poolsText(pools: PoolFilter | undefined): string {
  if (pools === undefined) return 'any'
  return [...pools.names, ...pools.selectors.map(formatSelector)].join(',') || 'none'
}

function communityText(value: number): string {
  return `${value >>> 16}:${value & 0xffff}`
}
