/** Services as the source of addresses sees them: what they ask for, and what they say about sharing. Pure. */
import type { BookWarning } from '../../allocation/address-book.ts'
import type { AddressAnswer, AddressSource, Wish } from '../../allocation/address-source.ts'
import type { AddressRequest } from '../../allocation/allocate.ts'
import { FolderAllocator } from '../../allocation/folder-allocator.ts'
import { type Interval, IntervalIndex } from '../../allocation/intervals.ts'
import { MemoryBook } from '../../allocation/memory-book.ts'
import { type Pool, unfitness } from '../../allocation/pool-table.ts'
import { rangeOfPlace, Reserved, type ReservedPlace } from '../../allocation/reserved.ts'
import type { Aged, SharingTerms } from '../../allocation/sharing.ts'
import { StatusAddresses } from '../../allocation/status-addresses.ts'
import { parseTenure } from '../../allocation/tenure.ts'
import type { Work } from '../../allocation/work.ts'
import { selectableLabels, serviceKey, type Service } from '../kinds/service.ts'
import { allocationRequest, sharingOf, type SharingRequest } from '../kinds/service-requests.ts'
import type { TranslatorOptions } from './types.ts'

/** Of an agent: what statuses say, or what it gives away itself. */
export function addressSource({ isAllocatedElsewhere, addressBook }: TranslatorOptions): AddressSource {
  return isAllocatedElsewhere === true ? new StatusAddresses() : new FolderAllocator(addressBook ?? new MemoryBook())
}

export class ServiceAddresses {
  readonly #source: AddressSource
  /** Of all pools. */
  #ranges = new IntervalIndex<Interval>([])
  #places: readonly ReservedPlace[] = []
  #placesText = '[]'
  #reserved = new Reserved()
  /** The places inside pools, as the source knows them. */
  #placesInPools: readonly ReservedPlace[] = []
  #reservedText = '[]'

  constructor(source: AddressSource) {
    this.#source = source
  }

  get warning(): BookWarning | undefined {
    return this.#source.warning
  }

  /** What nobody may have now, besides addresses of special use. */
  get reserved(): Reserved {
    return this.#reserved
  }

  /** What of the pools something else has. */
  get placesInPools(): readonly ReservedPlace[] {
    return this.#placesInPools
  }

  setPools(pools: readonly Pool[]): void {
    this.#ranges = new IntervalIndex(pools.flatMap(({ ranges }) => ranges))
    this.#tellReserved()
    this.#source.setPools(pools)
  }

  /** True when something else of a pool is reserved now: every Service has to be looked at. */
  setReserved(places: readonly ReservedPlace[]): boolean {
    const text = JSON.stringify(places)
    if (text === this.#placesText) return false
    this.#placesText = text
    this.#places = places
    this.#reserved = new Reserved(places)
    return this.#tellReserved()
  }

  /** What is in no pool is given to nobody anyway: a node that comes or goes is nothing to the Services. */
  #tellReserved(): boolean {
    const inPools = this.#places.filter(({ place }) => {
      const reserved = rangeOfPlace(place)
      return reserved !== undefined && this.#ranges.touching(reserved).length > 0
    })
    const text = JSON.stringify(inPools)
    if (text === this.#reservedText) return false
    this.#reservedText = text
    this.#placesInPools = inPools
    this.#source.setReserved(this.#reserved)
    return true
  }

  /** The pools that contain an address, those first that still give addresses away. */
  poolsOf(address: string): readonly Pool[] {
    return this.#source.poolsOf(address)
  }

  /** Whether a Service could be given an address, were it free: by what it asks for and whom its pools serve. */
  mayHave(service: Service, address: string): boolean {
    const request = requestOf(service)
    const isAsked = request.explicit.length === 0 || request.explicit.includes(address)
    const pools = this.#source.poolsOf(address)
    return request.invalid === undefined && isAsked && pools.some((pool) => unfitness(pool, request) === undefined)
  }

  answerOf(key: string): AddressAnswer {
    return this.#source.answerOf(key)
  }

  /**
   * Settles the Services that changed and those that wait, and tells whose answer is another one now. `serviceOf`
   * answers undefined for a Service that is gone or not ours. `lingeringOf`: what a status still says, also of one that
   * is not ours, and nobody else gets before it does not. Until it is done all answers are those of before, and
   * nothing else may be told here.
   */
  settle(
    dirty: Iterable<string>,
    serviceOf: (key: string) => Service | undefined,
    lingeringOf: (key: string) => Lingering = () => nothingLingers,
  ): Work<readonly string[]> {
    return this.#source.settle(dirty, (key) => {
      const [service, lingering] = [serviceOf(key), lingeringOf(key)]
      const { addresses } = lingering
      if (service !== undefined) return new ServiceWish(service, lingering)
      return addresses.length === 0 ? undefined : { subject: addresses, request: () => lingerer(key, lingering) }
    })
  }
}

