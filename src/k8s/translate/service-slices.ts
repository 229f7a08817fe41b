/** The EndpointSlices of each Service, as they come and go. Pure. */
import { keptList } from '../../desired/kept.ts'
import { type Address, formatAddress, parseAddress } from '../../ip/address.ts'
import { addressesOf, type EndpointSlice, podAt, type SlicePort } from '../kinds/endpoint-slice.ts'

const none: readonly EndpointSlice[] = []

/** The ids of slices by an address of their endpoints: most addresses are in one slice. */
type SlicesAt = Map<Address, string | Set<string>>

export class ServiceSlices {
  readonly #claimantsOf: (address: string) => Iterable<string>
  readonly #byService = new Map<string, readonly EndpointSlice[]>()
  readonly #byId = new Map<string, EndpointSlice>()
  /** Of a hundred thousand endpoints nobody keeps it who was never asked. */
  #byAddress: SlicesAt | undefined

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
    return this.#slicesAt(address) !== undefined
  }

  /** Whether an endpoint of any Service, in whatever state, has it at a port. */
  names(address: Address, port: number, protocol: SlicePort['protocol']): boolean {
    const ids = this.#slicesAt(address) ?? []
    for (const id of typeof ids === 'string' ? [ids] : ids)
      if (this.#byId.get(id)?.ports.some((each) => each.port === port && each.protocol === protocol) === true)
        return true
    return false
  }

  #slicesAt(address: Address): string | ReadonlySet<string> | undefined {
    if (this.#byAddress === undefined) {
      this.#byAddress = new Map()
      for (const [id, slice] of this.#byId) for (const each of addressesOf(slice)) addTo(this.#byAddress, each, id)
    }
    return this.#byAddress.get(address)
  }

  /** Replaces a slice; answers the Services that it was of, and is of, and those that claim what it came to have. */
  set(id: string, slice: EndpointSlice | undefined): ReadonlySet<string> {
    const before = this.#byId.get(id)
    const touched = new Set<string>()
    if (before?.service !== undefined) {
      const left = this.of(before.service).filter((each) => each !== before)
      if (left.length === 0) this.#byService.delete(before.service)
      else this.#byService.set(before.service, keptList(left))
      this.#byId.delete(id)
      touched.add(before.service)
    }
    if (slice?.service !== undefined) {
      this.#byId.set(id, slice)
      this.#byService.set(slice.service, keptList([...this.of(slice.service), slice]))
      touched.add(slice.service)
    }
    const now = slice?.service === undefined ? undefined : slice
    const isSame = before?.packed === now?.packed && before?.family === now?.family
    if (this.#byAddress === undefined || isSame) return touched
    for (const address of moved(this.#byAddress, id, before, now))
      for (const key of this.#claimantsOf(formatAddress(address))) touched.add(key)
    return touched
  }
}

/** Answers the addresses that an endpoint has now and none had before, or the other way round. */
function moved(
  slices: SlicesAt,
  id: string,
  before: EndpointSlice | undefined,
  now: EndpointSlice | undefined,
): readonly Address[] {
  const had = new Set(before === undefined ? [] : addressesOf(before))
  const has = new Set(now === undefined ? [] : addressesOf(now))
  const came = [...has].filter((address) => !had.has(address) && addTo(slices, address, id))
  return [...came, ...[...had].filter((address) => !has.has(address) && takeFrom(slices, address, id))]
}

/** Answers whether it is the first one there. */
function addTo(slices: SlicesAt, address: Address, id: string): boolean {
  const ids = slices.get(address)
  if (ids === undefined) slices.set(address, id)
  else if (typeof ids === 'string') slices.set(address, new Set([ids, id]))
  else ids.add(id)
  return ids === undefined
}

/** Answers whether it was the last one there. */
function takeFrom(slices: SlicesAt, address: Address, id: string): boolean {
  const ids = slices.get(address)
  if (ids === undefined) return false
  if (typeof ids !== 'string') {
    ids.delete(id)
    if (ids.size > 0) return false
  }
  return slices.delete(address)
}
