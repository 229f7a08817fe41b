/**
 * What a neighbor hears of a route: the attributes of the desired state, dressed for one session.
 *
 *     RouteAttributes + ExportView --exportAttributes--> PathAttributes
 *
 * A view is everything that shapes the answer besides the route; sessions with equal views hear the same.
 */
import { SegmentType } from '../bgp/messages/numbers.ts'
import type { AddressFamilyName, Neighbor, RouteAttributes } from '../desired/model.ts'
import { type Address, familyOfAddress, formatAddress, parseAddress } from '../ip/address.ts'
import { Origin, type PathAttributes } from '../bgp/messages/types.ts'

/** RFC 4271 9.1.1 leaves the default open; every implementation takes 100. */
const defaultLocalPreference = 100
/** GRACEFUL_SHUTDOWN, 65535:0 (RFC 8326 5). */
const gracefulShutdown = 0xffff0000

export interface ExportView {
  readonly localAsn: number
  readonly isExternal: boolean
  /** The AS shown to this neighbor in front of localAsn (RFC 7705). */
  readonly localAs?: number
  /** Every route carries GRACEFUL_SHUTDOWN (RFC 8326 4.2). */
  readonly isGracefulShutdown?: boolean
  /** ONLY_TO_CUSTOMER as the role of the session wants it (RFC 9234 5). */
  readonly otc?: number
  /** Families that are announced, each with the next hop that its routes get. */
  readonly nextHops: Readonly<Partial<Record<AddressFamilyName, Address>>>
}

export type NextHopChoice =
  | { readonly ok: true; readonly nextHop: Address }
  | { readonly ok: false; readonly reason: string }

/** The facts of a session that decide its next hops. */
export interface SessionFacts {
  readonly localAddress: Address
  /** RFC 8950 was negotiated: IPv4 routes may carry an IPv6 next hop. */
  readonly extendedNextHop: boolean
  /** Global addresses of the interface that the session runs over, the best one first; asked for where they matter. */
  interfaceAddresses(): readonly Address[]
}

/**
 * The next hop of a family on a session: the configured one, else the session's own address where its family fits
 * (RFC 4271 5.1.3, RFC 2545 3, RFC 8950 4), else a global address of the session's interface, else the node's. Without
 * any of them the family cannot be announced and `reason` says what to configure.
 */
export function chooseNextHop(
  family: AddressFamilyName,
  { nextHops, nodeAddresses }: Pick<Neighbor, 'nextHops' | 'nodeAddresses'>,
  session: SessionFacts,
): NextHopChoice {
  const say = (why: string): NextHopChoice => ({ ok: false, reason: `${family} is not announced: ${why}` })
  const wanted = family === 'ipv4-unicast' ? 'ipv4' : 'ipv6'
  const isOfFamily = (address: Address): boolean => familyOfAddress(address) === wanted
  const mayCarry = (address: Address): boolean => isOfFamily(address) || (wanted === 'ipv4' && session.extendedNextHop)
  const text = nextHops?.[family]
  if (text !== undefined) {
    const configured = parseAddress(text)
    if (configured === undefined) return say(`the configured next hop ${text} is no address`)
    if (mayCarry(configured)) return { ok: true, nextHop: configured }
    return say(`the configured next hop is ${formatAddress(configured)}; give the neighbor a next hop of this family`)
  }
  // RFC 2545 3 asks for a global address; between link-local neighbors there is none, and routers take this one (RFC
  // 8950 4).
  if (mayCarry(session.localAddress)) return { ok: true, nextHop: session.localAddress }
  const nextHop = session.interfaceAddresses().find(isOfFamily) ?? parseAddress(nodeAddresses?.[family] ?? '')
  if (nextHop !== undefined && isOfFamily(nextHop)) return { ok: true, nextHop }
  const [other, shown] = wanted === 'ipv6' ? ['IPv4', 'IPv6'] : ['IPv6', 'IPv4']
  return say(
    `the session runs over ${other}, and neither its interface nor the Node has an ${shown} address; ` +
      'give the neighbor a next hop of this family',
  )
}

/** Attributes of an originated route (RFC 4271 5.1): LOCAL_PREF inside the AS only, our AS in AS_PATH outside only. */
export function exportAttributes(route: RouteAttributes, view: ExportView, nextHop: Address): PathAttributes {
  const { largeCommunities = [], extendedCommunities = [], med } = route
  const communities =
    view.isGracefulShutdown === true ? [...(route.communities ?? []), gracefulShutdown] : (route.communities ?? [])
  // RFC 8326 4.1: inside the AS the sender itself makes the route the last resort.
  const localPreference = view.isGracefulShutdown === true ? 0 : (route.localPreference ?? defaultLocalPreference)
  const large = largeCommunities.map(parseLargeCommunity).filter((community) => community !== undefined)
  return {
    origin: Origin.igp,
    asPath: view.isExternal ? [{ type: SegmentType.asSequence, asns: externalPath(view, route.asPathPrepend) }] : [],
    nextHop,
    ...(med === undefined ? {} : { med }),
    ...(view.isExternal ? {} : { localPref: localPreference }),
    ...(communities.length === 0 ? {} : { communities: [...new Set(communities)].sort((a, b) => a - b) }),
    ...(extendedCommunities.length === 0 ? {} : { extendedCommunities: [...new Set(extendedCommunities)].sort() }),
    ...(large.length === 0 ? {} : { largeCommunities: uniqueSorted(large) }),
    ...(view.otc === undefined ? {} : { otc: view.otc }),
  }
}

/** Our AS, once more for each prepend (RFC 4271 5.1.2), behind the one that this neighbor knows us by (RFC 7705 4). */
function externalPath({ localAsn, localAs }: ExportView, asPathPrepend = 0): readonly number[] {
  const shown = localAs ?? localAsn
  return [
    ...Array.from({ length: asPathPrepend }, () => shown),
    ...(localAs === undefined || localAs === localAsn ? [] : [localAs]),
    localAsn,
  ]
}

type LargeCommunity = readonly [number, number, number]

/** `global:local1:local2` (RFC 8092 5); undefined when it is none: translation has reported it before. */
function parseLargeCommunity(text: string): LargeCommunity | undefined {
  const parts = text.split(':')
  const [global, local1, local2] = parts.map((part) => (/^(0|[1-9][0-9]{0,9})$/.test(part) ? Number(part) : Number.NaN))
  if (parts.length !== 3 || global === undefined || local1 === undefined || local2 === undefined) return undefined
  return [global, local1, local2].every((part) => part <= 0xffffffff) ? [global, local1, local2] : undefined
}

function uniqueSorted(list: readonly LargeCommunity[]): readonly LargeCommunity[] {
  const sorted = [...list].sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2])
  return sorted.filter((community, i) => i === 0 || community.join() !== sorted[i - 1]?.join())
}
