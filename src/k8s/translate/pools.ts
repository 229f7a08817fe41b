/** Which pools give: of two that overlap the younger one gives no address away any more. Pure. */
import type { Problem } from '../../desired/model.ts'
import { overlaps } from '../../allocation/intervals.ts'
import type { Pool } from '../../allocation/pool-table.ts'
import { type Reserved, skippedOf } from '../../allocation/reserved.ts'
import type { PlannedPool } from '../dialects/pools.ts'
import { fault } from '../kinds/narrow.ts'
import { problemOf } from '../kinds/problems.ts'

/** So many parts that are skipped are named for each pool. */
const namedParts = 4

/** `planned` oldest first. */
export function poolsOf(
  planned: readonly PlannedPool[],
  reserved: Reserved,
): { readonly pools: readonly Pool[]; readonly problems: readonly Problem[] } {
  const pools: Pool[] = []
  const problems: Problem[] = []
  for (const { pool, from, path, problems: own = [] } of planned) {
    problems.push(...own)
    const other =
      pool.closed === undefined
        ? pools.find(
            (each) =>
              each.closed === undefined && each.ranges.some((range) => pool.ranges.some((own) => overlaps(range, own))),
          )
        : undefined
    if (other !== undefined) {
      const message =
        `the pool overlaps ${other.name}, which is older: its addresses in use stay, new ones are ` + `not given away`
      const remedy = 'Remove the addresses from one of the two.'
      problems.push(problemOf(fault('error', path, 'PoolConflict', message, remedy), from.key, from.origin))
    }
    const skipped = skippedOf(pool.ranges, reserved, namedParts)
    if (skipped.length > 0) {
      const message = `neither given away nor announced: ${skipped.join(', ')}`
      const remedy = 'Take these addresses out of the pool.'
      problems.push(problemOf(fault('warning', path, 'ReservedAddresses', message, remedy), from.key, from.origin))
    }
    pools.push(other === undefined ? pool : { ...pool, closed: `in conflict with pool ${other.name}` })
  }
  return { pools, problems }
}
