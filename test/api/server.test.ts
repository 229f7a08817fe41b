/** The API over real sockets, with views that answer from memory. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { fetchExplain, fetchPeers, fetchStatus } from '../../src/api/client.ts'
import { createApiServer, type ApiServer } from '../../src/api/server.ts'
import type { AgentViews } from '../../src/api/types.ts'
import { HeraldError } from '../../src/errors.ts'
import { waitFor } from '../wait.ts'
import { memoryViews } from './memory-views.ts'

const views: AgentViews = {
  status: () => Promise.reject(new HeraldError('ERR_SYSCALL', 'no status here')),
  peers: async () => [],
  routes: async () => ({ items: [] }),
  services: async () => ({ items: [] }),
  explain: async ({ kind, name }) => ({
    subject: `${kind} ${name}`,
    exists: false,
    ok: false,
    verdicts: [],
    announcedTo: [],
  }),
  metrics: async () => 'herald_up 1\n',
  ready: () => ({ ok: false, text: 'not synced' }),
}

let folder = ''
let socket = ''
let server: ApiServer

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'herald-api-'))
  socket = join(folder, 'run', 'herald.sock')
  server = await createApiServer({ views, socket, http: { host: '127.0.0.1', port: 0 } })
})

after(async () => {
  await server.close()
  assert.equal(existsSync(socket), false)
  rmSync(folder, { recursive: true })
})

const ask = (path: string, init?: RequestInit): Promise<Response> =>
  fetch(`http://127.0.0.1:${server.port}${path}`, init)

/** All that the server answers to raw bytes until it closes the connection. */
function raw(bytes: string): Promise<string> {
  return new Promise((resolve) => {
    let answer = ''
    const connection = net.connect(socket, () => void connection.write(bytes))
    connection.on('data', (chunk: Buffer) => (answer += chunk.toString('latin1')))
    connection.on('error', (error) => (answer += error.message))
    connection.on('close', () => resolve(answer))
  })
}

test('each path answers with its status', async () => {
  const wanted: [string, number][] = [
    ['/healthz', 200],
    ['/readyz', 503],
    ['/metrics', 200],
    ['/api/v1/peers', 200],
    ['/api/v1/status', 500],
    ['/nothing', 404],
    ['/api/v1/routes?table=x', 400],
    ['/api/v1/explain?kind=peer', 400],
    ['/api/v1/explain?kind=service&name=', 400],
    ['/api/v1/routes?famly=ipv6-unicast', 400],
    ['/api/v1/routes?limit=1&limit=2', 400],
    ['/api/v1/services?peer=192.0.2.1', 400],
  ]
  for (const [path, status] of wanted) assert.equal((await ask(path)).status, status, path)
})

test('a method that could change something is refused', async () => {
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE'])
    assert.equal((await ask('/api/v1/peers', { method })).status, 405, method)
})

test('the socket is for its owner only, and serves the command line', async () => {
  assert.equal(statSync(socket).mode & 0o777, 0o600)
  assert.deepEqual(
    await fetchExplain({ socket }, { kind: 'service', name: 'a/b' }),
    await views.explain({ kind: 'service', name: 'a/b' }),
  )
})

test('a request target that is no path is a bad request, not a failure', async () => {
  for (const target of ['//', '//host/healthz', '*', 'http://['])
    assert.match(
      await raw(`GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`),
      /^HTTP\/1\.1 400 /,
      target,
    )
})

test('a body is refused and its connection closed before it has arrived', { timeout: 60_000 }, async () => {
  for (const header of [
    'Content-Length: 1000000',
    'Transfer-Encoding: chunked',
    'Content-Length: 5\r\nExpect: 100-continue',
  ]) {
    const answer = await raw(`GET /healthz HTTP/1.1\r\nHost: x\r\n${header}\r\n\r\n`)
    assert.match(answer, /^HTTP\/1\.1 413 [\s\S]*connection: close/i, header)
    assert.doesNotMatch(answer, /100 Continue/)
  }
  assert.match(await raw('POST /api/v1/peers HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n'), /^HTTP\/1\.1 405 /)
})

