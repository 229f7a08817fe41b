/**
 * What this node serves in place of kube-proxy, besides cluster IPs and what is announced: the external IPs and node
 * ports of every Service. Pure.
 *
 * Whose an external IP is, is judged as where it is announced. A node port is the node's: it is served at addresses of
 * the node, by everybody's leave, also that of `loadBalancerSourceRanges`, which is about the load balancer. A port on
 * which a process of the node listens is that process's: the programs ask for sockets, so that the frontend stays for
 * connections with pods that were there before, and for what other nodes hand on of theirs.
 */
import { someOf } from '../../desired/some-of.ts'
import { anyNodeAddress, type DesiredDelta, isAnyNodeAddress, type Verdict } from '../../desired/model.ts'
import { sameValue } from '../../desired/same-value.ts'
import { formatAddress, isForwardable, parseAddress, unmapped } from '../../ip/address.ts'
import { parsePrefix, prefixContains } from '../../ip/prefix.ts'
import { type EndpointSlice, endpointsOf } from '../kinds/endpoint-slice.ts'
import type { Node } from '../kinds/node.ts'
import type { Service, ServicePort } from '../kinds/service.ts'
import type { StoredObjects } from '../kinds/table.ts'
import { changedSctpPort, familyOf, reachOf, type ServedPort } from './eligible.ts'
import type { ServiceEndpoints } from './endpoints.ts'
import { NodePorts } from './node-ports.ts'
import type { LocalAddress, TranslatorOptions } from './types.ts'
import { no, type ServiceInput, type TypedAddress, yes } from './wishes.ts'

/** Of this node, at the moment. */
export interface Proxying {
  /** Where node ports are served. */
  readonly addresses: readonly string[]
  /** Ports on which processes listen, as `22/TCP`. */
  readonly listeners: ReadonlySet<string>
  /** The older Service that has a node port. */
  ownerOf(place: string, key: string): string | undefined
}

export interface Proxied {
  readonly ports: readonly ServedPort[]
  /** External IPs among them. */
  readonly addresses: readonly string[]
  readonly verdict: Verdict
}

interface Found {
  readonly ports: readonly ServedPort[]
  readonly served: readonly string[]
  readonly left: readonly string[]
}

/** A Service with this label is nothing to kube-proxy either, whatever the name. */
const proxyNameLabel = 'service.kubernetes.io/service-proxy-name'

export function isLeftToAnother({ metadata }: Pick<Service, 'metadata'>): boolean {
  return proxyNameLabel in metadata.labels
}

/** Whether there is anything to serve of it in the place of kube-proxy. */
export function mayBeProxied({ metadata, nodePorts, own }: Service): boolean {
  if (nodePorts.length === 0 && !own.some(({ type }) => type === 'ExternalIP')) return false
  return !isLeftToAnother({ metadata })
}

/** undefined: nothing that is not announced. `announced`: addresses that are served anyway. */
export function proxiedOf(
  input: ServiceInput & { readonly proxying: Proxying },
  endpoints: ServiceEndpoints,
  announced: ReadonlySet<string>,
  refusalOf: (typed: TypedAddress) => { readonly text: string } | undefined,
  options: TranslatorOptions,
): Proxied | undefined {
  const { service } = input
  const external = service.own.filter(({ type, address }) => type === 'ExternalIP' && !announced.has(address))
  if (external.length === 0 && service.nodePorts.length === 0) return undefined
  const reach = reachOf(service.spec.externalTrafficPolicy, options, input.reach)
  const served = (address: string, port: ServicePort): ServedPort => ({
    ...{ address, port, reach },
    backends: endpoints.backendsOf(familyOf(address), port, reach),
  })
  const found = [
    ...external.map(({ address }) => externalPorts(address, input, refusalOf, served)),
    nodePortsOf(input, served),
  ]
  const ports = found.flatMap((each) => each.ports)
  return {
    ports,
    addresses: [...new Set(ports.map(({ address }) => address))].filter((address) => !isAnyNodeAddress(address)),
    verdict: verdictOf(
      service,
      found.flatMap((each) => each.served),
      found.flatMap((each) => each.left),
    ),
  }
}

