/** The loop of the agent. */
import { Counter, Gauge, type Registry } from 'prom-client'
import { Growth } from './growth.ts'

export interface ReconcileFigures {
  readonly count: number
  readonly errors: number
  readonly lastMs: number
  readonly lostLogLines: number
  /** Failures of the node itself since the start, by what fails. */
  readonly failures: ReadonlyMap<string, number>
}

export function addReconcileMetrics(registry: Registry): (figures: ReconcileFigures) => void {
  const registers = [registry]
  const runs = new Counter({
    name: 'herald_reconcile_total',
    help: 'Deltas of desired state that were applied',
    registers,
  })
  const errors = new Counter({
    name: 'herald_reconcile_errors_total',
    help: 'Applications that failed and were tried again',
    registers,
  })
  const last = new Gauge({
    name: 'herald_reconcile_last_duration_seconds',
    help: 'Duration of the last application',
    registers,
  })
  const lost = new Counter({
    name: 'herald_log_lines_lost_total',
    help: 'Lines of the log that could not be written',
    registers,
  })
  const failures = new Counter({
    name: 'herald_failures_total',
    help: 'Failures of the node itself, tried again by themselves: writes, removals, attachment, records',
    labelNames: ['what'],
    registers,
  })
  const growth = new Growth()
  return (figures) => {
    runs.inc(growth.of('count', figures.count))
    errors.inc(growth.of('errors', figures.errors))
    lost.inc(growth.of('lost', figures.lostLogLines))
    for (const [what, count] of figures.failures) failures.inc({ what }, growth.of(`failures ${what}`, count))
    growth.next()
    last.set(figures.lastMs / 1000)
  }
}
