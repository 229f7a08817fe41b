/**
 * Entry of the agent's and the operator's process. `herald agent` reads flags, environment and file, hands the options
 * over and is replaced by this, so that nothing of the command line stays in a process that lives for months. An image,
 * and bin/herald, start this at once, and it reads the words itself. Neither of the two reads what only the other one
 * needs.
 */
import { reportFailure } from './cli/exit.ts'
import { type HandedOver, takeOptions } from './cli/hand-over.ts'
import { prepareSpeakerThread } from './speaker/speaker-thread.ts'
import { firstSignal } from './sys/first-signal.ts'
import { collectGarbage, giveMemoryBack, keepThreadsSmall, residentMiB, watchCollections } from './sys/heap.ts'
import { leave, leaveByUncaught } from './sys/leave.ts'
import { keepMemorySmall, type MemoryParts } from './sys/memory-keeper.ts'
import { loadPart } from './sys/parts.ts'

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
    residentMiB,
  }
}

/** Nothing keeps the file that does it: with it goes commander, and what was compiled of both. */
async function readWords(words: readonly string[]): Promise<HandedOver | number> {
  const part: typeof import('./cli/daemon.ts') = await loadPart(import.meta.url, './cli/daemon.ts', './daemon.cjs')
  return await part.readWords(words)
}

async function run(): Promise<number> {
  const signals = firstSignal()
  keepMemorySmall(memoryParts())
  try {
    const handed = takeOptions(process.env) ?? (await readWords(process.argv.slice(2)))
    if (typeof handed === 'number') return handed
    const { what, options } = handed
    if (what === 'operator') return await (await import('./operate.ts')).runOperator(options, signals)
    keepThreadsSmall()
    // Its thread loads and rehearses while this one loads the rest.
    const begin = prepareSpeakerThread()
    return await (await import('./main.ts')).runAgent(options, begin, signals)
  } catch (error) {
    return reportFailure(error)
  }
}

leaveByUncaught()
// At once: an agent that failed half-way through its start has threads that would keep the process alive.
void run().then(leave)
