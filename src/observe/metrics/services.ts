/** Services by state, and their traffic: in all, and per Service for the first of them by name. */
import { Counter, Gauge, type Registry } from 'prom-client'
import type { ServiceView } from '../../api/types.ts'
import { Growth } from './growth.ts'

const states = ['Announced', 'Programmed', 'Pending', 'NotServed']

/** Services with series of their own; each has seven. The others are in the totals. */
export const maxServicesWithSeries = 1_000

interface Traffic {
  packetsIn: number
  packetsOut: number
  bytesIn: number
  bytesOut: number
  newConnections: number
  packetsForwarded: number
  bytesForwarded: number
}

const nothing: Traffic = {
  packetsIn: 0,
  packetsOut: 0,
  bytesIn: 0,
  bytesOut: 0,
  newConnections: 0,
  packetsForwarded: 0,
  bytesForwarded: 0,
}
const keys = Object.keys(nothing) as readonly (keyof Traffic)[]

/**
 * Takes the Services of a scrape page by page, by name; `end` when there are no more, `cut` when they cannot be had.
 */
export interface ServiceMetrics {
  add(page: readonly ServiceView[]): void
  end(): void
  cut(): void
}

export function addServiceMetrics(registry: Registry): ServiceMetrics {
  const registers = [registry]
  const byState = new Gauge({
    name: 'herald_services',
    help: 'LoadBalancer Services by state',
    labelNames: ['state'],
    registers,
  })
  const withoutSeries = new Gauge({
    name: 'herald_services_without_series',
    help: 'Services beyond the first 1000 by name: counted in the totals only',
    registers,
  })
  const each = addCounters(registry, 'service', ['service'])
  const all = addCounters(registry, 'services', [])
  const growth = new Growth()
  let known = new Set<string>()
  let shown = new Set<string>()
  let counts = new Map<string, number>()
  return {
    add: (page) => {
      for (const view of page) {
        counts.set(view.state, (counts.get(view.state) ?? 0) + 1)
        const grown = trafficOf(view, growth)
        all.add({}, grown)
        if (shown.size >= maxServicesWithSeries) continue
        shown.add(view.service)
        each.add({ service: view.service }, grown)
      }
    },
    end: () => {
      for (const state of states) byState.set({ state }, counts.get(state) ?? 0)
      for (const service of known) if (!shown.has(service)) each.remove({ service })
      growth.next()
      withoutSeries.set([...counts.values()].reduce((sum, count) => sum + count, 0) - shown.size)
      ;[known, shown, counts] = [shown, new Set(), new Map()]
    },
    cut: () => {
      growth.cut()
      ;[known, shown, counts] = [new Set([...known, ...shown]), new Set(), new Map()]
    },
  }
}

function trafficOf({ frontends }: ServiceView, growth: Growth): Traffic {
  const grown = { ...nothing }
  for (const frontend of frontends)
    for (const key of keys) grown[key] += growth.of(`${frontend.id} ${key}`, frontend[key] ?? 0)
  return grown
}

interface Counters {
  add(labels: Readonly<Record<string, string>>, grown: Traffic): void
  remove(labels: Readonly<Record<string, string>>): void
}

function addCounters(registry: Registry, subject: 'service' | 'services', labelNames: readonly string[]): Counters {
  const registers = [registry]
  const whose = subject === 'service' ? 'of a Service' : 'of all Services'
  const packets = new Counter({
    name: `herald_${subject}_packets_total`,
    help: `Packets ${whose}`,
    labelNames: [...labelNames, 'direction'],
    registers,
  })
  const bytes = new Counter({
    name: `herald_${subject}_bytes_total`,
    help: `Bytes ${whose}`,
    labelNames: [...labelNames, 'direction'],
    registers,
  })
  const connections = new Counter({
    name: `herald_${subject}_connections_total`,
    help: `Connections opened to ${subject === 'service' ? 'a Service' : 'all Services'}`,
    labelNames: [...labelNames],
    registers,
  })
  return {
    add: (labels, grown) => {
      packets.inc({ ...labels, direction: 'in' }, grown.packetsIn)
      packets.inc({ ...labels, direction: 'out' }, grown.packetsOut)
      packets.inc({ ...labels, direction: 'forwarded' }, grown.packetsForwarded)
      bytes.inc({ ...labels, direction: 'in' }, grown.bytesIn)
      bytes.inc({ ...labels, direction: 'out' }, grown.bytesOut)
      bytes.inc({ ...labels, direction: 'forwarded' }, grown.bytesForwarded)
      connections.inc(labels, grown.newConnections)
    },
    remove: (labels) => {
      for (const direction of ['in', 'out', 'forwarded'])
        for (const metric of [packets, bytes]) metric.remove({ ...labels, direction })
      connections.remove(labels)
    },
  }
}
