/**
 * A full table from one router: 1 000 000 prefixes in 200 000 attribute sets, from Established until the receiver says
 * that it has all of them. Herald and every daemon that is installed, one after the other, in the same run.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Feed, startFeed } from './feeder.ts'
import { type Engine, engines, feederAsn, receiverAddress, usageOf } from './receivers.ts'
import { ms, nowMs, printTable, type Row } from './report.ts'

const prefixes = Number(process.env['HERALD_BENCH_PREFIXES'] ?? 1_000_000)
const deadlineMs = 180_000
/** A question to a daemon costs some tens of milliseconds: its answer is that much late at most. */
const pollMs = 50
const goalBytes = 200
/** Twice the keepalive interval of the watched session. */
const watchedMs = 2_000

interface Result {
  readonly name: string
  readonly elapsedMs: number
  readonly cpuMs: number
  readonly rssBytes: number
  readonly bytesPerPrefix: number
  readonly longestGapMs: number | undefined
}

export async function benchFullTable(): Promise<void> {
  for (const host of [1, 2, 3]) spawnSync('ip', ['address', 'add', `10.98.0.${host}/32`, 'dev', 'lo'])
  const results: Result[] = []
  const rows: Row[] = []
  for (const engine of engines) {
    if (!existsSync(engine.program)) {
      rows.push({ what: engine.name, value: 'not installed' })
      continue
    }
    console.log(`  ${engine.name} takes ${prefixes} prefixes`)
    const result = await measure(engine)
    if (typeof result === 'string') rows.push({ what: engine.name, value: result })
    else results.push(result)
  }
  const reference = results.find(({ name }) => name === 'BIRD')
  for (const result of results) rows.push(...rowsOf(result, reference))
  printTable(`Established -> ${prefixes} prefixes received, ${prefixes / 5} attribute sets`, rows)
}

function rowsOf({ name, elapsedMs, cpuMs, rssBytes, bytesPerPrefix, longestGapMs }: Result, reference: Result | undefined): Row[] {
  const value = `${ms(elapsedMs)}, CPU ${ms(cpuMs)}, RSS ${Math.round(rssBytes / 2 ** 20)} MiB, ${Math.round(bytesPerPrefix)} B/prefix`
  if (name !== 'herald') return [{ what: name, value }]
  const ratio = reference === undefined ? undefined : elapsedMs / reference.elapsedMs
  return [
    { what: name, value },
    ...(ratio === undefined ? [] : [{ what: 'herald / BIRD, time', value: `${ratio.toFixed(2)}x`, goal: '<= 1.00x', isMet: ratio <= 1 }]),
    { what: 'herald, memory per prefix', value: `${Math.round(bytesPerPrefix)} B`, goal: `<= ${goalBytes} B`, isMet: bytesPerPrefix <= goalBytes },
    ...(longestGapMs === undefined ? [] : [{ what: 'herald, longest time between two KEEPALIVEs of a 3 s session', value: longestGapMs < 0 ? 'session lost' : ms(longestGapMs), goal: '< 3000 ms', isMet: longestGapMs >= 0 && longestGapMs < 3000 }]),
  ]
}

/** What was measured, or why it could not be. */
async function measure(engine: Engine): Promise<Result | string> {
  const folder = mkdtempSync(join(tmpdir(), 'bn-table-'))
  const receiver = await engine.start(folder)
  let feed: Feed | undefined
  try {
    const before = usageOf(receiver.pids)
    feed = await startFeed({ receiver: receiverAddress, asn: feederAsn, prefixes }, engine.name === 'herald')
    const giveUpAt = feed.establishedAt + deadlineMs
    while ((await receiver.count()) < prefixes) {
      if (nowMs() > giveUpAt) return `not within ${deadlineMs / 1000} s (${await receiver.count()} prefixes)`
      await new Promise((resolve) => setTimeout(resolve, pollMs))
    }
    const elapsedMs = nowMs() - feed.establishedAt
    const after = usageOf(receiver.pids)
    // The KEEPALIVE that a busy receiver owed comes after its work.
    if (engine.name === 'herald') await new Promise((resolve) => setTimeout(resolve, watchedMs))
    return { name: engine.name, elapsedMs, cpuMs: after.cpuMs - before.cpuMs, rssBytes: after.rssBytes, bytesPerPrefix: (after.rssBytes - before.rssBytes) / prefixes, longestGapMs: feed.longestGapMs() }
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  } finally {
    await feed?.stop()
    await receiver.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}
