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
  /** By address, who names it, and was looked at since it changed hands last; and by key, among whom it is. */
  readonly #naming = new Map<string, Set<string>>()
  readonly #among = new Map<string, readonly (readonly [string, Set<string>])[]>()
  /** Who names an address that changed hands since. */
  #outdated: ReadonlySet<string>[] = []

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
    const { key, explicit, status } = request
    this.delete(key)
    this.#byKey.set(key, request)
    this.#line.add(request)
    if (explicit.length + status.length === 0) return
    const among = [...new Set([...explicit, ...status])].map((address) => {
      const naming = this.#naming.get(address) ?? new Set()
      this.#naming.set(address, naming.add(key))
      return [address, naming] as const
    })
    this.#among.set(key, among)
  }

  delete(key: string): void {
    const request = this.#byKey.get(key)
    if (request === undefined) return
    this.#byKey.delete(key)
    this.#line.delete(request)
    for (const [address, naming] of this.#among.get(key) ?? []) {
      naming.delete(key)
      if (naming.size === 0 && this.#naming.get(address) === naming) this.#naming.delete(address)
    }
    this.#among.delete(key)
  }

  /** Somebody else has an address, or has it under other terms: who names it may be refused for another reason. */
  changedHands(address: string): void {
    const naming = this.#naming.get(address)
    if (naming === undefined) return
    this.#naming.delete(address)
    this.#outdated.push(naming)
  }

  /** Who names an address that changed hands, and was not looked at since. */
  takeOutdated(): readonly AddressRequest[] {
    const keys = new Set(this.#outdated.flatMap((naming) => [...naming]))
    this.#outdated = []
    return [...keys].flatMap((key) => this.#byKey.get(key) ?? [])
  }

  /** First in line first, as it is now. */
  inOrder(): readonly AddressRequest[] {
    return [...this.#line.items]
  }
}
