/**
 * What a CiliumBGPPeeringPolicy makes of this node: neighbors, PodCIDR routes, and for each Service which neighbors
 * hear it with which attributes. Pure.
 */
import type { DesiredPodCidr, Neighbor, ObjectRef, Route, RouteAttributes } from '../../desired/model.ts'
import type { CiliumBgpPeeringPolicy, PolicyNeighbor, VirtualRouter } from '../kinds/cilium-bgp-peering-policy.ts'
import { type Fault, formatPath } from '../kinds/narrow.ts'
import { type LabelSelector, type Labels, selectorMatches } from '../label-selector.ts'
import type { Pool } from '../ipam/allocate.ts'
import { parseStandardCommunity, wellKnownCommunity, isLargeCommunity } from './communities.ts'
import type { NeighborOverrides } from './neighbor-overrides.ts'

/** One neighbor with what it is to hear. */
export interface ServiceExport {
  readonly neighbor: Neighbor
  readonly selector: LabelSelector | undefined
  /** Attributes per address, by the pool that holds it. */
  readonly attributesFor: (pool: Pool | undefined) => RouteAttributes
}

export interface NodeExports {
  readonly policy: CiliumBgpPeeringPolicy
  readonly neighbors: readonly Neighbor[]
  readonly services: readonly ServiceExport[]
  readonly podCidrs: readonly DesiredPodCidr[]
  readonly faults: readonly Fault[]
}

export interface NodeView {
  readonly name: string
  readonly labels: Labels
  readonly annotations: Readonly<Record<string, string>>
  readonly podCidrs: readonly string[]
  /** Used when no annotation gives one. */
  readonly routerId: string
}

export interface ExportPorts {
  /** The TCP-MD5 key of a Secret, or why there is none. */
  password(secretName: string): string | { readonly reason: string; readonly remedy: string }
  readonly overrides: (address: string) => NeighborOverrides
}

export function exportsOf(policy: CiliumBgpPeeringPolicy, source: ObjectRef, node: NodeView, ports: ExportPorts): NodeExports {
  const faults: Fault[] = []
  const services: ServiceExport[] = []
  const podCidrRoutes = new Map<string, Route[]>()
  for (const [r, router] of policy.spec.virtualRouters.entries()) {
    for (const [n, spec] of router.neighbors.entries()) {
      const at = ['spec', 'virtualRouters', r, 'neighbors', n]
      const neighbor = neighborOf(router, spec, source, node, ports, at, faults)
      if (neighbor === undefined) continue
      const overrides = ports.overrides(neighbor.peerAddress)
      services.push({ neighbor, selector: spec.serviceSelector ?? router.serviceSelector ?? undefined, attributesFor: (pool) => serviceAttributes(spec, pool, overrides) })
      if (!router.exportPodCIDR) continue
      for (const prefix of node.podCidrs) {
        if (!speaks(neighbor, prefix)) continue
        const route: Route = { prefix, neighbors: [neighbor.id], attributes: podCidrAttributes(spec, node.labels, overrides) }
        podCidrRoutes.set(prefix, [...(podCidrRoutes.get(prefix) ?? []), route])
      }
    }
  }
  const wantsPodCidr = policy.spec.virtualRouters.some((router) => router.exportPodCIDR)
  if (wantsPodCidr && node.podCidrs.length === 0) faults.push({ path: ['spec', 'virtualRouters'], message: `exportPodCIDR is set and node ${node.name} has no PodCIDR`, remedy: 'Give the Node spec.podCIDRs, or turn exportPodCIDR off' })
  const podCidrs = (wantsPodCidr ? node.podCidrs : []).map((prefix) => ({ prefix, routes: podCidrRoutes.get(prefix) ?? [], verdicts: [{ step: 'selected', ok: true, code: 'ExportPodCIDR', message: `PodCIDR of node ${node.name}, exported by policy ${policy.metadata.name}` } as const] }))
  return { policy, neighbors: services.map((entry) => entry.neighbor), services, podCidrs, faults }
}

/** True when the family of the prefix is spoken with the neighbor. */
export function speaks(neighbor: Neighbor, prefix: string): boolean {
  return neighbor.families.includes(prefix.includes(':') ? 'ipv6-unicast' : 'ipv4-unicast')
}

