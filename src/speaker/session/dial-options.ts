/** How a connection to a neighbor is made. Pure. */
import { ownAsn } from '../../bgp/fsm/negotiate.ts'
import type { Neighbor } from '../../desired/model.ts'
import { type Address, parseAddress } from '../../ip/address.ts'
import type { DialOptions } from './environment.ts'

export function dialOptions(neighbor: Neighbor, peer: Address): DialOptions {
  const { ttlSecurityHops, multihopTtl, password, sourceAddress, tcpUserTimeoutSec, interface: device } = neighbor
  const source = sourceAddress === undefined ? undefined : parseAddress(sourceAddress)
  const isInternal = ownAsn(neighbor) === neighbor.peerAsn
  return {
    peer,
    port: neighbor.peerPort,
    ttl: ttlSecurityHops !== undefined ? 255 : isInternal ? 64 : multihopTtl,
    ...(ttlSecurityHops === undefined ? {} : { minTtl: 256 - ttlSecurityHops }),
    ...(password === undefined ? {} : { password }),
    ...(source === undefined ? {} : { source }),
    ...(device === undefined ? {} : { device }),
    ...(tcpUserTimeoutSec === undefined ? {} : { userTimeoutMs: tcpUserTimeoutSec * 1000 }),
  }
}
