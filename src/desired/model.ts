/**
 * What should be true on this node, free of Kubernetes and of BGP machinery: the model in which the input
 * (k8s/translate) meets the speaker and the datapath.
 *
 *     k8s/translate --> DesiredState --> agent/order --> datapath   (frontends: what the kernel serves)
 *                                              `-------> speaker    (neighbors and routes: what peers hear)
 *
 * Addresses and prefixes are text in canonical form here: the model is compared, logged and posted between threads.
 * Everything is plain, immutable and structured-clonable.
 */
import type { ProblemCode, VerdictCode, VerdictStep } from './codes.ts'
import { keptText } from './kept.ts'

/** Where a fact comes from. `file` and `line` are set in embedded mode. */
export interface ObjectRef {
  readonly kind: string
  readonly namespace?: string
  readonly name: string
  readonly file?: string
  readonly line?: number
}

/**
 * One answer on the way from an object to the wire, made once and shown identically by status, explain, page and log.
 * `code` is a CamelCase word (a Kubernetes condition reason); `remedy` says what to change and is set when ok is false.
 */
export interface Verdict {
  readonly step: VerdictStep
  readonly ok: boolean
  readonly code: VerdictCode
  readonly message: string
  readonly remedy?: string
}

export type AddressFamilyName = 'ipv4-unicast' | 'ipv6-unicast'

/** RFC 4724; restartTimeSec 1..4095. `notification` is the N bit of RFC 8538. */
export interface GracefulRestartConfig {
  readonly restartTimeSec: number
  readonly notification: boolean
}

/** How BFD watches the path to a neighbor (RFC 5880). */
export interface BfdSettings {
  /** Required Min RX Interval: the other side may send no faster. */
  readonly receiveIntervalMs: number
  /** Desired Min TX Interval. */
  readonly transmitIntervalMs: number
  /** So many packets in a row that are missed mean that the path is gone. */
  readonly detectMultiplier: number
  /** Says nothing before the other side has. */
  readonly isPassive: boolean
  /**
   * RFC 5883 5: packets with fewer hops left do not count, over several hops; absent: as the session's own TTL has it.
   */
  readonly minimumTtl?: number
  /** Over several hops (RFC 5883) or on the link (RFC 5881); absent: as the session is. */
  readonly isMultihop?: boolean
}

/**
 * One BGP neighbor as configured. `id` is stable: `<localAsn>/<peerAddress>`, with `%<interface>` where the address is
 * link-local or `::`.
 */
