/**
 * What a CiliumBGPPeeringPolicy makes of this node: neighbors, PodCIDR routes, and for each Service which neighbors
 * hear it with which attributes. Pure.
 */
import type {
  AddressFamilyName,
  DesiredPodCidr,
  Neighbor,
  ObjectRef,
  Route,
  RouteAttributes,
} from '../../desired/model.ts'
import { formatAddress } from '../../ip/address.ts'
import { splitPrefix } from '../../ip/prefix.ts'
import type { Pool } from '../../allocation/allocate.ts'
import type {
  CiliumBgpPeeringPolicy,
  PathAttributes,
  PolicyNeighbor,
  VirtualRouter,
} from '../kinds/cilium-bgp-peering-policy.ts'
import { fault, type Fault } from '../kinds/narrow.ts'
import { type LabelSelector, type Labels, selectorMatches } from '../../desired/label-selector.ts'
import { parseOverrides, type NeighborOverrides } from './neighbor-overrides.ts'

/** One neighbor with what it is to hear. */
export interface ServiceExport {
  readonly neighbor: Neighbor
  readonly selector: LabelSelector | undefined
  /** Attributes of a prefix, by the pool that holds its address. */
  readonly attributesFor: (pool: Pool | undefined, prefix: string) => RouteAttributes
}

export interface NodeExports {
  readonly policy: CiliumBgpPeeringPolicy
  readonly neighbors: readonly Neighbor[]
  readonly services: readonly ServiceExport[]
  readonly podCidrs: readonly DesiredPodCidr[]
  /** Of the policy. */
  readonly faults: readonly Fault[]
}

export interface NodeView {
  readonly name: string
  readonly labels: Labels
  readonly podCidrs: readonly string[]
  /** The BGP Identifier of a virtual router, dotted IPv4. */
  readonly routerIdOf: (asn: number) => string
}

/** The TCP-MD5 key of a Secret, or why there is none. */
export type PasswordOf = (secretName: string) => string | { readonly reason: string; readonly remedy: string }

export function exportsOf(
  policy: CiliumBgpPeeringPolicy,
  source: ObjectRef,
  node: NodeView,
  passwordOf: PasswordOf,
): NodeExports {
  const overrides = parseOverrides(policy.metadata.annotations)
  const faults: Fault[] = [...overrides.faults]
  const services: ServiceExport[] = []
  const podCidrRoutes = new Map<string, Route[]>()
  for (const router of policy.virtualRouters) {
    for (const spec of router.neighbors) {
      const peerAddress = hostOf(spec.peerAddress)
      const all = overrides.of(peerAddress)
      const password = spec.authSecretRef ? passwordOf(spec.authSecretRef) : undefined
      const obstacle = obstacleOf(spec, peerAddress, all, password)
      if (obstacle !== undefined || typeof password === 'object') {
        faults.push(...(obstacle === undefined ? [] : [obstacle]))
        continue
      }
      // A router on each interface, where the annotation names several.
      for (const own of needsInterface(peerAddress) ? all : all.slice(0, 1)) {
        const routerId = node.routerIdOf(router.localASN)
        const neighbor = neighborOf({ router, spec, source, peerAddress, routerId, password, overrides: own })
        services.push({
          neighbor,
          selector: spec.serviceSelector ?? router.serviceSelector ?? undefined,
          attributesFor: (pool, prefix) => attributesOf(spec, 'CiliumLoadBalancerIPPool', pool?.labels, own, prefix),
        })
        for (const prefix of router.exportPodCIDR ? node.podCidrs : []) {
          if (!speaks(neighbor, prefix)) continue
          const attributes = attributesOf(spec, 'PodCIDR', node.labels, own, prefix)
          const routes = podCidrRoutes.get(prefix) ?? []
          podCidrRoutes.set(prefix, [...routes, { prefix, neighbors: [neighbor.id], attributes }])
        }
      }
    }
  }
  const podCidrs = podCidrsOf(policy, node, podCidrRoutes, faults)
  return { policy, neighbors: services.map(({ neighbor }) => neighbor), services, podCidrs, faults }
}

/** Why a neighbor is not dialled. */
function obstacleOf(
  spec: PolicyNeighbor,
  peerAddress: string,
  overrides: readonly NeighborOverrides[],
  password: ReturnType<PasswordOf> | undefined,
): Fault | undefined {
  if (needsInterface(peerAddress) && overrides.some((own) => own.interface === undefined)) {
    const what = peerAddress === '::' ? 'an unnumbered neighbor' : 'a link-local address'
    const message = `neighbor ${peerAddress} is not dialled: ${what} needs an interface`
    const remedy = `Write herald.dev/neighbors: '{"${peerAddress}": {interface: eth0}}'.`
    return fault('error', [...spec.path, 'peerAddress'], 'NoInterface', message, remedy)
  }
  if (typeof password !== 'object') return undefined
  // Dialling without the key would only show the router an unsigned session.
  const message = `${password.reason}: neighbor ${peerAddress} is not dialled`
  return fault('error', [...spec.path, 'authSecretRef'], 'NoPassword', message, password.remedy)
}

function podCidrsOf(
  policy: CiliumBgpPeeringPolicy,
  node: NodeView,
  routes: ReadonlyMap<string, readonly Route[]>,
  faults: Fault[],
): readonly DesiredPodCidr[] {
  if (!policy.virtualRouters.some((router) => router.exportPodCIDR)) return []
  if (node.podCidrs.length === 0) {
    const message = `exportPodCIDR is set and node ${node.name} has no PodCIDR`
    const remedy = 'Give the Node spec.podCIDRs, or turn exportPodCIDR off.'
    faults.push(fault('warning', ['spec', 'virtualRouters'], 'NoPodCidr', message, remedy))
  }
  const message = `PodCIDR of node ${node.name}, exported by policy ${policy.metadata.name}`
  return node.podCidrs.map((prefix) => ({
    prefix,
    routes: routes.get(prefix) ?? [],
    verdicts: [{ step: 'selected', ok: true, code: 'ExportPodCIDR', message } as const],
  }))
}

