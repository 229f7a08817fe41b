/**
 * Address allocation (LB-IPAM): pools, requests, sharing. Pure and deterministic: of equal inputs in equal order come
 * equal addresses, which is how several agents that read one folder agree.
 *
 *     setPools --> table      request --asked for by name?--> those addresses -----> Assignment | Refusal
 *     reserve --> holders.ts              `--no--> held ones, shared ones, lowest free --^
 *
 * An address that a Service holds stays with it as long as any pool contains it, also one that gives none away any
 * more; a request that cannot be met does not cost it what it holds. Between begin and commit everything can be undone.
 */
import { type Family, familyOfText } from '../ip/address.ts'
import type { Labels } from '../desired/label-selector.ts'
import { keptList } from '../desired/kept.ts'
import { type Holder, nobody } from './holder.ts'
import { Holders } from './holders.ts'
import { type Pool, PoolTable, unfitness } from './pool-table.ts'
import { portsKept, saidPorts } from './port-owners.ts'
import {
  familyMismatch,
  invalidRequest,
  notGiven,
  nothingFree,
  recordedFor,
  type Refusal,
  reservedAddress,
  severalPools,
  takenBy,
} from './refusals.ts'
import { Reserved } from './reserved.ts'
import {
  type Aged,
  byAge,
  maxSharing,
  type SharingObstacle,
  sharingObstacle,
  type SharingTerms,
  termsObstacle,
} from './sharing.ts'
import type { PortsByAddress, Tenure } from './tenure.ts'
import type { Work } from './work.ts'

export interface AddressRequest extends Aged {
  readonly namespace: string
  /** With the pseudo labels that selectors may name. */
  readonly labels: Labels
  /** In the order in which its addresses are to be. */
  readonly families: readonly Family[]
  /** All families must be satisfied (RequireDualStack), or at least one. */
  readonly needsAllFamilies: boolean
  /** Addresses that the Service asks for by name. */
  readonly explicit: readonly string[]
  /** Why what it asks for cannot be had, whatever the pools are. */
  readonly invalid?: string | undefined
  /** What its status says that it has. */
  readonly status: readonly string[]
  /** Whoever allocates wrote that, and nobody else: it goes before what a status says that others wrote. */
  readonly isAttested?: boolean
  /** In the order in which objects were written, where that is known: it cannot be forged. */
  readonly writtenAt?: number | undefined
  /** What its status says to others until it is written anew: given to nobody else before. */
  readonly lingering?: readonly string[]
  /** It is being deleted: it keeps what it has, and gets nothing. */
  readonly isLeaving?: boolean
  readonly sharing: SharingTerms | undefined
  /** What its status says that it had of shared addresses. */
  readonly tenure?: Tenure | undefined
  /** The one pool that it asks for by name, also one that does not assign by itself. */
  readonly poolName?: string | undefined
}

/** What a Service has already. */
export interface Holding {
  readonly addresses: readonly string[]
  /** By the book, and not only by what its status says: then another one may be chosen in place of one that is lost. */
  readonly isRecorded: boolean
  /** Addresses that were not held may be chosen. */
  readonly mayChoose: boolean
  /** The ports that are recorded for it; undefined: nothing is. */
  readonly ports?: PortsByAddress | undefined
  /** What it had before, and was lost to others. */
  readonly lost?: readonly string[] | undefined
}

export interface Assignment {
  readonly addresses: readonly string[]
  /** The addresses with the pools that they are of, for people. */
  readonly from: string
  /** The request was refused, and the Service keeps what it held. */
  readonly refusal?: Refusal
  /** What was recorded for it and belongs to others now, and why the first of it does. */
  readonly lost?: { readonly addresses: readonly string[]; readonly refusal: Refusal }
}

type Fresh = ReadonlyMap<Family, string>

const noAddress: Fresh = new Map()

interface Choice {
  readonly found: Fresh
  /** One of them is an address that another Service has, too. */
  readonly isShared: boolean
}

export function isRefusal(found: Assignment | Refusal): found is Refusal {
  return 'code' in found
}

export class Ipam extends Holders {
  #pools: readonly Pool[] = []
  #reserved = new Reserved()
  #table = new PoolTable([], this.#reserved)

  /** Replaces the pools, oldest first. Nothing is moved by that until {@link assign}. */
  setPools(pools: readonly Pool[]): void {
    this.#pools = pools
    this.#table = new PoolTable(pools, this.#reserved)
  }

