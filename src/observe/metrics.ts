/**
 * Prometheus metrics, read from snapshots when they are scraped, so that nothing hot pays for them.
 *
 *     scrape --> views: peers, status, pages of Services --> one setter per family in metrics/ --> text
 *
 * Every name is in docs/metrics.md. Labels are bounded: by the configuration, by closed lists, and for Services by a
 * limit.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Registry } from 'prom-client'
import type { AgentViews, Page, ServiceView } from '../api/types.ts'
import { addAgentAliases } from './metrics/aliases.ts'
import { addBfdMetrics } from './metrics/bfd.ts'
import { addDatapathMetrics } from './metrics/datapath.ts'
import { addPeerMetrics } from './metrics/peers.ts'
import { addProcessMetrics } from './metrics/process.ts'
import { addReconcileMetrics, type ReconcileFigures } from './metrics/reconcile.ts'
import { addServiceMetrics } from './metrics/services.ts'
import { addSocketMetrics } from './metrics/sockets.ts'

/** Read in one turn of the loop: each is some map look-ups in the kernel. */
const servicesAtOnce = 200

/** Answers the text exposition for a set of views; with `hasAliases` also under names that are off by default. */
export function createMetrics(
  figures: () => ReconcileFigures,
  hasAliases = false,
): (views: AgentViews) => Promise<string> {
  const registry = new Registry()
  const setPeers = addPeerMetrics(registry)
  const services = addServiceMetrics(registry)
  const setters = [
    setPeers,
    addBfdMetrics(registry),
    addDatapathMetrics(registry),
    addSocketMetrics(registry),
    addProcessMetrics(registry),
  ]
  const setReconcile = addReconcileMetrics(registry)
  const aliases = hasAliases ? addAgentAliases(registry) : undefined
  const scrape = async (views: AgentViews): Promise<string> => {
    const [peers, status] = await Promise.all([views.peers(), views.status()])
    try {
      let page: Page<ServiceView> | undefined
      while (page === undefined || page.continue !== undefined) {
        page = await views.services({
          limit: servicesAtOnce,
          ...(page?.continue === undefined ? {} : { continue: page.continue }),
        })
        services.add(page.items)
        aliases?.add(page.items)
        await nextTurn()
      }
      services.end()
    } catch (error) {
      services.cut()
      aliases?.cut()
      throw error
    }
    for (const set of setters) set({ peers, status })
    const loop = figures()
    setReconcile(loop)
    aliases?.set({ peers, status }, loop.count, loop.errors)
    return registry.metrics()
  }
  let running: Promise<string> | undefined
  // Scrapers at the same time share one look: an older one must not be taken for a counter that fell.
  return (views) => (running ??= scrape(views).finally(() => (running = undefined)))
}
