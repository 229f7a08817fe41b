/**
 * What the plan of this node comes to: neighbors, PodCIDR routes, and for each Service which neighbors hear it with
 * which attributes. Pure.
 */
import { isForwardable, parseAddress } from '../../ip/address.ts'
import type { LabelSelector } from '../../desired/label-selector.ts'
import { selectorMatches } from '../../desired/label-selector.ts'
import type {
  AddressFamilyName,
  DesiredPodCidr,
  Neighbor,
  Problem,
  Route,
  RouteAttributes,
} from '../../desired/model.ts'
import { united } from '../../desired/route-attributes.ts'
import type { Pool } from '../../allocation/pool-table.ts'
import {
  planKey,
  type Advertisement,
  type NodePlan,
  type PlanNeighbor,
  type PlanSource,
  type PoolFilter,
  type ServiceAddressType,
} from '../dialects/node-plan.ts'
import type { NoPodCidrs } from '../dialects/nodes.ts'
import { fault, type Fault } from '../kinds/narrow.ts'
import { neighborsAnnotation, type NeighborOverrides } from '../kinds/neighbor-annotation.ts'
import type { NodeAddress } from '../kinds/node.ts'
import { problemOf, refOf } from '../kinds/problems.ts'

/** What is to be heard of Services in one family, by one advertisement; several add up. */
export interface ServiceExport {
  /** Who says so, as verdicts name it. */
  readonly name: string
  readonly selector: LabelSelector
  readonly family: AddressFamilyName
  readonly addressTypes: readonly ServiceAddressType[]
  /** See {@link Advertisement.aggregationLength}. */
  readonly aggregationLength: number | undefined
  readonly aggregatesLocal: boolean
  /** Of the pools that hold an address, whichever of them gives it away. */
  readonly admits: (pools: readonly Pool[]) => boolean
  /** Attributes of a route, by the pools that hold its address. */
  readonly attributesFor: (pools: readonly Pool[]) => RouteAttributes
  /** Equal, where the neighbor is alike, for exports by which every Service is heard alike. */
  readonly said: string
}

/** What one neighbor is to hear of Services; neighbors that hear the same have one list. */
export interface Hearing {
  readonly neighbor: Neighbor
  /** Equal where all is alike that is the neighbor's. */
  readonly heardBy: string
  readonly exports: readonly ServiceExport[]
}

export interface NodeExports {
  /** Of the objects that the plan is of. */
  readonly names: readonly string[]
  /** The neighbors by their plan key. */
  readonly inForce: ReadonlyMap<string, readonly Neighbor[]>
  readonly services: readonly Hearing[]
  readonly podCidrs: readonly DesiredPodCidr[]
  readonly problems: readonly Problem[]
  /** Addresses that Services have without a pool are asked for. */
  readonly isOwnAsked: boolean
  /** What is announced may go beyond the pools, so that it depends on what nobody may have outside of them. */
  readonly isBeyondPools: boolean
  readonly notAdvertised: NodePlan['notAdvertised']
  readonly nothingSelects: NodePlan['nothingSelects']
}

export interface NodeView {
  readonly name: string
  readonly podCidrs: readonly string[]
  readonly noPodCidrs: NoPodCidrs
  /** Of the Node, canonical. */
  readonly addresses: readonly NodeAddress[]
  /** Whether an address is one of the node, by the Node or by its interfaces. */
  readonly isOwn: (address: string) => boolean
  readonly isStandIn: boolean
  readonly routerOf: (asn: number) => RouterView
}

export interface RouterView {
  /** BGP Identifier, dotted IPv4. */
  readonly routerId: string
  readonly listenPort?: number
}

/** The TCP-MD5 key of a Secret, or why there is none. */
export type PasswordOf = (secret: NonNullable<PlanNeighbor['secret']>) => string | NoPassword

export interface NoPassword {
  readonly reason: string
  readonly remedy: string
}

