/**
 * Who has which address, of all Services that the API server has. What statuses say is imported before anything is
 * chosen, whoever wrote it; from then on the record is in memory, and the status of each Service is what outlives us.
 * Pure.
 *
 *     upsert, remove --> objects --> flush: pools, reserved places, dirty Services --> answers, problems, counts
 */
import type { AllocationChanges } from '../allocation/address-book.ts'
import type { AddressAnswer } from '../allocation/address-source.ts'
import { FolderAllocator } from '../allocation/folder-allocator.ts'
import { MemoryBook } from '../allocation/memory-book.ts'
import { PoolCounter, type PoolCounts } from '../allocation/pool-counts.ts'
import type { Pool } from '../allocation/pool-table.ts'
import type { ReservedPlace } from '../allocation/reserved.ts'
import { type Aged, byAge } from '../allocation/sharing.ts'
import { allOf, inOrder, type Work } from '../allocation/work.ts'
import type { Problem } from '../desired/model.ts'
import { planPools, poolInputKinds, type PlannedPool } from '../k8s/dialects/pools.ts'
import { nodeReportKind } from '../k8s/dialects/node-report.ts'
import { configurationKinds, planKinds, planNode, rivalKinds } from '../k8s/dialects/table.ts'
import type { Service } from '../k8s/kinds/service.ts'
import type { ServedKind, StoredObjects } from '../k8s/kinds/table.ts'
import type { ObjectKey, RawObject } from '../k8s/source.ts'
import { ageOf, type Lingering, ServiceAddresses } from '../k8s/translate/addresses.ts'
import { allNodes, nodeKinds } from '../k8s/dialects/nodes.ts'
import { poolsOf } from '../k8s/translate/pools.ts'
import { reservedPlaces } from '../k8s/translate/reserved.ts'
import { isClassServed, servesClass } from '../k8s/translate/services.ts'
import { ObjectStore } from '../k8s/translate/store.ts'
import { familyOfText } from '../ip/address.ts'

/** The kinds that an operator reads: what asks for addresses, what gives them, and what has some already. */
export const operatorKinds: ReadonlySet<ServedKind> = new Set<ServedKind>([
  'Service',
  ...nodeKinds,
  ...poolInputKinds,
  ...configurationKinds,
  nodeReportKind,
])

export interface AllocationOptions {
  readonly loadBalancerClass?: string
  readonly isClassRequired?: boolean
}

export interface Flushed {
  /** Services with another answer than before. */
  readonly moved: readonly string[]
  /** Pools, what is free of them, or their problems may have changed. */
  readonly arePoolsNew: boolean
  /** What is wrong with objects may be something else. */
  readonly areProblemsNew: boolean
  /** The sessions of any node may be others. */
  readonly arePlansNew: boolean
}

/** A pool with the object that it was made of. */
export interface CountedPool {
  readonly key: ObjectKey
  readonly pool: Pool
  readonly counts: PoolCounts
  readonly conflict: string | undefined
}

export class Allocation {
  readonly #options: AllocationOptions
  readonly #store = new ObjectStore()
  readonly #book = new MemoryBook()
  readonly #allocator = new FolderAllocator(this.#book)
  readonly #addresses = new ServiceAddresses(this.#allocator)
  readonly #counter = new PoolCounter()
  #dirty = new Set<string>()
  /** Those of the flush that is under way. */
  #settling: ReadonlySet<string> = new Set()
  /** Deleted, and still there: they keep what they have, and get nothing. */
  readonly #leaving = new Set<string>()
  #planned: readonly PlannedPool[] = []
  #pools: readonly Pool[] = []
  #poolProblems: readonly Problem[] = []
  #arePoolsDirty = true
  #arePlacesDirty = true
  #arePlansDirty = true
  #problemsVersion = 0
  #isSynced = false

  constructor(options: AllocationOptions) {
    this.#options = options
  }

  upsert(key: ObjectKey, object: RawObject): void {
    if (key.kind === 'Service') this.#setLeaving(`${key.namespace}/${key.name}`, object)
    const change = this.#store.upsert(key, object, undefined)
    if (change !== undefined) this.#touched(change)
  }

  /**
   * A Service as we wrote it: nothing but its status is new, which says what was answered. False: it has to be looked
   * at all the same.
   */
  written(key: ObjectKey, object: RawObject): boolean {
    const id = `${key.namespace}/${key.name}`
    const isLooked = !this.#dirty.has(id) && !this.#settling.has(id) && !this.#leaving.has(id)
    const change = this.#store.upsert(key, object, undefined)
    const service = this.#served(id)
    const isSettled = isLooked && service !== undefined && this.#allocator.confirm(id, service)
    if (change !== undefined && !isSettled) this.#touched(change)
    return isSettled
  }

