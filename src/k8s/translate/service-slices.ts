/** The EndpointSlices of each Service, as they come and go. Pure. */
import type { EndpointSlice } from '../kinds/endpoint-slice.ts'

const none: readonly EndpointSlice[] = []

export class ServiceSlices {
  readonly #byService = new Map<string, readonly EndpointSlice[]>()
  readonly #byId = new Map<string, EndpointSlice>()

  of(service: string): readonly EndpointSlice[] {
    return this.#byService.get(service) ?? none
  }

  [Symbol.iterator](): Iterator<readonly [string, readonly EndpointSlice[]]> {
    return this.#byService[Symbol.iterator]()
  }

  /** Replaces a slice; answers the Services that it was of, and is of. */
  set(id: string, slice: EndpointSlice | undefined): readonly string[] {
    const before = this.#byId.get(id)
    const touched: string[] = []
    if (before?.service !== undefined) {
      const left = this.of(before.service).filter((each) => each !== before)
      if (left.length === 0) this.#byService.delete(before.service)
      else this.#byService.set(before.service, left)
      this.#byId.delete(id)
      touched.push(before.service)
    }
    if (slice?.service === undefined) return touched
    this.#byId.set(id, slice)
    this.#byService.set(slice.service, [...this.of(slice.service), slice])
    return [...touched, slice.service]
  }
}
