/** What the main thread and the thread that reads flow events tell each other. */
import type { FlowQuery } from '../api/flow-types.ts'

export interface ReaderOptions {
  /** Where the maps are pinned. */
  readonly mapsFolder: string
  /** Those of the socket programs; undefined: there are none. */
  readonly socketMapsFolder?: string | undefined
  readonly nodeName: string
}

/** Which names belong to a frontend, and to the backend of a flow of it. */
export interface NameQuestion {
  /** `203.0.113.1:80/TCP` */
  readonly frontend: string
  /** An address; empty where there is none. */
  readonly backend: string
}

export interface Names {
  /** `namespace/name` */
  readonly service?: string
  /** `namespace/name` */
  readonly pod?: string
}

export type ToReader =
  /** `askedMs`: when it asked, which may be a while ago where the thread had to start first. */
  | { readonly type: 'observe'; readonly id: number; readonly query: FlowQuery; readonly askedMs: number }
  /** The chunk before was taken: there may be another one. */
  | { readonly type: 'taken'; readonly id: number }
  | { readonly type: 'leave'; readonly id: number }
  /** In the order of the questions. */
  | { readonly type: 'names'; readonly names: readonly Names[] }
  | { readonly type: 'stop' }

export type FromReader =
  | { readonly type: 'chunk'; readonly id: number; readonly text: string }
  | { readonly type: 'end'; readonly id: number }
  | { readonly type: 'ask'; readonly questions: readonly NameQuestion[] }
