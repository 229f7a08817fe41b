/**
 * Objects in, deltas of desired state out. Pure: the record of allocations is a port.
 *
 *     upsert, remove --> store (last good version) --> dirty: one Service, or the whole node
 *     flush: pools --> policy of this node --> addresses --> services --> delta
 *
 * A Service or EndpointSlice costs its Service; this Node, a Secret, policy or pool costs every Service. Nothing is
 * said
 * before every kind was delivered once.
 */
import type { DesiredDelta, DesiredService, Problem } from '../../desired/model.ts'
import { poolsOf } from './pools.ts'
import type { BookWarning } from '../../allocation/address-book.ts'
import { FolderAllocator } from '../../allocation/folder-allocator.ts'
import { MemoryBook } from '../../allocation/memory-book.ts'
import { serviceOfSlice, type EndpointSlice } from '../kinds/endpoint-slice.ts'
import { fault } from '../kinds/narrow.ts'
import { podCidrsOf } from '../kinds/node.ts'
import { problemOf } from '../kinds/problems.ts'
import { passwordOf } from '../kinds/secret.ts'
import type { Service } from '../kinds/service.ts'
import type { DialectAnswer } from '../dialects/node-plan.ts'
import { planPools, poolKinds } from '../dialects/pools.ts'
import { planKinds, planNode } from '../dialects/table.ts'
import type { ObjectKey, Origin, RawObject } from '../source.ts'
import { ServiceAddresses } from './addresses.ts'
import { exportsOf, type NodeExports } from './exports.ts'
import { reservedPlaces } from './reserved.ts'
import { routerIdOf } from './router-id.ts'
import { isClassServed, translateService } from './services.ts'
import { ObjectStore, type Change } from './store.ts'
import type { Translator, TranslatorOptions } from './types.ts'

export type { Translator, TranslatorOptions } from './types.ts'

const drainAnnotation = 'herald.dev/drain'

export function createTranslator(options: TranslatorOptions): Translator {
  return new NodeTranslator(options)
}

class NodeTranslator implements Translator {
  readonly #options: TranslatorOptions
  readonly #store = new ObjectStore()
  readonly #addresses: ServiceAddresses
  readonly #slices = new Map<string, Map<string, EndpointSlice>>()
  readonly #serviceOfSlice = new Map<string, string>()
  readonly #dirty = new Set<string>()
  readonly #emitted = new Set<string>()
  #arePoolsDirty = true
  #isNodeDirty = true
  #isReservedDirty = true
  #isSynced = false
  #exports: NodeExports | undefined
  #noExports: DialectAnswer['noPlan'] = { message: '', remedy: '' }
  #poolProblems: readonly Problem[] = []
  #nodeProblems: readonly Problem[] = []
  #recordWarning: BookWarning | undefined
  #problemsVersion = 0
  #hasProblems = false
  #lastSpeaker = ''
  #lastPodCidrs = '[]'

  constructor(options: TranslatorOptions) {
    this.#options = options
    this.#addresses = new ServiceAddresses(new FolderAllocator(options.addressBook ?? new MemoryBook()))
  }

  upsert(key: ObjectKey, object: RawObject, origin: Origin | undefined): void {
    this.#touched(this.#store.upsert(key, object, origin))
  }

  remove(key: ObjectKey): void {
    this.#touched(this.#store.remove(key))
  }

  synced(): void {
    this.#isSynced = true
  }

