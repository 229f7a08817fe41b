/** Prometheus metrics of an operator, read when they are scraped. Every name is in docs/metrics.md. */
import { Counter, Gauge, Registry } from 'prom-client'
import { addOperatorAliases } from './metrics/aliases.ts'
import { addProcessMetrics } from './metrics/process.ts'
import { Growth } from './metrics/growth.ts'

/** Of a pool and family. */
export interface PoolSeries {
  readonly pool: string
  readonly family: string
  readonly total: number
  readonly used: number
}

export interface OperatorMetrics {
  readonly version: string
  readonly isLeader: boolean
  readonly isSynced: boolean
  readonly services: Readonly<Record<string, number>>
  readonly pools: readonly PoolSeries[]
  readonly problems: Readonly<Record<string, number>>
  /** Objects of the configuration that are not accepted as they are written. */
  readonly notAccepted: number
  /** Those of them of which an older version is in force, or none. */
  readonly broken: number
  /** By what is written and how it ended. */
  readonly outcomes: Readonly<Record<string, Readonly<Record<string, number>>>>
  readonly waiting: Readonly<Record<string, number>>
  readonly inFlight: number
  readonly unreadableKinds: readonly string[]
  readonly droppedEvents: number
  readonly lostLogLines: number
}

/** Answers the text exposition; with `hasAliases` also under names that are off by default. */
export function createOperatorMetrics(hasAliases = false): (metrics: OperatorMetrics) => Promise<string> {
  const registry = new Registry()
  const setters = [addStateMetrics(registry), addPoolMetrics(registry), addWriteMetrics(registry)]
  const setProcess = addProcessMetrics(registry)
  const setAliases = hasAliases ? addOperatorAliases(registry) : undefined
  return (metrics) => {
    for (const set of setters) set(metrics)
    setAliases?.({ ...metrics, staleObjects: metrics.broken })
    setProcess({ status: { version: metrics.version } })
    return registry.metrics()
  }
}

type Setter = (metrics: OperatorMetrics) => void

function addStateMetrics(registry: Registry): Setter {
  const gauge = (name: string, help: string, ...labelNames: string[]): Gauge =>
    new Gauge({ name, help, labelNames, registers: [registry] })
  const leader = gauge('herald_operator_leader', '1 when this process holds the Lease')
  const synced = gauge('herald_operator_synced', '1 when every object was read once; before, nothing is given away')
  const services = gauge('herald_operator_services', 'LoadBalancer Services of a served class by state', 'state')
  const problems = gauge('herald_operator_object_problems', 'Objects that are broken, or half honoured', 'severity')
  const notAccepted = gauge(
    'herald_operator_configuration_not_accepted',
    'Objects of the configuration that are not accepted as they are written',
  )
  const unreadable = gauge('herald_operator_kind_unreadable', '1 for each kind that cannot be read now', 'kind')
  return (metrics) => {
    leader.set(metrics.isLeader ? 1 : 0)
    synced.set(metrics.isSynced ? 1 : 0)
    for (const [state, count] of Object.entries(metrics.services)) services.set({ state }, count)
    for (const [severity, count] of Object.entries(metrics.problems)) problems.set({ severity }, count)
    notAccepted.set(metrics.notAccepted)
    unreadable.reset()
    for (const kind of metrics.unreadableKinds) unreadable.set({ kind }, 1)
  }
}

function addPoolMetrics(registry: Registry): Setter {
  const gauge = (name: string, help: string): Gauge =>
    new Gauge({ name, help, labelNames: ['pool', 'family'], registers: [registry] })
  const total = gauge('herald_operator_pool_addresses', 'Addresses that a pool may give away')
  const used = gauge('herald_operator_pool_addresses_used', 'Addresses of a pool that Services hold')
  return ({ pools }) => {
    total.reset()
    used.reset()
    for (const each of pools) {
      const { pool, family } = each
      total.set({ pool, family }, each.total)
      used.set({ pool, family }, each.used)
    }
  }
}

function addWriteMetrics(registry: Registry): Setter {
  const registers = [registry]
  const writes = new Counter({
    name: 'herald_operator_writes_total',
    help: 'Writes to the API server by what is written and how it ended',
    labelNames: ['what', 'outcome'],
    registers,
  })
  const waiting = new Gauge({
    name: 'herald_operator_writes_waiting',
    help: 'Writes that wait for their turn',
    labelNames: ['what'],
    registers,
  })
  const inFlight = new Gauge({ name: 'herald_operator_writes_in_flight', help: 'Writes under way', registers })
  const dropped = new Counter({
    name: 'herald_operator_events_dropped_total',
    help: 'Events that were not written, since too many waited',
    registers,
  })
  const lost = new Counter({
    name: 'herald_log_lines_lost_total',
    help: 'Lines of the log that could not be written',
    registers,
  })
  const growth = new Growth()
  return (metrics) => {
    for (const [what, outcomes] of Object.entries(metrics.outcomes))
      for (const [outcome, count] of Object.entries(outcomes))
        writes.inc({ what, outcome }, growth.of(`${what} ${outcome}`, count))
    for (const [what, count] of Object.entries(metrics.waiting)) waiting.set({ what }, count)
    inFlight.set(metrics.inFlight)
    dropped.inc(growth.of('dropped', metrics.droppedEvents))
    lost.inc(growth.of('lost', metrics.lostLogLines))
    growth.next()
  }
}
