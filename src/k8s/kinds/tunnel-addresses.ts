/**
 * The addresses at which a node takes packets in a tunnel, as annotations have them: of a Node, where a person says so,
 * and of the Lease in which its agent says so. `192.0.2.11, 2001:db8::11`, one of each family at most, or `none`. Pure.
 */
import {
  type Address,
  familyOfAddress,
  formatAddress,
  isForwardable,
  isUnicastIpv4,
  parseAddress,
  unmapped,
} from '../../ip/address.ts'
import { fault, type Fault, type FieldPath } from './narrow.ts'

export const tunnelAddressesAnnotation = 'herald.dev/tunnel-addresses'
const form = '192.0.2.11, 2001:db8::11'
/** Longer than any two addresses. */
const mostLetters = 200

/**
 * Canonical, sorted, IPv4 first; undefined: nothing is written. What is wrong leaves `before` in force: one address
 * that cannot be read must not take the other one away.
 */
export function parseTunnelAddresses(
  annotations: Readonly<Record<string, string>>,
  before: readonly string[] | undefined,
  faults: Fault[],
): readonly string[] | undefined {
  const text = annotations[tunnelAddressesAnnotation]?.trim() ?? ''
  if (text === '') return undefined
  if (text === 'none') return []
  const path: FieldPath = ['metadata', 'annotations', tunnelAddressesAnnotation]
  const found = text.length > mostLetters ? [] : text.split(',').map((each) => addressIn(each.trim()))
  const good = found.filter((each) => each !== undefined)
  const families = new Set(good.map(familyOfAddress))
  if (good.length === found.length && families.size === good.length && good.length > 0)
    return good.toSorted((a, b) => (typeof a === typeof b ? 0 : typeof a === 'number' ? -1 : 1)).map(formatAddress)
  const shown = text.length > mostLetters ? 'it' : text
  const what =
    good.length === found.length && good.length > 0 ? 'has two addresses of a family' : 'is no list of addresses'
  const rest = before === undefined ? 'it is passed over until then' : 'what was good before stays in force'
  const remedy = `Write the addresses at which the node is reached, as ${form}, or none; ${rest}.`
  faults.push(fault('error', path, 'InvalidAnnotation', `${shown} ${what} that packets are forwarded to`, remedy))
  return before
}

function addressIn(text: string): Address | undefined {
  const parsed = parseAddress(text)
  const address = parsed === undefined ? undefined : unmapped(parsed)
  if (address === undefined || !isForwardable(address)) return undefined
  return typeof address === 'string' || isUnicastIpv4(address) ? address : undefined
}
