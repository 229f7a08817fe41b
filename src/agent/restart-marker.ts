/**
 * Remembers in the state directory that an agent of this boot had sessions, so that the next one knows whether it
 * restarts (RFC 4724: R bit) or starts. A planned stop removes the mark; after a reboot the boot id differs.
 */
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { readOwnFile, replaceOwnFile } from '../sys/own-file.ts'

export class RestartMarker {
  readonly #file: string
  readonly #bootId: string

  constructor(stateDir: string) {
    mkdirSync(stateDir, { recursive: true, mode: 0o700 })
    this.#file = join(stateDir, 'sessions')
    this.#bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  }

  get isRestart(): boolean {
    return readOwnFile(this.#file)?.trim() === this.#bootId
  }

  /** Sessions may exist from now on. */
  set(): void {
    replaceOwnFile(this.#file, `${this.#bootId}\n`)
  }

  /** Sessions were ended by a Cease: the next start is a first start. */
  clear(): void {
    rmSync(this.#file, { force: true })
  }
}
