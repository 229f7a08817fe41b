/** Every kind that Herald knows: one row each. Adding a kind is a row here and a dialect that reads it. */
import type { ObjectKey, Origin, RawObject } from '../source.ts'
import { parseBfdProfile } from './bfd-profile.ts'
import { parseBgpAdvertisement } from './bgp-advertisement.ts'
import { parseBgpPeer } from './bgp-peer.ts'
import { parseAdvertisement } from './cilium-bgp-advertisement.ts'
import { parseClusterConfig } from './cilium-bgp-cluster-config.ts'
import { parseNodeConfig } from './cilium-bgp-node-config.ts'
import { parseNodeConfigOverride } from './cilium-bgp-node-config-override.ts'
import { parsePeerConfig } from './cilium-bgp-peer-config.ts'
import { parsePeeringPolicy } from './cilium-bgp-peering-policy.ts'
import { parseIpPool } from './cilium-load-balancer-ip-pool.ts'
import { parseCiliumNode } from './cilium-node.ts'
import { parseCommunity } from './community.ts'
import { parseEndpointSlice } from './endpoint-slice.ts'
import { errorsBehind } from './errors-behind.ts'
import { fewOf } from './few-faults.ts'
import { parseIpAddressPool } from './ip-address-pool.ts'
import { parseL2Advertisement } from './l2-advertisement.ts'
import { longLists, longMaps } from './list-limits.ts'
import { parseNamespace } from './namespace.ts'
import { fault, type Fault, type Metadata, type Narrowed } from './narrow.ts'
import { nearest } from './nearest.ts'
import { canonicalTime } from './schemas.ts'
import { parseNode } from './node.ts'
import { olderPoolRemedy } from './older.ts'
import { outlineFaults } from './outline.ts'
import { ofPlaceholder } from './placeholders.ts'
import { parseSecret } from './secret.ts'
import { parseService } from './service.ts'
import { parseTunnelLease } from './tunnel-lease.ts'

interface Row {
  /** API group and version, all that are understood alike. */
  readonly versions: readonly string[]
  readonly scope: 'Cluster' | 'Namespaced'
  /** Its name in paths of the API. */
  readonly resource: string
  /** `before`: the version in force, of which parts stay that are broken now. */
  readonly parse: (raw: RawObject, before?: never) => Narrowed<{ readonly metadata: Metadata }>
}

/** A kind of MetalLB. */
function metallb<const T>(resource: string, parse: T) {
  return { versions: ['metallb.io/v1beta1'], scope: 'Namespaced', resource, parse } as const
}

