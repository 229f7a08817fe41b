/**
 * Which version of an object is in force when files may hold the same one: that of the first file in order of names.
 * Pure.
 */
import type { Problem } from '../desired/model.ts'
import type { ManifestObject } from './documents.ts'

export interface VersionChanges {
  readonly upserts: readonly ManifestObject[]
  readonly removals: readonly ManifestObject[]
}

export class ObjectVersions {
  /** By id, the one in force first. */
  readonly #versions = new Map<string, readonly ManifestObject[]>()
  readonly #inForce = new Map<string, ManifestObject>()
  readonly #doubled = new Set<string>()
  readonly #touched = new Set<string>()

  /** Objects in force. */
  get size(): number {
    return this.#inForce.size
  }

  /** A file held `before` and holds `after` now; objects in both, as the same value, did not change. */
  replace(before: readonly ManifestObject[], after: readonly ManifestObject[]): void {
    const [old, now] = [new Set(before), new Set(after)]
    for (const found of before)
      if (!now.has(found))
        this.#set(
          found.id,
          (this.#versions.get(found.id) ?? []).filter((each) => each !== found),
        )
    for (const found of after)
      if (!old.has(found)) this.#set(found.id, [...(this.#versions.get(found.id) ?? []), found])
  }

  #set(id: string, versions: readonly ManifestObject[]): void {
    this.#touched.add(id)
    if (versions.length === 0) this.#versions.delete(id)
    else this.#versions.set(id, versions.length === 1 ? versions : [...versions].sort(byPlace))
    if (versions.length > 1) this.#doubled.add(id)
    else this.#doubled.delete(id)
  }

  /** What changed since the last time it was asked: an object that moved between files did not go. */
  takeChanges(): VersionChanges {
    const upserts: ManifestObject[] = []
    const removals: ManifestObject[] = []
    for (const id of this.#touched) {
      const before = this.#inForce.get(id)
      const now = this.#versions.get(id)?.[0]
      if (before === now) continue
      if (now !== undefined) {
        this.#inForce.set(id, now)
        upserts.push(now)
      } else if (before !== undefined) {
        this.#inForce.delete(id)
        removals.push(before)
      }
    }
    this.#touched.clear()
    return { upserts, removals }
  }

  /** One for each version that is not in force. */
  problems(): readonly Problem[] {
    return [...this.#doubled].sort().flatMap((id) => {
      const [first, ...others] = this.#versions.get(id) ?? []
      return first === undefined ? [] : others.map((found) => duplicateProblem(found, first))
    })
  }
}

function byPlace({ origin: a }: ManifestObject, { origin: b }: ManifestObject): number {
  return a.file === b.file ? a.line - b.line : a.file < b.file ? -1 : 1
}

function duplicateProblem({ key, origin }: ManifestObject, first: ManifestObject): Problem {
  const { kind, namespace, name } = key
  return {
    severity: 'error',
    object: { kind, ...(namespace === '' ? {} : { namespace }), name, file: origin.file, line: origin.line },
    field: '',
    code: 'DuplicateObject',
    message: `${kind} ${name} is in ${first.origin.file} line ${first.origin.line} already, which is in force`,
    remedy: 'Remove one of the two.',
    column: 1,
  }
}
