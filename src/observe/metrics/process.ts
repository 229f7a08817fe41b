/**
 * The process, under the names that every Prometheus client uses. The library's own collector would wake the process a
 * hundred times a second.
 */
import { performance } from 'node:perf_hooks'
import { Counter, Gauge, type Registry } from 'prom-client'
import { Growth } from './growth.ts'

/** Of an agent or an operator. */
interface VersionedSnapshot {
  readonly status: { readonly version: string }
}

export function addProcessMetrics(registry: Registry): (snapshot: VersionedSnapshot) => void {
  const registers = [registry]
  const build = new Gauge({
    name: 'herald_build_info',
    help: 'Always 1; the labels say what runs',
    labelNames: ['version', 'node_version'],
    registers,
  })
  const cpu = new Counter({
    name: 'process_cpu_seconds_total',
    help: 'CPU time of all threads, user and system',
    registers,
  })
  const memory = new Gauge({ name: 'process_resident_memory_bytes', help: 'Resident memory', registers })
  const start = new Gauge({
    name: 'process_start_time_seconds',
    help: 'Start of the process, seconds since the epoch',
    registers,
  })
  const busy = new Gauge({
    name: 'herald_event_loop_utilization_ratio',
    help: 'Share of time since the scrape before that the main loop was busy, 0 to 1',
    registers,
  })
  const growth = new Growth()
  let loop = performance.eventLoopUtilization()
  start.set(performance.timeOrigin / 1000)
  return ({ status }) => {
    build.set({ version: status.version, node_version: process.version }, 1)
    const { user, system } = process.cpuUsage()
    cpu.inc(growth.of('cpu', (user + system) / 1e6))
    growth.next()
    memory.set(residentBytes())
    const now = performance.eventLoopUtilization()
    busy.set(performance.eventLoopUtilization(now, loop).utilization)
    loop = now
  }
}

/** Not a number where it cannot be seen: without a descriptor to spare, or without procfs. */
function residentBytes(): number {
  try {
    return process.memoryUsage.rss()
  } catch {
    return Number.NaN
  }
}
