/** Services that wait for an address, in the order in which they get one. Pure. */
import type { AddressRequest } from './allocate.ts'
import { byAge } from './sharing.ts'
import { Sorted } from './sorted.ts'

/** Who asks by name goes before who takes any; then age. */
export function byRank(a: AddressRequest, b: AddressRequest): number {
  return Number(a.explicit.length === 0) - Number(b.explicit.length === 0) || byAge(a, b)
}

export class Waiting {
  readonly #byKey = new Map<string, AddressRequest>()
  readonly #line = new Sorted(byRank)

  get size(): number {
    return this.#byKey.size
  }

  has(key: string): boolean {
    return this.#byKey.has(key)
  }

  /** Whether it waits for exactly this. */
  isFor(request: AddressRequest): boolean {
    return this.#byKey.get(request.key) === request
  }

  add(request: AddressRequest): void {
    this.delete(request.key)
    this.#byKey.set(request.key, request)
    this.#line.add(request)
  }

  delete(key: string): void {
    const request = this.#byKey.get(key)
    if (request === undefined) return
    this.#byKey.delete(key)
    this.#line.delete(request)
  }

  /** First in line first, as it is now. */
  inOrder(): readonly AddressRequest[] {
    return [...this.#line.items]
  }
}
