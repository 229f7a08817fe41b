/** The folder of `--manifests` when the agent starts. Its file system may not answer, which holds nobody. */
import { stat } from 'node:fs/promises'
import type { Clock } from '../clock/clock.ts'
import { deadline } from '../clock/deadline.ts'
import { HeraldError } from '../errors.ts'
import { silentMs } from '../k8s/directory/knock.ts'
import type { AgentLog } from './agent-log.ts'

export interface FolderParts {
  readonly isRestart: boolean
  readonly clock: Clock
  readonly log: Pick<AgentLog, 'warn'>
  /** Of fs/promises: it is asked from another thread. */
  readonly stat?: (path: string) => Promise<{ isDirectory(): boolean }>
}

type Found = 'a folder' | 'none' | 'no answer'

/**
 * A restart waits for a folder that is not there (yet); a first start without one is a mistake of its caller, told as
 * ERR_MANIFESTS. Of one whose file system is silent nobody knows: the source waits for it (directory.ts).
 */
export async function lookAtFolder(folder: string, parts: FolderParts): Promise<void> {
  const { isRestart, log } = parts
  const found = await lookedAt(folder, parts)
  if (found === 'a folder') return
  const meanwhile = isRestart ? 'what an earlier agent left stays' : 'nothing is announced'
  if (found === 'no answer')
    log.warn(
      {},
      `--manifests ${folder}: its file system has not answered for ${silentMs / 1000} s; ${meanwhile} until it does`,
    )
  else if (isRestart) log.warn({}, `--manifests ${folder} is not a folder (yet): ${meanwhile} until it is`)
  else throw new HeraldError('ERR_MANIFESTS', `--manifests ${folder} is not a folder`)
}

function lookedAt(folder: string, { clock, stat: ask = stat }: FolderParts): Promise<Found> {
  return new Promise((resolve) => {
    const patience = deadline(clock, silentMs, () => resolve('no answer'))
    const answered = (found: Found): void => {
      patience.cancel()
      resolve(found)
    }
    void ask(folder).then(
      (seen) => answered(seen.isDirectory() ? 'a folder' : 'none'),
      () => answered('none'),
    )
  })
}
