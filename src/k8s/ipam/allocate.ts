/**
 * Address allocation (LB-IPAM): pools, requests, sharing. Pure and deterministic: of equal inputs in equal order come
 * equal addresses, which is how several agents that read one folder agree.
 *
 *     setPools --> ranges without overlap        request --held already?--> kept
 *                                                    `----explicit, shared, lowest free--> Assignment | Refusal
 *
 * An address that a Service holds stays with it as long as any pool contains it, a disabled one too.
 */
import { type Address, addressBytes, addressFromBytes, type Family, familyOfAddress, formatAddress, parseAddress } from '../../ip/address.ts'
import { type LabelSelector, selectorMatches, type Labels } from '../label-selector.ts'

export interface AddressRange {
  readonly family: Family
  /** Inclusive, as integers. */
  readonly first: bigint
  readonly last: bigint
}

export interface Pool {
  readonly name: string
  readonly labels: Labels
  readonly ranges: readonly AddressRange[]
  readonly serviceSelector: LabelSelector | undefined
  readonly isDisabled: boolean
}

export interface AddressRequest {
  readonly key: string
  readonly namespace: string
  /** With the pseudo labels io.kubernetes.service.name and .namespace. */
  readonly labels: Labels
  readonly families: readonly Family[]
  /** All families must be satisfied (RequireDualStack), or the first that can be. */
  readonly needsAllFamilies: boolean
  /** Addresses that the Service asks for by name. */
  readonly explicit: readonly string[]
  /** Addresses that it holds already, by record or by its status. */
  readonly held: readonly string[]
  readonly sharingKey: string | undefined
  /** `TCP/80`: two Services on one address must not meet on a port. */
  readonly ports: readonly string[]
  /** Equal for Services that may share: the traffic policy, with the selector under Local. */
  readonly trafficKey: string
}

export interface Assignment {
  readonly addresses: readonly string[]
  readonly pool: string
}

/** Codes as Cilium's condition IPAMRequestSatisfied has its reasons, in CamelCase. */
export interface Refusal {
  readonly code: 'NoPool' | 'PoolSelectorMismatch' | 'OutOfAddresses' | 'AlreadyAllocated' | 'IncompatibleService' | 'InvalidRequest'
  readonly message: string
  readonly remedy: string
}

export function toInteger(address: Address): bigint {
  return addressBytes(address).reduce((value, octet) => value * 256n + BigInt(octet), 0n)
}

function fromInteger(value: bigint, family: Family): Address {
  const bytes = new Uint8Array(family === 'ipv4' ? 4 : 16)
  let left = value
  for (let i = bytes.length - 1; i >= 0; i--) {
    bytes[i] = Number(left & 255n)
    left >>= 8n
  }
  return addressFromBytes(bytes)
}

export function overlaps(a: AddressRange, b: AddressRange): boolean {
  return a.family === b.family && a.first <= b.last && b.first <= a.last
}

function contains(pool: Pool, address: Address): boolean {
  const family = familyOfAddress(address)
  const value = toInteger(address)
  return pool.ranges.some((range) => range.family === family && range.first <= value && value <= range.last)
}

export class Ipam {
  #pools: readonly Pool[] = []
  readonly #assigned = new Map<string, { readonly assignment: Assignment; readonly request: AddressRequest }>()
  readonly #holders = new Map<string, Set<string>>()
  /** Lowest address of a range that may be free, by pool, range and family. */
  #cursors = new Map<AddressRange, bigint>()

  /** Replaces the pools, oldest first; they must not overlap. Nothing is moved by that. */
  setPools(pools: readonly Pool[]): void {
    this.#pools = pools
    this.#cursors = new Map()
  }

  get pools(): readonly Pool[] {
    return this.#pools
  }

  poolOf(address: string): Pool | undefined {
    const value = parseAddress(address)
    return value === undefined ? undefined : this.#pools.find((pool) => contains(pool, value))
  }

  assignmentOf(key: string): Assignment | undefined {
    return this.#assigned.get(key)?.assignment
  }

  release(key: string): void {
    for (const address of this.#assigned.get(key)?.assignment.addresses ?? []) {
      const holders = this.#holders.get(address)
      holders?.delete(key)
      if (holders?.size === 0) {
        this.#holders.delete(address)
        this.#rewind(address)
      }
    }
    this.#assigned.delete(key)
  }

  /** Answers the addresses of a Service: those it holds where they still hold good, else new ones. */
  assign(request: AddressRequest): Assignment | Refusal {
    const before = this.#assigned.get(request.key)?.assignment.addresses ?? request.held
    this.release(request.key)
    const kept = this.#keep(request, before)
    const found = kept ?? (request.explicit.length > 0 ? this.#explicit(request) : this.#fresh(request))
    if ('addresses' in found) this.#record(request, found)
    return found
  }

  #record(request: AddressRequest, assignment: Assignment): void {
    this.#assigned.set(request.key, { assignment, request })
    for (const address of assignment.addresses) {
      const holders = this.#holders.get(address)
      if (holders === undefined) this.#holders.set(address, new Set([request.key]))
      else holders.add(request.key)
    }
  }

  #keep(request: AddressRequest, held: readonly string[]): Assignment | undefined {
    if (held.length === 0) return undefined
    const pools = held.map((address) => this.poolOf(address))
    const [pool] = pools
    const isKept = pool !== undefined && pools.every((found) => found !== undefined) && held.every((address) => this.#obstacle(request, address) === undefined)
    const isWanted = request.explicit.length === 0 || request.explicit.every((address) => held.includes(address))
    return isKept && isWanted ? { addresses: held, pool: pool.name } : undefined
  }

