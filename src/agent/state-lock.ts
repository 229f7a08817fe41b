/**
 * One agent for one state directory. The folder itself is locked, which asks its file system for nothing, and the file
 * `lock` in it, as earlier versions do alone. Where a disk has gone read-only, or is full, a restart goes on without.
 */
import { type Stats, statSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { HeraldError, messageOf } from '../errors.ts'
import { lockPath } from '../sys/flock.ts'
import { makeFolder } from '../sys/folder.ts'

/** What a disk answers that takes nothing. */
const takesNothing = ['EROFS', 'ENOSPC', 'EDQUOT', 'EIO']

/** The lock of a running agent, which follows the path: another folder may come in the place of the one it locked. */
export class StateLock {
  readonly #stateDir: string
  #release: () => void
  #held: string

  constructor(stateDir: string) {
    this.#stateDir = stateDir
    this.#release = lockState(stateDir)
    this.#held = placeOf(statSync(stateDir))
  }

  /** Before something is written there. Rejects as {@link lockState} throws: another agent may have it by now. */
  async keep(): Promise<void> {
    const now = placeOf(await stat(this.#stateDir))
    if (now === this.#held) return
    const release = lockState(this.#stateDir)
    this.#release()
    this.#release = release
    this.#held = now
  }

  end(): void {
    this.#release()
  }
}

const placeOf = ({ dev, ino }: Stats): string => `${dev} ${ino}`

/** The answer releases it. Throws ERR_ALREADY_RUNNING, or ERR_SYSCALL where there can be no such folder. */
export function lockState(stateDir: string): () => void {
  try {
    makeFolder(stateDir, 0o700)
    const release = lockPath(stateDir, 'directory')
    try {
      const releaseFile = lockFile(join(stateDir, 'lock'))
      return () => {
        releaseFile()
        release()
      }
    } catch (error) {
      release()
      throw error
    }
  } catch (error) {
    if (error instanceof HeraldError) throw error
    throw new HeraldError('ERR_SYSCALL', `--state-dir ${stateDir} cannot be used: ${messageOf(error)}`, {
      cause: error,
    })
  }
}

function lockFile(path: string): () => void {
  try {
    return lockPath(path, 'file')
  } catch (error) {
    if (error instanceof Error && 'code' in error && takesNothing.includes(String(error.code))) return () => {}
    throw error
  }
}
