/** How long sessions are up, by a clock that nobody sets: a node boots with a wrong time and is told the right one. */
import type { Clock } from '../clock/clock.ts'
import type { PeerSnapshot } from '../speaker/protocol.ts'

interface Peers {
  onPeer(listener: (peer: Pick<PeerSnapshot, 'id' | 'state'>) => void): void
}

export class SessionAges {
  readonly #clock: Pick<Clock, 'monotonic'>
  /** By the id of the neighbor. */
  readonly #upSinceMs = new Map<string, number>()

  constructor(speaker: Peers, clock: Pick<Clock, 'monotonic'>) {
    this.#clock = clock
    speaker.onPeer(({ id, state }) => {
      if (state === 'Established') this.#upSinceMs.set(id, clock.monotonic())
      else this.#upSinceMs.delete(id)
    })
  }

  /** Whole seconds; undefined: it is not known to be up, or its end is not heard of yet. */
  secondsOf(id: string): number | undefined {
    const since = this.#upSinceMs.get(id)
    return since === undefined ? undefined : Math.round((this.#clock.monotonic() - since) / 1000)
  }
}