function externalPorts(
  address: string,
  { key, service, owners }: ServiceInput,
  refusalOf: (typed: TypedAddress) => { readonly text: string } | undefined,
  served: (address: string, port: ServicePort) => ServedPort,
): Found {
  const refusal = refusalOf({ address, types: ['ExternalIP'] })
  if (refusal !== undefined) return { ports: [], served: [], left: [refusal.text] }
  const left: string[] = []
  const ports: ServedPort[] = []
  for (const port of service.spec.ports) {
    const place = `${port.port}/${port.protocol}`
    const owner = owners.portOwner(address, port, key)
    const found = served(address, port)
    const changed = changedSctpPort(found)
    if (changed !== undefined) left.push(`${address}: ${changed}`)
    else if (owner !== undefined) left.push(`port ${place} of ${address} belongs to ${owner}, which is older`)
    else ports.push(found)
  }
  return { ports, served: ports.length === 0 ? [] : [`external IP ${address}`], left }
}

function nodePortsOf(
  { key, service, proxying }: ServiceInput & { readonly proxying: Proxying },
  served: (address: string, port: ServicePort) => ServedPort,
): Found {
  const { nodePorts, spec } = service
  const found = { ports: [] as ServedPort[], served: [] as string[], left: [] as string[] }
  spec.ports.forEach(({ name, protocol }, index) => {
    const port = nodePorts[index] ?? 0
    if (port === 0) return
    const place = `${port}/${protocol}`
    const owner = proxying.ownerOf(place, key)
    const why =
      protocol === 'SCTP'
        ? 'SCTP is served with its port unchanged'
        : owner !== undefined
          ? `it belongs to ${owner}, which is older`
          : undefined
    if (why !== undefined) return found.left.push(`node port ${place}: ${why}`)
    if (proxying.listeners.has(place)) found.left.push(`node port ${place}: a process of this node listens there`)
    else found.served.push(`node port ${place}`)
    for (const family of spec.families) found.ports.push(served(anyNodeAddress[family], { name, protocol, port }))
    return undefined
  })
  return found
}

/** Of a load balancer this is beside what its chain is about. */
function verdictOf({ spec }: Service, served: readonly string[], left: readonly string[]): Verdict {
  const said = [
    ...(served.length === 0 ? ['nothing'] : [someOf(served).join(', ')]),
    ...someOf(left).map((each) => `${each}: not served`),
  ].join('; ')
  if (left.length === 0) return yes('proxied', 'Proxied', said)
  const remedy = 'Use an address, or ports, that nothing else has.'
  return served.length > 0 || spec.type === 'LoadBalancer'
    ? yes('proxied', 'ProxiedInPart', said)
    : no('proxied', 'NotProxied', said, remedy)
}

/** The node's part of it: whether it is to be done, at which addresses, and whose which node port is. */
export class ProxyShare {
  readonly #options: Pick<TranslatorOptions, 'nodeName' | 'proxying' | 'nodePortAddresses' | 'apiServer'>
  #nodePorts = new NodePorts()
  #apiServers: ReadonlySet<string> = new Set()
  #addresses: readonly string[] = []
  /** Addresses of other nodes, and what of them was said. */
  #nodes: readonly string[] = []
  #saidNodes: readonly string[] = []
  #listeners: ReadonlySet<string> = new Set()
  #isOn = false
  /** Of what the addresses were made: it is looked at in every flush, and nearly always the same. */
  #looked: { readonly node: Node | undefined; readonly local: readonly LocalAddress[] } | undefined
  #servers: readonly EndpointSlice[] | undefined

  constructor(options: Pick<TranslatorOptions, 'nodeName' | 'proxying' | 'nodePortAddresses' | 'apiServer'>) {
    this.#options = options
  }

