/**
 * The addresses of Services: those of the record, else of their status, else fresh ones, recorded so that all agents of
 * a folder agree.
 *
 *     settle: what changed, what waits --> record.exchange --> reserve, release, assign --> answers
 *
 * Recorded addresses of Services that were not seen yet are kept free. A record that another agent holds postpones what
 * changed; who holds addresses keeps them meanwhile.
 */
import type { Verdict } from '../../desired/model.ts'
import { formatAddress, parseAddress } from '../../ip/address.ts'
import { Ipam, type AddressRequest, type Assignment, type Pool, type Refusal } from '../../allocation/allocate.ts'
import {
  openAllocationRecord,
  type AllocationChanges,
  type AllocationRecord,
  type Allocations,
  type Choose,
  type RecordWarning,
} from '../../allocation/record.ts'
import { requestedAddresses, selectableLabels, serviceKey, type Service } from '../kinds/service.ts'
import type { TranslatorOptions } from './types.ts'

export interface AddressAnswer {
  readonly addresses: readonly string[]
  readonly verdict: Verdict
}

interface Settled {
  readonly service: Service
  /** Of the pools under which it was settled. */
  readonly generation: number
  readonly answer: AddressAnswer
  /** Out of our pools, and so recorded. */
  readonly isOwn: boolean
}

interface Wish {
  readonly key: string
  readonly service: Service
  readonly request: AddressRequest
  readonly status: readonly string[]
  readonly rank: number
  /** Its creationTimestamp; without one it counts as young. */
  readonly created: string
}

const notYet: AddressAnswer = {
  addresses: [],
  verdict: {
    step: 'allocated',
    ok: false,
    code: 'RecordBusy',
    message: 'it waits for another agent, which holds the allocation record or is ahead of what was read here',
    remedy: 'It is tried again by itself.',
  },
}

export class ServiceAddresses {
  readonly #ipam = new Ipam()
  readonly #record: AllocationRecord | undefined
  readonly #settled = new Map<string, Settled>()
  /** Services without what they ask for: looked at again whenever something changes. */
  readonly #waiting = new Set<string>()
  /** Services that changed while the record was busy. */
  #postponed: ReadonlySet<string> = new Set()
  /** Recorded Services that were absent when everything was read: they give way when their addresses are needed. */
  readonly #absent = new Set<string>()
  /** Recorded Services that are not seen (yet). */
  readonly #reserved = new Set<string>()
  /** Services whose allocation may differ from the record. */
  readonly #unwritten = new Set<string>()
  #generation = 0
  #isFirst = true

  constructor({ allocations }: TranslatorOptions) {
    this.#record =
      allocations === undefined ? undefined : openAllocationRecord(allocations.directory, allocations.stateDir)
  }

  get warning(): RecordWarning | undefined {
    return this.#record?.warning
  }

  setPools(pools: readonly Pool[]): void {
    this.#ipam.setPools(pools)
    this.#generation++
  }

  poolOf(address: string): Pool | undefined {
    return this.#ipam.poolOf(address)
  }

  answerOf(key: string): AddressAnswer {
    return this.#settled.get(key)?.answer ?? notYet
  }

