/**
 * What the plan of this node comes to: neighbors, PodCIDR routes, and for each Service which neighbors hear it with
 * which attributes. Pure.
 */
import type { LabelSelector, Labels } from '../../desired/label-selector.ts'
import { selectorMatches } from '../../desired/label-selector.ts'
import type { DesiredPodCidr, Neighbor, Problem, Route, RouteAttributes } from '../../desired/model.ts'
import { united } from '../../desired/route-attributes.ts'
import type { Pool } from '../../allocation/pool-table.ts'
import type { NeighborOverrides } from '../dialects/neighbor-annotation.ts'
import type { Advertisement, NodePlan, PlanNeighbor, PlanSource } from '../dialects/node-plan.ts'
import { fault, type Fault } from '../kinds/narrow.ts'
import { problemOf } from '../kinds/problems.ts'

/** One neighbor with what it is to hear of Services. */
export interface ServiceExport {
  readonly neighbor: Neighbor
  readonly selector: LabelSelector
  /** Attributes of a prefix, by the pool that holds its address. */
  readonly attributesFor: (pool: Pool | undefined, prefix: string) => RouteAttributes
}

export interface NodeExports {
  /** Of the objects that the plan is of. */
  readonly names: readonly string[]
  readonly neighbors: readonly Neighbor[]
  readonly services: readonly ServiceExport[]
  readonly podCidrs: readonly DesiredPodCidr[]
  readonly problems: readonly Problem[]
}

export interface NodeView {
  readonly name: string
  readonly podCidrs: readonly string[]
  /** The BGP Identifier of a virtual router, dotted IPv4. */
  readonly routerIdOf: (asn: number) => string
}

/** The TCP-MD5 key of a Secret by its id, or why there is none. */
export type PasswordOf = (secretId: string) => string | { readonly reason: string; readonly remedy: string }

export function exportsOf(plan: NodePlan, node: NodeView, passwordOf: PasswordOf): NodeExports {
  const problems: Problem[] = []
  const neighbors: Neighbor[] = []
  const services: ServiceExport[] = []
  const podCidrRoutes = new Map<string, Route[]>()
  for (const planned of plan.neighbors) {
    const { peerAddress, overrides, advertisements } = planned
    const password = planned.secret === undefined ? undefined : passwordOf(planned.secret.id)
    const obstacle = obstacleOf(planned, password)
    if (obstacle !== undefined || typeof password === 'object') {
      if (obstacle !== undefined) problems.push(problemIn(planned.from, obstacle))
      continue
    }
    // A router on each interface, where the annotation names several.
    for (const own of needsInterface(peerAddress) ? overrides : overrides.slice(0, 1)) {
      const neighbor = neighborOf(planned, node.routerIdOf(planned.localAsn), password, own)
      neighbors.push(neighbor)
      services.push(...serviceExportsOf(neighbor, advertisements, own))
      for (const prefix of node.podCidrs) {
        const found = advertisements.find(({ type, family }) => type === 'PodCIDR' && family === familyOf(prefix))
        if (found === undefined) continue
        const attributes = attributesOf(found, undefined, own)
        const routes = podCidrRoutes.get(prefix) ?? []
        podCidrRoutes.set(prefix, [...routes, { prefix, neighbors: [neighbor.id], attributes }])
      }
    }
  }
  return { names: plan.names, neighbors, services, podCidrs: podCidrsOf(plan, node, podCidrRoutes, problems), problems }
}

export function problemIn({ key, origin }: PlanSource, found: Fault): Problem {
  return problemOf(found, key, origin)
}

/** Why a neighbor is not dialled. */
function obstacleOf(
  { peerAddress, overrides, path, secret }: PlanNeighbor,
  password: ReturnType<PasswordOf> | undefined,
): Fault | undefined {
  if (needsInterface(peerAddress) && overrides.some((own) => own.interface === undefined)) {
    const what = peerAddress === '::' ? 'an unnumbered neighbor' : 'a link-local address'
    const message = `neighbor ${peerAddress} is not dialled: ${what} needs an interface`
    const remedy = `Write herald.dev/neighbors: '{"${peerAddress}": {interface: eth0}}'.`
    return fault('error', [...path, 'peerAddress'], 'NoInterface', message, remedy)
  }
  if (typeof password !== 'object') return undefined
  // Dialling without the key would only show the router an unsigned session.
  const message = `${password.reason}: neighbor ${peerAddress} is not dialled`
  return fault('error', [...path, secret?.field ?? ''], 'NoPassword', message, password.remedy)
}