/** `before`: the neighbors in force by their plan key; one that cannot be made now is what it was. */
export function exportsOf(
  plan: NodePlan,
  node: NodeView,
  passwordOf: PasswordOf,
  before: ReadonlyMap<string, readonly Neighbor[]>,
): NodeExports {
  const problems: Problem[] = []
  const inForce = new Map<string, readonly Neighbor[]>()
  const services: Hearing[] = []
  const podCidrRoutes = new Map<string, Route[]>()
  const lists: ExportLists = new Map()
  for (const planned of plan.neighbors) {
    const key = planKey(planned)
    const made = sessionsOf(planned, node, passwordOf, before.get(key) ?? [])
    problems.push(...made.faults.map(({ from, fault: found }) => problemOf(found, from.key, from.origin)))
    inForce.set(
      key,
      made.sessions.map(({ neighbor }) => neighbor),
    )
    for (const { neighbor, overrides } of made.sessions) {
      services.push(hearingOf({ neighbor, overrides }, planned.advertisements, lists))
      for (const prefix of node.podCidrs) {
        const found = planned.advertisements.filter(
          ({ type, family }) => type === 'PodCIDR' && family === familyOf(prefix),
        )
        if (found.length === 0) continue
        const attributes = united(found.map((one) => attributesOf(one, [], overrides)))
        const routes = podCidrRoutes.get(prefix) ?? []
        podCidrRoutes.set(prefix, [...routes, { prefix, neighbors: [neighbor.id], attributes }])
      }
    }
  }
  const podCidrs = podCidrsOf(plan, node, podCidrRoutes, problems)
  const all = [...new Set(services.map(({ exports }) => exports))].flat()
  const isOwnAsked = all.some(({ addressTypes }) => addressTypes.some((type) => type !== 'LoadBalancerIP'))
  const isBeyondPools = isOwnAsked || all.some(({ aggregationLength }) => aggregationLength !== undefined)
  const { names, notAdvertised, nothingSelects } = plan
  const words = { names, notAdvertised, nothingSelects }
  return { ...words, inForce, services, podCidrs, problems, isOwnAsked, isBeyondPools }
}

interface Session {
  readonly neighbor: Neighbor
  readonly overrides: NeighborOverrides
}

interface SaidFault {
  readonly fault: Fault
  readonly from: PlanSource
}

interface Sessions {
  readonly sessions: readonly Session[]
  readonly faults: readonly SaidFault[]
}

/** The sessions with one neighbor: on several interfaces several, and none when something is against it. */
function sessionsOf(
  planned: PlanNeighbor,
  node: NodeView,
  passwordOf: PasswordOf,
  before: readonly Neighbor[],
): Sessions {
  const { from, peerAddress, overrides, secret, password: inline } = planned
  if (node.addresses.some(({ address }) => address === peerAddress))
    return { sessions: [], faults: selfFaults(planned, `node ${node.name} itself: there is no session with it`) }
  const password = secret === undefined ? inline : passwordOf(secret)
  const missing = typeof password === 'object' ? password : undefined
  const obstacle = obstacleOf(planned, missing, before.length > 0)
  if (obstacle !== undefined) {
    const kept = before.map((neighbor) => ({
      neighbor,
      overrides: overrides.find((own) => own.interface === neighbor.interface) ?? overrides[0] ?? {},
    }))
    // What is not among the manifests of a stand-in is elsewhere.
    return { sessions: kept, faults: node.isStandIn && obstacle.fault.code === 'NoPassword' ? [] : [obstacle] }
  }
  const wanted = needsInterface(peerAddress) ? overrides : overrides.slice(0, 1)
  return {
    sessions: wanted.map((own) => ({
      neighbor: neighborOf({ planned, node, overrides: own, ...(typeof password === 'string' ? { password } : {}) }),
      overrides: own,
    })),
    faults: [
      // Who has it now may be another daemon of this host, or not have it in a moment.
      ...(node.isOwn(peerAddress) && isForwardable(parseAddress(peerAddress) ?? 0)
        ? selfFaults(planned, `an interface of node ${node.name}: only a router on this host would answer`)
        : []),
      ...wanted.flatMap((own) => foreignAddresses(planned, own, node).map((found) => ({ from, fault: found }))),
    ],
  }
}

function selfFaults({ from, peerAddress, path }: PlanNeighbor, whose: string): readonly SaidFault[] {
  const message = `${peerAddress} is an address of ${whose}`
  const remedy = 'Nothing needs to be done where other nodes share the policy; else write the address of a router.'
  return [{ from, fault: fault('warning', [...path, 'peerAddress'], 'SelfNeighbor', message, remedy) }]
}

/** Why a neighbor cannot be dialled as it is written. */
function obstacleOf(
  { from, peerAddress, overrides, path, secret, obstacle }: PlanNeighbor,
  missing: NoPassword | undefined,
  isKept: boolean,
): SaidFault | undefined {
  const outcome = isKept ? 'its last good version stays in force' : 'it is not dialled'
  if (obstacle !== undefined) {
    const message = `${obstacle.fault.message}; neighbor ${peerAddress}: ${outcome}`
    return { ...obstacle, fault: { ...obstacle.fault, message } }
  }
  if (needsInterface(peerAddress) && overrides.some((own) => own.interface === undefined)) {
    const what = peerAddress === '::' ? 'an unnumbered neighbor' : 'a link-local address'
    const message = `neighbor ${peerAddress}: ${what} needs an interface; ${outcome}`
    const remedy = `Write herald.dev/neighbors: '{"${peerAddress}": {interface: eth0}}'.`
    return { from, fault: fault('error', [...path, 'peerAddress'], 'NoInterface', message, remedy) }
  }
  if (missing === undefined) return undefined
  // Dialling without the key would only show the router an unsigned session.
  const message = `${missing.reason}; neighbor ${peerAddress}: ${outcome}`
  const { from: naming, path: within } = secret?.at ?? { from, path }
  return {
    from: naming,
    fault: fault('error', [...within, secret?.field ?? ''], 'NoPassword', message, missing.remedy),
  }
}

