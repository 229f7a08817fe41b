/** Files of tests in a machine of another kernel: what it is given, and what is heard of it. */
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { whyNoKernel } from '../fixture.ts'
import { writeArchive, type Entry } from './archive.ts'
import { mark, type Told } from './lines.ts'
import { emulator, runMachine } from './machine.ts'
import { moduleFiles } from './modules.ts'
import type { Kernel } from './packages.ts'
import { bundled, guestRoot } from './programs.ts'

const modules = ['veth', 'bridge', 'bonding', 'sch_ingress', 'cls_bpf', 'udp_diag']
const firstProgram = 'test/datapath/kernels/first.ts'
/** To be bundled with the tests. */
export const machinePrograms: readonly string[] = [firstProgram, 'test/datapath/kernels/lines.ts']
/** The compiler of the engine only costs an emulated processor. */
const nodeFlags = ['--jitless', '--single-threaded']
/** A machine that hangs. */
const deadlineMs = 9 * 60_000

export function whyNoMachines(): string | undefined {
  return ['/usr/bin', '/usr/local/bin'].some((folder) => existsSync(join(folder, emulator)))
    ? whyNoKernel()
    : `needs ${emulator} (package qemu-system-x86)`
}

/** Runs these files of the checkout, one after the other; `entries` have them, and all that they need. */
export async function runInside(
  kernel: Kernel,
  folder: string,
  tests: readonly string[],
  entries: readonly Entry[],
  signal: AbortSignal,
): Promise<{ readonly told: readonly Told[]; readonly console: string }> {
  const archive = join(folder, `${kernel.release}.cpio`)
  const loaded = moduleFiles(kernel.modules, modules).map((file, index) => ({
    path: `/modules/${String(index).padStart(3, '0')}.ko`,
    content: { file },
  }))
  writeArchive(archive, [{ path: '/dev/console', content: { device: [5, 1] } }, ...loaded, ...entries])
  const first = ['/bin/node', ...nodeFlags, join(guestRoot, bundled(firstProgram))]
  const files = tests.map((file) => join(guestRoot, bundled(file)))
  const told: Told[] = []
  const hear = (line: string): void => {
    if (process.env['HERALD_CONSOLE'] !== undefined) console.log(line)
    const at = line.indexOf(mark)
    if (at >= 0) told.push(JSON.parse(line.slice(at + mark.length)) as Told)
  }
  const ended = await runMachine(
    kernel,
    archive,
    [...first, ...files],
    hear,
    AbortSignal.any([signal, AbortSignal.timeout(deadlineMs)]),
  )
  rmSync(archive)
  return { told, console: ended.console }
}