function podCidrsOf(
  { names, podCidrExports }: NodePlan,
  node: NodeView,
  routes: ReadonlyMap<string, readonly Route[]>,
  problems: Problem[],
): readonly DesiredPodCidr[] {
  if (podCidrExports.length === 0) return []
  if (node.podCidrs.length === 0)
    for (const { from, field, path } of podCidrExports) {
      const message = `${field} is set and node ${node.name} has no PodCIDR`
      const remedy = `Give the Node spec.podCIDRs, or turn ${field} off.`
      problems.push(problemIn(from, fault('warning', path, 'NoPodCidr', message, remedy)))
    }
  const message = `PodCIDR of node ${node.name}, exported by policy ${names.join(', ')}`
  return node.podCidrs.map((prefix) => ({
    prefix,
    routes: routes.get(prefix) ?? [],
    verdicts: [{ step: 'selected', ok: true, code: 'ExportPodCIDR', message } as const],
  }))
}

function familyOf(prefix: string): Advertisement['family'] {
  return prefix.includes(':') ? 'ipv6-unicast' : 'ipv4-unicast'
}

/** True when the family of the prefix is spoken with the neighbor. */
export function speaks(neighbor: Neighbor, prefix: string): boolean {
  return neighbor.families.includes(familyOf(prefix))
}

/** Advertisements of one selector say nothing but attributes by family. */
function serviceExportsOf(
  neighbor: Neighbor,
  advertisements: readonly Advertisement[],
  overrides: NeighborOverrides,
): readonly ServiceExport[] {
  const bySelector = new Map<LabelSelector, readonly Advertisement[]>()
  for (const one of advertisements)
    if (one.selector !== undefined) bySelector.set(one.selector, [...(bySelector.get(one.selector) ?? []), one])
  return [...bySelector].map(([selector, all]) => ({
    neighbor,
    selector,
    attributesFor: (pool, prefix) => {
      const found = all.find(({ family }) => family === familyOf(prefix))
      return found === undefined ? {} : attributesOf(found, pool?.labels, overrides)
    },
  }))
}

function neighborOf(
  planned: PlanNeighbor,
  routerId: string,
  password: string | undefined,
  overrides: NeighborOverrides,
): Neighbor {
  const {
    from,
    path: _path,
    secret: _secret,
    overrides: _overrides,
    advertisements: _advertisements,
    gracefulRestart,
    ...session
  } = planned
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
  const { localAsn, peerAddress } = session
  const zone = needsInterface(peerAddress) && named.interface !== undefined ? `%${named.interface}` : ''
  return {
    id: `${localAsn}/${peerAddress}${zone}`,
    source: from.source,
    ...session,
    routerId,
    passive,
    ...written(named),
    ...(password === undefined ? {} : { password }),
    ...(gracefulRestart === undefined
      ? {}
      : { gracefulRestart: { ...gracefulRestart, notification: notification ?? false } }),
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

/** What the rules that hold give together, and what the annotation says of the neighbor on top, per family. */
function attributesOf(
  { attributes, family }: Advertisement,
  poolLabels: Labels | undefined,
  overrides: NeighborOverrides,
): RouteAttributes {
  const rules = attributes.filter(
    ({ poolSelector }) =>
      poolSelector === undefined || (poolLabels !== undefined && selectorMatches(poolSelector, poolLabels)),
  )
  const name = family === 'ipv6-unicast' ? 'ipv6' : 'ipv4'
  const med = overrides.med?.[name]
  const asPathPrepend = overrides.asPathPrepend?.[name] ?? 0
  const extended = overrides.extendedCommunities?.[name] ?? []
  return {
    ...united(rules.map((rule) => rule.attributes)),
    ...(med === undefined ? {} : { med }),
    ...(asPathPrepend === 0 ? {} : { asPathPrepend }),
    ...(extended.length === 0 ? {} : { extendedCommunities: [...new Set(extended)].sort() }),
  }
}
