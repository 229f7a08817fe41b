/**
 * The book of who has which address, or has it reserved, that addresses are chosen by (allocate.ts). Between begin and
 * commit everything can be undone. Pure.
 *
 *     replace(key, holder) --> by key: addresses, sharing terms, ports
 *                          --> by address: holders; by sharing key: addresses; what became free
 */
import { type Holder, nobody, placesOf } from './holder.ts'
import {
  oldestFirst,
  ownersOf,
  type OwnPorts,
  type PortOwners,
  portsOf,
  sharedOut,
  type Sharer,
} from './port-owners.ts'
import type { Aged } from './sharing.ts'
import type { PortsByAddress } from './tenure.ts'

export abstract class Holders {
  readonly #assigned = new Map<string, Holder>()
  readonly #holders = new Map<string, string | readonly string[]>()
  /** The addresses that Services of one sharing key have. */
  readonly #shared = new Map<string, Set<string>>()
  /** Addresses that nobody holds any more, or that may be shared now. */
  #freed = new Set<string>()
  /** What holders were before, while it may have to be undone. */
  #journal: Map<string, Holder | undefined> | undefined

  /** Nobody holds it any more. */
  protected abstract becameFree(address: string): void

  protected holderOf(key: string): Holder | undefined {
    return this.#assigned.get(key)
  }

  protected isHeld(address: string): boolean {
    return this.#holders.has(address)
  }

  /** The addresses that Services of a sharing key have. */
  protected sharedUnder(sharingKey: string): Iterable<string> {
    return this.#shared.get(sharingKey) ?? nobody
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
    this.#freed = new Set()
  }

  commit(): void {
    this.#journal = undefined
  }

  rollback(): void {
    const journal = this.#journal ?? new Map<string, Holder | undefined>()
    this.#journal = undefined
    for (const key of journal.keys()) this.replace(key, undefined)
    for (const [key, holder] of journal) this.replace(key, holder)
  }

  /** The addresses that became free since it was last asked and still are, and those that may be shared since. */
  takeFreed(): Set<string> {
    const freed = new Set([...this.#freed].filter((address) => this.#isOpen(address)))
    this.#freed = new Set()
    return freed
  }

  #isOpen(address: string): boolean {
    const owners = this.holdersOf(address).filter((key) => !this.isReservation(key))
    return owners.every((key) => this.#assigned.get(key)?.sharing !== undefined)
  }

  ownersOf(address: string): PortOwners {
    return ownersOf(address, this.#sharersOf(address))
  }

  /** Gives the ports of an address that nobody has to the oldest that wants them: they are its own from now on. */
  sharePorts(address: string): void {
    for (const [key, ports] of sharedOut(address, this.#sharersOf(address)).changed) this.setPorts(key, ports)
  }

  /** Undefined: it shares with nobody. */
  portsOf(key: string, ownersAt: (address: string) => PortOwners): OwnPorts | undefined {
    const { addresses = nobody, sharing } = this.#assigned.get(key) ?? {}
    return sharing === undefined || addresses.length === 0 ? undefined : portsOf(key, addresses, sharing, ownersAt)
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
    for (const address of left) if (!entered.includes(address)) this.#leave(key, address)
    for (const address of entered) if (!left.includes(address)) this.#enter(key, address)
    // Kept for a Service that is gone: it gives way to one that is there.
    if (before?.age !== undefined && now?.age === undefined) for (const address of fresh) this.#freed.add(address)
    const [shared, shares] = [sharingKeyOf(before), sharingKeyOf(now)]
    if (shared !== undefined) for (const address of old) this.#unshare(shared, address)
    if (shares !== undefined) for (const address of fresh) this.#share(shares, address)
    // Others may fit beside it now.
    if (shares !== undefined)
      for (const address of fresh)
        if (before?.sharing !== now?.sharing || !old.includes(address)) this.#freed.add(address)
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

  #share(sharingKey: string, address: string): void {
    const found = this.#shared.get(sharingKey)
    if (found === undefined) this.#shared.set(sharingKey, new Set([address]))
    else found.add(address)
  }

  #unshare(sharingKey: string, address: string): void {
    if (this.holdersOf(address).some((key) => sharingKeyOf(this.#assigned.get(key)) === sharingKey)) return
    const found = this.#shared.get(sharingKey)
    found?.delete(address)
    if (found?.size === 0) this.#shared.delete(sharingKey)
  }
}

function sharingKeyOf(holder: Holder | undefined): string | undefined {
  return (holder?.sharing ?? holder?.wouldShare)?.key
}
