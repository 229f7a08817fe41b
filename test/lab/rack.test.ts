/** The whole main job: `npm run lab -- --check` in a process of its own, as a user runs it. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { inspectMachine } from '../../scripts/setup/machine.ts'
import { labNeeds } from '../../scripts/setup/packages.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const machine = inspectMachine(labNeeds)
const skip = machine.canDeploy ? false : machine.lacks.map((lack) => lack.what).join(', ')

test('the rack announces, serves, survives dead backends and killed agents, and leaves nothing behind', { skip, timeout: 300_000 }, async (context) => {
  const child = spawn(process.execPath, [join(root, 'scripts/lab.ts'), '--check'], { stdio: ['ignore', 'pipe', 'inherit'] })
  context.signal.addEventListener('abort', () => child.kill('SIGTERM'))
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
    process.stdout.write(text)
  })
  const code = await new Promise((resolve) => child.once('close', resolve))
  assert.equal(code, 0, output)
  const [, skipped, names] = /, (\d+) skipped(?: \((.*)\))?\n*$/.exec(output) ?? []
  assert.notEqual(skipped, undefined, 'the check printed no result')
  if (skipped !== '0') context.skip(`parts of the check cannot run here: ${names}`)
})
