/**
 * What two OPENs agree on (RFC 5492 and the RFC of each capability), and why an OPEN is refused (RFC 4271 6.2). Pure.
 */
import type { AddressFamilyName, BgpRole, Neighbor } from '../../desired/model.ts'
import { parseIpv4 } from '../../ip/address.ts'
import { type Capability, capabilityOf } from '../messages/capabilities.ts'
import { defaultMaxMessageBytes, extendedMaxMessageBytes } from '../messages/header.ts'
import { AddPath, asTrans, CapabilityCode, ErrorCode } from '../messages/numbers.ts'
import {
  type AfiSafi,
  type CodecContext,
  type Decoded,
  ipv4Unicast,
  ipv6Unicast,
  type NotificationFault,
  type OpenMessage,
} from '../messages/types.ts'

export const afiSafiOf: Readonly<Record<AddressFamilyName, AfiSafi>> = {
  'ipv4-unicast': ipv4Unicast,
  'ipv6-unicast': ipv6Unicast,
}

/** RFC 4724 flags of our OPEN. */
export interface RestartFlags {
  /** R: this process restarted and has not yet sent its routes. */
  readonly isRestart: boolean
  /** F: forwarding went on meanwhile. */
  readonly isForwardingPreserved: boolean
}

/** The AS that the peer knows us by (RFC 7705). */
export const ownAsn = ({ localAs, localAsn }: Neighbor): number => localAs ?? localAsn

export function localOpen(neighbor: Neighbor, restart: RestartFlags): OpenMessage {
  const families = neighbor.families.map((family) => afiSafiOf[family])
  const asn = ownAsn(neighbor)
  const capabilities: Capability[] = [
    ...families.map((family) => ({ type: 'multiprotocol', family }) as const),
    { type: 'routeRefresh' },
    { type: 'enhancedRouteRefresh' },
    ...extendedNextHops(neighbor),
    { type: 'extendedMessage' },
    ...(neighbor.role === undefined ? [] : [{ type: 'role', role: roles.indexOf(neighbor.role) } as const]),
    { type: 'fourOctetAs', asn },
    ...(neighbor.addPathReceive === true
      ? [{ type: 'addPath', entries: families.map((family) => ({ family, mode: AddPath.receive })) } as const]
      : []),
  ]
  if (neighbor.gracefulRestart !== undefined) {
    capabilities.push({
      type: 'gracefulRestart',
      restartState: restart.isRestart,
      notification: neighbor.gracefulRestart.notification,
      restartTimeSec: neighbor.gracefulRestart.restartTimeSec,
      families: families.map((family) => ({ family, forwarding: restart.isForwardingPreserved })),
    })
  }
  return {
    type: 'open',
    version: 4,
    myAs: asn > 0xffff ? asTrans : asn,
    holdTimeSec: neighbor.holdTimeSec,
    bgpId: parseIpv4(neighbor.routerId) ?? 0,
    capabilities,
  }
}

/** By their numbers (RFC 9234 4.1). */
const roles: readonly BgpRole[] = ['provider', 'rs', 'rs-client', 'customer', 'peer']

/** What the peer must be for each role of ours (RFC 9234 4.2, table 2). */
const counterparts: Readonly<Record<BgpRole, BgpRole>> = {
  provider: 'customer',
  customer: 'provider',
  rs: 'rs-client',
  'rs-client': 'rs',
  peer: 'peer',
}

/** RFC 8950: offered where IPv4 routes may have to carry an IPv6 next hop, over an IPv6 session. */
function extendedNextHops(neighbor: Neighbor): Capability[] {
  const isNeeded = neighbor.peerAddress.includes(':') && neighbor.families.includes('ipv4-unicast')
  return isNeeded ? [{ type: 'extendedNextHop', entries: [{ family: ipv4Unicast, nextHopAfi: 2 }] }] : []
}

/** What the peer's OPEN says of graceful restart (RFC 4724 3, RFC 8538 2). */
export type PeerRestart = Extract<Capability, { type: 'gracefulRestart' }>

/** What two OPENs settled. Times in seconds, 0 is off. */
export interface Agreement {
  readonly codec: CodecContext
  /** Resolved AS of the peer. */
  readonly peerAsn: number
  readonly holdTimeSec: number
  readonly keepaliveSec: number
  readonly families: readonly AfiSafi[]
  readonly routeRefresh: boolean
  /** RFC 7313: a refresh is framed by BoRR and EoRR. */
  readonly enhancedRouteRefresh: boolean
  /** RFC 4724 as Herald counts it: enabled here and capability 64 in the peer's OPEN, with families or not. */
  readonly gracefulRestart: boolean
  /** The peer's side of it, where it is enabled here. */
  readonly peerRestart?: PeerRestart
  /** Both set the N bit: routes outlive a NOTIFICATION that is no Hard Reset (RFC 8538 4). */
  readonly notificationRestart: boolean
  /** Short names for display: `4-octet-as`, `route-refresh`, `graceful-restart`, `mp-ipv4-unicast` ... */
  readonly capabilities: readonly string[]
}

