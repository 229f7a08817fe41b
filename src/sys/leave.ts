/**
 * The end of the process, which waits for nothing. Node's own way out waits for its other threads: for one that a file
 * system holds which does not answer, and now and then for one of the engine's for good (nodejs/node issues 54918,
 * 64274): an agent that is told to end while it loads on a busy machine met that once in some twenty ends.
 */
import { libc } from './libc.ts'

const exitCall = libc.func('void _exit(int status)')
/** The third argument is of F_SETFL alone. */
const fcntl = libc.func('int fcntl(int fd, int cmd, int flags)')
/** fcntl.h. */
const [getFlags, setFlags] = [3, 4]
/** Of stdin, stdout and stderr as this process got them: who else has them open has the same flags. */
const flagsAtStart = [0, 1, 2].map((fd) => Number(fcntl(fd, getFlags, 0)))

/** Ends the process with a code. What is written to stdout and stderr by then has been taken or is lost. */
export function leave(code: number): never {
  // Whoever measures has asked Node to write something on its way out.
  if (process.execArgv.some((flag) => /^--(cpu|heap)-prof/.test(flag))) process.exit(code)
  // As Node does: what the build keeps of the engine's work is written then.
  process.emit('exit', code)
  // Node makes pipes and sockets answer at once, and undoes that at its end.
  for (const [fd, flags] of flagsAtStart.entries()) if (flags >= 0) fcntl(fd, setFlags, flags)
  exitCall(code)
  return process.exit(code)
}

/** An error that nobody took is said as Node says it, and the process ends with 1. */
export function leaveByUncaught(): void {
  process.on('uncaughtException', (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
    leave(1)
  })
}
