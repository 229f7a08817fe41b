/**
 * The pod of the chart under the profile of AppArmor that container runtimes give every pod, in virtual machines whose
 * kernels have AppArmor (kernels/confined.ts).
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Entry } from './kernels/archive.ts'
import { confinedFiles, confinedPrograms, whyNotConfined } from './kernels/confined-files.ts'
import { machinePrograms, runInside, whyNoMachines } from './kernels/inside-machine.ts'
import { presentKernels } from './kernels/packages.ts'
import { bundleTests, programFiles } from './kernels/programs.ts'

const inside = ['test/datapath/kernels/confined.ts']
const lack = whyNoMachines() ?? whyNotConfined()
let folder = ''
let entries: readonly Entry[] = []

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'dp-'))
  if (lack !== undefined) return
  const tests = await bundleTests([...inside, ...machinePrograms], folder)
  entries = [...programFiles(confinedPrograms()), ...tests, ...(await confinedFiles(join(folder, 'pod')))]
})
after(() => rmSync(folder, { recursive: true }))

// One machine for each processor: they share nothing.
describe('the pod of the chart under AppArmor', { concurrency: true }, () => {
  for (const { name, found } of presentKernels())
    test(`Linux ${name}`, { skip: typeof found === 'string' ? found : lack }, async (t) => {
      if (typeof found === 'string') return
      const { told, console: shown } = await runInside(found, folder, inside, entries, t.signal)
      const ended = told.filter(({ type }) => type === 'pass' || type === 'fail')
      for (const each of ended)
        await t.test(`Linux ${found.release}: ${each.name}`, () => assert.equal(each.type, 'pass', each.text))
      assert.equal(ended.length, 2, shown.slice(-4000))
    })
})
