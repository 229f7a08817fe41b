/**
 * Pools of addresses in neutral form, and which of their addresses may be given away. Pure.
 *
 *     ranges of a pool --minus both ends where they are spared, minus what is reserved--> FreeRange: next, freed
 */
import { type Family, familyOfAddress, formatAddress, parseAddress } from '../ip/address.ts'
import { formatSelector, type LabelSelector, type Labels, selectorMatches } from '../desired/label-selector.ts'
import { ascending, fromInteger, type Interval, IntervalIndex, toInteger, without } from './intervals.ts'
import type { Reserved } from './reserved.ts'
import { setOf } from './sharing.ts'
import type { Work } from './work.ts'

export interface AddressRange extends Interval {
  /** The first and the last address are not given away; held ones stay. */
  readonly sparesEnds: boolean
  /** IPv4 addresses that end in .0 or .255 are not given away; held ones stay. */
  readonly sparesBuggy?: boolean
}

/** Of a pool that says nothing of its priority: it gives last. */
export const noPriority = Number.MAX_SAFE_INTEGER

export interface Pool {
  /** Of the object that it was made from, for messages. */
  readonly kind: string
  readonly name: string
  /** Of that object; absent where its kind has none. */
  readonly namespace?: string
  readonly labels: Labels
  readonly ranges: readonly AddressRange[]
  /** Any of them has to match; without any, every Service is selected. */
  readonly selectors: readonly LabelSelector[]
  /** Whose Services it serves; absent: all. */
  readonly namespaces?: readonly string[]
  /** Without it, its addresses are only given to those who ask for them by name. */
  readonly autoAssign: boolean
  /** Lower ones give first; among equals the order of the list decides. */
  readonly priority: number
  /** The addresses of a Service all come from it, or none does. */
  readonly isWhole?: boolean
  /** Why the pool gives no address away any more; those held stay. */
  readonly closed?: string
}

/** What a pool looks at when it is asked for an address. */
export interface PoolCustomer {
  readonly namespace: string
  /** With the pseudo labels that selectors may name. */
  readonly labels: Labels
  /** The only pool that it takes addresses of. */
  readonly poolName?: string | undefined
  readonly families?: readonly Family[]
}

type GivenRange = Interval & Pick<AddressRange, 'sparesBuggy'>

/** One run of addresses that may be given away, with those of it that may be free. */
class FreeRange implements Interval {
  readonly family: Family
  readonly first: bigint
  readonly last: bigint
  readonly #pool: PoolStock
  readonly #index: number
  readonly #sparesBuggy: boolean
  /** From here on nothing was given away yet, except by name. */
  #next: bigint
  /** A heap of those below, lowest on top, that were given back; some of them may be taken again. */
  readonly #freed: bigint[] = []
  readonly #inHeap = new Set<bigint>()
  /** All above are held. */
  #top: bigint

  constructor({ family, first, last, sparesBuggy = false }: GivenRange, pool: PoolStock, index: number) {
    this.family = family
    this.first = first
    this.last = last
    this.#pool = pool
    this.#index = index
    this.#next = first
    this.#top = last
    this.#sparesBuggy = sparesBuggy && family === 'ipv4'
  }

  gives(value: bigint): boolean {
    const last = value & 255n
    return !this.#sparesBuggy || (last !== 0n && last !== 255n)
  }

