/** The BGP Identifier of a virtual router: from the Node's annotation, its IPv4 InternalIP, or its name. Pure. */
import { formatAddress, isUnicastIpv4, parseIpv4 } from '../../ip/address.ts'
import { fault, type Fault } from '../kinds/narrow.ts'
import { routerAnnotation, type Node } from '../kinds/node.ts'

export interface RouterId {
  /** Dotted IPv4, always unicast. */
  readonly routerId: string
  /** Of the Node. */
  readonly faults: readonly Fault[]
}

export function routerIdOf(nodeName: string, node: Node | undefined, asn: number): RouterId {
  const written = node?.routers.find((settings) => settings.asn === asn)?.routerId
  if (written !== undefined) return { routerId: written, faults: [] }
  const internal = (node?.addresses ?? []).find(({ type, address }) => {
    const parsed = parseIpv4(address)
    return type === 'InternalIP' && parsed !== undefined && isUnicastIpv4(parsed)
  })
  if (internal !== undefined) return { routerId: internal.address, faults: [] }
  const routerId = derivedRouterId(nodeName)
  const message = `node ${nodeName} has ${whyNone(node)}: router ID ${routerId} is derived from its name`
  const remedy =
    `Give the Node an InternalIP, or write the annotation ${routerAnnotation}${asn}: ` + 'router-id=192.0.2.1.'
  return { routerId, faults: [fault('warning', ['status', 'addresses'], 'DerivedRouterId', message, remedy)] }
}

function whyNone(node: Node | undefined): string {
  const written = (node?.addresses ?? []).filter(
    ({ type, address }) => type === 'InternalIP' && parseIpv4(address) !== undefined,
  )
  if (written.length === 0) return 'no IPv4 InternalIP'
  return `no unicast address as IPv4 InternalIP (${written.map(({ address }) => address).join(', ')})`
}

/**
 * FNV-1a of the name, as a unicast address: RFC 6286 asks for nothing but unique within the AS, and routers of the
 * rules before it refuse anything else (RFC 4271 6.2). A hash that is no unicast address gets a first octet of 1..126.
 */
export function derivedRouterId(name: string): string {
  let hash = 0x811c9dc5
  for (const character of name) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193) >>> 0
  if (isUnicastIpv4(hash)) return formatAddress(hash)
  const first = 1 + ((hash >>> 24) % 126)
  return formatAddress(first * 0x1000000 + (hash & 0xffffff))
}
