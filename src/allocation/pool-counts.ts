/** How many addresses each pool gives away and how many of them are held, kept as holders change. Pure. */
import { type Family, familyOfText } from '../ip/address.ts'
import { type Interval, without } from './intervals.ts'
import { givenBy, type Pool } from './pool-table.ts'
import type { Reserved } from './reserved.ts'
import type { Work } from './work.ts'

export interface FamilyCounts {
  readonly total: bigint
  /** Addresses, not Services: a shared one counts once. */
  readonly used: bigint
}

export type PoolCounts = Readonly<Record<Family, FamilyCounts>>

const families: readonly Family[] = ['ipv4', 'ipv6']

export class PoolCounter {
  readonly #held = new Map<string, readonly string[]>()
  /** How many Services hold an address. */
  readonly #holders = new Map<string, number>()
  readonly #totals = new Map<Pool, Readonly<Record<Family, bigint>>>()
  readonly #used = new Map<string, number>()
  #poolsOf: (address: string) => readonly Pool[] = () => []

  /** What a Service holds now. */
  hold(key: string, addresses: readonly string[]): void {
    const before = this.#held.get(key) ?? []
    if (addresses.length === 0) this.#held.delete(key)
    else this.#held.set(key, addresses)
    for (const address of before) {
      const left = (this.#holders.get(address) ?? 0) - 1
      if (left > 0) this.#holders.set(address, left)
      else {
        this.#holders.delete(address)
        this.#count(address, -1)
      }
    }
    for (const address of addresses) {
      const known = this.#holders.get(address)
      this.#holders.set(address, (known ?? 0) + 1)
      if (known === undefined) this.#count(address, 1)
    }
  }

  /** `poolsOf` answers the pools of an address as they are from now on. */
  *setPools(pools: readonly Pool[], reserved: Reserved, poolsOf: (address: string) => readonly Pool[]): Work<void> {
    this.#poolsOf = poolsOf
    this.#totals.clear()
    for (const pool of pools) {
      yield
      const given = givenBy(pool, reserved)
      this.#totals.set(pool, { ipv4: sizeOf(given, 'ipv4'), ipv6: sizeOf(given, 'ipv6') })
    }
    this.#used.clear()
    for (const address of this.#holders.keys()) {
      this.#count(address, 1)
      yield
    }
  }

  heldBy(key: string): readonly string[] {
    return this.#held.get(key) ?? []
  }

  isHeld(address: string): boolean {
    return this.#holders.has(address)
  }

  counts(): ReadonlyMap<Pool, PoolCounts> {
    return new Map(
      [...this.#totals].map(([pool, totals]) => {
        const [ipv4, ipv6] = families.map((family) => ({
          total: totals[family],
          used: BigInt(this.#used.get(usageKey(pool, family)) ?? 0),
        }))
        return [pool, { ipv4: ipv4 ?? nothing, ipv6: ipv6 ?? nothing }]
      }),
    )
  }

  #count(address: string, step: number): void {
    for (const pool of this.#poolsOf(address)) {
      const key = usageKey(pool, familyOfText(address))
      this.#used.set(key, (this.#used.get(key) ?? 0) + step)
    }
  }
}

const nothing: FamilyCounts = { total: 0n, used: 0n }

function usageKey({ kind, namespace = '', name }: Pool, family: Family): string {
  return `${kind}/${namespace}/${name} ${family}`
}

/** Addresses of a family; what is in several ranges counts once. */
function sizeOf(ranges: ReturnType<typeof givenBy>, family: Family): bigint {
  let size = 0n
  const seen: Interval[] = []
  for (const range of ranges.filter((each) => each.family === family)) {
    for (const part of without(range, seen)) size += part.last - part.first + 1n - sparedIn(part)
    seen.push(range)
  }
  return size
}

/** How many addresses of a range end in .0 or .255, where the pool keeps those back. */
function sparedIn({ family, first, last, sparesBuggy = false }: ReturnType<typeof givenBy>[0]): bigint {
  if (!sparesBuggy || family !== 'ipv4') return 0n
  const below = (end: bigint): bigint => (end + 255n) / 256n + end / 256n
  return below(last + 1n) - below(first)
}