/** What a policy, which other nodes share, says of an address that is none of this node. */
function foreignAddresses(
  { peerAddress, ownKeys, sourcePath }: PlanNeighbor,
  own: NeighborOverrides,
  node: NodeView,
): Fault[] {
  const isUnknown = node.isStandIn || node.addresses.length === 0
  const said: readonly (readonly [string, string, string | undefined])[] = [
    ['nextHop', 'next hop', own.nextHop?.ipv4],
    ['nextHop', 'next hop', own.nextHop?.ipv6],
    ['sourceAddress', 'source address', own.sourceAddress],
  ]
  return said.flatMap(([key, what, address]) => {
    if (address === undefined) return []
    const annotation = ['metadata', 'annotations', neighborsAnnotation]
    const path = key === 'sourceAddress' ? (sourcePath ?? annotation) : annotation
    if (key === 'sourceAddress' && !isSourceFor(peerAddress, address)) {
      const [other, own] = peerAddress.includes(':') ? ['IPv4', 'IPv6'] : ['IPv6', 'IPv4']
      const neighbor = `neighbor ${peerAddress} is ${own}`
      const message = `the ${what} ${address} is ${other}, and ${neighbor}: it has no effect there`
      return [fault('warning', path, 'InvalidAddress', message, `Write an ${own} address of the node.`)]
    }
    if (isUnknown || ownKeys.has(key) || node.isOwn(address)) return []
    const message = `the ${what} ${address} of neighbor ${peerAddress} is no address of node ${node.name}`
    const remedy =
      `If each node is to have its own, write herald.dev/neighbors: '{"${peerAddress}": {${key}: ...}}' into ` +
      `its Node, ` +
      'which goes before the policy.'
    return [fault('warning', path, 'NotOwnAddress', message, remedy)]
  })
}

