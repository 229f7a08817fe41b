/**
 * Objects in, deltas of desired state out. Pure but for the record of allocations.
 *
 *     upsert, remove --> store (last good version) --> dirty: one Service, or the whole node
 *     flush: pools --> policy of this node --> addresses --> services --> delta
 *
 * A Service or EndpointSlice costs its Service; a Node, Secret, policy or pool costs everything. Nothing is said before
 * every kind was delivered once.
 */
import type { DesiredDelta, DesiredPodCidr, DesiredService, Neighbor, Problem } from '../../desired/model.ts'
import { parseAddress } from '../../ip/address.ts'
import { usablePools } from '../ipam/pools.ts'
import { serviceOfSlice, type EndpointSlice } from '../kinds/endpoint-slice.ts'
import { podCidrsOf } from '../kinds/node.ts'
import { passwordOf } from '../kinds/secret.ts'
import type { Service } from '../kinds/service.ts'
import { selectorMatches } from '../label-selector.ts'
import { problemOf, refOf } from '../kinds/problems.ts'
import type { ObjectKey, Origin, RawObject } from '../source.ts'
import { ServiceAddresses } from './addresses.ts'
import { communityFaults, exportsOf, type NodeExports } from './exports.ts'
import { parseOverrides } from './neighbor-overrides.ts'
import { translateService } from './services.ts'
import { byAge, ObjectStore, type Change } from './store.ts'
import type { Translator, TranslatorOptions } from './types.ts'

