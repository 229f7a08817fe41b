/**
 * Host routes with equal attributes to four routers: from Established to the last prefix at the slowest one, with BIRD,
 * OpenBGPD, GoBGP and FRR doing the same job in the same run. All hold the routes before the sessions come up.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Announcer, type AnnouncerEngine, announcers } from './announcers.ts'
import { startSpeakerThread } from '../src/speaker/speaker-thread.ts'
import { usageOf } from './receivers.ts'
import { hostRoute, neighbors, sinkAddresses, sinkAsn, sinkPort } from './neighbors.ts'
import { median, ms, printTable, type Row } from './report.ts'
import { type Sinks, type SinkState, startSinks } from './sink.ts'

const repetitions = 3
/** Some daemons take minutes for what others do in milliseconds. */
const engineDeadlineMs = 45_000
/** Goals per size: time, and UPDATEs per peer 2 + n/800. */
const sizes = [
  { n: 1_000, goalMs: undefined },
  { n: 10_000, goalMs: 30 },
  { n: 100_000, goalMs: 200 },
] as const

interface Run {
  /** At the slowest router, and at the one in the middle. */
  readonly elapsedMs: number
  readonly medianPeerMs: number
  readonly updates: number
  /** Of an engine that is a process of its own. */
  readonly rssMiB: number
  /** What the routers needed to read it, all four in one thread. */
  readonly routersMs: number
}

/** Why a round of an engine has no figures. */
interface Failure {
  readonly problem: string
}

export async function benchAnnounce(): Promise<void> {
  for (const host of [1, 2]) spawnSync('ip', ['address', 'add', `10.98.0.${host}/32`, 'dev', 'lo'])
  const sinks = await startSinks({ addresses: sinkAddresses, port: sinkPort, asn: sinkAsn })
  const rows: Row[] = []
  try {
    for (const { n, goalMs } of sizes) {
      const ours: Run[] = []
      const theirs = new Map<string, (Run | Failure)[]>()
      for (let i = 0; i < repetitions; i++) {
        console.log(`  ${n} routes, round ${i + 1} of ${repetitions}`)
        ours.push(await runHerald(sinks, n))
        // In turn, so that a slow phase of the machine meets all.
        for (const engine of announcers.filter(({ program }) => existsSync(program)))
          theirs.set(engine.name, [...(theirs.get(engine.name) ?? []), await runEngine(engine, sinks, n)])
      }
      rows.push(...rowsOf(n, goalMs, ours, theirs))
    }
  } finally {
    await sinks.stop()
  }
  printTable(`Established -> n host routes at 4 peers (slowest), median of ${repetitions}`, rows)
}

function rowsOf(
  n: number,
  goalMs: number | undefined,
  ours: readonly Run[],
  theirs: ReadonlyMap<string, readonly (Run | Failure)[]>,
): Row[] {
  const own = median(ours.map((run) => run.elapsedMs))
  const most = Math.max(...ours.map((run) => run.updates))
  const goalUpdates = Math.floor(2 + n / 800)
  const anchors = announcers.map(({ name }) => anchorOf(n, name, theirs.get(name)))
  const fastest = Math.min(...anchors.flatMap(({ time }) => time ?? []))
  return [
    {
      what: `${n} routes, herald`,
      value: `${ms(own)}`,
      ...(goalMs === undefined ? {} : { goal: `<= ${goalMs} ms`, isMet: own <= goalMs }),
    },
    {
      what: `${n} routes, herald, UPDATEs per peer`,
      value: String(most),
      goal: `<= ${goalUpdates}`,
      isMet: most <= goalUpdates,
    },
    {
      what: `${n} routes, the routers' own reading of that, all four`,
      value: ms(median(ours.map((run) => run.routersMs))),
    },
    ...anchors.map(({ row }) => row),
    ...(Number.isFinite(fastest)
      ? [
          {
            what: `${n} routes, herald slowest / fastest other's middle`,
            value: `${(own / fastest).toFixed(2)}x`,
            goal: '< 1.00x',
            isMet: own < fastest,
          },
        ]
      : []),
  ]
}

function anchorOf(
  n: number,
  name: string,
  rounds: readonly (Run | Failure)[] | undefined,
): { readonly row: Row; readonly time?: number } {
  const what = `${n} routes, ${name}, middle peers (slowest)`
  if (rounds === undefined) return { row: { what, value: 'not installed' } }
  const runs = rounds.filter((round) => 'elapsedMs' in round)
  const problems = rounds.flatMap((round) => ('problem' in round ? round.problem : []))
  const failed = problems.length === 0 ? '' : `${problems.length} of ${rounds.length} rounds: ${problems[0] ?? ''}`
  if (runs.length === 0) return { row: { what, value: failed } }
  // BIRD often leaves one of its peers waiting for its next poll, up to 3 s: the peers in the middle are the fair
  // anchor.
  const [middle, slowest] = [median(runs.map((run) => run.medianPeerMs)), median(runs.map((run) => run.elapsedMs))]
  const value =
    `${ms(middle)} (${ms(slowest)}), ${Math.max(...runs.map((run) => run.updates))} UPDATEs, RSS ` +
    `${Math.round(median(runs.map((run) => run.rssMiB)))} MiB`
  return { row: { what, value: failed === '' ? value : `${value}; ${failed}` }, time: middle }
}

async function arrived(sinks: Sinks, n: number, deadlineMs?: number): Promise<Run> {
  const isComplete = (state: SinkState): boolean => state.isEstablished && state.announced >= n
  await sinks.until(
    `${n} routes at every router`,
    (states) => states.length === sinkAddresses.length && states.every(isComplete),
    deadlineMs,
  )
  const states = [...sinks.states.values()]
  const elapsed = states.map((state) => state.lastAt - state.establishedAt)
  return {
    elapsedMs: Math.max(...elapsed),
    medianPeerMs: median(elapsed),
    updates: Math.max(...states.map((state) => state.updates)),
    rssMiB: 0,
    routersMs: states.reduce((sum, state) => sum + state.busyMs, 0),
  }
}

const gone = (sinks: Sinks): Promise<void> =>
  sinks.until('the sessions to end', (states) => states.every((state) => !state.isEstablished))

async function runHerald(sinks: Sinks, n: number): Promise<Run> {
  const speaker = startSpeakerThread({ isRestart: false, isForwardingPreserved: false })
  const all = neighbors()
  const ids = all.map((neighbor) => neighbor.id)
  // In slices, as the agent posts them.
  for (let from = 0; from < n; from += 1_000) {
    const prefixes = Array.from({ length: Math.min(1_000, n - from) }, (_, i) => ({
      prefix: hostRoute(from + i),
      routes: [{ neighbors: ids, attributes: {} }],
    }))
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

async function runEngine(engine: AnnouncerEngine, sinks: Sinks, n: number): Promise<Run | Failure> {
  const folder = mkdtempSync(join(tmpdir(), 'bn-announce-'))
  let announcer: Announcer | undefined
  try {
    announcer = await engine.start(folder, n)
    const run = await arrived(sinks, n, engineDeadlineMs)
    return { ...run, rssMiB: usageOf(announcer.pids).rssBytes / 2 ** 20 }
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) }
  } finally {
    await announcer?.stop()
    await gone(sinks)
    rmSync(folder, { recursive: true, force: true })
  }
}
