/** Services that wait for an address, in the order in which they get one. Pure. */
import type { AddressRequest } from './allocate.ts'
import { byAge } from './sharing.ts'

/** Who asks by name goes before who takes any; then age. */
export function byRank(a: AddressRequest, b: AddressRequest): number {
  return Number(a.explicit.length === 0) - Number(b.explicit.length === 0) || byAge(a, b)
}

export class Waiting {
  readonly #byKey = new Map<string, AddressRequest>()
  #sorted: readonly AddressRequest[] | undefined = []

  get size(): number {
    return this.#byKey.size
  }

  has(key: string): boolean {
    return this.#byKey.has(key)
  }

  add(request: AddressRequest): void {
    this.#byKey.set(request.key, request)
    this.#sorted = undefined
  }

  delete(key: string): void {
    if (this.#byKey.delete(key)) this.#sorted = undefined
  }

  /** First in line first. */
  inOrder(): readonly AddressRequest[] {
    this.#sorted ??= [...this.#byKey.values()].sort(byRank)
    return this.#sorted
  }
}
