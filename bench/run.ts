/**
 * `npm run bench`, with the names of parts after `--` for these alone: figures, each beside its goal. Bounded, and in a
 * network namespace of its own, so that nothing else is met.
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { asksForHelp, refuse } from '../scripts/setup/arguments.ts'
import { messageOf } from '../src/errors.ts'
import { benchAnnounce } from './announce.ts'
import { benchRows, type Flags, readFlags } from './flags.ts'
import { benchAsking } from './asking.ts'
import { benchEvents } from './events.ts'
import { benchFullTable } from './full-table.ts'
import { benchKernel } from './kernel.ts'
import { benchKubernetes } from './kubernetes.ts'
import { benchLatency } from './latency.ts'
import { benchPastNetfilter } from './past-netfilter.ts'
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
  'past-netfilter': benchPastNetfilter,
  'service-scale': benchServiceScale,
  source: benchSource,
  events: benchEvents,
  kubernetes: benchKubernetes,
  survive: () => benchSurvive(benchRows()),
}
const inside = 'HERALD_BENCH_NAMESPACE'

const usage =
  'npm run bench [-- PART ... [--services N] [--flows N] [--announcer CMD [--manifests FILE]]]\n' +
  `parts: ${Object.keys(parts).join(', ')}\n` +
  `survive [ROW ...]: ${surviveRows.join(', ')}`

/** undefined: what was given is no benchmark, and that was said. */
function wanted(words: readonly string[]): Flags | undefined {
  let given: Flags
  try {
    given = readFlags(words)
  } catch (error) {
    process.exitCode = refuse(usage, asksForHelp(words) ? undefined : messageOf(error))
    return undefined
  }
  const unknown = given.parts.filter((name) => !Object.hasOwn(parts, name))
  const unknownRows = given.rows.filter((name) => !surviveRows.includes(name))
  if (unknown.length + unknownRows.length === 0) return given
  process.exitCode = refuse(
    usage,
    `there is no ${unknown.length > 0 ? 'part' : 'row'} ${[...unknown, ...unknownRows].join(' ')}`,
  )
  return undefined
}

async function run({ parts: names, env }: Flags): Promise<void> {
  if (process.geteuid?.() !== 0) {
    console.error('the benchmarks need root: a network namespace and bpf(2)')
    process.exitCode = 3
  } else if (process.env[inside] === undefined) {
    // Loopback with the segment size of an Ethernet, as routers see it.
    const script = 'ip link set lo mtu 1500 up && exec "$0" "$@"'
    const child = spawnSync(
      'unshare',
      ['--net', '--mount', 'sh', '-c', script, process.execPath, fileURLToPath(import.meta.url), ...names],
      { stdio: 'inherit', env: { ...process.env, ...env, [inside]: '1' } },
    )
    process.exitCode = child.status ?? 1
  } else {
    printMachine()
    for (const name of names.length === 0 ? Object.keys(parts) : names) await parts[name]?.()
  }
}

const given = wanted(process.argv.slice(2))
if (given !== undefined) await run(given)