  #explicit(request: AddressRequest): Assignment | Refusal {
    let name = ''
    for (const address of request.explicit) {
      const pool = this.poolOf(address)
      if (pool === undefined) return { code: 'NoPool', message: `no pool contains the requested address ${address}`, remedy: 'Request an address of a pool, or add it to one' }
      if (pool.isDisabled) return { code: 'NoPool', message: `the pool ${pool.name} of the requested address ${address} is disabled`, remedy: 'Enable the pool, or request another address' }
      if (!isSelected(pool, request)) return { code: 'PoolSelectorMismatch', message: `the pool ${pool.name} of the requested address ${address} does not select this Service`, remedy: 'Label the Service for the pool, or request another address' }
      const obstacle = this.#obstacle(request, address)
      if (obstacle !== undefined) return obstacle
      name ||= pool.name
    }
    return { addresses: request.explicit, pool: name }
  }

  #fresh(request: AddressRequest): Assignment | Refusal {
    if (this.#pools.length === 0) return { code: 'NoPool', message: 'there is no CiliumLoadBalancerIPPool', remedy: 'Create a pool, or set status.loadBalancer.ingress' }
    const usable = this.#pools.filter((pool) => !pool.isDisabled && isSelected(pool, request))
    if (usable.length === 0) return { code: 'PoolSelectorMismatch', message: 'no enabled pool selects this Service', remedy: 'Label the Service for a pool, or widen the serviceSelector of one' }
    const addresses: string[] = []
    let name = ''
    for (const family of request.families) {
      const found = this.#shared(request, usable, family) ?? this.#lowest(usable, family)
      if (found === undefined) {
        if (request.needsAllFamilies) return this.#exhausted(usable, family)
        continue
      }
      addresses.push(found.address)
      name ||= found.pool.name
    }
    if (addresses.length === 0) return this.#exhausted(usable, request.families[0] ?? 'ipv4')
    return { addresses, pool: name }
  }

  #exhausted(pools: readonly Pool[], family: Family): Refusal {
    return { code: 'OutOfAddresses', message: `no free ${family} address in ${pools.map((pool) => pool.name).join(', ')}`, remedy: 'Add a block to the pool, or delete Services that hold its addresses' }
  }

  /** The lowest address that another Service of the same sharing key holds and that this one may join. */
  #shared(request: AddressRequest, pools: readonly Pool[], family: Family): { readonly address: string; readonly pool: Pool } | undefined {
    if (request.sharingKey === undefined) return undefined
    const candidates = [...this.#holders.keys()]
      .map((address) => ({ address, value: parseAddress(address) ?? 0 }))
      .filter(({ address, value }) => familyOfAddress(value) === family && this.#obstacle(request, address) === undefined)
      .sort((a, b) => (toInteger(a.value) < toInteger(b.value) ? -1 : 1))
    for (const { address, value } of candidates) {
      const pool = pools.find((found) => contains(found, value))
      if (pool !== undefined) return { address, pool }
    }
    return undefined
  }

  #lowest(pools: readonly Pool[], family: Family): { readonly address: string; readonly pool: Pool } | undefined {
    for (const pool of pools) {
      for (const range of pool.ranges) {
        if (range.family !== family) continue
        for (let value = this.#cursors.get(range) ?? range.first; value <= range.last; value++) {
          this.#cursors.set(range, value)
          const address = formatAddress(fromInteger(value, family))
          if (!this.#holders.has(address)) return { address, pool }
        }
        this.#cursors.set(range, range.last + 1n)
      }
    }
    return undefined
  }

  /** A freed address may be the lowest one again. */
  #rewind(address: string): void {
    const parsed = parseAddress(address)
    if (parsed === undefined) return
    const value = toInteger(parsed)
    for (const [range, cursor] of this.#cursors) {
      if (range.family === familyOfAddress(parsed) && range.first <= value && value < cursor) this.#cursors.set(range, value)
    }
  }

  /** Why an address cannot be given to a Service beside those that hold it. */
  #obstacle(request: AddressRequest, address: string): Refusal | undefined {
    for (const key of this.#holders.get(address) ?? []) {
      if (key === request.key) continue
      const other = this.#assigned.get(key)?.request
      if (other === undefined) continue
      if (request.sharingKey === undefined || other.sharingKey !== request.sharingKey || other.namespace !== request.namespace) {
        return { code: 'AlreadyAllocated', message: `${address} belongs to ${key}`, remedy: 'Request another address, or give both Services of one namespace the same lbipam.cilium.io/sharing-key' }
      }
      const port = request.ports.find((each) => other.ports.includes(each))
      if (port !== undefined) return { code: 'IncompatibleService', message: `${key} has port ${port} of ${address}`, remedy: 'Use different ports, or different addresses' }
      if (other.trafficKey !== request.trafficKey) return { code: 'IncompatibleService', message: `${key} on ${address} has another externalTrafficPolicy or, under Local, another selector`, remedy: 'Make them equal, or use different addresses' }
    }
    return undefined
  }
}

function isSelected(pool: Pool, request: AddressRequest): boolean {
  return pool.serviceSelector === undefined || selectorMatches(pool.serviceSelector, request.labels)
}
