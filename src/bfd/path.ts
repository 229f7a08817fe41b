/**
 * What is asked of the watch over a path and what it tells: the seam between who wants to know whether a peer is
 * reachable and the sessions of RFC 5880. Plain, so that it can be posted between threads.
 */
import type { BfdSettings } from '../desired/model.ts'
import type { BfdState } from './packet.ts'

/** Between two systems, addresses in canonical text. */
export interface BfdPath {
  readonly peer: string
  /** Where packets leave from; absent: the kernel chooses. */
  readonly source?: string
  /** The interface; needed for a link-local peer. */
  readonly device?: string
  /** RFC 5883: routers may be between; false: the peer is on the link (RFC 5881). */
  readonly isMultihop: boolean
  /** Where no profile says: packets with fewer hops left do not count (multihop only). */
  readonly minimumTtl: number
}

/** As it is asked for. `isMultihop` absent: whether it is, the routing table says. */
export type WantedPath = Omit<BfdPath, 'isMultihop'> & { readonly isMultihop?: boolean }

/** A session as it is. */
export interface BfdReport {
  readonly state: BfdState
  /** Why it is not Up: of RFC 5880 4.1. */
  readonly diagnostic: number
  readonly remoteState: BfdState
  readonly remoteDiagnostic: number
  /** Of the sessions of this node, so that they can be told apart. */
  readonly discriminator: number
  /** 0: nothing was heard. */
  readonly remoteDiscriminator: number
  readonly source?: string
  readonly isMultihop: boolean
  readonly transmitIntervalMs: number
  /** Absent while nothing is heard. */
  readonly detectionTimeMs?: number
  readonly remoteTransmitIntervalMs: number
  readonly remoteReceiveIntervalMs: number
  readonly remoteDetectMultiplier: number
  /** The other side's BFD outlives its control plane (C). */
  readonly isRemoteIndependent: boolean
  /** Its row in the shared counters; -1: none. */
  readonly row: number
  /** When it is told: so long ago the peer was heard the last time; absent: never, or a moment ago. */
  readonly silentMs?: number
  /** Why no packet leaves or arrives. */
  readonly problem?: string
}

/** A watch that was asked for. */
export interface PathWatch {
  /** Other timers, told to the other side without an end of the session. */
  configure(settings: BfdSettings): void
  /** Nobody wants to know any more: the other side is told so (AdminDown). `isLast`: the process ends. */
  close(isLast?: boolean): void
}

export type ToWatcher =
  | { readonly type: 'watch'; readonly id: number; readonly path: BfdPath; readonly settings: BfdSettings }
  | { readonly type: 'configure'; readonly id: number; readonly settings: BfdSettings }
  | { readonly type: 'close'; readonly id: number }
  | { readonly type: 'stop' }

export interface FromWatcher {
  readonly id: number
  readonly report: BfdReport
}

/** Of a session that is not there: nobody watches, which says nothing of the path. */
export function idleReport(problem: string): BfdReport {
  return {
    state: 'AdminDown',
    diagnostic: 0,
    remoteState: 'Down',
    remoteDiagnostic: 0,
    discriminator: 0,
    remoteDiscriminator: 0,
    isMultihop: false,
    transmitIntervalMs: 0,
    remoteTransmitIntervalMs: 0,
    remoteReceiveIntervalMs: 0,
    remoteDetectMultiplier: 0,
    isRemoteIndependent: false,
    row: -1,
    problem,
  }
}

/**
 * RFC 5882 3.2 and 4.2: what was reachable is not any more. Neither a session that was taken down on purpose, here or
 * there, nor one that never was Up says that.
 */
export function isPathLost(before: BfdReport | undefined, now: BfdReport): boolean {
  return before?.state === 'Up' && now.state === 'Down' && now.remoteState !== 'AdminDown'
}
