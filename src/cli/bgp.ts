/** `herald bgp peers` and `herald bgp routes`, with the columns of Cilium's commands. */
import { isIP } from 'node:net'
import type { Command } from 'commander'
import { fetchPeers, fetchRoutes } from '../api/client.ts'
import type { ClusterPeerView, PeerView, RoutesQuery, RouteView } from '../api/types.ts'
import { HeraldError } from '../errors.ts'
import { addPeerCommands } from './command.ts'
import {
  type ClusterOptions,
  exitCode,
  type ReadingOptions,
  show,
  showList,
  withClusterOptions,
  withReadingOptions,
} from './reading.ts'
import { formatTable, Table } from './table.ts'
import { addressOfPeer, formatDuration, silenceText } from './text.ts'

export function addBgp(program: Command): void {
  const bgp = program.command('bgp').description('sessions and routes')
  const peersVerb = withReadingOptions(bgp.command('peers').description('sessions with their state'))
  withClusterOptions(peersVerb).action((options: ClusterOptions) =>
    show<unknown>(options, async () => {
      if (options.cluster === true) {
        const all = await (await import('./cluster.ts')).clusterPeers(options)
        return { data: all, text: (isWide) => clusterTable(all, isWide), code: exitCode.ok }
      }
      const peers = await fetchPeers(options)
      return { data: peers, text: (isWide) => peersTable(peers, isWide), code: exitCode.ok }
    }),
  )
  withReadingOptions(
    bgp.command('routes').description('routes that are there to announce, that each peer was sent, or that peers sent'),
  )
    .argument('[words...]', 'available, advertised or received, then ipv4 or ipv6, unicast, peer ADDRESS')
    .action((words: string[], options: ReadingOptions) => {
      const query = routesQuery(words)
      return showList(options, {
        pages: () => fetchRoutes(options, query),
        table: (isWide) => routesTable(isWide || query.table !== 'available'),
      })
    })
  addPeerCommands(bgp)
}

/**
 * Cilium's grammar: `[available|advertised|received] [ipv4|ipv6] [unicast] [peer ADDRESS]`, by default `available ipv4
 * unicast`.
 * Throws ERR_USAGE for anything else.
 */
export function routesQuery(words: readonly string[]): RoutesQuery {
  const rest = [...words]
  const take = <W extends string>(...allowed: readonly W[]): W | undefined => {
    const found = allowed.find((word) => word === rest[0])
    if (found !== undefined) rest.shift()
    return found
  }
  const table = take('available', 'advertised', 'received') ?? 'available'
  const family = take('ipv4', 'ipv6') ?? 'ipv4'
  take('unicast')
  const peer = take('peer') === undefined ? undefined : (rest.shift() ?? '')
  // A zone is the name of an interface, of which Node knows few characters.
  if (peer !== undefined && isIP(peer.replace(/(?<=:[^%]*)%.+$/s, '')) === 0)
    throw new HeraldError('ERR_USAGE', peer === '' ? 'peer: which address?' : `peer ${peer}: not an address`)
  if (rest.length > 0)
    throw new HeraldError(
      'ERR_USAGE',
      `bgp routes: what is ${rest.join(' ')}? Write [available|advertised|received] [ipv4|ipv6] [unicast] [peer ` +
        `ADDRESS]`,
    )
  return { table, family: `${family}-unicast`, ...(peer === undefined ? {} : { peer }) }
}