function podCidrsOf(
  { podCidrExports }: NodePlan,
  node: NodeView,
  routes: ReadonlyMap<string, readonly Route[]>,
  problems: Problem[],
): readonly DesiredPodCidr[] {
  if (podCidrExports.length === 0) return []
  if (node.podCidrs.length === 0 && !node.isStandIn)
    for (const { from, field, path } of podCidrExports) {
      const { message, remedy } = node.noPodCidrs
      const found = fault('warning', path, 'NoPodCidr', `${field} is set and ${message}`, remedy(field))
      problems.push(problemOf(found, from.key, from.origin))
    }
  const names = [...new Set(podCidrExports.map(({ name }) => name))].join(', ')
  const message = `PodCIDR of node ${node.name}, exported by ${names}`
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

/** By the advertisements, and by what the neighbor adds to them. */
type ExportLists = Map<readonly Advertisement[], Map<string, readonly ServiceExport[]>>

function hearingOf(
  { neighbor, overrides }: Session,
  advertisements: readonly Advertisement[],
  lists: ExportLists,
): Hearing {
  const { med, asPathPrepend, extendedCommunities } = overrides
  const added = JSON.stringify([med, asPathPrepend, extendedCommunities])
  const known = lists.get(advertisements) ?? new Map<string, readonly ServiceExport[]>()
  lists.set(advertisements, known)
  const exports = known.get(added) ?? serviceExportsOf(advertisements, overrides)
  known.set(added, exports)
  return { neighbor, heardBy: JSON.stringify([neighbor.id, neighbor.families, added]), exports }
}

function serviceExportsOf(
  advertisements: readonly Advertisement[],
  overrides: NeighborOverrides,
): readonly ServiceExport[] {
  return advertisements.flatMap((one): readonly ServiceExport[] => {
    const { name, type, selector, family, addressTypes = loadBalancerOnly, aggregationLength, pools } = one
    const { aggregatesLocal = false } = one
    if (type !== 'Service' || selector === undefined) return []
    const admits = (held: readonly Pool[]): boolean =>
      pools === undefined || held.some((pool) => isAdmitted(pools, pool))
    const ofPool = new WeakMap<Pool, RouteAttributes>()
    // Thousands of Services have their addresses of one pool, and share what is made for it.
    const attributesFor = (held: readonly Pool[]): RouteAttributes => {
      const [pool] = held
      if (pool === undefined || held.length > 1) return attributesOf(one, held, overrides)
      const found = ofPool.get(pool) ?? attributesOf(one, held, overrides)
      ofPool.set(pool, found)
      return found
    }
    const what = { name, selector, family, addressTypes, aggregationLength, aggregatesLocal }
    return [{ ...what, admits, attributesFor, said: saidBy(one) }]
  })
}

/** All but the objects that say it. */
function saidBy({ attributes, ...rest }: Advertisement): string {
  return JSON.stringify([rest, attributes.map((rule) => [rule.poolSelector, rule.attributes])])
}

const loadBalancerOnly: readonly ServiceAddressType[] = ['LoadBalancerIP']

/** Any pool that is named or selected. */
export function isAdmitted({ kind, namespace, names, selectors }: PoolFilter, pool: Pool | undefined): boolean {
  if (pool === undefined || (kind !== undefined && (pool.kind !== kind || pool.namespace !== namespace))) return false
  return names.includes(pool.name) || selectors.some((selector) => selectorMatches(selector, pool.labels))
}

interface NeighborInput {
  readonly planned: PlanNeighbor
  readonly node: NodeView
  readonly overrides: NeighborOverrides
  readonly password?: string
}

function neighborOf({ planned, node, overrides, password }: NeighborInput): Neighbor {
  const {
    from,
    path: _path,
    secret: _secret,
    overrides: _overrides,
    ownKeys: _ownKeys,
    advertisements: _advertisements,
    apart: _apart,
    sourcePath: _sourcePath,
    password: _password,
    obstacle: _obstacle,
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
  const { localAsn, peerAddress, routerId, listenPort, ...rest } = session
  const router = node.routerOf(localAsn)
  const port = listenPort ?? router.listenPort
  return {
    id: planKey(planned, needsInterface(peerAddress) ? named.interface : undefined),
    source: refOf(from.key, from.origin),
    ...rest,
    localAsn,
    peerAddress,
    routerId: routerId ?? router.routerId,
    ...(port === undefined ? {} : { listenPort: port }),
    passive,
    ...written(named),
    ...(password === undefined ? {} : { password }),
    ...(gracefulRestart === undefined
      ? {}
      : { gracefulRestart: { ...gracefulRestart, notification: notification ?? false } }),
    ...(ttlSecurity === undefined ? {} : { ttlSecurityHops: ttlSecurity }),
    ...(isSourceFor(peerAddress, sourceAddress) ? { sourceAddress } : {}),
    ...(tcpUserTimeout === undefined ? {} : { tcpUserTimeoutSec: tcpUserTimeout }),
    ...(delayOpen === undefined ? {} : { delayOpenSec: delayOpen }),
    ...(nextHop === undefined ? {} : { nextHops: nextHopsOf(nextHop) }),
    ...nodeAddressesOf(node),
  }
}

/** A session leaves from an address of its own family. */
function isSourceFor(peerAddress: string, source: string | undefined): source is string {
  return source !== undefined && source.includes(':') === peerAddress.includes(':')
}

/** The InternalIPs that others can send to, the first one of each family. */
function nodeAddressesOf({ addresses }: NodeView): Pick<Neighbor, 'nodeAddresses'> {
  const internal = addresses.flatMap(({ type, address }) =>
    type === 'InternalIP' && isForwardable(parseAddress(address) ?? 0) ? address : [],
  )
  const [ipv4, ipv6] = [false, true].map((isIpv6) => internal.find((address) => address.includes(':') === isIpv6))
  if (ipv4 === undefined && ipv6 === undefined) return {}
  return { nodeAddresses: nextHopsOf({ ipv4, ipv6 }) }
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
  pools: readonly Pick<Pool, 'labels'>[],
  overrides: NeighborOverrides,
): RouteAttributes {
  const rules = attributes.filter(
    ({ poolSelector }) =>
      poolSelector === undefined || pools.some(({ labels }) => selectorMatches(poolSelector, labels)),
  )
  const name = family === 'ipv6-unicast' ? 'ipv6' : 'ipv4'
  const med = overrides.med?.[name]
  const asPathPrepend = overrides.asPathPrepend?.[name] ?? 0
  const own = overrides.extendedCommunities?.[name] ?? []
  const { extendedCommunities: ruled = [], ...said } = united(rules.map((rule) => rule.attributes))
  const extendedCommunities = [...new Set([...ruled, ...own])].sort()
  return {
    ...said,
    ...(med === undefined ? {} : { med }),
    ...(asPathPrepend === 0 ? {} : { asPathPrepend }),
    ...(extendedCommunities.length === 0 ? {} : { extendedCommunities }),
  }
}