export const kinds = {
  Service: { versions: ['v1'], scope: 'Namespaced', resource: 'services', parse: parseService },
  EndpointSlice: {
    versions: ['discovery.k8s.io/v1'],
    scope: 'Namespaced',
    resource: 'endpointslices',
    parse: parseEndpointSlice,
  },
  Node: { versions: ['v1'], scope: 'Cluster', resource: 'nodes', parse: parseNode },
  Secret: { versions: ['v1'], scope: 'Namespaced', resource: 'secrets', parse: parseSecret },
  Lease: { versions: ['coordination.k8s.io/v1'], scope: 'Namespaced', resource: 'leases', parse: parseTunnelLease },
  CiliumBGPPeeringPolicy: {
    versions: ['cilium.io/v2alpha1'],
    scope: 'Cluster',
    resource: 'ciliumbgppeeringpolicies',
    parse: parsePeeringPolicy,
  },
  CiliumLoadBalancerIPPool: {
    versions: ['cilium.io/v2alpha1', 'cilium.io/v2'],
    scope: 'Cluster',
    resource: 'ciliumloadbalancerippools',
    parse: parseIpPool,
  },
  CiliumBGPClusterConfig: {
    versions: ['cilium.io/v2alpha1', 'cilium.io/v2'],
    scope: 'Cluster',
    resource: 'ciliumbgpclusterconfigs',
    parse: parseClusterConfig,
  },
  CiliumBGPPeerConfig: {
    versions: ['cilium.io/v2alpha1', 'cilium.io/v2'],
    scope: 'Cluster',
    resource: 'ciliumbgppeerconfigs',
    parse: parsePeerConfig,
  },
  CiliumBGPAdvertisement: {
    versions: ['cilium.io/v2alpha1', 'cilium.io/v2'],
    scope: 'Cluster',
    resource: 'ciliumbgpadvertisements',
    parse: parseAdvertisement,
  },
  CiliumBGPNodeConfigOverride: {
    versions: ['cilium.io/v2alpha1', 'cilium.io/v2'],
    scope: 'Cluster',
    resource: 'ciliumbgpnodeconfigoverrides',
    parse: parseNodeConfigOverride,
  },
  CiliumBGPNodeConfig: {
    versions: ['cilium.io/v2alpha1', 'cilium.io/v2'],
    scope: 'Cluster',
    resource: 'ciliumbgpnodeconfigs',
    parse: parseNodeConfig,
  },
  CiliumNode: { versions: ['cilium.io/v2'], scope: 'Cluster', resource: 'ciliumnodes', parse: parseCiliumNode },
  Namespace: { versions: ['v1'], scope: 'Cluster', resource: 'namespaces', parse: parseNamespace },
  IPAddressPool: metallb('ipaddresspools', parseIpAddressPool),
  BGPPeer: { ...metallb('bgppeers', parseBgpPeer), versions: ['metallb.io/v1beta1', 'metallb.io/v1beta2'] },
  BGPAdvertisement: metallb('bgpadvertisements', parseBgpAdvertisement),
  Community: metallb('communities', parseCommunity),
  BFDProfile: metallb('bfdprofiles', parseBfdProfile),
  L2Advertisement: metallb('l2advertisements', parseL2Advertisement),
} as const satisfies Readonly<Record<string, Row>>

export type ServedKind = keyof typeof kinds

/** Objects of these have the name of the node that they are about. */
export const ofOneNode: ReadonlySet<ServedKind> = new Set<ServedKind>(['Node', 'CiliumBGPNodeConfig', 'CiliumNode'])

/**
 * Kinds without which what is announced would be wrong, and not only less: always, or while there are objects of
 * another kind (an AS that an override changes, a community that a name stands for).
 */
export const neededBeside: Readonly<Partial<Record<ServedKind, 'always' | ServedKind>>> = {
  Service: 'always',
  EndpointSlice: 'always',
  Node: 'always',
  CiliumBGPNodeConfigOverride: 'CiliumBGPClusterConfig',
  Community: 'BGPAdvertisement',
}

/** What an object of each kind is narrowed to. */
export type KindTable = {
  readonly [K in ServedKind]: NonNullable<ReturnType<(typeof kinds)[K]['parse']>['value']>
}

/** An object in force. */
export interface Stored<K extends ServedKind = ServedKind> {
  readonly key: ObjectKey
  readonly value: KindTable[K]
  readonly origin: Origin | undefined
  /** Deleted, and still in force. */
  readonly isGone?: boolean
}

/** The objects in force by kind, under `namespace/name`, or the name alone where the kind has no namespace. */
export type StoredObjects = { readonly [K in ServedKind]: ReadonlyMap<string, Stored<K>> }

type Parser<T> = (raw: RawObject, before?: T) => Narrowed<T>

/** Written by Kubernetes and by Cilium, with lists and maps that nobody reads here: those that are have own bounds. */
const boundApart: ReadonlySet<string> = new Set([
  ...['Service', 'EndpointSlice', 'Node', 'Secret', 'Lease', 'Namespace'],
  'CiliumNode',
])

/** Where there are more, nobody is told what is behind them, and looking for it costs as much as they do. */
const enoughFaults = 1_000

