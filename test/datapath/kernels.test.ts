/**
 * Other kernels than this machine's, each in a virtual machine: the programs are loaded, serve, are taken over and are
 * unloaded there (kernels/inside.ts). A matrix is printed.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test, type TestContext } from 'node:test'
import { writeArchive, type Entry } from './kernels/archive.ts'
import { mark, type Told } from './kernels/lines.ts'
import { emulator, runMachine } from './kernels/machine.ts'
import { moduleFiles } from './kernels/modules.ts'
import { presentKernels, type Kernel } from './kernels/packages.ts'
import { bundled, bundleTests, guestRoot, programFiles } from './kernels/programs.ts'
import { whyNoKernel } from './fixture.ts'

const modules = ['veth', 'bridge', 'bonding', 'sch_ingress', 'cls_bpf', 'udp_diag']
const here = 'test/datapath'
/** What runs in each machine. */
const inside = [`${here}/kernels/inside.ts`]
const alsoNeeded = [
  `${here}/kernels/first.ts`,
  `${here}/kernels/lines.ts`,
  `${here}/actor.ts`,
  `${here}/socket-actor.ts`,
]
/** The compiler of the engine only costs an emulated processor. */
const nodeFlags = ['--jitless', '--single-threaded']
const checks = ['attached', 'pod here', 'pod on another node', 'past netfilter', 'taken over', 'unloaded']
/** A machine that hangs. */
const deadlineMs = 9 * 60_000

const lack = ['/usr/bin', '/usr/local/bin'].some((folder) => existsSync(join(folder, emulator)))
  ? whyNoKernel()
  : `needs ${emulator} (package qemu-system-x86)`
let folder = ''
let common: readonly Entry[] = []

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'dp-'))
  if (lack !== undefined) return
  common = [...programFiles(), ...(await bundleTests([...inside, ...alsoNeeded], folder))]
})
after(() => rmSync(folder, { recursive: true }))

// One machine for each processor: they share nothing.
describe('other kernels', { concurrency: true }, () => {
  for (const { name, found } of presentKernels()) {
    const skip = typeof found === 'string' ? found : lack
    test(`Linux ${name}`, { skip }, async (t) => {
      if (typeof found === 'string') return
      const { told, console: shown } = await runInside(found, t.signal)
      print(t, found, told)
      for (const each of told.filter(({ type }) => type === 'pass' || type === 'fail'))
        await t.test(`Linux ${found.release}: ${each.name}`, () => assert.equal(each.type, 'pass', each.text))
      assert.equal(told.filter(({ type }) => type === 'end').length, inside.length, shown.slice(-4000))
    })
  }
})

async function runInside(kernel: Kernel, signal: AbortSignal): Promise<{ told: readonly Told[]; console: string }> {
  const archive = join(folder, `${kernel.release}.cpio`)
  const loaded = moduleFiles(kernel.modules, modules).map((file, index) => ({
    path: `/modules/${String(index).padStart(3, '0')}.ko`,
    content: { file },
  }))
  writeArchive(archive, [{ path: '/dev/console', content: { device: [5, 1] } }, ...loaded, ...common])
  const first = ['/bin/node', ...nodeFlags, join(guestRoot, bundled(`${here}/kernels/first.ts`))]
  const files = inside.map((file) => join(guestRoot, bundled(file)))
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

/** Attach and family to what was checked, and what the verifier had to walk. */
function print(t: TestContext, { release }: Kernel, told: readonly Told[]): void {
  const rows = (['tcx', 'clsact'] as const).flatMap((attach) =>
    ['ipv4', 'ipv6'].map((family) => [attach, family, ...checks.map((check) => cell(told, attach, family, check))]),
  )
  const table = [['', '', ...checks], ...rows]
  const widths = table[0]?.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0))) ?? []
  for (const row of table)
    t.diagnostic(
      `Linux ${release}  ${row.map((text, column) => text.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd(),
    )
  const sockets = ['ipv4', 'ipv6'].map((family) => `${family} ${cell(told, 'socket', family, 'client of the node')}`)
  t.diagnostic(`Linux ${release}  clients of the node, by their sockets: ${sockets.join(', ')}`)
  for (const { text } of told.filter(({ type }) => type === 'say')) t.diagnostic(`Linux ${release}  ${text}`)
}

function cell(told: readonly Told[], attach: string, family: string, check: string): string {
  const found = told.find(({ name }) => [family, 'both'].some((each) => name === `${attach} | ${each} | ${check}`))
  return found === undefined ? 'not there' : found.type === 'pass' ? 'yes' : 'no'
}
