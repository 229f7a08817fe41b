/**
 * Where Kubernetes objects come from: a folder of manifests (directory.ts) or an API server. Sources deliver raw
 * objects; kinds/ narrows them, translate/ makes desired state of them.
 */
import type { Problem } from '../desired/model.ts'

/** A Kubernetes object as parsed, nothing trusted yet. */
export type RawObject = Readonly<Record<string, unknown>>

export interface Position {
  readonly line: number
  readonly column: number
}

/** Where an object was written, and where its fields are: `locate(['spec', 'virtualRouters', 0])`. */
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

export interface SourceEvents {
  upsert(key: ObjectKey, object: RawObject, origin: Origin | undefined): void
  remove(key: ObjectKey): void
  /** Problems of whole files (broken YAML, unreadable); replaces the list of the call before. */
  problems(list: readonly Problem[]): void
  /** A batch of changes is complete: translate and apply. */
  flush(): void
  /** Every kind was delivered once. */
  synced(): void
}

export interface ObjectSource {
  start(events: SourceEvents): Promise<void>
  stop(): Promise<void>
}
