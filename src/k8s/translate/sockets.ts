/**
 * What sockets on this node are led to: the cluster IPs of all Services, and the addresses of load balancers that this
 * node serves; where it takes the place of kube-proxy, external IPs and node ports, too. Pods are reached by their own
 * addresses, on whatever node they are. Pure.
 *
 * Not among them are external IPs otherwise, which whoever may write a Service writes; what something else has, as the
 * cluster IP that a DNS cache of the node has taken; addresses of load balancers with source ranges: a socket that
 * asks has no source yet; and Services that name another proxy.
 */
import { anyNodeAddress, type Frontend, frontendId, isAnyNodeAddress } from '../../desired/model.ts'
import { sameValue } from '../../desired/same-value.ts'
import type { Reserved } from '../../allocation/reserved.ts'
import { type Family, parseAddress } from '../../ip/address.ts'
import type { EndpointSlice } from '../kinds/endpoint-slice.ts'
import type { Service, ServicePort } from '../kinds/service.ts'
import { byAge } from '../kinds/table.ts'
import { familyOf } from './eligible.ts'
import { type Reach, ServiceEndpoints } from './endpoints.ts'
import { isLeftToAnother, type Proxying } from './proxied.ts'

export interface SocketInput {
  readonly key: string
  /** undefined: it is gone. */
  readonly service: Service | undefined
  readonly slices: readonly EndpointSlice[]
  /** What this node serves of it. */
  readonly frontends: readonly Frontend[]
  readonly reserved: Pick<Reserved, 'reasonOf'>
  /** The zone of this node, where it says so. */
  readonly zone: string | undefined
  /** undefined: external IPs and node ports are others'. */
  readonly proxying?: Pick<Proxying, 'addresses' | 'listeners'> | undefined
}

interface Claim {
  readonly key: string
  readonly value: Service
  readonly frontend: Frontend
}

const everywhere: Reach = { kind: 'tunnels', wayTo: (node) => ({ address: node }) }
const here: Reach = { kind: 'node' }

export class SocketTranslation {
  readonly #nodeName: string
  /** Those of a Service, by its key. */
  readonly #claims = new Map<string, readonly Claim[]>()
  /** Nearly always one for a frontend; the oldest Service has it. */
  readonly #claimants = new Map<string, readonly Claim[]>()
  readonly #emitted = new Map<string, Frontend>()
  readonly #changed = new Set<string>()

  constructor(nodeName: string) {
    this.#nodeName = nodeName
  }

