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
  /** By address, to whom it matters, looked at since it changed hands last; and by key, among whom it is. */
  readonly #naming = new Map<string, Set<string>>()
  readonly #among = new Map<string, readonly (readonly [string, Set<string>])[]>()
  /** To whom an address mattered that changed hands since. */
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

  /** `hinges`: what it is told is so as long as nothing changes at these addresses, beside those that it names. */
  add(request: AddressRequest, hinges: readonly string[] = []): void {
    const { key, explicit, status } = request
    this.delete(key)
    this.#byKey.set(key, request)
    this.#line.add(request)
    const places = new Set([...explicit, ...status, ...hinges])
    if (places.size === 0) return
    const among = [...places].map((address) => {
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

  /** Somebody else has an address, or has it under other terms: who waits for it may be refused for another reason. */
  changedHands(address: string): void {
    const naming = this.#naming.get(address)
    if (naming === undefined) return
    this.#naming.delete(address)
    this.#outdated.push(naming)
  }

  /** To whom an address matters that changed hands, and who was not looked at since. */
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
