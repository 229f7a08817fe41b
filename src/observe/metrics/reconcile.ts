/** The loop of the agent. */
import { Gauge, type Registry } from 'prom-client'

export interface ReconcileFigures {
  readonly count: number
  readonly errors: number
  readonly lastMs: number
}

export function addReconcileMetrics(registry: Registry): (figures: ReconcileFigures) => void {
  const registers = [registry]
  const runs = new Gauge({ name: 'herald_reconcile_total', help: 'Deltas of desired state that were applied', registers })
  const errors = new Gauge({ name: 'herald_reconcile_errors_total', help: 'Applications that failed and were tried again', registers })
  const last = new Gauge({ name: 'herald_reconcile_last_duration_seconds', help: 'Duration of the last application', registers })
  return (figures) => {
    runs.set(figures.count)
    errors.set(figures.errors)
    last.set(figures.lastMs / 1000)
  }
}
