/** The API over real sockets, with views that answer from memory. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fetchJson } from '../../src/api/client.ts'
import { createApiServer, type ApiServer } from '../../src/api/server.ts'
import type { AgentViews } from '../../src/api/types.ts'
import { HeraldError } from '../../src/errors.ts'

const views: AgentViews = {
  status: () => Promise.reject(new HeraldError('ERR_SYSCALL', 'no status here')),
  peers: async () => [],
  routes: async () => [],
  services: async () => [],
  explain: async ({ kind, name }) => ({ subject: `${kind} ${name}`, exists: false, ok: false, verdicts: [], announcedTo: [] }),
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

const ask = (path: string, init?: RequestInit): Promise<Response> => fetch(`http://127.0.0.1:${server.port}${path}`, init)

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
  const wanted: [string, number][] = [['/healthz', 200], ['/readyz', 503], ['/metrics', 200], ['/api/v1/peers', 200], ['/api/v1/status', 500], ['/nothing', 404], ['/api/v1/routes?table=x', 400], ['/api/v1/explain?kind=peer', 400]]
  for (const [path, status] of wanted) assert.equal((await ask(path)).status, status, path)
})

test('a method that could change something is refused', async () => {
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) assert.equal((await ask('/api/v1/peers', { method })).status, 405, method)
})

test('the socket is for its owner and group only, and serves the command line', async () => {
  assert.equal(statSync(socket).mode & 0o777, 0o660)
  const answer: unknown = await fetchJson({ socket }, '/api/v1/explain?kind=service&name=a%2Fb')
  assert.deepEqual(answer, await views.explain({ kind: 'service', name: 'a/b' }))
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

test('a path where nobody listens is an unreachable agent', async () => {
  await assert.rejects(fetchJson({ socket: join(folder, 'none.sock') }, '/api/v1/peers'), { code: 'ERR_AGENT_UNREACHABLE' })
})

test('a header beyond the limit ends the connection without an answer from the views', async () => {
  assert.doesNotMatch(await raw(`GET /healthz HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(32_768)}\r\n\r\n`), / 200 /)
})

test('a client that never ends its header is dropped', { timeout: 15_000 }, async () => {
  assert.doesNotMatch(await raw('GET /healthz HTTP/1.1\r\nHost: x\r\n'), / 200 /)
})
