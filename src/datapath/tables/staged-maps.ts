/**
 * Maps for which what many frontends write is kept until all have come to the same step, and is then written in a row:
 * a call of the kernel for each map, in place of one for each entry.
 *
 *     works:  a a a  stop  b b b  stop  c c c  stop  each to its end
 *     maps:          a..         b..         c..     as they are written
 *
 * So nothing that comes after a stop is in the maps before all that comes before it. Memory that is shared with the
 * kernel is not kept: it is what entries name. Pure.
 */
import type { Work } from '../../allocation/work.ts'
import type { MapEntry, Maps, MapStore, MemoryName, PutMode, SharedMemory, StoreName, WindowedMemory } from '../maps.ts'

class StagedStore implements MapStore {
  readonly #store: MapStore
  /** In their order: of two with one key the later one counts. undefined while nothing is kept. */
  #kept: MapEntry[] | undefined

  constructor(store: MapStore) {
    this.#store = store
  }

  get name(): MapStore['name'] {
    return this.#store.name
  }

  get keyBytes(): number {
    return this.#store.keyBytes
  }

  get valueBytes(): number {
    return this.#store.valueBytes
  }

  get maxEntries(): number {
    return this.#store.maxEntries
  }

  keep(): void {
    this.#kept ??= []
  }

  /** Nothing is kept from here on, whether or not it could be written. */
  flush(): void {
    const entries = this.#kept ?? []
    this.#kept = undefined
    if (entries.length > 0) this.#store.putAll(entries)
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#kept?.findLast(([kept]) => isSame(kept, key))?.[1].slice() ?? this.#store.get(key)
  }

  put(key: Uint8Array, value: Uint8Array, mode: PutMode = 'any'): void {
    if (this.#kept === undefined || mode !== 'any') this.#store.put(key, value, mode)
    else this.#kept.push([key, value])
  }

  putAll(entries: readonly MapEntry[]): void {
    if (this.#kept === undefined) this.#store.putAll(entries)
    else for (const [key, value] of entries) this.put(key, value)
  }

  delete(key: Uint8Array): boolean {
    const left = this.#kept?.filter(([kept]) => !isSame(kept, key))
    const wasKept = left?.length !== this.#kept?.length
    this.#kept = left
    return this.#store.delete(key) || wasKept
  }

  entries(): Iterable<MapEntry> {
    return this.#store.entries()
  }

  used(): number {
    return this.#store.used()
  }
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return false
  return a.length === b.length
}

export class StagedMaps implements Maps {
  readonly #maps: Maps
  readonly #stores = new Map<StoreName, StagedStore>()

  constructor(maps: Maps) {
    this.#maps = maps
  }

  store(name: StoreName): MapStore {
    const store = this.#stores.get(name) ?? new StagedStore(this.#maps.store(name))
    this.#stores.set(name, store)
    return store
  }

  memory(name: MemoryName): DataView {
    return this.#maps.memory(name)
  }

  shared(name: MemoryName): SharedMemory {
    return this.#maps.shared(name)
  }

  windows(name: MemoryName): WindowedMemory {
    return this.#maps.windows(name)
  }

  /**
   * Runs works up to each of so many stops together, then each to its end. Answers in their order; undefined where one
   * failed, or there was none. What the kernel refuses at a stop is thrown into all that have come to it: each undoes
   * what it did.
   */
  abreast<T>(works: readonly (Work<T> | undefined)[], stops: number): readonly (T | undefined)[] {
    const results: (T | undefined)[] = works.map(() => undefined)
    const open = new Map(works.flatMap((work, n) => (work === undefined ? [] : [[n, work] as const])))
    const run = (step: (work: Work<T>) => IteratorResult<undefined, T>): void => {
      for (const [index, work] of open) {
        try {
          const { done, value } = step(work)
          if (done !== true) continue
          results[index] = value
        } catch {
          // By itself it says why.
        }
        open.delete(index)
      }
    }
    for (let stop = 0; stop < stops; stop++) {
      const refusal = this.#inARow(() => run((work) => work.next()))
      if (refusal === undefined) continue
      // Undone in a row too: of what several wrote only the last may be there. What fails now is found by a reading.
      this.#inARow(() => run((work) => work.throw(refusal)))
      return results
    }
    run((work) => work.next())
    return results
  }

  /** Answers what the kernel refused first, if anything; everything else was written. */
  #inARow(write: () => void): unknown {
    for (const store of this.#stores.values()) store.keep()
    write()
    const refusals: unknown[] = []
    for (const store of this.#stores.values()) {
      try {
        store.flush()
      } catch (error) {
        refusals.push(error)
      }
    }
    return refusals[0]
  }
}
