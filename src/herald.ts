/**
 * Entry of the agent's process. `herald agent` reads flags, environment and file, hands the options over and is
 * replaced by this, so that nothing of the command line stays in a process that lives for months.
 */
import { reportFailure } from './cli/exit.ts'
import { takeOptions } from './cli/hand-over.ts'
import { runAgent } from './main.ts'
import { giveMemoryBack } from './sys/heap.ts'

/** What the start left behind is garbage by then; nothing of BGP waits for this thread. */
const settledMs = 10_000

async function run(): Promise<number> {
  setTimeout(giveMemoryBack, settledMs).unref()
  try {
    return await runAgent(takeOptions(process.env))
  } catch (error) {
    return reportFailure(error)
  }
}

// At once: an agent that failed half-way through its start has threads that would keep the process alive.
void run().then((code) => process.exit(code))
