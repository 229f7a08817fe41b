/** The executable: runs the verb and turns what it throws into a line on stderr and an exit code. */
import { reportUnwritten } from './exit.ts'
import { createProgram, wordsOf } from './program.ts'
import { reported } from './usage.ts'

async function run(): Promise<void> {
  try {
    await createProgram().parseAsync(wordsOf(process.argv.slice(2)), { from: 'user' })
  } catch (error) {
    const code = reported(error)
    process.exitCode = code
    // After what was written: a help page that stdout did not take is no success, and 'error' below says so.
    process.stdout.write('', (failed) => void (failed ?? end(code)))
  }
}

/** Node waits for its other threads, of which a file system that does not answer may hold one. */
async function end(code: number): Promise<void> {
  const isHeld = process.getActiveResourcesInfo().some((name) => name.startsWith('FSReq'))
  if (isHeld) (await import('../sys/leave.ts')).leave(code)
  process.exit()
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // `herald ... | head` closes the pipe; that is no failure of ours.
  if (error.code === 'EPIPE') process.exit(process.exitCode ?? 0)
  process.exit(reportUnwritten(error))
})
// Not awaited here: what a verb loads late may import from the file that this becomes, which must be complete by then.
void run()
