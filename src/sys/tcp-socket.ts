/**
 * TCP sockets with the options that BGP needs and Node does not set: TCP-MD5, GTSM, TTL, source address, user timeout.
 */
import net from 'node:net'
import koffi from 'koffi'
import { type Address, addressBytes } from '../ip/address.ts'
import { checked, libc } from './libc.ts'

const socketCall = libc.func('int socket(int domain, int type, int protocol)')
const setsockoptCall = libc.func('int setsockopt(int fd, int level, int name, void *value, uint32_t length)')
const bindCall = libc.func('int bind(int fd, void *address, uint32_t length)')
const closeCall = libc.func('int close(int fd)')
const ifNameToIndex = libc.func('unsigned int if_nametoindex(const char *name)')

// linux/in.h, linux/in6.h, linux/tcp.h, asm-generic/socket.h
const afInet = 2
const afInet6 = 10
const sockStream = 1
const sockNonBlock = 0o4000
const sockCloseOnExec = 0o2000000
const solSocket = 1
const soReuseAddr = 2
const soBindToDevice = 25
const ipProtoIp = 0
const ipTos = 1
const ipTtl = 2
const ipMinTtl = 21
const ipProtoIpv6 = 41
const ipv6UnicastHops = 16
const ipv6V6Only = 26
const ipv6TrafficClass = 67
const ipv6MinHopCount = 73
const ipProtoTcp = 6
const tcpMd5Sig = 14
const tcpUserTimeout = 18
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
  const fd = checked('socket', socketCall(isIpv4 ? afInet : afInet6, sockStream | sockNonBlock | sockCloseOnExec, 0))
  try {
    setTtl(fd, isIpv4, options)
    if (options.password !== undefined) setMd5Key(fd, options.peer, options.password, false)
    if (options.userTimeoutMs !== undefined) setInt(fd, ipProtoTcp, tcpUserTimeout, options.userTimeoutMs)
    if (options.device !== undefined) bindToDevice(fd, options.device)
    if (options.source !== undefined) {
      const address = socketAddress(options.source, 0, false)
      // sin6_scope_id: a link-local address means nothing without it.
      if (options.device !== undefined && address.length === 28)
        address.writeUInt32LE(Number(ifNameToIndex(options.device)), 24)
      checked('bind to the source address', bindCall(fd, address, address.length))
    }
  } catch (error) {
    closeCall(fd)
    throw error
  }
  return new net.Socket({ fd })
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
  const fd = checked('socket', socketCall(isIpv4 ? afInet : afInet6, sockStream | sockNonBlock | sockCloseOnExec, 0))
  try {
    setInt(fd, solSocket, soReuseAddr, 1)
    if (!isIpv4) setInt(fd, ipProtoIpv6, ipv6V6Only, 0)
    // A GTSM peer drops a SYN-ACK with a lower TTL; for the others a high TTL does no harm.
    setInt(fd, ipProtoIp, ipTtl, 255)
    if (!isIpv4) setInt(fd, ipProtoIpv6, ipv6UnicastHops, 255)
    const address = socketAddress(host, port, false)
    checked(`bind to port ${port}`, bindCall(fd, address, address.length))
  } catch (error) {
    closeCall(fd)
    throw error
  }
  return fd
}

/** Sets (or, with an empty password, removes) a peer's key on a listening descriptor. */
export function setListenKey(fd: number, listenHost: Address, peer: Address, password: string): void {
  // An IPv6 socket knows IPv4 peers by their mapped address only.
  setMd5Key(fd, peer, password, typeof listenHost !== 'number' && typeof peer === 'number')
}

function bindToDevice(fd: number, device: string): void {
  const name = Buffer.from(`${device}\0`)
  checked(`bind to interface ${device}`, setsockoptCall(fd, solSocket, soBindToDevice, name, name.length))
}

function setTtl(fd: number, isIpv4: boolean, { ttl, minTtl }: BgpSocketOptions): void {
  if (isIpv4) setInt(fd, ipProtoIp, ipTtl, ttl)
  else setInt(fd, ipProtoIpv6, ipv6UnicastHops, ttl)
  if (minTtl !== undefined) setInt(fd, isIpv4 ? ipProtoIp : ipProtoIpv6, isIpv4 ? ipMinTtl : ipv6MinHopCount, minTtl)
  if (isIpv4) setInt(fd, ipProtoIp, ipTos, dscpCs6)
  else setInt(fd, ipProtoIpv6, ipv6TrafficClass, dscpCs6)
}

/** Unacknowledged data fails the connection after this long (RFC 5482). */
export function setUserTimeout(socket: net.Socket, timeoutMs: number): void {
  const fd = fdOf(socket)
  if (fd !== undefined) setInt(fd, ipProtoTcp, tcpUserTimeout, timeoutMs)
}

function setInt(fd: number, level: number, name: number, value: number): void {
  const buffer = Buffer.alloc(4)
  buffer.writeInt32LE(value)
  checked(`setsockopt(${level}, ${name})`, setsockoptCall(fd, level, name, buffer, buffer.length))
}

/** struct tcp_md5sig: sockaddr_storage[128] flags:u8 prefixlen:u8 keylen:u16 ifindex:s32 key[80] */
function setMd5Key(fd: number, peer: Address, password: string, isMapped: boolean): void {
  // A longer key is the kernel's to refuse: one that is cut would never match the peer's.
  const key = Buffer.from(password, 'utf8')
  const value = Buffer.alloc(128 + 8 + maxKeyBytes)
  socketAddress(peer, 0, isMapped).copy(value)
  value.writeUInt16LE(key.length, 130)
  key.copy(value, 136)
  const result = Number(setsockoptCall(fd, ipProtoTcp, tcpMd5Sig, value, value.length))
  // Removing a key that is not there is no error of ours.
  if (result < 0 && key.length === 0 && koffi.errno() === koffi.os.errno['ENOENT']) return
  checked('setsockopt(TCP_MD5SIG)', result)
}

/** struct sockaddr_in or sockaddr_in6. */
function socketAddress(address: Address, port: number, isMapped: boolean): Buffer {
  const octets = addressBytes(address)
  if (octets.length === 4 && !isMapped) {
    const value = Buffer.alloc(16)
    value.writeUInt16LE(afInet, 0)
    value.writeUInt16BE(port, 2)
    value.set(octets, 4)
    return value
  }
  const value = Buffer.alloc(28)
  value.writeUInt16LE(afInet6, 0)
  value.writeUInt16BE(port, 2)
  if (isMapped) value.set([0xff, 0xff], 18)
  value.set(octets, isMapped ? 20 : 8)
  return value
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
