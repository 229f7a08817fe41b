/**
 * An API server in memory, as far as an operator sees one: objects with versions, watches that may lag, server-side
 * apply with owners of fields, and Leases. For tests and simulations. Pure.
 *
 *     put, remove, writeStatus (anybody) --> objects --> each follower's queue --deliver--> its events
 *     sink(manager).apply ------------------^
 */
import { MemoryLease } from './lease.ts'
import { sameValue } from '../desired/same-value.ts'
import {
  type ObjectKey,
  type ObjectSource,
  type RawObject,
  recordOf,
  type SourceEvents,
  type SourceState,
} from './source.ts'
import type { ObjectEvent, ObjectSink, ObjectVersionRef, StatusOutcome, StatusSink, StatusWrite } from './status.ts'

interface Kept {
  readonly key: ObjectKey
  readonly uid: string
  readonly resourceVersion: string
  /** Grows with each change of the spec. */
  readonly generation: number
  readonly object: RawObject
  /** Who last wrote these fields of the status (`Update NAME`), or applied the value that they have (`Apply NAME`). */
  readonly owners: ReadonlyMap<string, ReadonlySet<string>>
}

export class MemoryCluster {
  readonly lease = new MemoryLease()
  readonly events: ObjectEvent[] = []
  /** Every status that was written by a sink, in order. */
  readonly written: StatusWrite[] = []
  /** Answers in place of the server, to be set by a test. */
  fault: ((write: StatusWrite) => StatusOutcome | undefined) | undefined
  readonly #objects = new Map<string, Kept>()
  readonly #followers = new Set<Follower>()
  #version = 100

  /** Creates, or replaces all but the status, as a user does. */
  put(key: ObjectKey, object: RawObject): void {
    const before = this.#objects.get(idOf(key))
    const status = before === undefined ? object['status'] : before.object['status']
    this.#keep(key, before?.uid ?? `uid-${this.#version}`, { ...object, status }, before?.owners ?? new Map())
  }

