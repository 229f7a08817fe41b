/** Interned attribute sets: equal content is one object, so that comparing two paths is comparing two references. */
import type { PathAttributes } from '../bgp/messages/types.ts'

export class AttributeTable {
  readonly #byKey = new Map<string, PathAttributes>()

  get size(): number {
    return this.#byKey.size
  }

  intern(attributes: PathAttributes): PathAttributes {
    const key = keyOf(attributes)
    const known = this.#byKey.get(key)
    if (known !== undefined) return known
    const frozen = Object.freeze(attributes)
    this.#byKey.set(key, frozen)
    return frozen
  }

  /** Forgets every set that is not among `used`; what was handed out stays valid. */
  keepOnly(used: ReadonlySet<PathAttributes>): void {
    for (const [key, attributes] of this.#byKey) if (!used.has(attributes)) this.#byKey.delete(key)
  }
}

/** Content as text; independent of the order in which the fields were written. */
function keyOf(attributes: PathAttributes): string {
  return JSON.stringify(
    Object.entries(attributes)
      .filter(([, value]) => value !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, value]) => [name, Array.isArray(value) ? value.map(plain) : value]),
  )
}

const plain = (item: unknown): unknown =>
  typeof item === 'object' && item !== null && 'value' in item && item.value instanceof Uint8Array
    ? { ...item, value: [...item.value] }
    : item
