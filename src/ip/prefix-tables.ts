/**
 * A Map and a Set of prefixes that a peer chooses. The engine hashes a number by a function that everybody knows: of
 * all /32s some 65 000 fall into one bucket of 65 536, and with as many imported each further one walks past all of
 * them. What it hashes of a string depends on a seed of this process: so an IPv4 prefix is five characters here, as
 * one of IPv6 is seventeen everywhere.
 *
 *     192.0.2.0/24, a number --key--> length, four octets: a character each
 */
import { type Prefix, prefixLength } from './prefix.ts'

/** So much is added to the length: characters that may all be digits would be hashed as the number that they write. */
const noDigit = 128

function keyOf(prefix: Prefix): string {
  if (typeof prefix === 'string') return prefix
  const address = Math.floor(prefix / 64)
  return String.fromCharCode(
    noDigit + prefixLength(prefix),
    address >>> 24,
    (address >>> 16) & 255,
    (address >>> 8) & 255,
    address & 255,
  )
}

function prefixOfKey(key: string): Prefix {
  if (key.length > 5) return key
  const octet = (at: number): number => key.charCodeAt(at)
  const address = ((octet(1) << 24) | (octet(2) << 16) | (octet(3) << 8) | octet(4)) >>> 0
  return address * 64 + octet(0) - noDigit
}

export class PrefixMap<V> {
  readonly #values = new Map<string, V>()

  get size(): number {
    return this.#values.size
  }

  /** Of an empty one for nothing: whoever announces and imports nothing asks for each prefix. */
  get(prefix: Prefix): V | undefined {
    return this.#values.size === 0 ? undefined : this.#values.get(keyOf(prefix))
  }

  has(prefix: Prefix): boolean {
    return this.#values.size > 0 && this.#values.has(keyOf(prefix))
  }

  set(prefix: Prefix, value: V): void {
    this.#values.set(keyOf(prefix), value)
  }

  delete(prefix: Prefix): boolean {
    return this.#values.delete(keyOf(prefix))
  }

  /** In the order in which they came. Live: prefixes may come and go while it runs. */
  *keys(): Generator<Prefix, void> {
    for (const key of this.#values.keys()) yield prefixOfKey(key)
  }
}

export class PrefixSet {
  readonly #keys = new Set<string>()

  get size(): number {
    return this.#keys.size
  }

  add(prefix: Prefix): void {
    this.#keys.add(keyOf(prefix))
  }

  delete(prefix: Prefix): boolean {
    return this.#keys.delete(keyOf(prefix))
  }

  clear(): void {
    this.#keys.clear()
  }

  /** In the order in which they came. Live: prefixes may come and go while it runs. */
  *[Symbol.iterator](): Generator<Prefix, void> {
    for (const key of this.#keys) yield prefixOfKey(key)
  }
}
