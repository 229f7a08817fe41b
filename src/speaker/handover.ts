/**
 * What a session takes along from one update group to the next, so that it is sent only what differs.
 *
 *     old group --leave--> Handover --join--> new group --TakeOver, in slices--> its own Adj-RIB-Out
 *
 * What was sent stays where it is until the new group has taken it over; the old group sends nothing to a place that
 * was left, and gives it to nobody else before it is empty.
 */
import type { AddressFamilyName } from '../desired/model.ts'
import type { Prefix } from '../ip/prefix.ts'
import type { PathAttributes } from '../bgp/messages/types.ts'
import type { AdjRibOut, MemberMask, SentPath } from '../rib/adj-rib-out.ts'

/** A member's place in a group that it left. */
export interface Place {
  readonly rib: AdjRibOut
  readonly bit: MemberMask
  /** `left`: somebody takes over what was sent there. `abandoned`: nobody does. `empty`: nothing is there. */
  state: 'left' | 'abandoned' | 'empty'
}

export interface Handover {
  /** Where what was sent stands; of one prefix in one of them. */
  readonly places: readonly Place[]
  /** Its queue is full. */
  readonly isBlocked: boolean
  /** Refreshes that were asked for and not begun. */
  readonly asked: readonly AddressFamilyName[]
  /** Refreshes that were begun and not ended; with BoRR or without. */
  readonly begun: readonly (readonly [AddressFamilyName, { readonly isFramed: boolean }])[]
}

export const nothingSent: Handover = { places: [], isBlocked: false, asked: [], begun: [] }

/** The session is over: nobody takes over what was sent. */
export function abandon({ places }: Handover): void {
  for (const place of places) if (place.state === 'left') place.state = 'abandoned'
}

/** Moves what was sent to a member from the places that it left into the group that it is in. */
export class TakeOver {
  /** Those that something may be left in. */
  places: readonly Place[]
  readonly #adopt: (prefix: Prefix, path: SentPath) => void
  #entries: Iterator<[Prefix, readonly SentPath[]]> | undefined

  constructor(places: readonly Place[], adopt: (prefix: Prefix, path: SentPath) => void) {
    this.places = places.filter(({ state }) => state === 'left')
    this.#adopt = adopt
  }

  /** Looks at so many prefixes at most; answers how many fewer they were. */
  step(limit: number): number {
    for (let left = limit; left > 0; left--) {
      const [place] = this.places
      if (place === undefined) return left
      this.#entries ??= place.rib.entries()
      const { done, value } = this.#entries.next()
      if (done === true) {
        place.state = 'empty'
        this.places = this.places.slice(1)
        this.#entries = undefined
        continue
      }
      const path = value[1].find(({ members }) => (members & place.bit) !== 0)
      if (path === undefined) continue
      this.#adopt(value[0], path)
      place.rib.retract(value[0], place.bit)
    }
    return 0
  }
}

/** The places that members of one group have left and that are not empty. */
export class LeftPlaces {
  readonly #rib: AdjRibOut
  #places: readonly Place[] = []
  #cleaning: Iterator<Prefix> | undefined
  #cleaned: MemberMask = 0

  /** `rib`: where all of them are. */
  constructor(rib: AdjRibOut) {
    this.#rib = rib
  }

  get size(): number {
    return this.#places.length
  }

  get isEmpty(): boolean {
    return this.#places.every(({ state }) => state === 'empty')
  }

  /** {@link clean} has something to do. */
  get isCleaningDue(): boolean {
    return this.#places.some(({ state }) => state !== 'left')
  }

  add(place: Place): void {
    this.#places = [...this.#places, place]
  }

  /** Places that nobody else may have yet. */
  taken(): MemberMask {
    this.#dropEmpty()
    return this.#places.reduce((mask, { bit }) => mask | bit, 0)
  }

  /** Empties the places of members whose sessions are over, in steps; answers what is left of `limit`. */
  clean(limit: number): number {
    this.#dropEmpty()
    const abandoned = this.#places.filter(({ state }) => state === 'abandoned')
    if (this.#cleaning === undefined) {
      if (abandoned.length === 0) return limit
      this.#cleaned = abandoned.reduce((mask, { bit }) => mask | bit, 0)
      this.#cleaning = this.#rib.prefixes()
    }
    for (let left = limit; left > 0; left--) {
      const next = this.#cleaning.next()
      if (next.done === true) {
        this.#cleaning = undefined
        for (const place of abandoned) if ((place.bit & this.#cleaned) !== 0) place.state = 'empty'
        return left
      }
      this.#rib.retract(next.value, this.#cleaned)
    }
    return 0
  }

  #dropEmpty(): void {
    this.#places = this.#places.filter(({ state }) => state !== 'empty')
  }
}

/** Attribute sets as another group knows them, found once for all prefixes that have them. */
export function interned(
  intern: (attributes: PathAttributes) => PathAttributes,
): (attributes: PathAttributes) => PathAttributes {
  const known = new Map<PathAttributes, PathAttributes>()
  return (attributes) => {
    let own = known.get(attributes)
    if (own === undefined) known.set(attributes, (own = intern({ ...attributes })))
    return own
  }
}
