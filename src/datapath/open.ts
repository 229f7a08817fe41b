/** Which datapath a node has: the kernel's, or none where that was asked for or where there cannot be one. */
import { join } from 'node:path'
import { HeraldError, messageOf } from '../errors.ts'
import { lockPath } from '../sys/flock.ts'
import { makeFolder } from '../sys/folder.ts'
import { confinedFrom } from '../sys/confinement.ts'
import { mountBpffs } from '../sys/mount.ts'
import type { Acceleration, AttachMode, Datapath, Netfilter } from './datapath.ts'
import { openKernelDatapathAside } from './kernel.ts'
import type { KernelDatapathOptions } from './loading.ts'
import { createNoneDatapath } from './none.ts'
import { isServedByPins } from './pins.ts'
import type { WantedMode } from './redirection.ts'

export interface DatapathChoice {
  readonly kind: 'auto' | 'ebpf' | 'none'
  readonly bpffs: string
  readonly objectFile: string
  readonly attach: 'auto' | AttachMode
  readonly acceleration?: Acceleration
  readonly mode: WantedMode
  /** Asked in mode `auto`: see {@link KernelDatapathOptions}. */
  readonly netfilter?: Netfilter
  readonly log: (level: 'info' | 'warn' | 'error', message: string) => void
}

export interface OpenedDatapath {
  readonly datapath: Datapath
  /** Why `auto` fell back to none. */
  readonly problem: string | undefined
  releaseBpffs(): void
}

/**
 * This thread is free while the kernel loads. Throws what keeps the kernel's datapath from being opened where it was
 * asked for by name; where another agent has it (ERR_ALREADY_RUNNING); and where programs of an earlier agent serve: by
 * what they knew, which nobody would correct.
 */
export async function openDatapath(choice: DatapathChoice): Promise<OpenedDatapath> {
  const { kind, bpffs, log, ...options } = choice
  const none = (problem?: string): OpenedDatapath => ({
    datapath: createNoneDatapath(),
    problem,
    releaseBpffs: () => {},
  })
  if (kind === 'none') return none()
  let releaseBpffs: () => void = () => {}
  try {
    mountBpffs(bpffs)
    const base = join(bpffs, 'herald')
    makeFolder(base, 0o700)
    releaseBpffs = lockPath(base, 'directory')
    const relock = (): void => {
      // Where it is the same folder this process has it itself.
      releaseBpffs()
      releaseBpffs = () => {}
      releaseBpffs = lockPath(base, 'directory')
    }
    const say = (message: string): void => log('info', `datapath: ${message}`)
    return {
      datapath: await openKernelDatapathAside({ ...options, bpffs, relock, log: say }),
      problem: undefined,
      releaseBpffs: () => releaseBpffs(),
    }
  } catch (thrown) {
    const error = confinedFrom(thrown)
    releaseBpffs()
    // A second agent on this node must not run at all; everything else only costs the datapath.
    if (kind === 'ebpf' || (error instanceof HeraldError && error.code === 'ERR_ALREADY_RUNNING')) throw error
    if (isServedByPins(bpffs)) {
      log('error', 'programs of an earlier agent serve and cannot be taken over; `herald lb unload` removes them')
      throw error
    }
    const hint = error instanceof HeraldError ? ` ${error.hint}` : ''
    const [what = '', ...words] = messageOf(error).split('\n')
    const problem =
      `no eBPF datapath: ${what}.${hint} Routes are announced; addresses are served ` +
      `only if something else (kube-proxy) does`
    // The verifier's log may be pages: once is enough.
    log('warn', [problem, ...words].join('\n'))
    return none(problem)
  }
}
