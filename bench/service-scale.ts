/**
 * `npm run bench -- service-scale`: 10 000 Services from the start of a process to the last one programmed, and what a
 * change of one endpoint costs the loop. The packets' side, and other numbers of Services, are in kernel.ts.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildBpf } from '../scripts/build-bpf.ts'
import { agentFlags } from '../src/cli/hand-over.ts'
import { unloadDatapath } from '../src/datapath/unload.ts'
import { mountBpffs, unmountBpffs } from '../src/sys/mount.ts'
import { median, ms, nowMs, printTable, quantile, type Row } from './report.ts'
import type { CallTime } from './library-time.ts'
import type { ServiceFigures } from './service-process.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
/** The middle one of these, by the time until everything is programmed. */
const starts = 3

export function benchServiceScale(): Promise<void> {
  const objectFile = buildBpf()
  // Inside the checkout, whose node_modules has koffi.
  const place = join(root, 'build')
  mkdirSync(place, { recursive: true })
  const folder = mkdtempSync(join(place, 'bench-'))
  try {
    const program = bundled(folder)
    const runs = Array.from({ length: starts }, () => measuredStart(program, objectFile))
    runs.sort((a, b) => a.endMs - b.endMs)
    const run = runs[starts >> 1]
    if (run !== undefined) printTable('10 000 Services x 2 backends, from the start of a process', rowsOf(run))
  } finally {
    rmSync(folder, { recursive: true })
  }
  return Promise.resolve()
}

/** As the agent is built and run: reading sources costs a process memory and time that a node does not spend. */
function bundled(folder: string): string {
  const options = {
    entryPoints: ['bench/service-process.ts'],
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'cjs',
    external: ['koffi'],
    outdir: folder,
    outExtension: { '.js': '.cjs' },
    logLevel: 'warning',
  }
  const script = join(root, 'scripts/bundle.ts')
  execFileSync(process.execPath, [script, JSON.stringify(options), join(folder, 'inputs.json')], { cwd: root })
  return join(folder, 'service-process.cjs')
}

interface Start extends ServiceFigures {
  /** From before the process was started until it had ended. */
  readonly endMs: number
}

function measuredStart(program: string, objectFile: string): Start {
  const bpffs = mkdtempSync(join(tmpdir(), 'bn-bpf-'))
  mountBpffs(bpffs)
  try {
    const startedMs = nowMs()
    const line = execFileSync(process.execPath, [...agentFlags, program, bpffs, objectFile], { encoding: 'utf8' })
    return { endMs: nowMs() - startedMs, ...(JSON.parse(line) as ServiceFigures) }
  } finally {
    unloadDatapath(bpffs)
    unmountBpffs(bpffs)
    rmdirSync(bpffs)
  }
}

function callsOf({ calls, ms: spent }: CallTime): string {
  return `${ms(spent)} in ${calls}`
}

function rowsOf(run: Start): Row[] {
  const changeMs = median(run.changesMs)
  return [
    {
      what: 'process start -> all programmed, Maglev tables and probes included',
      value: ms(run.programmedMs),
      goal: '<= 1000 ms',
      isMet: run.programmedMs <= 1_000,
    },
    {
      what: '  of it: until modules are read / programs and maps are there',
      value: `${ms(run.importedMs)} / ${ms(run.openedMs)}`,
    },
    { what: '  of it: first to last Service', value: ms(run.writeMs) },
    {
      what: '  of it: calls that write maps',
      value: callsOf(run.mapWrites),
      goal: '< 100 ms',
      isMet: run.mapWrites.ms < 100,
    },
    {
      what: '  of it: calls that read them back / that run test packets',
      value: `${callsOf(run.readBacks)} / ${callsOf(run.probes)}`,
    },
    { what: '  of it: time in the kernel, memory and threads of the engine included', value: ms(run.kernelMs) },
    {
      what: 'longest turn of the loop',
      value: ms(run.longestTurnMs),
      goal: '<= 20 ms',
      isMet: run.longestTurnMs <= 20,
    },
    { what: 'RSS', value: `${run.rssMiB.toFixed(0)} MiB`, goal: '<= 120 MiB', isMet: run.rssMiB <= 120 },
    { what: '  at rest, as the agent gives back what its start took', value: `${run.restMiB.toFixed(0)} MiB` },
    {
      what: 'one endpoint of 300 changes, p50 / p95',
      value: `${ms(changeMs)} / ${ms(quantile(run.changesMs, 0.95))}`,
      goal: '<= 2 ms',
      isMet: changeMs <= 2,
    },
  ]
}
