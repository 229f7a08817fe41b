/**
 * Objects in, deltas of desired state out. Pure: the record of allocations is a port.
 *
 *     upsert, remove --> store (last good version) --> dirty: one Service, the node, or the pools
 *     flush: pools --> plan of this node --> addresses --> a bounded number of Services --> delta
 *
 * A Service or EndpointSlice costs its Service. This Node, a Secret that a neighbor names and a policy cost the node,
 * and those Services of which a neighbor hears something else (touched.ts); a pool costs every Service (walks.ts). An
 * equal version of an object costs nothing. Nothing is said before every kind was delivered once.
 */
import type { DesiredDelta, DesiredService, ObjectRef, Problem } from '../../desired/model.ts'
import type { Address } from '../../ip/address.ts'
import { poolsOf, unreadPool } from './pools.ts'
import type { Pool } from '../../allocation/pool-table.ts'
import type { BookWarning } from '../../allocation/address-book.ts'
import { refOf } from '../kinds/problems.ts'
import { selectableLabels, type Service } from '../kinds/service.ts'
import { clusterPlaces, clusterPlacesKind } from '../dialects/cluster-places.ts'
import { allNodes, nodeKinds } from '../dialects/nodes.ts'
import { planPools, poolInputKinds, poolKinds } from '../dialects/pools.ts'
import { configurationKinds, planKinds } from '../dialects/table.ts'
import type { ObjectKey, Origin, RawObject } from '../source.ts'
import { addressSource, ServiceAddresses } from './addresses.ts'
import { reservedPlaces } from './reserved.ts'
import { NodeTranslation, type NodeAnswer } from './node.ts'
import { OwnAddresses } from './own-addresses.ts'
import { sameValue } from '../../desired/same-value.ts'
import { isClassServed, translateService } from './services.ts'
import { ProxyShare } from './proxied.ts'
import { ServiceSlices } from './service-slices.ts'
import { SocketTranslation } from './sockets.ts'
import { Tunnels } from './tunnels.ts'
import { retoldService } from './wishes.ts'
import { goOn, type Work } from '../../allocation/work.ts'
import { isTouched, type Touched, touchedBetween } from './touched.ts'
import { ObjectStore, type Change } from './store.ts'
import { Walks } from './walks.ts'
import type { LocalAddress, NamedEndpoints, ServedBy, Translator, TranslatorOptions } from './types.ts'

export type { Translator, TranslatorOptions } from './types.ts'

/** Services of one flush, and how long it may take: BGP and the API share the loop. */
const flushServices = 256
const flushMs = 5
/** Services whose addresses are settled between two looks at the clock, and in one flush. */
const settledTogether = 64
const mostSettled = 4_096

export function createTranslator(options: TranslatorOptions): Translator {
  return new NodeTranslator(options)
}

/** What depends on that by which Services are served. */
function partsOf(options: TranslatorOptions): [Tunnels, ProxyShare, SocketTranslation | undefined] {
  const sockets = options.leadsSockets === true ? new SocketTranslation(options.nodeName) : undefined
  return [new Tunnels(options), new ProxyShare(options), sockets]
}

