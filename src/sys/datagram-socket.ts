/**
 * UDP sockets that see how many hops a datagram has come, and wait for several at once: what BFD needs and Node has not
 * (RFC 5881 5). Datagrams are read many at a time, into memory that is made once.
 */
import koffi from 'koffi'
import { type Address, addressFromBytes } from '../ip/address.ts'
import { filterDatagrams } from './datagram-filter.ts'
import { checked, closeCall, interfaceIndex, lastErrno, libc, syscallError } from './libc.ts'
import {
  AF_INET,
  AF_INET6,
  bindSocket,
  bindToDevice,
  getsocknameCall,
  IPPROTO_IPV6,
  octetsOfSockaddrIn6,
  openSocket,
  preparedSocket,
  sendCall,
  setIntOption,
  SOCK_NONBLOCK,
  SOL_SOCKET,
  socketAddress,
  trySetOption,
} from './socket.ts'

const connectCall = libc.func('int connect(int fd, const void *address, uint32_t length)')
const pollCall = libc.func('int poll(void *fds, unsigned long count, int timeoutMs)')
const recvmmsgCall = libc.func('int recvmmsg(int fd, void *messages, unsigned int count, int flags, void *timeout)')
const getsockoptCall = libc.func('int getsockopt(int fd, int level, int name, void *value, void *length)')

// asm-generic/socket.h, linux/in.h, linux/in6.h, linux/sock_diag.h, asm-generic/poll.h
const SOCK_DGRAM = 2
const SO_RCVBUF = 8
const SO_RCVBUFFORCE = 33
const SO_MEMINFO = 55
const SK_MEMINFO_DROPS = 8
const IPPROTO_IP = 0
const IP_TOS = 1
const IP_TTL = 2
const IP_PKTINFO = 8
const IP_RECVTTL = 12
const IPV6_UNICAST_HOPS = 16
const IPV6_V6ONLY = 26
const IPV6_RECVPKTINFO = 49
const IPV6_PKTINFO = 50
const IPV6_RECVHOPLIMIT = 51
const IPV6_HOPLIMIT = 52
const IPV6_TCLASS = 67
const POLLIN = 1
const MSG_DONTWAIT = 0x40
/** Class Selector 6, network control. */
const dscpCs6 = 0xc0
const maxTtl = 255
const receiveBufferBytes = 1_048_576

/** A descriptor that takes datagrams for a port, with TTL, interface and destination of each. */
export interface DatagramReceiver {
  readonly fd: number
  readonly isIpv4: boolean
}

/**
 * Throws ERR_SYSCALL, with EADDRINUSE while another process has the port. `onlyTtl`: datagrams with another TTL are
 * dropped by the kernel before they wake anybody.
 */
export function openReceiver(isIpv4: boolean, port: number, onlyTtl?: number): DatagramReceiver {
  const fd = openSocket('UDP socket', isIpv4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK)
  preparedSocket(fd, () => {
    if (onlyTtl !== undefined) filterDatagrams({ fd, isIpv4 }, { onlyTtl })
    widenBuffer(fd)
    if (isIpv4) {
      setIntOption(fd, IPPROTO_IP, IP_RECVTTL, 1)
      setIntOption(fd, IPPROTO_IP, IP_PKTINFO, 1)
    } else {
      setIntOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1)
      setIntOption(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1)
      setIntOption(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
    }
    const any = addressFromBytes(new Uint8Array(isIpv4 ? 4 : 16))
    bindSocket(`bind to UDP port ${port}`, fd, socketAddress(any, port))
  })
  return { fd, isIpv4 }
}

/** As much as asked for where we may go beyond the limit of the machine. */
function widenBuffer(fd: number): void {
  const octets = Buffer.alloc(4)
  octets.writeInt32LE(receiveBufferBytes)
  if (trySetOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, octets) < 0)
    setIntOption(fd, SOL_SOCKET, SO_RCVBUF, receiveBufferBytes)
}

/** Datagrams that the kernel has dropped on this socket, for its filter or for want of room. */
export function droppedByKernel({ fd }: DatagramReceiver): number {
  const value = Buffer.alloc(36)
  const length = Buffer.alloc(4)
  length.writeUInt32LE(value.length)
  if (Number(getsockoptCall(fd, SOL_SOCKET, SO_MEMINFO, value, length)) < 0) return 0
  return value.readUInt32LE(4 * SK_MEMINFO_DROPS)
}