  flush(): DesiredDelta {
    if (!this.#isSynced) return { services: new Map() }
    const hasNewProblems =
      this.#isNodeDirty || this.#arePoolsDirty || this.#store.problemsVersion !== this.#problemsVersion
    const node = this.#isNodeDirty ? this.#translateNode() : {}
    if (this.#isReservedDirty) this.#reserve()
    if (this.#arePoolsDirty) this.#translatePools()
    const services = this.#translateServices()
    const { warning } = this.#addresses
    const hasNewWarning = warning !== this.#recordWarning
    this.#recordWarning = warning
    this.#problemsVersion = this.#store.problemsVersion
    const problems = hasNewProblems || hasNewWarning ? this.#problems() : undefined
    const isNews = problems !== undefined && (problems.length > 0 || this.#hasProblems)
    if (isNews) this.#hasProblems = problems.length > 0
    return { services, ...node, ...(isNews ? { problems } : {}) }
  }

  #problems(): readonly Problem[] {
    const record = this.#recordWarning
    const recordProblems: readonly Problem[] =
      record === undefined ? [] : [{ object: { kind: 'File', name: '.herald/allocations.yaml' }, field: '', ...record }]
    return [...this.#store.problems(), ...this.#poolProblems, ...this.#nodeProblems, ...recordProblems]
  }

  #touched(change: Change | undefined): void {
    if (change === undefined) return
    const { kind, id } = change
    if (kind === 'Service') this.#dirty.add(id)
    else if (kind === 'EndpointSlice') this.#touchedSlice(id)
    else if (poolKinds.has(kind)) this.#arePoolsDirty = true
    else if (planKinds.has(kind) || kind === 'Secret' || id === this.#options.nodeName) this.#isNodeDirty = true
    if (kind === 'Node') this.#isReservedDirty = true
  }

  #touchedSlice(id: string): void {
    const before = this.#serviceOfSlice.get(id)
    if (before !== undefined) {
      this.#slices.get(before)?.delete(id)
      if (this.#slices.get(before)?.size === 0) this.#slices.delete(before)
      this.#serviceOfSlice.delete(id)
      this.#dirty.add(before)
    }
    const slice = this.#store.objects.EndpointSlice.get(id)?.value
    const service = slice === undefined ? undefined : serviceOfSlice(slice)
    if (slice === undefined || service === undefined) return
    this.#serviceOfSlice.set(id, service)
    this.#slices.set(service, (this.#slices.get(service) ?? new Map<string, EndpointSlice>()).set(id, slice))
    this.#dirty.add(service)
  }

  #touchAll(): void {
    for (const id of this.#store.objects.Service.keys()) this.#dirty.add(id)
  }

  #translatePools(): void {
    const { pools, problems } = poolsOf(planPools(this.#store.objects), this.#addresses.reserved)
    this.#poolProblems = problems
    this.#addresses.setPools(pools)
    this.#touchAll()
    this.#arePoolsDirty = false
  }

  /** What a Service may not have changes with the nodes and the neighbors; then the pools are told, too. */
  #reserve(): void {
    const nodes = [...this.#store.objects.Node.values()].map(({ value }) => value)
    if (this.#addresses.setReserved(reservedPlaces(nodes, this.#exports?.neighbors ?? []))) this.#arePoolsDirty = true
    this.#isReservedDirty = false
  }

  /** The parts of a delta that are about the node itself, where they changed. */
  #translateNode(): Pick<DesiredDelta, 'speaker' | 'podCidrs'> {
    const problems: Problem[] = []
    this.#exports = this.#exportsOfNode(problems)
    this.#nodeProblems = problems
    this.#touchAll()
    this.#isNodeDirty = false
    this.#isReservedDirty = true
    const { neighbors = [], podCidrs = [] } = this.#exports ?? {}
    const [speakerBefore, podCidrsBefore] = [this.#lastSpeaker, this.#lastPodCidrs]
    const isDraining = this.#isDraining(problems)
    this.#lastSpeaker = JSON.stringify([neighbors, isDraining])
    this.#lastPodCidrs = JSON.stringify(podCidrs)
    return {
      ...(this.#lastSpeaker === speakerBefore
        ? {}
        : { speaker: { nodeName: this.#options.nodeName, neighbors, isDraining } }),
      ...(this.#lastPodCidrs === podCidrsBefore ? {} : { podCidrs }),
    }
  }

  /** The Node annotation `herald.dev/drain`; a cordon alone drains nothing. */
  #isDraining(problems: Problem[]): boolean {
    const stored = this.#store.objects.Node.get(this.#options.nodeName)
    const written = stored?.value.metadata.annotations[drainAnnotation]
    if (stored === undefined || written === undefined || written === 'true' || written === 'false')
      return written === 'true'
    problems.push(
      problemOf(
        fault(
          'error',
          ['metadata', 'annotations', drainAnnotation],
          'InvalidAnnotation',
          `${drainAnnotation} is ${written}: the node is not drained`,
          'Write "true" or "false".',
        ),
        stored.key,
        stored.origin,
      ),
    )
    return false
  }

  #exportsOfNode(problems: Problem[]): NodeExports | undefined {
    const { objects } = this.#store
    const { nodeName, secretsNamespace } = this.#options
    const stored = objects.Node.get(nodeName)
    const node = stored?.value
    const nodeKey: ObjectKey = stored?.key ?? { apiVersion: 'v1', kind: 'Node', namespace: '', name: nodeName }
    const isAnythingPlanned = [...planKinds].some((kind) => objects[kind].size > 0)
    if (node === undefined && isAnythingPlanned) {
      const message = `there is no Node ${nodeName}: only policies that select every node apply, and no PodCIDR is known`
      const remedy = 'Add the Node, or give its name with --node-name.'
      problems.push(problemOf(fault('warning', [], 'NoNode', message, remedy), nodeKey, undefined))
    }
    const facts = { name: nodeName, labels: node?.metadata.labels ?? {} }
    const answer = planNode(objects, facts, { secretsNamespace })
    problems.push(...answer.problems)
    this.#noExports = answer.noPlan
    if (answer.plan === undefined) return undefined
    const asns = new Set(answer.plan.neighbors.map(({ localAsn }) => localAsn))
    const routerIds = new Map([...asns].map((asn) => [asn, routerIdOf(nodeName, node, asn)]))
    for (const { faults } of routerIds.values())
      problems.push(...faults.map((found) => problemOf(found, nodeKey, stored?.origin)))
    const view = {
      name: nodeName,
      podCidrs: node === undefined ? [] : podCidrsOf(node),
      routerIdOf: (asn: number) => routerIds.get(asn)?.routerId ?? '',
    }
    const found = exportsOf(answer.plan, view, (id) => this.#password(id))
    problems.push(...found.problems)
    return found
  }

  #password(id: string): string | { readonly reason: string; readonly remedy: string } {
    const secret = this.#store.objects.Secret.get(id)?.value
    const [namespace, name] = id.split('/')
    const remedy = `Create Secret ${name} in namespace ${namespace} with the key password.`
    if (secret === undefined) return { reason: `there is no Secret ${id}`, remedy }
    return passwordOf(secret) || { reason: `Secret ${id} has no key password`, remedy }
  }

  #translateServices(): ReadonlyMap<string, DesiredService | undefined> {
    const table = this.#store.objects.Service
    const loadBalancer = (id: string): Service | undefined => {
      const service = table.get(id)?.value
      return service?.spec.type === 'LoadBalancer' ? service : undefined
    }
    const moved = this.#addresses.settle(this.#dirty, (id) => {
      const service = loadBalancer(id)
      return service !== undefined && isClassServed(service, this.#options) ? service : undefined
    })
    const delta = new Map<string, DesiredService | undefined>()
    for (const id of new Set([...this.#dirty, ...moved])) {
      const service = loadBalancer(id)
      const source = table.get(id)?.source
      if (service === undefined || source === undefined) {
        if (this.#emitted.delete(id)) delta.set(id, undefined)
        continue
      }
      this.#emitted.add(id)
      delta.set(
        id,
        translateService(
          {
            key: id,
            source,
            service,
            slices: [...(this.#slices.get(id)?.values() ?? [])],
            answer: this.#addresses.answerOf(id),
            reserved: this.#addresses.reserved,
            poolOf: (address) => this.#addresses.poolOf(address),
            exports: this.#exports,
            noExports: this.#noExports,
          },
          this.#options,
        ),
      )
    }
    this.#dirty.clear()
    return delta
  }
}