/** Of sessions, with the node that each is of. */
export function clusterTable(peers: readonly ClusterPeerView[], isWide: boolean): string {
  const columns = ['Node', 'Local AS', 'Peer AS', 'Peer Address', 'Session State', 'Uptime', 'Family', 'Received']
  const header = [...columns, 'Advertised', ...(isWide ? ['Hold/Keepalive', 'Instance', 'Peer'] : [])]
  const none = { family: '', received: 0, advertised: 0 }
  const rows = peers.flatMap((peer) =>
    (peer.families.length > 0 ? peer.families : [none]).map(({ family, received, advertised }, i) => {
      const { node, localAs, peerAs, peerAddress, sessionState, uptimeSeconds, holdTimeSeconds, silentSeconds } = peer
      const uptime = uptimeSeconds === undefined || silentSeconds !== undefined ? '-' : formatDuration(uptimeSeconds)
      // What a silent node said last is no state of now.
      const state = silentSeconds === undefined ? sessionState : `no word for ${silenceText(silentSeconds)}`
      const session = [node, String(localAs), String(peerAs), peerAddress, state, uptime]
      const hold = holdTimeSeconds === undefined ? '-' : `${holdTimeSeconds}s/${peer.keepaliveSeconds ?? 0}s`
      return [
        ...(i === 0 ? session : session.map(() => '')),
        ...[family.replace('-', '/') || '-', String(received), String(advertised)],
        ...(isWide && i === 0 ? [hold, peer.instance, peer.peer] : []),
      ]
    }),
  )
  return formatTable(header, rows)
}

function peersTable(peers: readonly PeerView[], isWide: boolean): string {
  const header = [
    'Node',
    'Local AS',
    'Peer AS',
    'Peer Address',
    'Session State',
    'Uptime',
    'Family',
    'Received',
    'Advertised',
    ...(isWide ? ['Hold/Keepalive', 'BFD', 'Capabilities', 'Last Reset', 'Next Session', 'Reason'] : []),
  ]
  const rows = peers.flatMap((peer) =>
    peer.families.map(({ family, received, advertised }, i) => {
      const isFirst = i === 0
      const session = isFirst
        ? [
            peer.node,
            String(peer.localAs),
            String(peer.peerAs),
            peer.peerAddress,
            peer.sessionState,
            peer.uptimeSeconds === undefined ? '-' : formatDuration(peer.uptimeSeconds),
          ]
        : ['', '', '', '', '', '']
      const hold = peer.holdTimeSeconds === undefined ? '-' : `${peer.holdTimeSeconds}s/${peer.keepaliveSeconds ?? 0}s`
      const wide = isFirst
        ? [
            hold,
            peer.bfd?.status ?? '-',
            peer.capabilities.join(',') || '-',
            peer.lastReset?.text ?? '-',
            peer.pending?.join('; ') ?? '-',
            reasonText(peer),
          ]
        : ['', '', '', '', '', '']
      return [...session, family.replace('-', '/'), String(received), String(advertised), ...(isWide ? wide : [])]
    }),
  )
  return formatTable(header, rows)
}

/** Why it is not Established and for how long, or what of its families is not sent. */
function reasonText({ reason, idleHoldSeconds, families }: PeerView): string {
  if (reason !== undefined)
    return idleHoldSeconds === undefined ? reason : `${reason}; next attempt in ${formatDuration(idleHoldSeconds)}`
  return families.flatMap(({ problem }) => problem ?? []).join('; ') || '-'
}

function routesTable(hasPeer: boolean): (page: readonly RouteView[]) => string {
  const table = new Table(['VRouter', ...(hasPeer ? ['Peer'] : []), 'Prefix', 'NextHop', 'Age', 'Attrs'])
  return (page) =>
    table.page(
      page.map((route) => [
        route.virtualRouter,
        ...(hasPeer ? [addressOfPeer(route.peer)] : []),
        route.prefix,
        route.nextHop,
        formatDuration(route.ageSeconds),
        attributesText(route),
      ]),
    )
}

function attributesText({ origin, asPath, med, localPreference, communities, largeCommunities }: RouteView): string {
  const parts = [
    `Origin: ${origin}`,
    ...(asPath === '' ? [] : [`AsPath: ${asPath}`]),
    ...(med === undefined ? [] : [`Med: ${med}`]),
    ...(localPreference === undefined ? [] : [`LocalPref: ${localPreference}`]),
    ...(communities.length === 0 ? [] : [`Communities: ${communities.join(' ')}`]),
    ...(largeCommunities.length === 0 ? [] : [`LargeCommunities: ${largeCommunities.join(' ')}`]),
  ]
  return `[${parts.join(', ')}]`
}
