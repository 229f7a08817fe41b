/** The bpf file system, in which pinned maps, programs and links outlive the process. */
import { statfsSync } from 'node:fs'
import { type Errno, HeraldError, messageOf } from '../errors.ts'
import { makeFolder } from './folder.ts'
import { lastErrno, libc } from './libc.ts'

const mount = libc.func(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *options)',
)
const umount2 = libc.func('int umount2(const char *target, int flags)')
const bpffsMagic = 0xcafe4a11

/** True when a bpf file system is mounted at this path. */
export function isBpffs(path: string): boolean {
  try {
    return statfsSync(path).type === bpffsMagic
  } catch {
    // Absent or unreadable: in either case nothing can be pinned there.
    return false
  }
}

/** Mounts bpffs at a folder (made when absent) unless one is mounted there. Throws ERR_BPFFS. */
export function mountBpffs(path: string): void {
  if (isBpffs(path)) return
  try {
    makeFolder(path)
  } catch (error) {
    throw new HeraldError('ERR_BPFFS', `${path} cannot be made: ${messageOf(error)}`, { cause: error })
  }
  if (Number(mount('bpf', path, 'bpf', 0, 'mode=0700')) < 0) throw bpffsError(`mount bpffs at ${path}`, lastErrno())
}

/** Unmounts what {@link mountBpffs} mounted; pins in it that nothing else holds are gone. Throws ERR_BPFFS. */
export function unmountBpffs(path: string): void {
  if (Number(umount2(path, 0)) < 0) throw bpffsError(`unmount ${path}`, lastErrno())
}

function bpffsError(call: string, errno: Errno): HeraldError {
  return new HeraldError('ERR_BPFFS', `${call}: ${errno}`, { errno })
}
