/**
 * The objects in force by kind, with the problems of what was delivered. A broken version never replaces a good one.
 */
import type { Problem } from '../../desired/model.ts'
import type { Fault, Narrowed } from '../kinds/narrow.ts'
import { problemOf, refOf } from '../kinds/problems.ts'
import {
  isServed,
  kinds,
  notServed,
  parserOf,
  type KindTable,
  type ServedKind,
  type Stored,
  type StoredObjects,
} from '../kinds/table.ts'
import type { ObjectKey, Origin, RawObject } from '../source.ts'

/** What a change touched. */
export interface Change {
  readonly kind: ServedKind
  readonly id: string
}

type Tables = { readonly [K in ServedKind]: Map<string, Stored<K>> }

export class ObjectStore {
  readonly #tables = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, new Map()])) as Tables
  readonly #problems = new Map<string, readonly Problem[]>()
  #seen = 0
  /** Grows whenever {@link problems} changes. */
  problemsVersion = 0

  get objects(): StoredObjects {
    return this.#tables
  }

  upsert(key: ObjectKey, raw: RawObject, origin: Origin | undefined): Change | undefined {
    if (!isServed(key)) {
      this.#setProblems(key, notServed(key), origin)
      return undefined
    }
    return this.#put(key.kind, key, parserOf(key.kind)(raw), origin)
  }

  remove(key: ObjectKey): Change | undefined {
    this.#setProblems(key, [], undefined)
    if (!isServed(key)) return undefined
    const id = idOf(key)
    return this.#tables[key.kind].delete(id) ? { kind: key.kind, id } : undefined
  }

  problems(): readonly Problem[] {
    return [...this.#problems.values()].flat()
  }

  #put<K extends ServedKind>(
    kind: K,
    key: ObjectKey,
    { value, faults }: Narrowed<KindTable[K]>,
    origin: Origin | undefined,
  ): Change | undefined {
    this.#setProblems(key, faults, origin)
    if (value === undefined) return undefined
    const id = idOf(key)
    const table: Map<string, Stored<K>> = this.#tables[kind]
    table.set(id, { key, value, origin, source: refOf(key, origin), seen: table.get(id)?.seen ?? this.#seen++ })
    return { kind, id }
  }

  #setProblems(key: ObjectKey, faults: readonly Fault[], origin: Origin | undefined): void {
    // One object in whatever version it is written.
    const id = `${key.apiVersion.split('/')[0]} ${key.kind} ${idOf(key)}`
    if (faults.length === 0 && !this.#problems.has(id)) return
    this.problemsVersion++
    if (faults.length === 0) this.#problems.delete(id)
    else
      this.#problems.set(
        id,
        faults.map((fault) => problemOf(fault, key, origin)),
      )
  }
}

/** `namespace/name`, or the name alone of what has no namespace. */
function idOf({ namespace, name }: ObjectKey): string {
  return namespace === '' ? name : `${namespace}/${name}`
}
