/** From CiliumLoadBalancerIPPool to neutral pools. Pure. */
import { type AddressRange, noPriority } from '../../allocation/pool-table.ts'
import { type AddressBlock, rangeOfBlock } from '../kinds/address-blocks.ts'
import type { CiliumLoadBalancerIpPool } from '../kinds/cilium-load-balancer-ip-pool.ts'
import type { PoolDialect } from './pools.ts'

export const ciliumPools: PoolDialect = {
  poolKinds: ['CiliumLoadBalancerIPPool'],
  inputKinds: [],
  pools: (objects) =>
    [...objects.CiliumLoadBalancerIPPool.values()].map((from) => ({
      from,
      path: ['spec', 'blocks'],
      pool: poolOf(from.value),
    })),
}

function poolOf({ metadata, spec }: CiliumLoadBalancerIpPool): ReturnType<PoolDialect['pools']>[number]['pool'] {
  return {
    kind: 'CiliumLoadBalancerIPPool',
    name: metadata.name,
    labels: metadata.labels,
    ranges: [...spec.blocks, ...spec.cidrs].flatMap((block) => rangeOf(block, spec.allowFirstLastIPs === 'Yes') ?? []),
    selectors: spec.serviceSelector ? [spec.serviceSelector] : [],
    autoAssign: true,
    priority: noPriority,
    ...(spec.disabled ? { closed: 'disabled' } : {}),
  }
}

function rangeOf(block: AddressBlock, allowFirstLast: boolean): AddressRange | undefined {
  const range = rangeOfBlock(block)
  // A /31, /32, /127 or /128 has no first and last address to spare, and a range that was written out spares none.
  const sparesEnds = !allowFirstLast && block.cidr !== undefined && range !== undefined && range.last - range.first > 1n
  return range === undefined ? undefined : { ...range, sparesEnds }
}
