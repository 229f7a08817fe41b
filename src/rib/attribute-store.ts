/** Interned attribute sets: equal sets are one object, so that equality on the hot path is `===`. */
import type { PathAttributes } from '../bgp/messages/types.ts'

export interface AttributeSet {
  readonly id: number
  readonly attributes: PathAttributes
}

export class AttributeStore {
  readonly #sets = new Map<string, AttributeSet>()
  #next = 1

  intern(attributes: PathAttributes): AttributeSet {
    const key = canonicalKey(attributes)
    const found = this.#sets.get(key)
    if (found !== undefined) return found
    const set: AttributeSet = { id: this.#next++, attributes }
    this.#sets.set(key, set)
    return set
  }

  get size(): number {
    return this.#sets.size
  }

  /** Forgets sets that nobody uses any more; `used` are the ids in use. */
  retain(used: ReadonlySet<number>): void {
    for (const [key, set] of this.#sets) if (!used.has(set.id)) this.#sets.delete(key)
  }
}

/** Key order must not matter; octets are written as numbers. */
function canonicalKey(attributes: PathAttributes): string {
  const entries = Object.entries(attributes).filter(([, value]) => value !== undefined).sort(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify(entries, (_, value: unknown) => (value instanceof Uint8Array ? [...value] : value))
}
