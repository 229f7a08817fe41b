/**
 * What was delivered of one kind, and which version of it: that decides what of an answer is news. Pure.
 *
 *     newer, or another uid   delivered; another uid is a removal before it
 *     the same                nothing
 *     older                   nothing: a server that is behind, or a watch that repeats itself
 *     not in a whole list     gone; where the server itself went back in time it is held for a while
 */
import type { ObjectKey, ObjectVersion, RawObject } from '../source.ts'

export interface DeliveredEvents {
  upsert(key: ObjectKey, object: RawObject, version: ObjectVersion): void
  remove(key: ObjectKey): void
}

interface Version {
  readonly apiVersion: string
  readonly uid: string
  readonly resourceVersion: string
}

export class Delivered {
  readonly #kind: string
  readonly #events: DeliveredEvents
  /** By `namespace/name`. */
  readonly #versions = new Map<string, Version>()
  /** Not on the server any more, which says nothing: it went back in time. */
  readonly #held = new Set<string>()
  /** The server went back in time, and its older versions count. */
  mayGoBack = false

  constructor(kind: string, events: DeliveredEvents) {
    this.#kind = kind
    this.#events = events
  }

  get size(): number {
    return this.#versions.size
  }

  get held(): number {
    return this.#held.size
  }

  /**
   * Answers the object's id; undefined for what is no object. `isCurrent`: of a list that is known to be newer than all
   * that was delivered. Where it has an older version the past was written anew, and the server went back unnoticed.
   */
  upsert(item: unknown, apiVersion: string, isCurrent = false): string | undefined {
    const { name, namespace, uid: givenUid, resourceVersion: givenVersion, generation } = metadataOf(item)
    if (!isRecord(item) || typeof name !== 'string' || name === '') return undefined
    const id = `${typeof namespace === 'string' ? namespace : ''}/${name}`
    const uid = typeof givenUid === 'string' ? givenUid : ''
    const resourceVersion = typeof givenVersion === 'string' ? givenVersion : ''
    // The version of what is held is one of a time that is no more.
    const mayBeOlder = this.#held.delete(id) || this.mayGoBack
    const before = this.#versions.get(id)
    if (before !== undefined) {
      const isSame = before.uid === uid && before.resourceVersion === resourceVersion
      if (isSame && before.apiVersion === apiVersion) return id
      if (!mayBeOlder && isOlder(resourceVersion, before.resourceVersion)) {
        if (!isCurrent) return id
        this.mayGoBack = true
      }
      if (before.uid !== uid) this.#events.remove(this.#keyOf(id, before))
    }
    const version = { apiVersion, uid, resourceVersion }
    this.#versions.set(id, version)
    const told = { uid, resourceVersion, ...(typeof generation === 'number' ? { generation } : {}) }
    this.#events.upsert(this.#keyOf(id, version), pruned(item, apiVersion, this.#kind), told)
    return id
  }

  remove(object: unknown): void {
    const { name, namespace, resourceVersion } = metadataOf(object)
    const id = `${typeof namespace === 'string' ? namespace : ''}/${String(name)}`
    const known = this.#versions.get(id)
    if (known === undefined) return
    const isRepeated = typeof resourceVersion === 'string' && isOlder(resourceVersion, known.resourceVersion)
    if (isRepeated && !this.#held.has(id)) return
    this.#remove(id, known)
  }

  /** What a whole list did not have is gone. */
  sweep(seen: ReadonlySet<string>): void {
    for (const [id, version] of this.#versions) {
      if (seen.has(id) || this.#held.has(id)) continue
      if (this.mayGoBack) this.#held.add(id)
      else this.#remove(id, version)
    }
  }

  /** What was held is gone. */
  letGo(): void {
    for (const id of this.#held) {
      const version = this.#versions.get(id)
      if (version !== undefined) this.#remove(id, version)
    }
  }

  #remove(id: string, version: Version): void {
    this.#held.delete(id)
    this.#versions.delete(id)
    this.#events.remove(this.#keyOf(id, version))
  }

  #keyOf(id: string, { apiVersion }: Version): ObjectKey {
    const slash = id.indexOf('/')
    return { apiVersion, kind: this.#kind, namespace: id.slice(0, slash), name: id.slice(slash + 1) }
  }
}

/** Versions are numbers without bounds that only grow (KEP 5504); what is none is not compared. */
export function isOlder(a: string, b: string): boolean {
  if (!/^[1-9]\d*$/.test(a) || !/^[1-9]\d*$/.test(b)) return false
  return a.length === b.length ? a < b : a.length < b.length
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function metadataOf(object: unknown): Readonly<Record<string, unknown>> {
  const metadata = isRecord(object) ? object['metadata'] : undefined
  return isRecord(metadata) ? metadata : {}
}

/** Items of a list name neither version nor kind; who wrote which field, and kubectl's copy, are half of an object. */
function pruned(item: Readonly<Record<string, unknown>>, apiVersion: string, kind: string): RawObject {
  const { managedFields: _managed, annotations, ...metadata } = metadataOf(item)
  const { 'kubectl.kubernetes.io/last-applied-configuration': _applied, ...kept } = isRecord(annotations)
    ? annotations
    : {}
  return { ...item, apiVersion, kind, metadata: { ...metadata, annotations: kept } }
}
