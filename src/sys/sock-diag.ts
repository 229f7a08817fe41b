/** Sockets as the kernel lists them, and ends them: sock_diag(7). */
import { type Address, addressFromBytes } from '../ip/address.ts'
import { HeraldError } from '../errors.ts'
import { askSome, attributes, order } from './netlink.ts'
import { AF_INET, AF_INET6 } from './socket.ts'

// linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h
export const NETLINK_SOCK_DIAG = 4
export const SOCK_DIAG_BY_FAMILY = 20
const SOCK_DESTROY = 21
const INET_DIAG_REQ_SK_BPF_STORAGES = 2
const SK_DIAG_BPF_STORAGE_REQ_MAP_FD = 1
const INET_DIAG_SK_BPF_STORAGES = 20
const SK_DIAG_BPF_STORAGE = 1
const SK_DIAG_BPF_STORAGE_MAP_VALUE = 3
// net/tcp_states.h: of those that have a peer, and something to say or to hear.
const states = { established: 1, synSent: 2, finWait1: 4, closeWait: 8 } as const
const withPeer = Object.values(states).reduce((all, state) => all | (1 << state), 0)

export const protocolNumbers = { TCP: 6, UDP: 17 } as const
/** struct inet_diag_req_v2: family, protocol, ext, pad, states:u32, then struct inet_diag_sockid. */
const [requestBytes, requestIdAt] = [56, 8]
/** struct inet_diag_msg: family, state, timer, retrans, then the id. */
const [messageBytes, messageIdAt] = [72, 4]
/** struct inet_diag_sockid: own port:u16be, that of the peer, own address (16), the peer's (16), interface, cookie. */
const [idBytes, peerPortAt, peerAt] = [48, 2, 20]

export function diagRequest(family: number, protocol: number, stateMask: number): Uint8Array {
  const request = new Uint8Array(requestBytes)
  request.set([family, protocol])
  new DataView(request.buffer).setUint32(4, stateMask, true)
  return request
}

/** One that no other socket is ever taken for: its cookie is in the id. */
export interface NamedSocket {
  readonly protocol: keyof typeof protocolNumbers
  readonly family: number
  /** struct inet_diag_sockid. */
  readonly id: Uint8Array
}

/** Whom it is connected to, as a text that is equal where they are. */
export function peerText({ family, id }: NamedSocket): string {
  const octets = Buffer.from(id.buffer, id.byteOffset, idBytes)
  const port = octets.toString('latin1', peerPortAt, peerPortAt + 2)
  return `${family} ${port}${octets.toString('latin1', peerAt, peerAt + 16)}`
}

/** Whom it is connected to. */
export function peerOf({ family, id }: NamedSocket): { readonly address: Address; readonly port: number } {
  const octets = id.subarray(peerAt, peerAt + (family === AF_INET ? 4 : 16))
  return { address: addressFromBytes(octets), port: new DataView(id.buffer, id.byteOffset).getUint16(peerPortAt) }
}

/**
 * TCP sockets of this network namespace that have a peer and something in a map of BPF_MAP_TYPE_SK_STORAGE. Of UDP
 * sockets the kernel does not say what they have there (inet_sk_diag_fill).
 */
export function tcpSocketsWith(mapFd: number): readonly (readonly [socket: NamedSocket, kept: Uint8Array])[] {
  return [AF_INET, AF_INET6].flatMap((family) => {
    const request = diagRequest(family, protocolNumbers.TCP, withPeer)
    const wanted = attribute(
      INET_DIAG_REQ_SK_BPF_STORAGES,
      attribute(SK_DIAG_BPF_STORAGE_REQ_MAP_FD, new Uint8Array(Uint32Array.of(mapFd).buffer)),
    )
    const has = (_: DataView, from: number, to: number): boolean => to - from > messageBytes
    const question = Buffer.concat([request, wanted])
    const found = askSome('list sockets', SOCK_DIAG_BY_FAMILY, question, NETLINK_SOCK_DIAG, has)
    return found.flatMap(({ body }) => {
      const kept = keptIn(body)
      const id = body.subarray(messageIdAt, messageIdAt + idBytes)
      return kept === undefined ? [] : [[{ protocol: 'TCP', family, id }, kept] as const]
    })
  })
}

function attribute(type: number, value: Uint8Array): Uint8Array {
  const header = new DataView(new ArrayBuffer(4))
  header.setUint16(0, 4 + value.length, true)
  header.setUint16(2, type, true)
  return Buffer.concat([new Uint8Array(header.buffer), value])
}

function keptIn(body: Uint8Array): Uint8Array | undefined {
  const storages = attributes(body, messageBytes).get(INET_DIAG_SK_BPF_STORAGES)
  const storage = storages && attributes(storages, 0).get(SK_DIAG_BPF_STORAGE)
  return storage && attributes(storage, 0).get(SK_DIAG_BPF_STORAGE_MAP_VALUE)
}

/**
 * Its owner is told ECONNABORTED, whatever it waits for. False: it was gone already. Throws ERR_SYSCALL, with
 * EOPNOTSUPP where the kernel ends none (CONFIG_INET_DIAG_DESTROY, CONFIG_INET_UDP_DIAG).
 */
export function endSocket({ family, protocol, id }: NamedSocket): boolean {
  const request = diagRequest(family, protocolNumbers[protocol], withPeer)
  request.set(id, requestIdAt)
  try {
    order('end a socket', SOCK_DESTROY, request, NETLINK_SOCK_DIAG)
    return true
  } catch (error) {
    if (!isMissing(error)) throw error
    refuseUnlistable(family, protocol)
    return false
  }
}

const isMissing = (error: unknown): boolean => error instanceof HeraldError && error.errno === 'ENOENT'

/** Whose module has answered: asking it walks all sockets there are, and thousands may have gone at once. */
const listable = new Set<string>()

/** A kernel that has no such module says of each socket that it is not there. */
function refuseUnlistable(family: number, protocol: NamedSocket['protocol']): void {
  const kind = `${family} ${protocol}`
  if (listable.has(kind)) return
  const none = diagRequest(family, protocolNumbers[protocol], 0)
  try {
    askSome('list sockets', SOCK_DIAG_BY_FAMILY, none, NETLINK_SOCK_DIAG, () => false)
    listable.add(kind)
  } catch (error) {
    if (!isMissing(error)) throw error
    const module = `${protocol.toLowerCase()}_diag`
    throw new HeraldError('ERR_SYSCALL', `end a socket: the kernel has no ${module}`, { errno: 'EOPNOTSUPP' })
  }
}
