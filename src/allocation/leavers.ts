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

  /** Who has one of some addresses. */
  firstAt(addresses: readonly string[]): string | undefined {
    return this.#first(
      addresses.flatMap((address) => this.#ipam.holdersOf(address)).filter((key) => this.#isThere(key)),
    )
  }

  /** Who has an address of a family that a pool could give to a Service. */
  firstFor(request: AddressRequest, family: Family): string | undefined {
    const found: string[] = []
    for (const [pool, { [family]: queue }] of this.#queues) {
      if (!isOpenTo(pool, request)) continue
      let key = queue.at(-1)
      for (; key !== undefined && !this.#isThere(key); key = queue.at(-1)) queue.pop()
      if (key !== undefined) found.push(key)
    }
    return this.#first(found)
  }
}
