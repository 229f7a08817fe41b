/** rtnetlink: links, the routes to neighbors, and what changes about them. */
import { readFileSync } from 'node:fs'
import { type Address, addressBytes, addressFromBytes, formatAddress, parseAddress } from '../ip/address.ts'
import { type Errno, HeraldError } from '../errors.ts'
import type { Direction } from './bpf-attach.ts'
import { interfaceIndex, lastErrno, syscallError } from './libc.ts'
import { askAll, askOne, attributes, type NetlinkMessage, subscribe } from './netlink.ts'
import { AF_INET, AF_INET6 } from './socket.ts'

// linux/rtnetlink.h, linux/if_link.h
const RTM_NEWLINK = 16
const RTM_GETLINK = 18
const RTM_GETROUTE = 26
const RTM_GETNEIGH = 30
const RTM_NEWQDISC = 36
const RTM_GETQDISC = 38
const RTM_NEWTFILTER = 44
const RTM_GETTFILTER = 46
const TCA_KIND = 1
const tcmsgBytes = 20
/** ARPHRD_ETHER, and ARPHRD_LOOPBACK, which has the same header. */
const ethernetTypes: readonly number[] = [1, 772]
const RTMGRP_LINK = 1
const RTMGRP_IPV4_IFADDR = 0x10
const RTMGRP_IPV4_ROUTE = 0x40
const RTMGRP_IPV6_IFADDR = 0x100
const RTMGRP_IPV6_ROUTE = 0x400
const IFLA_ADDRESS = 1
const IFLA_IFNAME = 3
const IFLA_MASTER = 10
const RTA_DST = 1
const RTA_OIF = 4
const RTA_GATEWAY = 5
const RTA_MULTIPATH = 9
const RTN_UNICAST = 1
const ifinfomsgBytes = 16
const IFF_LOOPBACK = 0x08
const IFF_NOARP = 0x80
const rtmsgBytes = 12
// linux/neighbour.h
const NDA_DST = 1
const ndmsgBytes = 12
const NUD_INCOMPLETE = 0x01
const NUD_FAILED = 0x20
/** What a lookup says of an address to which no route leads (now); EINVAL of one that is none to route to. */
const noRoute: ReadonlySet<Errno | undefined> = new Set(['ENETUNREACH', 'EHOSTUNREACH', 'EACCES', 'EINVAL'])

export interface Link {
  /** Of the kernel: an interface that is made anew has another one. */
  readonly index: number
  readonly name: string
  /** The index of the bridge, bond or VRF that has its packets. */
  readonly master?: number
}

/** How a neighbor is reached: by its address, or over the interface that its session is bound to. */
export interface Reach {
  readonly address: string
  readonly interface?: string
}

const wordAt = (bytes: Uint8Array, offset: number): number =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(offset, true)

/** Every link of this network namespace. */
export function listLinks(): Link[] {
  return linksIn(askAll('list links', RTM_GETLINK, new Uint8Array(ifinfomsgBytes)))
}

/** Of what the kernel listed: messages of another kind, or too short for one, are none. */
export function linksIn(messages: readonly NetlinkMessage[]): Link[] {
  return ofType(messages, RTM_NEWLINK, ifinfomsgBytes).map((body) => {
    const found = attributes(body, ifinfomsgBytes)
    const master = found.get(IFLA_MASTER)
    return {
      index: wordAt(body, 4),
      name: textOf(found.get(IFLA_IFNAME)),
      ...(master?.length === 4 && { master: wordAt(master, 0) }),
    }
  })
}

const ofType = (messages: readonly NetlinkMessage[], wanted: number, leastBytes: number): readonly Uint8Array[] =>
  messages.flatMap(({ type, body }) => (type === wanted && body.length >= leastBytes ? [body] : []))

