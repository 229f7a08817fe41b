/** The node's network interfaces, as the agent needs them; in memory for tests and simulations. */
import type { Link, LinksSeen, Reach } from '../sys/links.ts'

export interface Links {
  /** Throws HeraldError when the kernel does not answer. */
  look(neighbors: readonly Reach[]): LinksSeen
  /** Calls `changed` after any change of links, addresses and routes; the answer ends it. */
  watch(changed: () => void): () => void
}

/** Interfaces of which every one is an uplink unless told otherwise. */
export class MemoryLinks implements Links {
  #seen: LinksSeen = { links: [], uplinks: [], others: [], strict: [] }
  readonly #watchers = new Set<() => void>()
  /** How often somebody looked. */
  looks = 0

  look(): LinksSeen {
    this.looks++
    return this.#seen
  }

  watch(changed: () => void): () => void {
    this.#watchers.add(changed)
    return () => this.#watchers.delete(changed)
  }

  /** Replaces what there is, and tells whoever watches. */
  set(links: readonly Link[], uplinks: readonly Link[] = links, strict: readonly string[] = []): void {
    this.#seen = { links, uplinks, others: [], strict }
    for (const changed of this.#watchers) changed()
  }
}
