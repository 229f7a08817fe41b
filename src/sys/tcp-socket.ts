/**
 * TCP sockets with the options that BGP needs and Node does not set: TCP-MD5, GTSM, TTL, source address, user timeout.
 */
import net from 'node:net'
import { type Address, formatAddress, isLinkLocal } from '../ip/address.ts'
import { checked, interfaceIndex, lastErrno, syscallError } from './libc.ts'
import {
  AF_INET,
  AF_INET6,
  beginConnect,
  bindSocket,
  bindToDevice,
  IPPROTO_IPV6,
  openSocket,
  preparedSocket,
  setIntOption,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
  socketAddress,
  trySetOption,
} from './socket.ts'

// linux/in.h, linux/in6.h, linux/tcp.h, asm-generic/socket.h
const SO_REUSEADDR = 2
const IPPROTO_IP = 0
const IP_TOS = 1
const IP_TTL = 2
const IP_MINTTL = 21
const IPV6_UNICAST_HOPS = 16
const IPV6_V6ONLY = 26
const IPV6_TCLASS = 67
const IPV6_MINHOPCOUNT = 73
const IPPROTO_TCP = 6
const TCP_MD5SIG = 14
const TCP_USER_TIMEOUT = 18
/** Class Selector 6, network control (RFC 4271 appendix E, RFC 4594 3.1). */
const dscpCs6 = 0xc0
const maxKeyBytes = 80

export interface BgpSocketOptions {
  readonly peer: Address
  /** TTL of packets sent. */
  readonly ttl: number
  /** GTSM (RFC 5082 3): packets with a smaller TTL are dropped by the kernel. */
  readonly minTtl?: number
  /** TCP-MD5 key (RFC 2385), at most 80 octets. */
  readonly password?: string
  readonly source?: Address
  /** The interface it is bound to; also the zone of link-local addresses. */
  readonly device?: string
  /** TCP_USER_TIMEOUT (RFC 5482), also of the SYN. */
  readonly userTimeoutMs?: number
}

/** An unconnected socket with all options set; connect it. Throws ERR_SYSCALL. */
export function createDialSocket(options: BgpSocketOptions): net.Socket {
  const isIpv4 = typeof options.peer === 'number'
  const fd = openSocket('socket', isIpv4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK)
  preparedSocket(fd, () => {
    setTtl(fd, isIpv4, options)
    if (options.password !== undefined) setMd5Key(fd, options.peer, options.password, false)
    if (options.userTimeoutMs !== undefined) setIntOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, options.userTimeoutMs)
    if (options.device !== undefined) bindToDevice(fd, options.device)
    if (options.source === undefined) return
    // A link-local address means nothing without its interface.
    const scope = options.device === undefined ? 0 : interfaceIndex(options.device)
    bindSocket('bind to the source address', fd, socketAddress(options.source, 0, false, scope))
  })
  return new net.Socket({ fd })
}

/**
 * Connects a socket of {@link createDialSocket}, which then emits `connect`, or `error`. Node itself would take
 * `fe80::1%br_lan` for the name of a host, and give an address without a zone that of the first interface.
 */
export function connectSocket(socket: net.Socket, { peer, device }: BgpSocketOptions, port: number): void {
  if (typeof peer === 'number' || !isLinkLocal(peer)) {
    socket.connect({ port, host: formatAddress(peer) })
    return
  }
  const fd = fdOf(socket)
  if (fd === undefined) return
  const errno = beginConnect(fd, socketAddress(peer, port, false, device === undefined ? 0 : interfaceIndex(device)))
  if (errno !== undefined) socket.destroy(syscallError('connect', errno))
  // Nothing is written before the connection is there: that no octets were tells of it.
  else
    socket.write(new Uint8Array(0), (error) => {
      if (error === undefined || error === null) socket.emit('connect')
    })
}

