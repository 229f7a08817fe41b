/**
 * The objects in force by kind, with the problems of what was delivered. A broken version never replaces a good one.
 */
import type { ObjectRef, Problem } from '../../desired/model.ts'
import type { Fault, Metadata, Narrowed } from '../kinds/narrow.ts'
import { isServed, notServed, parsers, type KindTable, type ServedKind } from '../kinds/table.ts'
import { problemOf, refOf } from '../kinds/problems.ts'
import type { ObjectKey, Origin, RawObject } from '../source.ts'

interface Stored<K extends ServedKind> {
  readonly key: ObjectKey
  readonly value: KindTable[K]
  readonly origin: Origin | undefined
  readonly source: ObjectRef
  /** Order of first sight, for objects without creationTimestamp. */
  readonly seen: number
}

/** What a change touched. */
export interface Change {
  readonly kind: ServedKind
  readonly id: string
}

type Tables = { readonly [K in ServedKind]: Map<string, Stored<K>> }

export class ObjectStore {
  readonly tables: Tables = {
    Service: new Map(),
    EndpointSlice: new Map(),
    Node: new Map(),
    Secret: new Map(),
    CiliumBGPPeeringPolicy: new Map(),
    CiliumLoadBalancerIPPool: new Map(),
  }
  readonly #problems = new Map<string, readonly Problem[]>()
  #seen = 0
  /** Grows whenever {@link problems} changes. */
  problemsVersion = 0

  upsert(key: ObjectKey, raw: RawObject, origin: Origin | undefined): Change | undefined {
    if (!isServed(key)) {
      this.#setProblems(key, notServed(key), origin)
      return undefined
    }
    return this.#put(key.kind, key, parsers[key.kind](raw), origin)
  }

  remove(key: ObjectKey): Change | undefined {
    this.#setProblems(key, [], undefined)
    if (!isServed(key)) return undefined
    const id = idOf(key)
    return this.tables[key.kind].delete(id) ? { kind: key.kind, id } : undefined
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
    const table: Map<string, Stored<K>> = this.tables[kind]
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

/** Oldest first: creationTimestamp, else first seen, else name. */
export function byAge(
  a: { readonly seen: number; readonly value: { readonly metadata: Metadata } },
  b: typeof a,
): number {
  const [first, second] = [a.value.metadata, b.value.metadata]
  if (first.creationTimestamp && second.creationTimestamp && first.creationTimestamp !== second.creationTimestamp)
    return Date.parse(first.creationTimestamp) - Date.parse(second.creationTimestamp)
  if (Boolean(first.creationTimestamp) !== Boolean(second.creationTimestamp)) return first.creationTimestamp ? -1 : 1
  return a.seen - b.seen || (first.name < second.name ? -1 : 1)
}
