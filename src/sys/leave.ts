/** The end of the process. */
import { libc } from './libc.ts'

const exitCall = libc.func('void _exit(int status)')

/**
 * Ends the process with a code. Node waits for its other threads first, and one may be held by a file system that does
 * not answer: then nothing is waited for.
 */
export function leave(code: number): void {
  const isHeld = process.getActiveResourcesInfo().some((name) => name.startsWith('FSReq'))
  if (isHeld) exitCall(code)
  process.exit(code)
}
