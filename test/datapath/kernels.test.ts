/**
 * Other kernels than this machine's, each in a virtual machine: the programs are loaded, serve, are taken over and are
 * unloaded there (kernels/inside.ts). A matrix is printed.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test, type TestContext } from 'node:test'
import type { Entry } from './kernels/archive.ts'
import { machinePrograms, runInside, whyNoMachines } from './kernels/inside-machine.ts'
import type { Told } from './kernels/lines.ts'
import { type Kernel, presentKernels } from './kernels/packages.ts'
import { bundleTests, programFiles } from './kernels/programs.ts'

const here = 'test/datapath'
/** What runs in each machine. */
const inside = [`${here}/kernels/inside.ts`]
const alsoNeeded = [...machinePrograms, `${here}/actor.ts`, `${here}/socket-actor.ts`]
const checks = ['attached', 'pod here', 'pod on another node', 'past netfilter', 'taken over', 'unloaded']
const lack = whyNoMachines()
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
      const { told, console: shown } = await runInside(found, folder, inside, common, t.signal)
      print(t, found, told)
      for (const each of told.filter(({ type }) => type === 'pass' || type === 'fail'))
        await t.test(`Linux ${found.release}: ${each.name}`, () => assert.equal(each.type, 'pass', each.text))
      assert.equal(told.filter(({ type }) => type === 'end').length, inside.length, shown.slice(-4000))
    })
  }
})

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
