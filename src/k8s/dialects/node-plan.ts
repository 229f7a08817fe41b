/**
 * What a family of configuration kinds asks of one node, in words of none of them: who is a neighbor, and what each
 * neighbor hears. A dialect makes it of its objects; translate/ makes sessions and routes of it.
 *
 *     objects of a dialect --> NodePlan --> translate/exports.ts --> neighbors, PodCIDR routes, exports of Services
 */
import type {
  AddressFamilyName,
  BfdSettings,
  GracefulRestartConfig,
  Problem,
  RouteAttributes,
} from '../../desired/model.ts'
import { type LabelSelector, type Labels, selectorMatches } from '../../desired/label-selector.ts'
import type { Fault, FieldPath } from '../kinds/narrow.ts'
import type { ServedKind, StoredObjects } from '../kinds/table.ts'
import type { ObjectKey, Origin } from '../source.ts'
import type { SaidCondition } from '../status.ts'
import type { NeighborAnnotation, NeighborOverrides } from '../kinds/neighbor-annotation.ts'

/** The object that asks for something, to be named in what is said about it. */
export interface PlanSource {
  readonly key: ObjectKey
  readonly origin: Origin | undefined
}

/** Where a neighbor is told apart from another one of the same local AS and address; part of its id. */
export interface Apart {
  readonly vrf?: string
  readonly instance?: string
  /** Of a link-local or unnumbered peer, where the configuration names it beside the address. */
  readonly device?: string
}

/** A neighbor of one local AS. Two of a plan never have the same {@link planKey}. */
export interface PlanNeighbor {
  readonly from: PlanSource
  /** Where it stands in the object, and its fields below. */
  readonly path: FieldPath
  readonly virtualRouter: string
  /** Its name, where the configuration gives it one. */
  readonly peerName?: string
  readonly localAsn: number
  /** 0: whatever the peer's OPEN says. */
  readonly peerAsn: number
  /** Whatever the peer's OPEN says but our own AS. */
  readonly refusesOwnAs?: boolean
  /** Canonical, without mask; `::` is an unnumbered neighbor. */
  readonly peerAddress: string
  readonly peerPort: number
  readonly apart?: Apart
  /** BGP Identifier, dotted IPv4, where the configuration says it; else it is the node's. */
  readonly routerId?: string
  /** A port of this node on which the peer is awaited too. */
  readonly listenPort?: number
  readonly families: readonly AddressFamilyName[]
  readonly holdTimeSec: number
  readonly keepaliveSec: number
  readonly connectRetrySec: number
  readonly multihopTtl: number
  readonly gracefulRestart?: Omit<GracefulRestartConfig, 'notification'>
  /** Where the configuration has the path watched; what annotations say of it goes before. */
  readonly bfd?: BfdSettings
  /**
   * The Secret with the TCP-MD5 key: `namespace/name`, the field that names it, and the type that it has to have; `at`:
   * where it is not of `path`.
   */
  readonly secret?: { readonly id: string; readonly field: string; readonly type?: string; readonly at?: Place }
  /** The key itself, where it is written into the object, an octet per character. Never shown. */
  readonly password?: string
  /** What our annotations add; several for a link-local address that is on several interfaces. */
  readonly overrides: readonly NeighborOverrides[]
  /** Where the source address of the session is written; absent: in an annotation. */
  readonly sourcePath?: FieldPath
  /** Which of them the Node itself says, so that no other node shares them. */
  readonly ownKeys: ReadonlySet<string>
  /** Why it cannot be dialled as it is written: its last good version stays, and without one it is left out. */
  readonly obstacle?: { readonly fault: Fault; readonly from: PlanSource }
  /** Several of one family and type add up: what the same prefix gets from each is united. */
  readonly advertisements: readonly Advertisement[]
}

interface Place {
  readonly from: PlanSource
  readonly path: FieldPath
}

/** Which address of a Service: of its status, its cluster IPs, or its spec.externalIPs. */
export type ServiceAddressType = 'LoadBalancerIP' | 'ClusterIP' | 'ExternalIP'

/** What a neighbor hears of one type in one family, by one object. */
export interface Advertisement {
  /** Who says so, as verdicts name it: `policy bgp-peering`. */
  readonly name: string
  readonly family: AddressFamilyName
  readonly type: 'Service' | 'PodCIDR'
  /** Of Services, by their labels. */
  readonly selector?: LabelSelector
  /** Which addresses of a Service; absent: LoadBalancerIP alone. */
  readonly addressTypes?: readonly ServiceAddressType[]
  /**
   * The prefix of a Service is its address cut to this length, and Services in it share the route. Absent: the address
   * alone, and so it is for a Service that wants its packets on the nodes with its endpoints only.
   */
  readonly aggregationLength?: number
  /** It is cut for such a Service, too. */
  readonly aggregatesLocal?: boolean
  /** Only addresses of a pool that is named or selected; absent: of any. */
  readonly pools?: PoolFilter
  readonly attributes: readonly AttributeRule[]
}

export interface PoolFilter {
  /** Only pools made of objects of this kind and namespace. */
  readonly kind?: string
  readonly namespace?: string
  readonly names: readonly string[]
  readonly selectors: readonly LabelSelector[]
}

