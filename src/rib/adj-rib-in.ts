/**
 * Adj-RIB-In of one peer: what it sent, for people to look at. Nothing of it is used (RFC 8212: no import policy,
 * no import), so a bound costs nothing but the view: beyond it prefixes are counted and not kept.
 */
import type { AfiSafi, PathAttributes, UpdateMessage, UpdateProblem } from '../bgp/messages/types.ts'
import { type Family } from '../ip/address.ts'
import { type Prefix, prefixFamily } from '../ip/prefix.ts'
import { AttributeTable } from './attribute-table.ts'

export interface ReceivedPath {
  readonly attributes: PathAttributes
  /** ms since the epoch */
  readonly at: number
}

const defaultMaxPrefixes = 20_000
/** Sets may be 4 KB each, and a peer may make every one of its own. */
const defaultMaxAttributeSets = 4_096

export class AdjRibIn {
  readonly #maxPrefixes: number
  readonly #maxAttributeSets: number
  readonly #paths = new Map<Prefix, ReceivedPath>()
  readonly #stale = new Set<Prefix>()
  readonly #table = new AttributeTable()
  /** Paths that went since the last sweep. */
  #freed = 0
  readonly #kept: Record<Family, number> = { ipv4: 0, ipv6: 0 }
  readonly #beyond: Record<Family, number> = { ipv4: 0, ipv6: 0 }

  constructor(maxPrefixes = defaultMaxPrefixes, maxAttributeSets = defaultMaxAttributeSets) {
    this.#maxPrefixes = maxPrefixes
    this.#maxAttributeSets = maxAttributeSets
  }

  /** Prefixes that the peer announces; those beyond the bound are counted by announcement and may count twice. */
  count(family: Family): number {
    return this.#kept[family] + this.#beyond[family]
  }

  entries(): MapIterator<[Prefix, ReceivedPath]> {
    return this.#paths.entries()
  }

  get(prefix: Prefix): ReceivedPath | undefined {
    return this.#paths.get(prefix)
  }

  /** Applies an UPDATE; with a treat-as-withdraw among the problems its announcements withdraw (RFC 7606 2). */
  apply(message: UpdateMessage, problems: readonly UpdateProblem[], now: number): void {
    for (const prefix of message.withdrawn) this.#remove(prefix)
    for (const prefix of message.mpUnreach?.prefixes ?? []) this.#remove(prefix)
    const isWithdraw = problems.some(({ action }) => action === 'treat-as-withdraw')
    this.#announce(message.nlri, message.attributes, isWithdraw, now)
    const { mpReach } = message
    if (mpReach !== undefined) this.#announce(mpReach.prefixes, { ...message.attributes, nextHop: mpReach.nextHop }, isWithdraw, now)
  }

  /** RFC 4724 4.2: everything that is there is stale until it is announced again. */
  markStale(): void {
    for (const prefix of this.#paths.keys()) this.#stale.add(prefix)
    Object.assign(this.#beyond, { ipv4: 0, ipv6: 0 })
  }

  /** Removes what is still stale of a family. */
  sweepStale({ afi }: AfiSafi): void {
    const family = afi === 1 ? 'ipv4' : 'ipv6'
    for (const prefix of [...this.#stale]) if (prefixFamily(prefix) === family) this.#remove(prefix)
  }

  isStale(prefix: Prefix): boolean {
    return this.#stale.has(prefix)
  }

  clear(): void {
    this.#stale.clear()
    this.#paths.clear()
    this.#table.keepOnly(new Set())
    this.#freed = 0
    Object.assign(this.#kept, { ipv4: 0, ipv6: 0 })
    Object.assign(this.#beyond, { ipv4: 0, ipv6: 0 })
  }

  #announce(prefixes: readonly Prefix[], attributes: PathAttributes, isWithdraw: boolean, now: number): void {
    if (prefixes.length === 0) return
    if (isWithdraw) return prefixes.forEach((prefix) => this.#remove(prefix))
    if (this.#table.size >= this.#maxAttributeSets) this.#sweep()
    const path = this.#table.size >= this.#maxAttributeSets ? undefined : { attributes: this.#table.intern(attributes), at: now }
    for (const prefix of prefixes) this.#keep(prefix, path)
  }

  /** What has no room is counted; an older path of the same prefix is no longer true and goes. */
  #keep(prefix: Prefix, path: ReceivedPath | undefined): void {
    this.#stale.delete(prefix)
    const family = prefixFamily(prefix)
    const isKnown = this.#paths.has(prefix)
    if (path !== undefined && (isKnown || this.#paths.size < this.#maxPrefixes)) {
      this.#paths.set(prefix, path)
      if (isKnown) this.#freed++
      else this.#kept[family]++
      return
    }
    if (isKnown) this.#remove(prefix)
    this.#beyond[family]++
  }

  /** Only when enough paths went that it can be worth its cost: a full table must not be swept for every UPDATE. */
  #sweep(): void {
    if (this.#freed * 4 < this.#maxAttributeSets) return
    this.#freed = 0
    this.#table.keepOnly(new Set([...this.#paths.values()].map((kept) => kept.attributes)))
  }

  #remove(prefix: Prefix): void {
    this.#stale.delete(prefix)
    const family = prefixFamily(prefix)
    if (this.#paths.delete(prefix)) {
      this.#kept[family]--
      this.#freed++
    } else if (this.#beyond[family] > 0) this.#beyond[family]--
  }
}
