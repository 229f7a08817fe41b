/**
 * Prometheus metrics: gauges and counters are read from snapshots when they are scraped, so that nothing hot pays for
 * them. One file per family in metrics/. Every name is in docs/metrics.md.
 */
import { collectDefaultMetrics, Registry } from 'prom-client'
import type { AgentViews } from '../api/types.ts'
import { addDatapathMetrics } from './metrics/datapath.ts'
import { addPeerMetrics } from './metrics/peers.ts'
import { addReconcileMetrics, type ReconcileFigures } from './metrics/reconcile.ts'
import { addServiceMetrics } from './metrics/services.ts'

/** Answers the text exposition for a set of views. */
export function createMetrics(figures: () => ReconcileFigures): (views: AgentViews) => Promise<string> {
  const registry = new Registry()
  // The default looks at the loop's delay every 10 ms, which is most of what an idle agent would cost.
  collectDefaultMetrics({ register: registry, prefix: 'herald_', eventLoopMonitoringPrecision: 500 })
  const setters = [addPeerMetrics(registry), addServiceMetrics(registry), addDatapathMetrics(registry)]
  const setReconcile = addReconcileMetrics(registry)
  return async (views) => {
    const [peers, services, status] = await Promise.all([views.peers(), views.services(), views.status()])
    for (const set of setters) set({ peers, services, status })
    setReconcile(figures())
    return registry.metrics()
  }
}