export type { Translator, TranslatorOptions } from './types.ts'

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
  #isNodeDirty = true
  #isSynced = false
  #exports: NodeExports | undefined
  #noExports = ''
  #nodeProblems: readonly Problem[] = []
  #lastSpeaker = ''
  #lastPodCidrs = '[]'
  #lastProblems = '[]'

  constructor(options: TranslatorOptions) {
    this.#options = options
    this.#addresses = new ServiceAddresses(options)
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
    if (this.#isNodeDirty) this.#translateNode()
    const services = this.#translateServices()
    const neighbors: readonly Neighbor[] = this.#exports?.neighbors ?? []
    const speaker = JSON.stringify(neighbors)
    const podCidrs: readonly DesiredPodCidr[] = this.#exports?.podCidrs ?? []
    const podCidrText = JSON.stringify(podCidrs)
    const problems = [...this.#store.problems(), ...this.#nodeProblems, ...this.#recordProblems()]
    const problemText = JSON.stringify(problems)
    const delta: DesiredDelta = {
      services,
      ...(speaker === this.#lastSpeaker ? {} : { speaker: { nodeName: this.#options.nodeName, neighbors, isDraining: false } }),
      ...(podCidrText === this.#lastPodCidrs ? {} : { podCidrs }),
      ...(problemText === this.#lastProblems ? {} : { problems }),
    }
    this.#lastSpeaker = speaker
    this.#lastPodCidrs = podCidrText
    this.#lastProblems = problemText
    return delta
  }

  #touched(change: Change | undefined): void {
    if (change === undefined) return
    const { kind, id } = change
    if (kind === 'Service') this.#dirty.add(id)
    else if (kind === 'EndpointSlice') this.#touchedSlice(id)
    else if (kind !== 'Node' || id === this.#options.nodeName) this.#isNodeDirty = true
  }

  #touchedSlice(id: string): void {
    const before = this.#serviceOfSlice.get(id)
    if (before !== undefined) {
      this.#slices.get(before)?.delete(id)
      if (this.#slices.get(before)?.size === 0) this.#slices.delete(before)
      this.#serviceOfSlice.delete(id)
      this.#dirty.add(before)
    }
    const slice = this.#store.tables.EndpointSlice.get(id)?.value
    const service = slice === undefined ? undefined : serviceOfSlice(slice)
    if (slice === undefined || service === undefined) return
    this.#serviceOfSlice.set(id, service)
    this.#slices.set(service, (this.#slices.get(service) ?? new Map<string, EndpointSlice>()).set(id, slice))
    this.#dirty.add(service)
  }

  #translateNode(): void {
    const problems: Problem[] = []
    const { CiliumLoadBalancerIPPool: pools, Service: services } = this.#store.tables
    const ordered = [...pools.values()].sort(byAge)
    const { pools: usable, conflicts } = usablePools(ordered.map(({ value }) => value))
    for (const { pool, other } of conflicts) {
      const stored = pools.get(pool.metadata.name)
      if (stored !== undefined) problems.push(problemOf({ severity: 'error', path: ['spec', 'blocks'], code: 'PoolConflict', message: `the pool overlaps ${other}, which is older, and is not used`, remedy: 'Remove the addresses from one of the two.' }, stored.key, stored.origin))
    }
    this.#addresses.ipam.setPools(usable)
    this.#exports = this.#exportsOfNode(problems)
    this.#nodeProblems = problems
    for (const id of services.keys()) this.#dirty.add(id)
    this.#isNodeDirty = false
  }

  #exportsOfNode(problems: Problem[]): NodeExports | undefined {
    const { Node: nodes, CiliumBGPPeeringPolicy: policies } = this.#store.tables
    const { nodeName } = this.#options
    const node = nodes.get(nodeName)?.value
    const labels = node?.metadata.labels ?? {}
    if (node === undefined && policies.size > 0) {
      const key: ObjectKey = { apiVersion: 'v1', kind: 'Node', namespace: '', name: nodeName }
      problems.push(problemOf({ path: [], code: 'NoNode', message: `there is no Node ${nodeName}: only policies that select every node apply, and no PodCIDR is known`, remedy: 'Add the Node, or give its name with --node-name.' }, key, undefined))
    }
    const matching = [...policies.values()].filter(({ value }) => selectorMatches(value.spec.nodeSelector ?? {}, labels)).sort(byAge)
    const [chosen, ...others] = matching
    for (const { key, origin } of others) {
      problems.push(problemOf({ severity: 'error', path: ['spec', 'nodeSelector'], code: 'PolicyConflict', message: `policy ${chosen?.key.name ?? ''}, which is older, applies to node ${nodeName}; this one has no effect there`, remedy: 'Let their node selectors exclude each other.' }, key, origin))
    }
    this.#noExports = policies.size === 0 ? 'there is no CiliumBGPPeeringPolicy' : `no CiliumBGPPeeringPolicy selects node ${nodeName}`
    if (chosen === undefined) return undefined
    const internal = (node?.status?.addresses ?? []).find(({ type, address }) => type === 'InternalIP' && typeof parseAddress(address) === 'number')?.address
    if (internal === undefined) problems.push(problemOf({ path: [], code: 'DerivedRouterId', message: `node ${nodeName} has no IPv4 InternalIP: its router ID ${derivedRouterId(nodeName)} is derived from its name`, remedy: 'Give the Node an InternalIP, or the annotation cilium.io/bgp-virtual-router.{asn}: router-id=...' }, chosen.key, chosen.origin))
    const overrides = parseOverrides(chosen.value.metadata.annotations)
    const found = exportsOf(chosen.value, chosen.source, { name: nodeName, labels, annotations: node?.metadata.annotations ?? {}, podCidrs: node === undefined ? [] : podCidrsOf(node), routerId: internal ?? derivedRouterId(nodeName) }, {
      password: (name) => this.#password(name),
      overrides: (address) => overrides.of(address),
    })
    for (const fault of [...found.faults, ...overrides.faults, ...communityFaults(chosen.value)]) problems.push(problemOf(fault, chosen.key, chosen.origin))
    return found
  }

  #password(name: string): string | { readonly reason: string; readonly remedy: string } {
    const { secretsNamespace } = this.#options
    const secret = this.#store.tables.Secret.get(`${secretsNamespace}/${name}`)?.value
    const remedy = `Create Secret ${name} in namespace ${secretsNamespace} with the key password.`
    if (secret === undefined) return { reason: `there is no Secret ${secretsNamespace}/${name}`, remedy }
    return passwordOf(secret) || { reason: `Secret ${secretsNamespace}/${name} has no key password`, remedy }
  }

  #translateServices(): ReadonlyMap<string, DesiredService | undefined> {
    const table = this.#store.tables.Service
    const delta = new Map<string, DesiredService | undefined>()
    const changed = new Map<string, Service | undefined>()
    for (const id of this.#dirty) {
      const service = table.get(id)?.value
      if (service !== undefined || this.#emitted.has(id)) changed.set(id, service?.spec.type === 'LoadBalancer' ? service : undefined)
    }
    this.#addresses.settle(changed)
    this.#dirty.clear()
    for (const [id, service] of changed) {
      if (service === undefined) {
        if (this.#emitted.delete(id)) delta.set(id, undefined)
        continue
      }
      const answer = this.#addresses.answerOf(id)
      const source = table.get(id)?.source ?? refOf({ apiVersion: 'v1', kind: 'Service', namespace: '', name: id }, undefined)
      this.#emitted.add(id)
      delta.set(id, translateService({
        key: id, source, service, slices: [...(this.#slices.get(id)?.values() ?? [])],
        addresses: answer?.addresses ?? [], pool: answer?.pool,
        allocated: answer?.verdict ?? { step: 'allocated', ok: false, code: 'NotAllocated', message: 'no address', remedy: 'Remove the loadBalancerClass.' },
        exports: this.#exports, noExports: this.#noExports,
      }, this.#options))
    }
    return delta
  }

  #recordProblems(): readonly Problem[] {
    const message = this.#addresses.warning
    return message === undefined ? [] : [{ severity: 'warning', object: { kind: 'File', name: '.herald/allocations.yaml' }, field: '', code: 'RecordElsewhere', message, remedy: 'Make the folder writable.' }]
  }
}

/** FNV-1a of the name, never 0: RFC 6286 asks for nothing but unique within the AS. */
function derivedRouterId(name: string): string {
  let hash = 0x811c9dc5
  for (const character of name) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193) >>> 0
  return [24, 16, 8, 0].map((shift) => (hash >>> shift) & 255).join('.')
}