test('HEAD answers without a body', async () => {
  const answer = await ask('/metrics', { method: 'HEAD' })
  assert.deepEqual([answer.status, await answer.text()], [200, ''])
})

test('a taken HTTP port costs HTTP only, and status says so', async () => {
  const path = join(folder, 'second.sock')
  const second = await createApiServer({
    views: memoryViews(),
    socket: path,
    http: { host: '127.0.0.1', port: server.port ?? 0 },
  })
  assert.equal(second.port, undefined)
  assert.match(second.problem ?? '', /EADDRINUSE/)
  const { warnings } = await fetchStatus({ socket: path })
  assert.equal(warnings.at(-1), second.problem)
  await second.close()
})

test('a failing socket leaves no HTTP port behind', async () => {
  const probe = net.createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  await new Promise((resolve) => probe.close(resolve))
  await assert.rejects(
    createApiServer({ views, socket: join(folder, 'x'.repeat(200)), http: { host: '127.0.0.1', port } }),
    { code: 'ERR_SYSCALL' },
  )
  await assert.rejects(fetch(`http://127.0.0.1:${port}/healthz`))
})

test('what a killed agent left is replaced, with the right mode under any umask', async () => {
  const path = join(folder, 'stale.sock')
  const listener = spawnSync(process.execPath, [
    '-e',
    'require("net").createServer().listen(process.argv[1], () => process.kill(process.pid, "SIGKILL"))',
    path,
  ])
  assert.equal(listener.signal, 'SIGKILL')
  assert.equal(existsSync(path), true)
  const umask = process.umask(0)
  const next = await createApiServer({ views, socket: path }).finally(() => assert.equal(process.umask(umask), 0))
  assert.equal(statSync(path).mode & 0o777, 0o600)
  await next.close()
})

test('a socket that somebody removes, with its folder or without, is there again, and who is connected stays so', async () => {
  const path = join(folder, 'swept', 'herald.sock')
  let again = 0
  const next = await createApiServer({ views: memoryViews(), socket: path, lookMs: 5, onSocketAgain: () => again++ })
  const connected = net.connect(path)
  await once(connected, 'connect')
  rmSync(path)
  await waitFor('the socket', () => again >= 1 && existsSync(path))
  const before = again
  rmSync(dirname(path), { recursive: true })
  await waitFor('the socket', () => again > before && existsSync(path))
  assert.equal((await fetchStatus({ socket: path })).node, 'node1')
  assert.equal(statSync(path).mode & 0o777, 0o600)
  connected.write('GET /readyz HTTP/1.1\r\nHost: herald\r\n\r\n')
  const [answer] = await once(connected, 'data')
  assert.match(String(answer), /^HTTP\/1\.1 /)
  connected.destroy()
  await next.close()
  assert.equal(existsSync(path), false)
})

test('a second agent on a live socket is refused', async () => {
  await assert.rejects(createApiServer({ views, socket }), { code: 'ERR_ALREADY_RUNNING' })
})

test('a file that is no socket is left alone', async () => {
  const file = join(folder, 'file')
  writeFileSync(file, 'precious')
  await assert.rejects(createApiServer({ views, socket: file }), { code: 'ERR_USAGE' })
  assert.equal(existsSync(file), true)
})

test('a socket where there can be none is refused with its path', async () => {
  const file = join(folder, 'plain')
  writeFileSync(file, '')
  await assert.rejects(createApiServer({ views, socket: join(file, 'herald.sock') }), {
    code: 'ERR_SYSCALL',
    message: /plain/,
  })
  assert.equal(existsSync(file), true)
})

test('a path where nobody listens is an unreachable agent', async () => {
  await assert.rejects(fetchPeers({ socket: join(folder, 'none.sock') }), { code: 'ERR_AGENT_UNREACHABLE' })
})

test('a header beyond the limit ends the connection without an answer from the views', async () => {
  assert.doesNotMatch(await raw(`GET /healthz HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(32_768)}\r\n\r\n`), / 200 /)
})

test('a client that never ends its header is dropped', { timeout: 60_000 }, async () => {
  assert.doesNotMatch(await raw('GET /healthz HTTP/1.1\r\nHost: x\r\n'), / 200 /)
})
