/** Whether sockets on this node are led to backends: where that is asked for and can be had. */
import { HeraldError, messageOf } from '../errors.ts'
import type { SocketBalancer } from './datapath.ts'
import { areSocketsPinned, openSockets, removeSockets, type SocketOptions } from './sockets.ts'

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

/**
 * What an earlier agent left goes where sockets are not asked for: nobody would correct it. Throws what keeps it from
 * being taken over, as it serves on.
 */
export function openSocketBalancer({ isAsked, isServing, log, ...options }: SocketChoice): OpenedSockets {
  const say = (message: string): void => log('info', `socket LB: ${message}`)
  if (!isAsked || !isServing) {
    for (const what of areSocketsPinned(options.bpffs) ? removeSockets(options.bpffs) : []) say(`removed ${what}`)
    const problem = 'no socket LB: it needs the eBPF datapath, which this node does not have'
    if (isAsked) log('warn', problem)
    return { balancer: undefined, problem: isAsked ? problem : undefined }
  }
  try {
    return { balancer: openSockets({ ...options, log: say }), problem: undefined }
  } catch (error) {
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
