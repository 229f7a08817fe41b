/**
 * Recorded Services that are not there, in the order in which they give way to one that lacks an address of theirs.
 * Found by the pool or the address, whatever number of them there is. Pure.
 */
import { type Family, familyOfText } from '../ip/address.ts'
import { type AddressRequest, type Ipam, isOpenTo } from './allocate.ts'
import type { Pool } from './pool-table.ts'
import type { Work } from './work.ts'

type Queues = Readonly<Record<Family, string[]>>

export class Leavers {
  readonly #ipam: Ipam
  readonly #mayLeave: (key: string) => boolean
  readonly #places = new Map<string, number>()
  /** By pool, first in line last. */
  readonly #queues = new Map<Pool, Queues>()

  private constructor(ipam: Ipam, mayLeave: (key: string) => boolean) {
    this.#ipam = ipam
    this.#mayLeave = mayLeave
  }

  /** `keys` in the order in which they give way; `mayLeave` is asked when it comes to that. */
  static *of(ipam: Ipam, keys: readonly string[], mayLeave: (key: string) => boolean): Work<Leavers> {
    const leavers = new Leavers(ipam, mayLeave)
    for (let place = keys.length - 1; place >= 0; place--) {
      yield
      const key = keys[place]
      if (key !== undefined) leavers.#add(key, place)
    }
    return leavers
  }

  #add(key: string, place: number): void {
    this.#places.set(key, place)
    for (const address of this.#ipam.addressesOf(key))
      for (const pool of this.#ipam.giversOf(address)) {
        const queues = this.#queues.get(pool) ?? { ipv4: [], ipv6: [] }
        this.#queues.set(pool, queues)
        queues[familyOfText(address)].push(key)
      }
  }

  #isThere(key: string): boolean {
    return this.#places.has(key) && this.#ipam.isReservation(key) && this.#mayLeave(key)
  }

  #first(keys: readonly string[]): string | undefined {
    const placeOf = (key: string): number => this.#places.get(key) ?? Number.POSITIVE_INFINITY
    return keys.reduce<string | undefined>(
      (first, key) => (first === undefined || placeOf(key) < placeOf(first) ? key : first),
      undefined,
    )
  }

  /** With those that have the address beside it: without them it does not come free. */
  #withOthersAt(first: string | undefined, addresses: readonly string[]): readonly string[] {
    if (first === undefined) return []
    const own = this.#ipam.addressesOf(first).filter((address) => addresses.includes(address))
    const all = own.flatMap((address) => this.#ipam.holdersOf(address))
    return [...new Set(all)].filter((key) => this.#isThere(key))
  }

  /** Who has one of some addresses. */
  firstAt(addresses: readonly string[]): readonly string[] {
    const all = addresses.flatMap((address) => this.#ipam.holdersOf(address))
    return this.#withOthersAt(this.#first(all.filter((key) => this.#isThere(key))), addresses)
  }

  /** Who has an address of a family that a pool could give to a Service beside what that has. */
  firstFor(request: AddressRequest, family: Family, [held]: readonly string[]): readonly string[] {
    const found = new Map<string, string>()
    for (const [pool, { [family]: queue }] of this.#queues) {
      if (!isOpenTo(pool, request) || (held !== undefined && !this.#ipam.fitsBeside(pool, held))) continue
      for (let key = queue.at(-1); key !== undefined; key = queue.at(-1)) {
        const address = this.#wouldFree(key, pool, family)
        if (address !== undefined) {
          found.set(key, address)
          break
        }
        queue.pop()
      }
    }
    const first = this.#first([...found.keys()])
    return this.#withOthersAt(first, [found.get(first ?? '') ?? ''])
  }

  /** What nobody has who is there. */
  #wouldFree(key: string, pool: Pool, family: Family): string | undefined {
    if (!this.#isThere(key)) return undefined
    return this.#ipam
      .addressesOf(key)
      .find(
        (address) =>
          familyOfText(address) === family &&
          this.#ipam.giversOf(address).includes(pool) &&
          this.#ipam.holdersOf(address).every((each) => this.#isThere(each)),
      )
  }
}
