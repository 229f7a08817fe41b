/**
 * `npm test [-- SUITE | FILE ...]`: everything, from a fresh clone.
 *
 *     packages (as root) -> format, lint, types -> kube-apiserver, helm, other kernels, kernel programs
 *         -> unit -> vectors -> apiserver -> chart -> datapath -> e2e -> interop -> lab
 *
 * What this machine cannot run is skipped by name and counted; with HERALD_STRICT=1 or CI=true a skip is a failure.
 * Exit codes: 0 ok, 1 failed, 2 usage.
 */
import { dirname, relative, resolve } from 'node:path'
import { run } from 'node:test'
import { fileURLToPath } from 'node:url'
import { messageOf } from '../src/errors.ts'
import { ensureBinaries } from '../test/apiserver/binaries.ts'
import { ensureKernels } from '../test/datapath/kernels/packages.ts'
import { ensureHelm } from '../test/helm/binary.ts'
import { StepList } from '../lab/steps.ts'
import { lintCheck, typeCheck } from './check.ts'
import { asksForHelp, refuse } from './setup/arguments.ts'
import { inspectMachine, lackText, type Machine } from './setup/machine.ts'
import { installPackages, missingPackages, testNeeds } from './setup/packages.ts'
import { suiteNames, suitesOf, type Suite } from './setup/suites.ts'
import { paint, TestReport } from './setup/test-report.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const steps = new StepList(process.stdout)
const isStrict =
  ['1', 'true'].includes(process.env['HERALD_STRICT'] ?? '') || ['1', 'true'].includes(process.env['CI'] ?? '')
/** A test that takes longer than this hangs. */
const testTimeoutMs = 10 * 60_000
/** Ends a file whose tests are over and which goes on: the runner would wait for it for ever. */
const overseer = new URL('setup/end-of-tests.ts', import.meta.url).href

/** Suites by name, files by path; everything without arguments. The exit code for a word that is neither. */
function selected(words: readonly string[]): Suite[] | number {
  const all = suitesOf(root)
  if (words.length === 0) return all
  const paths = new Set(words.filter((word) => word.endsWith('.ts')).map((word) => resolve(word)))
  const unknown = words.filter((word) => !word.endsWith('.ts') && !suiteNames.some((name) => name === word))
  const missing = [...paths].filter((path) => !all.some((suite) => suite.files.includes(path)))
  if (unknown.length + missing.length > 0) {
    return refuse(
      `npm test [-- ${suiteNames.join(' | ')} | test/FILE.test.ts ...]`,
      asksForHelp(words) ? undefined : `no such suite or test file: ${[...unknown, ...missing].join(' ')}`,
    )
  }
  return all.map((suite) =>
    words.includes(suite.name) ? suite : { ...suite, files: suite.files.filter((file) => paths.has(file)) },
  )
}

async function setUp(suites: readonly Suite[]): Promise<Machine | undefined> {
  // The unit suite runs anywhere with nothing installed.
  if (!suites.some((suite) => suite.isSerial && suite.files.length > 0)) return undefined
  const missing = missingPackages(testNeeds)
  if (missing.length > 0 && process.geteuid?.() === 0) {
    await steps
      .step(
        'packages',
        (note) => installPackages(missing, note),
        () => `installed ${missing.map((need) => need.packages[0]).join(' ')}`,
      )
      .catch(() => {}) // what is still missing is reported next
  }
  const machine = inspectMachine(testNeeds)
  await steps.step(
    'machine',
    async () =>
      `${machine.distribution}, Linux ` +
      `${machine.kernel}${machine.isRoot ? ', root' : ''}${machine.canBpf ? ', eBPF' : ''}`,
    (text) => text,
  )
  for (const lack of machine.lacks) steps.line(`    ${lackText(lack)}`)
  return machine
}

/** A control plane to test against: some minutes of compiling the first time, nothing afterwards. */
async function buildControlPlane(suites: readonly Suite[]): Promise<void> {
  const isAsked = (...names: readonly Suite['name'][]): boolean =>
    suites.some((suite) => names.includes(suite.name) && suite.files.length > 0)
  if (!isAsked('apiserver', 'chart', 'lab')) return
  const found = await steps.step(
    'kube-apiserver',
    (note) => ensureBinaries(note),
    (answer) => (typeof answer === 'string' ? `skipped: ${answer}` : `Kubernetes ${answer.version}`),
  )
  if (typeof found === 'string') steps.line(`    the tests against a real API server are skipped: ${found}`)
  if (!isAsked('chart', 'lab')) return
  const helm = await steps.step(
    'helm',
    (note) => ensureHelm(note),
    (answer) => ('reason' in answer ? `skipped: ${answer.reason}` : answer.path),
  )
  if ('reason' in helm)
    steps.line(`    the tests of the chart and of the lab with an API server are skipped: ${helm.reason}`)
}

/** Kernels for virtual machines: a download the first time, nothing afterwards. */
async function fetchKernels(suites: readonly Suite[]): Promise<void> {
  if (!suites.some(({ name, files }) => name === 'datapath' && files.length > 0)) return
  const answers = await steps.step(
    'other kernels',
    async (note) => ensureKernels(note),
    (found) =>
      found.flatMap((each) => (typeof each === 'string' ? [] : [`Linux ${each.release}`])).join(', ') || 'none',
  )
  for (const each of answers) if (typeof each === 'string') steps.line(`    ${each}`)
}

async function buildPrograms(machine: Machine | undefined): Promise<boolean> {
  if (machine?.canBpf !== true) return true
  try {
    await steps.step(
      'kernel programs',
      async () => (await import('./build-bpf.ts')).buildBpf(),
      (path) => relative(root, path),
    )
    return true
  } catch {
    return false // the step list has printed clang's words
  }
}

async function main(): Promise<number> {
  const suites = selected(process.argv.slice(2))
  if (typeof suites === 'number') return suites
  const machine = await setUp(suites)
  const isLinted = lintCheck()
  steps.line(`  ${isLinted ? paint('green', '✓') : paint('red', '✗')} format and lint`)
  const isTyped = typeCheck()
  steps.line(`  ${isTyped ? paint('green', '✓') : paint('red', '✗')} type check`)
  await buildControlPlane(suites)
  await fetchKernels(suites)
  const isBuilt = await buildPrograms(machine)
  const report = new TestReport(root)
  for (const suite of suites.filter((each) => each.files.length > 0)) {
    steps.line(`\n${paint('bold', suite.name)}`)
    // The files find the pinned Node by this process; `concurrency` counts files at a time.
    const options = { concurrency: suite.isSerial ? 1 : true, timeout: testTimeoutMs, execArgv: ['--import', overseer] }
    await report.follow(run({ files: [...suite.files], ...options }), suite.isSerial)
  }
  const faults = [
    ...(isLinted ? [] : ['format or lint failed']),
    ...(isTyped ? [] : ['the type check failed']),
    ...(isBuilt ? [] : ['the kernel programs could not be built']),
    ...(isStrict && report.skips.length > 0 ? [`strict: ${report.skips.length} skipped test(s) count as failed`] : []),
  ]
  report.finish(faults)
  return faults.length > 0 || report.hasFailed ? 1 : 0
}

try {
  process.exitCode = await main()
} catch (error) {
  console.error(messageOf(error))
  process.exitCode = 1
}