export interface DatagramSender {
  readonly fd: number
  readonly source: Address
  /** Of the interface that it is bound to; 0: to none. */
  readonly deviceIndex: number
}

/**
 * A socket to one peer, from a port of its own, with a TTL of 255 (RFC 5881 4 and 5). `ports`: tried one after the
 * other until one is free. Throws ERR_SYSCALL.
 */
export function openSender(
  peer: Address,
  port: number,
  from: { readonly source?: Address; readonly device?: string; readonly ports: Iterable<number> },
): DatagramSender {
  const isIpv4 = typeof peer === 'number'
  const { device, source } = from
  const deviceIndex = device === undefined ? 0 : interfaceIndex(device)
  const fd = openSocket('UDP socket', isIpv4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK)
  let own = source
  preparedSocket(fd, () => {
    setIntOption(fd, isIpv4 ? IPPROTO_IP : IPPROTO_IPV6, isIpv4 ? IP_TTL : IPV6_UNICAST_HOPS, maxTtl)
    setIntOption(fd, isIpv4 ? IPPROTO_IP : IPPROTO_IPV6, isIpv4 ? IP_TOS : IPV6_TCLASS, dscpCs6)
    // Nothing is read from it.
    setIntOption(fd, SOL_SOCKET, SO_RCVBUF, 0)
    if (device !== undefined) bindToDevice(fd, device)
    const any = addressFromBytes(new Uint8Array(isIpv4 ? 4 : 16))
    bindToFree(fd, source ?? any, deviceIndex, from.ports)
    const to = socketAddress(peer, port, false, deviceIndex)
    checked('connect', Number(connectCall(fd, to, to.length)))
    own = localAddress(fd, isIpv4)
  })
  return { fd, source: own ?? peer, deviceIndex }
}

function bindToFree(fd: number, source: Address, scope: number, ports: Iterable<number>): void {
  let refusal: unknown = syscallError('bind to the source address', 'EADDRINUSE')
  for (const port of ports) {
    try {
      return bindSocket('bind to the source address', fd, socketAddress(source, port, false, scope))
    } catch (error) {
      refusal = error
      if (lastErrno() !== 'EADDRINUSE') break
    }
  }
  throw refusal
}

function localAddress(fd: number, isIpv4: boolean): Address {
  const value = Buffer.alloc(28)
  const length = Buffer.alloc(4)
  length.writeUInt32LE(value.length)
  checked('getsockname', Number(getsocknameCall(fd, value, length)))
  return addressFromBytes(isIpv4 ? value.subarray(4, 8) : octetsOfSockaddrIn6(value))
}

/**
 * That nobody listens there, or that the queue is full, is no failure of the socket. Throws ERR_SYSCALL.
 *
 * An ICMP error that came before is told in place of sending (udp(7)), and anybody can forge one: then it is sent
 * again, so that it neither costs a datagram nor counts as a failure.
 */
export function sendDatagram({ fd }: DatagramSender, octets: Uint8Array): void {
  for (let attempt = 1; ; attempt++) {
    const result = Number(sendCall(fd, octets, octets.length, 0))
    if (result >= 0) return
    if (attempt < maxAttempts) continue
    if (!passing.has(lastErrno())) checked('send', result)
    return
  }
}

const maxAttempts = 3
/** What a full queue or a filter makes of a send, and what ICMP errors alone do (icmp_err_convert of the kernel). */
const passing: ReadonlySet<string> = new Set([
  ...['EAGAIN', 'ENOBUFS', 'EPERM'],
  ...['ECONNREFUSED', 'EHOSTUNREACH', 'ENOPROTOOPT', 'EHOSTDOWN', 'ENONET', 'EOPNOTSUPP', 'EPROTO', 'EMSGSIZE'],
])

export function closeDatagramSocket({ fd }: { readonly fd: number }): void {
  closeCall(fd)
}

/** Waits until one of them can be read, at most so long; what could not be waited for is read all the same. */
export function waitReadable(fds: readonly number[], timeoutMs: number): void {
  const list = Buffer.alloc(8 * fds.length)
  for (const [i, fd] of fds.entries()) {
    list.writeInt32LE(fd, 8 * i)
    list.writeInt16LE(POLLIN, 8 * i + 4)
  }
  pollCall(list, fds.length, Math.max(0, Math.min(timeoutMs, 0x7fffffff)))
}

/** Its octets are those of the reader, until the next read. */
export interface ReceivedDatagram {
  readonly octets: Uint8Array
  readonly source: Address
  readonly destination: Address
  readonly deviceIndex: number
  readonly ttl: number
}

