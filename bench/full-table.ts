/**
 * A full table from one router: 1 000 000 prefixes in 200 000 attribute sets, from Established until the receiver says
 * that it has all of them. Herald and every daemon that is installed, one after the other, in the same run.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Feed, startFeed } from './feeder.ts'
import { type Engine, engines, feederAsn, type Receiver, receiverAddress, type Usage, usageOf } from './receivers.ts'
import { median, ms, nowMs, printTable, type Row } from './report.ts'

const prefixes = Number(process.env['HERALD_BENCH_PREFIXES'] ?? 1_000_000)
const deadlineMs = 180_000
/** A question to a daemon costs some tens of milliseconds: its answer is that much late at most. */
const pollMs = 20
const goalBytes = 100
/** Herald and BIRD in turn, so that a slow phase of the machine meets both; the others are far away. */
const rounds = 5
/** Tables in a row beside the session with the short hold time, which is about twice that time. */
const watchedTables = 10

interface Result {
  readonly elapsedMs: number
  readonly cpuMs: number
  readonly rssBytes: number
  readonly bytesPerPrefix: number
}

export async function benchFullTable(): Promise<void> {
  for (const host of [1, 2, 3]) spawnSync('ip', ['address', 'add', `10.98.0.${host}/32`, 'dev', 'lo'])
  const [ours, reference, ...others] = engines
  const results = new Map<Engine, Result[]>()
  const problems = new Map<Engine, string>()
  const run = async (engine: Engine, note: string): Promise<number> => {
    if (!existsSync(engine.program)) {
      problems.set(engine, 'not installed')
      return Number.NaN
    }
    console.log(`  ${engine.name} takes ${prefixes} prefixes${note}`)
    const result = await take(engine, measure)
    if (typeof result === 'string') problems.set(engine, result)
    else results.set(engine, [...(results.get(engine) ?? []), result])
    return typeof result === 'string' ? Number.NaN : result.elapsedMs
  }
  const ratios: number[] = []
  for (let round = 1; round <= rounds; round++) {
    // Neither is always the first.
    const isOursFirst = round % 2 === 1
    const note = `, round ${round} of ${rounds}`
    const first = await run(isOursFirst ? ours : reference, note)
    const second = await run(isOursFirst ? reference : ours, note)
    const ratio = isOursFirst ? first / second : second / first
    if (!Number.isNaN(ratio)) ratios.push(ratio)
  }
  for (const engine of others) await run(engine, '')
  console.log(`  ${ours.name} takes ${watchedTables} tables beside a session with a hold time of 3 s`)
  const gapMs = await take(ours, watch, watchedTables)
  const rows = engines.flatMap((engine) => rowsOf(engine, results.get(engine) ?? [], problems.get(engine)))
  printTable(`Established -> ${prefixes} prefixes received, ${prefixes / 5} attribute sets`, [
    ...rows,
    ...goalRows(results.get(ours) ?? [], ratios, gapMs),
  ])
}

const range = (values: readonly number[], show: (value: number) => string): string =>
  values.length === 1
    ? show(median(values))
    : `${show(median(values))} (${show(Math.min(...values))} to ${show(Math.max(...values))})`
const middle = (results: readonly Result[], figure: keyof Result): number =>
  median(results.map((result) => result[figure]))

function rowsOf({ name }: Engine, results: readonly Result[], problem: string | undefined): Row[] {
  const failed = problem === undefined ? [] : [{ what: name, value: problem }]
  if (results.length === 0) return failed
  const elapsed = results.map(({ elapsedMs }) => elapsedMs)
  const mebibytes = Math.round(middle(results, 'rssBytes') / 2 ** 20)
  const memory = `RSS ${mebibytes} MiB, ${Math.round(middle(results, 'bytesPerPrefix'))} B/prefix`
  const value = `${range(elapsed, ms)}, CPU ${ms(middle(results, 'cpuMs'))}, ${memory}`
  return [{ what: name, value }, ...failed]
}

/** `ratios`: of the rounds; a slow phase of the machine meets both of a round. */
function goalRows(ours: readonly Result[], ratios: readonly number[], gapMs: number | string): Row[] {
  const ratio = median(ratios)
  const bytes = middle(ours, 'bytesPerPrefix')
  return [
    ...(Number.isNaN(ratio)
      ? []
      : [
          {
            what: `herald / BIRD, median of ${ratios.length} rounds`,
            value: range(ratios, (each) => `${each.toFixed(2)}x`),
            goal: '<= 0.90x',
            isMet: ratio <= 0.9,
          },
        ]),
    {
      what: 'herald, memory per prefix',
      value: `${Math.round(bytes)} B`,
      goal: `<= ${goalBytes} B`,
      isMet: bytes <= goalBytes,
    },
    {
      what: `herald, ${watchedTables} tables in a row: longest time without a KEEPALIVE on a 3 s session`,
      value: typeof gapMs === 'string' ? gapMs : Number.isFinite(gapMs) ? ms(gapMs) : 'session lost',
      goal: '< 3000 ms',
      isMet: typeof gapMs === 'number' && gapMs < 3_000,
    },
  ]
}

/** Starts an engine and a feed and answers what `observe` sees, or why it could not. */
async function take<T>(
  engine: Engine,
  observe: (receiver: Receiver, feed: Feed, before: Usage) => Promise<T>,
  times = 1,
): Promise<T | string> {
  const folder = mkdtempSync(join(tmpdir(), 'bn-table-'))
  let receiver: Receiver | undefined
  let feed: Feed | undefined
  try {
    receiver = await engine.start(folder)
    const before = usageOf(receiver.pids)
    feed = await startFeed({ receiver: receiverAddress, asn: feederAsn, prefixes, times }, times > 1)
    return await observe(receiver, feed, before)
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  } finally {
    await feed?.stop()
    await receiver?.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

async function measure(receiver: Receiver, { establishedAt }: Feed, before: Usage): Promise<Result | string> {
  while ((await receiver.count()) < prefixes) {
    if (nowMs() > establishedAt + deadlineMs)
      return `not within ${deadlineMs / 1000} s (${await receiver.count()} prefixes)`
    await new Promise((resolve) => setTimeout(resolve, pollMs))
  }
  const elapsedMs = nowMs() - establishedAt
  const after = usageOf(receiver.pids)
  return {
    elapsedMs,
    cpuMs: after.cpuMs - before.cpuMs,
    rssBytes: after.rssBytes,
    bytesPerPrefix: (after.rssBytes - before.rssBytes) / prefixes,
  }
}

async function watch(receiver: Receiver, feed: Feed): Promise<number | string> {
  await feed.written()
  const count = await receiver.count()
  return count === prefixes ? feed.longestGapMs() : `${count} prefixes instead of ${prefixes}`
}
