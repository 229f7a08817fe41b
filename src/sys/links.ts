/** rtnetlink: links, the routes to neighbors, and what changes about them. */
import { addressBytes, parseAddress } from '../ip/address.ts'
import { type Errno, HeraldError } from '../errors.ts'
import type { Direction } from './bpf-attach.ts'
import { interfaceIndex, lastErrno, syscallError } from './libc.ts'
import { askAll, askOne, attributes, type NetlinkMessage, subscribe } from './netlink.ts'
import { AF_INET, AF_INET6 } from './socket.ts'

// linux/rtnetlink.h, linux/if_link.h
const RTM_NEWLINK = 16
const RTM_GETLINK = 18
const RTM_GETROUTE = 26
const RTM_GETTFILTER = 46
const RTMGRP_LINK = 1
const RTMGRP_IPV4_IFADDR = 0x10
const RTMGRP_IPV4_ROUTE = 0x40
const RTMGRP_IPV6_IFADDR = 0x100
const RTMGRP_IPV6_ROUTE = 0x400
const IFLA_IFNAME = 3
const RTA_DST = 1
const RTA_OIF = 4
const RTA_MULTIPATH = 9
const RTN_UNICAST = 1
const ifinfomsgBytes = 16
const rtmsgBytes = 12
/** What a lookup says of an address to which no route leads (now); EINVAL of one that is none to route to. */
const noRoute: ReadonlySet<Errno | undefined> = new Set(['ENETUNREACH', 'EHOSTUNREACH', 'EACCES', 'EINVAL'])

export interface Link {
  readonly index: number
  readonly name: string
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
  return askAll('list links', RTM_GETLINK, new Uint8Array(ifinfomsgBytes))
    .filter(({ type }) => type === RTM_NEWLINK)
    .map(({ body }) => {
      const name = new TextDecoder()
        .decode(attributes(body, ifinfomsgBytes).get(IFLA_IFNAME) ?? new Uint8Array())
        .replace(/\0.*$/, '')
      return { index: wordAt(body, 4), name }
    })
}

/** Throws ERR_SYSCALL when there is no such interface. */
export function ifnameToIndex(name: string): number {
  const index = interfaceIndex(name)
  if (index > 0) return index
  throw syscallError(`interface ${name}`, lastErrno())
}

function routeInterfaces({ body }: NetlinkMessage): number[] {
  const found = attributes(body, rtmsgBytes)
  const single = found.get(RTA_OIF)
  const hops = found.get(RTA_MULTIPATH)
  const interfaces = single === undefined || single.length < 4 ? [] : [wordAt(single, 0)]
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
  const body = new Uint8Array(rtmsgBytes + 4 + octets.length)
  body[0] = octets.length === 4 ? AF_INET : AF_INET6
  body[1] = octets.length * 8
  const view = new DataView(body.buffer)
  view.setUint16(rtmsgBytes, 4 + octets.length, true)
  view.setUint16(rtmsgBytes + 2, RTA_DST, true)
  body.set(octets, rtmsgBytes + 4)
  try {
    return askOne(`route to ${address}`, RTM_GETROUTE, body).flatMap(routeInterfaces)
  } catch (error) {
    if (error instanceof HeraldError && noRoute.has(error.errno)) return []
    throw error
  }
}

const isDefaultRoute = ({ body }: NetlinkMessage): boolean => body[1] === 0 && body[7] === RTN_UNICAST

function defaultRouteInterfaces(family: number): number[] {
  const body = new Uint8Array(rtmsgBytes)
  body[0] = family
  return askAll('list routes', RTM_GETROUTE, body).filter(isDefaultRoute).flatMap(routeInterfaces)
}

/**
 * The interfaces that route to one of the neighbors or hold a default route, or, with a pattern, all whose name
 * matches it; sorted by name, never the loopback. Throws ERR_SYSCALL.
 */
export function uplinkInterfaces(neighbors: readonly Reach[], pattern?: RegExp): Link[] {
  const byName = (a: Link, b: Link): number => (a.name < b.name ? -1 : 1)
  const links = listLinks().filter(({ name }) => name !== 'lo')
  if (pattern !== undefined) return links.filter(({ name }) => pattern.test(name)).sort(byName)
  const names = new Set(neighbors.flatMap((neighbor) => neighbor.interface ?? []))
  const indexes = new Set([
    ...neighbors.filter((neighbor) => neighbor.interface === undefined).flatMap(({ address }) => interfacesTo(address)),
    ...defaultRouteInterfaces(AF_INET),
    ...defaultRouteInterfaces(AF_INET6),
  ])
  return links.filter(({ index, name }) => indexes.has(index) || names.has(name)).sort(byName)
}

/**
 * Calls `changed` when a link, an address or a route was added, changed or removed, and when such news may have been
 * lost. The answer ends it. Throws ERR_SYSCALL.
 */
export function watchLinks(changed: () => void): () => void {
  const groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE
  return subscribe(groups, { events: changed, lost: changed })
}

/** True when any filter hangs on the clsact qdisc of an interface. */
export function hasTcFilters(ifindex: number, direction: Direction): boolean {
  const body = new Uint8Array(20)
  const view = new DataView(body.buffer)
  view.setInt32(4, ifindex, true)
  view.setUint32(12, direction === 'ingress' ? 0xfffffff2 : 0xfffffff3, true)
  return askAll('list filters', RTM_GETTFILTER, body).length > 0
}