/** Attributes that hold where the pool of the address has such labels; without a selector they hold always. */
export interface AttributeRule {
  /** Who says so, and where. */
  readonly from: PlanSource
  readonly path: FieldPath
  /** Under the path; `localPreference` when absent. */
  readonly preferenceField?: string
  readonly poolSelector?: LabelSelector
  readonly attributes: RouteAttributes
}

export interface NodePlan {
  /** The objects that the plan is of, as verdicts name them: `policy bgp-peering`. */
  readonly names: readonly string[]
  readonly neighbors: readonly PlanNeighbor[]
  /** Who exports PodCIDRs, as verdicts name it, and the field that says so. */
  readonly podCidrExports: readonly (Place & { readonly name: string; readonly field: string })[]
  /** {@link NodeFacts.network} decides about neighbors. */
  readonly usesNetwork?: boolean
  /** Objects that the plan names: one of them that is deleted stays in force while it does. */
  readonly needed?: readonly { readonly kind: ServedKind; readonly id: string }[]
  /** What names in the configuration stand for, by their place: the next plan gets it as {@link NodeFacts.meant}. */
  readonly meant?: Meanings
  /** Said of a Service that no advertisement is for. */
  readonly notAdvertised?: NoPlan
  /** Said of a Service where nothing selects any. */
  readonly nothingSelects?: NoPlan
}

export type Meanings = ReadonlyMap<string, string>

/** A router that has the default route of a family. */
export interface Gateway {
  /** Canonical. */
  readonly address: string
  readonly device: string
}

/** What the interfaces of the node are at the moment. */
export interface NodeNetwork {
  readonly gateways: Readonly<Partial<Record<'ipv4' | 'ipv6', Gateway>>>
  /** Canonical addresses by the name of the interface. */
  readonly addresses: ReadonlyMap<string, readonly string[]>
}

/** A node as its configuration selects it. */
export interface NodeFacts {
  readonly name: string
  readonly labels: Labels
  /** What the Node says of neighbors; it goes before what a policy says, which other nodes share. */
  readonly neighborKeys: NeighborAnnotation
  /** It stands for whatever node the configuration is for: every selector of nodes selects it. */
  readonly isStandIn: boolean
  /** Where it is known; what vanished a moment ago is still there. */
  readonly network?: NodeNetwork
  /** Of the plan in force: a name that stands for nothing stands for what it did, so that a slip takes nothing away. */
  readonly meant?: Meanings
  /** Objects of configuration that are there, and of which no version was ever understood: `Kind name`. */
  readonly unread?: readonly string[]
}

export interface PlanOptions {
  /** Of the Secrets that kinds without a namespace name. */
  readonly secretsNamespace: string
}

export interface NoPlan {
  readonly message: string
  readonly remedy: string
}

export interface DialectAnswer {
  /** undefined: nothing applies to the node, for the reason given. */
  readonly plan: NodePlan | undefined
  readonly noPlan: NoPlan
  readonly problems: readonly Problem[]
}

/** What agents say of the keys that objects name. */
export interface KeyReports {
  /** Some agent has said what is wrong on its node, or that nothing is. */
  readonly isAny: boolean
  readonly faults: readonly Problem[]
}

export interface Dialect {
  readonly loadBalancerClasses: readonly string[]
  /** A change of an object of these may change the plan of every node. */
  readonly planKinds: readonly ServedKind[]
  /** Those of them of which one object applies to a node, and no other. */
  readonly rivalKinds: readonly ServedKind[]
  /** Those that ask for nothing here, and are read to be told so. */
  readonly idleKinds?: readonly ServedKind[]
  /** `isConfigured`: there is something of the dialect, which the reason is about. */
  plan(
    objects: StoredObjects,
    node: NodeFacts,
    options: PlanOptions,
  ): DialectAnswer & { readonly noPlan: { readonly isConfigured: boolean } }
  /** What it says of its objects in conditions of its own: by kind and id. */
  conditions?(
    objects: StoredObjects,
    keys: KeyReports,
  ): Partial<Record<ServedKind, ReadonlyMap<string, readonly SaidCondition[]>>>
}

/** Any of the selectors; without any, every node. */
export function selectsNode(selectors: readonly LabelSelector[], { isStandIn, labels }: NodeFacts): boolean {
  return isStandIn || selectors.length === 0 || selectors.some((selector) => selectorMatches(selector, labels))
}

/**
 * `<local AS>/<peer address>[:<port>]`, of a port that is not 179, with `%<interface>`, `@<VRF>` and `+<instance>`
 * where it has them.
 */
export function planKey(
  {
    localAsn,
    peerAddress,
    peerPort,
    apart = {},
  }: Pick<PlanNeighbor, 'localAsn' | 'peerAddress' | 'peerPort' | 'apart'>,
  device?: string,
): string {
  const { vrf, instance } = apart
  const zone = device ?? apart.device
  const host = zone === undefined ? peerAddress : `${peerAddress}%${zone}`
  // Whoever else is a neighbor, an id stays what it is: a session ends with its id.
  const place = peerPort === 179 ? host : host.includes(':') ? `[${host}]:${peerPort}` : `${host}:${peerPort}`
  return `${localAsn}/${place}${vrf === undefined ? '' : `@${vrf}`}${instance === undefined ? '' : `+${instance}`}`
}
