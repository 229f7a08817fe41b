/** Why no packet reaches a peer, from what the kernel says of the way to it. */
import { type Address, formatAddress } from '../../ip/address.ts'
import type { NextHop } from '../../sys/links.ts'

/** `hop`: where a packet to the peer leaves; undefined when no route leads there. */
export function unreachableReason(peer: Address, hop: NextHop | undefined): string {
  if (hop === undefined) return 'no route to the peer'
  const { device, gateway, isSilent } = hop
  const asked = gateway ?? peer
  const question = typeof asked === 'number' ? 'ARP' : 'ND'
  const who = gateway === undefined ? 'the peer' : `${formatAddress(gateway)}, the router on the way to the peer,`
  if (isSilent)
    return `no answer to ${question} for ${formatAddress(asked)} on ${device}: ${who} is down, or not on this network`
  if (isSilent === undefined) return `an ICMP error says that the peer cannot be reached over ${device}`
  return `${who} is there on ${device}, but an ICMP error says that the peer cannot be reached`
}