  giveBack(value: bigint): void {
    if (value < this.#next && this.gives(value) && !this.#inHeap.has(value)) {
      this.#inHeap.add(value)
      push(this.#freed, value)
    }
    if (value > this.#top) this.#top = value
    this.#pool.reopen(this.#index)
  }

  /** Goes past those that are held, to the next free one; false: there is none. */
  *passHeld(isHeld: (address: string) => boolean): Work<boolean> {
    for (; this.#next <= this.last; this.#next++) {
      if (this.gives(this.#next) && !isHeld(this.#addressOf(this.#next))) return true
      yield
    }
    return false
  }

  #addressOf(value: bigint): string {
    return formatAddress(fromInteger(value, this.family))
  }

  /** The lowest free one, which stays on offer until it is held. */
  lowest(isHeld: (address: string) => boolean): string | undefined {
    for (let value = this.#freed[0]; value !== undefined; value = this.#freed[0]) {
      const address = this.#addressOf(value)
      if (!isHeld(address)) return address
      pop(this.#freed)
      this.#inHeap.delete(value)
    }
    for (; this.#next <= this.last; this.#next++) {
      if (!this.gives(this.#next)) continue
      const address = this.#addressOf(this.#next)
      if (!isHeld(address)) return address
    }
    return undefined
  }

  /** The last one that is given away by itself. */
  highest(isHeld: (address: string) => boolean): string | undefined {
    for (; this.#top >= this.first; this.#top--) {
      if (!this.gives(this.#top)) continue
      const address = this.#addressOf(this.#top)
      if (!isHeld(address)) return address
    }
    return undefined
  }
}

/** The ranges of one pool that give addresses away. */
class PoolStock {
  readonly ranges: readonly FreeRange[]
  /** Every range before this one is exhausted. */
  #start = 0

  constructor(ranges: readonly GivenRange[]) {
    this.ranges = ranges.map((range, index) => new FreeRange(range, this, index))
  }

  reopen(index: number): void {
    this.#start = Math.min(this.#start, index)
  }

  *passHeld(isHeld: (address: string) => boolean): Work<void> {
    for (const range of this.ranges.slice(this.#start)) if (yield* range.passHeld(isHeld)) return
  }

  lowest(isHeld: (address: string) => boolean): string | undefined {
    for (; this.#start < this.ranges.length; this.#start++) {
      const address = this.ranges[this.#start]?.lowest(isHeld)
      if (address !== undefined) return address
    }
    return undefined
  }

  highest(isHeld: (address: string) => boolean): string | undefined {
    for (const range of this.ranges.toReversed()) {
      const address = range.highest(isHeld)
      if (address !== undefined) return address
    }
    return undefined
  }
}

interface PoolRange extends Interval {
  readonly pool: Pool
}

export class PoolTable {
  /** In the order in which they give. */
  readonly pools: readonly Pool[]
  readonly #index: IntervalIndex<PoolRange>
  readonly #free: IntervalIndex<FreeRange>
  readonly #stocks = new Map<Pool, Readonly<Record<Family, PoolStock>>>()
  readonly #byNamespace = new Map<string, readonly Pool[]>()
  /** Of which the next address may be one of many that are held. */
  readonly #unpassed = new Set<PoolStock>()

  /** `pools` oldest first. */
  constructor(pools: readonly Pool[], reserved: Reserved) {
    this.pools = [...pools].sort((a, b) => a.priority - b.priority)
    this.#index = new IntervalIndex(this.pools.flatMap((pool) => pool.ranges.map((range) => ({ ...range, pool }))))
    const free: FreeRange[] = []
    for (const pool of this.pools) {
      const given = givenBy(pool, reserved)
      const stockOf = (family: Family): PoolStock => new PoolStock(given.filter((range) => range.family === family))
      const stocks = { ipv4: stockOf('ipv4'), ipv6: stockOf('ipv6') }
      this.#stocks.set(pool, stocks)
      this.#unpassed.add(stocks.ipv4).add(stocks.ipv6)
      free.push(...stocks.ipv4.ranges, ...stocks.ipv6.ranges)
    }
    this.#free = new IntervalIndex(free)
  }

  /** Those of {@link pools} that serve a namespace: hundreds of namespaces may have a pool each. */
  poolsFor(namespace: string): readonly Pool[] {
    const found = this.#byNamespace.get(namespace) ?? this.pools.filter((pool) => servesNamespace(pool, namespace))
    this.#byNamespace.set(namespace, found)
    return found
  }

  /** The pools that contain an address, open ones first. */
  poolsOf(address: string): readonly Pool[] {
    const parsed = parseAddress(address)
    if (parsed === undefined) return []
    const found = this.#index.at(familyOfAddress(parsed), toInteger(parsed))
    if (found.length === 1 && found[0] !== undefined) return [found[0].pool]
    const pools = [...new Set(found.map(({ pool }) => pool))]
    return [...pools.filter(({ closed }) => closed === undefined), ...pools.filter((pool) => pool.closed !== undefined)]
  }

  /** Whether the pool gives this address away, to those who ask for it by name. */
  gives(pool: Pool, address: string): boolean {
    const parsed = parseAddress(address)
    if (parsed === undefined) return false
    const [family, value] = [familyOfAddress(parsed), toInteger(parsed)]
    const ranges = this.#stocks.get(pool)?.[family].ranges ?? []
    return this.#free.at(family, value).some((range) => range.gives(value) && ranges.includes(range))
  }

  /** Goes past what is held. {@link lowest} would do so in one turn, over as many as there are Services. */
  *passHeld(isHeld: (address: string) => boolean): Work<void> {
    for (const stock of this.#unpassed) {
      yield* stock.passHeld(isHeld)
      this.#unpassed.delete(stock)
    }
  }

  lowest(pool: Pool, family: Family, isHeld: (address: string) => boolean): string | undefined {
    const stock = this.#stocks.get(pool)?.[family]
    if (stock !== undefined) this.#unpassed.add(stock)
    return stock?.lowest(isHeld)
  }

  /** While it is free the pool is not full of its family: lower ones are given away before it. */
  highest(pool: Pool, family: Family, isHeld: (address: string) => boolean): string | undefined {
    return this.#stocks.get(pool)?.[family].highest(isHeld)
  }

  hasFamily(pool: Pool, family: Family): boolean {
    return (this.#stocks.get(pool)?.[family].ranges.length ?? 0) > 0
  }

  /** A freed address may be given away again. */
  giveBack(address: string): void {
    const parsed = parseAddress(address)
    if (parsed === undefined) return
    const value = toInteger(parsed)
    for (const range of this.#free.at(familyOfAddress(parsed), value)) range.giveBack(value)
  }
}

/** The addresses that a pool gives away, as ranges; they overlap where the pool's do. */
export function givenBy(pool: Pool, reserved: Reserved): readonly GivenRange[] {
  return pool.ranges.flatMap((range) => {
    const given = withoutEnds(range)
    return without(given, reserved.within(given))
  })
}

function withoutEnds({ sparesEnds, ...range }: AddressRange): GivenRange {
  return sparesEnds ? { ...range, first: range.first + 1n, last: range.last - 1n } : range
}

/** Why a pool does not serve a Service, apart from its family and what is left in it; undefined: it does. */
export function unfitness(
  pool: Pool,
  { namespace, labels, poolName }: PoolCustomer,
): 'closed' | 'selector' | 'other' | undefined {
  if (poolName !== undefined && pool.name !== poolName) return 'other'
  if (pool.closed !== undefined) return 'closed'
  const isSelected =
    servesNamespace(pool, namespace) &&
    (pool.selectors.length === 0 || pool.selectors.some((selector) => selectorMatches(selector, labels)))
  return isSelected ? undefined : 'selector'
}

function servesNamespace({ namespaces }: Pool, namespace: string): boolean {
  return namespaces === undefined || setOf(namespaces).has(namespace)
}

/** What a pool selects, as text: `app=web`. */
export function selectionText({ namespaces, selectors }: Pool): string {
  return [
    ...(namespaces === undefined ? [] : [namespacesText(namespaces)]),
    ...(selectors.length === 0 ? [] : [selectors.map(formatSelector).join(' or ')]),
  ].join(' and ')
}

function namespacesText(namespaces: readonly string[]): string {
  if (namespaces.length === 0) return 'no namespace'
  const more = namespaces.length > namedNamespaces ? ` and ${namespaces.length - namedNamespaces} more` : ''
  return `namespace ${namespaces.slice(0, namedNamespaces).join(', ')}${more}`
}

/** A selector may select hundreds. */
const namedNamespaces = 8

function push(heap: bigint[], value: bigint): void {
  let at = heap.push(value) - 1
  while (at > 0) {
    const parent = (at - 1) >> 1
    if (ascending(heap[parent] ?? 0n, value) <= 0) break
    heap[at] = heap[parent] ?? 0n
    at = parent
  }
  heap[at] = value
}

function pop(heap: bigint[]): void {
  const value = heap.pop()
  if (value === undefined || heap.length === 0) return
  let at = 0
  for (;;) {
    let child = 2 * at + 1
    if (child >= heap.length) break
    if (child + 1 < heap.length && ascending(heap[child + 1] ?? 0n, heap[child] ?? 0n) < 0) child++
    if (ascending(heap[child] ?? 0n, value) >= 0) break
    heap[at] = heap[child] ?? 0n
    at = child
  }
  heap[at] = value
}
