/**
 * Where allocations are recorded, as a port: a file beside the manifests (file-book.ts), or memory (memory-book.ts).
 * What the book says wins over a fresh choice, and nothing is given away that it did not take.
 */

import { isSameTenure, type Tenure } from './tenure.ts'
import type { Work } from './work.ts'

export interface Allotment {
  /** Canonical text. */
  readonly addresses: readonly string[]
  /** What it has of those that it shares; absent: nothing is known of that. */
  readonly tenure?: Tenure
  /** What it had before these, and lost to others who still have it. */
  readonly lost?: readonly string[]
}

export function allotment(
  addresses: readonly string[],
  tenure: Tenure | undefined,
  lost: readonly string[] = [],
): Allotment {
  return { addresses, ...(tenure === undefined ? {} : { tenure }), ...(lost.length === 0 ? {} : { lost }) }
}

export function isSameAllotment(a: Allotment | undefined, b: Allotment): boolean {
  if (a === undefined || a === b) return a === b
  const isSame = a.addresses.join() === b.addresses.join() && (a.lost ?? []).join() === (b.lost ?? []).join()
  return isSame && isSameTenure(a.tenure, b.tenure)
}

/** By Service, `namespace/name`. */
export type Allocations = ReadonlyMap<string, Allotment>

/**
 * What becomes of a line: what it says; `release`: the Service is gone, and its line is kept for a while in case it
 * comes back; `forget`: the addresses are needed now.
 */
export type AllocationChange = Allotment | 'release' | 'forget'
export type AllocationChanges = ReadonlyMap<string, AllocationChange>

export interface Recorded {
  /** All lines, those of Services that are gone too. */
  readonly entries: Allocations
  /** What others changed since the exchange before; undefined: the line is gone. */
  readonly news: ReadonlyMap<string, Allotment | undefined>
  /** Lines that are kept for Services that are gone, in the order in which they went. */
  readonly released: ReadonlySet<string>
  /** Lines that cannot be read: what they name is somebody's, and is given to nobody. */
  readonly unclear: { readonly addresses: readonly string[]; readonly keys: ReadonlySet<string> }
}

/** Sees what is recorded and answers what changes. What it answers is not in force before the exchange says so. */
export type Choose = (recorded: Recorded) => Work<AllocationChanges>

export const nothingUnclear: Recorded['unclear'] = { addresses: [], keys: new Set() }

export interface BookWarning {
  /** `error`: nothing new is given away meanwhile. */
  readonly severity: 'error' | 'warning'
  readonly code: 'RecordBusy' | 'NotRecorded' | 'RecordDamaged' | 'RecordElsewhere'
  readonly message: string
  readonly remedy: string
}

export interface AddressBook {
  /** Why the book is not where it should be, is damaged, or could not be used the last time. */
  readonly warning: BookWarning | undefined
  /**
   * Calls `choose`, alone among all agents. `busy`: another agent is at it, and nothing was chosen. `failed`: the book
   * cannot be read or written; what was chosen, if it came to that, must be undone. It is written once, at the end:
   * whoever dies before that leaves what was recorded before.
   */
  exchange(choose: Choose): Work<'recorded' | 'busy' | 'failed'>
  /** What is recorded as far as it is known now, for as long as there can be no exchange. */
  peek(): Work<Allocations>
}

/** How many lines are kept at most for Services that are gone; the oldest give way. */
export const releasedLimit = 1024
