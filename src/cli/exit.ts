/** Exit codes that scripts can trust, and what a failure says before it becomes one. */
import { HeraldError, messageOf, type ErrorCode } from '../errors.ts'
import { printable } from './text.ts'

/** 0 ok, 1 degraded or failed, 2 usage, 3 agent or API server unreachable, or privilege missing. */
export const exitCode = { ok: 0, degraded: 1, usage: 2, unreachable: 3 } as const

const unreachable: ReadonlySet<ErrorCode> = new Set([
  'ERR_AGENT_UNREACHABLE',
  'ERR_API_SERVER',
  'ERR_LIBBPF_MISSING',
  'ERR_BPFFS',
])

/** Says on stderr what went wrong and what to do; the answer is the exit code. */
export function reportFailure(error: unknown): number {
  // Line ends stay: a verifier log has many.
  const message = messageOf(error).split('\n').map(printable).join('\n')
  process.stderr.write(`herald: ${message}\n${error instanceof HeraldError ? `${error.hint}\n` : ''}`)
  if (!(error instanceof HeraldError)) return exitCode.degraded
  // A kubeconfig is a file that was named: what is wrong with it is nothing that the cluster says.
  if (error.code === 'ERR_USAGE' || error.code === 'ERR_KUBECONFIG') return exitCode.usage
  const isForbidden = error.errno === 'EPERM' || error.errno === 'EACCES'
  return isForbidden || unreachable.has(error.code) ? exitCode.unreachable : exitCode.degraded
}

/** The answer was not taken, or not whole; the answer is the exit code. */
export function reportUnwritten(error: Error): number {
  return reportFailure(new HeraldError('ERR_OUTPUT', `cannot write the answer: ${error.message}`))
}