  /**
   * Settles the Services that changed and those that wait, and tells whose answer is another one now. `serviceOf`
   * answers
   * undefined for a Service that is gone or not ours.
   */
  settle(dirty: Iterable<string>, serviceOf: (key: string) => Service | undefined): readonly string[] {
    const changed = new Map<string, Service | undefined>()
    for (const key of new Set([...this.#postponed, ...dirty])) {
      const service = serviceOf(key)
      const known = this.#settled.get(key)
      // A change of endpoints asks for no address.
      if (service !== known?.service || (known !== undefined && known.generation !== this.#generation))
        changed.set(key, service)
    }
    if (changed.size === 0 && !this.#isFirst && this.#unwritten.size === 0) return []
    if (changed.size > 0) for (const key of this.#waiting) changed.set(key, serviceOf(key))
    const before = new Map([...changed.keys()].map((key) => [key, this.answerOf(key)]))
    this.#exchange(changed)
    return [...before].filter(([key, answer]) => this.answerOf(key) !== answer).map(([key]) => key)
  }

  #exchange(changed: ReadonlyMap<string, Service | undefined>): void {
    this.#postponed = new Set()
    const choose: Choose = (recorded, news) => this.#choose(changed, recorded, news)
    const outcome = this.#record === undefined ? unrecorded(choose) : this.#record.exchange(choose)
    if (outcome === 'recorded') this.#unwritten.clear()
    if (this.#record === undefined || outcome !== 'busy') return
    const recorded = this.#record.peek()
    const certain = new Map([...changed].filter(([key, service]) => service !== undefined && recorded.has(key)))
    this.#choose(certain, recorded, recorded)
    this.#postponed = new Set([...changed.keys()].filter((key) => !certain.has(key)))
  }

  /** Holders come first, then who asks by name, then age, then name: the order of arrival does not matter. */
  #choose(
    changed: ReadonlyMap<string, Service | undefined>,
    recorded: Allocations,
    news: Allocations,
  ): AllocationChanges {
    const changes = new Map<string, readonly string[] | undefined>()
    this.#reserve(changed, recorded, news)
    for (const [key, service] of changed) {
      if (service !== undefined) continue
      this.#ipam.release(key)
      this.#settled.delete(key)
      this.#waiting.delete(key)
      this.#unwritten.add(key)
    }
    const wishes = [...changed].flatMap(([key, service]): Wish[] => {
      if (service === undefined) return []
      const status = statusAddresses(service)
      const own = this.#ipam.addressesOf(key)
      const request = requestOf(service, recorded.get(key) ?? (own.length > 0 ? own : status))
      return [
        { key, service, status, request, rank: rankOf(request), created: service.metadata.creationTimestamp ?? '~' },
      ]
    })
    for (const wish of wishes.sort(byRank)) {
      if (this.#isAhead(wish.key, recorded)) {
        this.#waiting.add(wish.key)
        continue
      }
      this.#grant(wish, changes)
      this.#unwritten.add(wish.key)
    }
    for (const key of this.#unwritten) {
      const found = this.#settled.get(key)
      // A Service that lost its pool finds its addresses again when the pool comes back.
      if (found !== undefined && !found.isOwn) continue
      if (recorded.get(key)?.join() !== found?.answer.addresses.join()) changes.set(key, found?.answer.addresses)
    }
    return changes
  }

  #reserve(changed: ReadonlyMap<string, Service | undefined>, recorded: Allocations, news: Allocations): void {
    for (const key of this.#absent) if (changed.get(key) !== undefined || !recorded.has(key)) this.#absent.delete(key)
    for (const key of this.#reserved) {
      if (changed.has(key)) this.#reserved.delete(key)
      else if (!recorded.has(key)) {
        this.#ipam.release(key)
        this.#reserved.delete(key)
      }
    }
    for (const [key, addresses] of news) {
      if (changed.has(key) || this.#settled.has(key)) continue
      this.#ipam.reserve(key, addresses)
      this.#reserved.add(key)
      if (this.#isFirst) this.#absent.add(key)
    }
    this.#isFirst = false
  }

  /**
   * Another agent gave this Service an address that, as far as we know, a Service holds which is no longer recorded
   * with
   * it: that one is gone, and we shall hear of it.
   */
  #isAhead(key: string, recorded: Allocations): boolean {
    return (recorded.get(key) ?? []).some((address) =>
      [...this.#ipam.holdersOf(address)].some(
        (other) =>
          other !== key &&
          this.#settled.has(other) &&
          !this.#unwritten.has(other) &&
          recorded.get(other)?.includes(address) !== true,
      ),
    )
  }

  #grant({ key, service, request, status }: Wish, changes: Map<string, readonly string[] | undefined>): void {
    let found = this.#ipam.assign(request)
    if (isRefusal(found) && this.#makeRoom(found, request, changes)) found = this.#ipam.assign(request)
    const isForeign =
      isRefusal(found) && status.length > 0 && status.every((address) => this.#ipam.poolOf(address) === undefined)
    const answer = isForeign ? foreignAnswer(status) : answerOf(found)
    const known = this.#settled.get(key)?.answer
    const isSame = known !== undefined && JSON.stringify(known) === JSON.stringify(answer)
    this.#settled.set(key, {
      service,
      generation: this.#generation,
      answer: isSame ? known : answer,
      isOwn: !isRefusal(found),
    })
    if (isForeign || (!isRefusal(found) && found.refusal === undefined)) this.#waiting.delete(key)
    else this.#waiting.add(key)
  }

  /** Lets go of recorded Services that were never seen, when one that exists needs their addresses. */
  #makeRoom(
    { code }: Refusal,
    { explicit }: AddressRequest,
    changes: Map<string, readonly string[] | undefined>,
  ): boolean {
    const isInTheWay = (key: string): boolean =>
      code === 'OutOfAddresses' ||
      (code === 'AlreadyAllocated' && this.#ipam.addressesOf(key).some((address) => explicit.includes(address)))
    const leaving = [...this.#absent].filter(isInTheWay)
    for (const key of leaving) {
      this.#absent.delete(key)
      this.#reserved.delete(key)
      this.#ipam.release(key)
      changes.set(key, undefined)
    }
    return leaving.length > 0
  }
}

/** Without a record there is nothing to agree with. */
function unrecorded(choose: Choose): 'recorded' {
  choose(new Map(), new Map())
  return 'recorded'
}

function isRefusal(found: Assignment | Refusal): found is Refusal {
  return 'code' in found
}

function answerOf(found: Assignment | Refusal): AddressAnswer {
  if (isRefusal(found)) return { addresses: [], verdict: { step: 'allocated', ok: false, ...found } }
  const { addresses, pool, refusal } = found
  const held = `${addresses.join(', ')} of pool ${pool}`
  if (refusal !== undefined)
    return {
      addresses,
      verdict: { step: 'allocated', ok: true, code: 'RequestRefused', message: `${held} is kept: ${refusal.message}` },
    }
  return { addresses, verdict: { step: 'allocated', ok: true, code: 'Allocated', message: held } }
}

/** Someone else's allocator wrote the status: no pool of ours needs to know the address. */
function foreignAnswer(status: readonly string[]): AddressAnswer {
  return {
    addresses: status,
    verdict: { step: 'allocated', ok: true, code: 'InStatus', message: `${status.join(', ')} by status.loadBalancer` },
  }
}

function byRank(a: Wish, b: Wish): number {
  return a.rank - b.rank || (a.created === b.created ? 0 : a.created < b.created ? -1 : 1) || (a.key < b.key ? -1 : 1)
}

/** Holders first, then who asks by name. */
function rankOf({ held, explicit }: AddressRequest): number {
  return held.length > 0 ? 0 : explicit.length > 0 ? 1 : 2
}

function statusAddresses({ status }: Service): readonly string[] {
  return (status?.loadBalancer?.ingress ?? []).flatMap(({ ip }) => {
    const address = parseAddress(ip?.trim() ?? '')
    return address === undefined ? [] : [formatAddress(address)]
  })
}

function requestOf(service: Service, held: readonly string[]): AddressRequest {
  const { metadata, spec } = service
  const annotation = (name: string): string | undefined =>
    metadata.annotations[`lbipam.cilium.io/${name}`] ?? metadata.annotations[`io.cilium/lb-ipam-${name}`]
  const isDual = spec.ipFamilyPolicy === 'RequireDualStack' || spec.ipFamilyPolicy === 'PreferDualStack'
  const { addresses, invalid } = requestedAddresses(service)
  return {
    key: serviceKey(service),
    namespace: metadata.namespace ?? 'default',
    labels: selectableLabels(service),
    families: isDual ? ['ipv4', 'ipv6'] : [spec.ipFamilies?.[0] === 'IPv6' ? 'ipv6' : 'ipv4'],
    needsAllFamilies: spec.ipFamilyPolicy === 'RequireDualStack',
    explicit: addresses,
    invalid,
    held,
    sharingKey: annotation('sharing-key'),
    sharedWith: (annotation('sharing-cross-namespace') ?? '').split(',').map((name) => name.trim()),
    ports: spec.ports.map(({ protocol, port }) => `${protocol}/${port}`),
    trafficKey:
      spec.externalTrafficPolicy === 'Local'
        ? `Local ${JSON.stringify(Object.entries(spec.selector ?? {}).sort())}`
        : 'Cluster',
  }
}
