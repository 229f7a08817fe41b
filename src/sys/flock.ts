/** Advisory locks (flock(2)): they end with the process, however it ends, so no stale lock can exist. */
import { closeSync, constants, openSync } from 'node:fs'
import { HeraldError } from '../errors.ts'
import { lastErrno, libc, syscallError } from './libc.ts'

const flock = libc.func('int flock(int fd, int operation)')
const lockExclusive = 2
const lockNonBlocking = 4

/**
 * Locks a file (made when absent) or a directory for this process, without waiting.
 * Throws ERR_ALREADY_RUNNING when another process holds it. The answer releases it.
 */
export function lockPath(path: string, kind: 'file' | 'directory'): () => void {
  const { O_RDONLY, O_DIRECTORY, O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants
  const flags = (kind === 'directory' ? O_RDONLY | O_DIRECTORY : O_RDWR | O_CREAT | O_NONBLOCK) | O_NOFOLLOW
  const fd = openSync(path, flags, 0o600)
  const result = Number(flock(fd, lockExclusive | lockNonBlocking))
  if (result < 0) {
    const errno = lastErrno()
    closeSync(fd)
    if (errno !== 'EAGAIN') throw syscallError(`flock ${path}`, errno)
    throw new HeraldError('ERR_ALREADY_RUNNING', `another herald agent holds ${path}`)
  }
  return () => closeSync(fd)
}
