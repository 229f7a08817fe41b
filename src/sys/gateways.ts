/** rtnetlink: the routers that have the default routes of this network namespace. */
import { type Address, addressFromBytes } from '../ip/address.ts'
import { listLinks } from './links.ts'
import { askAll, attributes, type NetlinkMessage } from './netlink.ts'
import { AF_INET, AF_INET6 } from './socket.ts'

// linux/rtnetlink.h
const RTM_GETROUTE = 26
const RTA_OIF = 4
const RTA_GATEWAY = 5
const RTA_PRIORITY = 6
const RTA_MULTIPATH = 9
const RTN_UNICAST = 1
const RT_TABLE_MAIN = 254
const rtmsgBytes = 12
/** struct rtnexthop, before its attributes. */
const nexthopBytes = 8

export interface DefaultGateway {
  readonly address: Address
  readonly device: string
}

interface Hop {
  readonly gateway: Uint8Array
  readonly index: number
}

/** Of each family the router of the default route with the lowest metric, if there is one. Throws ERR_SYSCALL. */
export function defaultGateways(): readonly DefaultGateway[] {
  const names = new Map(listLinks().map(({ index, name }) => [index, name]))
  return [AF_INET, AF_INET6].flatMap((family) => {
    const body = new Uint8Array(rtmsgBytes)
    body[0] = family
    return gatewayIn(askAll('list routes', RTM_GETROUTE, body), names) ?? []
  })
}

/** `names`: of interfaces by index. */
export function gatewayIn(
  routes: readonly NetlinkMessage[],
  names: ReadonlyMap<number, string>,
): DefaultGateway | undefined {
  const [best] = routes.flatMap(defaultHop).sort((a, b) => a.metric - b.metric)
  const device = best === undefined ? undefined : names.get(best.index)
  return best === undefined || device === undefined ? undefined : { address: addressFromBytes(best.gateway), device }
}

/** The first next hop of a default route of the main table that goes over a router. */
function defaultHop({ body }: NetlinkMessage): readonly (Hop & { readonly metric: number })[] {
  if (body.length < rtmsgBytes || body[1] !== 0 || body[4] !== RT_TABLE_MAIN || body[7] !== RTN_UNICAST) return []
  const found = attributes(body, rtmsgBytes)
  const several = found.get(RTA_MULTIPATH)
  const hop = several === undefined ? hopOf(found, found.get(RTA_OIF)) : firstHop(several)
  const priority = found.get(RTA_PRIORITY)
  return hop === undefined ? [] : [{ ...hop, metric: priority?.length === 4 ? wordAt(priority, 0) : 0 }]
}

function hopOf(found: ReadonlyMap<number, Uint8Array>, device: Uint8Array | undefined): Hop | undefined {
  const gateway = found.get(RTA_GATEWAY)
  return device?.length === 4 && (gateway?.length === 4 || gateway?.length === 16)
    ? { gateway, index: wordAt(device, 0) }
    : undefined
}

function firstHop(several: Uint8Array): Hop | undefined {
  if (several.length < nexthopBytes) return undefined
  const length = new DataView(several.buffer, several.byteOffset, several.byteLength).getUint16(0, true)
  return length < nexthopBytes || length > several.length
    ? undefined
    : hopOf(attributes(several.subarray(0, length), nexthopBytes), several.subarray(4, 8))
}

const wordAt = (bytes: Uint8Array, offset: number): number =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(offset, true)
