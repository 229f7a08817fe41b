/**
 * Prometheus metrics, read from snapshots when they are scraped, so that nothing hot pays for them.
 *
 *     scrape --> views: peers, services, status --> one setter per family in metrics/ --> text
 *
 * Every name is in docs/metrics.md. Labels are bounded: by the configuration, by closed lists, and for Services by a
 * limit.
 */
import { Registry } from 'prom-client'
import type { AgentViews } from '../api/types.ts'
import { addDatapathMetrics } from './metrics/datapath.ts'
import { addPeerMetrics } from './metrics/peers.ts'
import { addProcessMetrics } from './metrics/process.ts'
import { addReconcileMetrics, type ReconcileFigures } from './metrics/reconcile.ts'
import { addServiceMetrics } from './metrics/services.ts'

/** Answers the text exposition for a set of views. */
export function createMetrics(figures: () => ReconcileFigures): (views: AgentViews) => Promise<string> {
  const registry = new Registry()
  const setters = [
    addPeerMetrics(registry),
    addServiceMetrics(registry),
    addDatapathMetrics(registry),
    addProcessMetrics(registry),
  ]
  const setReconcile = addReconcileMetrics(registry)
  const scrape = async (views: AgentViews): Promise<string> => {
    const [peers, services, status] = await Promise.all([views.peers(), views.services(), views.status()])
    for (const set of setters) set({ peers, services, status })
    setReconcile(figures())
    return registry.metrics()
  }
  let running: Promise<string> | undefined
  // Scrapers at the same time share one look: an older one must not be taken for a counter that fell.
  return (views) => (running ??= scrape(views).finally(() => (running = undefined)))
}
