/**
 * The helper's side of graceful restart for one peer (RFC 4724 4.2, RFC 8538 4): its routes stay, marked stale, while
 * it is away, and what it does not send again goes.
 *
 *     lost --mark--> stale --established--> F=0 or no family: gone at once
 *                      |                    else until End-of-RIB or the stale time
 *                      `--restart time of the peer over--> gone
 */
import type { AddressFamilyName } from '../desired/model.ts'
import { afiSafiOf, type PeerRestart } from '../bgp/fsm/negotiate.ts'
import type { AfiSafi } from '../bgp/messages/types.ts'
import type { Environment, Timer } from './session/environment.ts'

/** Routes that are kept for a peer; what {@link ../rib/adj-rib-in.ts} offers. */
export interface StaleTable {
  /** Everything that is there is stale from now on. */
  markStale(): void
  /** Drops what is still stale of a family. */
  sweepStale(family: AfiSafi): void
}

/** A peer that came back and never says End-of-RIB keeps its stale routes no longer than this. */
const staleTimeSec = 360

export const unicastFamilies: readonly (readonly [AfiSafi, AddressFamilyName])[] = (
  Object.keys(afiSafiOf) as AddressFamilyName[]
).map((name) => [afiSafiOf[name], name])

export class StaleRoutes {
  readonly #routes: StaleTable
  readonly #environment: Environment
  readonly #log: (message: string) => void
  #timer: Timer | undefined
  #isHelping = false
  /** Families whose End-of-RIB is awaited. */
  #awaited: readonly AfiSafi[] = []

  constructor(routes: StaleTable, environment: Environment, log: (message: string) => void) {
    this.#routes = routes
    this.#environment = environment
    this.#log = log
  }

  /** Stale routes are kept. */
  get isHelping(): boolean {
    return this.#isHelping
  }

  /** The session was lost; `restart` is what the peer's OPEN had said. */
  lost({ restartTimeSec, families }: PeerRestart): void {
    // What is stale from an earlier restart was not sent again in time (RFC 4724 4.2).
    this.#sweep(() => true)
    this.#routes.markStale()
    this.#sweep((family) => !families.some((listed) => isSameFamily(listed.family, family)))
    this.#isHelping = families.length > 0 && restartTimeSec > 0
    if (!this.#isHelping) return this.end()
    this.#log(`graceful restart: the routes of the peer are kept for ${restartTimeSec} s (RFC 4724 4.2)`)
    this.#after(restartTimeSec, 'the peer did not come back within its restart time')
  }

  /** The session is back; `restart` is what the new OPEN says. */
  established(restart: PeerRestart | undefined): void {
    if (!this.#isHelping) return
    const isKept = (family: AfiSafi): boolean =>
      restart?.families.some((listed) => isSameFamily(listed.family, family) && listed.forwarding) === true
    this.#sweep((family) => !isKept(family))
    this.#awaited = unicastFamilies.map(([family]) => family).filter(isKept)
    if (this.#awaited.length === 0) return this.end()
    this.#after(staleTimeSec, 'the peer did not say End-of-RIB in time')
  }

  endOfRib(family: AfiSafi): void {
    if (!this.#isHelping) return
    this.#routes.sweepStale(family)
    this.#awaited = this.#awaited.filter((other) => !isSameFamily(other, family))
    if (this.#awaited.length === 0) this.end()
  }

  /** Nothing is kept any longer. */
  end(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#isHelping = false
    this.#sweep(() => true)
  }

  #after(sec: number, why: string): void {
    this.#timer?.cancel()
    this.#timer = this.#environment.after(sec, () => {
      this.#log(`graceful restart: ${why}, what is stale of its routes is removed`)
      this.end()
    })
  }

  #sweep(isMeant: (family: AfiSafi) => boolean): void {
    for (const [family] of unicastFamilies) if (isMeant(family)) this.#routes.sweepStale(family)
  }
}

export const isSameFamily = (a: AfiSafi, b: AfiSafi): boolean => a.afi === b.afi && a.safi === b.safi