function neighborOf(router: VirtualRouter, spec: PolicyNeighbor, source: ObjectRef, node: NodeView, ports: ExportPorts, at: readonly (string | number)[], faults: Fault[]): Neighbor | undefined {
  const peerAddress = spec.peerAddress.slice(0, spec.peerAddress.indexOf('/'))
  const password = spec.authSecretRef === null || spec.authSecretRef === undefined ? undefined : ports.password(spec.authSecretRef)
  if (typeof password === 'object') {
    // Dialling without the key would only show the router an unsigned session.
    faults.push({ path: [...at, 'authSecretRef'], message: `${password.reason}: neighbor ${peerAddress} is not dialled`, remedy: password.remedy })
    return undefined
  }
  const families = (spec.families ?? [{ afi: 'ipv4', safi: 'unicast' }, { afi: 'ipv6', safi: 'unicast' }])
    .filter(({ afi, safi }) => safi === 'unicast' && (afi === 'ipv4' || afi === 'ipv6'))
    .map(({ afi }) => (afi === 'ipv4' ? ('ipv4-unicast' as const) : ('ipv6-unicast' as const)))
  if (families.length === 0) {
    faults.push({ path: [...at, 'families'], message: `no family that is spoken: neighbor ${peerAddress} is not dialled`, remedy: 'Write ipv4/unicast or ipv6/unicast' })
    return undefined
  }
  const { passive, ttlSecurity, sourceAddress, notification, nextHop } = ports.overrides(peerAddress)
  return {
    id: `${router.localASN}/${peerAddress}`,
    source,
    virtualRouter: String(router.localASN),
    localAsn: router.localASN,
    peerAsn: spec.peerASN,
    peerAddress,
    peerPort: spec.peerPort,
    routerId: annotatedRouterId(node, router.localASN) ?? node.routerId,
    families,
    holdTimeSec: spec.holdTimeSeconds,
    keepaliveSec: spec.keepAliveTimeSeconds,
    connectRetrySec: spec.connectRetryTimeSeconds,
    multihopTtl: spec.eBGPMultihopTTL,
    passive: passive ?? false,
    ...(password === undefined ? {} : { password }),
    ...(spec.gracefulRestart?.enabled === true ? { gracefulRestart: { restartTimeSec: spec.gracefulRestart.restartTimeSeconds, notification: notification ?? false } } : {}),
    ...(ttlSecurity === undefined ? {} : { ttlSecurityHops: ttlSecurity }),
    ...(sourceAddress === undefined ? {} : { sourceAddress }),
    ...(nextHop === undefined ? {} : { nextHops: { [nextHop.includes(':') ? 'ipv6-unicast' : 'ipv4-unicast']: nextHop } }),
  }
}

/** `cilium.io/bgp-virtual-router.{asn}: router-id=192.0.2.1,local-port=179`. */
function annotatedRouterId(node: NodeView, asn: number): string | undefined {
  const pairs = (node.annotations[`cilium.io/bgp-virtual-router.${asn}`] ?? '').split(',').map((pair) => pair.split('='))
  return pairs.filter((pair) => pair.length === 2 && pair[0]?.trim() === 'router-id').at(-1)?.[1]?.trim()
}

function podCidrAttributes(spec: PolicyNeighbor, nodeLabels: Labels, overrides: NeighborOverrides): RouteAttributes {
  return united((spec.advertisedPathAttributes ?? []).filter(({ selectorType, selector }) => selectorType === 'PodCIDR' && (selector === null || selector === undefined || selectorMatches(selector, nodeLabels))), overrides)
}

function serviceAttributes(spec: PolicyNeighbor, pool: Pool | undefined, overrides: NeighborOverrides): RouteAttributes {
  return united((spec.advertisedPathAttributes ?? []).filter(({ selectorType, selector }) => selectorType === 'CiliumLoadBalancerIPPool' && pool !== undefined && (selector === null || selector === undefined || selectorMatches(selector, pool.labels))), overrides)
}

type PathAttributesSpec = NonNullable<PolicyNeighbor['advertisedPathAttributes']>[number]

/** Several entries that match: communities are united, the highest local preference wins. */
function united(entries: readonly PathAttributesSpec[], { med }: NeighborOverrides): RouteAttributes {
  const communities = new Set<number>()
  const large = new Set<string>()
  let localPreference: number | undefined
  for (const entry of entries) {
    for (const text of entry.communities?.standard ?? []) addKnown(communities, parseStandardCommunity(text))
    for (const name of entry.communities?.wellKnown ?? []) addKnown(communities, wellKnownCommunity(name))
    for (const text of entry.communities?.large ?? []) if (isLargeCommunity(text)) large.add(text)
    if (entry.localPreference !== null && entry.localPreference !== undefined) localPreference = Math.max(localPreference ?? 0, entry.localPreference)
  }
  return {
    ...(communities.size === 0 ? {} : { communities: [...communities].sort((a, b) => a - b) }),
    ...(large.size === 0 ? {} : { largeCommunities: [...large].sort() }),
    ...(localPreference === undefined ? {} : { localPreference }),
    ...(med === undefined ? {} : { med }),
  }
}

function addKnown(set: Set<number>, value: number | undefined): void {
  if (value !== undefined) set.add(value)
}

/** Communities that are not understood, each with its path. */
export function communityFaults(policy: CiliumBgpPeeringPolicy): readonly Fault[] {
  return policy.spec.virtualRouters.flatMap((router, r) => router.neighbors.flatMap((neighbor, n) => (neighbor.advertisedPathAttributes ?? []).flatMap((entry, a) => {
    const at = ['spec', 'virtualRouters', r, 'neighbors', n, 'advertisedPathAttributes', a, 'communities']
    const wrong = [
      ...(entry.communities?.standard ?? []).filter((text) => parseStandardCommunity(text) === undefined).map((text) => ({ field: 'standard', text, form: '65000:100, quoted, since YAML reads 65000:100 as a number' })),
      ...(entry.communities?.wellKnown ?? []).filter((name) => wellKnownCommunity(name) === undefined).map((text) => ({ field: 'wellKnown', text, form: 'no-export, no-advertise, blackhole ...' })),
      ...(entry.communities?.large ?? []).filter((text) => !isLargeCommunity(text)).map((text) => ({ field: 'large', text, form: '65000:1:2' })),
    ]
    return wrong.map(({ field, text, form }) => ({ path: [...at, field], message: `${text} is no community and is not sent (${formatPath([field])})`, remedy: `Write ${form}` }))
  })))
}
