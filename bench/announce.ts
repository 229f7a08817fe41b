/**
 * Host routes with equal attributes to four routers: from Established to the last prefix at the slowest one, with BIRD
 * doing the same job in the same run. Both hold the routes before the sessions come up.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startSpeakerThread } from '../src/bgp/speaker/speaker-thread.ts'
import { hostRoute, neighbors, sinkAddresses, sinkAsn, sinkPort } from './neighbors.ts'
import { median, ms, printTable, type Row } from './report.ts'
import { type Sinks, type SinkState, startSinks } from './sink.ts'

const repetitions = 3
/** Goals per size: time, and UPDATEs per peer 2 + n/800. */
const sizes = [{ n: 1_000, goalMs: undefined }, { n: 10_000, goalMs: 30 }, { n: 100_000, goalMs: 200 }] as const

interface Run {
  /** At the slowest router, and at the one in the middle. */
  readonly elapsedMs: number
  readonly medianPeerMs: number
  readonly updates: number
}

export async function benchAnnounce(): Promise<void> {
  const sinks = await startSinks({ addresses: sinkAddresses, port: sinkPort, asn: sinkAsn })
  const hasBird = spawnSync('bird', ['--version']).status === 0
  const rows: Row[] = []
  try {
    for (const { n, goalMs } of sizes) {
      const ours: Run[] = []
      const birds: Run[] = []
      // In turn, so that a slow phase of the machine meets both.
      for (let i = 0; i < repetitions; i++) {
        ours.push(await runHerald(sinks, n))
        if (hasBird) birds.push(await runBird(sinks, n))
      }
      rows.push(...rowsOf(n, goalMs, ours, birds))
    }
  } finally {
    await sinks.stop()
  }
  printTable(`Established -> n host routes at 4 peers (slowest), median of ${repetitions}`, rows)
}

function rowsOf(n: number, goalMs: number | undefined, ours: readonly Run[], birds: readonly Run[]): Row[] {
  const own = median(ours.map((run) => run.elapsedMs))
  const most = Math.max(...ours.map((run) => run.updates))
  const goalUpdates = Math.floor(2 + n / 800)
  const rows: Row[] = [
    { what: `${n} routes, herald`, value: ms(own), ...(goalMs === undefined ? {} : { goal: `<= ${goalMs} ms`, isMet: own <= goalMs }) },
    { what: `${n} routes, herald, UPDATEs per peer`, value: String(most), goal: `<= ${goalUpdates}`, isMet: most <= goalUpdates },
  ]
  if (birds.length === 0) return rows
  // BIRD often leaves one of its peers waiting for its next poll, up to 3 s: its middle peer is the fair anchor.
  const bird = median(birds.map((run) => run.medianPeerMs))
  const slowest = median(birds.map((run) => run.elapsedMs))
  return [
    ...rows,
    { what: `${n} routes, bird, middle peer (slowest)`, value: `${ms(bird)} (${ms(slowest)}), ${Math.max(...birds.map((run) => run.updates))} UPDATEs` },
    { what: `${n} routes, herald slowest / bird middle`, value: `${(own / bird).toFixed(2)}x`, goal: '< 1.00x', isMet: own < bird },
  ]
}

async function arrived(sinks: Sinks, n: number): Promise<Run> {
  const isComplete = (state: SinkState): boolean => state.isEstablished && state.announced >= n
  await sinks.until(`${n} routes at every router`, (states) => states.length === sinkAddresses.length && states.every(isComplete))
  const states = [...sinks.states.values()]
  const elapsed = states.map((state) => state.lastAt - state.establishedAt)
  return { elapsedMs: Math.max(...elapsed), medianPeerMs: median(elapsed), updates: Math.max(...states.map((state) => state.updates)) }
}

const gone = (sinks: Sinks): Promise<void> => sinks.until('the sessions to end', (states) => states.every((state) => !state.isEstablished))

async function runHerald(sinks: Sinks, n: number): Promise<Run> {
  const speaker = startSpeakerThread({ isRestart: false, isForwardingPreserved: false })
  const all = neighbors()
  const ids = all.map((neighbor) => neighbor.id)
  // In slices, as the agent posts them.
  for (let from = 0; from < n; from += 1_000) {
    const prefixes = Array.from({ length: Math.min(1_000, n - from) }, (_, i) => ({ prefix: hostRoute(from + i), routes: [{ neighbors: ids, attributes: {} }] }))
    speaker.post({ type: 'routes', prefixes })
  }
  speaker.post({ type: 'synced' })
  await speaker.peers()
  speaker.post({ type: 'configure', neighbors: all })
  try {
    return await arrived(sinks, n)
  } finally {
    await speaker.stop('shutdown', '')
    await gone(sinks)
  }
}

async function runBird(sinks: Sinks, n: number): Promise<Run> {
  const folder = mkdtempSync(join(tmpdir(), 'bn-bird-'))
  const control = join(folder, 'bird.ctl')
  writeFileSync(join(folder, 'bird.conf'), birdConfiguration(n))
  const bird = spawn('bird', ['-f', '-c', join(folder, 'bird.conf'), '-s', control, '-P', join(folder, 'bird.pid')], { stdio: 'ignore' })
  try {
    return await arrived(sinks, n)
  } finally {
    bird.kill('SIGTERM')
    await new Promise((resolve) => bird.once('exit', resolve))
    await gone(sinks)
    rmSync(folder, { recursive: true })
  }
}

function birdConfiguration(n: number): string {
  const routes = Array.from({ length: n }, (_, i) => `  route ${hostRoute(i)} blackhole;`).join('\n')
  const peers = sinkAddresses.map((address, i) => `protocol bgp peer${i} {
  local 127.0.0.1 as 65001;
  neighbor ${address} port ${sinkPort} as ${sinkAsn};
  multihop 2;
  connect delay time 1;
  ipv4 { import none; export all; next hop self; };
}`).join('\n')
  return `log "/dev/null" all;\nrouter id 192.0.2.8;\nprotocol device {}\nprotocol static hosts {\n  ipv4;\n${routes}\n}\n${peers}\n`
}