export function parseObject<K extends ServedKind>(
  kind: K,
  raw: RawObject,
  before: KindTable[K] | undefined,
  from: 'manifest' | 'server' = 'manifest',
): Narrowed<KindTable[K]> {
  const table: { readonly [Each in ServedKind]: { readonly parse: Parser<KindTable[Each]> } } = kinds
  const read = (version: RawObject): Narrowed<KindTable[K]> => table[kind].parse(version, before)
  // Of lists that are too long nothing is read.
  const long = [...longMaps(raw), ...(boundApart.has(kind) ? [] : longLists(raw))]
  if (long.length > 0) return { faults: long }
  const around = outlineFaults(kind, raw, before, from)
  const isAside = around.some(({ severity }) => severity === 'error')
  const { faults: own, ...narrowed } = isAside ? { faults: [] } : read(raw)
  const faults = [...around, ...timestampFaults(raw), ...own]
  const isMuch = faults.reduce((sum, { others = 1 }) => sum + others, 0) > enoughFaults
  const behind = 'value' in narrowed || isMuch ? [] : errorsBehind(raw, faults, (version) => read(version).faults)
  const all = fewOf([...faults, ...behind])
  return { ...narrowed, faults: all.length === 0 ? all : all.map((found) => ofPlaceholder(found, raw)) }
}

/** A time that cannot be read makes the object as young as one without any. */
function timestampFaults({ kind, metadata }: RawObject): readonly Fault[] {
  const written: unknown =
    typeof metadata === 'object' && metadata !== null ? Reflect.get(metadata, 'creationTimestamp') : undefined
  if (written === undefined || written === null) return []
  if (typeof written === 'string' && canonicalTime(written) !== undefined) return []
  // A Secret may have its key there, by an alias.
  const isShown = typeof written !== 'object' && kind !== 'Secret'
  const message =
    `${isShown ? JSON.stringify(written).slice(0, 60) : 'it'} is no time, so that the object ` +
    `counts as the youngest`
  const remedy = 'Write it as "2026-01-31T12:00:00Z", or leave it out.'
  return [fault('warning', ['metadata', 'creationTimestamp'], 'InvalidTimestamp', message, remedy)]
}

export function isServed(key: ObjectKey): key is ObjectKey & { readonly kind: ServedKind } {
  if (!Object.hasOwn(kinds, key.kind)) return false
  const versions: readonly string[] = kinds[key.kind as ServedKind].versions
  return versions.includes(key.apiVersion)
}

/** What a kind that nobody serves, or a version that it does not have, was meant to be. */
export interface MisspeltKind {
  readonly field: 'apiVersion' | 'kind'
  readonly message: string
  readonly remedy: string
}

/** kubectl refuses these; passed over, an object in force would end by a slip in its first two lines. */
export function misspeltKind({ apiVersion, kind }: Pick<ObjectKey, 'apiVersion' | 'kind'>): MisspeltKind | undefined {
  const row = rowOf(kind)
  if (row !== undefined) {
    // A version of its own group may be served elsewhere; other groups have a Service or a BGPPeer of their own.
    const isOther = row.versions.includes('v1')
      ? apiVersion.includes('/')
      : namesVersion.test(apiVersion) && (isOfGroup(row, apiVersion) || !isNearGroup(row, apiVersion))
    const isSlip = !isOther && !row.versions.includes(apiVersion)
    const message = `there is no ${kind} of ${apiVersion}`
    return isSlip ? { field: 'apiVersion', message, remedy: versionRemedy(row) } : undefined
  }
  if (ofOthers.has(kind)) return undefined
  const names = rows.filter(([, each]) => isOfGroup(each, apiVersion)).map(([name]) => name)
  const near = nearest(kind, names, Math.min(2, Math.floor(kind.length / 3)))
  if (near === undefined) return undefined
  return { field: 'kind', message: `there is no kind ${kind} of ${apiVersion}`, remedy: `Write kind: ${near}.` }
}

