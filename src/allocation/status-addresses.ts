/**
 * The addresses of Services as their status says them: somebody else allocates (an operator, or the controller of
 * another load balancer), and this node only announces. What the status says is checked as if it were our own: an
 * address in a pool, reserved for nobody, and of two Services that cannot share it the oldest one's. Pure.
 */
import type { AddressAnswer, AddressSource, Wish } from './address-source.ts'
import { type AddressRequest, Ipam, isRefusal } from './allocate.ts'
import { answerOf, isSameAnswer, notAllocated, notInPool } from './answers.ts'
import type { Pool } from './pool-table.ts'
import type { Reserved } from './reserved.ts'
import { byAge } from './sharing.ts'

interface Settled {
  readonly wish: Wish
  /** Of its request, which is made anew where another claims one of them. */
  readonly status: readonly string[]
  /** Of the pools under which it was settled. */
  readonly generation: number
  readonly answer: AddressAnswer
}

export class StatusAddresses implements AddressSource {
  readonly warning = undefined
  readonly #ipam = new Ipam()
  readonly #settled = new Map<string, Settled>()
  /** Who has an address in its status, whether it gets it or not. */
  readonly #claims = new Map<string, Set<string>>()
  #generation = 0

  setPools(pools: readonly Pool[]): void {
    this.#ipam.setPools(pools)
    this.#generation++
  }

  setReserved(reserved: Reserved): void {
    this.#ipam.setReserved(reserved)
    this.#generation++
  }

  poolsOf(address: string): readonly Pool[] {
    return this.#ipam.poolsOf(address)
  }

  answerOf(key: string): AddressAnswer {
    return this.#settled.get(key)?.answer ?? notAllocated
  }

  settle(dirty: Iterable<string>, wishOf: (key: string) => Wish | undefined): readonly string[] {
    const before = new Map<string, AddressAnswer>()
    // An address that changes hands is judged anew for everybody who claims it.
    const rivals = new Map<string, { readonly wish: Wish; readonly request: AddressRequest }>()
    const meet = (addresses: readonly string[]): void => {
      for (const key of addresses.flatMap((address) => [...(this.#claims.get(address) ?? [])])) {
        const known = this.#settled.get(key)
        if (known !== undefined && !rivals.has(key))
          rivals.set(key, { wish: known.wish, request: known.wish.request() })
      }
    }
    for (const key of dirty) {
      const [wish, known] = [wishOf(key), this.#settled.get(key)]
      if (wish?.subject === known?.wish.subject && (known === undefined || known.generation === this.#generation))
        continue
      const request = wish?.request()
      meet([...(known?.status ?? []), ...(request?.status ?? [])])
      this.#claim(key, known?.status ?? [], request?.status ?? [])
      before.set(key, this.answerOf(key))
      if (wish === undefined || request === undefined) {
        rivals.delete(key)
        this.#settled.delete(key)
        this.#ipam.release(key)
      } else rivals.set(key, { wish, request })
    }
    for (const key of rivals.keys()) {
      if (!before.has(key)) before.set(key, this.answerOf(key))
      this.#ipam.release(key)
    }
    for (const { wish, request } of [...rivals.values()].sort((a, b) => byAge(a.request, b.request)))
      this.#grant(wish, request)
    return [...before].filter(([key, answer]) => this.answerOf(key) !== answer).map(([key]) => key)
  }

  #claim(key: string, old: readonly string[], now: readonly string[]): void {
    for (const address of old) {
      const claims = this.#claims.get(address)
      claims?.delete(key)
      if (claims?.size === 0) this.#claims.delete(address)
    }
    for (const address of now) this.#claims.set(address, (this.#claims.get(address) ?? new Set()).add(key))
  }

  #grant(wish: Wish, request: AddressRequest): void {
    const { key, status } = request
    // What it asks for by name is a matter between the Service and its allocator.
    const asked = { ...request, explicit: [], invalid: undefined, poolName: undefined, needsAllFamilies: false }
    const found = this.#ipam.assign(asked, { addresses: status, isRecorded: false, mayChoose: false })
    const isForeign = status.every((address) => this.#ipam.poolsOf(address).length === 0)
    const answer =
      status.length === 0
        ? notAllocated
        : isRefusal(found) && isForeign
          ? notInPool(status, found)
          : answerOf(found, this.#ipam.lostPorts(key))
    const known = this.#settled.get(key)?.answer
    const kept = known !== undefined && isSameAnswer(known, answer) ? known : answer
    this.#settled.set(key, { wish, status, generation: this.#generation, answer: kept })
  }
}
