/**
 * Where Kubernetes objects come from: a folder of manifests (directory.ts) or an API server. Sources deliver raw
 * objects; kinds/ narrows them, translate/ makes desired state of them.
 *
 *     start -> relistBegins, upsert ..., relistEnds, flush, synced          everything, once
 *           -> upsert, remove ..., flush                                    what changes, and nothing else
 *           -> relistBegins, upsert and remove ..., relistEnds, flush       after a gap: the difference
 */
import type { Problem } from '../desired/model.ts'

/** A Kubernetes object as parsed, nothing trusted yet. */
export type RawObject = Readonly<Record<string, unknown>>

/** By which fields that an operator of ours writes are known on a server: who reads them goes by that. */
export const operatorManager = 'herald-operator'

export function isRecord(value: unknown): value is RawObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Empty where it is none. */
export function recordOf(value: unknown): RawObject {
  return isRecord(value) ? value : {}
}

/** Empty where it is none. */
export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

export interface Position {
  readonly line: number
  readonly column: number
}

/** Where an object is written, and where its fields are: `locate(['spec', 'virtualRouters', 0])`. Follows its moves. */
export interface Origin {
  readonly file: string
  readonly line: number
  locate(path: readonly (string | number)[]): Position
}

export interface ObjectKey {
  readonly apiVersion: string
  readonly kind: string
  readonly namespace: string
  readonly name: string
}

/** What an API server says of a version; a manifest seldom has it. Another uid is another object. */
export interface ObjectVersion {
  readonly uid?: string
  readonly resourceVersion?: string
  readonly generation?: number
}

export interface SourceEvents {
  /** A new object, or a new version of one; an equal version is not delivered again. */
  upsert(key: ObjectKey, object: RawObject, origin: Origin | undefined, version: ObjectVersion): void
  /** Gone for certain: a source confirms it before it says so. */
  remove(key: ObjectKey): void
  /** Problems of whole files (broken YAML, unreadable); replaces the list of the call before. */
  problems(list: readonly Problem[]): void
  /** A batch of changes is complete: translate and apply. */
  flush(): void
  /** These kinds are read anew (undefined: all of them); the difference follows, in as many turns as it takes. */
  relistBegins?(kinds: readonly string[] | undefined): void
  relistEnds?(kinds: readonly string[] | undefined): void
  /** Every kind was delivered once. */
  synced(): void
  /**
   * The Secrets that are needed, as `namespace/name`; no others are read from an API server. Asked before
   * {@link synced}, when all other kinds were delivered, and after each {@link flush}.
   */
  secrets?(): ReadonlySet<string>
  /** For the log: what an operator should know and nothing is wrong with. */
  note?(message: string): void
}

export interface KindState {
  /** Delivered once, or known to be absent (a custom resource that is not installed). */
  readonly isSynced: boolean
  /** Why it cannot be read now; what was delivered stays in force. */
  readonly problem: string | undefined
}

export interface SourceState {
  /** The folder is there and can be listed; the API server answers. False: what was delivered stays in force. */
  readonly isReachable: boolean
  /** Objects in force. None after a restart means that nothing may be removed on the strength of it. */
  readonly objects: number
  /** At least one object was delivered since {@link ObjectSource.start}. */
  readonly hasHadObjects: boolean
  /** Objects that are missing, or lost a part, and stay in force until that is confirmed. */
  readonly unconfirmed: number
  ofKind(kind: string): KindState
}

export interface ObjectSource {
  readonly state: SourceState
  /** Resolves when everything was delivered once, or as soon as it is known that this has to wait. */
  start(events: SourceEvents): Promise<void>
  stop(): Promise<void>
  /** Reads everything again now (SIGHUP); the difference is delivered. */
  rescan(): void
}

/** Longer than any name that the API server takes. */
const mostOfWord = 320
const mostOfText = 1_000
const end = 200
const longWord = new RegExp(`\\S{${mostOfWord + 1},}`, 'g')

/** As long as a person reads: of what was written into a name there may be a million characters. */
export function shortened(text: string): string {
  const words =
    text.length <= mostOfWord ? text : text.replace(longWord, (word) => `${word.slice(0, mostOfWord - 3)}...`)
  if (words.length <= mostOfText) return words
  return `${words.slice(0, mostOfText - end - 5)} ... ${words.slice(-end)}`.toWellFormed()
}
