/** The source address of sessions that are to leave from an interface. Pure. */
import { isLinkLocal, parseAddress, unmapped } from '../../ip/address.ts'
import { fault, type Fault } from '../kinds/narrow.ts'
import type { NodeFacts } from './node-plan.ts'

const path = ['spec', 'transport', 'sourceInterface']

/** The one address of an interface from which a peer can be reached, or why there is none. */
export function sourceOn(device: string, peerAddress: string, { name, network }: NodeFacts): string | Fault {
  const isIpv6 = peerAddress.includes(':')
  const usable = (network?.addresses.get(device) ?? []).filter(
    (address) => address.includes(':') === isIpv6 && isUsable(address),
  )
  const [only] = usable
  if (only !== undefined && usable.length === 1) return only
  const family = isIpv6 ? 'IPv6' : 'IPv4'
  const message =
    only === undefined
      ? `interface ${device} of node ${name} has no ${family} address`
      : `interface ${device} of node ${name} has several ${family} addresses: ${usable.join(', ')}`
  const remedy =
    'Name an interface with exactly one, or write the address as localAddress of a CiliumBGPNodeConfigOverride.'
  return fault('error', path, 'NoSourceAddress', message, remedy)
}

/** Not of loopback, multicast or a link alone, and no IPv4 address in the clothes of an IPv6 one. */
function isUsable(text: string): boolean {
  const address = parseAddress(text)
  if (address === undefined || isLinkLocal(address) || unmapped(address) !== address) return false
  if (typeof address === 'number') return address >>> 24 !== 127 && address >>> 28 !== 14
  return text !== '::1' && address.charCodeAt(0) !== 0xff
}