  /** Replaces what nobody may have besides addresses of special use. */
  setReserved(reserved: Reserved): void {
    this.#reserved = reserved
    this.#table = new PoolTable(this.#pools, reserved)
  }

  /** The pools that contain an address, those first that still give addresses away. */
  poolsOf(address: string): readonly Pool[] {
    return this.#table.poolsOf(address)
  }

  /** What is free is found at once after it. */
  passHeld(): Work<void> {
    return this.#table.passHeld((address) => this.isHeld(address))
  }

  /** Answers the addresses of a Service: those it holds where they still hold good, else new ones. */
  assign(request: AddressRequest, holding: Holding): Assignment | Refusal {
    const fitting = holding.addresses.filter(
      (address) => this.poolsOf(address).length > 0 && request.families.includes(familyOfText(address)),
    )
    const kept = keptList(fitting.filter((address) => this.#claimRefusal(request, address, holding) === undefined))
    const found = this.#find(request, holding, kept, fitting)
    const addresses = isRefusal(found) ? kept : found.addresses
    const lingering = (request.lingering ?? nobody).filter((address) => !addresses.includes(address))
    const age = { key: request.key, createdMs: request.createdMs }
    const recorded = this.holderOf(request.key)?.ports ?? holding.ports
    const wanted = portsKept(recorded, addresses, request.sharing)
    // Of two that are attested, which no allocator does, one is forged: who comes later.
    const ports = request.isAttested === true ? this.withoutTaken(request.key, wanted) : wanted
    const lingers = lingering.length === 0 ? {} : { lingering }
    const holder: Holder = { addresses, age, sharing: request.sharing, ports, ...lingers, ...saidPorts(request) }
    this.replace(request.key, addresses.length + lingering.length === 0 ? undefined : holder)
    return isRefusal(found) && kept.length > 0 ? { addresses: kept, from: this.#textOf(kept), refusal: found } : found
  }

  /** The pools that give an address away. */
  giversOf(address: string): readonly Pool[] {
    return this.poolsOf(address).filter((pool) => this.#table.gives(pool, address))
  }

  /** Whether a pool may serve a Service that holds an address: all of one that is whole, or of others. */
  fitsBeside(pool: Pool, held: string): boolean {
    const pools = this.poolsOf(held)
    return pools.some(({ isWhole }) => isWhole) ? pools.includes(pool) : pool.isWhole !== true
  }

  protected becameFree(address: string): void {
    this.#table.giveBack(address)
  }

  #find(
    request: AddressRequest,
    holding: Holding,
    kept: readonly string[],
    fitting: readonly string[],
  ): Assignment | Refusal {
    if (request.invalid !== undefined) return invalidRequest(request.invalid)
    const addresses: string[] = []
    for (const address of request.explicit) {
      const refusal = kept.includes(address) ? undefined : this.#explicitRefusal(request, address, holding)
      if (refusal !== undefined) return refusal
      addresses.push(address)
    }
    if (addresses.length > 1 && !this.#areOfOnePool(addresses)) return severalPools(addresses)
    const other = fitting.find((address) => !kept.includes(address))
    const refusal = other === undefined ? undefined : this.#claimRefusal(request, other, holding)
    // What its status says belongs to another: it is told, and does not get another one behind its back.
    if (refusal !== undefined && !holding.isRecorded && addresses.length === 0 && kept.length === 0) return refusal
    const found = this.#automatic(request, holding, kept, addresses)
    if (!isRefusal(found)) return this.#withLost(found, request, holding)
    return refusal === undefined || holding.mayChoose ? found : refusal
  }

  /** With what it had, or had before, and has not because others have it now. */
  #withLost(found: Assignment, request: AddressRequest, holding: Holding): Assignment {
    if (!holding.isRecorded) return found
    const missed = new Set([...holding.addresses, ...(holding.lost ?? [])])
    const lost = [...missed].flatMap((address) => {
      const isWanted = request.families.includes(familyOfText(address)) && this.poolsOf(address).length > 0
      if (!isWanted || found.addresses.includes(address)) return []
      // Also of one who is not seen yet, or any more.
      const refusal = this.#claimRefusal(request, address, holding) ?? this.#reservation(request, address)
      return refusal === undefined ? [] : [{ address, refusal }]
    })
    const [first] = lost
    return first === undefined
      ? found
      : { ...found, lost: { addresses: lost.map(({ address }) => address), refusal: first.refusal } }
  }

  #explicitRefusal(request: AddressRequest, address: string, { mayChoose }: Holding): Refusal | undefined {
    if (!request.families.includes(familyOfText(address))) return familyMismatch(address, request.families)
    const reserved = this.#reserved.reasonOf(address)
    if (reserved !== undefined) return reservedAddress(address, reserved)
    const isGiven = this.#table
      .poolsOf(address)
      .some((pool) => unfitness(pool, request) === undefined && this.#table.gives(pool, address))
    if (!isGiven) return notGiven(address, this.#table, request)
    const obstacle = this.#obstacle(request, address, false) ?? this.#reservation(request, address)
    if (obstacle !== undefined) return obstacle
    return mayChoose ? undefined : nothingFree(this.#table, request, [familyOfText(address)])
  }

  #areOfOnePool([first = '', ...others]: readonly string[]): boolean {
    const pools = this.poolsOf(first)
    const hasWhole = [first, ...others].some((address) => this.poolsOf(address).some(({ isWhole }) => isWhole))
    return !hasWhole || pools.some((pool) => others.every((address) => this.poolsOf(address).includes(pool)))
  }

  /** For each family: what was asked for by name, what is held, one that may be shared, the lowest free one. */
  #automatic(
    request: AddressRequest,
    { mayChoose }: Holding,
    kept: readonly string[],
    named: readonly string[],
  ): Assignment | Refusal {
    const { families, poolName } = request
    const inPool = kept.filter(
      (address) => poolName === undefined || this.poolsOf(address).some(({ name }) => name === poolName),
    )
    const ownOf = (family: Family): readonly string[] => {
      const byName = named.filter((address) => familyOfText(address) === family)
      return byName.length > 0 ? byName : inPool.filter((address) => familyOfText(address) === family)
    }
    const own = families.flatMap(ownOf)
    const missing = families.filter((family) => ownOf(family).length === 0)
    const fresh = mayChoose && missing.length > 0 ? this.#fresh(request, missing, own) : noAddress
    const addresses = families.flatMap((family) => {
      const found = fresh.get(family)
      return found === undefined ? ownOf(family) : [found]
    })
    const lacking = missing.filter((family) => !fresh.has(family))
    if (lacking.length > 0 && (request.needsAllFamilies || addresses.length === 0))
      return {
        ...nothingFree(this.#table, request, lacking),
        hinges: [...fresh.values()].map((each) => this.#hingeOf(each)),
      }
    return { addresses: keptList(addresses), from: this.#textOf(addresses) }
  }

  /** The address on which it hinges that a family is not full, of which this one is free or may be shared. */
  #hingeOf(address: string): string {
    const isHeld = (each: string): boolean => this.isHeld(each)
    const [pool] = isHeld(address) ? [] : this.giversOf(address)
    return (pool && this.#table.highest(pool, familyOfText(address), isHeld)) ?? address
  }

  /** `A, B of pool p`, or where they are of several `A of pool p, B of pool q`. */
  #textOf(addresses: readonly string[]): string {
    const byPool = Map.groupBy(addresses, (address) => this.poolsOf(address)[0]?.name ?? '')
    // In one piece: each Service has its own.
    return [...byPool].map(([name, own]) => [own.join(', '), ' of pool ', name].join('')).join(', ')
  }

  /** An address of each missing family, of the first pool that has them all and fits what is `own` already. */
  #fresh(request: AddressRequest, missing: readonly Family[], own: readonly string[]): Fresh {
    const open = this.#table.poolsFor(request.namespace).filter((pool) => isOpenTo(pool, request))
    const choices = this.#sourcesOf(open, own).map((pools) => this.#freshOf(request, missing, pools))
    const [first = 'ipv4'] = missing
    const isComplete = ({ found }: Choice): boolean => found.size === missing.length
    const best =
      choices.find((choice) => choice.isShared && isComplete(choice)) ??
      choices.find(isComplete) ??
      choices.find(({ found }) => found.has(first)) ??
      choices.find(({ found }) => found.size > 0)
    return best?.found ?? noAddress
  }

  /** Pools that may serve one Service together: one that is whole stands alone, and all others are one source. */
  #sourcesOf(open: readonly Pool[], [held]: readonly string[]): readonly (readonly Pool[])[] {
    if (held !== undefined) return [open.filter((pool) => this.fitsBeside(pool, held))]
    const others = open.filter(({ isWhole }) => isWhole !== true)
    return open.flatMap((pool) => (pool.isWhole === true ? [[pool]] : pool === others[0] ? [others] : []))
  }

  #freshOf(request: AddressRequest, missing: readonly Family[], pools: readonly Pool[]): Choice {
    const isHeld = (address: string): boolean => this.isHeld(address)
    const found = new Map<Family, string>()
    let isShared = false
    for (const family of missing) {
      const shared = this.#shareable(request, pools, family)
      if (shared !== undefined) isShared = true
      let address = shared
      for (const pool of pools) address ??= this.#table.lowest(pool, family, isHeld)
      if (address !== undefined) found.set(family, address)
    }
    return { found, isShared }
  }

  /** The lowest address that another Service of the same sharing key holds and that this one may join. */
  #shareable(request: AddressRequest, pools: readonly Pool[], family: Family): string | undefined {
    if (request.sharing === undefined) return undefined
    for (const address of this.shared.without(family, request.sharing)) {
      const refusal = this.#obstacle(request, address, false) ?? this.#reservation(request, address)
      if (refusal === undefined && this.poolsOf(address).some((pool) => pools.includes(pool))) return address
    }
    return undefined
  }

  /**
   * What is recorded for a Service that was not seen is not given to another, but for those that could share it: with
   * whom is known of a Service that is gone.
   */
  #reservation(request: AddressRequest, address: string, by: 'recorded' | 'any' = 'any'): Refusal | undefined {
    const isClosed = (key: string): boolean => {
      const { isClaim, wouldShare } = this.holderOf(key) ?? {}
      if (key === request.key || !this.isReservation(key) || (by === 'recorded' && isClaim === true)) return false
      return wouldShare === undefined || termsObstacle(request.sharing, wouldShare) !== undefined
    }
    // Of several the first by name is named, in whatever order they came.
    const [key] = this.holdersOf(address).filter(isClosed).sort()
    return key === undefined ? undefined : recordedFor(address, key)
  }

