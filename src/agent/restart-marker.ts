/**
 * Remembers in the state directory that an agent of this boot had sessions, so that the next one knows whether it
 * restarts (RFC 4724: R bit) or starts. A planned stop removes the mark; after a reboot the boot id differs.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export class RestartMarker {
  readonly #file: string
  readonly #bootId: string

  constructor(stateDir: string) {
    mkdirSync(stateDir, { recursive: true, mode: 0o700 })
    this.#file = join(stateDir, 'sessions')
    this.#bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  }

  get isRestart(): boolean {
    return existsSync(this.#file) && readFileSync(this.#file, 'utf8').trim() === this.#bootId
  }

  /** Sessions may exist from now on. */
  set(): void {
    writeFileSync(`${this.#file}.new`, `${this.#bootId}\n`)
    renameSync(`${this.#file}.new`, this.#file)
  }

  /** Sessions were ended by a Cease: the next start is a first start. */
  clear(): void {
    rmSync(this.#file, { force: true })
  }
}
