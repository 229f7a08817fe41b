/** A kernel datapath of its own per test: own bpffs, small maps, all gone afterwards. */
import { mkdtempSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import { openKernelDatapath, type KernelDatapath } from '../../src/datapath/kernel.ts'
import { schema } from '../../src/datapath/layout.ts'
import type { KernelDatapathOptions } from '../../src/datapath/loading.ts'
import { unloadDatapath } from '../../src/datapath/unload.ts'
import { frontendId, type Backend, type Frontend, type Protocol } from '../../src/desired/model.ts'
import { messageOf } from '../../src/errors.ts'
import { BpfMap, closeFd, openPinned, runProgram, type TestRun } from '../../src/sys/bpf.ts'
import { mountBpffs, unmountBpffs } from '../../src/sys/mount.ts'
import { early } from './early.ts'
import { past } from './past.ts'

export const verdict = { pass: -1, shot: 2, redirect: 7 } as const

export const smallMaps = {
  addresses: 512,
  frontends: 64,
  backends: 256,
  tables: 1 << 16,
  sources: 512,
  openings: 4096,
  connections: 4096,
  datagrams: 1024,
  snat_openings: 1024,
  snat: 1024,
  fragments: 128,
  held: 128,
  ranges: 1024,
  affinity: 1024,
  counters: 64,
  backend_counts: 256,
} as const

/** Why the kernel cannot be tested here; undefined when it can. */
export function whyNoKernel(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root for bpf(2)'
  const folder = mkdtempSync(join(tmpdir(), 'dp-'))
  try {
    mountBpffs(folder)
    unmountBpffs(folder)
    buildBpf()
    return undefined
  } catch (error) {
    return `needs bpffs, clang and libbpf-dev: ${messageOf(error).split('\n')[0]}`
  } finally {
    rmdirSync(folder)
  }
}

export interface Fixture {
  readonly bpffs: string
  open(options?: Partial<KernelDatapathOptions>): KernelDatapath
}

/** A bpffs for the time of a test; every datapath opened on it is closed and unloaded at its end. */
export function kernelFixture(t: TestContext): Fixture {
  const bpffs = mkdtempSync(join(tmpdir(), 'dp-'))
  mountBpffs(bpffs)
  const opened: KernelDatapath[] = []
  t.after(() => {
    for (const datapath of opened) datapath.close()
    unloadDatapath(bpffs)
    unmountBpffs(bpffs)
    rmdirSync(bpffs)
  })
  const open = (options: Partial<KernelDatapathOptions> = {}): KernelDatapath => {
    const datapath = openKernelDatapath({
      bpffs,
      objectFile: buildBpf(),
      attach: 'auto',
      maxEntries: smallMaps,
      ...(past.isChosen ? { mode: 'redirect' } : {}),
      ...(early.isChosen ? { acceleration: 'native' } : {}),
      // Tests make more flows at once than such small maps would let a CPU make in a second.
      openingsPerSec: 0,
      ...options,
    })
    opened.push(datapath)
    if (past.isChosen) past.attach(datapath)
    if (early.isChosen) early.attach(datapath)
    return datapath
  }
  return { bpffs, open }
}

export function frontendOf(
  address: string,
  port: number,
  backends: readonly Backend[],
  protocol: Protocol = 'TCP',
): Frontend {
  return { id: frontendId(address, protocol, port), service: 'default/test', address, protocol, port, backends }
}

export function ingress(datapath: KernelDatapath, bytes: Uint8Array): TestRun {
  const run = early.run(datapath, bytes) ?? runProgram(datapath.programs.ingress, bytes)
  return past.isChosen ? past.asOfStack(run, bytes) : run
}

export function egress(datapath: KernelDatapath, bytes: Uint8Array): TestRun {
  return (past.isChosen ? past.reply(datapath, bytes) : undefined) ?? runProgram(datapath.programs.egress, bytes)
}

/** Flows that leave for the stack have done so for a while (`client_end` of struct flow). */
export function leaveLongAgo(bpffs: string): void {
  for (const name of ['openings', 'connections', 'datagrams']) {
    const fd = openPinned(`${bpffs}/herald/v${schema}/maps/${name}`)
    if (fd === undefined) throw new Error(`${name} is not pinned`)
    const map = new BpfMap(name, fd)
    for (const [key, value] of [...map.entries()].filter(([key]) => key[37] === 0)) {
      const view = new DataView(value.buffer, value.byteOffset)
      view.setUint32(44, view.getUint32(44, true) - 1, true)
      map.update(key, value)
    }
    closeFd(fd)
  }
}

/**
 * Removes what an LRU map may evict by itself: one half of every connection (the octet is the direction of the key).
 */
export function evict(bpffs: string, direction: 0 | 1): void {
  let evicted = 0
  for (const name of ['openings', 'connections', 'datagrams', 'forwards']) {
    const fd = openPinned(`${bpffs}/herald/v${schema}/maps/${name}`)
    if (fd === undefined) throw new Error(`${name} is not pinned`)
    const map = new BpfMap(name, fd)
    const keys = [...map.entries()].map(([key]) => key).filter((key) => key[37] === direction)
    for (const key of keys) map.delete(key)
    evicted += keys.length
    closeFd(fd)
  }
  if (evicted === 0) throw new Error('nothing to evict')
}
