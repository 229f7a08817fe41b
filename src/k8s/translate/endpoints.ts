/** Which endpoints of a Service stand behind its ports, here and elsewhere; and if none do, why. Pure. */
import { someOf } from '../../desired/some-of.ts'
import type { Backend } from '../../desired/model.ts'
import { type Address, compareAddresses, type Family, formatAddress } from '../../ip/address.ts'
import { type Endpoint, endpointsOf, type EndpointSlice } from '../kinds/endpoint-slice.ts'
import type { ServicePort } from '../kinds/service.ts'

interface SliceView {
  readonly slice: EndpointSlice
  readonly endpoints: readonly Endpoint[]
}

export interface PortBackends {
  /** On this node, sorted and unique: the ready ones, or if there are none those that still serve. */
  readonly local: readonly Backend[]
  /**
   * The others on this node, sorted: not ready, or ending. They take nothing new, and what is established with them
   * goes on for as long as a slice names them.
   */
  readonly resting: readonly Backend[]
  /** How many there are on other nodes. */
  readonly remote: number
}

const isUsable = ({ state }: Endpoint): boolean => state !== 'not'

export class ServiceEndpoints {
  readonly #views: readonly SliceView[]
  readonly #all: readonly Endpoint[]
  readonly #nodeName: string
  #counted: { readonly local: number; readonly remote: number } | undefined

  constructor(slices: readonly EndpointSlice[], nodeName: string) {
    this.#views = slices.map((slice) => ({ slice, endpoints: endpointsOf(slice) }))
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

  /** Whether an address is that of an endpoint. */
  has(address: Address): boolean {
    return this.#all.some((endpoint) => endpoint.address === address)
  }

  backendsOf(family: Family, port: ServicePort): PortBackends {
    const here = {
      ready: new Map<string, Target>(),
      serving: new Map<string, Target>(),
      not: new Map<string, Target>(),
    }
    const remote = new Set<Address>()
    for (const { slice, endpoints } of this.#views) {
      const target = slice.family === family ? targetOf(slice, port) : undefined
      if (target === undefined) continue
      for (const { address, nodeName, state } of endpoints) {
        if (address === undefined) continue
        if (nodeName === this.#nodeName) here[state].set(`${address} ${target}`, { address, port: target })
        else if (state !== 'not') remote.add(address)
      }
    }
    const used = here.ready.size > 0 ? here.ready : here.serving
    const others = new Map([...here.serving, ...here.not].filter(([name]) => !used.has(name)))
    return { local: backendsAt(used), resting: backendsAt(others), remote: remote.size }
  }

  /**
   * What keeps every port of these families without a backend, given that none has one; `everywhere`: other nodes count
   * as this one.
   */
  obstacle(families: readonly Family[], ports: readonly ServicePort[], everywhere: boolean): Obstacle {
    const usable = this.#all.filter(isUsable)
    if (usable.length === 0) return { kind: 'none', total: this.#all.length }
    const isHere = ({ nodeName }: Endpoint): boolean => everywhere || nodeName === this.#nodeName
    const here = usable.filter(isHere)
    if (here.length === 0) {
      const homeless = usable.filter(({ nodeName }) => nodeName === '').length
      return {
        kind: homeless === usable.length ? 'homeless' : 'elsewhere',
        homeless,
        elsewhere: usable.length - homeless,
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
}

function backendsAt(targets: ReadonlyMap<string, Target>): readonly Backend[] {
  return [...targets.values()]
    .sort((a, b) => compareAddresses(a.address, b.address) || a.port - b.port)
    .map(({ address, port }) => ({ address: formatAddress(address), port }))
}

export type Obstacle =
  | { readonly kind: 'none'; readonly total: number }
  | { readonly kind: 'homeless' | 'elsewhere'; readonly homeless: number; readonly elsewhere: number }
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
