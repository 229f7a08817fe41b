/** The executable: runs the verb and turns what it throws into a line on stderr and an exit code. */
import { CommanderError } from 'commander'
import { HeraldError, messageOf, type ErrorCode } from '../errors.ts'
import { createProgram } from './program.ts'
import { exitCode } from './reading.ts'
import { printable } from './text.ts'

const unreachable: ReadonlySet<ErrorCode> = new Set(['ERR_AGENT_UNREACHABLE', 'ERR_LIBBPF_MISSING', 'ERR_BPFFS'])

async function run(): Promise<void> {
  try {
    await createProgram().parseAsync()
  } catch (error) {
    // At once: an agent that failed half-way through its start has threads that would keep the process alive.
    process.exit(report(error))
  }
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCode.ok : exitCode.usage
  // Line ends stay: a verifier log has many.
  const message = messageOf(error).split('\n').map(printable).join('\n')
  process.stderr.write(`herald: ${message}\n${error instanceof HeraldError ? `${error.hint}\n` : ''}`)
  if (!(error instanceof HeraldError)) return exitCode.degraded
  if (error.code === 'ERR_USAGE') return exitCode.usage
  const isForbidden = error.errno === 'EPERM' || error.errno === 'EACCES'
  return isForbidden || unreachable.has(error.code) ? exitCode.unreachable : exitCode.degraded
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // `herald ... | head` closes the pipe; that is no failure of ours.
  if (error.code === 'EPIPE') process.exit(process.exitCode ?? 0)
  throw error
})
await run()