export interface Neighbor {
  readonly id: string
  readonly source: ObjectRef
  /** The virtual router (policy) or instance that owns the session, as shown in the VRouter column. */
  readonly virtualRouter: string
  /** Its name, where the configuration gives it one. */
  readonly peerName?: string
  readonly localAsn: number
  /** 0: accept whatever the peer's OPEN says. */
  readonly peerAsn: number
  /** Where peerAsn is 0: a peer of our own AS is none. */
  readonly refusesOwnAs?: boolean
  /** `::` with an interface: whatever router is found there (unnumbered). */
  readonly peerAddress: string
  readonly peerPort: number
  /** A port of this node on which the peer is awaited too, beside the one of the speaker (`local-port`). */
  readonly listenPort?: number
  /** BGP Identifier as dotted IPv4. */
  readonly routerId: string
  readonly families: readonly AddressFamilyName[]
  /** 0 (off) or 3..65535. */
  readonly holdTimeSec: number
  readonly keepaliveSec: number
  readonly connectRetrySec: number
  /** TTL of the session's packets for eBGP: 1 is directly connected. */
  readonly multihopTtl: number
  /** Never dial, only accept. */
  readonly passive: boolean
  /** TCP-MD5 key (RFC 2385), an octet per character (U+0000..U+00FF). Never logged and never shown. */
  readonly password?: string
  readonly gracefulRestart?: GracefulRestartConfig
  /** The path is watched, and its loss ends the session (RFC 5882 4.2). */
  readonly bfd?: BfdSettings
  /** GTSM (RFC 5082) in hops; 1: the peer is directly connected. */
  readonly ttlSecurityHops?: number
  /** Source address of the session; chosen by the kernel when absent. */
  readonly sourceAddress?: string
  /** Next hop announced for a family in place of the session's own address. */
  readonly nextHops?: Readonly<Partial<Record<AddressFamilyName, string>>>
  /** The node's own address of a family: the next hop where neither configuration nor session gives one. */
  readonly nodeAddresses?: Readonly<Partial<Record<AddressFamilyName, string>>>
  /** The AS shown to this neighbor in place of localAsn (RFC 7705); the path then is `localAs localAsn`, as in FRR. */
  readonly localAs?: number
  /**
   * The device that the session is bound to; needed for a link-local peer, and the one to look on for an unnumbered
   * peer.
   */
  readonly interface?: string
  /** Wait between the connection and our OPEN (RFC 4271 8.1.1 DelayOpenTime), seconds. */
  readonly delayOpenSec?: number
  /** Unacknowledged data ends the connection after this long (RFC 5482); by default twice the hold time. */
  readonly tcpUserTimeoutSec?: number
  /** Our side of RFC 9234: `customer` when the neighbor is our provider. */
  readonly role?: BgpRole
  /** RFC 7911: take several paths of one prefix. */
  readonly addPathReceive?: boolean
  /** More prefixes of one family than this end the session with Cease/Maximum Number of Prefixes (RFC 4486). */
  readonly maxPrefixes?: number
  /** At most so many prefixes of one family are announced; the others are held back. */
  readonly maxPrefixesOut?: number
  /** What may be imported (RFC 8212: nothing else is). */
  readonly importPrefixes?: readonly ImportPrefix[]
  /** Whether the first AS of an eBGP path has to be the neighbor's; true when absent (RFC 4271 6.3). */
  readonly enforceFirstAs?: boolean
  /** Whether a path with AS_SET counts as withdrawn; true when absent (RFC 9774 3). */
  readonly rejectAsSets?: boolean
  /** How often our own AS may be in a path; 0 when absent (RFC 4271 9.1.2). */
  readonly allowAsIn?: number
}

/** RFC 9234 4.1. */
export type BgpRole = 'provider' | 'rs' | 'rs-client' | 'customer' | 'peer'

/** The prefix itself, or with `ge` and `le` its parts of these lengths, as in FRR's prefix-list. */
export interface ImportPrefix {
  readonly prefix: string
  readonly ge?: number
  readonly le?: number
}

/** Attributes that a policy adds to a route; absent means: not sent. */
export interface RouteAttributes {
  /** RFC 1997 communities as unsigned 32-bit numbers, ascending, unique. */
  readonly communities?: readonly number[]
  /** RFC 8092 `global:local1:local2`, unique. */
  readonly largeCommunities?: readonly string[]
  /** Sent on iBGP only. */
  readonly localPreference?: number
  readonly med?: number
  /** How often our AS is put in front of the path once more; on eBGP only. */
  readonly asPathPrepend?: number
  /** RFC 4360, each as 16 hexadecimal digits, unique. */
  readonly extendedCommunities?: readonly string[]
}

/** A prefix to announce to some neighbors. One prefix may have several routes, for different neighbors. */
export interface Route {
  readonly prefix: string
  readonly neighbors: readonly string[]
  readonly attributes: RouteAttributes
}

export type Protocol = 'TCP' | 'UDP' | 'SCTP'

export interface Backend {
  readonly address: string
  readonly port: number
  /** The tunnel address of the node where it lives, which serves it; absent when that is this one. */
  readonly node?: string
  /** Its part of what is new, beside those of the others of its frontend: 1 to 100; absent: all have the same. */
  readonly weight?: number
}

/**
 * In place of the address of a {@link Backend}'s node, which is known and takes no packets from others: what is for the
 * backend leaves from an address of this node (SNAT). No node is reached at it.
 */
export const translatedNode = '::1'

/** Of TCP and UDP, both included. */
export interface PortRange {
  readonly first: number
  readonly last: number
}

/**
 * One address, protocol and port that this node serves, with its backends: those on this node, and those on others to
 * which their packets are handed on. `id`: `<vip>:<port>/<protocol>`.
 */