/** Sets TTL and GTSM on an accepted connection. */
export function prepareAccepted(socket: net.Socket, options: BgpSocketOptions): void {
  const fd = fdOf(socket)
  // Options of a dual-stack listener's IPv4 connection live at the IPv4 level.
  if (fd !== undefined) setTtl(fd, typeof options.peer === 'number', options)
}

/** A bound listening descriptor: `::` serves both families. The caller listens on it. */
export function createListenFd(host: Address, port: number): number {
  const isIpv4 = typeof host === 'number'
  const fd = openSocket('socket', isIpv4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK)
  return preparedSocket(fd, () => {
    setIntOption(fd, SOL_SOCKET, SO_REUSEADDR, 1)
    if (!isIpv4) setIntOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0)
    // A GTSM peer drops a SYN-ACK with a lower TTL; for the others a high TTL does no harm.
    setIntOption(fd, IPPROTO_IP, IP_TTL, 255)
    if (!isIpv4) setIntOption(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 255)
    bindSocket(`bind to port ${port}`, fd, socketAddress(host, port))
  })
}

/** Sets (or, with an empty password, removes) a peer's key on a listening descriptor. */
export function setListenKey(fd: number, listenHost: Address, peer: Address, password: string): void {
  // An IPv6 socket knows IPv4 peers by their mapped address only.
  setMd5Key(fd, peer, password, typeof listenHost !== 'number' && typeof peer === 'number')
}

function setTtl(fd: number, isIpv4: boolean, { ttl, minTtl }: BgpSocketOptions): void {
  if (isIpv4) setIntOption(fd, IPPROTO_IP, IP_TTL, ttl)
  else setIntOption(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, ttl)
  if (minTtl !== undefined)
    setIntOption(fd, isIpv4 ? IPPROTO_IP : IPPROTO_IPV6, isIpv4 ? IP_MINTTL : IPV6_MINHOPCOUNT, minTtl)
  if (isIpv4) setIntOption(fd, IPPROTO_IP, IP_TOS, dscpCs6)
  else setIntOption(fd, IPPROTO_IPV6, IPV6_TCLASS, dscpCs6)
}

/** Unacknowledged data fails the connection after this long (RFC 5482). */
export function setUserTimeout(socket: net.Socket, timeoutMs: number): void {
  const fd = fdOf(socket)
  if (fd !== undefined) setIntOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, timeoutMs)
}

/** struct tcp_md5sig: sockaddr_storage[128] flags:u8 prefixlen:u8 keylen:u16 ifindex:s32 key[80] */
function setMd5Key(fd: number, peer: Address, password: string, isMapped: boolean): void {
  // A longer key is the kernel's to refuse: one that is cut would never match the peer's.
  const key = Buffer.from(password, 'latin1')
  const value = Buffer.alloc(128 + 8 + maxKeyBytes)
  socketAddress(peer, 0, isMapped).copy(value)
  value.writeUInt16LE(key.length, 130)
  key.copy(value, 136)
  const result = trySetOption(fd, IPPROTO_TCP, TCP_MD5SIG, value)
  // Removing a key that is not there is no error of ours.
  if (result < 0 && key.length === 0 && lastErrno() === 'ENOENT') return
  checked('setsockopt(TCP_MD5SIG)', result)
}

/**
 * Octets of the write under way that the kernel has not taken; Node's own count falls only when the whole write is
 * done.
 */
export function unwrittenBytes(socket: net.Socket): number {
  return handleOf(socket)?.writeQueueSize ?? 0
}

/** Where Node keeps the descriptor and libuv's counters of a connected socket. */
function handleOf(socket: net.Socket): { readonly fd?: number; readonly writeQueueSize?: number } | null | undefined {
  return (
    socket as net.Socket & { readonly _handle?: { readonly fd?: number; readonly writeQueueSize?: number } | null }
  )._handle
}

function fdOf(socket: net.Socket): number | undefined {
  const fd = handleOf(socket)?.fd
  return fd === undefined || fd < 0 ? undefined : fd
}
