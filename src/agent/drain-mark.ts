/**
 * Remembers in the state directory that an operator has drained this node, so that a restart of the agent does not
 * announce everything again. Unlike the mark of a restart it outlives a reboot: who drained the node undoes it.
 */
import { closeSync, constants, lstatSync, openSync, rmSync } from 'node:fs'
import { join } from 'node:path'

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants

export class DrainMark {
  readonly #file: string

  constructor(stateDir: string) {
    this.#file = join(stateDir, 'drained')
  }

  get isSet(): boolean {
    return lstatSync(this.#file, { throwIfNoEntry: false }) !== undefined
  }

  /** Throws what the file system answers. */
  set(): void {
    if (!this.isSet) closeSync(openSync(this.#file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600))
  }

  clear(): void {
    rmSync(this.#file, { force: true })
  }
}