  /** Why a Service cannot have what it has by book or status; the book goes before the status of another. */
  #claimRefusal(request: AddressRequest, address: string, { isRecorded }: Holding): Refusal | undefined {
    const obstacle = this.#obstacle(request, address, true)
    return obstacle ?? (isRecorded ? undefined : this.#reservation(request, address, 'recorded'))
  }

  /**
   * Why an address cannot be given to a Service beside those that hold it. Who holds it already may meet another on a
   * port: then it stays with who had it first.
   */
  #obstacle(request: AddressRequest, address: string, isHeld: boolean): Refusal | undefined {
    const holders = this.holdersOf(address)
    if (holders.length >= maxSharing && !holders.includes(request.key)) {
      const seen = holders.filter((key) => !this.isReservation(key)).sort()
      if (seen.length >= maxSharing) return takenBy(address, seen[0] ?? '', { kind: 'crowd' })
    }
    // The oldest of several is named, in whatever order they came.
    let found: { readonly age: Aged; readonly obstacle: SharingObstacle } | undefined
    const note = (age: Aged, obstacle: SharingObstacle | undefined): void => {
      if (obstacle !== undefined && (found === undefined || byAge(age, found.age) < 0)) found = { age, obstacle }
    }
    for (const key of holders) {
      const other = key === request.key ? undefined : this.holderOf(key)
      if (other?.age === undefined) continue
      const hasIt = other.addresses.includes(address)
      if (hasIt || !isHeld) note(other.age, (hasIt ? termsObstacle : sharingObstacle)(request.sharing, other.sharing))
    }
    if (!isHeld && holders.length > 0) this.#portObstacles(request, address, note)
    return found && takenBy(address, found.age.key, found.obstacle)
  }

  /** The ports that others want who have an address: found by the port, since each of hundreds has hundreds. */
  #portObstacles(
    { key: own, sharing }: AddressRequest,
    address: string,
    note: (age: Aged, obstacle: SharingObstacle) => void,
  ): void {
    const wanted = sharing === undefined ? undefined : this.shared.wantedAt(address, sharing)
    if (wanted === undefined) return
    for (const port of sharing?.ports ?? nobody)
      for (const key of wanted.get(port) ?? nobody) {
        const age = key === own ? undefined : this.holderOf(key)?.age
        if (age !== undefined) note(age, { kind: 'port', port })
      }
  }
}

/** Whether a pool gives addresses to a Service that names none. */
export function isOpenTo(pool: Pool, request: AddressRequest): boolean {
  return (pool.autoAssign || request.poolName === pool.name) && unfitness(pool, request) === undefined
}
