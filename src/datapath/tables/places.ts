/**
 * Address, port, protocol and node of each backend, as they were written: whether somebody else wrote over them. Beside
 * each other in one memory, since there may be hundreds of thousands. Pure.
 */
import { offsets, sizes } from '../layout.ts'

/** In the order of addresses, then of ports. */
const placeBytes = offsets.backend.generation
const firstPlaces = 256

export class Places {
  readonly #map: Uint8Array
  #written = new Uint8Array(firstPlaces * placeBytes)

  /** Of the map of backends. */
  constructor(memory: DataView) {
    this.#map = new Uint8Array(memory.buffer, memory.byteOffset, memory.byteLength)
  }

  /** What the map holds now is what was written. */
  keep(id: number): void {
    const end = (id + 1) * placeBytes
    if (end > this.#written.length) {
      const larger = new Uint8Array(Math.max(end, 2 * this.#written.length))
      larger.set(this.#written)
      this.#written = larger
    }
    const from = id * sizes.backend
    for (let at = 0; at < placeBytes; at++) this.#written[id * placeBytes + at] = this.#map[from + at] ?? 0
  }

  isAsWritten(id: number): boolean {
    const [map, written] = [id * sizes.backend, id * placeBytes]
    for (let at = 0; at < placeBytes; at++) if (this.#map[map + at] !== this.#written[written + at]) return false
    return true
  }

  /** Of two ids, by what the map holds. */
  compare(a: number, b: number): number {
    const [first, second] = [a * sizes.backend, b * sizes.backend]
    for (let at = 0; at < placeBytes; at++) {
      const difference = (this.#map[first + at] ?? 0) - (this.#map[second + at] ?? 0)
      if (difference !== 0) return difference
    }
    return 0
  }
}
