/** Nets on links of this node behind which no client is. */
import { contains, type Net } from './filter-rules.ts'
import { routeInterfaces, routes } from './links.ts'
import { attributes, type NetlinkMessage } from './netlink.ts'
import { AF_INET, AF_INET6 } from './socket.ts'

// linux/rtnetlink.h
const [RTA_DST, RTA_GATEWAY] = [1, 5]
const RT_TABLE_MAIN = 254
const rtmsgBytes = 12
const addressBytes: Readonly<Record<number, number | undefined>> = { [AF_INET]: 4, [AF_INET6]: 16 }

interface Route {
  readonly net: Net
  readonly isMain: boolean
  readonly isOnLink: boolean
  readonly interfaces: readonly number[]
}

/**
 * Of other links than these, as of containers that are no pods: those of which the kernel sends no address by one of
 * these, whatever rules of routing there are. Throws ERR_SYSCALL.
 */
export function netsBeside(uplinks: ReadonlySet<number>): readonly Net[] {
  return innerNets([AF_INET, AF_INET6].flatMap(routes), uplinks)
}

export function innerNets(messages: readonly NetlinkMessage[], uplinks: ReadonlySet<number>): readonly Net[] {
  const all = messages.flatMap(routeIn)
  const byUplink = all.filter(({ interfaces }) => interfaces.some((each) => uplinks.has(each)))
  const hosts = new Set(byUplink.filter(isOfHost).map(({ net }) => textOf(net)))
  const others = byUplink.filter(({ isMain }) => !isMain)
  // There may be one for each pod, and many by uplinks: within that of a host there is none but its like.
  const isWithin = (route: Route): boolean =>
    isOfHost(route) ? hosts.has(textOf(route.net)) : byUplink.some(({ net }) => contains(route.net, net))
  return all
    .filter(({ isMain, isOnLink, interfaces }) => isMain && isOnLink && !interfaces.some((each) => uplinks.has(each)))
    .filter((route) => !isWithin(route) && !others.some(({ net }) => contains(net, route.net)))
    .map(({ net }) => net)
}

const isOfHost = ({ net }: Route): boolean => net.bits === net.octets.length * 8
const textOf = ({ octets, bits }: Net): string => `${octets.join('.')}/${bits}`

function routeIn(message: NetlinkMessage): readonly Route[] {
  const { body } = message
  const length = addressBytes[body[0] ?? 0]
  if (length === undefined || body.length < rtmsgBytes) return []
  const found = attributes(body, rtmsgBytes)
  const octets = found.get(RTA_DST) ?? new Uint8Array(length)
  if (octets.length !== length) return []
  const net = { octets, bits: body[1] ?? 0 }
  const isOnLink = net.bits > 0 && !found.has(RTA_GATEWAY)
  return [{ net, isMain: body[4] === RT_TABLE_MAIN, isOnLink, interfaces: routeInterfaces(message) }]
}