/** Whether packets of an interface begin with an Ethernet header; of tun, WireGuard, GRE and PPP they do not. */
export function hasEthernetHeader(ifindex: number): boolean {
  const body = new Uint8Array(ifinfomsgBytes)
  body.set(word(ifindex), 4)
  const [link] = ofType(askOne(`interface ${ifindex}`, RTM_GETLINK, body), RTM_NEWLINK, ifinfomsgBytes)
  return link !== undefined && ethernetTypes.includes(wordAt(link, 0) >>> 16)
}

/** The Ethernet address of an interface; undefined when it has none. Throws ERR_SYSCALL (ENODEV when it is gone). */
export function stationAddress(ifindex: number): Uint8Array | undefined {
  const body = new Uint8Array(ifinfomsgBytes)
  body.set(word(ifindex), 4)
  const [link] = ofType(askOne(`interface ${ifindex}`, RTM_GETLINK, body), RTM_NEWLINK, ifinfomsgBytes)
  const address = link === undefined ? undefined : attributes(link, ifinfomsgBytes).get(IFLA_ADDRESS)
  return address?.length === 6 ? address : undefined
}

/** True when an interface has the older `ingress` qdisc, in which filters of both directions would be one chain. */
export function hasIngressQdisc(ifindex: number): boolean {
  const body = new Uint8Array(tcmsgBytes)
  body.set(word(ifindex), 4)
  return isIngressAmong(askAll('list qdiscs', RTM_GETQDISC, body), ifindex)
}

/** The kernel lists those of every interface, whatever it was asked. */
export function isIngressAmong(qdiscs: readonly NetlinkMessage[], ifindex: number): boolean {
  return ofType(qdiscs, RTM_NEWQDISC, tcmsgBytes).some(
    (body) => wordAt(body, 4) === ifindex && textOf(attributes(body, tcmsgBytes).get(TCA_KIND)) === 'ingress',
  )
}

const textOf = (octets: Uint8Array | undefined): string => new TextDecoder().decode(octets).replace(/\0.*$/s, '')

/** What an interface has of filters, in the order in which packets meet them; of a handle 0 is what holds others. */
export interface Filter {
  readonly priority: number
  readonly kind: string
  readonly handle: number
}

export function listFilters(ifindex: number, direction: Direction): readonly Filter[] {
  const body = new Uint8Array(tcmsgBytes)
  body.set(word(ifindex), 4)
  body.set(word(direction === 'ingress' ? 0xfffffff2 : 0xfffffff3), 12)
  return filtersIn(askAll('list filters', RTM_GETTFILTER, body))
}

export function filtersIn(messages: readonly NetlinkMessage[]): readonly Filter[] {
  return ofType(messages, RTM_NEWTFILTER, tcmsgBytes)
    .map((body) => ({
      priority: wordAt(body, 16) >>> 16,
      handle: wordAt(body, 8),
      kind: textOf(attributes(body, tcmsgBytes).get(TCA_KIND)),
    }))
    .sort((a, b) => a.priority - b.priority)
}

/** Throws ERR_SYSCALL when there is no such interface. */
export function ifnameToIndex(name: string): number {
  const index = interfaceIndex(name)
  if (index > 0) return index
  throw syscallError(`interface ${name}`, lastErrno())
}

/** Of a route with several next hops all of them; a broken one ends them. */
export function routeInterfaces({ body }: NetlinkMessage): number[] {
  const found = attributes(body, rtmsgBytes)
  const single = found.get(RTA_OIF)
  const hops = found.get(RTA_MULTIPATH)
  const interfaces = single === undefined || single.length < 4 ? [] : [wordAt(single, 0)]
  if (hops === undefined) return interfaces
  const view = new DataView(hops.buffer, hops.byteOffset, hops.byteLength)
  // struct rtnexthop
  for (let at = 0; at + 8 <= hops.length; ) {
    const length = view.getUint16(at, true)
    if (length < 8 || length > hops.length - at) break
    interfaces.push(view.getUint32(at + 4, true))
    at += (length + 3) & ~3
  }
  return interfaces
}

