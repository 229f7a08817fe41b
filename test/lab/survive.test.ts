/**
 * `npm run bench -- survive` on a small stage: it counts, nothing is lost where nothing may be, and nothing is left.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { inspectMachine } from '../../scripts/setup/machine.ts'
import { labNeeds } from '../../scripts/setup/packages.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const machine = inspectMachine(labNeeds)
const skip = machine.canDeploy && machine.canBpf ? false : machine.lacks.map((lack) => lack.what).join(', ')

interface Ended {
  readonly code: number | null
  readonly output: string
}

async function survive(t: TestContext, folder: string, ...words: readonly string[]): Promise<Ended> {
  const child = spawn(process.execPath, [join(root, 'bench/run.ts'), '--flows', '60', 'survive', ...words], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TMPDIR: folder },
  })
  t.signal.addEventListener('abort', () => child.kill('SIGTERM'))
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
  return { code: await new Promise((resolve) => child.once('close', resolve)), output }
}

test('agents killed, a backend killed, packets forged and files absent: each is counted, and costs what it may', {
  skip,
  timeout: 180_000,
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'survive-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const { code, output } = await survive(t, folder, 'killed', 'backend-removed', 'forged', 'file-absent')
  assert.equal(code, 0, output)
  for (const what of [
    'agents killed with SIGKILL',
    'backend killed and removed',
    'SYN, RST, FIN',
    'each file absent',
  ]) {
    const line = output.split('\n').find((each) => each.includes(what))
    assert.match(line ?? '', /[1-9]\d* flows, .* met$/, output)
  }
  const killed = output.split('\n').find((line) => line.includes('backend killed'))
  // Its own connections end with it: a count of nothing at all would be one that nobody makes.
  assert.match(killed ?? '', /; [1-9]\d* of \d+ flows/, output)
  assert.deepEqual(readdirSync(folder), [], 'work folders are gone')
})

test('a row that there is not is refused before anything is built, with those that there are', { skip }, async (t) => {
  const { code, output } = await survive(t, tmpdir(), 'killed', 'struck-by-lightning')
  assert.equal(code, 2, output)
  assert.match(output, /no row struck-by-lightning\n(.*\n)*survive .*: killed, restarted, upgraded, .*node-off/)
})
