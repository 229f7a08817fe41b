/**
 * What the agent's thread and the speaker's thread say to each other: plain, serialisable messages only.
 *
 *     agent --configure/routes/syncing/synced/stop/query/command--> speaker (worker thread)
 *     agent <--peer/answer/sent/stopped------------ speaker
 *
 * Messages are handled in the order of their arrival. `configure` and `routes` are idempotent.
 */
import type { BfdCounts } from '../bfd/counters.ts'
import type { BfdReport } from '../bfd/path.ts'
import type { CodecContext } from '../bgp/messages/types.ts'
import type { FsmState } from '../bgp/fsm/events.ts'
import type { AddressFamilyName, BfdSettings, Neighbor, RouteAttributes } from '../desired/model.ts'
import type { Family } from '../ip/address.ts'
import type { ImportFacts } from '../policy/import.ts'

/** Started once per process, as the worker's workerData. */
export interface SpeakerOptions {
  /** `host:port`, or undefined: open no listener. */
  readonly listen?: { readonly host: string; readonly port: number }
  /** True when an earlier process of this node left sessions behind (RFC 4724 R bit). */
  readonly isRestart: boolean
  /** True when forwarding survived the restart (pins adopted, or --datapath none): RFC 4724 F bit. */
  readonly isForwardingPreserved: boolean
  /** A file for every input and output; see ../recording/format.ts. */
  readonly record?: string
}

/** What both threads see; the worker gets it beside its options. */
export interface SharedMemory {
  /** Which prefixes are at any peer (presence.ts). */
  readonly presence?: SharedArrayBuffer
  /** Numbers of peers (figures.ts). */
  readonly figures?: SharedArrayBuffer
  /** Numbers of BFD sessions (../bfd/counters.ts). */
  readonly bfd?: SharedArrayBuffer
}

/** All routes of one prefix; replaces what was said before. No entries: withdraw. */
export interface PrefixRoutes {
  readonly prefix: string
  /** Its place in the memory that tells whether any peer has it (presence.ts). */
  readonly mark?: number
  readonly routes: readonly { readonly neighbors: readonly string[]; readonly attributes: RouteAttributes }[]
}

export type ToSpeaker =
  /**
   * `isDraining`: every route goes out again with GRACEFUL_SHUTDOWN (RFC 8326) and is withdrawn a little later;
   * sessions stay.
   */
  | { readonly type: 'configure'; readonly neighbors: readonly Neighbor[]; readonly isDraining?: boolean }
  | { readonly type: 'routes'; readonly prefixes: readonly PrefixRoutes[] }
  /**
   * More follows than one message holds, routes of new neighbors for instance: a session that begins from now on has
   * its End-of-RIB behind the next `synced`, or after a minute. So it is before the first `synced`, without an end.
   */
  | { readonly type: 'syncing' }
  /** Every desired route was sent in `routes`: End-of-RIB may go out. */
  | { readonly type: 'synced' }
  /** restart: no Cease where graceful restart was negotiated. shutdown: Cease/Administrative Shutdown 6/2. */
  | { readonly type: 'stop'; readonly mode: 'restart' | 'shutdown'; readonly text: string }
  | { readonly type: 'query'; readonly id: number; readonly query: SpeakerQuery }
  | { readonly type: 'command'; readonly id: number; readonly command: SpeakerCommand }

/**
 * What an operator has done at once. `peer`: an id, an address, or `*` for all. `reset` ends the session and dials
 * anew; `soft: 'out'` has our routes sent again, `soft: 'in'` and `refresh` have the peer send its own (RFC 2918).
 */
export type SpeakerCommand =
  | { readonly what: 'reset'; readonly peer: string; readonly soft?: 'in' | 'out' }
  | { readonly what: 'refresh'; readonly peer: string }

/** What came of a command. `applied`: ids of peers. `refused`: ids, or the name that no peer has, with the reason. */
export interface CommandAnswer {
  readonly applied: readonly string[]
  readonly refused: readonly { readonly peer: string; readonly reason: string }[]
}

/** Answered in pieces: `from` is the `next` of the answer before. */
export type SpeakerQuery =
  | { readonly what: 'peers'; readonly from?: number }
  | (RoutesQuery & { readonly from?: number; readonly limit?: number })
  /** Who was sent a prefix, and how. */
  | { readonly what: 'route'; readonly prefix: string; readonly from?: number }
  /** Every path to a prefix: our own and what was received. */
  | { readonly what: 'paths'; readonly prefix: string; readonly from?: number }

export interface RoutesQuery {
  readonly what: 'routes'
  readonly table: 'available' | 'advertised' | 'received'
  readonly family: AddressFamilyName
  /** An id or an address; absent: every peer. */
  readonly peer?: string
}

export interface QueryAnswer {
  readonly peers?: readonly PeerSnapshot[]
  readonly routes?: readonly RouteSnapshot[]
  /** Routes of the table `received`, in place of `routes`. */
  readonly packed?: PackedPaths
  /** There is more: the question again, with this number as `from`. */
  readonly next?: number
  /** `from` is not known any more: others have asked a lot meanwhile. */
  readonly isExpired?: true
  /** `peer` names no neighbor: an empty table would say that it has no routes. */
  readonly isStranger?: true
}

