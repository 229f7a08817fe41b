/**
 * What may be used of what a peer sends. A node imports nothing that its neighbor's importPrefixes do not name (RFC
 * 8212
 * 2), and announces nothing that it received, so NO_EXPORT and its kin (RFC 1997) need no rule here.
 *
 *     path --ingressProblem--> withdrawn (own AS, AS_SET, first AS)    kept in Adj-RIB-In
 *          --importVerdict---> not eligible, with a reason             a candidate, with the attributes that policy
 * gives it
 *     prefix --isMartian-----> not eligible
 */
import { SegmentType } from '../bgp/messages/numbers.ts'
import type { PlainPath } from '../bgp/messages/plain-update.ts'
import type { AsPathSegment, PathAttributes } from '../bgp/messages/types.ts'
import type { BgpRole, ImportPrefix, Neighbor } from '../desired/model.ts'
import { type Address, formatAddress } from '../ip/address.ts'
import { parsePrefix, type Prefix, prefixAddress, prefixFamily, prefixLength, prefixOf } from '../ip/prefix.ts'

/** What the neighbor's configuration relaxes. */
export type IngressChecks = Pick<Neighbor, 'enforceFirstAs' | 'rejectAsSets' | 'allowAsIn'>

/** The facts of a session that decide what is eligible. */
export interface ImportFacts {
  readonly isExternal: boolean
  /** The node's AS and the one that it shows to this neighbor (RFC 7705). */
  readonly ownAsns: readonly number[]
  readonly peerAsn: number
  /** Our BGP Identifier; also our CLUSTER_ID, though we reflect nothing. */
  readonly bgpId: number
  readonly localAddress: Address
  /** Our role (RFC 9234). */
  readonly role?: BgpRole
}

export type ImportVerdict =
  | { readonly ok: true; readonly attributes: PathAttributes }
  | { readonly ok: false; readonly reason: string }

const gracefulShutdown = 0xffff0000

/** Behind a router every node of one AS sends such paths to every other one: nothing to be told about. */
export const ownAsInPath = 'our own AS is in the path (RFC 4271 9.1.2)'

/**
 * Why the routes of an UPDATE count as withdrawn although their attributes are well formed; undefined when they do not.
 */
export function ingressProblem(
  { asPath }: PathAttributes,
  facts: ImportFacts,
  checks: IngressChecks = {},
): string | undefined {
  // Once for each UPDATE of a full table: plain loops, and what is relaxed is looked at only where something was found.
  let isSet = false
  let mostOwn = 0
  if (asPath !== undefined) {
    for (const { type } of asPath) if (type === SegmentType.asSet || type === SegmentType.confederationSet) isSet = true
    for (const own of facts.ownAsns) mostOwn = Math.max(mostOwn, occurrences(asPath, own))
  }
  if (mostOwn > 0 && mostOwn > (checks.allowAsIn ?? 0)) return ownAsInPath
  // RFC 9774 3: where such a route comes from cannot be verified.
  if (isSet && checks.rejectAsSets !== false) return 'the path has an AS_SET (RFC 9774 3)'
  const isStrange = facts.isExternal && firstAs(asPath) !== facts.peerAsn
  if (isStrange && facts.role !== 'rs-client' && checks.enforceFirstAs !== false)
    return `the first AS of the path is not the neighbor's, ${facts.peerAsn} (RFC 4271 6.3)`
  return undefined
}

/** {@link ingressProblem} finds nothing in such a path, whatever is relaxed: of most UPDATEs no value is made. */
export function isUnsuspicious(path: PlainPath, { ownAsns, isExternal, peerAsn }: ImportFacts): boolean {
  for (const own of ownAsns) if (path.passes(own)) return false
  return !isExternal || path.firstAs === peerAsn
}

