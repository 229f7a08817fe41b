/**
 * The C library: the one place that turns -1 and errno into an error. All other files of this room declare calls on it.
 */
import koffi from 'koffi'
import { HeraldError } from '../errors.ts'

export const libc = koffi.load('libc.so.6')

const errnoNames = new Map(Object.entries(koffi.os.errno).map(([name, value]) => [value, name]))

export function errnoName(errno: number): string {
  return errnoNames.get(errno) ?? `errno ${errno}`
}

/** The result of a call, or ERR_SYSCALL naming the call and errno when it is negative. Call it right after the call. */
export function checked(call: string, result: number): number {
  if (result >= 0) return result
  const errno = koffi.errno()
  throw new HeraldError('ERR_SYSCALL', `${call}: ${errnoName(errno)}`)
}
