/** The process's own clock, chance and sockets. */
import { BfdCounters } from '../../bfd/counters.ts'
import { PathWatcher } from '../../bfd/thread/path-watcher.ts'
import { LoopTimer } from '../../clock/system-clock.ts'
import { type Address, parseAddress } from '../../ip/address.ts'
import { listAddresses } from '../../sys/addresses.ts'
import { nextHopTo } from '../../sys/links.ts'
import { openRouterDiscovery, type RouterDiscovery } from '../../sys/router-discovery.ts'
import { connectSocket, createDialSocket } from '../../sys/tcp-socket.ts'
import type { WantedPath } from '../../bfd/path.ts'
import { connectionProblem } from './connection-problem.ts'
import type { DialOptions, Environment } from './environment.ts'
import { openListener } from './listener.ts'
import { type RoutedPathPorts, watchRouted } from './routed-path.ts'
import { SocketTransport } from './socket-transport.ts'
import { unreachableReason } from './unreachable.ts'

/** `counters`: where the numbers of BFD sessions are seen. */
export function systemWith(counters: SharedArrayBuffer): Environment {
  const watcher = new PathWatcher(counters)
  const ports: RoutedPathPorts = {
    watch: (path, settings, told) => watcher.watch(path, settings, told),
    isBehindRouter,
    every: (ms, action) => {
      const timer = setInterval(action, ms).unref()
      return () => clearInterval(timer)
    },
  }
  return { ...own, watchPath: (path, settings, told) => watchRouted(ports, path, settings, told) }
}

const own: Omit<Environment, 'watchPath'> = {
  now: () => Date.now(),
  uptimeSec: () => process.uptime(),
  random: () => Math.random(),
  after: (sec, callback) => new LoopTimer(sec * 1000, callback),
  soon: (callback) => void setImmediate(callback),
  startTurn: (limitMs) => {
    const started = performance.now()
    return () => performance.now() - started > limitMs
  },
  dial: (options) => {
    const socket = createDialSocket(options)
    return new SocketTransport(
      socket,
      () => connectSocket(socket, options, options.port),
      (errno) => unreachable(options, errno),
    )
  },
  listen: openListener,
  localAddresses: () => {
    try {
      return listAddresses()
    } catch {
      // Without netlink nothing is known, and nothing is warned about.
      return []
    }
  },
  discoverRouters,
}

export const system: Environment = systemWith(new BfdCounters().buffer)

/** A peer to which there is no route is taken for one on the link. */
function isBehindRouter({ peer, device }: WantedPath): boolean {
  const address = parseAddress(peer)
  try {
    return address !== undefined && nextHopTo(address, device)?.gateway !== undefined
  } catch {
    return false
  }
}

/** Of a link-local peer that answers no ND the kernel tells no more than that time is over. */
function unreachable({ peer, device }: DialOptions, errno: string): string {
  try {
    const hop = nextHopTo(peer, device)
    return errno === 'ETIMEDOUT' && hop?.isSilent !== true ? connectionProblem(errno) : unreachableReason(peer, hop)
  } catch {
    // The kernel does not say; what it said of the connection is all that is known.
    return connectionProblem(errno)
  }
}

const pollMs = 250
/** RFC 4861 6.3.7: MAX_RTR_SOLICITATIONS times, then now and then for a router that came later. */
const solicitEveryMs = 4_000

function discoverRouters(device: string, found: (router: Address) => void): { close(): void } {
  let discovery: RouterDiscovery | undefined = openRouterDiscovery(device)
  discovery.solicit()
  const solicitation = setInterval(() => {
    if (discovery?.isGone !== false) {
      discovery?.close()
      discovery = reopened(device)
    }
    discovery?.solicit()
  }, solicitEveryMs)
  const poll = setInterval(() => {
    for (const router of discovery?.poll() ?? []) found(router)
  }, pollMs)
  return {
    close: () => {
      clearInterval(solicitation)
      clearInterval(poll)
      discovery?.close()
    },
  }
}

/** undefined while the interface is away. */
function reopened(device: string): RouterDiscovery | undefined {
  try {
    return openRouterDiscovery(device)
  } catch {
    // It was there, and may be again: the next solicitation tries.
    return undefined
  }
}
