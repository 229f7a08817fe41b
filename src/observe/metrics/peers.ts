/** Sessions, under our names and under those on which Cilium users have written their alerts. */
import { Gauge, type Registry } from 'prom-client'
import type { Snapshot } from './snapshot.ts'

const fsmStates = ['Idle', 'Connect', 'Active', 'OpenSent', 'OpenConfirm', 'Established']

export function addPeerMetrics(registry: Registry): (snapshot: Snapshot) => void {
  const labelNames = ['vrouter', 'neighbor', 'neighbor_asn'] as const
  const familyLabels = [...labelNames, 'afi', 'safi'] as const
  const registers = [registry]
  const gauge = (name: string, help: string): Gauge<(typeof labelNames)[number]> => new Gauge({ name, help, labelNames, registers })
  const familyGauge = (name: string, help: string): Gauge<(typeof familyLabels)[number]> => new Gauge({ name, help, labelNames: familyLabels, registers })
  const all = {
    up: gauge('herald_bgp_session_up', '1 when the session is Established'),
    alias: gauge('cilium_bgp_control_plane_session_state', '1 when the session is Established (the name Cilium uses)'),
    state: gauge('herald_bgp_session_fsm_state', '0 Idle, 1 Connect, 2 Active, 3 OpenSent, 4 OpenConfirm, 5 Established'),
    uptime: gauge('herald_bgp_session_uptime_seconds', 'Time since the session was established; 0 when it is not'),
    flaps: gauge('herald_bgp_session_flaps_total', 'Times the session was lost'),
    messagesIn: gauge('herald_bgp_messages_received_total', 'Messages received on the present connection'),
    messagesOut: gauge('herald_bgp_messages_sent_total', 'Messages sent on the present connection'),
    hold: gauge('herald_bgp_hold_time_seconds', 'Negotiated hold time'),
    keepalive: gauge('herald_bgp_keepalive_seconds', 'Negotiated keepalive interval'),
    lastError: gauge('herald_bgp_last_error_code', 'Code of the last NOTIFICATION sent or received, 0 for none (RFC 4271 4.5)'),
  }
  const families = [
    [familyGauge('herald_bgp_advertised_routes', 'Prefixes that the peer holds from us'), 'advertised'],
    [familyGauge('cilium_bgp_control_plane_advertised_routes', 'Prefixes that the peer holds from us (the name Cilium uses)'), 'advertised'],
    [familyGauge('herald_bgp_received_routes', 'Prefixes received from the peer'), 'received'],
    [familyGauge('cilium_bgp_control_plane_received_routes', 'Prefixes received from the peer (the name Cilium uses)'), 'received'],
  ] as const
  return ({ peers }) => {
    // A peer that left must not linger as a series.
    for (const metric of [...Object.values(all), ...families.map(([metric]) => metric)]) metric.reset()
    for (const peer of peers) {
      const labels = { vrouter: peer.virtualRouter, neighbor: peer.peerAddress, neighbor_asn: String(peer.peerAs) }
      const isUp = peer.sessionState === 'Established' ? 1 : 0
      all.up.set(labels, isUp)
      all.alias.set(labels, isUp)
      all.state.set(labels, fsmStates.indexOf(peer.sessionState))
      all.uptime.set(labels, peer.uptimeSeconds ?? 0)
      all.flaps.set(labels, peer.flaps)
      all.messagesIn.set(labels, peer.messagesIn)
      all.messagesOut.set(labels, peer.messagesOut)
      all.hold.set(labels, peer.holdTimeSeconds ?? 0)
      all.keepalive.set(labels, peer.keepaliveSeconds ?? 0)
      all.lastError.set(labels, peer.lastReset?.code ?? 0)
      for (const family of peer.families) {
        const [afi = '', safi = ''] = family.family.split('-')
        for (const [metric, key] of families) metric.set({ ...labels, afi, safi }, family[key])
      }
    }
  }
}
