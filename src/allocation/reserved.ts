/**
 * Addresses that are never announced for a Service and never given to one, whoever asks: those of special use
 * (RFC 6890), and those that something in the cluster has, as nodes, neighbors and pods. Pure.
 */
import { familyOfAddress, formatAddress, parseAddress } from '../ip/address.ts'
import { parsePrefix, prefixAddress, prefixFamily, prefixLength } from '../ip/prefix.ts'
import { ascending, fromInteger, type Interval, IntervalIndex, toInteger } from './intervals.ts'

export interface Reservation extends Interval {
  /** `the address of node a`: goes after "is". */
  readonly reason: string
}

/** An address, or a prefix with all its addresses. */
export interface ReservedPlace {
  readonly place: string
  readonly reason: string
}

const special: readonly Reservation[] = reservationsOf([
  { place: '0.0.0.0/8', reason: 'of this network (0.0.0.0/8)' },
  { place: '127.0.0.0/8', reason: 'a loopback address' },
  { place: '169.254.0.0/16', reason: 'a link-local address' },
  { place: '224.0.0.0/4', reason: 'a multicast address' },
  { place: '240.0.0.0/4', reason: 'of class E, or the broadcast address' },
  { place: '::/128', reason: 'the unspecified address' },
  { place: '::1/128', reason: 'the loopback address' },
  { place: '::ffff:0:0/96', reason: 'an IPv4 address written as IPv6' },
  { place: 'fe80::/10', reason: 'a link-local address' },
  { place: 'ff00::/8', reason: 'a multicast address' },
])

const touchedLimit = 4096

export class Reserved {
  readonly all: readonly Reservation[]
  readonly #index: IntervalIndex<Reservation>
  /** Thousands of Services are in one aggregate. */
  readonly #touched = new Map<string, boolean>()

  /** What is no address and no prefix is passed over: it reserves nothing. */
  constructor(places: readonly ReservedPlace[] = []) {
    this.all = [...special, ...reservationsOf(places)]
    this.#index = new IntervalIndex(this.all)
  }

  /** Why nobody may have an address; undefined when nothing is against it. */
  reasonOf(address: string): string | undefined {
    const parsed = parseAddress(address)
    return parsed === undefined
      ? 'not an address'
      : this.#index.at(familyOfAddress(parsed), toInteger(parsed))[0]?.reason
  }

  /** Asks of an address whether something else is reserved there now: what is there in both counts for nothing. */
  changedSince(before: Reserved): (address: string) => boolean {
    const index = new IntervalIndex([...onlyIn(this, before), ...onlyIn(before, this)])
    return (address) => {
      const parsed = parseAddress(address)
      return parsed !== undefined && index.at(familyOfAddress(parsed), toInteger(parsed)).length > 0
    }
  }

  /** What of a range is reserved. */
  within(range: Interval): readonly Reservation[] {
    return this.#index.touching(range)
  }

  /** Whether anything inside a prefix is reserved. */
  isTouched(prefix: string): boolean {
    let isTouched = this.#touched.get(prefix)
    if (isTouched === undefined) {
      const range = rangeOfPlace(prefix)
      isTouched = range !== undefined && this.#index.touching(range).length > 0
      if (this.#touched.size >= touchedLimit) this.#touched.clear()
      this.#touched.set(prefix, isTouched)
    }
    return isTouched
  }
}

function onlyIn(one: Reserved, other: Reserved): readonly Reservation[] {
  const nameOf = ({ family, first, last }: Reservation): string => `${family} ${first} ${last}`
  const known = new Set(other.all.map(nameOf))
  return one.all.filter((each) => !known.has(nameOf(each)))
}

function reservationsOf(places: readonly ReservedPlace[]): readonly Reservation[] {
  return places.flatMap(({ place, reason }): Reservation[] => {
    const range = rangeOfPlace(place)
    return range === undefined ? [] : [{ ...range, reason }]
  })
}

/** The range of an address or a prefix. */
export function rangeOfPlace(place: string): Interval | undefined {
  const address = parseAddress(place)
  if (address !== undefined) {
    const value = toInteger(address)
    return { family: familyOfAddress(address), first: value, last: value }
  }
  const prefix = parsePrefix(place)
  if (prefix === undefined) return undefined
  const family = prefixFamily(prefix)
  const first = toInteger(prefixAddress(prefix))
  return { family, first, last: first + (1n << BigInt((family === 'ipv4' ? 32 : 128) - prefixLength(prefix))) - 1n }
}

/** The parts of some ranges that nobody may have, as text with the reason; the first of them. */
export function skippedOf(ranges: readonly Interval[], reserved: Reserved, limit: number): readonly string[] {
  const found: string[] = []
  for (const range of ranges) {
    for (const each of reserved.within(range)) {
      if (found.length >= limit) return found
      const first = ascending(range.first, each.first) < 0 ? each.first : range.first
      const last = ascending(range.last, each.last) < 0 ? range.last : each.last
      found.push(`${formatRange({ family: range.family, first, last })} (${each.reason})`)
    }
  }
  return found
}

/** `192.0.2.1-192.0.2.9`, or the one address. */
function formatRange({ family, first, last }: Interval): string {
  const text = (value: bigint): string => formatAddress(fromInteger(value, family))
  return first === last ? text(first) : `${text(first)}-${text(last)}`
}
