/**
 * From CiliumLoadBalancerIPPool objects to pools: of two that overlap the younger one gives no address away any more.
 * Pure.
 */
import { familyOfAddress, parseAddress } from '../../ip/address.ts'
import { parsePrefix, prefixAddress, prefixFamily, prefixLength } from '../../ip/prefix.ts'
import type { CiliumLoadBalancerIpPool, PoolBlock } from '../kinds/cilium-load-balancer-ip-pool.ts'
import { type AddressRange, overlaps, type Pool, toInteger } from '../../allocation/allocate.ts'

export interface PoolConflict {
  readonly pool: CiliumLoadBalancerIpPool
  readonly other: string
}

/** `pools` oldest first. */
export function poolsOf(pools: readonly CiliumLoadBalancerIpPool[]): {
  readonly pools: readonly Pool[]
  readonly conflicts: readonly PoolConflict[]
} {
  const found: Pool[] = []
  const conflicts: PoolConflict[] = []
  for (const pool of pools) {
    const ranges = [...(pool.spec.blocks ?? []), ...(pool.spec.cidrs ?? [])].flatMap(
      (block) => rangeOf(block, pool.spec.allowFirstLastIPs === 'Yes') ?? [],
    )
    const other = pool.spec.disabled
      ? undefined
      : found.find(
          (each) =>
            each.closed === undefined && each.ranges.some((range) => ranges.some((own) => overlaps(range, own))),
        )
    if (other !== undefined) conflicts.push({ pool, other: other.name })
    const closed = pool.spec.disabled
      ? 'disabled'
      : other === undefined
        ? undefined
        : `in conflict with pool ${other.name}`
    found.push({
      name: pool.metadata.name,
      labels: pool.metadata.labels,
      ranges,
      serviceSelector: pool.spec.serviceSelector ?? undefined,
      ...(closed === undefined ? {} : { closed }),
    })
  }
  return { pools: found, conflicts }
}

function rangeOf({ cidr, start, stop }: PoolBlock, allowFirstLast: boolean): AddressRange | undefined {
  if (cidr === undefined) {
    const first = parseAddress(start ?? '')
    const last = parseAddress(stop ?? start ?? '')
    return first === undefined || last === undefined
      ? undefined
      : { family: familyOfAddress(first), first: toInteger(first), last: toInteger(last), sparesEnds: false }
  }
  const prefix = parsePrefix(cidr)
  if (prefix === undefined) return undefined
  const family = prefixFamily(prefix)
  const hostBits = (family === 'ipv4' ? 32 : 128) - prefixLength(prefix)
  const first = toInteger(prefixAddress(prefix))
  // A /31, /32, /127 or /128 has no first and last address to spare.
  return { family, first, last: first + (1n << BigInt(hostBits)) - 1n, sparesEnds: !allowFirstLast && hostBits > 1 }
}