export interface Frontend {
  readonly id: string
  readonly service: string
  readonly address: string
  readonly protocol: Protocol
  readonly port: number
  /** Sorted by address and port; may be empty: then connections are refused. */
  readonly backends: readonly Backend[]
  /** Endpoints that take no new connections now (not ready, or ending): what is established with them goes on. */
  readonly resting?: readonly Backend[]
  /**
   * Who may open flows: the longest prefix that holds the client decides, and one that none holds may not. Of the
   * family of the address; absent: everybody.
   */
  readonly sources?: readonly SourceRange[]
  /** So long a client stays with its backend after its last flow began; absent: each flow is for itself. */
  readonly affinitySec?: number
}

/** In place of the address of a {@link Frontend}: whichever address of the node itself a packet is for. */
export const anyNodeAddress = { ipv4: '0.0.0.0', ipv6: '::' } as const

export function isAnyNodeAddress(address: string): boolean {
  return address === anyNodeAddress.ipv4 || address === anyNodeAddress.ipv6
}

/** A prefix in canonical form. */
export interface SourceRange {
  readonly prefix: string
  readonly isAllowed: boolean
}

export function frontendId(address: string, protocol: Protocol, port: number): string {
  return address.includes(':')
    ? keptText('[', address, ']:', String(port), '/', protocol)
    : keptText(address, ':', String(port), '/', protocol)
}

/** Everything about one Service on this node that it serves or announces. `key` is `namespace/name`. */
export interface DesiredService {
  readonly key: string
  readonly source: ObjectRef
  readonly addresses: readonly string[]
  readonly pool?: string
  readonly externalTrafficPolicy: 'Cluster' | 'Local'
  readonly frontends: readonly Frontend[]
  /** Host routes to announce once every frontend is programmed; empty when a verdict says no, or nothing is asked. */
  readonly routes: readonly Route[]
  /** Usable endpoints on other nodes, whether this node serves them or not. */
  readonly remoteBackends: number
  readonly verdicts: readonly Verdict[]
  /** Where load balancers ask whether this node has ready pods of it, and how many it has; absent: others answer. */
  readonly healthCheck?: { readonly port: number; readonly localEndpoints: number }
}

/** A PodCIDR route is not gated on the datapath. */
export interface DesiredPodCidr {
  readonly prefix: string
  readonly routes: readonly Route[]
  readonly verdicts: readonly Verdict[]
}

/** An object that is broken, ignored or only half honoured, for status and `validate`. */
export interface Problem {
  readonly severity: 'error' | 'warning'
  readonly object: ObjectRef
  /** Path of the field, as `spec.virtualRouters[0].localASN`; empty for the whole object. */
  readonly field: string
  readonly code: ProblemCode
  readonly message: string
  readonly remedy: string
  readonly column?: number
}

/** The node as a BGP speaker; undefined neighbors cannot exist, an empty list means: no session wanted. */
export interface DesiredSpeaker {
  readonly nodeName: string
  readonly neighbors: readonly Neighbor[]
  /** A stop of the node (drained, shutting down) closes sessions with Cease 6/2 and not as a restart. */
  readonly isDraining: boolean
}

/** How nodes send each other packets for backends: in tunnels. */
export interface DesiredTunnels {
  /** Where this node takes them, one address of each family at most; none: it takes nothing. */
  readonly own: readonly string[]
  /** That is what the others hear; false: it has to be told. */
  readonly isTold: boolean
  /** Addresses of all other nodes, sorted: what comes from elsewhere is not taken. */
  readonly senders: readonly string[]
}

/** What changed since the last delta; applying a delta twice changes nothing. */
export interface DesiredDelta {
  /** Present when any neighbor changed. */
  readonly speaker?: DesiredSpeaker
  /** Upserts by key, `undefined` for a Service that is gone. */
  readonly services: ReadonlyMap<string, DesiredService | undefined>
  /** What sockets on this node are led to, by the id of a frontend; `undefined` for one that is gone. */
  readonly sockets?: ReadonlyMap<string, Frontend | undefined>
  readonly podCidrs?: readonly DesiredPodCidr[]
  readonly tunnels?: DesiredTunnels
  /** Addresses of this node at which node ports are served. */
  readonly nodePorts?: readonly string[]
  /** Addresses of other nodes at which sockets on this node ask for node ports: led here, as if it were their own. */
  readonly otherNodes?: readonly string[]
  readonly problems?: readonly Problem[]
}
