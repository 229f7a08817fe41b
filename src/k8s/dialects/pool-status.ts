/** What the status of a pool says of its addresses, in the words of each kind of pools. Pure. */
import type { PoolCounts } from '../../allocation/pool-counts.ts'
import type { RawObject } from '../source.ts'
import type { StatusCondition } from '../status.ts'

export interface PoolReport {
  readonly counts: PoolCounts
  /** Why the pool gives nothing away because of another pool. */
  readonly conflict: string | undefined
}

/** What a status of the kind says now; undefined: kinds of this name say nothing. `now` as RFC 3339. */
export function poolStatus(kind: string, report: PoolReport, before: unknown, now: string): RawObject | undefined {
  return Object.hasOwn(forms, kind) ? forms[kind]?.(report, before, now) : undefined
}

type Form = (report: PoolReport, before: unknown, now: string) => RawObject

const forms: Readonly<Record<string, Form>> = {
  CiliumLoadBalancerIPPool: ({ counts, conflict }, before, now) => {
    const total = counts.ipv4.total + counts.ipv6.total
    const used = counts.ipv4.used + counts.ipv6.used
    const known = conditionsOf(before)
    const condition = (
      type: string,
      status: StatusCondition['status'],
      reason: string,
      message: string,
    ): StatusCondition => {
      const same = known.find((each) => each.type === type && each.status === status && each.message === message)
      return { type, status, reason, message, lastTransitionTime: same?.lastTransitionTime ?? now }
    }
    const count = (type: string, value: bigint): StatusCondition =>
      condition(type, 'Unknown', 'noreason', String(value))
    return {
      conditions: [
        condition('cilium.io/PoolConflict', conflict === undefined ? 'False' : 'True', 'cidr_overlap', conflict ?? ''),
        count('cilium.io/IPsTotal', total),
        count('cilium.io/IPsAvailable', used > total ? 0n : total - used),
        count('cilium.io/IPsUsed', used),
      ],
    }
  },
  IPAddressPool: ({ counts: { ipv4, ipv6 } }) => ({
    assignedIPv4: numberOf(ipv4.used),
    assignedIPv6: numberOf(ipv6.used),
    availableIPv4: numberOf(ipv4.total - ipv4.used),
    availableIPv6: numberOf(ipv6.total - ipv6.used),
  }),
}

/** As JSON has them: a large pool of IPv6 has more addresses than fit. */
function numberOf(count: bigint): number {
  const most = BigInt(Number.MAX_SAFE_INTEGER)
  return Number(count < 0n ? 0n : count > most ? most : count)
}

function conditionsOf(status: unknown): readonly StatusCondition[] {
  const conditions: unknown = isObject(status) ? Reflect.get(status, 'conditions') : undefined
  if (!Array.isArray(conditions)) return []
  return conditions.filter(isObject).map((each) => {
    const text = (name: string): string => {
      const value: unknown = Reflect.get(each, name)
      return typeof value === 'string' ? value : ''
    }
    const status = text('status')
    return {
      type: text('type'),
      status: status === 'True' || status === 'False' ? status : 'Unknown',
      reason: text('reason'),
      message: text('message'),
      lastTransitionTime: text('lastTransitionTime'),
    }
  })
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null
