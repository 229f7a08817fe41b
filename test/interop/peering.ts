/**
 * One session between Herald and a router, said once; both configurations are made from it.
 *
 *     Peering --neighborOf--> Neighbor              (Herald)
 *             `--RouterDaemon.start--> text of the daemon's own language
 */
import type { AddressFamilyName, BfdSettings, BgpRole, Neighbor } from '../../src/desired/model.ts'

/**
 * Which addresses of the link a session runs between; the pairs are for many sessions at once, over IPv4. Unnumbered
 * is link-local with a router that is told the interface and no address.
 */
export type Transport = 'ipv4' | 'ipv6' | 'link-local' | 'unnumbered' | Pair
export type Pair = `pair-${0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9}`

export interface Endpoints {
  readonly herald: string
  readonly router: string
}

const pair = (number: number): Endpoints => ({
  herald: `10.90.1.${2 * number + 1}`,
  router: `10.90.1.${2 * number + 2}`,
})

export const endpoints: Readonly<Record<Transport, Endpoints>> = {
  ipv4: { herald: '10.90.0.1', router: '10.90.0.2' },
  ipv6: { herald: 'fd90::1', router: 'fd90::2' },
  'link-local': { herald: 'fe80::1', router: 'fe80::2' },
  unnumbered: { herald: 'fe80::1', router: 'fe80::2' },
  'pair-0': pair(0),
  'pair-1': pair(1),
  'pair-2': pair(2),
  'pair-3': pair(3),
  'pair-4': pair(4),
  'pair-5': pair(5),
  'pair-6': pair(6),
  'pair-7': pair(7),
  'pair-8': pair(8),
  'pair-9': pair(9),
}

export const pairs: readonly Pair[] = [
  'pair-0',
  'pair-1',
  'pair-2',
  'pair-3',
  'pair-4',
  'pair-5',
  'pair-6',
  'pair-7',
  'pair-8',
  'pair-9',
]
export const isLinkLocal = (transport: Transport): boolean => transport === 'link-local' || transport === 'unnumbered'
export const isPair = (transport: Transport): transport is Pair => transport.startsWith('pair-')

/** Next hops of IPv6 routes that cross an IPv4 session. */
export const globalIpv6 = endpoints.ipv6

export interface Peering {
  readonly transport: Transport
  readonly families: readonly AddressFamilyName[]
  /** Who opens the connection; the other side only waits. */
  readonly dialler: 'herald' | 'router' | 'both'
  readonly holdTimeSec: number
  /** TCP-MD5 key (RFC 2385). */
  readonly password?: string
  /** RFC 5082: one hop. */
  readonly isTtlSecured?: boolean
  /** RFC 4724 on both sides, with this restart time. */
  readonly restartTimeSec?: number
  /** RFC 8538 on both sides: routes outlive a NOTIFICATION too. */
  readonly isNotificationRestart?: boolean
  /** The router knows no four-octet AS numbers (RFC 6793). */
  readonly isOldSpeaker?: boolean
  /** The router announces all paths that it knows of a prefix (RFC 7911). */
  readonly hasAddPaths?: boolean
  /** RFC 9234: what the router is to Herald. */
  readonly routerRole?: BgpRole
  /** More routes of Herald than this end the session. */
  readonly routerMaxPrefixes?: number
  /** The router's AS, in place of its usual one; BIRD only. */
  readonly routerAsn?: number
  /** The AS that the router expects; Herald's own by default. */
  readonly expectedAsn?: number
  /** Both sides watch the path (RFC 5882); `graceful`: the router keeps routes when BFD goes down. */
  readonly bfd?: 'plain' | 'graceful'
  /** What Herald is configured with beyond its half of this. */
  readonly herald?: Partial<Neighbor>
}

/** Of both sides: so many intervals that no machine is too slow for them, and far fewer than the hold time has. */
export const watchSettings: BfdSettings = {
  receiveIntervalMs: 100,
  transmitIntervalMs: 100,
  detectMultiplier: 30,
  isPassive: false,
}

/** A directly connected session for IPv4 that Herald dials, with these differences. */
export function peering(differences: Partial<Peering> = {}): Peering {
  return { transport: 'ipv4', families: ['ipv4-unicast'], dialler: 'herald', holdTimeSec: 9, ...differences }
}

export const bothFamilies: readonly AddressFamilyName[] = ['ipv4-unicast', 'ipv6-unicast']

/** Herald's half of a peering. */
export function neighborOf(session: Peering, localAsn: number, peerAsn: number): Neighbor {
  const {
    transport,
    families,
    dialler,
    holdTimeSec,
    password,
    isTtlSecured,
    restartTimeSec,
    isNotificationRestart = false,
    bfd,
    herald,
  } = session
  const { herald: source, router } = endpoints[transport]
  const isBound = isLinkLocal(transport)
  const needsNextHop = families.includes('ipv6-unicast') && !source.includes(':')
  return {
    id: `${localAsn}/${router}${isBound ? '%eth0' : ''}`,
    source: { kind: 'CiliumBGPPeeringPolicy', name: 'rack0' },
    virtualRouter: 'rack0',
    localAsn,
    peerAsn,
    peerAddress: router,
    peerPort: 179,
    routerId: '10.90.0.1',
    families,
    holdTimeSec,
    keepaliveSec: Math.max(1, Math.floor(holdTimeSec / 3)),
    connectRetrySec: 1,
    multihopTtl: 1,
    passive: dialler === 'router',
    ...(isBound ? { interface: 'eth0' } : { sourceAddress: source }),
    ...(password === undefined ? {} : { password }),
    ...(isTtlSecured === true ? { ttlSecurityHops: 1 } : {}),
    ...(restartTimeSec === undefined
      ? {}
      : { gracefulRestart: { restartTimeSec, notification: isNotificationRestart } }),
    ...(needsNextHop ? { nextHops: { 'ipv6-unicast': globalIpv6.herald } } : {}),
    ...(bfd === undefined ? {} : { bfd: watchSettings }),
    ...herald,
  }
}