  /** undefined: kube-proxy does it, or nobody. */
  get proxying(): Proxying | undefined {
    if (!this.#isOn) return undefined
    const nodePorts = this.#nodePorts
    return {
      addresses: this.#addresses,
      listeners: this.#listeners,
      ownerOf: (place, key) => nodePorts.ownerOf(place, key),
    }
  }

  get nodePorts(): NodePorts {
    return this.#nodePorts
  }

  /** Addresses of the API server: who takes one takes every node from the cluster. */
  get apiServers(): ReadonlySet<string> {
    return this.#apiServers
  }

  /** What is known of other nodes; `senders`: where they say that they take packets. */
  setNodes(nodes: StoredObjects['Node'], senders: readonly string[], local: readonly LocalAddress[]): void {
    const { nodeName, nodePortAddresses = 'primary' } = this.#options
    const own = new Set(local.map(({ address }) => address))
    const others = [...nodes].filter(([name]) => name !== nodeName)
    const all = [...senders, ...others.flatMap(([, { value }]) => value.addresses.map(({ address }) => address))]
    const isWanted = (address: string): boolean =>
      nodePortAddresses === 'primary' || nodePortAddresses.some((prefix) => isWithin(address, prefix))
    const found = [...new Set(all)].filter((each) => !own.has(each) && isServable(each) && isWanted(each)).sort()
    if (!sameValue(found, this.#nodes)) this.#nodes = found
  }

  /** `servers`: where the API server is, by its slices. */
  look(node: Node | undefined, local: readonly LocalAddress[], servers: readonly EndpointSlice[]): ProxyNews {
    const facts = this.#options.proxying?.()
    const [wasOn, before, said] = [this.#isOn, this.#listeners, this.#saidNodes]
    this.#isOn = facts !== undefined
    this.#listeners = facts?.listeners ?? new Set()
    const haveMoved = this.#lookAtNode(node, local)
    const apiServers = this.#apiServers
    if (servers !== this.#servers) this.#apiServers = addressesOf(servers, this.#options.apiServer)
    this.#servers = servers
    const hasTurned = wasOn !== this.#isOn
    if (hasTurned) this.#nodePorts = new NodePorts()
    const [claimed, listened] = [this.#nodePorts, oneOf(this.#listeners, before)]
    this.#saidNodes = facts === undefined ? noNodes : this.#nodes
    return {
      moved: hasTurned ? 'all' : haveMoved ? claimed.all : claimed.claimantsOf(listened),
      servers: new Set(oneOf(apiServers, this.#apiServers)),
      ...(haveMoved ? { nodePorts: this.#addresses } : {}),
      ...(sameValue(said, this.#saidNodes) ? {} : { otherNodes: this.#saidNodes }),
    }
  }

  /** Whether node ports are served at other addresses than before. */
  #lookAtNode(node: Node | undefined, local: readonly LocalAddress[]): boolean {
    const looked = this.#isOn ? { node, local } : undefined
    const before = this.#looked
    if (looked?.node === before?.node && looked?.local === before?.local) return false
    this.#looked = looked
    const { nodePortAddresses = 'primary' } = this.#options
    const addresses = this.#isOn ? nodePortAddressesOf(nodePortAddresses, node, local, this.#addresses) : []
    if (sameValue(addresses, this.#addresses)) return false
    this.#addresses = addresses
    return true
  }
}

const noNodes: readonly string[] = []

interface ProxyNews extends Pick<DesiredDelta, 'nodePorts' | 'otherNodes'> {
  /** Services of which something else is to be done now. */
  readonly moved: 'all' | Iterable<string>
  /** Addresses that are the API server's now, or were. */
  readonly servers: ReadonlySet<string>
}

/** `asked`: by this agent; a name is none. */
function addressesOf(slices: readonly EndpointSlice[], asked = ''): ReadonlySet<string> {
  const all = [...slices.flatMap((slice) => endpointsOf(slice)).map(({ address }) => address), parseAddress(asked)]
  return new Set(all.flatMap((address) => (address === undefined ? [] : [formatAddress(unmapped(address))])))
}

/** What is in one of two sets alone. */
function oneOf(a: ReadonlySet<string>, b: ReadonlySet<string>): readonly string[] {
  return a === b ? [] : [...[...a].filter((each) => !b.has(each)), ...[...b].filter((each) => !a.has(each))]
}

/** Interfaces whose addresses are those of Services, or of this node alone. */
const ofServices: ReadonlySet<string> = new Set(['lo', 'kube-ipvs0'])

/**
 * As kube-proxy has it: `primary` are those of the Node that an interface has; of a list of prefixes, what interfaces
 * have of them. Never a loopback address, at which pods have ports of their own, nor a link-local one. Sorted.
 *
 * `before`: of these an address of the Node stays while no interface has it: a link that goes down takes those of IPv6,
 * and a packet of a flow that comes before we know that it is back would be answered by the node, with a RST.
 */
function nodePortAddressesOf(
  wanted: 'primary' | readonly string[],
  node: Node | undefined,
  local: readonly LocalAddress[],
  before: readonly string[],
): readonly string[] {
  const kept = wanted === 'primary' ? before : []
  const own = [...kept, ...local.filter((each) => !ofServices.has(each.interface)).map(({ address }) => address)]
  const isWanted =
    wanted === 'primary'
      ? (address: string): boolean => node?.addresses.some((each) => each.address === address) === true
      : (address: string): boolean => wanted.some((prefix) => isWithin(address, prefix))
  return [...new Set(own)].filter((address) => isServable(address) && isWanted(address)).sort()
}

function isServable(text: string): boolean {
  const address = parseAddress(text)
  return address !== undefined && isForwardable(address)
}

function isWithin(text: string, prefixText: string): boolean {
  const [address, prefix] = [parseAddress(text), parsePrefix(prefixText)]
  return address !== undefined && prefix !== undefined && prefixContains(prefix, address)
}