/** The canonical address of `192.0.2.1/32`, which was checked. */
function hostOf(prefix: string): string {
  const parts = splitPrefix(prefix)
  return parts === undefined ? prefix : formatAddress(parts.address)
}

/** True when the family of the prefix is spoken with the neighbor. */
export function speaks(neighbor: Neighbor, prefix: string): boolean {
  return neighbor.families.includes(prefix.includes(':') ? 'ipv6-unicast' : 'ipv4-unicast')
}

interface NeighborInput {
  readonly router: VirtualRouter
  readonly spec: PolicyNeighbor
  readonly source: ObjectRef
  readonly peerAddress: string
  readonly routerId: string
  readonly password: string | undefined
  readonly overrides: NeighborOverrides
}

function neighborOf({ router, spec, source, peerAddress, routerId, password, overrides }: NeighborInput): Neighbor {
  const {
    ttlSecurity,
    sourceAddress,
    notification,
    nextHop,
    tcpUserTimeout,
    delayOpen,
    med: _med,
    asPathPrepend: _prepend,
    extendedCommunities: _extended,
    passive = false,
    ...named
  } = overrides
  return {
    id: `${router.localASN}/${peerAddress}${needsInterface(peerAddress) && named.interface !== undefined ? `%${named.interface}` : ''}`,
    source,
    virtualRouter: String(router.localASN),
    localAsn: router.localASN,
    peerAsn: spec.peerASN,
    peerAddress,
    peerPort: spec.peerPort,
    routerId,
    families: familiesOf(spec),
    holdTimeSec: spec.holdTimeSeconds,
    keepaliveSec: spec.keepAliveTimeSeconds,
    connectRetrySec: spec.connectRetryTimeSeconds,
    multihopTtl: spec.eBGPMultihopTTL,
    passive,
    ...written(named),
    ...(password === undefined ? {} : { password }),
    ...(spec.gracefulRestart?.enabled === true
      ? {
          gracefulRestart: {
            restartTimeSec: spec.gracefulRestart.restartTimeSeconds,
            notification: notification ?? false,
          },
        }
      : {}),
    ...(ttlSecurity === undefined ? {} : { ttlSecurityHops: ttlSecurity }),
    ...(sourceAddress === undefined ? {} : { sourceAddress }),
    ...(tcpUserTimeout === undefined ? {} : { tcpUserTimeoutSec: tcpUserTimeout }),
    ...(delayOpen === undefined ? {} : { delayOpenSec: delayOpen }),
    ...(nextHop === undefined ? {} : { nextHops: nextHopsOf(nextHop) }),
  }
}

/** Without the keys that nobody wrote. */
function written<T extends object>(keys: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(keys).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>
  }
}

function nextHopsOf({ ipv4, ipv6 }: NonNullable<NeighborOverrides['nextHop']>): NonNullable<Neighbor['nextHops']> {
  return {
    ...(ipv4 === undefined ? {} : { 'ipv4-unicast': ipv4 }),
    ...(ipv6 === undefined ? {} : { 'ipv6-unicast': ipv6 }),
  }
}

/** A link-local address means nothing without its interface, and `::` is whatever router is there (unnumbered). */
function needsInterface(peerAddress: string): boolean {
  return peerAddress === '::' || /^fe[89ab]/.test(peerAddress)
}

function familiesOf({ families }: PolicyNeighbor): readonly AddressFamilyName[] {
  if (!families) return ['ipv4-unicast', 'ipv6-unicast']
  return (['ipv4', 'ipv6'] as const)
    .filter((name) => families.some(({ afi, safi }) => afi === name && safi === 'unicast'))
    .map((name) => `${name}-unicast` as const)
}

/**
 * Of the entries of one type whose selector matches: communities are united, the highest local preference wins. What
 * the annotation says of the neighbor comes on top, per family.
 */
function attributesOf(
  spec: PolicyNeighbor,
  type: PathAttributes['selectorType'],
  labels: Labels | undefined,
  overrides: NeighborOverrides,
  prefix: string,
): RouteAttributes {
  const entries = (spec.advertisedPathAttributes ?? []).filter(
    ({ selectorType, selector }) =>
      selectorType === type && labels !== undefined && selectorMatches(selector ?? {}, labels),
  )
  const communities = new Set(
    entries.flatMap((entry) => [...(entry.communities?.standard ?? []), ...(entry.communities?.wellKnown ?? [])]),
  )
  const large = new Set(entries.flatMap((entry) => entry.communities?.large ?? []))
  const preferences = entries.flatMap(({ localPreference }) => localPreference ?? [])
  const family = prefix.includes(':') ? 'ipv6' : 'ipv4'
  const med = overrides.med?.[family]
  const asPathPrepend = overrides.asPathPrepend?.[family] ?? 0
  const extended = overrides.extendedCommunities?.[family] ?? []
  return {
    ...(communities.size === 0 ? {} : { communities: [...communities].sort((a, b) => a - b) }),
    ...(large.size === 0 ? {} : { largeCommunities: [...large].sort() }),
    ...(preferences.length === 0 ? {} : { localPreference: Math.max(...preferences) }),
    ...(med === undefined ? {} : { med }),
    ...(asPathPrepend === 0 ? {} : { asPathPrepend }),
    ...(extended.length === 0 ? {} : { extendedCommunities: [...new Set(extended)].sort() }),
  }
}
