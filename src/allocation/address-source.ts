/**
 * Where the addresses of Services come from, as a port. An agent on a folder allocates by itself (folder-allocator.ts);
 * one beside an operator would only read what the status says.
 */
import type { Verdict } from '../desired/model.ts'
import type { BookWarning } from './address-book.ts'
import type { AddressRequest } from './allocate.ts'
import type { Pool } from './pool-table.ts'
import type { Reserved } from './reserved.ts'
import type { Tenure } from './tenure.ts'
import type { Work } from './work.ts'

export interface AddressAnswer {
  readonly addresses: readonly string[]
  readonly verdict: Verdict
  /** The ports of shared addresses that are its own, as they are recorded; absent: it shares with nobody. */
  readonly tenure?: Tenure | undefined
  /** Ports that another Service has on an address which both share: `198.51.100.1 80/TCP` -> the key of the owner. */
  readonly lostPorts?: ReadonlyMap<string, string> | undefined
}

/** A Service as the source of addresses sees it. */
export interface Wish {
  /** The same object as long as the Service did not change. */
  readonly subject: object
  /** Under this key, which is kept: so it is not kept twice. */
  request(key: string): AddressRequest
}

export interface AddressSource {
  readonly warning: BookWarning | undefined
  /** Oldest first. */
  setPools(pools: readonly Pool[]): void
  setReserved(reserved: Reserved): void
  /** The pools that contain an address, those first that still give addresses away. */
  poolsOf(address: string): readonly Pool[]
  answerOf(key: string): AddressAnswer
  /**
   * Settles the Services that changed and those that wait, and tells whose answer is another one now. `wishOf` answers
   * undefined for a Service that is gone or not ours. Until it is done all answers are those of before, and nothing
   * else may be told to the source.
   */
  settle(dirty: Iterable<string>, wishOf: (key: string) => Wish | undefined): Work<readonly string[]>
}
