/** `herald bfd peers`: the BFD sessions of this node, with the columns of FRR's `show bfd peers brief`. */
import type { Command } from 'commander'
import type { BfdPeer, BfdView } from '../api/bfd-view.ts'
import { fetchPeers } from '../api/client.ts'
import type { PeerView } from '../api/types.ts'
import { exitCode, type ReadingOptions, show, withReadingOptions } from './reading.ts'
import { formatTable } from './table.ts'
import { formatDuration } from './text.ts'

type WatchedPeer = PeerView & { readonly bfd: BfdView }

export function addBfd(program: Command): void {
  const bfd = program.command('bfd').description('the watch over the paths to peers (RFC 5880)')
  withReadingOptions(bfd.command('peers').description('BFD sessions with their state')).action(
    (options: ReadingOptions) =>
      show<unknown>(options, async () => {
        const peers = (await fetchPeers(options)).filter((peer): peer is WatchedPeer => peer.bfd !== undefined)
        const data = peers.map(
          ({ node, id, peerAddress, bfd: own }): BfdPeer => ({ node, peer: id, peerAddress, ...own }),
        )
        return { data, text: (isWide) => table(peers, isWide), code: exitCode.ok }
      }),
  )
}

function table(peers: readonly WatchedPeer[], isWide: boolean): string {
  const columns = ['SessionId', 'LocalAddress', 'PeerAddress', 'Status', 'Uptime', 'Interval', 'Detection']
  const wide = ['RemoteId', 'Type', 'Diagnostics', 'Remote Diagnostics', 'Local Timers', 'Remote Timers']
  const header = [...columns, ...(isWide ? [...wide, 'In', 'Out', 'Up', 'Down', 'Reason'] : [])]
  const rows = peers.map(({ peerAddress, bfd }) => [
    String(bfd.id),
    bfd.localAddress ?? '-',
    peerAddress,
    bfd.status,
    bfd.status === 'up' ? formatDuration(bfd.sinceSeconds) : '-',
    `${Math.round(bfd.intervalMs)}ms`,
    bfd.detectionTimeMs === undefined ? '-' : `${Math.round(bfd.detectionTimeMs)}ms`,
    ...(isWide ? wideCells(bfd) : []),
  ])
  return formatTable(header, rows)
}

const timersText = ({ receiveIntervalMs, transmitIntervalMs, detectMultiplier }: BfdView['local']): string =>
  `${receiveIntervalMs}/${transmitIntervalMs}ms x ${detectMultiplier}`

function wideCells(bfd: BfdView): string[] {
  const { remoteId, multihop, passive, diagnostic, remoteDiagnostic, local, remote, problem } = bfd
  const type = `${multihop ? 'multihop' : 'single hop'}${passive ? ', passive' : ''}`
  return [
    ...[remoteId === 0 ? '-' : String(remoteId), type, diagnostic, remoteDiagnostic, timersText(local)],
    remoteId === 0 ? '-' : timersText(remote),
    ...[bfd.packetsIn, bfd.packetsOut, bfd.upEvents, bfd.downEvents].map(String),
    problem ?? '-',
  ]
}
