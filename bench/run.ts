/**
 * `npm run bench`, with the names of parts after `--` for these alone: figures, each beside its goal. Bounded, and in a
 * network namespace of its own, so that nothing else is met.
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { benchAnnounce } from './announce.ts'
import { benchRows, readFlags } from './flags.ts'
import { benchAsking } from './asking.ts'
import { benchEvents } from './events.ts'
import { benchFullTable } from './full-table.ts'
import { benchKernel } from './kernel.ts'
import { benchKubernetes } from './kubernetes.ts'
import { benchLatency } from './latency.ts'
import { printMachine } from './report.ts'
import { benchServiceScale } from './service-scale.ts'
import { benchSource } from './source.ts'
import { benchStart } from './start.ts'
import { benchSurvive, surviveRows } from './survive.ts'

const parts: Readonly<Record<string, () => Promise<void>>> = {
  announce: benchAnnounce,
  latency: benchLatency,
  'full-table': benchFullTable,
  start: benchStart,
  asking: benchAsking,
  kernel: benchKernel,
  'service-scale': benchServiceScale,
  source: benchSource,
  events: benchEvents,
  kubernetes: benchKubernetes,
  survive: () => benchSurvive(benchRows()),
}
const inside = 'HERALD_BENCH_NAMESPACE'

const { parts: wanted, rows: wantedRows, env } = readFlags(process.argv.slice(2))
const unknown = wanted.filter((name) => parts[name] === undefined)
const unknownRows = wantedRows.filter((name) => !surviveRows.includes(name))
if (unknown.length > 0) {
  console.error(`no such part: ${unknown.join(' ')}; there are ${Object.keys(parts).join(', ')}`)
  process.exitCode = 2
} else if (unknownRows.length > 0) {
  console.error(`no row ${unknownRows.join(' ')}; there are ${surviveRows.join(', ')}`)
  process.exitCode = 2
} else if (process.geteuid?.() !== 0) {
  console.error('the benchmarks need root: a network namespace and bpf(2)')
  process.exitCode = 3
} else if (process.env[inside] === undefined) {
  // Loopback with the segment size of an Ethernet, as routers see it.
  const script = 'ip link set lo mtu 1500 up && exec "$0" "$@"'
  const child = spawnSync(
    'unshare',
    ['--net', '--mount', 'sh', '-c', script, process.execPath, fileURLToPath(import.meta.url), ...wanted],
    { stdio: 'inherit', env: { ...process.env, ...env, [inside]: '1' } },
  )
  process.exitCode = child.status ?? 1
} else {
  printMachine()
  for (const name of wanted.length === 0 ? Object.keys(parts) : wanted) await parts[name]?.()
}
