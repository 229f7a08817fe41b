/** Whether file systems answer at all: one of a server that is away holds whoever calls it, until it is back. */
import { statfs } from 'node:fs/promises'
import type { Clock } from '../../clock/clock.ts'

/** A file system that has not answered for so long is told of. */
export const silentMs = 5000

/**
 * Resolves when the file system of each folder has answered, with whatever. It is asked for its size, which one over
 * the network or in user space asks its server each time. One after the other: one that hangs holds one thread.
 */
export async function knock(folders: readonly string[]): Promise<void> {
  // That a folder is not there is an answer.
  for (const folder of folders) await statfs(folder).catch(() => undefined)
}

/** Who has knocked in vain for longer than this takes it for silent. */
const soonMs = 500

/** A folder as all that use it see it: whoever would touch it without a look of its own asks whether it is silent. */
export class Door {
  readonly #folder: string
  readonly #clock: Pick<Clock, 'monotonic'>
  readonly #knock: typeof knock
  #open = 0
  /** Since when there was always one that had no answer yet. */
  #since = 0

  constructor(folder: string, clock: Pick<Clock, 'monotonic'>, ask: typeof knock = knock) {
    this.#folder = folder
    this.#clock = clock
    this.#knock = ask
  }

  get isSilent(): boolean {
    return this.#open > 0 && this.#clock.monotonic() - this.#since > soonMs
  }

  /** As {@link knock}. */
  async knock(folders: readonly string[]): Promise<void> {
    if (this.#open === 0) this.#since = this.#clock.monotonic()
    this.#open++
    await this.#knock(folders)
    this.#open--
  }

  /** Something may have cut it off: what follows is to know soon. */
  doubt(): void {
    if (this.#open === 0) void this.knock([this.#folder])
  }
}
