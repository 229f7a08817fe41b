/** The executable: runs the verb and turns what it throws into a line on stderr and an exit code. */
import { CommanderError } from 'commander'
import { exitCode, reportFailure } from './exit.ts'
import { createProgram } from './program.ts'

async function run(): Promise<void> {
  try {
    await createProgram().parseAsync()
  } catch (error) {
    process.exit(report(error))
  }
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCode.ok : exitCode.usage
  return reportFailure(error)
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // `herald ... | head` closes the pipe; that is no failure of ours.
  if (error.code === 'EPIPE') process.exit(process.exitCode ?? 0)
  throw error
})
// Not awaited here: what a verb loads late may import from the file that this becomes, which must be complete by then.
void run()
