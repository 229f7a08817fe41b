/** What the sockets of this room share: their calls, constants and address structures (linux/socket.h, linux/in.h). */
import type { Errno } from '../errors.ts'
import { type Address, addressBytes } from '../ip/address.ts'
import { checked, closeCall, lastErrno, libc } from './libc.ts'

const socketCall = libc.func('int socket(int domain, int type, int protocol)')
const bindCall = libc.func('int bind(int fd, const void *address, uint32_t length)')
const connectCall = libc.func('int connect(int fd, const void *address, uint32_t length)')
const setsockoptCall = libc.func('int setsockopt(int fd, int level, int name, const void *value, uint32_t length)')
export const getsocknameCall = libc.func('int getsockname(int fd, void *address, void *length)')
export const sendCall = libc.func('intptr_t send(int fd, const void *data, size_t length, int flags)')
export const sendtoCall = libc.func(
  'intptr_t sendto(int fd, const void *data, size_t length, int flags, const void *address, uint32_t addressLength)',
)
export const recvfromCall = libc.func(
  'intptr_t recvfrom(int fd, void *data, size_t length, int flags, void *address, void *addressLength)',
)

export const AF_INET = 2
export const AF_INET6 = 10
export const AF_NETLINK = 16
export const SOCK_STREAM = 1
export const SOCK_DGRAM = 2
export const SOCK_RAW = 3
export const SOCK_NONBLOCK = 0o4000
const SOCK_CLOEXEC = 0o2000000
export const SOL_SOCKET = 1
const SO_BINDTODEVICE = 25
export const IPPROTO_IPV6 = 41

/** Throws ERR_SYSCALL. The descriptor is the caller's, and no child's. */
export function openSocket(what: string, domain: number, type: number, protocol = 0): number {
  return checked(what, Number(socketCall(domain, type | SOCK_CLOEXEC, protocol)))
}

/** Runs `prepare` on a descriptor, which is closed when that throws. */
export function preparedSocket(fd: number, prepare: (fd: number) => void): number {
  try {
    prepare(fd)
    return fd
  } catch (error) {
    closeCall(fd)
    throw error
  }
}

export function bindSocket(what: string, fd: number, address: Uint8Array): void {
  checked(what, Number(bindCall(fd, address, address.length)))
}

/** Begins to connect a descriptor that does not block; the errno where that fails at once. */
export function beginConnect(fd: number, address: Uint8Array): Errno | undefined {
  const errno = Number(connectCall(fd, address, address.length)) < 0 ? lastErrno() : undefined
  return errno === 'EINPROGRESS' ? undefined : errno
}

/** Negative when the kernel refuses; `what` is checked by {@link setOption}. */
export function trySetOption(fd: number, level: number, name: number, value: Uint8Array): number {
  return Number(setsockoptCall(fd, level, name, value, value.length))
}

export function setOption(what: string, fd: number, level: number, name: number, value: Uint8Array): void {
  checked(what, trySetOption(fd, level, name, value))
}

export function setIntOption(fd: number, level: number, name: number, value: number): void {
  const octets = Buffer.alloc(4)
  octets.writeInt32LE(value)
  setOption(`setsockopt(${level}, ${name})`, fd, level, name, octets)
}

export function bindToDevice(fd: number, device: string): void {
  setOption(`bind to interface ${device}`, fd, SOL_SOCKET, SO_BINDTODEVICE, Buffer.from(`${device}\0`))
}

const sockaddrIn = 16
const sockaddrIn6 = 28

/**
 * struct sockaddr_in, or sockaddr_in6 for an IPv6 address and for an IPv4 one that is `isMapped`; `scope` is the
 * interface of a link-local address.
 */
export function socketAddress(address: Address, port: number, isMapped = false, scope = 0): Buffer {
  const octets = addressBytes(address)
  const isIpv4 = octets.length === 4
  const value = Buffer.alloc(isIpv4 && !isMapped ? sockaddrIn : sockaddrIn6)
  value.writeUInt16LE(isIpv4 && !isMapped ? AF_INET : AF_INET6, 0)
  value.writeUInt16BE(port, 2)
  if (isIpv4 && !isMapped) {
    value.set(octets, 4)
    return value
  }
  if (isIpv4) value.set([0xff, 0xff], 18)
  value.set(octets, isIpv4 ? 20 : 8)
  value.writeUInt32LE(scope, 24)
  return value
}

/** The address of a struct sockaddr_in6, as 16 octets. */
export function octetsOfSockaddrIn6(value: Uint8Array): Uint8Array {
  return value.subarray(8, 24)
}
