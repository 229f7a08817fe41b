/** The EndpointSlices of each Service, as they come and go. Pure. */
import { type Address, formatAddress, parseAddress } from '../../ip/address.ts'
import { endpointsOf, type EndpointSlice, hasAddress, podAt, type SlicePort } from '../kinds/endpoint-slice.ts'

const none: readonly EndpointSlice[] = []

export class ServiceSlices {
  readonly #claimantsOf: (address: string) => Iterable<string>
  readonly #byService = new Map<string, readonly EndpointSlice[]>()
  readonly #byId = new Map<string, EndpointSlice>()
  /** How many endpoints have an address; of a hundred thousand nobody keeps it who was never asked. */
  #endpoints: Map<Address, number> | undefined

  /** `claimantsOf`: Services for which it decides whether an endpoint has an address. */
  constructor(claimantsOf: (address: string) => Iterable<string>) {
    this.#claimantsOf = claimantsOf
  }

  of(service: string): readonly EndpointSlice[] {
    return this.#byService.get(service) ?? none
  }

  /** `namespace/name` of the pod that is an endpoint of a Service. */
  podOf(service: string, text: string): string | undefined {
    const address = parseAddress(text)
    if (address === undefined) return undefined
    for (const slice of this.of(service)) {
      const pod = podAt(slice, address)
      if (pod !== undefined) return `${service.slice(0, service.indexOf('/'))}/${pod}`
    }
    return undefined
  }

  [Symbol.iterator](): Iterator<readonly [string, readonly EndpointSlice[]]> {
    return this.#byService[Symbol.iterator]()
  }

  /** Whether an endpoint of any Service has it. */
  hasEndpoint(address: Address): boolean {
    if (this.#endpoints === undefined) {
      this.#endpoints = new Map()
      for (const slice of this.#byId.values()) this.#count(this.#endpoints, slice, 1)
    }
    return this.#endpoints.has(address)
  }

  /** Whether an endpoint of any Service, in whatever state, has it at a port. */
  names(address: Address, port: number, protocol: SlicePort['protocol']): boolean {
    if (!this.hasEndpoint(address)) return false
    for (const slice of this.#byId.values())
      if (slice.ports.some((each) => each.port === port && each.protocol === protocol) && hasAddress(slice, address))
        return true
    return false
  }

  /** Replaces a slice; answers the Services that it was of, and is of, and those that claim what it came to have. */
  set(id: string, slice: EndpointSlice | undefined): ReadonlySet<string> {
    const before = this.#byId.get(id)
    const touched = new Set<string>()
    if (before?.service !== undefined) {
      const left = this.of(before.service).filter((each) => each !== before)
      if (left.length === 0) this.#byService.delete(before.service)
      else this.#byService.set(before.service, left)
      this.#byId.delete(id)
      touched.add(before.service)
    }
    if (slice?.service !== undefined) {
      this.#byId.set(id, slice)
      this.#byService.set(slice.service, [...this.of(slice.service), slice])
      touched.add(slice.service)
    }
    for (const address of this.#moved(before, slice?.service === undefined ? undefined : slice))
      for (const key of this.#claimantsOf(formatAddress(address))) touched.add(key)
    return touched
  }

  /** Addresses that an endpoint has now and none had before, or the other way round. */
  #moved(before: EndpointSlice | undefined, now: EndpointSlice | undefined): readonly Address[] {
    const counts = this.#endpoints
    if (counts === undefined || (before?.packed === now?.packed && before?.family === now?.family)) return []
    const came = now === undefined ? [] : this.#count(counts, now, 1)
    const went = before === undefined ? [] : this.#count(counts, before, -1)
    return [...came, ...went]
  }

  /** Answers the addresses of which there is a first one now, or none any more. */
  #count(counts: Map<Address, number>, slice: EndpointSlice, by: 1 | -1): readonly Address[] {
    return endpointsOf(slice).flatMap(({ address }) => {
      if (address === undefined) return []
      const count = (counts.get(address) ?? 0) + by
      if (count > 0) counts.set(address, count)
      else counts.delete(address)
      return count === (by === 1 ? 1 : 0) ? [address] : []
    })
  }
}
