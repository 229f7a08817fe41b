/** Which endpoints of a Service stand behind its ports, here and elsewhere; and if none do, why. Pure. */
import { someOf } from '../../desired/some-of.ts'
import { type Backend, translatedNode } from '../../desired/model.ts'
import { type Address, compareAddresses, type Family, familyOfAddress, formatAddress } from '../../ip/address.ts'
import { type Endpoint, endpointsOf, type EndpointSlice } from '../kinds/endpoint-slice.ts'
import type { ServicePort } from '../kinds/service.ts'
import { type Weights, weightOf } from '../kinds/weights.ts'

interface SliceView {
  readonly slice: EndpointSlice
  readonly endpoints: readonly Weighed[]
}

/** Of weight 0 it takes nothing new, as if it were not ready. */
interface Weighed extends Endpoint {
  readonly weight?: number
}

export interface PortBackends {
  /**
   * In reach of this node, sorted and unique: the ready ones, or if there are none those that still serve. Sorted by
   * address and port, they are in one order on every node.
   */
  readonly used: readonly Backend[]
  /**
   * The others, sorted: not ready, or ending. They take nothing new, and what is established with them goes on for as
   * long as a slice names them.
   */
  readonly resting: readonly Backend[]
  /** How many usable ones there are on other nodes, in reach or not. */
  readonly remote: number
}

/**
 * Where packets for a node are sent, or why they are not. `isTakingNone`: the node takes none from others, or none of
 * ours; then its pods may be reached at {@link translatedNode}, with that reason.
 */
export type Way =
  | { readonly address: string; readonly why?: string }
  | { readonly why: string; readonly isTakingNone?: true }

/**
 * Which backends a node serves: its own ones (`node`), or also those on nodes that take packets for them in a tunnel,
 * or something else serves them all, whatever node they are on (`cluster`).
 */
export type Reach =
  | { readonly kind: 'node' | 'cluster' }
  | { readonly kind: 'tunnels'; readonly wayTo: (node: string, family: Family) => Way }

/** Usable endpoints that a node does not reach, by node and why. */
export interface LeftOut {
  readonly node: string
  readonly why: string
  readonly count: number
}

/** Of which clients are: the node, and the zone that it is in, where it says so. */
export interface Nearness {
  readonly node: string
  readonly zone: string | undefined
}

const isUsable = ({ state }: Endpoint): boolean => state !== 'not'

export class ServiceEndpoints {
  readonly #views: readonly SliceView[]
  readonly #all: readonly Weighed[]
  readonly #nodeName: string
  #counted: { readonly local: number; readonly remote: number } | undefined
  readonly #left = new Map<Reach, readonly LeftOut[]>()

  constructor(slices: readonly EndpointSlice[], nodeName: string, weights: Weights | undefined) {
    this.#views = slices.map((slice) => ({ slice, endpoints: weighed(slice, weights) }))
    this.#all = this.#views.flatMap(({ endpoints }) => endpoints)
    this.#nodeName = nodeName
  }

  /** Usable endpoints on this node and elsewhere, each address once, whatever ports they have. */
  count(): { readonly local: number; readonly remote: number } {
    this.#counted ??= this.#count()
    return this.#counted
  }

