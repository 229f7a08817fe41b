/** Which of many ranges of addresses, that may overlap, contain one address: found in O(log n). Pure. */
import { type Address, addressBytes, addressFromBytes, type Family } from '../ip/address.ts'

/** Inclusive, as integers. */
export interface Interval {
  readonly family: Family
  readonly first: bigint
  readonly last: bigint
}

interface Segment<T> {
  readonly first: bigint
  readonly last: bigint
  readonly values: readonly T[]
}

export class IntervalIndex<T extends Interval> {
  readonly #segments: Readonly<Record<Family, readonly Segment<T>[]>>

  constructor(intervals: readonly T[]) {
    this.#segments = { ipv4: segmentsOf(intervals, 'ipv4'), ipv6: segmentsOf(intervals, 'ipv6') }
  }

  /** Those that contain the value, in the order in which they were given. */
  at(family: Family, value: bigint): readonly T[] {
    const found = this.#segments[family][this.#positionOf(family, value)]
    return found !== undefined && found.first <= value ? found.values : []
  }

  /** Those that have a value in common with an interval, each once, by their first ones. */
  touching({ family, first, last }: Interval): readonly T[] {
    const segments = this.#segments[family]
    const found = new Set<T>()
    for (let at = this.#positionOf(family, first); at < segments.length; at++) {
      const segment = segments[at]
      if (segment === undefined || segment.first > last) break
      for (const value of segment.values) found.add(value)
    }
    return [...found]
  }

  /** Of the first segment that ends at a value or behind it. */
  #positionOf(family: Family, value: bigint): number {
    const segments = this.#segments[family]
    let [low, high] = [0, segments.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((segments[middle]?.last ?? 0n) < value) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** Cuts the intervals at each other's ends, so that the pieces do not overlap. */
function segmentsOf<T extends Interval>(intervals: readonly T[], family: Family): readonly Segment<T>[] {
  const own = intervals.filter((each) => each.family === family)
  const cuts = [...new Set(own.flatMap(({ first, last }) => [first, last + 1n]))].sort(ascending)
  const indexOf = new Map(cuts.map((cut, index) => [cut, index]))
  const values: T[][] = cuts.map(() => [])
  for (const interval of own)
    for (let i = indexOf.get(interval.first) ?? 0; i < (indexOf.get(interval.last + 1n) ?? 0); i++)
      values[i]?.push(interval)
  return cuts.flatMap((first, index) => {
    const found = values[index] ?? []
    const next = cuts[index + 1]
    return next === undefined || found.length === 0 ? [] : [{ first, last: next - 1n, values: found }]
  })
}

export function ascending(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** The length of the widest prefix that lies in a range. */
export function widestPrefixLength({ family, first, last }: Interval): number {
  const bits = family === 'ipv4' ? 32 : 128
  for (let length = 0; length < bits; length++) {
    const size = 1n << BigInt(bits - length)
    const start = ((first + size - 1n) / size) * size
    if (start + size - 1n <= last) return length
  }
  return bits
}

export function overlaps(a: Interval, b: Interval): boolean {
  return a.family === b.family && a.first <= b.last && b.first <= a.last
}

/** What is left of an interval without the others. */
export function without<T extends Interval>(interval: T, others: readonly Interval[]): readonly T[] {
  const left: T[] = []
  let { first } = interval
  for (const other of others.filter((each) => overlaps(each, interval)).sort((a, b) => ascending(a.first, b.first))) {
    if (other.first > first) left.push({ ...interval, first, last: other.first - 1n })
    if (other.last >= first) first = other.last + 1n
  }
  if (first <= interval.last) left.push({ ...interval, first })
  return left
}

export function toInteger(address: Address): bigint {
  return typeof address === 'number'
    ? BigInt(address)
    : addressBytes(address).reduce((value, octet) => value * 256n + BigInt(octet), 0n)
}

export function fromInteger(value: bigint, family: Family): Address {
  const bytes = new Uint8Array(family === 'ipv4' ? 4 : 16)
  let left = value
  for (let i = bytes.length - 1; i >= 0; i--) {
    bytes[i] = Number(left & 255n)
    left >>= 8n
  }
  return addressFromBytes(bytes)
}
