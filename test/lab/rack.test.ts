/** The whole main job: `npm run lab -- --check` in a process of its own, as a user runs it. */
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { inspectMachine } from '../../scripts/setup/machine.ts'
import { labNeeds } from '../../scripts/setup/packages.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const machine = inspectMachine(labNeeds)
const skip = machine.canDeploy ? false : machine.lacks.map((lack) => lack.what).join(', ')

interface Ended {
  readonly code: number | null
  readonly output: string
}

/** Runs the lab as a user does; `onOutput` sees all that was printed so far. */
async function runLab(
  args: readonly string[],
  context: TestContext,
  onOutput?: (output: string, child: ChildProcess) => void,
): Promise<Ended> {
  const child = spawn(process.execPath, [join(root, 'scripts/lab.ts'), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  context.signal.addEventListener('abort', () => child.kill('SIGTERM'))
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
    onOutput?.(output, child)
  })
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, output }
}

test('the rack announces, serves, survives dead backends and killed agents, and leaves nothing behind', {
  skip,
  timeout: 300_000,
}, async (context) => {
  let shown = 0
  const { code, output } = await runLab(['--check'], context, (all) => {
    process.stdout.write(all.slice(shown))
    shown = all.length
  })
  assert.equal(code, 0, output)
  const [, skipped, names] = /, (\d+) skipped(?: \((.*)\))?\n*$/.exec(output) ?? []
  assert.notEqual(skipped, undefined, 'the check printed no result')
  if (skipped !== '0') context.skip(`parts of the check cannot run here: ${names}`)
})

test('without a datapath the rack still announces, and says what is not checked', {
  skip,
  timeout: 300_000,
}, async (context) => {
  const { code, output } = await runLab(['--check', '--datapath', 'none'], context)
  assert.equal(code, 0, output)
  assert.match(output, /0 failed, [23] skipped \(HTTP requests, UDP echoes/)
})

test('the lab shows its picture, stays until Ctrl-C and then leaves no file and no process', {
  skip,
  timeout: 120_000,
}, async (context) => {
  let hasStopped = false
  const { code, output } = await runLab([], context, (all, child) => {
    if (hasStopped || !all.includes('The lab is up.')) return
    hasStopped = true
    child.kill('SIGINT')
  })
  assert.equal(code, 0, output)
  assert.match(output, /tor1 +Established +Established +Established/)
  assert.match(output, /default\/web +node1 node2 node3 +node1 node2 node3/)
  assert.match(output, /✓ tear-down +no process, namespace, pinned program or file is left/)
  assert.ok(!existsSync(/in (\S*herald-rack-\S+)/.exec(output)?.[1] ?? '/'))
})

test('an unknown option is refused with the usage and exit code 2', async (context) => {
  const { code } = await runLab(['--chek'], context)
  assert.equal(code, 2)
})
