/**
 * Loaded before the program into each of its threads (`--import`): writes a line every quarter of a second with the
 * longest time for which that thread's loop did not come round.
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
}

const file = process.env['HERALD_LOOP_WATCH']
if (file !== undefined) {
  // The timer of the measurement itself comes every millisecond.
  const resolution = 1
  const delay = monitorEventLoopDelay({ resolution })
  delay.enable()
  setInterval(() => {
    const blockedMs = Math.max(0, delay.max / 1e6 - resolution)
    delay.reset()
    const at = Number(process.hrtime.bigint()) / 1e6
    const line: LoopLine = { thread: isMainThread ? 'main' : 'speaker', at, blockedMs }
    appendFileSync(file, `${JSON.stringify(line)}\n`)
  }, 250).unref()
}
