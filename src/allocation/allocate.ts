/**
 * Address allocation (LB-IPAM): pools, requests, sharing. Pure and deterministic: of equal inputs in equal order come
 * equal addresses, which is how several agents that read one folder agree.
 *
 *     setPools --> pools      request --asked for by name?--> those addresses -----> Assignment | Refusal
 *     reserve --> holders                 `--no--> held ones, shared ones, lowest free --^
 *
 * An address that a Service holds stays with it as long as any pool contains it, also one that gives none away any
 * more;
 * a request that cannot be met does not cost it what it holds.
 */
import {
  type Address,
  addressBytes,
  addressFromBytes,
  compareAddresses,
  type Family,
  familyOfAddress,
  formatAddress,
  parseAddress,
} from '../ip/address.ts'
import { type LabelSelector, selectorMatches, type Labels } from '../desired/label-selector.ts'

export interface AddressRange {
  readonly family: Family
  /** Inclusive, as integers. */
  readonly first: bigint
  readonly last: bigint
  /** The first and the last address are not given away; held ones stay. */
  readonly sparesEnds: boolean
}

export interface Pool {
  readonly name: string
  readonly labels: Labels
  readonly ranges: readonly AddressRange[]
  readonly serviceSelector: LabelSelector | undefined
  /** Why the pool gives no address away any more; those held stay. */
  readonly closed?: string
}

export interface AddressRequest {
  readonly key: string
  readonly namespace: string
  /** With the pseudo labels io.kubernetes.service.name and .namespace. */
  readonly labels: Labels
  readonly families: readonly Family[]
  /** All families must be satisfied (RequireDualStack), or at least one. */
  readonly needsAllFamilies: boolean
  /** Addresses that the Service asks for by name, and what it asks for and is no address. */
  readonly explicit: readonly string[]
  readonly invalid: readonly string[]
  /** Addresses that it holds already, by record or by its status. */
  readonly held: readonly string[]
  readonly sharingKey: string | undefined
  /** Namespaces besides its own whose Services may share with it; `*`: any. */
  readonly sharedWith: readonly string[]
  /** `TCP/80`: two Services on one address must not meet on a port. */
  readonly ports: readonly string[]
  /** Equal for Services that may share: the traffic policy, with the selector under Local. */
  readonly trafficKey: string
}

export interface Assignment {
  readonly addresses: readonly string[]
  readonly pool: string
  /** The request was refused, and the Service keeps what it held. */
  readonly refusal?: Refusal
}

/** Codes as Cilium's condition IPAMRequestSatisfied has its reasons, in CamelCase. */
export interface Refusal {
  readonly code:
    | 'NoPool'
    | 'PoolSelectorMismatch'
    | 'OutOfAddresses'
    | 'AlreadyAllocated'
    | 'IncompatibleService'
    | 'InvalidRequest'
  readonly message: string
  readonly remedy: string
}

