/**
 * What a family of configuration kinds asks of one node, in words of none of them: who is a neighbor, and what each
 * neighbor hears. A dialect makes it of its objects; translate/ makes sessions and routes of it.
 *
 *     objects of a dialect --> NodePlan --> translate/exports.ts --> neighbors, PodCIDR routes, exports of Services
 */
import type {
  AddressFamilyName,
  GracefulRestartConfig,
  ObjectRef,
  Problem,
  RouteAttributes,
} from '../../desired/model.ts'
import type { LabelSelector, Labels } from '../../desired/label-selector.ts'
import type { FieldPath } from '../kinds/narrow.ts'
import type { ServedKind, StoredObjects } from '../kinds/table.ts'
import type { ObjectKey, Origin } from '../source.ts'
import type { NeighborAnnotation, NeighborOverrides } from '../kinds/neighbor-annotation.ts'

/** The object that asks for something, to be named in what is said about it. */
export interface PlanSource {
  readonly key: ObjectKey
  readonly origin: Origin | undefined
  readonly source: ObjectRef
}

/** A neighbor of one local AS. Two of a plan never have the same {@link planKey}. */
export interface PlanNeighbor {
  readonly from: PlanSource
  /** Where it stands in the object, and its fields below. */
  readonly path: FieldPath
  readonly virtualRouter: string
  readonly localAsn: number
  /** 0: whatever the peer's OPEN says. */
  readonly peerAsn: number
  /** Canonical, without mask; `::` is an unnumbered neighbor. */
  readonly peerAddress: string
  readonly peerPort: number
  readonly families: readonly AddressFamilyName[]
  readonly holdTimeSec: number
  readonly keepaliveSec: number
  readonly connectRetrySec: number
  readonly multihopTtl: number
  readonly gracefulRestart?: Omit<GracefulRestartConfig, 'notification'>
  /** The Secret with the TCP-MD5 key: `namespace/name`, and the field that names it. */
  readonly secret?: { readonly id: string; readonly field: string }
  /** What our annotations add; several for a link-local address that is on several interfaces. */
  readonly overrides: readonly NeighborOverrides[]
  /** Which of them the Node itself says, so that no other node shares them. */
  readonly ownKeys: ReadonlySet<string>
  readonly advertisements: readonly Advertisement[]
}

/** What a neighbor hears of one type in one family. */
export interface Advertisement {
  readonly family: AddressFamilyName
  readonly type: 'Service' | 'PodCIDR'
  /** Of Services, by their labels. */
  readonly selector?: LabelSelector
  readonly attributes: readonly AttributeRule[]
}

/** Attributes that hold where the pool of the address has such labels; without a selector they hold always. */
export interface AttributeRule {
  /** Who says so, and where. */
  readonly from: PlanSource
  readonly path: FieldPath
  readonly poolSelector?: LabelSelector
  readonly attributes: RouteAttributes
}

export interface NodePlan {
  /** Of the objects that the plan is of, by which verdicts name it. */
  readonly names: readonly string[]
  readonly neighbors: readonly PlanNeighbor[]
  /** Who exports PodCIDRs, and the field that says so. */
  readonly podCidrExports: readonly { readonly from: PlanSource; readonly path: FieldPath; readonly field: string }[]
}

/** A node as its configuration selects it. */
export interface NodeFacts {
  readonly name: string
  readonly labels: Labels
  /** What the Node says of neighbors; it goes before what a policy says, which other nodes share. */
  readonly neighborKeys: NeighborAnnotation
  /** It stands for whatever node the configuration is for: every selector of nodes selects it. */
  readonly isStandIn: boolean
}

export interface PlanOptions {
  /** Of the Secrets that kinds without a namespace name. */
  readonly secretsNamespace: string
}

export interface DialectAnswer {
  /** undefined: nothing applies to the node, for the reason given. */
  readonly plan: NodePlan | undefined
  readonly noPlan: { readonly message: string; readonly remedy: string }
  readonly problems: readonly Problem[]
}

export interface Dialect {
  readonly loadBalancerClasses: readonly string[]
  /** A change of an object of these may change the plan of every node. */
  readonly planKinds: readonly ServedKind[]
  plan(objects: StoredObjects, node: NodeFacts, options: PlanOptions): DialectAnswer
}

/** `<local AS>/<peer address>`. */
export function planKey({ localAsn, peerAddress }: Pick<PlanNeighbor, 'localAsn' | 'peerAddress'>): string {
  return `${localAsn}/${peerAddress}`
}