/** Of a class: some sources keep the wish of each Service, and a closure is four times as large. */
class ServiceWish implements Wish {
  readonly #service: Service
  readonly #lingering: Lingering

  constructor(service: Service, lingering: Lingering) {
    this.#service = service
    this.#lingering = lingering
  }

  get subject(): object {
    return this.#lingering.isLeaving === true ? leaverOf(this.#service) : this.#service
  }

  request(key: string): AddressRequest {
    const { addresses: lingering, isLeaving = false, writtenAt } = this.#lingering
    return { ...requestOf(this.#service), key, lingering, isLeaving, writtenAt }
  }
}

const leavers = new WeakMap<Service, object>()

/** Another subject than before: it is settled once more, as one that gets nothing. */
function leaverOf(service: Service): object {
  const known = leavers.get(service)
  if (known !== undefined) return known
  const made = {}
  leavers.set(service, made)
  return made
}

/** What a status says until it is written anew. */
export interface Lingering {
  readonly addresses: readonly string[]
  /** Of the ports of shared ones, as it is recorded. */
  readonly portsHeld?: string | undefined
  /** In the order of all objects of the server. */
  readonly writtenAt?: number | undefined
  /** The Service is being deleted. */
  readonly isLeaving?: boolean
}

const nothing: readonly string[] = []
const nothingLingers: Lingering = { addresses: nothing }

/** Asks for nothing. */
function lingerer(key: string, { addresses: lingering, portsHeld }: Lingering): AddressRequest {
  const { POSITIVE_INFINITY: createdMs } = Number
  const asked = { families: [], needsAllFamilies: false, explicit: nothing, status: nothing }
  const tenure = portsHeld === undefined ? undefined : parseTenure(portsHeld)
  return { key, createdMs, namespace: '', labels: {}, sharing: undefined, tenure, lingering, ...asked }
}

/** With every change of one, all that share its address are looked at. */
const sharers = new WeakMap<Service, AddressRequest>()

function requestOf(service: Service): AddressRequest {
  const known = sharers.get(service)
  if (known !== undefined) return known
  const { metadata, spec, status } = service
  const { addresses, invalid, poolName } = allocationRequest(service)
  const sharing = sharingTermsOf(service)
  const request: AddressRequest = {
    ...ageOf(service),
    namespace: metadata.namespace ?? 'default',
    labels: selectableLabels(service),
    families: spec.families,
    needsAllFamilies: spec.needsAllFamilies,
    explicit: addresses,
    invalid,
    poolName,
    status: new Set(status).size === status.length ? status : [...new Set(status)],
    isAttested: service.isAttested,
    sharing,
    tenure: service.portsHeld === undefined ? undefined : parseTenure(service.portsHeld),
  }
  if (sharing !== undefined) sharers.set(service, request)
  return request
}

export function ageOf(service: Service): Aged {
  const createdMs = Date.parse(service.metadata.creationTimestamp ?? '')
  return { key: serviceKey(service), createdMs: Number.isNaN(createdMs) ? Number.POSITIVE_INFINITY : createdMs }
}

function sharingTermsOf(service: Service): SharingTerms | undefined {
  const { metadata, spec } = service
  const { request: sharing } = sharingOf(service)
  if (sharing === undefined) return undefined
  return {
    key: sharing.key,
    namespace: metadata.namespace ?? 'default',
    sharedWith: sharing.namespaces,
    trafficKey: trafficKeyOf(spec, sharing),
    ports: spec.ports.map(({ protocol, port }) => `${port}/${protocol}`),
  }
}

/** Whoever shares has it in common. */
function trafficKeyOf(
  { externalTrafficPolicy, selector }: Service['spec'],
  { permitsDifferentPods }: SharingRequest,
): string {
  if (externalTrafficPolicy === 'Cluster') return 'Cluster'
  return permitsDifferentPods ? 'Local, different pods' : `Local ${JSON.stringify(Object.entries(selector).sort())}`
}
