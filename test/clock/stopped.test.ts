/** A process that is really stopped for longer than its deadlines (SIGSTOP) and goes on. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { waitFor } from '../wait.ts'

/** Longer than the command line waits for the agent (10 s), and than the agent for its speaker (5 s). */
const stoppedMs = 10_500

test('a process that was stopped takes the answers that came meanwhile and asks on', { timeout: 60_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'herald-stopped-'))
  const socket = join(folder, 'herald.sock')
  let answer: http.ServerResponse | undefined
  const agent = http.createServer((_request, response) => (answer = response)).listen(socket)
  await once(agent, 'listening')
  const child = spawn(process.execPath, [join(import.meta.dirname, 'stopped-process.ts'), socket], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const exited = once(child, 'exit')
  t.after(() => {
    child.kill('SIGKILL')
    agent.close()
    rmSync(folder, { recursive: true })
  })
  const pid = child.pid ?? assert.fail('no process')
  const response = await waitFor('the question to the agent', () => (said.startsWith('asked') ? answer : undefined))
  process.kill(pid, 'SIGSTOP')
  await waitFor('it stands still', () => /\) T /.test(readFileSync(`/proc/${pid}/stat`, 'utf8')))
  const stoppedAt = performance.now()
  response.setHeader('content-type', 'application/json')
  response.end('[]')
  await waitFor('longer than its deadlines', () => performance.now() - stoppedAt > stoppedMs)
  process.kill(pid, 'SIGCONT')
  assert.deepEqual(await exited, [0, null])
  const { questions, failures } = JSON.parse(said.split('\n')[1] ?? '')
  assert.deepEqual(failures, [])
  assert.ok(questions > 3)
})
