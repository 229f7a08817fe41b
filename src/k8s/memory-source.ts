/** A source of objects that are put into it: for tests, benchmarks and simulations. */
import type { ObjectKey, ObjectSource, ObjectVersion, Origin, RawObject, SourceEvents, SourceState } from './source.ts'

export interface MemoryObject {
  readonly key: ObjectKey
  readonly object: RawObject
  readonly origin?: Origin
  readonly version?: ObjectVersion
}

/** What is put in before {@link start} is its first list; afterwards each change is delivered when it is flushed. */
export class MemorySource implements ObjectSource {
  readonly #objects = new Map<string, MemoryObject>()
  #events: SourceEvents | undefined
  #hasHadObjects = false
  /** What {@link SourceState.isReachable} says. */
  isReachable = true

  get state(): SourceState {
    const isSynced = this.#events !== undefined
    return {
      isReachable: this.isReachable,
      objects: this.#objects.size,
      hasHadObjects: this.#hasHadObjects,
      unconfirmed: 0,
      ofKind: () => ({ isSynced, problem: this.isReachable ? undefined : 'the source is said to be away' }),
    }
  }

  async start(events: SourceEvents): Promise<void> {
    this.#events = events
    events.relistBegins?.(undefined)
    for (const found of this.#objects.values()) this.#deliver(found)
    events.relistEnds?.(undefined)
    events.flush()
    events.synced()
  }

  async stop(): Promise<void> {
    this.#events = undefined
  }

  rescan(): void {
    this.flush()
  }

  /** A new object or version; one with another uid takes the place of the one before. Delivered at once. */
  put(...objects: readonly MemoryObject[]): void {
    for (const found of objects) {
      const id = idOf(found.key)
      const before = this.#objects.get(id)
      const [was, is] = [before?.version?.uid, found.version?.uid]
      if (before !== undefined && was !== undefined && is !== undefined && was !== is) this.#events?.remove(before.key)
      this.#objects.set(id, found)
      this.#deliver(found)
    }
  }

  remove(...keys: readonly ObjectKey[]): void {
    for (const key of keys) if (this.#objects.delete(idOf(key))) this.#events?.remove(key)
  }

  flush(): void {
    this.#events?.flush()
  }

  #deliver({ key, object, origin, version }: MemoryObject): void {
    if (this.#events === undefined) return
    this.#hasHadObjects = true
    this.#events.upsert(key, object, origin, version ?? {})
  }
}

/** Group, kind, namespace and name: the same object in whatever version. */
function idOf({ apiVersion, kind, namespace, name }: ObjectKey): string {
  return `${apiVersion.split('/').slice(0, -1).join()}/${kind}/${namespace}/${name}`
}
