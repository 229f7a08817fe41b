/** Services by state, and their traffic: in all, and per Service and per backend for the first of them by name. */
import { Gauge, type Registry } from 'prom-client'
import type { ServiceView } from '../../api/types.ts'
import { addBackendMetrics } from './backends.ts'
import { Growth } from './growth.ts'
import { addTrafficMetrics, grownTraffic, noTraffic, type Traffic } from './traffic.ts'

/** One that is added to the view and not here does not compile. */
const states = Object.keys({
  Announced: 0,
  Programmed: 0,
  Served: 0,
  Pending: 0,
  NotServed: 0,
} satisfies Record<ServiceView['state'], 0>)

/** Services with series of their own; each has seven. The others are in the totals. */
export const maxServicesWithSeries = 1_000

/**
 * Takes the Services of a scrape page by page, by name; `end` when there are no more, `cut` when they cannot be had.
 * One that is larger than a page comes in several items, one after the other.
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
    help: 'Services by state',
    labelNames: ['state'],
    registers,
  })
  const withoutSeries = new Gauge({
    name: 'herald_services_without_series',
    help: 'Services beyond the first 1000 by name: counted in the totals only',
    registers,
  })
  const each = addTrafficMetrics(registry, 'service', ['service'])
  const all = addTrafficMetrics(registry, 'services', [])
  const backends = addBackendMetrics(registry)
  const growth = new Growth()
  let known = new Set<string>()
  let shown = new Set<string>()
  let counts = new Map<string, number>()
  let last: string | undefined
  return {
    add: (page) => {
      for (const view of page) {
        if (view.service !== last) counts.set(view.state, (counts.get(view.state) ?? 0) + 1)
        last = view.service
        const grown = trafficOf(view, growth)
        all.add({}, grown)
        backends.add(view)
        if (shown.size >= maxServicesWithSeries && !shown.has(view.service)) continue
        shown.add(view.service)
        each.add({ service: view.service }, grown)
      }
    },
    end: () => {
      for (const state of states) byState.set({ state }, counts.get(state) ?? 0)
      for (const service of known) if (!shown.has(service)) each.remove({ service })
      growth.next()
      backends.end()
      withoutSeries.set([...counts.values()].reduce((sum, count) => sum + count, 0) - shown.size)
      ;[known, shown, counts, last] = [shown, new Set(), new Map(), undefined]
    },
    cut: () => {
      growth.cut()
      backends.cut()
      ;[known, shown, counts, last] = [new Set([...known, ...shown]), new Set(), new Map(), undefined]
    },
  }
}

function trafficOf({ frontends }: ServiceView, growth: Growth): Traffic {
  return frontends.reduce((sum, frontend) => grownTraffic(growth, frontend.id, frontend, sum), noTraffic)
}
