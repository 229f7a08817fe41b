/**
 * The addresses of Services as their status says them: somebody else allocates (an operator, or the controller of
 * another load balancer), and this node only announces. What the status says is checked as if it were our own: an
 * address in a pool, reserved for nobody. Of Services that cannot share an address, and of those that want one port of
 * it, who has it by the operator's own writing has it, of several the one who has it here already; then who has it
 * recorded, else the oldest; what is new to the record waits for whoever keeps it. Pure.
 */
import { familyOfText } from '../ip/address.ts'
import type { AddressAnswer, AddressSource, Wish } from './address-source.ts'
import { type AddressRequest, Ipam, isRefusal } from './allocate.ts'
import { answerOf, isSameAnswer, notAllocated, notInPool, ofOtherFamily, withPorts } from './answers.ts'
import type { Pool } from './pool-table.ts'
import type { PortOwners } from './port-owners.ts'
import type { Reserved } from './reserved.ts'
import { byAge } from './sharing.ts'
import { standingOf } from './tenure.ts'
import { inOrder, type Work } from './work.ts'

interface Settled {
  readonly wish: Wish
  /** Of its request, which is made anew where another claims one of them. */
  readonly status: readonly string[]
  /** Of the pools under which it was settled. */
  readonly generation: number
  readonly answer: AddressAnswer
}

/** One that may have another address, or other ports, than before. */
interface Rival {
  readonly wish: Wish
  readonly request: AddressRequest
  /** It was given here what its status says. */
  readonly isGiven: boolean
}

export class StatusAddresses implements AddressSource {
  readonly warning = undefined
  readonly #ipam = new Ipam()
  readonly #settled = new Map<string, Settled>()
  /** Who has an address in its status, whether it gets it or not: nearly always one. */
  readonly #claims = new Map<string, string | Set<string>>()
  #generation = 0
  /** What is answered until a settle is done. */
  #before = new Map<string, AddressAnswer>()

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
    return this.#before.get(key) ?? this.#settled.get(key)?.answer ?? notAllocated
  }

  *settle(dirty: Iterable<string>, wishOf: (key: string) => Wish | undefined): Work<readonly string[]> {
    const before = this.#before
    // An address that changes hands is judged anew for everybody who claims it.
    const rivals = new Map<string, Rival>()
    const meet = (addresses: readonly string[]): void => {
      for (const key of addresses.flatMap((address) => [...this.#claimsOn(address)])) {
        const known = this.#settled.get(key)
        if (known !== undefined && !rivals.has(key)) rivals.set(key, this.#rival(known.wish, known.wish.request(key)))
      }
    }
    for (const key of dirty) {
      yield
      const [wish, known] = [wishOf(key), this.#settled.get(key)]
      if (wish?.subject === known?.wish.subject && (known === undefined || known.generation === this.#generation))
        continue
      const request = wish?.request(key)
      meet([...(known?.status ?? []), ...(request?.status ?? [])])
      this.#claim(key, known?.status ?? [], request?.status ?? [])
      if (!before.has(key)) before.set(key, this.answerOf(key))
      if (wish === undefined || request === undefined) {
        rivals.delete(key)
        this.#settled.delete(key)
        this.#ipam.release(key)
      } else rivals.set(key, this.#rival(wish, request))
    }
    for (const key of rivals.keys()) {
      if (!before.has(key)) before.set(key, this.answerOf(key))
      this.#ipam.release(key)
      yield
    }
    const granted: (Rival & { readonly answer: AddressAnswer })[] = []
    for (const each of yield* inOrder([...rivals.values()], byStanding)) {
      granted.push({ ...each, answer: this.#grant(each.request) })
      yield
    }
    const owners = new Map<string, PortOwners>()
    for (const { wish, request, answer } of granted) {
      yield
      const now = withPorts(answer, yield* this.#ipam.portsOf(request.key, owners))
      const known = this.#settled.get(request.key)?.answer
      const kept = known !== undefined && isSameAnswer(known, now) ? known : now
      this.#settled.set(request.key, { wish, status: request.status, generation: this.#generation, answer: kept })
    }
    this.#before = new Map()
    return [...before].filter(([key, answer]) => this.answerOf(key) !== answer).map(([key]) => key)
  }

  #rival(wish: Wish, request: AddressRequest): Rival {
    const given = this.#settled.get(request.key)?.answer.addresses ?? []
    const hasAddresses = given.length > 0 && request.status.every((address) => given.includes(address))
    const isGiven =
      hasAddresses && (request.tenure === undefined || this.#ipam.hasPorts(request.key, request.tenure.ports))
    return { wish, request, isGiven }
  }

  #claimsOn(address: string): Iterable<string> {
    const claims = this.#claims.get(address) ?? []
    return typeof claims === 'string' ? [claims] : claims
  }

  #claim(key: string, old: readonly string[], now: readonly string[]): void {
    for (const address of old) {
      const claims = this.#claims.get(address)
      if (claims === key) this.#claims.delete(address)
      else if (claims instanceof Set && claims.delete(key) && claims.size === 0) this.#claims.delete(address)
    }
    for (const address of now) {
      const claims = this.#claims.get(address) ?? key
      if (claims instanceof Set) claims.add(key)
      else this.#claims.set(address, claims === key ? key : new Set([claims, key]))
    }
  }

  #grant(request: AddressRequest): AddressAnswer {
    const { status, tenure } = request
    // What it asks for by name is a matter between the Service and its allocator.
    const asked = { ...request, explicit: [], invalid: undefined, poolName: undefined, needsAllFamilies: false }
    const holding = { addresses: status, isRecorded: false, mayChoose: false, ports: tenure?.ports }
    const found = this.#ipam.assign(asked, holding)
    if (status.length === 0) return notAllocated
    if (!isRefusal(found)) return answerOf(found)
    // Nothing was chosen here: that pools are full, as a choice would say, nobody looked at.
    if (status.every((address) => this.#ipam.poolsOf(address).length === 0)) return notInPool(status)
    const other = status.find((address) => !request.families.includes(familyOfText(address)))
    return found.code === 'OutOfAddresses' && other !== undefined ? ofOtherFamily(other) : answerOf(found)
  }
}

function byStanding({ request: a, isGiven: hasA }: Rival, { request: b, isGiven: hasB }: Rival): number {
  const attested = Number(b.isAttested === true) - Number(a.isAttested === true)
  // Who comes to it by a forged writing, until the operator takes that back, takes it from nobody who has it here.
  const given = a.isAttested === true ? Number(hasB) - Number(hasA) : 0
  return attested || given || standingOf(a.tenure, a.sharing) - standingOf(b.tenure, b.sharing) || byAge(a, b)
}