  #count(): { readonly local: number; readonly remote: number } {
    const local = new Set<Address>()
    const remote = new Set<Address>()
    for (const { address, nodeName, state } of this.#all)
      if (address !== undefined && state !== 'not') (nodeName === this.#nodeName ? local : remote).add(address)
    for (const address of local) remote.delete(address)
    return { local: local.size, remote: remote.size }
  }

  /** Ready endpoints on this node, each address once. */
  localReady(): number {
    const isHere = ({ nodeName, state }: Endpoint): boolean => state === 'ready' && nodeName === this.#nodeName
    return new Set(this.#all.filter(isHere).map(({ address }) => address)).size
  }

  /** Those that take nothing new because of their weight alone, each address once. */
  #weightless(): number {
    return new Set(this.#all.filter(({ weight }) => weight === 0).map(({ address }) => address)).size
  }

  /** What the slices say of their pods: how many have which weight by that. */
  sliceWeights(): readonly string[] {
    const counts = new Map<number, number>()
    for (const { slice, endpoints } of this.#views)
      if (slice.weight !== undefined) counts.set(slice.weight, (counts.get(slice.weight) ?? 0) + endpoints.length)
    return [...counts].map(([weight, count]) => `${weight} of ${count} by EndpointSlice`)
  }

  /** Names of nodes and zones that none of the endpoints, which are known, is in. */
  strangers({ nodes, zones }: Weights): readonly string[] {
    const known = { nodes: new Set<string>(), zones: new Set<string>() }
    for (const { nodeName, zone } of this.#all) {
      known.nodes.add(nodeName)
      known.zones.add(zone)
    }
    return [
      ...Object.keys(nodes).filter((name) => !known.nodes.has(name)),
      ...Object.keys(zones).flatMap((name) => (known.zones.has(name) ? [] : [`zone ${name}`])),
    ]
  }

  /** Whether an address is that of an endpoint. */
  has(address: Address): boolean {
    return this.#all.some((endpoint) => endpoint.address === address)
  }

  /** `near`: endpoints that are meant for these clients, where the hints say so (see {@link nearestOf}). */
  backendsOf(family: Family, port: ServicePort, reach: Reach, near?: Nearness): PortBackends {
    const found = {
      ready: new Map<string, Target>(),
      serving: new Map<string, Target>(),
      not: new Map<string, Target>(),
    }
    const remote = new Set<Address>()
    for (const { slice, endpoints } of this.#views) {
      const targetPort = slice.family === family ? targetOf(slice, port) : undefined
      if (targetPort === undefined) continue
      for (const { address, nodeName, state, hints, weight = 1 } of endpoints) {
        if (address === undefined) continue
        const isHere = nodeName === this.#nodeName
        if (!isHere && state !== 'not') remote.add(address)
        const way = isHere ? undefined : this.#way(nodeName, family, reach)
        // Of SCTP no port can be another one, so there is no SNAT.
        if (way === translatedNode && port.protocol === 'SCTP') continue
        if (!isHere && way === undefined) continue
        const name = `${address} ${targetPort}`
        const other = found[state].get(name)
        // A pod that two slices name is where it is here, and has the larger weight: the same on every node.
        const most = Math.max(weight, other?.weight ?? 0)
        const own = { address, port: targetPort, node: way, hints, weight: most }
        found[state].set(name, isHere || other === undefined ? own : { ...other, weight: most })
      }
    }
    const ready = near === undefined ? found.ready : nearestOf(found.ready, near)
    const used = found.ready.size > 0 ? ready : found.serving
    const others = new Map([...found.serving, ...found.not, ...found.ready].filter(([name]) => !used.has(name)))
    return { used: backendsAt(used, areWeighed(used)), resting: backendsAt(others), remote: remote.size }
  }

  #way(node: string, family: Family, reach: Reach): string | undefined {
    if (reach.kind !== 'tunnels') return undefined
    const way = reach.wayTo(node, family)
    return 'address' in way ? way.address : undefined
  }

  /** Usable endpoints on nodes to which there is no way, whatever ports they have. */
  leftOut(reach: Reach): readonly LeftOut[] {
    if (reach.kind !== 'tunnels') return []
    const known = this.#left.get(reach) ?? this.#byNode(reach, (way) => ('address' in way ? undefined : way.why))
    this.#left.set(reach, known)
    return known
  }

  /** Those whose pods see this node in place of the client, and why it is not otherwise. */
  translated(reach: Reach): readonly LeftOut[] {
    return this.#byNode(reach, (way) => ('address' in way && way.address === translatedNode ? way.why : undefined))
  }

  /** Usable endpoints on other nodes, by node and what is said of the way there; undefined: nothing. */
  #byNode(reach: Reach, said: (way: Way) => string | undefined): readonly LeftOut[] {
    if (reach.kind !== 'tunnels') return []
    const byNode = new Map<string, { node: string; why: string; addresses: Set<Address> }>()
    for (const { slice, endpoints } of this.#views)
      for (const { address, nodeName, state } of endpoints) {
        if (address === undefined || state === 'not' || nodeName === this.#nodeName) continue
        const why = slice.family === undefined ? undefined : said(reach.wayTo(nodeName, slice.family))
        if (why === undefined) continue
        const name = `${nodeName} ${why}`
        const entry = byNode.get(name) ?? { node: nodeName, why, addresses: new Set() }
        byNode.set(name, entry)
        entry.addresses.add(address)
      }
    return [...byNode.values()].map(({ node, why, addresses }) => ({ node, why, count: addresses.size }))
  }

  /** What keeps every port of these families without a backend, given that none has one. */
  obstacle(families: readonly Family[], ports: readonly ServicePort[], reach: Reach): Obstacle {
    const usable = this.#all.filter(isUsable)
    if (usable.length === 0) return { kind: 'none', total: this.#all.length, weightless: this.#weightless() }
    const isHere = ({ nodeName, address }: Endpoint): boolean =>
      reach.kind === 'cluster' ||
      nodeName === this.#nodeName ||
      (address !== undefined && this.#way(nodeName, familyOfAddress(address), reach) !== undefined)
    const here = usable.filter(isHere)
    if (here.length === 0) {
      const homeless = usable.filter(({ nodeName }) => nodeName === '').length
      const left = this.leftOut(reach).filter(({ node }) => node !== '')
      return {
        kind: homeless === usable.length ? 'homeless' : left.length > 0 ? 'unreached' : 'elsewhere',
        homeless,
        elsewhere: usable.length - homeless,
        left,
      }
    }
    const fitting = this.#views.filter(({ slice }) => slice.family !== undefined && families.includes(slice.family))
    const ofFamily = fitting.flatMap(({ endpoints }) => endpoints).filter((each) => isUsable(each) && isHere(each))
    const text = countText(ofFamily.length > 0 ? ofFamily : here)
    if (ofFamily.length > 0) return { kind: 'port', endpoints: text, ports: someOf(ports.map(nameOfPort)).join(', ') }
    const types = new Set(
      this.#views.filter(({ endpoints }) => endpoints.some(isUsable)).map(({ slice }) => typeOf(slice.family)),
    )
    return { kind: 'family', endpoints: text, types: [...types].join(' and ') }
  }
}

interface Target {
  readonly address: Address
  readonly port: number
  readonly node: string | undefined
  readonly hints: string
  readonly weight: number
}

function weighed(slice: EndpointSlice, weights: Weights | undefined): readonly Weighed[] {
  const endpoints = endpointsOf(slice)
  if (weights === undefined && slice.weight === undefined) return endpoints
  return endpoints.map((endpoint): Weighed => {
    if (endpoint.state === 'not') return endpoint
    const weight = weightOf(weights, endpoint.nodeName, endpoint.zone, slice.weight)
    return { ...endpoint, weight, state: weight === 0 ? 'not' : endpoint.state }
  })
}

/**
 * As kube-proxy takes hints (pkg/proxy/topology.go): those meant for the node when every ready endpoint names nodes and
 * one this one; else the same of its zone; else all.
 */
function nearestOf(ready: ReadonlyMap<string, Target>, { node, zone }: Nearness): ReadonlyMap<string, Target> {
  const meantFor = (part: 0 | 1, name: string | undefined): ReadonlyMap<string, Target> | undefined => {
    const isMeant = ({ hints }: Target): boolean =>
      name !== undefined && (hints.split('/')[part] ?? '').split(',').includes(name)
    const isHinted = ({ hints }: Target): boolean => (hints.split('/')[part] ?? '') !== ''
    if (name === undefined || name === '' || ![...ready.values()].every(isHinted)) return undefined
    const meant = [...ready].filter(([, target]) => isMeant(target))
    return meant.length === 0 ? undefined : new Map(meant)
  }
  return meantFor(1, node) ?? meantFor(0, zone) ?? ready
}

/** Where all have the same weight, none has one. */
function areWeighed(targets: ReadonlyMap<string, Target>): boolean {
  const weights = [...targets.values()].map(({ weight }) => weight)
  return weights.some((weight) => weight !== weights[0])
}

function backendsAt(targets: ReadonlyMap<string, Target>, areWeighed = false): readonly Backend[] {
  return [...targets.values()]
    .sort((a, b) => compareAddresses(a.address, b.address) || a.port - b.port)
    .map(({ address, port, node, weight }) => {
      const backend = { address: formatAddress(address), port, ...(areWeighed ? { weight } : {}) }
      return node === undefined ? backend : { ...backend, node }
    })
}

export type Obstacle =
  | { readonly kind: 'none'; readonly total: number; readonly weightless: number }
  | {
      readonly kind: 'homeless' | 'elsewhere' | 'unreached'
      readonly homeless: number
      readonly elsewhere: number
      readonly left: readonly LeftOut[]
    }
  | { readonly kind: 'family'; readonly endpoints: string; readonly types: string }
  | { readonly kind: 'port'; readonly endpoints: string; readonly ports: string }

/** The port of the endpoints that stands for a port of the Service: equal name and protocol. */
function targetOf({ ports }: EndpointSlice, { name, protocol }: ServicePort): number | undefined {
  return ports.find((entry) => entry.name === name && entry.protocol === protocol)?.port
}

/** `http/TCP`; as slices have it, where a port has a name or none. */
export function nameOfPort({ name, protocol }: ServicePort): string {
  return `${name === '' ? '(without a name)' : name}/${protocol}`
}

export function typeOf(family: Family | undefined): string {
  return family === undefined ? 'FQDN' : family === 'ipv4' ? 'IPv4' : 'IPv6'
}

function countText(endpoints: readonly Endpoint[]): string {
  const word = endpoints.every(({ state }) => state === 'ready') ? 'ready' : 'usable'
  return `${endpoints.length} ${word} ${endpoints.length === 1 ? 'endpoint' : 'endpoints'}`
}
