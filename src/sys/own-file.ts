/**
 * Files that the program writes, as root and often into folders that others can write to: no link that somebody
 * planted is followed, and nothing but a regular file is read or replaced.
 */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { HeraldError } from '../errors.ts'

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

/** Opens a new file for writing; a regular file in its place is removed. Throws ERR_SYSCALL of anything else there. */
export function createOwnFile(path: string, mode = 0o600): number {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found !== undefined && !found.isFile())
    throw new HeraldError('ERR_SYSCALL', `${path}: it is a link, a folder or a device, which is not written to`)
  rmSync(path, { force: true })
  return openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode)
}

/**
 * Takes the place of the file at once: it holds the old text or the new one. Where it throws, nothing is left beside it
 * on a disk that may be full.
 */
export function replaceOwnFile(path: string, text: string): void {
  const fresh = `${path}.new`
  // Whatever is planted there is removed, not followed.
  rmSync(fresh, { force: true, recursive: true })
  const fd = createOwnFile(fresh)
  try {
    try {
      // Not writeSync: a disk that is nearly full takes a part, which is no error.
      writeFileSync(fd, text)
    } finally {
      closeSync(fd)
    }
    renameSync(fresh, path)
  } catch (error) {
    rmSync(fresh, { force: true })
    throw error
  }
}

/** The same without holding the loop. */
export async function replaceOwnFileLater(path: string, text: string): Promise<void> {
  const fresh = `${path}.new`
  await rm(fresh, { force: true, recursive: true })
  const file = await open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
  try {
    try {
      await file.writeFile(text)
    } finally {
      await file.close()
    }
    await rename(fresh, path)
  } catch (error) {
    await rm(fresh, { force: true })
    throw error
  }
}

/** The text of a regular file of at most `maxBytes`; undefined when there is none, or something else stands there. */
export function readOwnFile(path: string, maxBytes = Infinity): string | undefined {
  let fd: number
  try {
    fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  } catch {
    return undefined
  }
  try {
    const stat = fstatSync(fd)
    return stat.isFile() && stat.size <= maxBytes ? readFileSync(fd, 'utf8') : undefined
  } finally {
    closeSync(fd)
  }
}
