/**
 * The objects in force by kind, with the problems of what was delivered. A broken version never replaces a good one, a
 * broken part is what it was in the version before, and an equal version is no change.
 */
import { keptText } from '../../desired/kept.ts'
import type { Problem } from '../../desired/model.ts'
import { ofNeverGood, type Fault, type Metadata, type Narrowed } from '../kinds/narrow.ts'
import { problemOf } from '../kinds/problems.ts'
import {
  isServed,
  kinds,
  notServed,
  parseObject,
  type KindTable,
  type ServedKind,
  type Stored,
  type StoredObjects,
} from '../kinds/table.ts'
import type { ObjectKey, Origin, RawObject } from '../source.ts'
import { sameValue } from '../../desired/same-value.ts'

/** What a change touched. */
export interface Change {
  readonly kind: ServedKind
  readonly id: string
}

type Tables = { readonly [K in ServedKind]: Map<string, Stored<K>> }

export class ObjectStore {
  readonly #tables = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, new Map()])) as Tables
  /** What outlives its deletion. */
  readonly #gone = new Map<string, Change>()
  readonly #problems = new Map<string, readonly Problem[]>()
  readonly #outlives: (kind: ServedKind, id: string) => boolean
  /** Grows whenever {@link problems} changes. */
  problemsVersion = 0

  /** `outlives`: whether an object stays in force when it is deleted. */
  constructor(outlives: (kind: ServedKind, id: string) => boolean = () => false) {
    this.#outlives = outlives
  }

  get objects(): StoredObjects {
    return this.#tables
  }

  upsert(key: ObjectKey, raw: RawObject, origin: Origin | undefined): Change | undefined {
    if (!isServed(key)) {
      this.#setProblems(key, notServed(key), origin)
      return undefined
    }
    return this.#put(key.kind, key, raw, origin)
  }

  remove(key: ObjectKey): Change | undefined {
    this.#setProblems(key, [], undefined)
    if (!isServed(key)) return undefined
    return this.#delete(key.kind, idOf(key))
  }

  /** Lets go of what outlived its deletion and is not needed any more. */
  forgetGone(): void {
    for (const [name, { kind, id }] of this.#gone) {
      if (this.#outlives(kind, id)) continue
      this.#tables[kind].delete(id)
      this.#gone.delete(name)
    }
  }

  /** Whether something is wrong with the last version that was delivered. */
  hasProblems(kind: ServedKind, id: string): boolean {
    return this.problemsOf(kind, id).length > 0
  }

  /** Of one object. */
  problemsOf(kind: ServedKind, id: string): readonly Problem[] {
    return this.#problems.get(problemKey(kinds[kind].versions[0], kind, id)) ?? []
  }

  problems(): readonly Problem[] {
    return [...this.#problems.values()].flat()
  }

  /** Objects of these kinds that are there, and of which no version was ever understood. */
  unread(of: ReadonlySet<ServedKind>): readonly Change[] {
    const found = new Map<string, Change>()
    for (const [key, problems] of this.#problems) {
      const kind = problems.find(({ severity }) => severity === 'error')?.object.kind ?? ''
      const id = key.slice(key.lastIndexOf(' ') + 1)
      if (!isKind(kind) || !of.has(kind) || this.#tables[kind].has(id)) continue
      found.set(`${kind} ${id}`, { kind, id })
    }
    return [...found.values()]
  }

  #delete<K extends ServedKind>(kind: K, id: string): Change | undefined {
    const table: Map<string, Stored<K>> = this.#tables[kind]
    const stored = table.get(id)
    if (stored === undefined) return undefined
    if (!this.#outlives(kind, id)) table.delete(id)
    else {
      table.set(id, { ...stored, isGone: true })
      this.#gone.set(`${kind} ${id}`, { kind, id })
    }
    return { kind, id }
  }

  #put<K extends ServedKind>(kind: K, key: ObjectKey, raw: RawObject, origin: Origin | undefined): Change | undefined {
    const id = idOf(key)
    const table: Map<string, Stored<K>> = this.#tables[kind]
    const before = table.get(id)
    const { value, faults }: Narrowed<KindTable[K]> = parseObject(
      kind,
      raw,
      isAnother(before?.value, raw) ? undefined : before?.value,
      origin === undefined ? 'server' : 'manifest',
    )
    this.#setProblems(key, value === undefined && before === undefined ? faults.map(ofNeverGood) : faults, origin)
    if (value === undefined) return undefined
    const isSame = before !== undefined && before.isGone !== true && sameValue(before.value, value)
    this.#gone.delete(`${kind} ${id}`)
    // The same value, and so the same reference: nothing downstream has to look at it.
    table.set(id, { key, value: isSame ? before.value : value, origin })
    return isSame ? undefined : { kind, id }
  }

  #setProblems(key: ObjectKey, faults: readonly Fault[], origin: Origin | undefined): void {
    const id = problemKey(key.apiVersion, key.kind, idOf(key))
    const known = this.#problems.get(id)
    if (faults.length === 0 && known === undefined) return
    const problems = faults.map((fault) => problemOf(fault, key, origin))
    // Thousands of objects may have some: the same once more costs nothing.
    if (sameValue(problems, known)) return
    this.problemsVersion++
    if (problems.length === 0) this.#problems.delete(id)
    else this.#problems.set(id, problems)
  }
}

const isKind = (name: string): name is ServedKind => Object.hasOwn(kinds, name)

/** One object in whatever version it is written. */
function problemKey(apiVersion: string, kind: string, id: string): string {
  return `${apiVersion.split('/')[0]} ${kind} ${id}`
}

/** Of the same name, and created anew: nothing of the one before it holds. */
function isAnother(before: { readonly metadata: Metadata } | undefined, { metadata }: RawObject): boolean {
  const uid: unknown = typeof metadata === 'object' && metadata !== null ? Reflect.get(metadata, 'uid') : undefined
  const known = before?.metadata.uid
  return typeof uid === 'string' && typeof known === 'string' && uid !== known
}

/** `namespace/name`, or the name alone of what has no namespace. */
function idOf({ namespace, name }: ObjectKey): string {
  return namespace === '' ? name : keptText(namespace, '/', name)
}
