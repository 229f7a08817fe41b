/** BFD sessions, with the labels of the sessions that they watch for. */
import { Counter, Gauge, type Registry } from 'prom-client'
import type { BfdView } from '../../api/bfd-view.ts'
import type { PeerView } from '../../api/types.ts'
import { Growth } from './growth.ts'
import { labelNames, ourLabels } from './peers.ts'
import type { Snapshot } from './snapshot.ts'

interface Reading {
  readonly name: string
  readonly help: string
  readonly read: (bfd: BfdView) => number
}

const isUp = ({ status }: BfdView): number => (status === 'up' ? 1 : 0)

const gauges: readonly Reading[] = [
  { name: 'herald_bfd_session_up', help: '1 when the BFD session is up', read: isUp },
  {
    name: 'herald_bfd_detection_time_seconds',
    help: 'Silence after which the path counts as lost; 0 while nothing is heard',
    read: ({ detectionTimeMs = 0 }) => detectionTimeMs / 1000,
  },
]

const counters: readonly Reading[] = [
  { name: 'herald_bfd_session_up_events_total', help: 'Times the BFD session came up', read: (bfd) => bfd.upEvents },
  {
    name: 'herald_bfd_session_down_events_total',
    help: 'Times the BFD session went down',
    read: (bfd) => bfd.downEvents,
  },
  {
    name: 'herald_bfd_control_packets_received_total',
    help: 'Control packets received',
    read: (bfd) => bfd.packetsIn,
  },
  { name: 'herald_bfd_control_packets_sent_total', help: 'Control packets sent', read: (bfd) => bfd.packetsOut },
]

/** Of MetalLB, whose label is the address alone. */
const theirs: readonly (Reading & { readonly isCounter: boolean })[] = [
  { name: 'metallb_bfd_session_up', help: '1 when the BFD session is up', read: isUp, isCounter: false },
  {
    name: 'metallb_bfd_control_packet_input',
    help: 'Control packets received',
    read: (bfd) => bfd.packetsIn,
    isCounter: true,
  },
  {
    name: 'metallb_bfd_control_packet_output',
    help: 'Control packets sent',
    read: (bfd) => bfd.packetsOut,
    isCounter: true,
  },
  {
    name: 'metallb_bfd_session_up_events',
    help: 'Times the BFD session came up',
    read: (bfd) => bfd.upEvents,
    isCounter: true,
  },
  {
    name: 'metallb_bfd_session_down_events',
    help: 'Times the BFD session went down',
    read: (bfd) => bfd.downEvents,
    isCounter: true,
  },
]

/** A family of series, one for each BFD session; a session that left has none. */
function family<L extends string>(
  registry: Registry,
  { name, help, read }: Reading,
  labels: readonly L[],
  labelsOf: (peer: PeerView) => Record<L, string>,
  isCounter: boolean,
): (peers: readonly PeerView[]) => void {
  const options = { name, help, labelNames: labels, registers: [registry] }
  const metric = isCounter ? new Counter(options) : new Gauge(options)
  const growth = new Growth()
  let known = new Map<string, Record<L, string>>()
  return (peers) => {
    const now = new Map<string, Record<L, string>>()
    for (const peer of peers) {
      if (peer.bfd === undefined) continue
      now.set(JSON.stringify(labelsOf(peer)), labelsOf(peer))
    }
    for (const [id, old] of known) if (!now.has(id)) metric.remove(old)
    known = now
    for (const peer of peers) {
      if (peer.bfd === undefined) continue
      const value = read(peer.bfd)
      if (metric instanceof Gauge) metric.set(labelsOf(peer), value)
      else metric.inc(labelsOf(peer), growth.of(`${peer.id} ${peer.bfd.id}`, value))
    }
    growth.next()
  }
}

export function addBfdMetrics(registry: Registry): (snapshot: Snapshot) => void {
  const levels = gauges.map((reading) => family(registry, reading, labelNames, ourLabels, false))
  const counts = counters.map((reading) => family(registry, reading, labelNames, ourLabels, true))
  const dropped = new Counter({
    name: 'herald_bfd_dropped_packets_total',
    help: 'BFD packets that did not count, by cause; kernel: of strangers, TTL not 255, or more than could be read',
    labelNames: ['cause'],
    registers: [registry],
  })
  const growth = new Growth()
  return ({ peers, status }) => {
    for (const set of [...levels, ...counts]) set(peers)
    for (const [cause, count] of Object.entries(status.bfd?.drops ?? {}))
      dropped.inc({ cause }, growth.of(cause, count))
    if (status.bfd !== undefined) growth.next()
  }
}

export function addBfdAliases(registry: Registry): (peers: readonly PeerView[]) => void {
  const labelsOf = ({ peerAddress }: PeerView): { readonly peer: string } => ({ peer: peerAddress })
  const all = theirs.map((reading) =>
    family(
      registry,
      { ...reading, help: `${reading.help} (the name MetalLB uses)` },
      ['peer'],
      labelsOf,
      reading.isCounter,
    ),
  )
  return (peers) => {
    // Two neighbors at one address share a session, which counts once.
    const sessions = new Map(peers.map((peer) => [`${peer.peerAddress} ${peer.bfd?.id}`, peer]))
    for (const set of all) set([...sessions.values()])
  }
}