/** A question about one address: the fixed part, then its attributes. */
function question(head: Uint8Array, attributesOf: readonly (readonly [number, Uint8Array])[]): Uint8Array {
  const parts = attributesOf.map(([type, value]) => {
    const part = new Uint8Array((4 + value.length + 3) & ~3)
    new DataView(part.buffer).setUint16(0, 4 + value.length, true)
    new DataView(part.buffer).setUint16(2, type, true)
    part.set(value, 4)
    return part
  })
  return Buffer.concat([head, ...parts])
}

const word = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer)

/**
 * The route that a packet to this address would take, over an interface where one is given; none: no route, or no such
 * interface, of which 0 would be any.
 */
function routeTo(address: Address, device?: string): readonly NetlinkMessage[] {
  const octets = addressBytes(address)
  const head = new Uint8Array(rtmsgBytes)
  head[0] = octets.length === 4 ? AF_INET : AF_INET6
  head[1] = octets.length * 8
  const index = device === undefined ? undefined : interfaceIndex(device)
  if (index === 0) return []
  const over = index === undefined ? [] : [[RTA_OIF, word(index)] as const]
  try {
    return askOne(`route to ${formatAddress(address)}`, RTM_GETROUTE, question(head, [[RTA_DST, octets], ...over]))
  } catch (error) {
    if (error instanceof HeraldError && noRoute.has(error.errno)) return []
    throw error
  }
}

/** The interfaces over which a packet to this address would leave; none when there is no route. */
export function interfacesTo(address: string): number[] {
  const parsed = parseAddress(address)
  return parsed === undefined ? [] : routeTo(parsed).flatMap(routeInterfaces)
}

/** Where a packet to an address leaves. */
export interface NextHop {
  readonly device: string
  /** The router that it is handed to; undefined where the address is on the link itself. */
  readonly gateway?: Address
  /**
   * Nobody on the link answered the question for the address of the gateway, or of the destination (ARP, ND); undefined
   * on a link on which nobody is asked: a tunnel, the loopback.
   */
  readonly isSilent: boolean | undefined
}

/** undefined when no route leads there. Throws ERR_SYSCALL. */
export function nextHopTo(address: Address, device?: string): NextHop | undefined {
  const [route] = routeTo(address, device)
  const index = route === undefined ? undefined : routeInterfaces(route)[0]
  const listed = askAll('list links', RTM_GETLINK, new Uint8Array(ifinfomsgBytes))
  const link = listed.find(({ body }) => body.length >= ifinfomsgBytes && wordAt(body, 4) === index)
  if (route === undefined || index === undefined || link === undefined) return undefined
  const octets = attributes(route.body, rtmsgBytes).get(RTA_GATEWAY)
  const gateway = octets === undefined ? undefined : addressFromBytes(octets)
  const isAsked = (wordAt(link.body, 8) & (IFF_LOOPBACK | IFF_NOARP)) === 0
  const isSilent = isAsked ? !isAnswering(gateway ?? address, index) : undefined
  const [{ name: over } = { name: '' }] = linksIn([link])
  return { device: over, isSilent, ...(gateway === undefined ? {} : { gateway }) }
}

/** What the neighbor table says of an address: one that is not in it has not answered either. */
function isAnswering(address: Address, index: number): boolean {
  const octets = addressBytes(address)
  const head = new Uint8Array(ndmsgBytes)
  head[0] = octets.length === 4 ? AF_INET : AF_INET6
  head.set(word(index), 4)
  try {
    const [entry] = askOne('neighbor', RTM_GETNEIGH, question(head, [[NDA_DST, octets]]))
    // struct ndmsg: the state is at octet 8.
    const state = entry === undefined ? NUD_FAILED : (entry.body[8] ?? 0) | ((entry.body[9] ?? 0) << 8)
    return (state & (NUD_FAILED | NUD_INCOMPLETE)) === 0
  } catch (error) {
    if (error instanceof HeraldError && error.errno === 'ENOENT') return false
    throw error
  }
}

