/**
 * Entry of the agent's and the operator's process. `herald agent` reads flags, environment and file, hands the options
 * over and is replaced by this, so that nothing of the command line stays in a process that lives for months. Neither
 * of the two reads what only the other one needs.
 */
import { reportFailure } from './cli/exit.ts'
import { takeOptions } from './cli/hand-over.ts'
import { prepareSpeakerThread } from './speaker/speaker-thread.ts'
import { collectGarbage, giveMemoryBack, keepThreadsSmall, watchCollections } from './sys/heap.ts'
import { leave } from './sys/leave.ts'

/** What the start left behind is garbage by then; nothing of BGP waits for this thread. */
const settledMs = 10_000
/** The engine collects it by itself, in small steps and twice, when little happens; that is seen from here on. */
const watchedMs = 5_000
/** A start that takes longer leaves its garbage later: the loop has to be idle for most of so long. */
const lookMs = 1_000
const idleShare = 0.5
/** Idle looks without a collection after one: it was the last. And all that are waited for one. */
const [quietLooks, mostLooks] = [2, 8]

function giveMemoryBackWhenIdle(): void {
  const collections = watchCollections()
  let [seen, counted, quiet, left] = [0, 0, 0, mostLooks]
  const isDone = (isIdle: boolean): boolean => {
    quiet = isIdle && collections.count === seen ? quiet + 1 : 0
    seen = collections.count
    // What was collected before others made garbage is not all.
    if (!isIdle) counted = seen
    if (!isIdle || (seen > counted && quiet >= quietLooks)) return isIdle
    left--
    // It counts as one of the engine's own: its pages are given back when they are swept.
    if (left === quietLooks && seen === counted) collectGarbage()
    return left < 0
  }
  const look = (afterMs: number): void => {
    const before = performance.eventLoopUtilization()
    setTimeout(() => {
      if (!isDone(performance.eventLoopUtilization(before).utilization < idleShare)) return look(lookMs)
      collections.end()
      void giveMemoryBack()
    }, afterMs).unref()
  }
  look(settledMs - watchedMs)
}

async function run(): Promise<number> {
  setTimeout(giveMemoryBackWhenIdle, watchedMs).unref()
  try {
    const { what, options } = takeOptions(process.env)
    if (what === 'operator') return await (await import('./operate.ts')).runOperator(options)
    keepThreadsSmall()
    // Its thread loads and rehearses while this one loads the rest.
    const begin = prepareSpeakerThread()
    return await (await import('./main.ts')).runAgent(options, begin)
  } catch (error) {
    return reportFailure(error)
  }
}

// At once: an agent that failed half-way through its start has threads that would keep the process alive.
void run().then(leave)
