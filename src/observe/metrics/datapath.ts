/** The kernel's side: fill of the maps, packets answered or dropped by reason. And the state of the whole. */
import { Counter, Gauge, type Registry } from 'prom-client'
import { Growth } from './growth.ts'
import type { Snapshot } from './snapshot.ts'

export function addDatapathMetrics(registry: Registry): (snapshot: Snapshot) => void {
  const registers = [registry]
  const entries = new Gauge({
    name: 'herald_datapath_map_entries',
    help: 'Entries of a map',
    labelNames: ['map'],
    registers,
  })
  const max = new Gauge({
    name: 'herald_datapath_map_max_entries',
    help: 'Entries that fit into a map',
    labelNames: ['map'],
    registers,
  })
  const packets = new Counter({
    name: 'herald_datapath_packets_total',
    help: 'Packets answered in place, dropped, held or served without state, by reason',
    labelNames: ['reason'],
    registers,
  })
  const drops = new Counter({
    name: 'herald_datapath_drop_total',
    help: 'Packets that nobody was given: dropped, or refused by RST or ICMP, by reason and family',
    labelNames: ['reason', 'family'],
    registers,
  })
  const mode = new Gauge({
    name: 'herald_datapath_mode',
    help: 'Always 1 of an eBPF datapath; the label says how new flows go to pods of this node',
    labelNames: ['mode'],
    registers,
  })
  const healthy = new Gauge({ name: 'herald_healthy', help: '1 when status is ok, 0 when it is degraded', registers })
  const problems = new Gauge({
    name: 'herald_object_problems',
    help: 'Objects that are broken, or only half honoured',
    labelNames: ['severity'],
    registers,
  })
  const synced = new Gauge({ name: 'herald_source_synced', help: '1 when every object was read once', registers })
  const growth = new Growth()
  const addEarly = earlyMetrics(registers, growth)
  return ({ status }) => {
    for (const { name, entries: used, maxEntries } of status.datapath.maps) {
      entries.set({ map: name }, used)
      max.set({ map: name }, maxEntries)
    }
    for (const [reason, count] of Object.entries(status.datapath.reasons))
      packets.inc({ reason }, growth.of(reason, count))
    for (const { reason, family, fate, packets: count } of status.datapath.drops)
      if (fate === 'refused' || fate === 'dropped')
        drops.inc({ reason, family }, growth.of(`${reason} ${family}`, count))
    addEarly(status.datapath.acceleration)
    growth.next()
    mode.reset()
    if (status.datapath.mode !== undefined) mode.set({ mode: status.datapath.mode }, 1)
    healthy.set(status.health === 'ok' ? 1 : 0)
    synced.set(status.source.synced ? 1 : 0)
    for (const severity of ['error', 'warning'] as const)
      problems.set({ severity }, status.problems.filter((problem) => problem.severity === severity).length)
  }
}

/** Of each uplink where XDP was asked for. */
function earlyMetrics(
  registers: Registry[],
  growth: Growth,
): (acceleration: Snapshot['status']['datapath']['acceleration']) => void {
  const early = new Counter({
    name: 'herald_datapath_xdp_packets_total',
    help: 'Packets that XDP kept from the kernel, by action: handed_on, answered, dropped',
    labelNames: ['interface', 'action'],
    registers,
  })
  const carriers = new Gauge({
    name: 'herald_datapath_xdp_interface',
    help: 'Always 1 of an uplink where XDP was asked for; the label says what it has: native, generic, none',
    labelNames: ['interface', 'mode'],
    registers,
  })
  return (acceleration) => {
    carriers.reset()
    for (const { interface: name, mode, packets } of acceleration?.interfaces ?? []) {
      carriers.set({ interface: name, mode }, 1)
      if (packets === undefined) continue
      const { handedOn, answered, dropped } = packets
      for (const [action, count] of Object.entries({ handed_on: handedOn, answered, dropped }))
        early.inc({ interface: name, action }, growth.of(`xdp ${name} ${action}`, count))
    }
  }
}
