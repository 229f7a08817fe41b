/** Whether file systems answer at all: one of a server that is away holds whoever calls it, until it is back. */
import { statfs } from 'node:fs/promises'

/**
 * Resolves when the file system of each folder has answered, with whatever. It is asked for its size, which one over
 * the network or in user space asks its server each time. One after the other: one that hangs holds one thread.
 */
export async function knock(folders: readonly string[]): Promise<void> {
  // That a folder is not there is an answer.
  for (const folder of folders) await statfs(folder).catch(() => undefined)
}
