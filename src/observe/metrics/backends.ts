/** Traffic of backends: the first of them, in the order of their Services. */
import { Gauge, type Registry } from 'prom-client'
import type { FrontendView, ServiceView } from '../../api/types.ts'
import { Growth } from './growth.ts'
import { addTrafficMetrics, grownTraffic } from './traffic.ts'

/** Backends with series of their own; each has seven. */
export const maxBackendsWithSeries = 1_000

interface Labels extends Readonly<Record<string, string>> {
  readonly service: string
  readonly backend: string
}

export interface BackendMetrics {
  add(service: ServiceView): void
  end(): void
  cut(): void
}

/** One that several Services have is counted once: under the first of them by name. */
export function addBackendMetrics(registry: Registry): BackendMetrics {
  const each = addTrafficMetrics(registry, 'backend', ['service', 'backend'])
  const withoutSeries = new Gauge({
    name: 'herald_backends_without_series',
    help: 'Backends beyond the first 1000 in the order of their Services: counted with their Services only',
    registers: [registry],
  })
  const growth = new Growth()
  let known = new Map<string, Labels>()
  let shown = new Map<string, Labels>()
  let beyond = new Set<string>()
  return {
    add: ({ service, frontends }) => {
      for (const frontend of frontends)
        for (const view of frontend.backends) {
          const backend = nameOf(frontend, view)
          if (view.packetsIn === undefined || shown.has(backend)) continue
          if (shown.size >= maxBackendsWithSeries) {
            beyond.add(backend)
            continue
          }
          const labels = { service, backend }
          shown.set(backend, labels)
          each.add(labels, grownTraffic(growth, `${backend} ${view.node ?? ''}`, view))
        }
    },
    end: () => {
      for (const [backend, labels] of known) if (shown.get(backend)?.service !== labels.service) each.remove(labels)
      growth.next()
      withoutSeries.set(beyond.size)
      ;[known, shown, beyond] = [shown, new Map(), new Set()]
    },
    cut: () => {
      growth.cut()
      ;[known, shown, beyond] = [new Map([...known, ...shown]), new Map(), new Set()]
    },
  }
}

function nameOf({ protocol }: FrontendView, { address, port }: FrontendView['backends'][number]): string {
  return `${address.includes(':') ? `[${address}]` : address}:${port}/${protocol}`
}
