/** Who has addresses, or has them reserved. Pure. */
import type { Aged, SharingTerms } from './sharing.ts'
import type { PortsByAddress } from './tenure.ts'

export const nobody: readonly string[] = []

/** Everybody who has an address; a reservation has no age: who it is for was not seen. */
export interface Holder {
  readonly addresses: readonly string[]
  /** Not its own any more, and not free yet. */
  readonly lingering?: readonly string[]
  /** Reserved by a status alone: of several the oldest has it. */
  readonly isClaim?: boolean
  readonly age?: Aged
  readonly sharing?: SharingTerms | undefined
  /** Of a reservation: under which terms who is gone shared, and others may have the addresses beside it. */
  readonly wouldShare?: SharingTerms | undefined
  /** Of its shared addresses, the ports that are its own; nothing is recorded of an address that is not here. */
  readonly ports?: PortsByAddress | undefined
  /** Ports that its status says are its own, until it is written anew: given to nobody else before. */
  readonly said?: PortsByAddress | undefined
}

/** All that a holder keeps from others. */
export function placesOf(holder: Holder | undefined): readonly string[] {
  if (holder?.lingering === undefined) return holder?.addresses ?? nobody
  return [...holder.addresses, ...holder.lingering]
}

/** Whether others find it the same at an address that it has before and after. */
export function isAlike(a: Holder | undefined, b: Holder | undefined, address: string): boolean {
  return (
    a?.sharing === b?.sharing &&
    a?.wouldShare === b?.wouldShare &&
    a?.isClaim === b?.isClaim &&
    a?.age?.createdMs === b?.age?.createdMs &&
    a?.addresses.includes(address) === b?.addresses.includes(address)
  )
}