  remove(key: ObjectKey): void {
    if (key.kind === 'Service') this.#leaving.delete(`${key.namespace}/${key.name}`)
    const change = this.#store.remove(key)
    if (change !== undefined) this.#touched(change)
  }

  /** Something of a Service changed that is no part of what is read of it. */
  touch(key: string): void {
    this.#dirty.add(key)
  }

  /** It changed, and a flush that is under way may take from it what it has. */
  isBeingSettled(key: string): boolean {
    return this.#settling.has(key)
  }

  /** In force. */
  get objects(): StoredObjects {
    return this.#store.objects
  }

  /** Everything was delivered once: from now on addresses are given away. */
  synced(): void {
    this.#isSynced = true
  }

  /**
   * Work that may be laid down between two Services: until it is done answers are those of before, and what is told
   * meanwhile is for the next flush. `lingeringOf` answers what the status of a Service says now.
   */
  *flush(lingeringOf: (key: string) => Lingering): Work<Flushed> {
    if (!this.#isSynced) return { moved: [], arePoolsNew: false, areProblemsNew: false, arePlansNew: false }
    const arePlansNew = this.#arePlansDirty
    this.#arePlansDirty = false
    if (this.#arePlacesDirty) this.#reserve()
    const hasNewProblems = this.#store.problemsVersion !== this.#problemsVersion
    this.#problemsVersion = this.#store.problemsVersion
    const arePoolsNew = this.#arePoolsDirty
    if (arePoolsNew) this.#readPools()
    const dirty = this.#dirty
    this.#dirty = new Set()
    this.#settling = dirty
    const lingering = (key: string): Lingering => ({ ...lingeringOf(key), isLeaving: this.#leaving.has(key) })
    const moved = yield* this.#addresses.settle(dirty, (key) => this.#served(key), lingering)
    for (const key of [...dirty, ...moved]) {
      this.#counter.hold(key, this.#addressesOf(key))
      yield
    }
    if (arePoolsNew) yield* this.#count()
    this.#settling = new Set()
    const areProblemsNew = arePoolsNew || hasNewProblems
    return { moved, arePoolsNew: areProblemsNew || moved.length > 0, areProblemsNew, arePlansNew }
  }

  /** What to say of a Service; undefined: it is none of ours, or is not understood. */
  answerOf(key: string): AddressAnswer | undefined {
    return this.#isSynced && this.#served(key) !== undefined ? this.#addresses.answerOf(key) : undefined
  }

  #isOurs(key: string): boolean {
    const service = this.serviceOf(key)
    return service?.spec.type === 'LoadBalancer' && isClassServed(service, this.#options)
  }

  /** What of the pools nodes, pods and neighbors have. */
  get placesInPools(): readonly ReservedPlace[] {
    return this.#addresses.placesInPools
  }

  servesClass(name: string | undefined): boolean {
    return servesClass(name, this.#options)
  }

  serviceOf(key: string): Service | undefined {
    return this.#store.objects.Service.get(key)?.value
  }

  problems(): readonly Problem[] {
    return [...this.#store.problems(), ...this.#poolProblems]
  }

  /** Why a Service is not understood. */
  errorsOf(key: string): readonly Problem[] {
    return this.#store.problemsOf('Service', key).filter(({ severity }) => severity === 'error')
  }

  pools(): readonly CountedPool[] {
    const counts = this.#counter.counts()
    return this.#planned.flatMap(({ from }, index) => {
      const pool = this.#pools[index]
      const count = pool === undefined ? undefined : counts.get(pool)
      if (pool === undefined || count === undefined) return []
      const problem = this.#poolProblems.find(
        ({ code, object }) =>
          code === 'PoolConflict' &&
          object.kind === pool.kind &&
          object.name === pool.name &&
          (object.namespace ?? '') === (pool.namespace ?? ''),
      )
      return [{ key: from.key, pool, counts: count, conflict: problem?.message }]
    })
  }

  /**
   * Somebody else gave Services other addresses than we did, and they are free: then that is what they have; of several
   * with one address the oldest. What another Service holds, what it did not ask for, and what is in no pool that
   * serves it is not taken over. Answers who has others now.
   */
  *adopt(keys: readonly string[]): Work<readonly string[]> {
    const ages: Aged[] = []
    for (const key of keys) {
      yield
      const service = this.#counter.heldBy(key).length === 0 ? undefined : this.#served(key)
      if (service !== undefined) ages.push(ageOf(service))
    }
    const adopted: string[] = []
    for (const { key } of yield* inOrder(ages, byAge)) {
      if (this.#adopt(key)) adopted.push(key)
      yield
    }
    return adopted
  }

  #adopt(key: string): boolean {
    const service = this.#served(key)
    const held = this.#counter.heldBy(key)
    const status = [...new Set(service?.status)]
    if (service === undefined || held.length === 0 || status.length === 0 || isSameSet(held, status)) return false
    const isFree = status.every(
      (address) =>
        this.#addresses.mayHave(service, address) &&
        service.spec.families.includes(familyOfText(address)) &&
        this.#addresses.reserved.reasonOf(address) === undefined &&
        (held.includes(address) || !this.#counter.isHeld(address)),
    )
    const hasAll = service.spec.families.every((family) => status.some((address) => familyOfText(address) === family))
    if (!isFree || !(hasAll || status.length >= held.length)) return false
    allOf(this.#book.exchange(() => given(key, status)))
    this.#allocator.lookAgain(key)
    this.#counter.hold(key, status)
    this.#dirty.add(key)
    return true
  }

  #served(key: string): Service | undefined {
    const service = this.serviceOf(key)
    if (service === undefined || !this.#isOurs(key)) return undefined
    // What was chosen and not written by then is not written any more.
    return this.#leaving.has(key) && service.status.length === 0 ? undefined : service
  }

  #addressesOf(key: string): readonly string[] {
    return this.#served(key) === undefined ? [] : this.#addresses.answerOf(key).addresses
  }

  #setLeaving(key: string, { metadata }: RawObject): void {
    const time: unknown =
      typeof metadata === 'object' && metadata !== null ? Reflect.get(metadata, 'deletionTimestamp') : undefined
    const isLeaving = typeof time === 'string'
    if (isLeaving === this.#leaving.has(key)) return
    if (isLeaving) this.#leaving.add(key)
    else this.#leaving.delete(key)
    this.#dirty.add(key)
  }

  #touched({ kind, id }: { readonly kind: ServedKind; readonly id: string }): void {
    if (kind === 'Service') this.#dirty.add(id)
    if (poolInputKinds.has(kind)) this.#arePoolsDirty = true
    if (!nodeKinds.has(kind) && !planKinds.has(kind)) return
    this.#arePlacesDirty = true
    this.#arePlansDirty = true
  }

  /** Addresses of nodes, their pods, and the neighbors that any node may have. */
  #reserve(): void {
    this.#arePlacesDirty = false
    const { objects } = this.#store
    const places = reservedPlaces(allNodes(objects), neighborsOfAnyNode(objects))
    if (this.#addresses.setReserved(places)) this.#arePoolsDirty = true
  }

  #readPools(): void {
    this.#arePoolsDirty = false
    this.#planned = planPools(this.#store.objects)
    const { pools, problems } = poolsOf(this.#planned, this.#addresses.reserved)
    this.#pools = pools
    this.#poolProblems = problems
    this.#addresses.setPools(pools)
    for (const key of this.#store.objects.Service.keys()) this.#dirty.add(key)
  }

  #count(): Work<void> {
    const poolsOfAddress = (address: string): readonly Pool[] => {
      const [pool] = this.#addresses.poolsOf(address)
      return pool === undefined ? [] : [pool]
    }
    return this.#counter.setPools(this.#pools, this.#addresses.reserved, poolsOfAddress)
  }
}

/** Of each object that a node has one of by itself: which of them a node has is the node's affair. */
function neighborsOfAnyNode(objects: StoredObjects): readonly { readonly peerAddress: string }[] {
  const anyNode = { name: '', labels: {}, neighborKeys: [], isStandIn: true }
  const none = Object.fromEntries([...rivalKinds].map((kind) => [kind, new Map()]))
  const ones = [...rivalKinds].flatMap((kind) =>
    [...objects[kind]].map((only): object => ({ [kind]: new Map<string, unknown>([only]) })),
  )
  return [{}, ...ones].flatMap((one) => {
    const { plan } = planNode({ ...objects, ...none, ...one }, anyNode, { secretsNamespace: '' })
    return plan?.neighbors ?? []
  })
}

function* given(key: string, addresses: readonly string[]): Work<AllocationChanges> {
  yield
  return new Map([[key, { addresses }]])
}

function isSameSet(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((each) => b.includes(each))
}
