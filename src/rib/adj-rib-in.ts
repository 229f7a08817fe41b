/**
 * Adj-RIB-In of one peer: what it sent, for people to look at. Nothing of it is used (RFC 8212: no import policy,
 * no import), so a bound costs nothing but the view: beyond it prefixes are counted and not kept.
 */
import type { PathAttributes, UpdateMessage, UpdateProblem } from '../bgp/messages/types.ts'
import { type Family } from '../ip/address.ts'
import { type Prefix, prefixFamily } from '../ip/prefix.ts'
import { AttributeTable } from './attribute-table.ts'

export interface ReceivedPath {
  readonly attributes: PathAttributes
  /** ms since the epoch */
  readonly at: number
}

const defaultMaxPrefixes = 20_000
const sweepMargin = 1024

export class AdjRibIn {
  readonly #maxPrefixes: number
  readonly #paths = new Map<Prefix, ReceivedPath>()
  readonly #table = new AttributeTable()
  readonly #kept: Record<Family, number> = { ipv4: 0, ipv6: 0 }
  readonly #beyond: Record<Family, number> = { ipv4: 0, ipv6: 0 }

  constructor(maxPrefixes = defaultMaxPrefixes) {
    this.#maxPrefixes = maxPrefixes
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

  clear(): void {
    this.#paths.clear()
    this.#table.keepOnly(new Set())
    Object.assign(this.#kept, { ipv4: 0, ipv6: 0 })
    Object.assign(this.#beyond, { ipv4: 0, ipv6: 0 })
  }

  #announce(prefixes: readonly Prefix[], attributes: PathAttributes, isWithdraw: boolean, now: number): void {
    if (prefixes.length === 0) return
    if (isWithdraw) return prefixes.forEach((prefix) => this.#remove(prefix))
    const path = { attributes: this.#table.intern(attributes), at: now }
    for (const prefix of prefixes) this.#keep(prefix, path)
    if (this.#table.size > this.#paths.size + sweepMargin) this.#table.keepOnly(new Set([...this.#paths.values()].map((kept) => kept.attributes)))
  }

  #keep(prefix: Prefix, path: ReceivedPath): void {
    const family = prefixFamily(prefix)
    if (this.#paths.has(prefix)) this.#paths.set(prefix, path)
    else if (this.#paths.size >= this.#maxPrefixes) this.#beyond[family]++
    else {
      this.#paths.set(prefix, path)
      this.#kept[family]++
    }
  }

  #remove(prefix: Prefix): void {
    const family = prefixFamily(prefix)
    if (this.#paths.delete(prefix)) this.#kept[family]--
    else if (this.#beyond[family] > 0) this.#beyond[family]--
  }
}
