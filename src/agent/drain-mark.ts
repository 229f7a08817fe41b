/**
 * Remembers in the state directory that an operator has drained this node, so that a restart of the agent does not
 * announce everything again. Unlike the mark of a restart it outlives a reboot: who drained the node undoes it.
 */
import { constants, lstatSync } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../clock/clock.ts'
import { answerWithin } from '../clock/deadline.ts'
import { systemClock } from '../clock/system-clock.ts'
import { HeraldError } from '../errors.ts'

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants

export class DrainMark {
  readonly #file: string
  readonly #clock: Clock

  constructor(stateDir: string, clock: Clock = systemClock) {
    this.#clock = clock
    this.#file = join(stateDir, 'drained')
  }

  get isSet(): boolean {
    return lstatSync(this.#file, { throwIfNoEntry: false }) !== undefined
  }

  /** Rejects with what the file system answers, or that it does not: the loop does not wait for it. */
  set(): Promise<void> {
    return this.#answered(() => this.#make())
  }

  clear(): Promise<void> {
    return this.#answered(() => rm(this.#file, { force: true }))
  }

  async #make(): Promise<void> {
    if (this.isSet) return
    const file = await open(this.#file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
    await file.close()
  }

  async #answered(ask: () => Promise<void>): Promise<void> {
    if (await answerWithin(this.#clock, ask())) return
    const later = 'should it answer later, the next start of the agent counts what was asked'
    throw new HeraldError('ERR_SYSCALL', `its file system does not answer; ${later}`)
  }
}
