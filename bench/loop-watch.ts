/**
 * Loaded before the program into each of its threads (watched.ts): writes a line every quarter of a second with the
 * longest time for which that thread's loop did not come round, and what of it was its own. On a busy machine the rest
 * is what others took: of the processor, for which the thread waited, or of the machine itself.
 */
import { appendFileSync, openSync, readlinkSync, readSync } from 'node:fs'
import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks'
import { getHeapStatistics } from 'node:v8'
import { isMainThread } from 'node:worker_threads'
import { threadCpuMs } from './thread-time.ts'

export type LoopThread = 'main' | 'speaker'

export interface LoopLine {
  readonly thread: LoopThread
  /** ms of nowMs() in report.ts. */
  readonly at: number
  readonly blockedMs: number
  /** CPU time of the thread between two rounds of its loop. */
  readonly computedMs: number
  /** Of which it could have run and another had the processor (schedstat of /proc). */
  readonly waitedMs: number
  /** The longest collection of garbage in this thread. */
  readonly collectedMs: number
  /** What the engine has for this thread: of objects, used or not, and outside of them. */
  readonly heapMiB: number
  readonly externalMiB: number
}

const file = process.env['HERALD_LOOP_WATCH']
if (file !== undefined) {
  // The timer of the measurement itself comes every millisecond.
  const resolution = 1
  const delay = monitorEventLoopDelay({ resolution })
  delay.enable()
  let most = { computedMs: 0, waitedMs: 0, collectedMs: 0 }
  let [computed, waited] = [threadCpuMs(), 0]
  const stat = openSync(`/proc/${readlinkSync('/proc/thread-self')}/schedstat`, 'r')
  const text = Buffer.alloc(64)
  /** Time in which the thread could run and did not, so far. proc_schedstat(5) */
  const waitedMs = (): number =>
    Number(text.toString('latin1', 0, readSync(stat, text, 0, text.length, 0)).split(' ')[1]) / 1e6
  waited = waitedMs()
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) most.collectedMs = Math.max(most.collectedMs, duration)
  }).observe({ entryTypes: ['gc'] })
  setInterval(() => {
    const now = { computed: threadCpuMs(), waited: waitedMs() }
    most.computedMs = Math.max(most.computedMs, now.computed - computed)
    most.waitedMs = Math.max(most.waitedMs, now.waited - waited)
    computed = now.computed
    waited = now.waited
  }, resolution).unref()
  setInterval(() => {
    const blockedMs = Math.max(0, delay.max / 1e6 - resolution)
    delay.reset()
    const { total_heap_size: heap, external_memory: external, malloced_memory: malloced } = getHeapStatistics()
    const line: LoopLine = {
      thread: isMainThread ? 'main' : 'speaker',
      at: Number(process.hrtime.bigint()) / 1e6,
      blockedMs,
      ...most,
      heapMiB: (heap + malloced) / 2 ** 20,
      externalMiB: external / 2 ** 20,
    }
    most = { computedMs: 0, waitedMs: 0, collectedMs: 0 }
    appendFileSync(file, `${JSON.stringify(line)}\n`)
  }, 250).unref()
}
