/** RFC 4271 6.8 with RFC 6286 2.3, and RFC 4724 4.2: which of two connections of one peer is kept. */
import type { FsmState } from './events.ts'

export type Direction = 'outgoing' | 'incoming'

export interface Speaker {
  /** BGP Identifier, unsigned. */
  readonly bgpId: number
  readonly asn: number
}

/** The other connection of the peer, when an OPEN has arrived on one. */
export interface Rival {
  readonly state: FsmState
  readonly direction: Direction
  /** RFC 4724 was negotiated on it. */
  readonly gracefulRestart: boolean
  /** How long it has been Established, seconds. */
  readonly establishedSec: number
}

/**
 * What becomes of the connection with the OPEN (the new one) and of its rival:
 * `alone` no rival; `dump` the rival gets Cease 6/7; `supersede` the rival is closed without a word; `yield` the new
 * one gets Cease 6/7.
 */
export type CollisionVerdict = 'alone' | 'dump' | 'supersede' | 'yield'

/** A connection that was opened in parallel may show up this late; before, it is no sign of a restarted peer. */
export const collisionWindowSec = 5

/** The connection that the side with the larger identifier opened; of equal identifiers, the larger AS decides. */
export function keptDirection(local: Speaker, remote: Speaker): Direction {
  const isLocalDominant = local.bgpId > remote.bgpId || (local.bgpId === remote.bgpId && local.asn > remote.asn)
  return isLocalDominant ? 'outgoing' : 'incoming'
}

export function judgeCollision(
  local: Speaker,
  remote: Speaker,
  direction: Direction,
  rival: Rival | undefined,
): CollisionVerdict {
  if (rival === undefined) return 'alone'
  switch (rival.state) {
    case 'Idle':
    case 'Connect':
    case 'Active':
      // Nothing was said on it yet: the dial is dropped.
      return 'supersede'
    case 'OpenSent':
    case 'OpenConfirm':
      return direction !== rival.direction && direction === keptDirection(local, remote) ? 'dump' : 'yield'
    case 'Established':
      // RFC 4724 4.2: the peer restarted and we have not noticed that its old connection is dead.
      return rival.gracefulRestart && direction === 'incoming' && rival.establishedSec >= collisionWindowSec
        ? 'supersede'
        : 'yield'
  }
}