/** A group with what can be a version: `v2aplha1` is served by nobody, ever. */
const namesVersion = /^[^/]+\/v[1-9]\d*(?:(?:alpha|beta)[1-9]\d*)?$/

/** Kinds of the same groups that are no misspelt ones, with what to write in their place. */
const ofOthers: ReadonlyMap<string, string> = new Map([
  ['AddressPool', olderPoolRemedy],
  [
    'CiliumL2AnnouncementPolicy',
    'Addresses are not announced by ARP and NDP in this version: announce them to a router with a ' +
      'CiliumBGPClusterConfig and a CiliumBGPAdvertisement.',
  ],
])

/** What of these groups asks for nothing: what MetalLB writes for others to read, and how it is installed. */
const asksNothing = /^(Service(L2|BGP)Status|ConfigurationState|MetalLB)$/

const rows: readonly (readonly [string, Row])[] = Object.entries(kinds)
const rowOf = (kind: string): Row | undefined => rows.find(([name]) => name === kind)?.[1]
const versionRemedy = ({ versions }: Row): string => `Write apiVersion: ${versions.toReversed().join(' or ')}.`
const isOfGroup = ({ versions }: Row, apiVersion: string): boolean =>
  versions.some((each) => groupOf(each) === groupOf(apiVersion))
const groupOf = (apiVersion: string): string => apiVersion.slice(0, Math.max(0, apiVersion.indexOf('/')))

/** Two letters off, or without its domain; `metallb.universe.tf` is where MetalLB's annotations are from. */
function isNearGroup({ versions }: Row, apiVersion: string): boolean {
  const [written, own] = [groupOf(apiVersion), groupOf(versions[0] ?? '')]
  if (!written.includes('.') || written === 'metallb.universe.tf') return true
  return nearest(written, [own], 2) !== undefined
}

/** A kind that is not read is taken as its group is, of which in these no kind has a namespace. */
export function isClusterScoped(apiVersion: string, kind: string): boolean {
  return Object.hasOwn(kinds, kind) ? kinds[kind as ServedKind].scope === 'Cluster' : clusterGroups.test(apiVersion)
}

const clusterGroups = /^(cilium\.io|apiextensions\.k8s\.io|admissionregistration\.k8s\.io)\//

/** Of a kind that means something to a load balancer and is not read: a warning. Of any other kind: nothing. */
export function notServed({ apiVersion, kind }: ObjectKey): readonly Fault[] {
  const row = rowOf(kind)
  const isOtherVersion = row !== undefined && apiVersion.includes('/') && isOfGroup(row, apiVersion)
  const isRelated =
    isOtherVersion ||
    (apiVersion.startsWith('metallb.io/') && !asksNothing.test(kind)) ||
    (apiVersion.startsWith('cilium.io/') && /^Cilium(BGP|L2|LoadBalancer)/.test(kind))
  return isRelated
    ? [
        fault(
          'warning',
          [],
          'KindNotServed',
          `${kind} of ${apiVersion} is not served yet and has no effect`,
          isOtherVersion
            ? versionRemedy(row)
            : (ofOthers.get(kind) ??
                (apiVersion.startsWith('metallb.io/')
                  ? 'Use IPAddressPool, BGPPeer and BGPAdvertisement.'
                  : 'Use CiliumBGPPeeringPolicy or CiliumBGPClusterConfig, and CiliumLoadBalancerIPPool.')),
        ),
      ]
    : []
}

/** Oldest first: creationTimestamp, then namespace and name; what has no time is younger than what has one. */
export function byAge(
  { value: { metadata: a } }: { readonly value: { readonly metadata: Metadata } },
  { value: { metadata: b } }: { readonly value: { readonly metadata: Metadata } },
): number {
  const order = [
    [a.creationTimestamp ?? '~', b.creationTimestamp ?? '~'],
    [a.namespace ?? '', b.namespace ?? ''],
    [a.name, b.name],
  ] as const
  for (const [first, second] of order) if (first !== second) return first < second ? -1 : 1
  return 0
}
