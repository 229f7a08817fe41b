/**
 * Entry of the agent's process. `herald agent` reads flags, environment and file, hands the options over and is
 * replaced by this, so that nothing of the command line stays in a process that lives for months.
 */
import { reportFailure } from './cli/exit.ts'
import { takeOptions } from './cli/hand-over.ts'
import { runAgent } from './main.ts'

async function run(): Promise<number> {
  try {
    return await runAgent(takeOptions(process.env))
  } catch (error) {
    return reportFailure(error)
  }
}

// At once: an agent that failed half-way through its start has threads that would keep the process alive.
process.exit(await run())