  /** Replaces what is known of a Service. */
  set(input: SocketInput): void {
    const { key, service } = input
    const before = this.#claims.get(key) ?? []
    const now =
      service === undefined || isLeftToAnother(service)
        ? []
        : socketFrontends({ ...input, service }, this.#nodeName).map((frontend) => ({ key, value: service, frontend }))
    if (now.length === 0) this.#claims.delete(key)
    else this.#claims.set(key, now)
    for (const { frontend } of before) this.#setClaim(frontend.id, key, undefined)
    for (const claim of now) this.#setClaim(claim.frontend.id, key, claim)
  }

  #setClaim(id: string, key: string, claim: Claim | undefined): void {
    const others = (this.#claimants.get(id) ?? []).filter((each) => each.key !== key)
    const claims = claim === undefined ? others : [...others, claim].sort(byAge)
    if (claims.length === 0) this.#claimants.delete(id)
    else this.#claimants.set(id, claims)
    this.#changed.add(id)
  }

  /** What became another since the last question, by the id of a frontend; undefined: it is gone. */
  take(): ReadonlyMap<string, Frontend | undefined> {
    const delta = new Map<string, Frontend | undefined>()
    for (const id of this.#changed) {
      const wanted = this.#claimants.get(id)?.[0]?.frontend
      if (sameValue(wanted, this.#emitted.get(id))) continue
      if (wanted === undefined) this.#emitted.delete(id)
      else this.#emitted.set(id, wanted)
      delta.set(id, wanted)
    }
    this.#changed.clear()
    return delta
  }
}

function socketFrontends(input: SocketInput & { readonly service: Service }, nodeName: string): readonly Frontend[] {
  const { key, service, slices, frontends, reserved, proxying, zone } = input
  const { spec, own } = service
  const endpoints = new ServiceEndpoints(slices, nodeName, spec.weights)
  const ofOthers = ({ address }: { readonly address: string }): boolean => {
    const parsed = parseAddress(address)
    return reserved.reasonOf(address) !== undefined || (parsed !== undefined && endpoints.has(parsed))
  }
  const frontendOf = (address: string, port: ServicePort, reach: Reach): readonly Frontend[] => {
    const { protocol } = port
    if (protocol === 'SCTP') return []
    const near = reach === here ? undefined : { node: nodeName, zone }
    const { used, resting } = endpoints.backendsOf(familyOf(address), port, reach, near)
    const bare = (list: typeof used): typeof used =>
      list.map(({ address: at, port: on, weight }) => ({ address: at, port: on, ...(weight ? { weight } : {}) }))
    return [
      {
        id: frontendId(address, protocol, port.port),
        service: key,
        address,
        protocol,
        port: port.port,
        backends: bare(used),
        ...(resting.length === 0 ? {} : { resting: bare(resting) }),
        ...(spec.affinitySec === undefined ? {} : { affinitySec: spec.affinitySec }),
      },
    ]
  }
  const clusterReach = spec.internalTrafficPolicy === 'Local' ? here : everywhere
  const ofCluster = own
    .filter((each) => each.type === 'ClusterIP' && !ofOthers(each))
    .flatMap(({ address }) => spec.ports.flatMap((port) => frontendOf(address, port, clusterReach)))
  const notLed = new Set(own.flatMap(({ type, address }) => (type === 'ClusterIP' || !proxying ? address : [])))
  // From inside the cluster the external traffic policy does not count.
  const isLed = ({ address, sources }: Frontend): boolean => sources === undefined && !notLed.has(address)
  const ports = new Map(spec.ports.map((each) => [placeOf(each), each]))
  const ofOutside = frontends
    .filter((frontend) => !isAnyNodeAddress(frontend.address) && isLed(frontend))
    .flatMap((frontend) => {
      const port = ports.get(placeOf(frontend))
      return port === undefined ? [] : frontendOf(frontend.address, port, everywhere)
    })
  const ofNode = nodePortsAmong(frontends, service)
    .filter(({ port }) => proxying?.listeners.has(placeOf(port)) !== true)
    .flatMap(({ port, family }) =>
      [...(proxying?.addresses ?? []), ...elsewhere(spec)]
        .filter((address) => familyOf(address) === family)
        .flatMap((address) => frontendOf(address, port, everywhere)),
    )
  return [...ofCluster, ...ofOutside, ...ofNode]
}

/**
 * At any address of another node, as long as that one would hand on to pods here, too: their replies to a client of
 * their own node come by no other. Else it is asked, and has its own pods alone.
 */
function elsewhere({ externalTrafficPolicy }: Service['spec']): readonly string[] {
  return externalTrafficPolicy === 'Local' ? [] : [anyNodeAddress.ipv4, anyNodeAddress.ipv6]
}

/** The node ports that this node serves, with the port of the Service that each stands for. */
function nodePortsAmong(
  frontends: readonly Frontend[],
  { spec, nodePorts }: Service,
): readonly { readonly port: ServicePort; readonly family: Family }[] {
  const ports = spec.ports.map((port, index) => ({ ...port, port: nodePorts[index] ?? 0 }))
  const byPlace = new Map(ports.map((port) => [placeOf(port), port]))
  return frontends.flatMap((frontend) => {
    const port = isAnyNodeAddress(frontend.address) ? byPlace.get(placeOf(frontend)) : undefined
    return port === undefined ? [] : [{ port, family: familyOf(frontend.address) }]
  })
}

const placeOf = ({ port, protocol }: Pick<ServicePort, 'port' | 'protocol'>): string => `${port}/${protocol}`
