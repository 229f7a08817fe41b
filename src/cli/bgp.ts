/** `herald bgp peers` and `herald bgp routes`, with the columns of Cilium's commands. */
import { type Command, InvalidArgumentError } from 'commander'
import { fetchJson } from '../api/client.ts'
import type { PeerView, RouteView } from '../api/types.ts'
import { exitCode, type ReadingOptions, show, withReadingOptions } from './reading.ts'
import { formatTable } from './table.ts'
import { formatDuration } from './text.ts'

export function addBgp(program: Command): void {
  const bgp = program.command('bgp').description('sessions and routes')
  withReadingOptions(bgp.command('peers').description('sessions with their state')).action((options: ReadingOptions) =>
    show(options, async () => {
      const peers = await fetchJson<PeerView[]>(options, '/api/v1/peers')
      return { data: peers, text: (isWide) => peersTable(peers, isWide), code: exitCode.ok }
    }),
  )
  withReadingOptions(bgp.command('routes').description('what could be, was, or was being announced to us'))
    .argument('<table>', 'available, advertised or received', oneOf('available', 'advertised', 'received'))
    .argument('[family]', 'ipv4 or ipv6', oneOf('ipv4', 'ipv6'), 'ipv4')
    .argument('[safi]', 'unicast', oneOf('unicast'), 'unicast')
    .argument('[peer...]', 'peer ADDRESS: only this peer')
    .action((table: string, family: string, _safi: string, peer: string[], options: ReadingOptions) => {
      const address = peer[0] === 'peer' ? peer[1] : peer[0]
      const query = new URLSearchParams({ table, family: `${family}-unicast`, ...(address === undefined ? {} : { peer: address }) })
      return show(options, async () => {
        const routes = await fetchJson<RouteView[]>(options, `/api/v1/routes?${query.toString()}`)
        return { data: routes, text: (isWide) => routesTable(routes, isWide), code: exitCode.ok }
      })
    })
}

function oneOf(...words: readonly string[]): (value: string) => string {
  return (value) => {
    if (!words.includes(value)) throw new InvalidArgumentError(`Allowed: ${words.join(', ')}.`)
    return value
  }
}

function peersTable(peers: readonly PeerView[], isWide: boolean): string {
  const header = ['Node', 'Local AS', 'Peer AS', 'Peer Address', 'Session State', 'Uptime', 'Family', 'Received', 'Advertised', ...(isWide ? ['Hold/Keepalive', 'Capabilities', 'Last Reset'] : [])]
  const rows = peers.flatMap((peer) => peer.families.map(({ family, received, advertised }, i) => {
    const isFirst = i === 0
    const session = isFirst ? [peer.node, String(peer.localAs), String(peer.peerAs), peer.peerAddress, peer.sessionState, peer.uptimeSeconds === undefined ? '-' : formatDuration(peer.uptimeSeconds)] : ['', '', '', '', '', '']
    const hold = peer.holdTimeSeconds === undefined ? '-' : `${peer.holdTimeSeconds}s/${peer.keepaliveSeconds ?? 0}s`
    const wide = isFirst ? [hold, peer.capabilities.join(',') || '-', peer.lastReset?.text ?? '-'] : ['', '', '']
    return [...session, family.replace('-', '/'), String(received), String(advertised), ...(isWide ? wide : [])]
  }))
  return formatTable(header, rows)
}

function routesTable(routes: readonly RouteView[], isWide: boolean): string {
  const header = ['VRouter', ...(routes.some((route) => route.peer !== undefined) || isWide ? ['Peer'] : []), 'Prefix', 'NextHop', 'Age', 'Attrs']
  const hasPeer = header.includes('Peer')
  return formatTable(header, routes.map((route) => [route.virtualRouter, ...(hasPeer ? [route.peer ?? '-'] : []), route.prefix, route.nextHop, formatDuration(route.ageSeconds), attributesText(route)]))
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
