/**
 * Where what we have to say about objects goes: a part of their status, and events. Only fields of our own are applied
 * (server-side apply), each with the version of the object that was read, and nobody's field is ever taken by force.
 *
 *     StatusWrite --sink.apply--> written | stale: read again | owned: somebody else's field | ...
 *
 * On an API server (apiserver/status-writer.ts), or in memory (memory-cluster.ts).
 */
import { operatorManager, type RawObject, recordOf, textOf } from './source.ts'

/** By which our fields are known on the server. */
export const fieldManager = operatorManager
/** The same for what an agent says of its node. */
export const nodeFieldManager = 'herald-agent'

/** As metav1.Condition has it. */
export interface StatusCondition {
  readonly type: string
  readonly status: 'True' | 'False' | 'Unknown'
  readonly reason: string
  readonly message: string
  readonly lastTransitionTime: string
  /** The generation of the object that it is about. */
  readonly observedGeneration?: number
}

/** What is to be said of an object, before it is known what is said already. */
export type SaidCondition = Omit<StatusCondition, 'lastTransitionTime' | 'observedGeneration'>

/** An object in the version that was read. */
export interface ObjectVersionRef {
  readonly apiVersion: string
  readonly kind: string
  /** Its kind in paths of the API. */
  readonly resource: string
  readonly namespace: string
  readonly name: string
  readonly uid: string
  readonly resourceVersion: string
}

export interface StatusWrite {
  readonly target: ObjectVersionRef
  /** All that we say of the object: what is not in it any more, and is nobody else's, goes. */
  readonly status: RawObject
}

/** events.k8s.io/v1, as far as it is ours to say. */
export interface ObjectEvent {
  readonly regarding: ObjectVersionRef
  readonly type: 'Normal' | 'Warning'
  readonly reason: string
  readonly action: string
  readonly note: string
  /** RFC 3339 with microseconds. */
  readonly eventTime: string
  /** Unique in its namespace. */
  readonly name: string
}

export interface EventSeries {
  readonly count: number
  readonly lastObservedTime: string
}

/**
 * `stale`: the object is another version by now, which follows. `gone`: there is no such object. `owned`: `fields`
 * belong to others with other values. `undeclared`: the kind has no such field on this server. `limited`: the server
 * wants us to wait. `refused`: it will say the same again. `failed`: no answer; it is not known whether it was done.
 */
export type StatusOutcome =
  | { readonly kind: 'written'; readonly resourceVersion: string; readonly uid?: string }
  | { readonly kind: 'stale' | 'gone' }
  | { readonly kind: 'owned'; readonly fields: readonly string[]; readonly message: string }
  | { readonly kind: 'limited'; readonly afterMs: number }
  | { readonly kind: 'refused' | 'failed' | 'undeclared'; readonly message: string }

/** Nothing rejects. */
export interface StatusSink {
  apply(write: StatusWrite): Promise<StatusOutcome>
  createEvent(event: ObjectEvent): Promise<StatusOutcome>
  /** The same event once more. */
  repeatEvent(namespace: string, name: string, series: EventSeries): Promise<StatusOutcome>
}

/** A kind within a namespace. */
export type KindRef = Omit<ObjectVersionRef, 'name' | 'uid' | 'resourceVersion'>

/** `absent`: the server has no such kind. */
export type Listed =
  | { readonly kind: 'listed'; readonly objects: readonly RawObject[] }
  | { readonly kind: 'absent' }
  | { readonly kind: 'failed'; readonly message: string }

/** Whole objects of ours: made, changed and taken away, in the version that was read. Nothing rejects. */
export interface ObjectSink {
  /** What there is now with these labels, of whomever. */
  list(kind: KindRef, labels?: Readonly<Record<string, string>>): Promise<Listed>
  /** `gone`: there is no such kind. `stale`: there is one of this name. */
  create(resource: string, object: RawObject): Promise<StatusOutcome>
  /** Its spec becomes that of `object`, and so do the annotations that `object` has; its labels stay. */
  change(target: ObjectVersionRef, object: RawObject): Promise<StatusOutcome>
  /** `resourceVersion` of the answer is empty. */
  remove(target: ObjectVersionRef): Promise<StatusOutcome>
}

/** The conditions of a status that are such. */
export function conditionsOf(status: unknown): readonly StatusCondition[] {
  const { conditions } = recordOf(status)
  return (Array.isArray(conditions) ? conditions : []).map(recordOf).flatMap((each): StatusCondition[] => {
    const [type, word] = [textOf(each['type']), textOf(each['status'])]
    const { observedGeneration: generation } = each
    if (type === '') return []
    return [
      {
        type,
        status: word === 'True' || word === 'False' ? word : 'Unknown',
        reason: textOf(each['reason']),
        message: textOf(each['message']),
        lastTransitionTime: textOf(each['lastTransitionTime']),
        ...(typeof generation === 'number' ? { observedGeneration: generation } : {}),
      },
    ]
  })
}

const maxMessage = 1024

/** The condition that was there where it says the same; with its time where only the words are others. */
export function conditionFrom(
  before: readonly StatusCondition[],
  said: SaidCondition,
  now: string,
  generation?: number,
): StatusCondition {
  const text = said.message.toWellFormed()
  const message = text.length > maxMessage ? `${text.slice(0, maxMessage - 3).toWellFormed()}...` : text
  const known = before.find(({ type }) => type === said.type)
  const lastTransitionTime = known?.status === said.status && known.lastTransitionTime ? known.lastTransitionTime : now
  return {
    ...said,
    message,
    lastTransitionTime,
    ...(generation === undefined ? {} : { observedGeneration: generation }),
  }
}
