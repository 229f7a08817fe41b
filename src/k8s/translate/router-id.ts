/** The BGP Identifier of a virtual router: from the Node's annotation, its IPv4 InternalIP, or its name. Pure. */
import { formatAddress, parseIpv4 } from '../../ip/address.ts'
import { fault, type Fault } from '../kinds/narrow.ts'
import type { Node } from '../kinds/node.ts'

export interface RouterId {
  /** Dotted IPv4. */
  readonly routerId: string
  /** Of the Node. */
  readonly faults: readonly Fault[]
}

/**
 * `cilium.io/bgp-virtual-router.{asn}: router-id=192.0.2.1,local-port=179`; of keys given twice the last one counts.
 */
export function routerIdOf(nodeName: string, node: Node | undefined, asn: number): RouterId {
  const name = `cilium.io/bgp-virtual-router.${asn}`
  const path = ['metadata', 'annotations', name]
  const pairs = new Map(
    (node?.metadata.annotations[name] ?? '')
      .split(',')
      .map((pair) => pair.split('='))
      .flatMap(([key, value, ...rest]) =>
        key !== undefined && value !== undefined && rest.length === 0 ? [[key.trim(), value.trim()] as const] : [],
      ),
  )
  const faults: Fault[] = []
  if (pairs.has('local-port'))
    faults.push(
      fault(
        'warning',
        path,
        'LocalPortNotServed',
        `${name}: local-port is not honoured: one port serves all virtual routers`,
        'Choose it with --bgp-listen, and remove local-port.',
      ),
    )
  const wanted = pairs.get('router-id')
  const parsed = parseIpv4(wanted ?? '')
  if (parsed) return { routerId: formatAddress(parsed), faults }
  const internal = (node?.status?.addresses ?? []).flatMap(({ type, address }) =>
    type === 'InternalIP' ? (parseIpv4(address) ?? []) : [],
  )[0]
  const routerId = internal === undefined ? derived(nodeName) : formatAddress(internal)
  if (wanted !== undefined)
    faults.push(
      fault(
        'error',
        path,
        'InvalidRouterId',
        `${name}: router-id ${wanted} is no IPv4 address other than 0.0.0.0; ${routerId} is used`,
        'Write router-id=192.0.2.1.',
      ),
    )
  if (internal === undefined)
    faults.push(
      fault(
        'warning',
        ['status', 'addresses'],
        'DerivedRouterId',
        `node ${nodeName} has no IPv4 InternalIP: router ID ${routerId} is derived from its name`,
        `Give the Node an InternalIP, or the annotation ${name}: router-id=192.0.2.1.`,
      ),
    )
  return { routerId, faults }
}

/** FNV-1a of the name, never 0: RFC 6286 asks for nothing but unique within the AS. */
function derived(name: string): string {
  let hash = 0x811c9dc5
  for (const character of name) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193) >>> 0
  return formatAddress(hash || 1)
}