  remove(key: ObjectKey): void {
    if (!this.#objects.delete(idOf(key))) return
    this.#version++
    for (const follower of this.#followers) follower.push({ kind: 'remove', key })
  }

  objectOf(key: ObjectKey): RawObject | undefined {
    return this.#objects.get(idOf(key))?.object
  }

  /** By another manager, who becomes the only owner of what it changes (an update, and not an apply). */
  writeStatus(key: ObjectKey, status: RawObject, manager: string): void {
    const before = this.#objects.get(idOf(key))
    if (before === undefined) return
    const [live, now] = [fieldsOf(before.object['status']), fieldsOf(status)]
    const own = new Map<string, ReadonlySet<string>>()
    for (const [field, value] of now) {
      const owners = sameValue(live.get(field), value) ? before.owners.get(field) : undefined
      own.set(field, owners ?? new Set([`Update ${manager}`]))
    }
    this.#keep(before.key, before.uid, { ...before.object, status }, own)
  }

  follower(): Follower {
    const follower = new Follower(
      () => [...this.#objects.values()],
      (each) => void this.#followers.add(each),
    )
    return follower
  }

  /** As whoever may write an object has the server forget who wrote what (`managedFields: [{}]`). */
  forgetWriters(key: ObjectKey): void {
    const before = this.#objects.get(idOf(key))
    if (before === undefined) return
    const metadata = { ...recordOf(before.object['metadata']), managedFields: [] }
    this.#keep(before.key, before.uid, { ...before.object, metadata }, new Map())
  }

  sink(manager: string): StatusSink {
    return {
      apply: async (write) => this.#apply(write, `Apply ${manager}`),
      createEvent: async (event) => {
        this.events.push(event)
        return { kind: 'written', resourceVersion: String(this.#version) }
      },
      repeatEvent: async () => ({ kind: 'written', resourceVersion: String(this.#version) }),
    }
  }

  /** Kinds that `isInstalled` denies are not there. */
  objectSink(isInstalled: (kind: string) => boolean = () => true): ObjectSink {
    const written = (): StatusOutcome => ({ kind: 'written', resourceVersion: String(this.#version) })
    const staleOf = (target: ObjectVersionRef): StatusOutcome | undefined => {
      const kept = this.#objects.get(idOf(target))
      if (kept === undefined) return { kind: 'gone' }
      return kept.uid === target.uid && kept.resourceVersion === target.resourceVersion ? undefined : { kind: 'stale' }
    }
    return {
      list: async ({ kind, namespace }, labels = {}) => {
        if (!isInstalled(kind)) return { kind: 'absent' }
        const all = [...this.#objects.values()].filter(({ key }) => key.kind === kind && key.namespace === namespace)
        const has = (object: RawObject): boolean => {
          const its = recordOf(recordOf(object['metadata'])['labels'])
          return Object.entries(labels).every(([name, value]) => its[name] === value)
        }
        return { kind: 'listed', objects: all.map(({ object }) => object).filter(has) }
      },
      create: async (_resource, object) => {
        const key = keyOf(object)
        if (!isInstalled(key.kind)) return { kind: 'gone' }
        if (this.#objects.has(idOf(key))) return { kind: 'stale' }
        this.put(key, object)
        return { ...written(), uid: this.#objects.get(idOf(key))?.uid ?? '' }
      },
      change: async (target, { metadata, spec }) => {
        const stale = staleOf(target)
        if (stale !== undefined) return stale
        const before = this.objectOf(target) ?? {}
        const [old, now] = [recordOf(before['metadata']), recordOf(metadata)]
        const annotations = { ...recordOf(old['annotations']), ...recordOf(now['annotations']) }
        this.put(target, { ...before, metadata: { ...old, annotations }, spec })
        return written()
      },
      remove: async (target) => {
        const stale = staleOf(target)
        if (stale === undefined) this.remove(target)
        return stale ?? { kind: 'written', resourceVersion: '' }
      },
    }
  }

  #apply(write: StatusWrite, manager: string): StatusOutcome {
    const fault = this.fault?.(write)
    if (fault !== undefined) return fault
    const { target, status } = write
    const before = this.#objects.get(idOf(target))
    if (before === undefined) return { kind: 'gone' }
    if (before.uid !== target.uid || before.resourceVersion !== target.resourceVersion) return { kind: 'stale' }
    const [live, wanted] = [fieldsOf(before.object['status']), fieldsOf(status)]
    const othersOf = (field: string): readonly string[] =>
      [...(before.owners.get(field) ?? [])].filter((owner) => owner !== manager)
    const fields = [...wanted].flatMap(([field, value]) =>
      othersOf(field).length > 0 && !sameValue(live.get(field), value) ? [field] : [],
    )
    if (fields.length > 0)
      return { kind: 'owned', fields, message: `conflict with ${fields.flatMap(othersOf)[0]?.replace(/^\w+ /, '')}` }
    const owners = new Map<string, ReadonlySet<string>>()
    for (const field of new Set([...live.keys(), ...wanted.keys()])) {
      const others = othersOf(field)
      if (wanted.has(field)) owners.set(field, new Set([...others, manager]))
      else if (others.length > 0 || !before.owners.has(field)) owners.set(field, new Set(others))
    }
    const now = new Map([...live, ...wanted].filter(([field]) => owners.has(field)))
    this.written.push(write)
    this.#keep(before.key, before.uid, { ...before.object, status: statusOf(now) }, owners)
    return { kind: 'written', resourceVersion: String(this.#version) }
  }

  #keep(key: ObjectKey, uid: string, object: RawObject, owners: Kept['owners']): void {
    const resourceVersion = String(++this.#version)
    const before = this.#objects.get(idOf(key))
    const isSame = before?.uid === uid && sameValue(before.object['spec'], object['spec'])
    const generation = isSame ? before.generation : (before?.generation ?? 0) + 1
    const managedFields = managedFieldsOf(owners)
    const metadata = {
      ...recordOf(object['metadata']),
      ...{ uid, resourceVersion, generation },
      ...(managedFields.length === 0 ? {} : { managedFields }),
    }
    const kept = { key, uid, resourceVersion, generation, object: { ...object, metadata }, owners }
    this.#objects.set(idOf(key), kept)
    for (const follower of this.#followers) follower.push({ kind: 'upsert', kept })
  }
}

type Change = { readonly kind: 'upsert'; readonly kept: Kept } | { readonly kind: 'remove'; readonly key: ObjectKey }

/** One watch of everything: what happens waits until it is delivered. */
export class Follower implements ObjectSource {
  readonly #list: () => readonly Kept[]
  readonly #join: (follower: Follower) => void
  #events: SourceEvents | undefined
  #changes: Change[] = []
  #size = 0

  constructor(list: () => readonly Kept[], join: (follower: Follower) => void) {
    this.#list = list
    this.#join = join
  }

  get state(): SourceState {
    const isSynced = this.#events !== undefined
    const kind = { isSynced, problem: undefined }
    return { isReachable: true, objects: this.#size, hasHadObjects: isSynced, unconfirmed: 0, ofKind: () => kind }
  }

  async start(events: SourceEvents): Promise<void> {
    this.#events = events
    this.#join(this)
    for (const kept of this.#list()) this.#deliver({ kind: 'upsert', kept })
    events.synced()
    events.flush()
  }

  async stop(): Promise<void> {
    this.#events = undefined
  }

  rescan(): void {}

  push(change: Change): void {
    this.#changes.push(change)
  }

  /** Delivers at most so many changes, as one batch; answers whether there were any. */
  deliver(most = Number.POSITIVE_INFINITY): boolean {
    const batch = this.#changes.splice(0, Math.min(most, this.#changes.length))
    for (const change of batch) this.#deliver(change)
    if (batch.length > 0) this.#events?.flush()
    return batch.length > 0
  }

  #deliver(change: Change): void {
    if (change.kind === 'remove') return void this.#events?.remove(change.key)
    const { key, object, uid, resourceVersion, generation } = change.kept
    this.#size++
    this.#events?.upsert(key, object, undefined, { uid, resourceVersion, generation })
  }
}

/** The parts of a status that have owners: the list of addresses as a whole, each condition by itself, other fields. */
function fieldsOf(status: unknown): Map<string, unknown> {
  const fields = new Map<string, unknown>()
  for (const [name, value] of Object.entries(recordOf(status))) {
    if (name === 'conditions' && Array.isArray(value))
      for (const each of value) fields.set(`.status.conditions[type="${String(recordOf(each)['type'])}"]`, each)
    else if (name === 'loadBalancer') {
      const { ingress } = recordOf(value)
      if (ingress !== undefined) fields.set('.status.loadBalancer.ingress', ingress)
    } else fields.set(`.status.${name}`, value)
  }
  return fields
}

/** As the server writes it: by who wrote, the fields of the status. */
function managedFieldsOf(owners: Kept['owners']): readonly RawObject[] {
  const byOwner = new Map<string, string[]>()
  for (const [field, ofField] of owners)
    for (const owner of ofField) byOwner.set(owner, [...(byOwner.get(owner) ?? []), field])
  return [...byOwner].map(([owner, fields]) => {
    const conditions = fields.flatMap((field) => /^\.status\.conditions\[type="(.*)"\]$/.exec(field)?.[1] ?? [])
    const named = fields.flatMap((field) => /^\.status\.(\w+)$/.exec(field)?.[1] ?? [])
    const status = {
      ...Object.fromEntries(named.map((name) => [`f:${name}`, {}])),
      ...(fields.includes('.status.loadBalancer.ingress') ? { 'f:loadBalancer': { 'f:ingress': {} } } : {}),
      'f:conditions': Object.fromEntries(conditions.map((type) => [`k:${JSON.stringify({ type })}`, {}])),
    }
    const [operation, manager] = owner.split(' ')
    return { manager, operation, subresource: 'status', fieldsV1: { 'f:status': status } }
  })
}

function statusOf(fields: ReadonlyMap<string, unknown>): RawObject {
  const ingress = fields.get('.status.loadBalancer.ingress')
  const conditions = [...fields].filter(([field]) => field.startsWith('.status.conditions[')).map(([, each]) => each)
  const others = [...fields].filter(([field]) => /^\.status\.\w+$/.test(field))
  return {
    loadBalancer: ingress === undefined ? {} : { ingress },
    ...(conditions.length === 0 ? {} : { conditions }),
    ...Object.fromEntries(others.map(([field, value]) => [field.slice('.status.'.length), value])),
  }
}

function keyOf({ apiVersion, kind, metadata }: RawObject): ObjectKey {
  const { namespace, name } = recordOf(metadata)
  const text = (value: unknown): string => (typeof value === 'string' ? value : '')
  return { apiVersion: text(apiVersion), kind: text(kind), namespace: text(namespace), name: text(name) }
}

function idOf({ kind, namespace, name }: Pick<ObjectKey, 'kind' | 'namespace' | 'name'>): string {
  return `${kind}/${namespace}/${name}`
}
