/**
 * What was delivered of one kind, and which version of it: that decides what of an answer is news. Pure.
 *
 *     newer, or another uid   delivered; another uid is a removal before it
 *     the same                nothing
 *     older                   nothing: a server that is behind, or a watch that repeats itself
 *     not in a whole list     gone; where the server itself went back in time it is held for a while
 */
import { sharedText } from '../kinds/shared.ts'
import { statusEntries } from '../kinds/status-writers.ts'
import { isRecord, type ObjectKey, type ObjectVersion, type RawObject } from '../source.ts'

export interface DeliveredEvents {
  upsert(key: ObjectKey, object: RawObject, version: ObjectVersion): void
  remove(key: ObjectKey): void
}

/** It is the key that others keep, too: of hundreds of thousands of objects each has one. */
interface Version extends ObjectKey {
  uid: string
  resourceVersion: string
}

/** By namespace, then name: of thousands no name is kept twice. */
class Versions {
  readonly #byNamespace = new Map<string, Map<string, Version>>()
  #size = 0

  get size(): number {
    return this.#size
  }

  get(namespace: string, name: string): Version | undefined {
    return this.#byNamespace.get(namespace)?.get(name)
  }

  set(version: Version): void {
    const { namespace, name } = version
    const found = this.#byNamespace.get(namespace)
    const within = found ?? new Map<string, Version>()
    if (found === undefined) this.#byNamespace.set(namespace, within)
    if (!within.has(name)) this.#size++
    within.set(name, version)
  }

  delete({ namespace, name }: ObjectKey): void {
    const within = this.#byNamespace.get(namespace)
    if (within?.delete(name) !== true) return
    this.#size--
    if (within.size === 0) this.#byNamespace.delete(namespace)
  }

  *all(): Iterable<Version> {
    for (const within of this.#byNamespace.values()) yield* within.values()
  }
}

export class Delivered {
  readonly #kind: string
  readonly #events: DeliveredEvents
  readonly #versions = new Versions()
  /** Not on the server any more, which says nothing: it went back in time. By id. */
  readonly #held = new Map<string, Version>()
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
    const {
      name,
      namespace: givenNamespace,
      uid: givenUid,
      resourceVersion: givenVersion,
      generation,
    } = metadataOf(item)
    if (!isRecord(item) || typeof name !== 'string' || name === '') return undefined
    const namespace = typeof givenNamespace === 'string' ? givenNamespace : ''
    const id = `${namespace}/${name}`
    const uid = typeof givenUid === 'string' ? givenUid : ''
    const resourceVersion = typeof givenVersion === 'string' ? givenVersion : ''
    // The version of what is held is one of a time that is no more.
    const mayBeOlder = this.#held.delete(id) || this.mayGoBack
    const before = this.#versions.get(namespace, name)
    if (before !== undefined) {
      const isSame = before.uid === uid && before.resourceVersion === resourceVersion
      if (isSame && before.apiVersion === apiVersion) return id
      if (!mayBeOlder && isOlder(resourceVersion, before.resourceVersion)) {
        if (!isCurrent) return id
        this.mayGoBack = true
      }
      if (before.uid !== uid) this.#events.remove(before)
    }
    const isKeySame = before?.apiVersion === apiVersion
    const version: Version = isKeySame
      ? before
      : { apiVersion, kind: this.#kind, namespace: sharedText(namespace), name, uid, resourceVersion }
    if (isKeySame) Object.assign(version, { uid, resourceVersion })
    else this.#versions.set(version)
    const told = { uid, resourceVersion, ...(typeof generation === 'number' ? { generation } : {}) }
    this.#events.upsert(version, pruned(item, apiVersion, this.#kind), told)
    return id
  }

  remove(object: unknown): void {
    const { name, namespace, resourceVersion } = metadataOf(object)
    const known = this.#versions.get(typeof namespace === 'string' ? namespace : '', String(name))
    if (known === undefined) return
    const isRepeated = typeof resourceVersion === 'string' && isOlder(resourceVersion, known.resourceVersion)
    if (isRepeated && !this.#held.has(idOf(known))) return
    this.#remove(known)
  }

  /** What a whole list did not have is gone. */
  sweep(seen: ReadonlySet<string>): void {
    // What the list had was delivered: of as many there is none that it did not have.
    if (seen.size === this.#versions.size) return
    for (const version of this.#versions.all()) {
      const id = idOf(version)
      if (seen.has(id) || this.#held.has(id)) continue
      if (this.mayGoBack) this.#held.set(id, version)
      else this.#remove(version)
    }
  }

  /** What was held is gone. */
  letGo(): void {
    for (const version of this.#held.values()) this.#remove(version)
  }

  #remove(version: Version): void {
    this.#held.delete(idOf(version))
    this.#versions.delete(version)
    this.#events.remove(version)
  }
}

/** `namespace/name` */
function idOf({ namespace, name }: Version): string {
  return `${namespace}/${name}`
}

/** Versions are numbers without bounds that only grow (KEP 5504); what is none is not compared. */
export function isOlder(a: string, b: string): boolean {
  if (!/^[1-9]\d*$/.test(a) || !/^[1-9]\d*$/.test(b)) return false
  return a.length === b.length ? a < b : a.length < b.length
}

export function metadataOf(object: unknown): Readonly<Record<string, unknown>> {
  const metadata = isRecord(object) ? object['metadata'] : undefined
  return isRecord(metadata) ? metadata : {}
}

/**
 * Items of a list name neither version nor kind; who wrote which field, and kubectl's copy, are half of an object. Who
 * wrote the status of a Service decides who has its addresses.
 */
function pruned(item: Readonly<Record<string, unknown>>, apiVersion: string, kind: string): RawObject {
  const { managedFields, annotations, ...metadata } = metadataOf(item)
  const { 'kubectl.kubernetes.io/last-applied-configuration': _applied, ...kept } = isRecord(annotations)
    ? annotations
    : {}
  const writers = kind === 'Service' ? { managedFields: statusEntries(managedFields) } : {}
  return { ...item, apiVersion, kind, metadata: { ...metadata, ...writers, annotations: kept } }
}
