/**
 * The book of who has which address, or has it reserved, that addresses are chosen by (allocate.ts). Between begin and
 * commit everything can be undone. Pure.
 *
 *     replace(key, holder) --> by key: addresses, sharing terms, ports
 *                          --> by address: holders; shared-addresses.ts; what became free
 */
import { type Holder, isAlike, nobody, placesOf } from './holder.ts'
import {
  oldestFirst,
  ownersOf,
  type OwnPorts,
  type PortOwners,
  portsOf,
  sharedOut,
  type Sharer,
} from './port-owners.ts'
import { SharedAddresses } from './shared-addresses.ts'
import { type Aged, setOf } from './sharing.ts'
import type { PortsByAddress } from './tenure.ts'
import type { Work } from './work.ts'

export abstract class Holders {
  readonly #assigned = new Map<string, Holder>()
  readonly #holders = new Map<string, string | readonly string[]>()
  protected readonly shared = new SharedAddresses()
  /** Addresses that nobody holds any more, or that may be shared now. */
  #freed = new Set<string>()
  /** What holders were before, while it may have to be undone. */
  #journal: Map<string, Holder | undefined> | undefined
  readonly #changedHands: (address: string) => void

  /** `changedHands`: somebody else has an address, or has it under other terms, or is another one to others. */
  constructor(changedHands: (address: string) => void = () => undefined) {
    this.#changedHands = changedHands
  }

  /** Nobody holds it any more. */
  protected abstract becameFree(address: string): void

  protected holderOf(key: string): Holder | undefined {
    return this.#assigned.get(key)
  }

  protected isHeld(address: string): boolean {
    return this.#holders.has(address)
  }

  /** What a Service holds; empty when nothing. */
  addressesOf(key: string): readonly string[] {
    return this.#assigned.get(key)?.addresses ?? nobody
  }

  /** Who holds an address, or has it reserved. */
  holdersOf(address: string): readonly string[] {
    const found = this.#holders.get(address)
    return found === undefined ? nobody : typeof found === 'string' ? [found] : found
  }

  /** Whether it has these ports recorded here. */
  hasPorts(key: string, ports: PortsByAddress): boolean {
    const own = this.#assigned.get(key)?.ports
    return [...ports].every(([address, list]) => {
      const held = setOf(own?.get(address) ?? nobody)
      return list.every((port) => held.has(port))
    })
  }

