/**
 * Readings of plain counters as growth. A reading starts again at zero with a new connection or a new map entry, and
 * vanishes with its owner; a Prometheus counter must do neither, or rate() shows traffic that never was.
 */
export class Growth {
  #last = new Map<string, number>()
  #seen = new Map<string, number>()

  /** What `id` grew by since it was read before. */
  of(id: string, reading: number): number {
    const last = this.#last.get(id) ?? 0
    this.#seen.set(id, reading)
    return reading < last ? reading : reading - last
  }

  /** Ends a round that was cut short: what was not read counts as read before. */
  cut(): void {
    for (const [id, reading] of this.#seen) this.#last.set(id, reading)
    this.#seen = new Map()
  }

  /** Ends a round of readings: what was not read in it is forgotten. */
  next(): void {
    this.#last = this.#seen
    this.#seen = new Map()
  }
}
