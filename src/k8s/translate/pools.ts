/** Which pools give: of two that overlap the younger one gives no address away any more. Pure. */
import type { Problem } from '../../desired/model.ts'
import { ascending, type Interval } from '../../allocation/intervals.ts'
import type { Pool } from '../../allocation/pool-table.ts'
import type { Family } from '../../ip/address.ts'
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
  const open = new OpenPools()
  for (const { pool, from, path, problems: own = [] } of planned) {
    problems.push(...own)
    const other = pool.closed === undefined ? open.oldestBeside(pool) : undefined
    if (pool.closed === undefined && other === undefined) open.add(pool)
    if (other !== undefined) {
      const message =
        `the pool overlaps ${other.name}, which is older: its addresses in use stay, new ones are ` + `not given away`
      const remedy = 'Remove the addresses from one of the two.'
      problems.push(problemOf(fault('error', path, 'PoolConflict', message, remedy), from.key, from.origin))
    }
    const skipped = skippedOf(pool.ranges, reserved, namedParts + 1)
    if (skipped.length > 0) {
      const more = skipped.length > namedParts ? ', and more' : ''
      const message = `neither given away nor announced: ${skipped.slice(0, namedParts).join(', ')}${more}`
      const remedy = 'Take these addresses out of the pool.'
      problems.push(problemOf(fault('warning', path, 'ReservedAddresses', message, remedy), from.key, from.origin))
    }
    pools.push(other === undefined ? pool : { ...pool, closed: `in conflict with pool ${other.name}` })
  }
  return { pools, problems }
}

/** Of which no version was ever understood: it gives nothing, and is named where a pool is looked for. */
export function unreadPool(kind: string, name: string): Pool {
  const nothing = { labels: {}, ranges: [], selectors: [], autoAssign: true, priority: 0 }
  return { kind, name: name.slice(name.indexOf('/') + 1), ...nothing, closed: 'not understood' }
}

interface OpenRange extends Interval {
  readonly pool: Pool
  /** Lower is older. */
  readonly age: number
}

/** The pools that give, no two of which overlap: who overlaps one of them is found in O(log n). */
class OpenPools {
  readonly #ranges: Readonly<Record<Family, OpenRange[]>> = { ipv4: [], ipv6: [] }
  #count = 0

  add(pool: Pool): void {
    const age = this.#count++
    for (const range of united(pool.ranges)) {
      const all = this.#ranges[range.family]
      all.splice(positionOf(all, range.first), 0, { ...range, pool, age })
    }
  }

  oldestBeside(pool: Pool): Pool | undefined {
    let oldest: OpenRange | undefined
    for (const { family, first, last } of pool.ranges) {
      const all = this.#ranges[family]
      for (let at = positionOf(all, first); at < all.length; at++) {
        const found = all[at]
        if (found === undefined || found.first > last) break
        if (oldest === undefined || found.age < oldest.age) oldest = found
      }
    }
    return oldest?.pool
  }
}

/** Of the first range that ends at a value or behind it. */
function positionOf(ranges: readonly OpenRange[], value: bigint): number {
  let [low, high] = [0, ranges.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((ranges[middle]?.last ?? 0n) < value) low = middle + 1
    else high = middle
  }
  return low
}

/** Without overlaps among themselves. */
function united(ranges: readonly Interval[]): readonly Interval[] {
  const all: { family: Family; first: bigint; last: bigint }[] = []
  for (const { family, first, last } of [...ranges].sort((a, b) => ascending(a.first, b.first))) {
    const before = all.findLast((each) => each.family === family)
    if (before === undefined || before.last < first) all.push({ family, first, last })
    else if (before.last < last) before.last = last
  }
  return all
}
