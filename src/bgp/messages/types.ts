/**
 * BGP messages as values (RFC 4271 section 4). Numbers stay numbers where a peer may send anything; unknown
 * attributes and capabilities stay bytes. A `Uint8Array` in a decoded message is a copy, never a view of the socket's
 * buffer.
 */
import type { Address, Family } from '../../ip/address.ts'
import type { Prefix } from '../../ip/prefix.ts'
import type { Capability } from './capabilities.ts'

/** RFC 4760. */
export interface AfiSafi {
  readonly afi: number
  readonly safi: number
}

export const ipv4Unicast: AfiSafi = Object.freeze({ afi: 1, safi: 1 })
export const ipv6Unicast: AfiSafi = Object.freeze({ afi: 2, safi: 1 })
export const unicastOf: Readonly<Record<Family, AfiSafi>> = { ipv4: ipv4Unicast, ipv6: ipv6Unicast }

export interface OpenMessage {
  readonly type: 'open'
  readonly version: number
  /** The two-octet My Autonomous System field; 23456 (AS_TRANS) for larger ASes. */
  readonly myAs: number
  readonly holdTimeSec: number
  /** BGP Identifier as an unsigned 32-bit number. */
  readonly bgpId: number
  readonly capabilities: readonly Capability[]
}

export const Origin = { igp: 0, egp: 1, incomplete: 2 } as const

/** RFC 4271 4.3: type 1 AS_SET, 2 AS_SEQUENCE (3 and 4 are confederations, RFC 5065). */
export interface AsPathSegment {
  readonly type: number
  readonly asns: readonly number[]
}

/** A path attribute that this speaker does not interpret. */
export interface UnknownAttribute {
  readonly flags: number
  readonly type: number
  readonly value: Uint8Array
}

/** The attributes of one path; next hops of MP_REACH_NLRI lie here too, its prefixes in {@link UpdateMessage}. */
export interface PathAttributes {
  readonly origin?: number
  readonly asPath?: readonly AsPathSegment[]
  readonly nextHop?: Address
  readonly med?: number
  readonly localPref?: number
  readonly atomicAggregate?: boolean
  readonly aggregator?: { readonly asn: number; readonly address: number }
  readonly communities?: readonly number[]
  readonly originatorId?: number
  readonly clusterList?: readonly number[]
  /** 8 octets each (RFC 4360), as 16 hexadecimal digits. */
  readonly extendedCommunities?: readonly string[]
  readonly largeCommunities?: readonly (readonly [number, number, number])[]
  /** ONLY_TO_CUSTOMER (RFC 9234 5): the AS that said so. */
  readonly otc?: number
  readonly unknown?: readonly UnknownAttribute[]
}

export interface MpReach {
  readonly family: AfiSafi
  readonly nextHop: Address
  readonly linkLocal?: Address
  readonly prefixes: readonly Prefix[]
  /** Path identifiers in the order of the prefixes, where RFC 7911 was negotiated. */
  readonly pathIds?: readonly number[]
}

export interface MpUnreach {
  readonly family: AfiSafi
  readonly prefixes: readonly Prefix[]
  readonly pathIds?: readonly number[]
}

/** Whether an UPDATE without routes is End-of-RIB (RFC 4724 2), its bytes say: decoding tells beside the message. */
export interface UpdateMessage {
  readonly type: 'update'
  readonly withdrawn: readonly Prefix[]
  readonly attributes: PathAttributes
  readonly nlri: readonly Prefix[]
  /** Path identifiers of `withdrawn` and `nlri`, where RFC 7911 was negotiated for IPv4 unicast. */
  readonly withdrawnPathIds?: readonly number[]
  readonly nlriPathIds?: readonly number[]
  readonly mpReach?: MpReach
  readonly mpUnreach?: MpUnreach
}

export interface NotificationMessage {
  readonly type: 'notification'
  readonly code: number
  readonly subcode: number
  readonly data: Uint8Array
}

export interface KeepaliveMessage {
  readonly type: 'keepalive'
}

/** RFC 2918; subtype 0 request, 1 BoRR, 2 EoRR (RFC 7313). */
export interface RouteRefreshMessage {
  readonly type: 'routeRefresh'
  readonly family: AfiSafi
  readonly subtype: number
}

export type Message = OpenMessage | UpdateMessage | NotificationMessage | KeepaliveMessage | RouteRefreshMessage

/** What negotiation settled and the codec needs to know. */
export interface CodecContext {
  /** RFC 6793: AS numbers in AS_PATH and AGGREGATOR are four octets. */
  readonly fourOctetAs: boolean
  readonly isExternal: boolean
  /** Families that both sides announced. */
  readonly families: readonly AfiSafi[]
  /** 4096, or 65535 with RFC 8654. */
  readonly maxMessageBytes: number
  /** RFC 8950 was negotiated for IPv4 unicast. */
  readonly extendedNextHop: boolean
  /** Families whose received prefixes carry a path identifier (RFC 7911). */
  readonly addPathReceive: readonly AfiSafi[]
}

/**
 * A fault that ends the session (RFC 4271 section 6): what the NOTIFICATION says. `data` is at most 64 octets, copied.
 */
export interface NotificationFault {
  readonly code: number
  readonly subcode: number
  readonly data: Uint8Array
  readonly reason: string
}

/** A fault that the session survives (RFC 7606 section 2), strongest first. */
export interface UpdateProblem {
  readonly action: 'treat-as-withdraw' | 'attribute-discard' | 'ignore'
  readonly attribute?: number
  readonly reason: string
}

export type Decoded<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly fault: NotificationFault }
