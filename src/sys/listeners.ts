/** Which ports processes of this network namespace listen on: sock_diag(7). */
import { addressFromBytes, formatAddress } from '../ip/address.ts'
import { askAll } from './netlink.ts'
import { diagRequest, NETLINK_SOCK_DIAG, protocolNumbers, SOCK_DIAG_BY_FAMILY } from './sock-diag.ts'
import { AF_INET, AF_INET6 } from './socket.ts'

// net/tcp_states.h: TCP_LISTEN; of UDP a socket that is bound and not connected is in TCP_CLOSE.
const TCP_LISTEN = 10
const TCP_CLOSE = 7
/** struct inet_diag_msg: family, state, timer, retrans, then the id: ports in network order, and the own address. */
const [portAt, addressAt, leastBytes] = [4, 8, 72]

const kinds = [
  { protocol: 'TCP', state: TCP_LISTEN },
  { protocol: 'UDP', state: TCP_CLOSE },
] as const

/** As `22/TCP`; of those that only the node itself reaches (127.0.0.1, ::1) none. Throws ERR_SYSCALL. */
export function listListeners(): ReadonlySet<string> {
  const found = new Set<string>()
  for (const { protocol, state } of kinds)
    for (const family of [AF_INET, AF_INET6]) {
      const request = diagRequest(family, protocolNumbers[protocol], 1 << state)
      for (const { body } of askAll('list sockets', SOCK_DIAG_BY_FAMILY, request, NETLINK_SOCK_DIAG)) {
        if (body.length < leastBytes) continue
        const port = new DataView(body.buffer, body.byteOffset).getUint16(portAt)
        const octets = body.subarray(addressAt, addressAt + (family === AF_INET ? 4 : 16))
        if (port !== 0 && !isLoopback(formatAddress(addressFromBytes(octets)))) found.add(`${port}/${protocol}`)
      }
    }
  return found
}

function isLoopback(address: string): boolean {
  return address === '::1' || /^(::ffff:)?127\./.test(address)
}
