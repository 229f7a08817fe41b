/**
 * The C library: each call that more than one file makes is declared here once, and here alone -1 and errno become an
 * error.
 */
import koffi from 'koffi'
import { type Errno, HeraldError } from '../errors.ts'

export const libc = koffi.load('libc.so.6')

/** Second names of an errno, which nobody compares with: those of asm-generic/errno.h are EAGAIN and so on. */
const aliases: ReadonlySet<string> = new Set(['EWOULDBLOCK', 'EDEADLOCK', 'ENOTSUP'])
/** asm-generic/errno.h. */
const errnoNames = new Map(
  Object.entries(koffi.os.errno).flatMap(([name, value]) => (aliases.has(name) ? [] : [[value, name as Errno]])),
)

/** The number of an errno on this machine. */
export function errnoNumber(name: Errno): number {
  return koffi.os.errno[name] ?? 0
}

/** The name of an errno; EUNKNOWN for one that nobody has named. */
export function errnoName(errno: number): Errno {
  return errnoNames.get(errno) ?? 'EUNKNOWN'
}

/** The errno of the last call; only right after it. */
export function lastErrno(): Errno {
  return errnoName(koffi.errno())
}

/** A call that failed, as ERR_SYSCALL with its errno. */
export function syscallError(call: string, errno: Errno): HeraldError {
  return new HeraldError('ERR_SYSCALL', `${call}: ${errno}`, { errno })
}

/** The result of a call, or ERR_SYSCALL naming the call and errno when it is negative. Call it right after the call. */
export function checked(call: string, result: number): number {
  if (result >= 0) return result
  throw syscallError(call, lastErrno())
}

export const closeCall = libc.func('int close(int fd)')
const ifNameToIndex = libc.func('unsigned int if_nametoindex(const char *name)')

/** 0 when there is no such interface; then {@link lastErrno} says why. */
export function interfaceIndex(name: string): number {
  return Number(ifNameToIndex(name))
}
