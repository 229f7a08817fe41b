/**
 * The agent's end of a speaker that is not there: keeps what is posted as a speaker would, and tells of peers what it
 * is given to tell. For tests and simulations of the agent's loop.
 */
import type { Neighbor } from '../desired/model.ts'
import type { PeerSnapshot, PrefixRoutes, ToSpeaker } from './protocol.ts'
import type { SpeakerThread } from './speaker-thread.ts'

type PeerListener = Parameters<SpeakerThread['onPeer']>[0]

export class InMemorySpeakerThread implements Pick<SpeakerThread, 'post' | 'onPeer'> {
  /** Everything that was posted, in its order. */
  readonly posted: ToSpeaker[] = []
  /** What is to be announced, by prefix. */
  readonly announced = new Map<string, PrefixRoutes>()
  neighbors: readonly Neighbor[] = []
  /** End-of-RIB may go out. */
  isSynced = false
  readonly #listeners: PeerListener[] = []

  post(message: ToSpeaker): void {
    this.posted.push(message)
    if (message.type === 'configure') this.neighbors = message.neighbors
    if (message.type === 'syncing') this.isSynced = false
    if (message.type === 'synced') this.isSynced = true
    if (message.type !== 'routes') return
    for (const entry of message.prefixes) {
      if (entry.routes.length === 0) this.announced.delete(entry.prefix)
      else this.announced.set(entry.prefix, entry)
    }
  }

  onPeer(listener: PeerListener): void {
    this.#listeners.push(listener)
  }

  /** A session of a peer left a state. */
  tell(peer: PeerSnapshot, previous: PeerSnapshot['state']): void {
    for (const listener of this.#listeners) listener(peer, previous)
  }
}
