/** The executable: verbs, one file each. Reading verbs load nothing of the daemon. */
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command, CommanderError } from 'commander'
import { HeraldError, messageOf, type ErrorCode } from '../errors.ts'
import { addAgent } from './agent.ts'
import { addBgp } from './bgp.ts'
import { addCompletion } from './completion.ts'
import { addExplain } from './explain.ts'
import { addLb } from './lb.ts'
import { exitCode } from './reading.ts'
import { addStatus } from './status.ts'
import { addValidate } from './validate.ts'
import { addVersion } from './version.ts'

const unreachable: ReadonlySet<ErrorCode> = new Set(['ERR_AGENT_UNREACHABLE', 'ERR_NOT_ROOT', 'ERR_LIBBPF_MISSING', 'ERR_BPFFS'])

export function createProgram(): Command {
  const program = new Command('herald').description('BGP and eBPF for Kubernetes on bare metal')
  addStatus(program)
  addBgp(program)
  addLb(program)
  addExplain(program)
  addValidate(program)
  addAgent(program)
  addVersion(program, join(dirname(fileURLToPath(import.meta.url)), '../../package.json'))
  addCompletion(program)
  for (const command of [program, ...descendants(program)]) command.exitOverride().showHelpAfterError('(--help lists what there is)')
  return program
}

function descendants(command: Command): Command[] {
  return command.commands.flatMap((child) => [child, ...descendants(child)])
}

async function run(): Promise<void> {
  try {
    await createProgram().parseAsync()
  } catch (error) {
    process.exitCode = report(error)
  }
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCode.ok : exitCode.usage
  process.stderr.write(`herald: ${messageOf(error)}\n${error instanceof HeraldError ? `${error.hint}\n` : ''}`)
  if (!(error instanceof HeraldError)) return exitCode.degraded
  if (error.code === 'ERR_USAGE') return exitCode.usage
  return unreachable.has(error.code) ? exitCode.unreachable : exitCode.degraded
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // `herald ... | head` closes the pipe; that is no failure of ours.
  if (error.code === 'EPIPE') process.exit(process.exitCode ?? 0)
  throw error
})
await run()
