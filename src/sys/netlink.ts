/**
 * rtnetlink (RFC 3549): the few questions about links, routes and filters that the agent asks. A socket per question.
 */
import { addressBytes, parseAddress } from '../ip/address.ts'
import { HeraldError } from '../errors.ts'
import { closeFd } from './bpf.ts'
import { checked, errnoName, libc } from './libc.ts'
import type { Direction } from './bpf-attach.ts'

const socket = libc.func('int socket(int domain, int type, int protocol)')
const send = libc.func('intptr_t send(int fd, const void *data, size_t length, int flags)')
const recv = libc.func('intptr_t recv(int fd, void *data, size_t length, int flags)')
const ifNameToIndex = libc.func('unsigned int if_nametoindex(const char *name)')

const AF_INET = 2
const AF_INET6 = 10
const AF_NETLINK = 16
const SOCK_RAW = 3
const SOCK_CLOEXEC = 0o2000000
const NLM_F_REQUEST = 1
const NLM_F_DUMP = 0x300
const NLMSG_ERROR = 2
const NLMSG_DONE = 3
const RTM_GETLINK = 18
const RTM_GETROUTE = 26
const RTM_GETTFILTER = 46
const IFLA_IFNAME = 3
const RTA_DST = 1
const RTA_OIF = 4
const RTA_MULTIPATH = 9
const RTN_UNICAST = 1
const headerLength = 16
const routeLength = 12
const maxReply = 1 << 17

export interface Link {
  readonly index: number
  readonly name: string
  /** IFF_* of net/if.h. */
  readonly flags: number
}

/** The bodies of all answers. Throws ERR_SYSCALL with the errno that the kernel answers. */
function ask(what: string, type: number, flags: number, body: Uint8Array): Uint8Array[] {
  const message = new Uint8Array(headerLength + body.length)
  const header = new DataView(message.buffer)
  header.setUint32(0, message.length, true)
  header.setUint16(4, type, true)
  header.setUint16(6, NLM_F_REQUEST | flags, true)
  message.set(body, headerLength)
  const fd = checked('netlink socket', Number(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0)))
  try {
    checked(what, Number(send(fd, message, message.length, 0)))
    const bodies: Uint8Array[] = []
    const reply = new Uint8Array(maxReply)
    for (;;) {
      const length = checked(what, Number(recv(fd, reply, reply.length, 0)))
      if (readReplies(what, reply.subarray(0, length), bodies) || (flags & NLM_F_DUMP) === 0) return bodies
    }
  } finally {
    closeFd(fd)
  }
}

/** Copies the bodies out; true after the last answer of a dump. */
function readReplies(what: string, data: Uint8Array, bodies: Uint8Array[]): boolean {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  for (let at = 0; at + headerLength <= data.length; ) {
    const length = view.getUint32(at, true)
    const type = view.getUint16(at + 4, true)
    if (type === NLMSG_DONE) return true
    if (type === NLMSG_ERROR)
      throw new HeraldError('ERR_SYSCALL', `${what}: ${errnoName(-view.getInt32(at + headerLength, true))}`)
    if (length < headerLength) return true
    bodies.push(data.slice(at + headerLength, at + length))
    at += (length + 3) & ~3
  }
  return false
}

/** Attributes by type, from an offset on; of a type that repeats, the last. */
function attributes(body: Uint8Array, from: number): Map<number, Uint8Array> {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
  const found = new Map<number, Uint8Array>()
  for (let at = from; at + 4 <= body.length; ) {
    const length = view.getUint16(at, true)
    if (length < 4) break
    found.set(view.getUint16(at + 2, true) & 0x3fff, body.subarray(at + 4, at + length))
    at += (length + 3) & ~3
  }
  return found
}

const wordAt = (bytes: Uint8Array, offset: number): number =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(offset, true)

/** Every link of this network namespace. */
export function listLinks(): Link[] {
  return ask('list links', RTM_GETLINK, NLM_F_DUMP, new Uint8Array(16)).map((body) => {
    const name = new TextDecoder()
      .decode(attributes(body, 16).get(IFLA_IFNAME) ?? new Uint8Array())
      .replace(/\0.*$/, '')
    return { index: wordAt(body, 4), name, flags: wordAt(body, 8) }
  })
}

/** Throws ERR_SYSCALL when there is no such interface. */
export function ifnameToIndex(name: string): number {
  const index = Number(ifNameToIndex(name))
  return index > 0 ? index : checked(`interface ${name}`, -1)
}

function routeInterfaces(body: Uint8Array): number[] {
  const found = attributes(body, routeLength)
  const single = found.get(RTA_OIF)
  const hops = found.get(RTA_MULTIPATH)
  const interfaces = single === undefined ? [] : [wordAt(single, 0)]
  if (hops === undefined) return interfaces
  const view = new DataView(hops.buffer, hops.byteOffset, hops.byteLength)
  // struct rtnexthop
  for (let at = 0; at + 8 <= hops.length; ) {
    const length = view.getUint16(at, true)
    if (length < 8) break
    interfaces.push(view.getUint32(at + 4, true))
    at += (length + 3) & ~3
  }
  return interfaces
}

/** The interfaces over which a packet to this address would leave; none when there is no route. */
function interfacesTo(address: string): number[] {
  const parsed = parseAddress(address)
  if (parsed === undefined) return []
  const octets = addressBytes(parsed)
  const body = new Uint8Array(routeLength + 4 + octets.length)
  body[0] = octets.length === 4 ? AF_INET : AF_INET6
  body[1] = octets.length * 8
  const view = new DataView(body.buffer)
  view.setUint16(routeLength, 4 + octets.length, true)
  view.setUint16(routeLength + 2, RTA_DST, true)
  body.set(octets, routeLength + 4)
  try {
    return ask(`route to ${address}`, RTM_GETROUTE, 0, body).flatMap(routeInterfaces)
  } catch (error) {
    // No route to it (yet): it names no uplink.
    if (error instanceof HeraldError && /ENETUNREACH|EHOSTUNREACH|EACCES|EINVAL/.test(error.message)) return []
    throw error
  }
}

function defaultRouteInterfaces(family: number): number[] {
  const body = new Uint8Array(routeLength)
  body[0] = family
  return ask('list routes', RTM_GETROUTE, NLM_F_DUMP, body)
    .filter((route) => route[1] === 0 && route[7] === RTN_UNICAST)
    .flatMap(routeInterfaces)
}

/**
 * Names of the interfaces that route to one of the neighbors or hold a default route, or, with a pattern, all whose
 * name matches it; sorted, never the loopback.
 */
export function uplinkInterfaces(neighbors: readonly string[], pattern?: RegExp): string[] {
  const links = listLinks().filter(({ name }) => name !== 'lo')
  if (pattern !== undefined)
    return links
      .map(({ name }) => name)
      .filter((name) => pattern.test(name))
      .sort()
  const indexes = new Set([
    ...neighbors.flatMap(interfacesTo),
    ...defaultRouteInterfaces(AF_INET),
    ...defaultRouteInterfaces(AF_INET6),
  ])
  return links
    .filter(({ index }) => indexes.has(index))
    .map(({ name }) => name)
    .sort()
}

/** True when any filter hangs on the clsact qdisc of an interface. */
export function hasTcFilters(ifindex: number, direction: Direction): boolean {
  const body = new Uint8Array(20)
  const view = new DataView(body.buffer)
  view.setInt32(4, ifindex, true)
  view.setUint32(12, direction === 'ingress' ? 0xfffffff2 : 0xfffffff3, true)
  return ask('list filters', RTM_GETTFILTER, NLM_F_DUMP, body).length > 0
}
