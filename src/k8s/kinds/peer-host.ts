/** Whether a router can be known by an address (RFC 6890), whatever kind of object names it. Pure. */
import { type Address, formatAddress, isUnicastIpv4 } from '../../ip/address.ts'
import { fault, type Fault, type FieldPath } from './narrow.ts'

/** An error where no router can be there. `::` is whatever router is on the interface. */
export function hostFaults(address: Address, path: FieldPath): readonly Fault[] {
  const text = formatAddress(address)
  if (text === '::1' || text.startsWith('127.')) {
    const message = `${text} is a loopback address: only a router on the same host is there`
    return [fault('warning', path, 'LoopbackPeer', message, 'Write the address of the router.')]
  }
  const isHost = typeof address === 'number' ? isUnicastIpv4(address) : !address.startsWith('\xff')
  const message = `${text} is no address of one router`
  return isHost ? [] : [fault('error', path, 'InvalidPeerAddress', message, 'Write the address of the router.')]
}
