/**
 * Address, port, protocol and node of each backend, as they were written: whether somebody else wrote over them. Beside
 * each other in one memory, since there may be hundreds of thousands. Pure.
 */
import { offsets, sizes } from '../layout.ts'

/** In the order of addresses, then of ports. */
const placeBytes = offsets.backend.generation
const firstPlaces = 256

export class Places {
  readonly #map: () => DataView
  #written = new Uint8Array(firstPlaces * placeBytes)

  /** `map`: that of backends, as far as it is reached. */
  constructor(map: () => DataView) {
    this.#map = map
  }

  /** What the map holds now is what was written. */
  keep(id: number): void {
    const end = (id + 1) * placeBytes
    if (end > this.#written.length) {
      const larger = new Uint8Array(Math.max(end, 2 * this.#written.length))
      larger.set(this.#written)
      this.#written = larger
    }
    const [map, from] = [this.#map(), id * sizes.backend]
    for (let at = 0; at < placeBytes; at++) this.#written[id * placeBytes + at] = map.getUint8(from + at)
  }

  isAsWritten(id: number): boolean {
    const [map, from, written] = [this.#map(), id * sizes.backend, id * placeBytes]
    for (let at = 0; at < placeBytes; at++) if (map.getUint8(from + at) !== this.#written[written + at]) return false
    return true
  }

  /** Of two ids, by what the map holds. */
  compare(a: number, b: number): number {
    const [map, first, second] = [this.#map(), a * sizes.backend, b * sizes.backend]
    for (let at = 0; at < placeBytes; at++) {
      const difference = map.getUint8(first + at) - map.getUint8(second + at)
      if (difference !== 0) return difference
    }
    return 0
  }
}
