/** What the status of a pool says of its addresses, in the words of each kind of pools. Pure. */
import type { PoolCounts } from '../../allocation/pool-counts.ts'
import type { RawObject } from '../source.ts'
import type { SaidCondition } from '../status.ts'

export interface PoolReport {
  readonly counts: PoolCounts
  /** Why the pool gives nothing away because of another pool. */
  readonly conflict: string | undefined
}

export interface PoolStatus {
  /** Beside conditions. */
  readonly fields: RawObject
  readonly conditions: readonly SaidCondition[]
}

/** What the status of a pool of the kind says now. */
export function poolStatus(kind: string, report: PoolReport): PoolStatus {
  const form = Object.hasOwn(forms, kind) ? forms[kind] : undefined
  return form?.(report) ?? { fields: {}, conditions: [] }
}

const forms: Readonly<Record<string, (report: PoolReport) => PoolStatus>> = {
  CiliumLoadBalancerIPPool: ({ counts, conflict }) => {
    const total = counts.ipv4.total + counts.ipv6.total
    const used = counts.ipv4.used + counts.ipv6.used
    const count = (type: string, value: bigint): SaidCondition => ({
      type,
      status: 'Unknown',
      reason: 'noreason',
      message: String(value),
    })
    return {
      fields: {},
      conditions: [
        {
          type: 'cilium.io/PoolConflict',
          status: conflict === undefined ? 'False' : 'True',
          reason: 'cidr_overlap',
          message: conflict ?? '',
        },
        count('cilium.io/IPsTotal', total),
        count('cilium.io/IPsAvailable', used > total ? 0n : total - used),
        count('cilium.io/IPsUsed', used),
      ],
    }
  },
  IPAddressPool: ({ counts: { ipv4, ipv6 } }) => ({
    fields: {
      assignedIPv4: numberOf(ipv4.used),
      assignedIPv6: numberOf(ipv6.used),
      availableIPv4: numberOf(ipv4.total - ipv4.used),
      availableIPv6: numberOf(ipv6.total - ipv6.used),
    },
    conditions: [],
  }),
}

/** As JSON has them: a large pool of IPv6 has more addresses than fit. */
function numberOf(count: bigint): number {
  const most = BigInt(Number.MAX_SAFE_INTEGER)
  return Number(count < 0n ? 0n : count > most ? most : count)
}
