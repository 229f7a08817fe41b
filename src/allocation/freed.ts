/** Addresses that became free, counted by the pools that could give them, until those who wait took them. Pure. */
import type { Family } from '../ip/address.ts'
import { type AddressRequest, familyOf, type Ipam } from './allocate.ts'
import { type Pool, unfitness } from './pool-table.ts'

export class Freed {
  readonly #ipam: Ipam
  readonly #addresses: Set<string>
  readonly #left: Readonly<Record<Family, Map<Pool, number>>> = { ipv4: new Map(), ipv6: new Map() }

  constructor(ipam: Ipam, addresses: Set<string>) {
    this.#ipam = ipam
    this.#addresses = addresses
    for (const address of addresses) this.#count(address, 1)
  }

  get size(): number {
    return this.#addresses.size
  }

  /** Whether a Service that waits may get one of them. */
  serves(request: AddressRequest): boolean {
    if (request.explicit.some((address) => this.#addresses.has(address))) return true
    if (request.sharing !== undefined)
      return [...this.#addresses].some((address) => this.#ipam.couldUse(request, address))
    return request.families.some((family) =>
      [...this.#left[family].keys()].some((pool) => pool.autoAssign && unfitness(pool, request) === undefined),
    )
  }

  take(addresses: readonly string[]): void {
    for (const address of addresses) if (this.#addresses.delete(address)) this.#count(address, -1)
  }

  #count(address: string, step: number): void {
    const left = this.#left[familyOf(address)]
    for (const pool of this.#ipam.poolsOf(address)) {
      const now = (left.get(pool) ?? 0) + step
      if (now > 0) left.set(pool, now)
      else left.delete(pool)
    }
  }
}
