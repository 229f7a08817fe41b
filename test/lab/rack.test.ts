/** The whole main job: `npm run lab -- --check` in a process of its own, as a user runs it. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { test } from 'node:test'
import { inspectMachine } from '../../scripts/setup/machine.ts'
import { labNeeds } from '../../scripts/setup/packages.ts'
import { runLab } from './run-lab.ts'

const machine = inspectMachine(labNeeds)
const skip = machine.canDeploy ? false : machine.lacks.map((lack) => lack.what).join(', ')

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
  assert.match(output, /0 failed, [34] skipped \(HTTP requests, UDP echoes, backend elsewhere/)
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
