/** Addresses that became free, counted by the pools that could give them, until those who wait took them. Pure. */
import { type Family, familyOfText } from '../ip/address.ts'
import { type AddressRequest, type Ipam, isOpenTo } from './allocate.ts'
import type { Pool } from './pool-table.ts'
import type { Work } from './work.ts'

/** How many there are, by the pools that give them. */
type Left = Readonly<Record<Family, Map<Pool, number>>>

export class Freed {
  readonly #ipam: Ipam
  /** Each with where it is counted. */
  readonly #addresses = new Map<string, Left>()
  readonly #free: Left = { ipv4: new Map(), ipv6: new Map() }
  /** Of those that somebody has and shares, by the key under which others may join. */
  readonly #shared = new Map<string, Left>()

  constructor(ipam: Ipam) {
    this.#ipam = ipam
  }

  /** All that became free, or may be shared, since it was last asked. */
  static *of(ipam: Ipam): Work<Freed> {
    const freed = new Freed(ipam)
    for (const address of yield* ipam.takeFreed()) {
      freed.add(address)
      yield
    }
    return freed
  }

  get size(): number {
    return this.#addresses.size
  }

  add(address: string): void {
    const [key, ...others] = this.#ipam.sharingKeysAt(address)
    if (others.length > 0) return
    const left = key === undefined ? this.#free : (this.#shared.get(key) ?? { ipv4: new Map(), ipv6: new Map() })
    if (key !== undefined) this.#shared.set(key, left)
    this.#addresses.set(address, left)
    this.#count(address, left, 1)
  }

  /** Whether a Service that waits may get one of them. */
  serves(request: AddressRequest): boolean {
    if (request.explicit.some((address) => this.#addresses.has(address))) return true
    const shared = request.sharing === undefined ? undefined : this.#shared.get(request.sharing.key)
    return [this.#free, ...(shared === undefined ? [] : [shared])].some((left) =>
      request.families.some((family) => [...left[family].keys()].some((pool) => isOpenTo(pool, request))),
    )
  }

  take(addresses: readonly string[]): void {
    for (const address of addresses) {
      const left = this.#addresses.get(address)
      if (left === undefined) continue
      this.#addresses.delete(address)
      this.#count(address, left, -1)
    }
  }

  #count(address: string, left: Left, step: number): void {
    const counts = left[familyOfText(address)]
    for (const pool of this.#ipam.giversOf(address)) {
      const now = (counts.get(pool) ?? 0) + step
      if (now > 0) counts.set(pool, now)
      else counts.delete(pool)
    }
  }
}
