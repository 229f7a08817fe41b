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
import { keepMemorySmall, type MemoryParts } from './sys/memory-keeper.ts'

function memoryParts(): MemoryParts {
  let before = performance.eventLoopUtilization()
  return {
    ...{ watchCollections, collectGarbage, giveBack: giveMemoryBack },
    after: (ms, action) => void setTimeout(action, ms).unref(),
    busyShare: () => {
      const now = performance.eventLoopUtilization()
      const { utilization } = performance.eventLoopUtilization(now, before)
      before = now
      return utilization
    },
    residentMiB: () => process.memoryUsage.rss() / 2 ** 20,
  }
}

async function run(): Promise<number> {
  keepMemorySmall(memoryParts())
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
