/**
 * Entry of the agent's and the operator's process. `herald agent` reads flags, environment and file, hands the options
 * over and is replaced by this, so that nothing of the command line stays in a process that lives for months. Neither
 * of the two reads what only the other one needs.
 */
import { reportFailure } from './cli/exit.ts'
import { takeOptions } from './cli/hand-over.ts'
import { prepareSpeakerThread } from './speaker/speaker-thread.ts'
import { giveMemoryBack } from './sys/heap.ts'

/** What the start left behind is garbage by then; nothing of BGP waits for this thread. */
const settledMs = 10_000
/** A start that takes longer leaves its garbage later: the loop has to be idle for most of so long. */
const lookMs = 1_000
const idleShare = 0.5

function giveMemoryBackWhenIdle(): void {
  const before = performance.eventLoopUtilization()
  setTimeout(() => {
    if (performance.eventLoopUtilization(before).utilization < idleShare) giveMemoryBack()
    else giveMemoryBackWhenIdle()
  }, lookMs).unref()
}

async function run(): Promise<number> {
  setTimeout(giveMemoryBackWhenIdle, settledMs - lookMs).unref()
  try {
    const { what, options } = takeOptions(process.env)
    if (what === 'operator') return await (await import('./operate.ts')).runOperator(options)
    // Its thread loads and rehearses while this one loads the rest.
    const begin = prepareSpeakerThread()
    return await (await import('./main.ts')).runAgent(options, begin)
  } catch (error) {
    return reportFailure(error)
  }
}

// At once: an agent that failed half-way through its start has threads that would keep the process alive.
void run().then((code) => process.exit(code))
