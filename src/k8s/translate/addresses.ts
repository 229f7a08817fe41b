/** The addresses of Services: those in their status, else ours, recorded so that all agents of a folder agree. */
import type { Verdict } from '../../desired/model.ts'
import { formatAddress, parseAddress } from '../../ip/address.ts'
import { Ipam, type AddressRequest, type Pool } from '../ipam/allocate.ts'
import { openAllocationRecord, type AllocationRecord, type Allocations } from '../ipam/record.ts'
import { serviceKey, type Service } from '../kinds/service.ts'
import { isClassServed, selectableLabels } from './services.ts'
import type { TranslatorOptions } from './types.ts'

export interface AddressAnswer {
  readonly addresses: readonly string[]
  readonly pool: Pool | undefined
  readonly verdict: Verdict
}

export class ServiceAddresses {
  readonly ipam = new Ipam()
  readonly #options: TranslatorOptions
  readonly #record: AllocationRecord | undefined
  readonly #answers = new Map<string, AddressAnswer>()
  #isFirst = true

  constructor(options: TranslatorOptions) {
    this.#options = options
    this.#record = options.allocations === undefined ? undefined : openAllocationRecord(options.allocations.directory, options.allocations.stateDir)
  }

  get warning(): string | undefined {
    return this.#record?.warning
  }

  answerOf(key: string): AddressAnswer | undefined {
    return this.#answers.get(key)
  }

  /** Settles the Services that changed (undefined: gone). Holders come first, then age, then name: no order of arrival. */
  settle(changed: ReadonlyMap<string, Service | undefined>): void {
    if (changed.size === 0) return
    const isFirst = this.#isFirst
    this.#isFirst = false
    // A change of endpoints or labels asks for no address: the record is left alone.
    const isKnown = !isFirst && [...changed].every(([key, service]) => service !== undefined && this.ipam.assignmentOf(key) !== undefined)
    const choose = (recorded: Allocations): ReadonlyMap<string, readonly string[] | undefined> => this.#settle(changed, recorded, isFirst)
    if (this.#record !== undefined && !isKnown) return this.#record.exchange(choose)
    const before = new Map([...changed.keys()].map((key) => [key, this.ipam.assignmentOf(key)?.addresses.join()]))
    const moved = [...choose(new Map())].filter(([key, addresses]) => before.get(key) !== addresses?.join())
    if (moved.length > 0) this.#record?.exchange(() => new Map(moved))
  }

  #settle(changed: ReadonlyMap<string, Service | undefined>, recorded: Allocations, isFirst: boolean): ReadonlyMap<string, readonly string[] | undefined> {
    const changes = new Map<string, readonly string[] | undefined>()
    const wanting: { readonly request: AddressRequest; readonly created: string; readonly status: readonly string[] }[] = []
    if (isFirst) for (const key of recorded.keys()) if (changed.get(key) === undefined) changes.set(key, undefined)
    for (const [key, service] of changed) {
      if (service !== undefined && isClassServed(service, this.#options)) {
        const status = statusAddresses(service)
        wanting.push({ request: requestOf(service, recorded.get(key) ?? status), created: service.metadata.creationTimestamp ?? '~', status })
        continue
      }
      this.ipam.release(key)
      this.#answers.delete(key)
      if (recorded.has(key)) changes.set(key, undefined)
    }
    wanting.sort((a, b) => Number(b.request.held.length > 0) - Number(a.request.held.length > 0) || (a.created === b.created ? 0 : a.created < b.created ? -1 : 1) || (a.request.key < b.request.key ? -1 : 1))
    for (const { request, status } of wanting) {
      const answer = this.#assign(request, status)
      this.#answers.set(request.key, answer)
      const isOwn = answer.verdict.code === 'Allocated'
      if (isOwn && recorded.get(request.key)?.join() !== answer.addresses.join()) changes.set(request.key, answer.addresses)
    }
    return changes
  }

  #assign(request: AddressRequest, status: readonly string[]): AddressAnswer {
    const found = this.ipam.assign(request)
    if ('addresses' in found) {
      const pool = this.ipam.pools.find(({ name }) => name === found.pool)
      return { addresses: found.addresses, pool, verdict: { step: 'allocated', ok: true, code: 'Allocated', message: `${found.addresses.join(', ')} of pool ${found.pool}` } }
    }
    // Someone else's allocator wrote the status: no pool of ours needs to know the address.
    if (status.length > 0 && status.every((address) => this.ipam.poolOf(address) === undefined)) {
      return { addresses: status, pool: undefined, verdict: { step: 'allocated', ok: true, code: 'InStatus', message: `${status.join(', ')} by status.loadBalancer` } }
    }
    return { addresses: [], pool: undefined, verdict: { step: 'allocated', ok: false, ...found } }
  }
}

function canonical(texts: readonly (string | null | undefined)[]): readonly string[] {
  return texts.flatMap((text) => {
    const address = parseAddress(text?.trim() ?? '')
    return address === undefined ? [] : [formatAddress(address)]
  })
}

function statusAddresses({ status }: Service): readonly string[] {
  return canonical((status?.loadBalancer?.ingress ?? []).map(({ ip }) => ip))
}

function requestOf(service: Service, held: readonly string[]): AddressRequest {
  const { metadata, spec } = service
  const { annotations } = metadata
  const asked = annotations['lbipam.cilium.io/ips'] ?? annotations['io.cilium/lb-ipam-ips'] ?? spec.loadBalancerIP ?? ''
  const isDual = spec.ipFamilyPolicy === 'RequireDualStack' || spec.ipFamilyPolicy === 'PreferDualStack'
  const isIpv6 = spec.ipFamilies?.[0] === 'IPv6'
  return {
    key: serviceKey(service),
    namespace: metadata.namespace ?? 'default',
    labels: selectableLabels(service),
    families: isDual ? ['ipv4', 'ipv6'] : [isIpv6 ? 'ipv6' : 'ipv4'],
    needsAllFamilies: spec.ipFamilyPolicy === 'RequireDualStack',
    explicit: canonical(asked.split(',')),
    held,
    sharingKey: annotations['lbipam.cilium.io/sharing-key'] ?? annotations['io.cilium/lb-ipam-sharing-key'],
    ports: spec.ports.map(({ protocol, port }) => `${protocol}/${port}`),
    trafficKey: spec.externalTrafficPolicy === 'Local' ? `Local ${JSON.stringify(Object.entries(spec.selector ?? {}).sort())}` : 'Cluster',
  }
}