export function negotiate(neighbor: Neighbor, remote: OpenMessage): Decoded<Agreement> {
  const asn = capabilityOf(remote.capabilities, 'fourOctetAs')?.asn
  const peerAsn = asn ?? remote.myAs
  const isExternal = peerAsn !== ownAsn(neighbor)
  if (neighbor.peerAsn !== 0 && peerAsn !== neighbor.peerAsn)
    return refuse(2, `the peer is AS ${peerAsn}, configured is ${neighbor.peerAsn}`)
  if (neighbor.refusesOwnAs === true && !isExternal)
    return refuse(2, `the peer is AS ${peerAsn}, which is our own, and configured is any other one`)
  // RFC 6286 2.2: equal identifiers are an error inside one AS only.
  if (!isExternal && remote.bgpId === parseIpv4(neighbor.routerId))
    return refuse(3, 'the peer of our own AS has our BGP Identifier')
  const families = commonFamilies(neighbor, remote)
  if (families.length === 0) return refuse(7, 'no address family in common', wantedFamilies(neighbor))
  const mismatch = isExternal ? roleMismatch(neighbor, remote) : undefined
  if (mismatch !== undefined) return refuse(11, mismatch)

  const holdTimeSec = Math.min(neighbor.holdTimeSec, remote.holdTimeSec)
  const has = (type: Parameters<typeof capabilityOf>[1]): boolean =>
    capabilityOf(remote.capabilities, type) !== undefined
  const extendedNextHop =
    extendedNextHops(neighbor).length > 0 &&
    capabilityOf(remote.capabilities, 'extendedNextHop')?.entries.some(
      ({ family, nextHopAfi }) => family.afi === 1 && family.safi === 1 && nextHopAfi === 2,
    ) === true
  const addPathReceive = neighbor.addPathReceive === true ? families.filter((family) => sendsPaths(remote, family)) : []
  const extendedMessage = has('extendedMessage')
  // The peer's families do not matter for our restart: a helper lists those that it can restart itself, often none.
  const peerRestart =
    neighbor.gracefulRestart === undefined ? undefined : capabilityOf(remote.capabilities, 'gracefulRestart')
  const notificationRestart = neighbor.gracefulRestart?.notification === true && peerRestart?.notification === true
  const named: readonly (readonly [boolean, string])[] = [
    [asn !== undefined, '4-octet-as'],
    [has('routeRefresh'), 'route-refresh'],
    [has('enhancedRouteRefresh'), 'enhanced-route-refresh'],
    [extendedNextHop, 'extended-next-hop'],
    [extendedMessage, 'extended-message'],
    [addPathReceive.length > 0, 'add-path-receive'],
    [neighbor.role !== undefined && has('role'), 'role'],
    [peerRestart !== undefined, 'graceful-restart'],
    [notificationRestart, 'graceful-restart-notification'],
  ]
  return {
    ok: true,
    value: {
      codec: {
        fourOctetAs: asn !== undefined,
        isExternal,
        families,
        maxMessageBytes: extendedMessage ? extendedMaxMessageBytes : defaultMaxMessageBytes,
        extendedNextHop,
        addPathReceive,
      },
      peerAsn,
      holdTimeSec,
      keepaliveSec: keepaliveSecOf(neighbor, holdTimeSec),
      families,
      routeRefresh: has('routeRefresh'),
      enhancedRouteRefresh: has('enhancedRouteRefresh'),
      gracefulRestart: peerRestart !== undefined,
      ...(peerRestart === undefined ? {} : { peerRestart }),
      notificationRestart,
      capabilities: [
        ...families.map(({ afi }) => `mp-ipv${afi === 1 ? 4 : 6}-unicast`),
        ...named.flatMap(([isNegotiated, name]) => (isNegotiated ? [name] : [])),
      ],
    },
  }
}

/** RFC 4271 4.4: a third of the hold time, or more often where configured; never 0 while there is a hold time. */
export function keepaliveSecOf({ keepaliveSec }: Pick<Neighbor, 'keepaliveSec'>, holdTimeSec: number): number {
  return holdTimeSec === 0 ? 0 : Math.max(1, Math.min(keepaliveSec, Math.floor(holdTimeSec / 3)))
}

function sendsPaths(remote: OpenMessage, { afi, safi }: AfiSafi): boolean {
  const entry = capabilityOf(remote.capabilities, 'addPath')?.entries.find(
    ({ family }) => family.afi === afi && family.safi === safi,
  )
  return entry !== undefined && entry.mode >= AddPath.send
}

/** RFC 9234 4.2: several different roles, or one that does not fit ours. A peer without one is taken (not strict). */
function roleMismatch(neighbor: Neighbor, remote: OpenMessage): string | undefined {
  const theirs = new Set(remote.capabilities.flatMap((one) => (one.type === 'role' ? [one.role] : [])))
  const [role] = theirs
  if (neighbor.role === undefined || role === undefined) return undefined
  if (theirs.size > 1) return 'the peer says that it has several roles'
  const wanted = counterparts[neighbor.role]
  return role === roles.indexOf(wanted)
    ? undefined
    : `the peer is a ${roles[role] ?? `role ${role}`}; a ${neighbor.role} needs a ${wanted}`
}

/** A speaker that sends no multiprotocol capability at all speaks IPv4 unicast (RFC 4760 8, RFC 4271). */
function commonFamilies(neighbor: Neighbor, remote: OpenMessage): readonly AfiSafi[] {
  const theirs = remote.capabilities.flatMap((one) => (one.type === 'multiprotocol' ? [one.family] : []))
  const offered = theirs.length === 0 ? [ipv4Unicast] : theirs
  return neighbor.families
    .map((family) => afiSafiOf[family])
    .filter(({ afi, safi }) => offered.some((other) => other.afi === afi && other.safi === safi))
}

/** RFC 5492 5: the data names the capabilities that were missed. */
function wantedFamilies(neighbor: Neighbor): Uint8Array {
  return Uint8Array.from(
    neighbor.families.flatMap((family) => [
      CapabilityCode.multiprotocol,
      4,
      0,
      afiSafiOf[family].afi,
      0,
      afiSafiOf[family].safi,
    ]),
  )
}

function refuse(subcode: number, reason: string, data: Uint8Array = new Uint8Array(0)): Decoded<Agreement> {
  const fault: NotificationFault = { code: ErrorCode.open, subcode, data, reason }
  return { ok: false, fault }
}