const batch = 32
const payloadBytes = 256
const nameBytes = 28
const controlBytes = 128
/** struct mmsghdr of a 64-bit machine: msghdr of 56 octets, the length of what came, and 4 octets of padding. */
const messageBytes = 64

/** Memory for a batch of datagrams, and what reads into it. */
export class DatagramReader {
  readonly #payloads = Buffer.alloc(batch * payloadBytes)
  readonly #names = Buffer.alloc(batch * nameBytes)
  readonly #controls = Buffer.alloc(batch * controlBytes)
  readonly #vectors = Buffer.alloc(batch * 16)
  readonly #messages = Buffer.alloc(batch * messageBytes)

  constructor() {
    const [payloads, names] = [koffi.address(this.#payloads), koffi.address(this.#names)]
    const [controls, vectors] = [koffi.address(this.#controls), koffi.address(this.#vectors)]
    for (let i = 0; i < batch; i++) {
      this.#vectors.writeBigUInt64LE(payloads + BigInt(i * payloadBytes), 16 * i)
      this.#vectors.writeBigUInt64LE(BigInt(payloadBytes), 16 * i + 8)
      const at = i * messageBytes
      this.#messages.writeBigUInt64LE(names + BigInt(i * nameBytes), at)
      this.#messages.writeBigUInt64LE(vectors + BigInt(i * 16), at + 16)
      this.#messages.writeBigUInt64LE(1n, at + 24)
      this.#messages.writeBigUInt64LE(controls + BigInt(i * controlBytes), at + 32)
    }
  }

  /** Hands over what has come, at most a batch; answers whether there may be more. */
  read({ fd, isIpv4 }: DatagramReceiver, take: (datagram: ReceivedDatagram) => void): boolean {
    for (let i = 0; i < batch; i++) {
      this.#messages.writeUInt32LE(nameBytes, i * messageBytes + 8)
      this.#messages.writeBigUInt64LE(BigInt(controlBytes), i * messageBytes + 40)
    }
    const count = Number(recvmmsgCall(fd, this.#messages, batch, MSG_DONTWAIT, null))
    for (let i = 0; i < count; i++) take(this.#datagram(i, isIpv4))
    return count === batch
  }

  #datagram(i: number, isIpv4: boolean): ReceivedDatagram {
    const name = this.#names.subarray(i * nameBytes, (i + 1) * nameBytes)
    const length = Math.min(this.#messages.readUInt32LE(i * messageBytes + 56), payloadBytes)
    const octets = this.#payloads.subarray(i * payloadBytes, i * payloadBytes + length)
    const source = addressFromBytes(isIpv4 ? name.subarray(4, 8) : octetsOfSockaddrIn6(name))
    return { octets, source, ...this.#ancillary(i, isIpv4) }
  }

  /** struct cmsghdr: length u64, level s32, type s32, and the data, each one aligned to 8. */
  #ancillary(i: number, isIpv4: boolean): Omit<ReceivedDatagram, 'octets' | 'source'> {
    const control = this.#controls.subarray(i * controlBytes, (i + 1) * controlBytes)
    const end = Math.min(Number(this.#messages.readBigUInt64LE(i * messageBytes + 40)), controlBytes)
    let [ttl, deviceIndex] = [0, 0]
    let destination = control.subarray(0, 0)
    for (let at = 0; at + 16 <= end; ) {
      const length = Number(control.readBigUInt64LE(at))
      const [level, type] = [control.readInt32LE(at + 8), control.readInt32LE(at + 12)]
      const isOf = (name4: number, name6: number): boolean =>
        isIpv4 ? level === IPPROTO_IP && type === name4 : level === IPPROTO_IPV6 && type === name6
      if (isOf(IP_TTL, IPV6_HOPLIMIT)) ttl = control.readInt32LE(at + 16)
      else if (isOf(IP_PKTINFO, IPV6_PKTINFO)) {
        deviceIndex = control.readUInt32LE(at + 16 + (isIpv4 ? 0 : 16))
        destination = isIpv4 ? control.subarray(at + 24, at + 28) : control.subarray(at + 16, at + 32)
      }
      if (length < 16) break
      at += (length + 7) & ~7
    }
    return {
      ttl,
      deviceIndex,
      destination: addressFromBytes(destination.length === 0 ? new Uint8Array(4) : destination),
    }
  }
}
