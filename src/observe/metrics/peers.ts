/** Sessions, under our names and under those on which Cilium users have written their alerts. */
import { Counter, Gauge, type Registry } from 'prom-client'
import type { PeerView } from '../../api/types.ts'
import { Growth } from './growth.ts'
import type { Snapshot } from './snapshot.ts'

const fsmStates = ['Idle', 'Connect', 'Active', 'OpenSent', 'OpenConfirm', 'Established']

export const labelNames = ['vrouter', 'neighbor', 'neighbor_asn'] as const
type Labels = Record<(typeof labelNames)[number], string>

interface Reading {
  readonly name: string
  readonly help: string
  readonly read: (peer: PeerView) => number
}

const isUp = (peer: PeerView): number => (peer.sessionState === 'Established' ? 1 : 0)

const gauges: readonly Reading[] = [
  { name: 'herald_bgp_session_up', help: '1 when the session is Established', read: isUp },
  {
    name: 'herald_bgp_session_fsm_state',
    help: '0 Idle, 1 Connect, 2 Active, 3 OpenSent, 4 OpenConfirm, 5 Established',
    read: (peer) => fsmStates.indexOf(peer.sessionState),
  },
  {
    name: 'herald_bgp_session_uptime_seconds',
    help: 'Time since the session was established; 0 when it is not',
    read: (peer) => peer.uptimeSeconds ?? 0,
  },
  { name: 'herald_bgp_hold_time_seconds', help: 'Negotiated hold time', read: (peer) => peer.holdTimeSeconds ?? 0 },
  {
    name: 'herald_bgp_keepalive_seconds',
    help: 'Negotiated keepalive interval',
    read: (peer) => peer.keepaliveSeconds ?? 0,
  },
  {
    name: 'herald_bgp_last_error_code',
    help: 'Code of the last NOTIFICATION sent or received, 0 for none (RFC 4271 4.5)',
    read: (peer) => peer.lastReset?.code ?? 0,
  },
]

const counters: readonly Reading[] = [
  { name: 'herald_bgp_session_flaps_total', help: 'Times the session was lost', read: (peer) => peer.flaps },
  {
    name: 'herald_bgp_messages_received_total',
    help: 'Messages received, over all connections',
    read: (peer) => peer.messagesIn,
  },
  {
    name: 'herald_bgp_updates_treated_as_withdraw_total',
    help: 'UPDATEs whose routes count as withdrawn for an error (RFC 7606 2)',
    read: (peer) => peer.updateErrors?.treatedAsWithdraw ?? 0,
  },
  {
    name: 'herald_bgp_updates_attribute_discarded_total',
    help: 'UPDATEs without an attribute that was wrong (RFC 7606 2)',
    read: (peer) => peer.updateErrors?.attributeDiscarded ?? 0,
  },
  {
    name: 'herald_bgp_messages_sent_total',
    help: 'Messages sent, over all connections',
    read: (peer) => peer.messagesOut,
  },
  {
    name: 'herald_bgp_updates_received_total',
    help: 'UPDATEs received, over all connections',
    read: (peer) => peer.updatesIn,
  },
  {
    name: 'herald_bgp_updates_sent_total',
    help: 'UPDATEs sent, over all connections',
    read: (peer) => peer.updatesOut,
  },
]

export function addPeerMetrics(registry: Registry): (snapshot: Snapshot) => void {
  const registers = [registry]
  const levels = gauges.map((reading) => ({
    ...reading,
    metric: new Gauge({ name: reading.name, help: reading.help, labelNames, registers }),
  }))
  const counts = counters.map((reading) => ({
    ...reading,
    growth: new Growth(),
    metric: new Counter({ name: reading.name, help: reading.help, labelNames, registers }),
  }))
  const setRoutes = addRoutes(registry, 'herald_bgp', '', ourLabels)
  const setAliases = addCiliumAliases(registry)
  let known = new Map<string, Labels>()
  return ({ peers }) => {
    const now = new Map(peers.map((peer) => [peer.id, ourLabels(peer)]))
    // A peer that left must not linger as a series; the counters of those that stay go on.
    for (const [id, labels] of known)
      if (!isSame(labels, now.get(id))) for (const { metric } of counts) metric.remove(labels)
    known = now
    for (const { metric, read } of levels) {
      metric.reset()
      for (const peer of peers) metric.set(ourLabels(peer), read(peer))
    }
    for (const { metric, read, growth } of counts) {
      for (const peer of peers) metric.inc(ourLabels(peer), growth.of(peer.id, read(peer)))
      growth.next()
    }
    setRoutes(peers)
    setAliases(peers)
  }
}

const isSame = (a: Labels, b: Labels | undefined): boolean =>
  b !== undefined && labelNames.every((name) => a[name] === b[name])

/**
 * The id without our AS: the address, with what tells it from another peer (interface, port), and the same before and
 * after the router of an unnumbered one was found.
 */
export function ourLabels({ id, virtualRouter, peerAs }: PeerView): Labels {
  return { vrouter: virtualRouter, neighbor: id.slice(id.indexOf('/') + 1), neighbor_asn: String(peerAs) }
}

/** `192.0.2.1:179` or `[fe80::1%br_lan]:179`: Node takes an address for IPv6 only with zones of few characters. */
export const withPort = ({ peerAddress, peerPort }: PeerView): string =>
  `${peerAddress.includes(':') ? `[${peerAddress}]` : peerAddress}:${peerPort}`

/** Cilium's neighbor is address:port. */
const ciliumLabels = (peer: PeerView): Labels => ({ ...ourLabels(peer), neighbor: withPort(peer) })

function addCiliumAliases(registry: Registry): (peers: readonly PeerView[]) => void {
  const state = new Gauge({
    name: 'cilium_bgp_control_plane_session_state',
    help: '1 when the session is Established (the name Cilium uses)',
    labelNames,
    registers: [registry],
  })
  const setRoutes = addRoutes(registry, 'cilium_bgp_control_plane', ' (the name Cilium uses)', ciliumLabels)
  return (peers) => {
    state.reset()
    for (const peer of peers) state.set(ciliumLabels(peer), isUp(peer))
    setRoutes(peers)
  }
}

function addRoutes(
  registry: Registry,
  prefix: string,
  note: string,
  labelsOf: (peer: PeerView) => Labels,
): (peers: readonly PeerView[]) => void {
  const registers = [registry]
  const familyLabels = [...labelNames, 'afi', 'safi'] as const
  const advertised = new Gauge({
    name: `${prefix}_advertised_routes`,
    help: `Prefixes that the peer holds from us${note}`,
    labelNames: familyLabels,
    registers,
  })
  const received = new Gauge({
    name: `${prefix}_received_routes`,
    help: `Prefixes received from the peer${note}`,
    labelNames: familyLabels,
    registers,
  })
  return (peers) => {
    advertised.reset()
    received.reset()
    for (const peer of peers) {
      for (const counts of peer.families) {
        const [afi = '', safi = ''] = counts.family.split('-')
        const labels = { ...labelsOf(peer), afi, safi }
        advertised.set(labels, counts.advertised)
        received.set(labels, counts.received)
      }
    }
  }
}