class NodeTranslator implements Translator {
  #options: TranslatorOptions
  readonly #store: ObjectStore
  readonly #node: NodeTranslation
  readonly #addresses: ServiceAddresses
  readonly #slices = new ServiceSlices((address) => this.#own.claimantsOf(address))
  #dirty = new Set<string>()
  /** Until they are over nothing is settled. */
  readonly #walks = new Walks((id) => this.#touch(id))
  /** Those that are settled before any of them is translated; what comes meanwhile is for the next round. */
  #round = new Set<string>()
  /** Those of the round that came out of it, as they were settled: so they are translated, whatever comes meanwhile. */
  readonly #settled = new Map<string, Service | undefined>()
  /** A round took several flushes: what it came to is translated before the next one begins, however much comes. */
  #isTranslationDue = false
  /** Services whose addresses are settled, and which wait to be translated. */
  readonly #waiting = new Set<string>()
  #hasUnsettled = false
  /** Addresses that are being settled: until that is done everything else waits. */
  #settling: Work<void> | undefined
  /** Some of those that wait: nothing but what neighbors hear of them is another. */
  readonly #retold = new Set<string>()
  /** Empty as long as nobody asks for an address without a pool. */
  #own = new OwnAddresses()
  readonly #emitted = new Map<string, DesiredService>()
  #tunnels: Tunnels
  /** undefined: nobody leads sockets. */
  #sockets: SocketTranslation | undefined
  #proxy: ProxyShare
  #arePoolsDirty = true
  #isNodeDirty = true
  /** Of this node, for whom endpoints may be meant. */
  #zone: string | undefined
  #isReservedDirty = true
  #areTunnelsDirty = true
  #local: readonly LocalAddress[] = []
  #isSynced = false
  #answer: NodeAnswer | undefined
  #pools: readonly Pool[] | undefined
  /** Configuration of which no version was ever understood. */
  #unread: readonly Change[] = []
  #poolProblems: readonly Problem[] = []
  #recordWarning: BookWarning | undefined
  #problemsVersion = 0
  #lastProblems: readonly Problem[] = []
  #lastSpeaker = ''
  #lastPodCidrs = '[]'

  constructor(options: TranslatorOptions) {
    this.#options = options
    this.#node = new NodeTranslation(options)
    ;[this.#tunnels, this.#proxy, this.#sockets] = partsOf(options)
    // A moment without its Node or a key changes nothing; another node's, or a key that nobody names, may go.
    this.#store = new ObjectStore((kind, id) =>
      kind === 'Secret'
        ? this.#node.secrets.has(id)
        : (nodeKinds.has(kind) && id === options.nodeName) || this.#node.needs(kind, id),
    )
    this.#addresses = new ServiceAddresses(addressSource(options))
  }

  upsert(key: ObjectKey, object: RawObject, origin: Origin | undefined): void {
    this.#touched(this.#store.upsert(key, object, origin))
  }

  remove(key: ObjectKey): void {
    this.#touched(this.#store.remove(key))
  }

  serveBy(servedBy: ServedBy): void {
    this.#options = { ...this.#options, ...servedBy }
    ;[this.#tunnels, this.#proxy, this.#sockets] = partsOf(this.#options)
  }

  synced(): void {
    this.#isSynced = true
  }

  get hasMore(): boolean {
    return this.#walks.areDue || this.#isWithin
  }

  /** Of a round of flushes some are done. */
  get #isWithin(): boolean {
    return this.#waiting.size > 0 || this.#hasUnsettled
  }

  get isRecordDue(): boolean {
    const code = this.#addresses.warning?.code
    return code === 'RecordBusy' || code === 'NotRecorded'
  }

  stop(): void {
    this.#settling?.return()
    this.#settling = undefined
  }

  get usesNetwork(): boolean {
    return this.#node.usesNetwork
  }

  get usesProcesses(): boolean {
    return this.#options.proxying !== undefined
  }

  get slices(): NamedEndpoints {
    return this.#slices
  }

  get secrets(): ReadonlySet<string> {
    return this.#isSynced ? this.#node.secrets : this.#node.secretsOf(this.#store.objects)
  }