/** Whether a path may be used, and with which attributes; the prefix is judged by {@link compileImport}. */
export function importVerdict(attributes: PathAttributes, facts: ImportFacts): ImportVerdict {
  const { originatorId, clusterList = [], nextHop, communities = [] } = attributes
  if (!facts.isExternal && originatorId === facts.bgpId)
    return no('it is a route of ours that was reflected: ORIGINATOR_ID is our BGP Identifier (RFC 4456 8)')
  if (!facts.isExternal && clusterList.includes(facts.bgpId))
    return no('it came through us: our CLUSTER_ID is in CLUSTER_LIST (RFC 4456 8)')
  if (nextHop !== undefined && nextHop === facts.localAddress)
    return no(`its next hop ${formatAddress(nextHop)} is our own address (RFC 4271 5.1.3)`)
  const leak = routeLeak(attributes, facts)
  if (leak !== undefined) return no(leak)
  const otc = ingressOtc(attributes, facts)
  // RFC 8326 4.3: what is about to go is the last choice; inside the AS its sender has seen to that.
  const isLeaving = facts.isExternal && communities.includes(gracefulShutdown)
  // Most sets stay as they are, and routes that share one go on sharing it.
  if (otc === undefined && !isLeaving) return { ok: true, attributes }
  return {
    ok: true,
    attributes: { ...attributes, ...(otc === undefined ? {} : { otc }), ...(isLeaving ? { localPref: 0 } : {}) },
  }
}

/** Why a received path may never be used, whatever importPrefixes says; undefined where it may. */
export function ineligible(prefix: Prefix, attributes: PathAttributes, facts?: ImportFacts): string | undefined {
  if (isMartian(prefix)) return 'not eligible: nobody routes loopback, multicast or class E addresses'
  const verdict = facts === undefined ? undefined : importVerdict(attributes, facts)
  return verdict?.ok === false ? `not eligible: ${verdict.reason}` : undefined
}

const no = (reason: string): ImportVerdict => ({ ok: false, reason })

/** RFC 9234 5, ingress 1 and 2: a route that only goes to customers came from where it must not come from. */
function routeLeak({ otc }: PathAttributes, { isExternal, role, peerAsn }: ImportFacts): string | undefined {
  if (!isExternal || otc === undefined) return undefined
  if (role === 'provider' || role === 'rs')
    return (
      `a route leak: a ${role === 'provider' ? 'customer' : 'route server client'} passes on what is for ` +
      `customers only, OTC ${otc} (RFC 9234 5)`
    )
  if (role === 'peer' && otc !== peerAsn)
    return `a route leak: a peer passes on what is for customers only, OTC ${otc} (RFC 9234 5)`
  return undefined
}

/** RFC 9234 5, ingress 3: the OTC that a path gets; undefined: it has one, or needs none. */
function ingressOtc({ otc }: PathAttributes, { isExternal, role, peerAsn }: ImportFacts): number | undefined {
  const isFromAbove = role === 'customer' || role === 'peer' || role === 'rs-client'
  return isExternal && otc === undefined && isFromAbove ? peerAsn : undefined
}

/**
 * RFC 9234 5, egress 1: what goes to a customer, a peer or a route server client is for customers only from there on.
 */
export function egressOtc(role: BgpRole | undefined, ownAsn: number): number | undefined {
  return role === 'provider' || role === 'peer' || role === 'rs' ? ownAsn : undefined
}

function occurrences(asPath: readonly AsPathSegment[], asn: number): number {
  let count = 0
  for (const { asns } of asPath) for (const each of asns) if (each === asn) count++
  return count
}

function firstAs(asPath: readonly AsPathSegment[] | undefined): number | undefined {
  const first = asPath?.[0]
  return first?.type === SegmentType.asSequence ? first.asns[0] : undefined
}

/** Prefixes that are nobody's to announce: loopback, multicast and class E. */
export const isMartian = compileImport([
  { prefix: '127.0.0.0/8', le: 32 },
  { prefix: '224.0.0.0/3', le: 32 },
  { prefix: '::1/128' },
  { prefix: 'ff00::/8', le: 128 },
])

/**
 * Which prefixes may be imported; nothing without a list (RFC 8212 2). Entries as in FRR's prefix-list: ge and le bound
 * the length.
 */
export function compileImport(entries: readonly ImportPrefix[] = []): (prefix: Prefix) => boolean {
  const rules = entries.flatMap(({ prefix: text, ge, le }) => {
    const prefix = parsePrefix(text)
    if (prefix === undefined) return []
    const length = prefixLength(prefix)
    const maximum = prefixFamily(prefix) === 'ipv4' ? 32 : 128
    return [{ prefix, length, from: ge ?? length, to: le ?? (ge === undefined ? length : maximum) }]
  })
  return (prefix) =>
    rules.some((rule) => {
      const length = prefixLength(prefix)
      return (
        prefixFamily(prefix) === prefixFamily(rule.prefix) &&
        length >= rule.from &&
        length <= rule.to &&
        prefixOf(prefixAddress(prefix), rule.length) === rule.prefix
      )
    })
}