/** Those by which packets are sent, of every table. Throws ERR_SYSCALL. */
export function routes(family: number): readonly NetlinkMessage[] {
  const body = new Uint8Array(rtmsgBytes)
  body[0] = family
  return askAll('list routes', RTM_GETROUTE, body).filter((route) => route.body[7] === RTN_UNICAST)
}

const isDefaultRoute = ({ body }: NetlinkMessage): boolean => body[1] === 0
/** To more than one host: a route to one pod is none by which a client is reached. */
const isToMany = ({ body }: NetlinkMessage): boolean => (body[1] ?? 0) < 32

export interface LinksSeen {
  readonly links: readonly Link[]
  readonly uplinks: readonly Link[]
  /** Links that are no uplinks and lead to more than one host by IPv4: a reply may leave by them. */
  readonly others: readonly Link[]
  /**
   * Names of uplinks by which the kernel takes only what would be answered by them (rp_filter of 1, RFC 3704 2.2), and
   * which have no default route while others have.
   */
  readonly strict: readonly string[]
}

/** The greater one of the settings of `all` and of the interface counts. */
export function isStrict(name: string): boolean {
  return Math.max(...['all', name].map(rpFilterOf)) === 1
}

/** 0 where the kernel has no such setting, or none any more. */
function rpFilterOf(name: string): number {
  try {
    return Number(readFileSync(`/proc/sys/net/ipv4/conf/${name}/rp_filter`, 'latin1'))
  } catch {
    return 0
  }
}

/** Of the uplinks those that are so; nothing is to be asked where there is one. */
function strictAmong(uplinks: readonly Link[], ofDefault: ReadonlySet<number>): readonly string[] {
  if (!uplinks.some(({ index }) => ofDefault.has(index))) return []
  return uplinks.filter(({ index, name }) => !ofDefault.has(index) && isStrict(name)).map(({ name }) => name)
}

/**
 * Every link but the loopback, sorted by name, and the uplinks among them: those that route to one of the neighbors or
 * hold a default route, or, with a pattern, all whose name matches it. Throws ERR_SYSCALL.
 */
export function lookAtLinks(neighbors: readonly Reach[], pattern?: RegExp): LinksSeen {
  const links = listLinks()
    .filter(({ name }) => name !== 'lo')
    .sort((a, b) => (a.name < b.name ? -1 : 1))
  const ipv4 = routes(AF_INET)
  const leading = new Set(ipv4.filter(isToMany).flatMap(routeInterfaces))
  const ofDefault = new Set(ipv4.filter(isDefaultRoute).flatMap(routeInterfaces))
  const seen = (uplinks: readonly Link[]): LinksSeen => ({
    links,
    uplinks,
    others: links.filter((link) => leading.has(link.index) && !uplinks.includes(link)),
    strict: strictAmong(uplinks, ofDefault),
  })
  if (pattern !== undefined) return seen(links.filter(({ name }) => pattern.test(name)))
  const names = new Set(neighbors.flatMap((neighbor) => neighbor.interface ?? []))
  const indexes = new Set([
    ...neighbors.filter((neighbor) => neighbor.interface === undefined).flatMap(({ address }) => interfacesTo(address)),
    ...ofDefault,
    ...routes(AF_INET6).filter(isDefaultRoute).flatMap(routeInterfaces),
  ])
  return seen(links.filter(({ index, name }) => indexes.has(index) || names.has(name)))
}

/**
 * Calls `changed` when a link, an address or a route was added, changed or removed, and when such news may have been
 * lost. The answer ends it. Throws ERR_SYSCALL.
 */
export function watchLinks(changed: () => void): () => void {
  const groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE
  return subscribe(groups, { events: changed, lost: changed })
}
