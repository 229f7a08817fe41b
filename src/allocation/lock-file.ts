/** A file that exists while somebody holds the lock: it works across the nodes of a shared folder too. */
import {
  closeSync,
  constants,
  fstatSync,
  futimesSync,
  linkSync,
  lstatSync,
  openSync,
  renameSync,
  rmSync,
  unlinkSync,
  type BigIntStats,
} from 'node:fs'
import { isErrno } from './errno.ts'
import type { Work } from './work.ts'

const stepMs = 2

export class LockFile {
  readonly #path: string
  readonly #waitMs: number
  readonly #staleMs: number
  /** The lock of another agent as first seen, by our own clock: clocks of nodes differ. */
  #seen: { readonly identity: string; readonly at: number } | undefined
  /** Ours, open as long as it is. */
  #own: { readonly descriptor: number; identity: string; keptAt: number } | undefined

  constructor(path: string, waitMs: number, staleMs: number) {
    this.#path = path
    this.#waitMs = waitMs
    this.#staleMs = staleMs
  }

  /** False when another agent keeps it for longer than we wait; throws when there can be no lock here. */
  acquire(): boolean {
    const cell = new Int32Array(new SharedArrayBuffer(4))
    // Who was waited for in vain once is only looked at from then on.
    const waitMs = this.#seen === undefined ? this.#waitMs : 0
    for (let waitedMs = 0; ; waitedMs += stepMs) {
      try {
        // O_EXCL follows no link.
        const descriptor = openSync(this.#path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600)
        const identity = identityOf(fstatSync(descriptor, { bigint: true }))
        this.#own = { descriptor, identity, keptAt: performance.now() }
        this.#seen = undefined
        return true
      } catch (error) {
        if (!isErrno(error, 'EEXIST')) throw error
      }
      const stale = this.#staleIdentity()
      if (stale !== undefined) this.#breakLock(stale)
      else if (waitedMs >= waitMs) return false
      else Atomics.wait(cell, 0, 0, stepMs)
    }
  }

  /** False when we were taken for dead, and another agent has it now. */
  isOurs(): boolean {
    const stat = lstatSync(this.#path, { throwIfNoEntry: false, bigint: true })
    return stat !== undefined && identityOf(stat) === this.#own?.identity
  }

  /** Work that may take long: who looks at the lock sees that it is not of a dead agent. */
  *keptDuring<T>(work: Work<T>): Work<T> {
    for (;;) {
      const step = work.next()
      if (step.done === true) return step.value
      this.#keep()
      yield
    }
  }

  #keep(): void {
    const own = this.#own
    if (own === undefined || performance.now() - own.keptAt < this.#staleMs / 4) return
    own.keptAt = performance.now()
    try {
      const { descriptor } = own
      const { atime } = fstatSync(descriptor)
      futimesSync(descriptor, atime, new Date())
      own.identity = identityOf(fstatSync(descriptor, { bigint: true }))
    } catch {
      // The place went away: isOurs will say so.
    }
  }

  release(): void {
    try {
      if (this.isOurs()) rmSync(this.#path, { force: true })
    } catch {
      // The place went away, and the lock with it; if not, it is stale after a while.
    }
    if (this.#own !== undefined) closeSync(this.#own.descriptor)
    this.#own = undefined
  }

  #staleIdentity(): string | undefined {
    const stat = lstatSync(this.#path, { throwIfNoEntry: false, bigint: true })
    if (stat === undefined) return undefined
    const identity = identityOf(stat)
    if (this.#seen?.identity !== identity) this.#seen = { identity, at: performance.now() }
    return performance.now() - this.#seen.at >= this.#staleMs ? identity : undefined
  }

  /** Only the lock that was seen: another agent may have broken it first, and made its own. */
  #breakLock(identity: string): void {
    const aside = `${this.#path}.stale-${process.pid}`
    try {
      renameSync(this.#path, aside)
      if (identityOf(lstatSync(aside, { bigint: true })) !== identity) linkSync(aside, this.#path)
      unlinkSync(aside)
    } catch (error) {
      if (!isErrno(error, 'ENOENT', 'EEXIST')) throw error
      rmSync(aside, { force: true })
    }
  }
}

function identityOf({ ino, mtimeNs }: BigIntStats): string {
  return `${ino} ${mtimeNs}`
}