/** Received paths as they lie in the columns (../rib/path-octets.ts). */
export interface PackedPaths {
  readonly family: Family
  /** Of all runs, one after the other. */
  readonly octets: Uint8Array
  readonly runs: readonly {
    readonly peer: Pick<Neighbor, 'id' | 'virtualRouter'>
    /** By which its paths are judged; undefined: it had no session yet. */
    readonly facts: ImportFacts | undefined
    readonly contexts: readonly CodecContext[]
    readonly count: number
  }[]
}

export interface FamilyCounters {
  readonly family: AddressFamilyName
  readonly received: number
  readonly advertised: number
  /** Why the family is not announced, or what is odd about its next hop; absent when all is well. */
  readonly problem?: string
  /** It is announced all the same. */
  readonly isAnnounced?: true
}

/** Why the session left its state; `text` is for people, `code`/`subcode` are of the NOTIFICATION (RFC 4271 4.5). */
export interface ResetReason {
  readonly at: string
  readonly direction: 'sent' | 'received' | 'local'
  readonly code?: number
  readonly subcode?: number
  readonly text: string
}

/** A change of state of a session, and why. The same one again and again is kept once: `times`, `at` is the last. */
export interface SessionTransition {
  /** ISO 8601 */
  readonly at: string
  readonly from: FsmState
  readonly to: FsmState
  readonly reason: string
  readonly times: number
}

/** UPDATEs of a peer that did not count as sent and cost no session, since it was configured. */
export interface UpdateErrors {
  /** Their routes count as withdrawn (RFC 7606 2). */
  readonly treatedAsWithdraw: number
  /** Without an attribute that was wrong (RFC 7606 2). */
  readonly attributeDiscarded: number
  /** With our own AS in the path, which is no error: their routes count as withdrawn too (RFC 4271 9.1.2). */
  readonly ownAsInPath: number
  /** The last error. */
  readonly last?: { readonly at: string; readonly text: string }
}

/** The BFD session of a peer as it is now. */
export interface BfdSnapshot {
  readonly settings: BfdSettings
  /** ISO 8601 of the last change of state. */
  readonly since: string
  readonly report: BfdReport
  /** Of the session since it is there. */
  readonly counts: BfdCounts
}

/** One peer as it is now. Times are ISO 8601, durations seconds. */
export interface PeerSnapshot {
  readonly id: string
  readonly virtualRouter: string
  readonly localAsn: number
  readonly peerAsn: number
  readonly peerAddress: string
  readonly peerPort: number
  readonly localAddress?: string
  readonly state: FsmState
  /** ISO 8601 of the last change of state. */
  readonly since: string
  readonly routerId: string
  readonly peerRouterId?: string
  readonly holdTimeSec?: number
  readonly keepaliveSec?: number
  readonly capabilities: readonly string[]
  readonly gracefulRestart: boolean
  readonly families: readonly FamilyCounters[]
  readonly messagesIn: number
  readonly messagesOut: number
  /** Of the messages those that are UPDATEs. */
  readonly updatesIn: number
  readonly updatesOut: number
  readonly flaps: number
  readonly lastReset?: ResetReason
  /**
   * What was configured and comes into force with the next session, as `hold time 90 s -> 30 s`: only an OPEN can
   * carry it. Absent when nothing waits.
   */
  readonly pending?: readonly string[]
  /** How long idle hold still lasts; absent when the session is not in it. */
  readonly idleHoldSec?: number
  /** Absent when there were none. */
  readonly updateErrors?: UpdateErrors
  /** ROUTE-REFRESH messages of families or of a kind that the session does not have (RFC 2918 4); absent: none. */
  readonly refreshesIgnored?: number
  /** The last 20, oldest first. */
  readonly transitions: readonly SessionTransition[]
  /** Why the session is not Established; undefined when it is. */
  readonly reason?: string
  /** Absent where the path is not watched. */
  readonly bfdSession?: BfdSnapshot
}

export interface RouteSnapshot {
  /** Peer id for `advertised` and `received`; undefined for `available`. */
  readonly peer?: string
  readonly virtualRouter: string
  readonly prefix: string
  readonly nextHop: string
  /** ISO 8601 of the send or the arrival. */
  readonly since: string
  readonly origin: 'IGP' | 'EGP' | 'INCOMPLETE'
  readonly asPath: string
  readonly med?: number
  readonly localPreference?: number
  readonly communities: readonly string[]
  readonly largeCommunities: readonly string[]
  /** 16 hexadecimal digits each. */
  readonly extendedCommunities: readonly string[]
  readonly pathId?: number
  /** Kept for a peer that restarts (RFC 4724 4.2). */
  readonly stale?: boolean
  readonly best?: boolean
  /** The step of the decision process that decided, or why the path is not used. */
  readonly decision?: string
}

/** `keys`: of neighbors, on the listener. */
export type SpeakerConcern = 'listener' | 'keys' | 'recording'

export type FromSpeaker =
  | { readonly type: 'ready'; readonly listening: boolean; readonly problem?: string }
  /** Any change of state of any peer, once. */
  | { readonly type: 'peer'; readonly peer: PeerSnapshot; readonly previous: FsmState }
  /** What is not as it should be about one thing, all of it: replaces what was said before. */
  | { readonly type: 'problems'; readonly about: SpeakerConcern; readonly texts: readonly string[] }
  /** A protocol event worth a log line (a tolerated UPDATE error, a refused connection). */
  | {
      readonly type: 'log'
      readonly level: 'info' | 'warn' | 'error'
      readonly peer?: string
      readonly message: string
    }
  | ({ readonly type: 'answer'; readonly id: number; readonly command?: CommandAnswer } & QueryAnswer)
  | { readonly type: 'stopped' }
