/** From CiliumLoadBalancerIPPool objects to pools without overlap: of two that overlap, the younger one is left out. Pure. */
import { familyOfAddress, parseAddress } from '../../ip/address.ts'
import { parsePrefix, prefixAddress, prefixFamily, prefixLength } from '../../ip/prefix.ts'
import type { CiliumLoadBalancerIpPool, PoolBlock } from '../kinds/cilium-load-balancer-ip-pool.ts'
import { type AddressRange, overlaps, type Pool, toInteger } from './allocate.ts'

export interface PoolConflict {
  readonly pool: CiliumLoadBalancerIpPool
  readonly other: string
}

/** `pools` oldest first. */
export function usablePools(pools: readonly CiliumLoadBalancerIpPool[]): { readonly pools: readonly Pool[]; readonly conflicts: readonly PoolConflict[] } {
  const usable: Pool[] = []
  const conflicts: PoolConflict[] = []
  for (const pool of pools) {
    const ranges = [...(pool.spec.blocks ?? []), ...(pool.spec.cidrs ?? [])].flatMap((block) => rangeOf(block, pool.spec.allowFirstLastIPs === 'Yes') ?? [])
    const other = usable.find((each) => each.ranges.some((range) => ranges.some((own) => overlaps(range, own))))
    if (other !== undefined) conflicts.push({ pool, other: other.name })
    else usable.push({ name: pool.metadata.name, labels: pool.metadata.labels, ranges, serviceSelector: pool.spec.serviceSelector ?? undefined, isDisabled: pool.spec.disabled })
  }
  return { pools: usable, conflicts }
}

function rangeOf({ cidr, start, stop }: PoolBlock, allowFirstLast: boolean): AddressRange | undefined {
  if (cidr === undefined) {
    const first = parseAddress(start ?? '')
    const last = parseAddress(stop ?? start ?? '')
    return first === undefined || last === undefined ? undefined : { family: familyOfAddress(first), first: toInteger(first), last: toInteger(last) }
  }
  const prefix = parsePrefix(cidr)
  if (prefix === undefined) return undefined
  const family = prefixFamily(prefix)
  const hostBits = (family === 'ipv4' ? 32 : 128) - prefixLength(prefix)
  const first = toInteger(prefixAddress(prefix))
  const last = first + (1n << BigInt(hostBits)) - 1n
  // A /31, /32, /127 or /128 has no first and last address to spare.
  const isSpared = !allowFirstLast && hostBits > 1
  return { family, first: isSpared ? first + 1n : first, last: isSpared ? last - 1n : last }
}