  /** Of one that comes: without those that others have recorded here, more than reserved. */
  protected withoutTaken(key: string, ports: PortsByAddress | undefined): PortsByAddress | undefined {
    if (ports === undefined || this.#assigned.get(key)?.age !== undefined) return ports
    const left = [...ports].map(([address, list]) => {
      const others = this.holdersOf(address).map((other) => this.#assigned.get(other))
      const taken = new Set(others.flatMap((each) => (each?.age === undefined ? [] : (each.ports?.get(address) ?? []))))
      return [address, taken.size === 0 ? list : list.filter((port) => !taken.has(port))] as const
    })
    return new Map(left)
  }

  /** Whether what it has hinges on what its status says: it shares, or something of it is not free yet. */
  hingesOnStatus(key: string): boolean {
    const { sharing, said, lingering = nobody } = this.#assigned.get(key) ?? {}
    return sharing !== undefined || said !== undefined || lingering.length > 0
  }

  /** Whether addresses are kept for a Service that was not seen. */
  isReservation(key: string): boolean {
    const holder = this.#assigned.get(key)
    return holder !== undefined && holder.age === undefined
  }

  /** Keeps addresses, and ports of them, for a Service that was not seen yet; an assignment makes them its own. */
  reserve(
    key: string,
    addresses: readonly string[],
    { by = 'recorded', ...kept }: { readonly by?: 'recorded' | 'claimed' } & Pick<Holder, 'ports' | 'wouldShare'> = {},
  ): void {
    this.replace(key, { addresses, ...kept, ...(by === 'recorded' ? {} : { isClaim: true }) })
  }

  /** Another allocator of the same book gave a Service these ports. */
  setPorts(key: string, ports: PortsByAddress | undefined): void {
    const holder = this.#assigned.get(key)
    if (holder?.sharing !== undefined) this.replace(key, { ...holder, ports })
  }

  release(key: string): void {
    this.replace(key, undefined)
  }

  begin(): void {
    this.#journal = new Map()
  }

  commit(): void {
    this.#journal = undefined
    this.#freed = new Set()
  }

  *rollback(): Work<void> {
    const journal = this.#journal ?? new Map<string, Holder | undefined>()
    this.#journal = undefined
    for (const key of journal.keys()) {
      this.replace(key, undefined)
      yield
    }
    for (const [key, holder] of journal) {
      this.replace(key, holder)
      yield
    }
  }

  /** The addresses that became free since it was last asked and still are, and those that may be shared since. */
  *takeFreed(): Work<readonly string[]> {
    const freed = this.#freed
    this.#freed = new Set()
    const open: string[] = []
    for (const address of freed) {
      if (this.#isOpen(address)) open.push(address)
      yield
    }
    return open
  }

  #isOpen(address: string): boolean {
    const owners = this.holdersOf(address).filter((key) => !this.isReservation(key))
    return owners.every((key) => this.#assigned.get(key)?.sharing !== undefined)
  }

  /**
   * Gives the ports of an address that nobody has to the oldest that wants them: they are its own from now on. Answers
   * who has which then.
   */
  *sharePorts(address: string): Work<PortOwners> {
    const { owners, changed } = yield* sharedOut(address, this.#sharersOf(address))
    for (const [key, ports] of changed) {
      this.setPorts(key, ports)
      yield
    }
    return owners
  }

  /** Who has which port of an address. Looked at once: `known` has those that were, and gets those that were not. */
  *ownersOf(address: string, known: Map<string, PortOwners>): Work<PortOwners> {
    const owners = known.get(address) ?? (yield* ownersOf(address, this.#sharersOf(address)))
    known.set(address, owners)
    return owners
  }

  /** Undefined: it shares with nobody. `known` as for {@link ownersOf}. */
  *portsOf(key: string, known: Map<string, PortOwners>): Work<OwnPorts | undefined> {
    const { addresses = nobody, sharing } = this.#assigned.get(key) ?? {}
    if (sharing === undefined || addresses.length === 0) return undefined
    for (const address of addresses) yield* this.ownersOf(address, known)
    return portsOf(key, addresses, sharing, known)
  }

  /** The sharing keys of those that have an address; none: nobody does, or it is only reserved. */
  sharingKeysAt(address: string): readonly string[] {
    const keys = new Set<string>()
    for (const key of this.holdersOf(address)) {
      const { age, sharing } = this.#assigned.get(key) ?? {}
      if (age !== undefined && sharing !== undefined) keys.add(sharing.key)
    }
    return [...keys]
  }

  /** The addresses of a Service that others may have too. */
  sharedBy(key: string): readonly string[] {
    const { addresses = nobody, sharing, said } = this.#assigned.get(key) ?? {}
    return [...(sharing === undefined ? nobody : addresses), ...(said?.keys() ?? nobody)]
  }

  /** What only lingers in a status serves no port, but for those that the status says. */
  #sharersOf(address: string): readonly Sharer[] {
    const found = this.holdersOf(address).flatMap((key): Sharer[] => {
      const { addresses = nobody, age, sharing, ports, said } = this.#assigned.get(key) ?? {}
      if (!addresses.includes(address)) return said?.has(address) === true ? [{ key, age, said }] : []
      return sharing !== undefined || ports !== undefined ? [{ key, age, sharing, ports, said }] : []
    })
    return oldestFirst(found)
  }

  /** The other Services that have an address; not those of which it only lingers in a status. */
  neighborsOf(key: string, address: string): Aged[] {
    return this.holdersOf(address).flatMap((other) => {
      const { age, addresses = nobody } = (other === key ? undefined : this.#assigned.get(other)) ?? {}
      return age === undefined || !addresses.includes(address) ? [] : [age]
    })
  }

  protected replace(key: string, now: Holder | undefined): void {
    const before = this.#assigned.get(key)
    if (before === undefined && now === undefined) return
    if (this.#journal !== undefined && !this.#journal.has(key)) this.#journal.set(key, before)
    if (now === undefined) this.#assigned.delete(key)
    else this.#assigned.set(key, now)
    const [left, entered] = [placesOf(before), placesOf(now)]
    const [old, fresh] = [before?.addresses ?? nobody, now?.addresses ?? nobody]
    for (const address of left) {
      const isLeft = !entered.includes(address)
      if (isLeft) this.#leave(key, address)
      if (isLeft || !isAlike(before, now, address)) this.#changedHands(address)
    }
    for (const address of entered) {
      if (left.includes(address)) continue
      this.#enter(key, address)
      this.#changedHands(address)
    }
    // Kept for a Service that is gone: it gives way to one that is there.
    if (before?.age !== undefined && now?.age === undefined) for (const address of fresh) this.#freed.add(address)
    const [shared, shares] = [before, now].map((each) => each?.sharing ?? each?.wouldShare)
    const isSame = (address: string): boolean => shared === shares && old.includes(address) && fresh.includes(address)
    if (shared !== undefined) for (const address of old) if (!isSame(address)) this.shared.delete(address, key, shared)
    if (shares === undefined) return
    for (const address of fresh) {
      if (isSame(address)) continue
      this.shared.add(address, key, shares)
      // Others may fit beside it now.
      this.#freed.add(address)
    }
  }

  #enter(key: string, address: string): void {
    const holders = this.holdersOf(address)
    this.#holders.set(address, holders.length === 0 ? key : [...holders, key])
  }

  #leave(key: string, address: string): void {
    const [first, ...others] = this.holdersOf(address).filter((each) => each !== key)
    this.#freed.add(address)
    if (first !== undefined) this.#holders.set(address, others.length === 0 ? first : [first, ...others])
    else {
      this.#holders.delete(address)
      this.becameFree(address)
    }
  }
}