  flush(): DesiredDelta {
    if (!this.#isSynced) return { services: new Map() }
    const { nowMs = () => 0 } = this.#options
    const endMs = nowMs() + flushMs
    const isOver = (): boolean => nowMs() >= endMs
    const isFirst = !this.#isWithin
    if (!this.#walks.goOn(isOver) || !this.#settleOn(isOver)) return { services: new Map() }
    // Interfaces get addresses without a word to us.
    this.#isNodeDirty ||= this.#answer?.problems.some(({ code }) => code === 'NotOwnAddress') === true
    if (!this.#isWithin && this.#node.hasNetworkMoved()) this.#isNodeDirty = true
    if (this.#store.problemsVersion !== this.#problemsVersion) this.#lookAtUnread()
    const isNodeDirty = this.#isNodeDirty
    const node = isNodeDirty ? this.#translateNode() : {}
    const haveMoved = this.#haveAddressesMoved()
    if (this.#isReservedDirty || haveMoved) this.#reserve()
    const hasNewProblems =
      isNodeDirty ||
      this.#arePoolsDirty ||
      this.#areTunnelsDirty ||
      haveMoved ||
      this.#store.problemsVersion !== this.#problemsVersion
    if (this.#arePoolsDirty) this.#translatePools()
    const tunnels = this.#areTunnelsDirty || haveMoved ? this.#lookAtTunnels() : {}
    const nodePorts = this.#isWithin ? {} : this.#lookAtProxy()
    const services = this.#walks.goOn(isOver) ? this.#translateServices(isOver, isFirst) : new Map()
    const sockets = this.#sockets?.take() ?? new Map()
    const { warning } = this.#addresses
    const hasNewWarning = warning !== this.#recordWarning
    this.#recordWarning = warning
    this.#problemsVersion = this.#store.problemsVersion
    const problems = hasNewProblems || hasNewWarning ? this.#problems() : undefined
    const isNews = problems !== undefined && !sameValue(problems, this.#lastProblems)
    if (isNews) this.#lastProblems = problems
    const led = sockets.size === 0 ? {} : { sockets }
    return { services, ...led, ...node, ...tunnels, ...nodePorts, ...(isNews ? { problems } : {}) }
  }

  #lookAtProxy(): Pick<DesiredDelta, 'nodePorts' | 'otherNodes'> {
    const servers = this.#slices.of('default/kubernetes')
    const node = this.#store.objects.Node.get(this.#options.nodeName)?.value
    const { moved, servers: otherServers, ...news } = this.#proxy.look(node, this.#local, servers)
    if (moved === 'all') this.#renewOwners()
    else for (const id of moved) this.#touch(id)
    if (otherServers.size > 0) this.#touchOwners((address) => otherServers.has(address))
    return news
  }

  #renewOwners(): void {
    this.#own = new OwnAddresses()
    this.#touchAll()
  }

  /** A node that moves costs the Services that have an endpoint there, and no others. */
  #lookAtTunnels(): Pick<DesiredDelta, 'tunnels'> {
    const { objects } = this.#store
    const before = this.#tunnels.ends
    const isService = (address: string): boolean =>
      this.#addresses.poolsOf(address).length > 0 && this.#addresses.reserved.reasonOf(address) === undefined
    const moved = this.#tunnels.look({ objects, isService, local: this.#local })
    this.#areTunnelsDirty = false
    if (moved === 'all' || moved.size > 0)
      this.#walks.add(
        this.#slices,
        (all) => moved === 'all' || all.some(({ nodes }) => nodes.some((n) => moved.has(n))),
      )
    const { ends } = this.#tunnels
    this.#proxy.setNodes(objects.Node, ends.senders, this.#local)
    return ends === before ? {} : { tunnels: ends }
  }

  #problems(): readonly Problem[] {
    const record = this.#recordWarning
    const recordProblems: readonly Problem[] =
      record === undefined ? [] : [{ object: { kind: 'File', name: '.herald/allocations.yaml' }, field: '', ...record }]
    return [
      ...this.#store.problems(),
      ...this.#poolProblems,
      ...(this.#answer?.problems ?? []),
      ...this.#tunnels.problems,
      ...recordProblems,
    ]
  }

  #touched(change: Change | undefined): void {
    if (change === undefined) return
    const { kind, id } = change
    if (kind === 'Service') this.#touch(id)
    else if (kind === 'EndpointSlice')
      for (const each of this.#slices.set(id, this.#store.objects.EndpointSlice.get(id)?.value)) this.#touch(each)
    else if (poolInputKinds.has(kind)) {
      this.#arePoolsDirty = true
      this.#isNodeDirty ||= poolKinds.has(kind)
    } else if (kind === 'Secret') this.#isNodeDirty ||= this.#node.secrets.has(id)
    else if (planKinds.has(kind) || (nodeKinds.has(kind) && id === this.#options.nodeName)) this.#isNodeDirty = true
    if (nodeKinds.has(kind) || kind === clusterPlacesKind) this.#isReservedDirty = true
    const isOfTunnels = nodeKinds.has(kind) || kind === 'Lease' || kind === clusterPlacesKind || poolKinds.has(kind)
    this.#areTunnelsDirty ||= isOfTunnels
  }

  #touchAll(): void {
    this.#walks.add(this.#store.objects.Service, () => true, 'all')
  }

  #touch(id: string): void {
    this.#dirty.add(id)
    this.#retold.delete(id)
  }

  /** An advertisement is about those that it selects, and about those that nothing selects, which are told so. */
  #touchTold(touched: Touched | undefined): void {
    if (touched === undefined) return
    if (touched === 'everything') return this.#touchAll()
    const { areWordsNew } = touched
    this.#walks.add(this.#store.objects.Service, ({ value }, id) => {
      const isUnselected = areWordsNew && this.#emitted.get(id)?.verdicts.some(({ code }) => code === 'NotSelected')
      if (this.#retold.has(id) || !(isUnselected || isTouched(touched, selectableLabels(value)))) return false
      // Its address is what it was: there is nothing to settle.
      const isKnown = !this.#dirty.has(id) && !this.#round.has(id) && !this.#waiting.has(id)
      for (const keys of isKnown ? [this.#retold, this.#waiting] : []) keys.add(id)
      return !isKnown
    })
  }

  /** What was never understood is no part of the store, and what is said of it is. */
  #lookAtUnread(): void {
    const unread = this.#store.unread(configurationKinds)
    if (sameValue(unread, this.#unread)) return
    this.#unread = unread
    this.#isNodeDirty = true
    this.#arePoolsDirty = true
  }

  #translatePools(): void {
    const { pools: planned, problems } = poolsOf(planPools(this.#store.objects), this.#addresses.reserved)
    const unread = this.#unread.filter(({ kind }) => poolKinds.has(kind))
    const pools = [...planned, ...unread.map(({ kind, id }) => unreadPool(kind, id))]
    this.#poolProblems = problems
    this.#arePoolsDirty = false
    // A namespace with labels that no pool looks at is nothing to the Services.
    if (sameValue(pools, this.#pools)) return
    this.#pools = pools
    this.#addresses.setPools(pools)
    this.#touchAll()
  }

  /** Asked for once in a round of flushes. */
  #haveAddressesMoved(): boolean {
    if (this.#isWithin) return false
    const local = this.#options.localAddresses?.() ?? []
    if (sameValue(local, this.#local)) return false
    this.#local = local
    return true
  }

  /** What a Service may not have changes with the nodes and the neighbors; then the pools are told, too. */
  #reserve(): void {
    const before = this.#addresses.reserved
    const neighbors = [...(this.#answer?.exports?.inForce.values() ?? [])].flat()
    const elsewhere = clusterPlaces(this.#store.objects, this.#options.nodeName)
    if (this.#addresses.setReserved(reservedPlaces(allNodes(this.#store.objects), neighbors, this.#local, elsewhere))) {
      this.#arePoolsDirty = true
      this.#touchAll()
    }
    if (this.#addresses.reserved !== before) {
      if (this.#answer?.exports?.isBeyondPools === true) this.#touchAll()
      else if (this.#sockets !== undefined || this.#proxy.proxying !== undefined)
        this.#touchOwners(this.#addresses.reserved.changedSince(before))
    }
    this.#isReservedDirty = false
  }

  /** What is in no pool is served, unless something else has it: cluster IPs to sockets, external IPs. */
  #touchOwners(isChanged: (address: string) => boolean): void {
    this.#walks.add(this.#store.objects.Service, ({ value }) => value.own.some(({ address }) => isChanged(address)))
  }

  #lookAtZone(): void {
    const { metadata } = this.#store.objects.Node.get(this.#options.nodeName)?.value ?? {}
    const zone = metadata === undefined ? this.#zone : metadata.labels['topology.kubernetes.io/zone']
    if (zone === this.#zone) return
    this.#zone = zone
    if (this.#sockets === undefined) return
    this.#walks.add(this.#slices, (slices) => slices.some(({ hints }) => hints.length > 0))
  }

  /** The parts of a delta that are about the node itself, where they changed. */
  #translateNode(): Pick<DesiredDelta, 'speaker' | 'podCidrs'> {
    const before = this.#answer
    this.#lookAtZone()
    const isNodeBroken = this.#store.hasProblems('Node', this.#options.nodeName)
    const unread = this.#unread.flatMap(({ kind, id }) => (planKinds.has(kind) ? `${kind} ${id}` : []))
    const answer = this.#node.translate(this.#store.objects, isNodeBroken, unread)
    this.#answer = answer
    this.#isNodeDirty = false
    this.#isReservedDirty = true
    this.#store.forgetGone()
    // A label that no selector names, or a new key, is nothing to the Services.
    this.#touchTold(touchedBetween(before, answer))
    if (before?.exports?.isOwnAsked !== answer.exports?.isOwnAsked) this.#renewOwners()
    const neighbors = [...(answer.exports?.inForce.values() ?? [])].flat()
    const { podCidrs = [] } = answer.exports ?? {}
    const [speakerBefore, podCidrsBefore] = [this.#lastSpeaker, this.#lastPodCidrs]
    const { isDraining } = answer
    this.#lastSpeaker = JSON.stringify([neighbors, isDraining])
    this.#lastPodCidrs = JSON.stringify(podCidrs)
    return {
      ...(this.#lastSpeaker === speakerBefore
        ? {}
        : { speaker: { nodeName: this.#options.nodeName, neighbors, isDraining } }),
      ...(this.#lastPodCidrs === podCidrsBefore ? {} : { podCidrs }),
    }
  }

  /** `isFirst` of the flushes of a change: in the others nobody who waits for the record is settled once more. */
  #translateServices(isOver: () => boolean, isFirst: boolean): ReadonlyMap<string, DesiredService | undefined> {
    if (this.#round.size === 0 && !this.#isTranslationDue) {
      this.#round = this.#dirty
      this.#dirty = new Set()
    }
    if (isFirst || this.#round.size > 0) this.#settle(isOver)
    const rivals = [...this.#own.takeRivals(), ...this.#proxy.nodePorts.takeRivals()]
    for (const rival of rivals) if (!this.#retold.delete(rival)) this.#waiting.add(rival)
    // Who has which address is known before anything is made of it.
    this.#isTranslationDue = this.#settling !== undefined || this.#round.size > 0
    this.#hasUnsettled = this.#isTranslationDue || this.#dirty.size > 0
    if (this.#isTranslationDue) return new Map()
    const delta = new Map<string, DesiredService | undefined>()
    let count = 0
    for (const id of this.#waiting) {
      // What was settled with another version belongs to that one: who changes all the time is told of all the same.
      const isOlder = this.#dirty.has(id)
      if (isOlder && !this.#settled.has(id)) continue
      if (count >= flushServices || (count > 0 && isOver())) break
      count++
      this.#waiting.delete(id)
      const service = isOlder ? this.#settled.get(id) : this.#serviceOf(id)
      this.#settled.delete(id)
      this.#translateService(id, service, delta)
    }
    return delta
  }

  /** An allocator of ours chooses with all before it; what statuses say comes out the same in whatever parts. */
  #settle(isOver: () => boolean): void {
    const part = this.#options.isAllocatedElsewhere === true ? settledTogether : Number.POSITIVE_INFINITY
    let settled = 0
    do {
      const ids: string[] = []
      for (const id of this.#round) {
        if (ids.length >= part) break
        ids.push(id)
        this.#round.delete(id)
      }
      settled += ids.length
      this.#settling = this.#settleThese(ids)
    } while (this.#settleOn(isOver) && this.#round.size > 0 && settled < mostSettled && !isOver())
  }

  /** False: the turn is over, and there is more. */
  #settleOn(isOver: () => boolean): boolean {
    if (this.#settling !== undefined && goOn(this.#settling, isOver) === undefined) return false
    this.#settling = undefined
    return true
  }

  *#settleThese(ids: readonly string[]): Work<void> {
    const used = new Map<string, Service | undefined>()
    const moved = yield* this.#addresses.settle(ids, (id) => {
      used.set(id, this.#serviceOf(id))
      return this.#loadBalancer(id)
    })
    const isProxy = this.#proxy.proxying !== undefined
    if (isProxy || this.#answer?.exports?.isOwnAsked === true)
      for (const id of ids) {
        this.#own.set(id, this.#serviceOf(id))
        if (isProxy) this.#proxy.nodePorts.set(id, this.#serviceOf(id))
        yield
      }
    for (const id of [...ids, ...moved]) {
      if (!this.#retold.delete(id)) this.#waiting.add(id)
      if (used.has(id)) this.#settled.set(id, used.get(id))
    }
  }

  #serviceOf(id: string): Service | undefined {
    return this.#store.objects.Service.get(id)?.value
  }

  #loadBalancer(id: string): Service | undefined {
    const service = this.#serviceOf(id)
    return service?.spec.type === 'LoadBalancer' && isClassServed(service, this.#options) ? service : undefined
  }

  #translateService(id: string, service: Service | undefined, delta: Map<string, DesiredService | undefined>): void {
    const stored = this.#store.objects.Service.get(id)
    const source = stored === undefined ? undefined : refOf(stored.key, stored.origin)
    const desired = service === undefined || source === undefined ? undefined : this.#desired(id, service, source)
    const { frontends = [] } = desired ?? {}
    const slices = this.#slices.of(id)
    const [{ reserved }, { proxying }] = [this.#addresses, this.#proxy]
    this.#sockets?.set({ key: id, service, slices, frontends, reserved, proxying, zone: this.#zone })
    if (desired === undefined) {
      if (this.#emitted.delete(id)) delta.set(id, undefined)
      return
    }
    const before = this.#emitted.get(id)
    if (before !== undefined && sameValue(before.routes, desired.routes) && sameValue(before, desired)) return
    this.#emitted.set(id, desired)
    delta.set(id, desired)
  }

  #desired(id: string, service: Service, source: ObjectRef): DesiredService | undefined {
    const around = {
      reserved: this.#addresses.reserved,
      poolsOf: (address: string) => this.#addresses.poolsOf(address),
      exports: this.#answer?.exports,
      noExports: this.#answer?.noExports ?? { message: '', remedy: '' },
    }
    const before = this.#retold.delete(id) ? this.#emitted.get(id) : undefined
    const retold = before === undefined ? undefined : retoldService({ service, source, ...around }, before)
    if (retold !== undefined) return retold
    const own = { key: id, source, service, slices: this.#slices.of(id), answer: this.#addresses.answerOf(id) }
    const { apiServers } = this.#proxy
    const taken = { apiServers, isEndpoint: (address: Address) => this.#slices.hasEndpoint(address) }
    const reach = this.#tunnels.reachOf(service)
    const node = { reach, nodeObstacle: this.#answer?.obstacle, proxying: this.#proxy.proxying }
    return translateService({ ...own, ...around, ...node, taken, owners: this.#own }, this.#options)
  }
}