export function toInteger(address: Address): bigint {
  return typeof address === 'number'
    ? BigInt(address)
    : addressBytes(address).reduce((value, octet) => value * 256n + BigInt(octet), 0n)
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

function rangeWith(pool: Pool, family: Family, value: bigint): AddressRange | undefined {
  return pool.ranges.find((range) => range.family === family && range.first <= value && value <= range.last)
}

/** Everybody who has an address; a reservation has no request yet. */
interface Holder {
  readonly addresses: readonly string[]
  readonly request?: AddressRequest
}

const nobody: ReadonlySet<string> = new Set()

interface Found {
  readonly address: string
  readonly pool: Pool
}

export class Ipam {
  #pools: readonly Pool[] = []
  readonly #assigned = new Map<string, Holder>()
  readonly #holders = new Map<string, Set<string>>()
  /** Lowest address of a range that may be free. */
  #cursors = new Map<AddressRange, bigint>()

  /** Replaces the pools, oldest first. Nothing is moved by that until {@link assign}. */
  setPools(pools: readonly Pool[]): void {
    this.#pools = pools
    this.#cursors = new Map()
  }

  /** The pool that contains an address; of several the one that still gives addresses away. */
  poolOf(address: string): Pool | undefined {
    const parsed = parseAddress(address)
    if (parsed === undefined) return undefined
    const [family, value] = [familyOfAddress(parsed), toInteger(parsed)]
    const pools = this.#pools.filter((pool) => rangeWith(pool, family, value) !== undefined)
    return pools.find(({ closed }) => closed === undefined) ?? pools[0]
  }

  /** What a Service holds; empty when nothing. */
  addressesOf(key: string): readonly string[] {
    return this.#assigned.get(key)?.addresses ?? []
  }

  /** Who holds an address, or has it reserved. */
  holdersOf(address: string): ReadonlySet<string> {
    return this.#holders.get(address) ?? nobody
  }

  /** Keeps addresses for a Service that was not seen yet; {@link assign} makes them its own. */
  reserve(key: string, addresses: readonly string[]): void {
    this.release(key)
    this.#hold(key, { addresses })
  }

  release(key: string): void {
    for (const address of this.addressesOf(key)) {
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
    this.release(request.key)
    const kept = request.held.filter(
      (address) => this.poolOf(address) !== undefined && this.#obstacle(request, address) === undefined,
    )
    const found = this.#find(request, kept)
    const addresses = 'addresses' in found ? found.addresses : kept
    if (addresses.length > 0) this.#hold(request.key, { addresses, request })
    return 'addresses' in found || kept.length === 0
      ? found
      : { addresses: kept, pool: this.#nameOfPool(kept), refusal: found }
  }

  #hold(key: string, holder: Holder): void {
    this.#assigned.set(key, holder)
    for (const address of holder.addresses) {
      const holders = this.#holders.get(address)
      if (holders === undefined) this.#holders.set(address, new Set([key]))
      else holders.add(key)
    }
  }

  #find(request: AddressRequest, kept: readonly string[]): Assignment | Refusal {
    if (request.invalid.length > 0)
      return {
        code: 'InvalidRequest',
        message: `the request for ${request.invalid.join(', ')} is not an address`,
        remedy: 'Write IPv4 or IPv6 addresses, separated by commas.',
      }
    return request.explicit.length > 0 ? this.#explicit(request, kept) : this.#automatic(request, kept)
  }

  #explicit(request: AddressRequest, kept: readonly string[]): Assignment | Refusal {
    for (const address of request.explicit) {
      if (kept.includes(address)) continue
      const pool = this.poolOf(address)
      if (pool === undefined)
        return {
          code: 'NoPool',
          message: `no pool contains the requested address ${address}`,
          remedy: 'Request an address of a pool, or add it to one.',
        }
      if (pool.closed !== undefined)
        return {
          code: 'NoPool',
          message: `the pool ${pool.name} of the requested address ${address} is ${pool.closed}`,
          remedy: 'Open the pool, or request another address.',
        }
      if (!isSelected(pool, request))
        return {
          code: 'PoolSelectorMismatch',
          message: `the pool ${pool.name} of the requested address ${address} does not select this Service`,
          remedy: 'Label the Service for the pool, or request another address.',
        }
      if (isSpared(pool, address))
        return {
          code: 'NoPool',
          message:
            `${address} is the first or last address of a block of pool ${pool.name}, which ` +
            `allowFirstLastIPs: No keeps back`,
          remedy: 'Request another address, or set allowFirstLastIPs: Yes.',
        }
      const obstacle = this.#obstacle(request, address) ?? this.#reservation(address)
      if (obstacle !== undefined) return obstacle
    }
    return { addresses: request.explicit, pool: this.#nameOfPool(request.explicit) }
  }

  /** For each family: what is held, else one that may be shared, else the lowest free one. */
  #automatic(request: AddressRequest, kept: readonly string[]): Assignment | Refusal {
    if (this.#pools.length === 0)
      return {
        code: 'NoPool',
        message: 'there is no CiliumLoadBalancerIPPool',
        remedy: 'Create a pool, or set status.loadBalancer.ingress.',
      }
    const usable = this.#pools.filter((pool) => pool.closed === undefined && isSelected(pool, request))
    const addresses: string[] = []
    let refusal: Refusal | undefined
    for (const family of request.families) {
      const own = kept.filter((address) => (address.includes(':') ? 'ipv6' : 'ipv4') === family)
      const found =
        own.length > 0
          ? own
          : [this.#shared(request, usable, family) ?? this.#lowest(usable, family) ?? []]
              .flat()
              .map(({ address }) => address)
      if (found.length === 0) refusal ??= refusalOf(usable, family)
      addresses.push(...found)
    }
    if (refusal !== undefined && (request.needsAllFamilies || addresses.length === 0)) return refusal
    return { addresses, pool: this.#nameOfPool(addresses) }
  }

  #nameOfPool([address = '']: readonly string[]): string {
    return this.poolOf(address)?.name ?? ''
  }

  /** The lowest address that another Service of the same sharing key holds and that this one may join. */
  #shared(request: AddressRequest, pools: readonly Pool[], family: Family): Found | undefined {
    if (request.sharingKey === undefined) return undefined
    const candidates = [...this.#holders]
      .filter(([, keys]) =>
        [...keys].some((key) => this.#assigned.get(key)?.request?.sharingKey === request.sharingKey),
      )
      .flatMap(([address]) => ({ address, value: parseAddress(address) ?? 0 }))
      .filter(
        ({ address, value }) =>
          familyOfAddress(value) === family &&
          (this.#obstacle(request, address) ?? this.#reservation(address)) === undefined,
      )
      .sort((a, b) => compareAddresses(a.value, b.value))
    for (const { address, value } of candidates) {
      const pool = pools.find((each) => rangeWith(each, family, toInteger(value)) !== undefined)
      if (pool !== undefined) return { address, pool }
    }
    return undefined
  }

  #lowest(pools: readonly Pool[], family: Family): Found | undefined {
    for (const pool of pools) {
      for (const range of pool.ranges) {
        if (range.family !== family) continue
        const last = range.sparesEnds ? range.last - 1n : range.last
        for (
          let value = this.#cursors.get(range) ?? (range.sparesEnds ? range.first + 1n : range.first);
          value <= last;
          value++
        ) {
          this.#cursors.set(range, value)
          const address = formatAddress(fromInteger(value, family))
          if (!this.#holders.has(address)) return { address, pool }
        }
        this.#cursors.set(range, last + 1n)
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
      const first = range.sparesEnds ? range.first + 1n : range.first
      if (range.family === familyOfAddress(parsed) && first <= value && value < cursor) this.#cursors.set(range, value)
    }
  }

  /**
   * What is recorded for a Service that was not seen yet is not given to another; whom it may share with is not known.
   */
  #reservation(address: string): Refusal | undefined {
    const key = [...this.holdersOf(address)].find((each) => this.#assigned.get(each)?.request === undefined)
    return key === undefined
      ? undefined
      : { code: 'AlreadyAllocated', message: `${address} is recorded for ${key}`, remedy: 'Request another address.' }
  }

  /** Why an address cannot be given to a Service beside those that hold it. */
  #obstacle(request: AddressRequest, address: string): Refusal | undefined {
    for (const key of this.holdersOf(address)) {
      if (key === request.key) continue
      const other = this.#assigned.get(key)?.request
      if (other === undefined) continue
      if (request.sharingKey === undefined || other.sharingKey !== request.sharingKey) {
        return {
          code: 'AlreadyAllocated',
          message: `${address} belongs to ${key}`,
          remedy: 'Request another address, or give both Services the same lbipam.cilium.io/sharing-key.',
        }
      }
      if (!permits(request, other) || !permits(other, request)) {
        return {
          code: 'IncompatibleService',
          message: `${address} belongs to ${key} of another namespace`,
          remedy:
            'Name the other namespace in lbipam.cilium.io/sharing-cross-namespace of both Services, or request ' +
            'another address.',
        }
      }
      const port = request.ports.find((each) => other.ports.includes(each))
      if (port !== undefined)
        return {
          code: 'IncompatibleService',
          message: `${key} has port ${port} of ${address}`,
          remedy: 'Use different ports, or different addresses.',
        }
      if (other.trafficKey !== request.trafficKey)
        return {
          code: 'IncompatibleService',
          message: `${key} on ${address} has another externalTrafficPolicy or, under Local, another selector`,
          remedy: 'Make them equal, or use different addresses.',
        }
    }
    return undefined
  }
}

function refusalOf(usable: readonly Pool[], family: Family): Refusal {
  if (usable.length === 0)
    return {
      code: 'PoolSelectorMismatch',
      message: 'no open pool selects this Service',
      remedy: 'Label the Service for a pool, or widen the serviceSelector of one.',
    }
  return {
    code: 'OutOfAddresses',
    message: `no free ${family} address in ${usable.map((pool) => pool.name).join(', ')}`,
    remedy: 'Add a block to the pool, or delete Services that hold its addresses.',
  }
}

function isSelected(pool: Pool, request: AddressRequest): boolean {
  return pool.serviceSelector === undefined || selectorMatches(pool.serviceSelector, request.labels)
}

function isSpared(pool: Pool, address: string): boolean {
  const parsed = parseAddress(address)
  if (parsed === undefined) return false
  const value = toInteger(parsed)
  const range = rangeWith(pool, familyOfAddress(parsed), value)
  return range?.sparesEnds === true && (value === range.first || value === range.last)
}

function permits(request: AddressRequest, other: AddressRequest): boolean {
  return (
    request.namespace === other.namespace ||
    request.sharedWith.includes('*') ||
    request.sharedWith.includes(other.namespace)
  )
}
