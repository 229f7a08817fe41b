/** From the start of the process to the first and the last UPDATE of 5 000 Services; memory and CPU at rest. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { writeManifests } from './manifests.ts'
import { sinkAddresses, sinkAsn, sinkPort } from './neighbors.ts'
import { buildProgram } from '../scripts/build.ts'
import { AgentProcess } from './process.ts'
import { ms, nowMs, printTable, type Row } from './report.ts'
import { startSinks } from './sink.ts'

const services = 5_000
/** Until the start's garbage is collected and its memory given back, 20 s after it at the latest (src/herald.ts). */
const restMs = 25_000
const idleMs = 10_000

export async function benchStart(): Promise<void> {
  const built = buildProgram()
  const sources = fileURLToPath(new URL('../src/cli/herald.ts', import.meta.url))
  const idle = await run(1, built)
  const loaded = await run(services, built)
  const unbundled = { idle: await run(1, sources), loaded: await run(services, sources) }
  const rows: Row[] = [
    {
      what: `start -> first UPDATE, ${services} Services`,
      value: ms(loaded.firstMs),
      goal: '<= 1500 ms',
      isMet: loaded.firstMs <= 1_500,
    },
    { what: `start -> last UPDATE, ${services} Services`, value: ms(loaded.lastMs) },
    { what: 'RSS idle', value: `${idle.rssMiB.toFixed(0)} MiB`, goal: '<= 80 MB', isMet: idle.rssMiB <= 76 },
    {
      what: `RSS with ${services} Services and 4 peers`,
      value: `${loaded.rssMiB.toFixed(0)} MiB`,
      goal: '<= 120 MB',
      isMet: loaded.rssMiB <= 114,
    },
    { what: 'RSS idle, sources without bundler', value: `${unbundled.idle.rssMiB.toFixed(0)} MiB` },
    {
      what: `RSS with ${services} Services and 4 peers, sources without bundler`,
      value: `${unbundled.loaded.rssMiB.toFixed(0)} MiB`,
    },
    {
      what: 'CPU idle',
      value: `${idle.cpuPercent.toFixed(2)} % of a core`,
      goal: '< 0.5 %',
      isMet: idle.cpuPercent < 0.5,
    },
    {
      what: `CPU idle, ${services} Services`,
      value: `${loaded.cpuPercent.toFixed(2)} % of a core`,
      goal: '< 0.5 %',
      isMet: loaded.cpuPercent < 0.5,
    },
  ]
  printTable('The agent as a process (manifests, --datapath none, 4 routers)', rows)
}

async function run(
  n: number,
  program: string,
): Promise<{
  readonly firstMs: number
  readonly lastMs: number
  readonly rssMiB: number
  readonly cpuPercent: number
}> {
  const folder = mkdtempSync(join(tmpdir(), 'bn-start-'))
  writeManifests(join(folder, 'manifests'), n)
  const sinks = await startSinks({ addresses: sinkAddresses, port: sinkPort, asn: sinkAsn })
  const at = nowMs()
  const agent = new AgentProcess(folder, program, '--datapath', 'none')
  try {
    await sinks.until(
      `${n} Services at every router`,
      (states) => states.length === sinkAddresses.length && states.every((state) => state.announced >= n),
    )
    const states = [...sinks.states.values()]
    await rest(restMs)
    const before = agent.cpuMs
    await rest(idleMs)
    return {
      firstMs: Math.min(...states.map((state) => state.firstAt)) - at,
      lastMs: Math.max(...states.map((state) => state.lastAt)) - at,
      rssMiB: agent.rssMiB,
      cpuPercent: ((agent.cpuMs - before) / idleMs) * 100,
    }
  } finally {
    await agent.stop()
    await sinks.stop()
    rmSync(folder, { recursive: true })
  }
}

const rest = (forMs: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, forMs))
