/**
 * A recording: what came into the speaker and what went out because of it, as JSON lines.
 *
 *     {"herald":"recording","version":1,"at":...,"uptimeSec":...,"seed":...,"options":{...}}
 *     {"n":1,"in":"agent","at":0,"message":{...}}
 *     {"n":1,"out":"dial","connection":1,"to":"192.0.2.1","port":179}
 *     {"n":2,"in":"connected","at":3,"connection":1,...}
 *     {"n":2,"out":"write","connection":1,"bytes":"ffff..."}
 *
 * Lines that begin with `#` and empty ones are for people. `at` is ms since the recording began. Keys are never in it.
 */
import type { BfdReport, WantedPath } from '../../bfd/path.ts'
import type { BfdSettings } from '../../desired/model.ts'
import type { FromSpeaker, SpeakerOptions, ToSpeaker } from '../protocol.ts'

export const recordingVersion = 1

export interface RecordingHead {
  readonly herald: 'recording'
  readonly version: number
  /** ms since the epoch */
  readonly at: number
  readonly uptimeSec: number
  /** Of the jitter. */
  readonly seed: number
  readonly options: SpeakerOptions
}

/** What came in. A timer and a `soon` are named by the order in which they were made. */
export type InputEvent =
  | { readonly in: 'agent'; readonly message: ToSpeaker }
  /** `listener`: by the order of `listen`; absent: the first. */
  | { readonly in: 'listening'; readonly port: number; readonly listener?: number }
  | { readonly in: 'notListening'; readonly problem: string; readonly listener?: number }
  | { readonly in: 'refused'; readonly address: string }
  | { readonly in: 'problem'; readonly problem: string }
  /** The peer with this address opened a connection. */
  | { readonly in: 'accepted'; readonly connection: number; readonly from: string; readonly endpoint: Endpoint }
  | { readonly in: 'connected'; readonly connection: number; readonly endpoint: Endpoint }
  | { readonly in: 'data'; readonly connection: number; readonly bytes: string }
  | { readonly in: 'drained'; readonly connection: number }
  | { readonly in: 'failed'; readonly connection: number; readonly reason: string }
  | { readonly in: 'closed'; readonly connection: number }
  | { readonly in: 'path'; readonly watch: number; readonly report: BfdReport }
  | { readonly in: 'router'; readonly discovery: number; readonly address: string }
  | { readonly in: 'timer'; readonly timer: number }
  | { readonly in: 'soon'; readonly soon: number }

/** Addresses and ports of a connection that is up. */
export interface Endpoint {
  readonly localAddress: string
  readonly localPort: number
  readonly remotePort: number
}

export interface RecordedAddress {
  readonly device: string
  readonly address: string
  readonly isGlobal: boolean
}

/** What went out. */
export type OutputEvent =
  | { readonly out: 'listen'; readonly host: string; readonly port: number }
  | { readonly out: 'dial'; readonly connection: number; readonly to: string; readonly port: number }
  | { readonly out: 'write'; readonly connection: number; readonly bytes: string }
  | { readonly out: 'close'; readonly connection: number }
  | { readonly out: 'destroy'; readonly connection: number }
  | { readonly out: 'discover'; readonly discovery: number; readonly device: string }
  | { readonly out: 'endDiscovery'; readonly discovery: number }
  | { readonly out: 'watch'; readonly watch: number; readonly path: WantedPath; readonly settings: BfdSettings }
  | { readonly out: 'configureWatch'; readonly watch: number; readonly settings: BfdSettings }
  | { readonly out: 'endWatch'; readonly watch: number }
  | { readonly out: 'arm'; readonly timer: number; readonly sec: number }
  | { readonly out: 'tell'; readonly message: FromSpeaker }

/** What the speaker looked at while it worked, where the answer was not the usual one. */
export type ReadEvent =
  /** A `write` answered false. */
  | { readonly read: 'full'; readonly connection: number }
  | { readonly read: 'backlog'; readonly connection: number; readonly octets: number; readonly mark: string }
  /** A turn of work took longer than its limit. */
  | { readonly read: 'late' }
  /** The addresses of the machine. */
  | { readonly read: 'addresses'; readonly addresses: readonly RecordedAddress[] }
  /** `dial` or `prepare` failed. */
  | { readonly read: 'refusal'; readonly reason: string }

export type RecordedEvent = { readonly n: number } & ((InputEvent & { readonly at: number }) | OutputEvent | ReadEvent)

/** What an output of the speaker is in a recording; questions of the API are none of its business. */
export function isRecorded(message: ToSpeaker | FromSpeaker): boolean {
  return message.type !== 'query' && message.type !== 'answer'
}

/** A key that is set stays a key that is set; its text does not leave the process. */
export function withoutKeys(message: ToSpeaker): ToSpeaker {
  if (message.type !== 'configure') return message
  return {
    ...message,
    neighbors: message.neighbors.map((neighbor) =>
      neighbor.password === undefined ? neighbor : { ...neighbor, password: '(not recorded)' },
    ),
  }
}
