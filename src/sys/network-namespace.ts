/** Other network namespaces than that of this process: setns(2), which asks for CAP_SYS_ADMIN. */
import { closeSync, constants, openSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { checked, libc } from './libc.ts'

const setnsCall = libc.func('int setns(int fd, int kind)')
const CLONE_NEWNET = 0x4000_0000

/**
 * What `use` answers, which nothing can interrupt: this thread is in the namespace meanwhile, and none of the others.
 * Throws ERR_SYSCALL: EPERM without the capability, EINVAL where the file is none, and what `use` throws.
 */
export function withinNetwork<Result>(path: string, use: () => Result): Result {
  const own = openSync('/proc/thread-self/ns/net', 'r')
  try {
    // In a folder that is another one than was meant there may be pipes, which would be waited for.
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      checked(`enter ${path}`, Number(setnsCall(fd, CLONE_NEWNET)))
    } finally {
      closeSync(fd)
    }
    try {
      return use()
    } finally {
      // What follows would be done in the network of somebody else.
      if (Number(setnsCall(own, CLONE_NEWNET)) < 0) process.abort()
    }
  } finally {
    closeSync(own)
  }
}

/** What is mounted in a folder, as container runtimes do it for each pod (`/run/netns`). Throws as readdir does. */
export function networksIn(folder: string): readonly string[] {
  return readdirSync(folder).map((name) => join(folder, name))
}
