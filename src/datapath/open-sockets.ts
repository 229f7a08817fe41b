/** Whether sockets on this node are led to backends: where that is asked for and can be had. */
import { join } from 'node:path'
import { HeraldError, messageOf } from '../errors.ts'
import { confinedFrom } from '../sys/confinement.ts'
import { lockPath } from '../sys/flock.ts'
import type { SocketBalancer } from './datapath.ts'
import { areSocketsPinned, openSocketsAside, removeSockets, socketMapFolders, type SocketOptions } from './sockets.ts'

export interface SocketChoice extends Omit<SocketOptions, 'log'> {
  readonly isAsked: boolean
  /** The datapath of this node is ours, and so is its bpffs. */
  readonly isServing: boolean
  readonly log: (level: 'info' | 'warn' | 'error', message: string) => void
}

export interface OpenedSockets {
  readonly balancer: SocketBalancer | undefined
  /** Why there is none although it was asked for. */
  readonly problem: string | undefined
}

/** Removes them, also maps alone, as an agent leaves them that is killed while it does so; answers what went. */
function leftovers(bpffs: string, isServing: boolean, log: SocketChoice['log']): readonly string[] {
  if (socketMapFolders(bpffs).length === 0) return []
  let release = (): void => {}
  try {
    // Who serves has the bpffs alone already; who does not may be beside an agent that does.
    if (!isServing) release = lockPath(join(bpffs, 'herald'), 'directory')
    return removeSockets(bpffs)
  } catch (error) {
    if (!(error instanceof HeraldError && error.code === 'ERR_ALREADY_RUNNING')) throw error
    log('info', `socket LB: ${messageOf(error)}, and leads sockets on`)
    return []
  } finally {
    release()
  }
}

/**
 * What an earlier agent left goes where sockets are not asked for: nobody would correct it. This thread is free while
 * the kernel loads. Throws what keeps it from being taken over, as it serves on.
 */
export async function openSocketBalancer(choice: SocketChoice): Promise<OpenedSockets> {
  const { isAsked, isServing, log, ...options } = choice
  const say = (message: string): void => log('info', `socket LB: ${message}`)
  if (!isAsked || !isServing) {
    for (const what of leftovers(options.bpffs, isServing, log)) say(`removed ${what}`)
    const problem = 'no socket LB: it needs the eBPF datapath, which this node does not have'
    if (isAsked) log('warn', problem)
    return { balancer: undefined, problem: isAsked ? problem : undefined }
  }
  try {
    return { balancer: await openSocketsAside({ ...options, log: say }), problem: undefined }
  } catch (thrown) {
    const error = confinedFrom(thrown)
    if (areSocketsPinned(options.bpffs)) {
      log(
        'error',
        'socket programs of an earlier agent serve and cannot be taken over; `herald lb unload` removes them',
      )
      throw error
    }
    const hint = error instanceof HeraldError ? ` ${error.hint}` : ''
    const problem = `no socket LB: ${messageOf(error)}.${hint} Clients on this node are served as without it`
    log('warn', problem)
    return { balancer: undefined, problem }
  }
}
