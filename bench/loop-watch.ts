/**
 * Loaded before the program into each of its threads (`--import`): writes a line every quarter of a second with the
 * longest time for which that thread's loop did not come round, and the most that the thread itself computed meanwhile:
 * on a busy machine the first is also what others took.
 */
import { appendFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { isMainThread } from 'node:worker_threads'

export type LoopThread = 'main' | 'speaker'

export interface LoopLine {
  readonly thread: LoopThread
  /** ms of nowMs() in report.ts. */
  readonly at: number
  readonly blockedMs: number
  /** CPU time of the thread between two rounds of its loop. */
  readonly computedMs: number
}

const file = process.env['HERALD_LOOP_WATCH']
if (file !== undefined) {
  // The timer of the measurement itself comes every millisecond.
  const resolution = 1
  const delay = monitorEventLoopDelay({ resolution })
  delay.enable()
  let computedMs = 0
  let before = cpuMs()
  setInterval(() => {
    const now = cpuMs()
    computedMs = Math.max(computedMs, now - before)
    before = now
  }, resolution).unref()
  setInterval(() => {
    const blockedMs = Math.max(0, delay.max / 1e6 - resolution)
    delay.reset()
    const at = Number(process.hrtime.bigint()) / 1e6
    const line: LoopLine = { thread: isMainThread ? 'main' : 'speaker', at, blockedMs, computedMs }
    computedMs = 0
    appendFileSync(file, `${JSON.stringify(line)}\n`)
  }, 250).unref()
}

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1_000
}
