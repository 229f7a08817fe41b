/**
 * Remembers in the state directory that an agent of this boot had sessions, so that the next one knows whether it
 * restarts (RFC 4724: R bit) or starts. A planned stop removes the mark; after a reboot the boot id differs.
 */
import { readFileSync } from 'node:fs'
import { lstat, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../clock/clock.ts'
import { answerWithin } from '../clock/deadline.ts'
import { systemClock } from '../clock/system-clock.ts'
import type { DatapathStatus } from '../datapath/datapath.ts'
import { makeFolder } from '../sys/folder.ts'
import { readOwnFile, replaceOwnFile, replaceOwnFileLater } from '../sys/own-file.ts'
import type { AgentLog } from './agent-log.ts'

const maxBytes = 128

/**
 * Whether packets were forwarded all the time since an earlier process ended, so that routers may keep its routes (RFC
 * 4724 4.1, F bit), and by what. Maps alone forward nothing: the programs must be on an interface.
 */
export function forwardingOf({
  kind,
  adopted,
  interfaces,
  lostUplinks = 0,
}: Pick<DatapathStatus, 'kind' | 'adopted' | 'interfaces' | 'lostUplinks'>): {
  readonly isPreserved: boolean
  readonly why: string
} {
  if (kind === 'none') return { isPreserved: true, why: 'addresses are served by something else' }
  if (!adopted) return { isPreserved: false, why: 'nothing of an earlier process was taken over' }
  if (lostUplinks > 0)
    return { isPreserved: false, why: `of the interfaces that carried the programs ${lostUplinks} are gone` }
  return interfaces.length === 0
    ? { isPreserved: false, why: 'the programs of the earlier process are on no interface' }
    : { isPreserved: true, why: `the programs of the earlier process are on ${interfaces.join(', ')}` }
}

export function tellForwarding(
  { isPreserved, why }: ReturnType<typeof forwardingOf>,
  log: Pick<AgentLog, 'info'>,
): void {
  const told = `routers are told that forwarding ${isPreserved ? 'went on' : 'was interrupted'}`
  log.info({ forwarding: isPreserved }, `a restart: ${told} (RFC 4724 F bit), ${why}`)
}

export class RestartMarker {
  readonly folder: string
  /** By whose time a file system that does not answer is waited for. */
  readonly patience: Clock
  readonly #file: string
  readonly #bootId: string
  /** Before something is written while the agent runs: rejects where another agent has the folder by now. */
  readonly keepLock: () => Promise<void>

  constructor(
    stateDir: string,
    patience: Clock = systemClock,
    keepLock: () => Promise<void> = () => Promise.resolve(),
  ) {
    makeFolder(stateDir, 0o700)
    this.keepLock = keepLock
    this.folder = stateDir
    this.patience = patience
    this.#file = join(stateDir, 'sessions')
    this.#bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  }

  get #text(): string {
    return `${this.#bootId}\n`
  }

  /** A mark that cannot be read is none: the agent starts, and does not claim to restart. */
  get isRestart(): boolean {
    return readOwnFile(this.#file, maxBytes)?.trim() === this.#bootId
  }

  /** Sessions may exist from now on. Throws what the system answers. */
  set(): void {
    replaceOwnFile(this.#file, this.#text)
  }

  /** The same without holding the loop, and where the folder itself is gone. */
  async setLater(): Promise<void> {
    makeFolder(this.folder, 0o700)
    await this.keepLock()
    await replaceOwnFileLater(this.#file, this.#text)
  }

  /** What was set stands where it was; asked from another thread, and without a descriptor, which may be short. */
  isThere(): Promise<boolean> {
    return lstat(this.#file).then(
      (found) => found.isFile() && found.size === this.#text.length,
      (error: NodeJS.ErrnoException) => error.code !== 'ENOENT' && error.code !== 'ENOTDIR',
    )
  }

  /** Sessions were ended by a Cease: the next start is a first start. A file system that does not answer keeps it. */
  async clear(): Promise<void> {
    const clear = (): Promise<void> => rm(this.#file, { force: true })
    await answerWithin(
      this.patience,
      this.keepLock().then(clear, () => {}),
    )
  }
}
