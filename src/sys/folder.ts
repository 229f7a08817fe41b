/**
 * Folders that are made, parents included. Node's own way (`recursive`) never ends where a parent is there and takes
 * none: procfs answers ENOENT, which it takes for a missing parent, again and again.
 */
import { mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/** A folder that is there is left as it is. Throws what the file system answers. */
export function makeFolder(path: string, mode = 0o777): void {
  if (isMade(path, mode)) return
  const parent = dirname(path)
  if (parent !== path) makeFolder(parent, mode)
  // A parent that is there and still takes none: what mkdir(2) answers now is the answer.
  if (!isMade(path, mode)) mkdirSync(path, { mode })
}

/** False when a parent is missing, as far as the file system says. */
function isMade(path: string, mode: number): boolean {
  try {
    mkdirSync(path, { mode })
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return false
    if (code === 'EEXIST' && statSync(path).isDirectory()) return true
    throw error
  }
}
