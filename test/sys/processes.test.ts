/** Locks and sockets between processes: what the kernel says of others, and what is left of one that was killed. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { lockPath } from '../../src/sys/flock.ts'
import { peerCredentials } from '../../src/sys/unix-socket.ts'
import { waitFor } from '../wait.ts'

function temporary(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'herald-processes-'))
  t.after(() => rmSync(folder, { recursive: true }))
  return folder
}

/** Runs a script with `path` in it until it is killed; `said` is what it prints. */
function running(t: TestContext, script: string, path: string): { readonly child: ChildProcess; said(): string } {
  const child = spawn(process.execPath, ['--input-type=module', '-e', script, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.after(() => child.kill('SIGKILL'))
  let text = ''
  child.stdout?.on('data', (chunk: Buffer) => (text += chunk.toString()))
  return { child, said: () => text }
}

const flock = JSON.stringify(new URL('../../src/sys/flock.ts', import.meta.url).href)

test('a lock is of one process, ends with it however it ends, and is not left to its children', async (t) => {
  const path = join(temporary(t), 'lock')
  const { child, said } = running(
    t,
    `import { spawn } from 'node:child_process'
import { lockPath } from ${flock}
lockPath(process.argv[1], 'file')
const sleeper = spawn('sleep', ['60'], { stdio: 'ignore' })
console.log(sleeper.pid)
setInterval(() => {}, 1_000)`,
    path,
  )
  const sleeper = Number(await waitFor('its child', () => /^(\d+)\n/.exec(said())?.[1]))
  t.after(() => process.kill(sleeper, 'SIGKILL'))
  assert.throws(() => lockPath(path, 'file'), { code: 'ERR_ALREADY_RUNNING' })
  child.kill('SIGKILL')
  await once(child, 'exit')
  process.kill(sleeper, 0)
  lockPath(path, 'file')()
})

test('of two that start at the same time one has the lock', async (t) => {
  const path = join(temporary(t), 'lock')
  const script = `import { lockPath } from ${flock}
try { lockPath(process.argv[1], 'file'); console.log('mine') } catch ({ code }) { console.log(code) }
setInterval(() => {}, 1_000)`
  const all = [1, 2, 3].map(() => running(t, script, path))
  await waitFor('all', () => all.every(({ said }) => said().endsWith('\n')))
  assert.deepEqual(all.map(({ said }) => said().trim()).sort(), ['ERR_ALREADY_RUNNING', 'ERR_ALREADY_RUNNING', 'mine'])
})

test('who gives a command is known by the kernel: its process, user and group (unix(7), SO_PEERCRED)', async (t) => {
  const path = join(temporary(t), 'sock')
  const sockets: net.Socket[] = []
  // Not read from: who is gone stays open here.
  const server = net.createServer({ pauseOnConnect: true }, (socket) => sockets.push(socket)).listen(path)
  t.after(() => server.close())
  await once(server, 'listening')
  const script = `import net from 'node:net'
net.connect(process.argv[1])
setInterval(() => {}, 1_000)`
  const { child } = running(t, script, path)
  const [socket] = await waitFor('a connection', () => sockets.length > 0 && sockets)
  assert.ok(socket)
  const expected = { pid: child.pid, uid: process.getuid?.(), gid: process.getgid?.() }
  assert.deepEqual(peerCredentials(socket), expected)
  // They are those of the time of the connection: who is gone is named all the same.
  child.kill('SIGKILL')
  await once(child, 'exit')
  assert.deepEqual(peerCredentials(socket), expected)
  socket.destroy()
  assert.equal(peerCredentials(socket), undefined)
})
