/** What two OPENs agree on (RFC 5492 and the RFC of each capability), and why an OPEN is refused (RFC 4271 6.2). Pure. */
import type { AddressFamilyName, Neighbor } from '../../desired/model.ts'
import { parseIpv4 } from '../../ip/address.ts'
import { asTrans } from '../messages/open.ts'
import { type AfiSafi, type Capability, type CodecContext, type Decoded, ipv4Unicast, ipv6Unicast, type NotificationFault, type OpenMessage } from '../messages/types.ts'

export const afiSafiOf: Readonly<Record<AddressFamilyName, AfiSafi>> = { 'ipv4-unicast': ipv4Unicast, 'ipv6-unicast': ipv6Unicast }

/** RFC 4724 flags of our OPEN. */
export interface RestartFlags {
  /** R: this process restarted and has not yet sent its routes. */
  readonly isRestart: boolean
  /** F: forwarding went on meanwhile. */
  readonly isForwardingPreserved: boolean
}

export function localOpen(neighbor: Neighbor, restart: RestartFlags): OpenMessage {
  const families = neighbor.families.map((family) => afiSafiOf[family])
  const capabilities: Capability[] = [
    ...families.map((family) => ({ type: 'multiprotocol', family }) as const),
    { type: 'routeRefresh' },
    ...extendedNextHops(neighbor),
    { type: 'fourOctetAs', asn: neighbor.localAsn },
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
    myAs: neighbor.localAsn > 0xffff ? asTrans : neighbor.localAsn,
    holdTimeSec: neighbor.holdTimeSec,
    bgpId: parseIpv4(neighbor.routerId) ?? 0,
    capabilities,
  }
}

/** RFC 8950: offered where IPv4 routes may have to carry an IPv6 next hop, over an IPv6 session. */
function extendedNextHops(neighbor: Neighbor): Capability[] {
  const isNeeded = neighbor.peerAddress.includes(':') && neighbor.families.includes('ipv4-unicast')
  return isNeeded ? [{ type: 'extendedNextHop', entries: [{ family: ipv4Unicast, nextHopAfi: 2 }] }] : []
}

export interface Agreement {
  readonly codec: CodecContext
  readonly peerAsn: number
  readonly holdTimeSec: number
  readonly keepaliveSec: number
  readonly families: readonly AfiSafi[]
  readonly routeRefresh: boolean
  readonly gracefulRestart: boolean
  readonly capabilities: readonly string[]
}

export function negotiate(neighbor: Neighbor, remote: OpenMessage): Decoded<Agreement> {
  const asn = remote.capabilities.find((capability) => capability.type === 'fourOctetAs')?.asn
  const peerAsn = asn ?? remote.myAs
  const isExternal = peerAsn !== neighbor.localAsn
  if (neighbor.peerAsn !== 0 && peerAsn !== neighbor.peerAsn) return refuse(2, new Uint8Array(0), `the peer is AS ${peerAsn}, configured is ${neighbor.peerAsn}`)
  // RFC 6286 2.1: equal identifiers are an error inside one AS only.
  if (!isExternal && remote.bgpId === parseIpv4(neighbor.routerId)) return refuse(3, new Uint8Array(0), 'the peer of our own AS has our BGP Identifier')
  const families = commonFamilies(neighbor, remote)
  if (families.length === 0) return refuse(7, wantedFamilies(neighbor), 'no address family in common')

  const holdTimeSec = Math.min(neighbor.holdTimeSec, remote.holdTimeSec)
  const has = (type: Capability['type']): boolean => remote.capabilities.some((capability) => capability.type === type)
  const extendedNextHop = extendedNextHops(neighbor).length > 0 && remote.capabilities.some((capability) => capability.type === 'extendedNextHop' && capability.entries.some(({ family, nextHopAfi }) => family.afi === 1 && family.safi === 1 && nextHopAfi === 2))
  // The peer's families do not matter: a helper lists those that it can restart itself, often none.
  const gracefulRestart = neighbor.gracefulRestart !== undefined && has('gracefulRestart')
  return {
    ok: true,
    value: {
      codec: { fourOctetAs: asn !== undefined, isExternal, families, maxMessageBytes: 4096, extendedNextHop, addPathReceive: [] },
      peerAsn,
      holdTimeSec,
      // RFC 4271 4.4: a third of the hold time, or more often where configured; never 0 while there is a hold time.
      keepaliveSec: holdTimeSec === 0 ? 0 : Math.max(1, Math.min(neighbor.keepaliveSec, Math.floor(holdTimeSec / 3))),
      families,
      routeRefresh: has('routeRefresh'),
      gracefulRestart,
      capabilities: [
        ...families.map(({ afi }) => `mp-ipv${afi === 1 ? 4 : 6}-unicast`),
        ...(asn === undefined ? [] : ['4-octet-as']),
        ...(has('routeRefresh') ? ['route-refresh'] : []),
        ...(extendedNextHop ? ['extended-next-hop'] : []),
        ...(gracefulRestart ? ['graceful-restart'] : []),
      ],
    },
  }
}

/** A speaker that sends no multiprotocol capability at all speaks IPv4 unicast (RFC 4760 8, RFC 4271). */
function commonFamilies(neighbor: Neighbor, remote: OpenMessage): readonly AfiSafi[] {
  const theirs = remote.capabilities.flatMap((capability) => (capability.type === 'multiprotocol' ? [capability.family] : []))
  const offered = theirs.length === 0 ? [ipv4Unicast] : theirs
  return neighbor.families.map((family) => afiSafiOf[family]).filter(({ afi, safi }) => offered.some((other) => other.afi === afi && other.safi === safi))
}

/** RFC 5492 5: the data names the capabilities that were missed. */
function wantedFamilies(neighbor: Neighbor): Uint8Array {
  return Uint8Array.from(neighbor.families.flatMap((family) => [1, 4, 0, afiSafiOf[family].afi, 0, afiSafiOf[family].safi]))
}

function refuse(subcode: number, data: Uint8Array, reason: string): Decoded<Agreement> {
  const fault: NotificationFault = { code: 2, subcode, data, reason }
  return { ok: false, fault }
}
