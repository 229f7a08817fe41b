/** `npm run lab -- --api`: the rack on a real API server, and a user's way through all families of configuration. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { inspectMachine } from '../../scripts/setup/machine.ts'
import { labNeeds } from '../../scripts/setup/packages.ts'
import { presentBinaries } from '../apiserver/binaries.ts'
import { presentHelm } from '../helm/binary.ts'
import { runLab } from './run-lab.ts'

const machine = inspectMachine(labNeeds)
const noLab = machine.canDeploy ? false : machine.lacks.map((lack) => lack.what).join(', ')
const noServer =
  presentBinaries() === undefined || presentHelm() === undefined
    ? 'no kube-apiserver or no helm here (see test/apiserver/binaries.ts, test/helm/binary.ts)'
    : false
const skip = noLab === false ? noServer : noLab

const workFolderIn = (output: string): string => /in (\S*herald-rack-\S+)/.exec(output)?.[1] ?? '/'

/** Processes that name the folder on their command line: etcd, kube-apiserver, relays, agents, kubectl. */
function processesOf(workFolder: string): readonly string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      const file = `/proc/${pid}/cmdline`
      const words = existsSync(file) ? readFileSync(file, 'utf8').replaceAll('\0', ' ') : ''
      return words.includes(workFolder) ? [words] : []
    })
}

test("MetalLB's kinds, Cilium's v2 kinds and the policy take each other's place, and no session or address moves", {
  skip,
  timeout: 400_000,
}, async (context) => {
  let shown = 0
  const { code, output } = await runLab(['--api', '--check'], context, (all) => {
    process.stdout.write(all.slice(shown))
    shown = all.length
  })
  assert.equal(code, 0, output)
  for (const [title, evidence] of [
    ["MetalLB's kinds", 'no session went down, no address moved'],
    ["Cilium's v2 kinds", 'no session went down, no address moved'],
    ['peering policy', 'no session went down, no address moved'],
    ['uninstall', 'no route, session or program is left'],
  ] as const)
    assert.ok(
      output.split('\n').some((line) => line.includes(`✓ ${title}`) && line.includes(evidence)),
      title,
    )
  const [, skipped, names] = /, (\d+) skipped(?: \((.*)\))?\n*$/.exec(output) ?? []
  if (skipped !== '0') context.skip(`parts of the check cannot run here: ${names}`)
})

test('Ctrl-C while the API server starts leaves no file and no process', {
  skip,
  timeout: 120_000,
}, async (context) => {
  let hasStopped = false
  const { code, output } = await runLab(['--api'], context, (all, child) => {
    if (hasStopped || !all.includes('✓ API server')) return
    hasStopped = true
    child.kill('SIGINT')
  })
  assert.equal(code, 0, output)
  const workFolder = workFolderIn(output)
  assert.notEqual(workFolder, '/', output)
  assert.ok(!existsSync(workFolder), workFolder)
  assert.deepEqual(processesOf(workFolder), [])
})

test('without Go the lab says what is missing and how to get it, and touches nothing', {
  skip: noLab,
  timeout: 120_000,
}, async (context) => {
  const home = mkdtempSync(join(tmpdir(), 'herald-test-nogo-'))
  context.after(() => rmSync(home, { recursive: true }))
  const { KUBEBUILDER_ASSETS: _assets, HERALD_HELM: _helm, ...rest } = process.env
  const PATH = (rest['PATH'] ?? '').split(':').filter((folder) => !existsSync(join(folder, 'go')))
  const env = { ...rest, XDG_CACHE_HOME: home, PATH: PATH.join(':') }
  const { code, output } = await runLab(['--api'], context, undefined, env)
  assert.equal(code, 3, output)
  assert.match(output, /✗ kube-apiserver +go 1\.26 is not there; or set KUBEBUILDER_ASSETS/)
  assert.match(output, /✗ helm +go 1\.26 is not there; or set HERALD_HELM/)
  assert.match(output, /Still runs: npm run lab, without --api/)
  assert.ok(!output.includes('topology  '))
})
