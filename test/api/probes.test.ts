/** The port of a process without an API of its own (an operator): what kubelet and Prometheus ask, and others send. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { after, afterEach, before, beforeEach, test } from 'node:test'
import { connectionLimits } from '../../src/api/connections.ts'
import { createProbeServer, type ProbeServer } from '../../src/api/probes.ts'
import { HeraldError } from '../../src/errors.ts'
import { waitFor } from '../wait.ts'

const state = {
  ready: { ok: true, text: 'ok' },
  scrapes: 0,
  metrics: async (): Promise<string> => 'a 1\n',
}
const sockets = new Set<net.Socket>()
let server: ProbeServer

before(async () => {
  server = await createProbeServer(
    {
      ready: () => state.ready,
      metrics: () => {
        state.scrapes++
        return state.metrics()
      },
    },
    { host: '127.0.0.1', port: 0 },
  )
})
beforeEach(() => Object.assign(state, { ready: { ok: true, text: 'ok' }, scrapes: 0, metrics: async () => 'a 1\n' }))
afterEach(() => {
  for (const socket of sockets) socket.destroy()
  sockets.clear()
})
after(() => server.close())

interface Seen {
  readonly status: number
  readonly body: string
  readonly headers: http.IncomingHttpHeaders
}

async function ask(path: string, { method = 'GET', body = '' } = {}): Promise<Seen> {
  const headers = body === '' ? {} : { 'content-length': body.length }
  const request = http.request({ host: '127.0.0.1', port: server.port, path, method, headers, agent: false })
  request.end(body)
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  let text = ''
  for await (const chunk of response) text += String(chunk)
  return { status: response.statusCode ?? 0, body: text, headers: response.headers }
}

async function connect(): Promise<net.Socket> {
  const socket = net.connect({ port: server.port, host: '127.0.0.1' })
  sockets.add(socket)
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

test('it lives, is ready or says why not, and is scraped; nothing of that may be kept by a cache', async () => {
  assert.deepEqual(await ask('/healthz').then(({ status, body }) => [status, body]), [200, 'ok\n'])
  assert.deepEqual(await ask('/readyz').then(({ status, body }) => [status, body]), [200, 'ok\n'])
  state.ready = { ok: false, text: 'objects are being read' }
  const notReady = await ask('/readyz?verbose')
  assert.deepEqual([notReady.status, notReady.body], [503, 'objects are being read\n'])
  // Not ready is alive all the same: kubelet must not restart it.
  assert.equal((await ask('/healthz')).status, 200)
  const scraped = await ask('/metrics')
  assert.deepEqual([scraped.status, scraped.body], [200, 'a 1\n'])
  assert.match(String(scraped.headers['content-type']), /^text\/plain; version=0\.0\.4/)
  assert.equal(scraped.headers['cache-control'], 'no-store')
})

test('HEAD is answered without a body; any other method, a body, or another path is refused in words', async () => {
  assert.deepEqual(await ask('/metrics', { method: 'HEAD' }).then(({ status, body }) => [status, body]), [200, ''])
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
    const { status, body, headers } = await ask('/healthz', { method })
    assert.deepEqual([status, body, headers.connection], [405, 'only GET\n', 'close'], method)
  }
  assert.equal((await ask('/metrics', { body: 'x=1' })).status, 413)
  for (const path of ['/', '/api/v1/status', '/metrics/', '//metrics', '/HEALTHZ']) {
    const { status, body } = await ask(path)
    assert.deepEqual([status, body], [404, 'there is /healthz, /readyz and /metrics\n'], path)
  }
  assert.equal(state.scrapes, 1, 'only what was asked properly was worked on')
})

test('scrapes at one time share one look, and one that fails is a 503 that names the reason', async () => {
  let open = (): void => {}
  const gate = new Promise<void>((resolve) => (open = resolve))
  state.metrics = async () => {
    await gate
    return `look ${state.scrapes}\n`
  }
  const asked = Array.from({ length: 8 }, () => ask('/metrics'))
  await waitFor('a look', () => state.scrapes > 0)
  // Who asks for life meanwhile does not wait.
  assert.equal((await ask('/healthz')).status, 200)
  open()
  const bodies = new Set((await Promise.all(asked)).map(({ body }) => body))
  assert.ok(state.scrapes < 8 && bodies.size <= state.scrapes, `${state.scrapes} looks, ${bodies.size} answers`)
  state.metrics = async () => {
    throw new HeraldError('ERR_SPEAKER_EXITED', 'nobody answers')
  }
  const { status, body } = await ask('/metrics')
  assert.deepEqual([status, body], [503, 'nobody answers\n'])
  state.metrics = async () => 'a 2\n'
  assert.equal((await ask('/metrics')).body, 'a 2\n', 'the next one is served')
})

test('garbage, huge headers and half requests end alone, and a full house still answers a probe', async () => {
  for (const [octets, status] of [
    ['\u0000\u0001\u0002\r\n\r\n', 400],
    [`GET / HTTP/1.1\r\nx: ${'a'.repeat(9_000)}\r\n\r\n`, 431],
    ['GET\r\n\r\n', 400],
    ['GET /healthz HTTP/1.1\r\n\r\n', 400],
  ] as const) {
    const socket = await connect()
    const closed = once(socket, 'close')
    let answer = ''
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString('latin1')))
    socket.write(octets, 'latin1')
    await closed
    assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} .*connection: close\r\n.*\r\n\\w[^\n]+\n$`, 's'), octets)
    assert.equal((await ask('/healthz')).status, 200)
  }
  // As many as there may be, and all of them wait.
  for (let i = 0; i < connectionLimits.maxConnections; i++) (await connect()).write('GET /healthz HTTP/1.1\r\nhost: ')
  assert.equal((await ask('/healthz')).status, 200)
})

test('a port that is taken is an error that names the flag', async () => {
  const views = { ready: () => state.ready, metrics: state.metrics }
  await assert.rejects(createProbeServer(views, { host: '127.0.0.1', port: server.port }), {
    code: 'ERR_HTTP',
    message: new RegExp(`^--http 127\\.0\\.0\\.1:${server.port}: .*EADDRINUSE`),
  })
  await assert.rejects(createProbeServer(views, { host: '192.0.2.1', port: 0 }), { code: 'ERR_HTTP' })
})

test('closing ends those who wait, and the port is free', async () => {
  const views = { ready: () => state.ready, metrics: state.metrics }
  const other = await createProbeServer(views, { host: '127.0.0.1', port: 0 })
  const socket = net.connect({ port: other.port, host: '127.0.0.1' })
  sockets.add(socket)
  const closed = once(socket.resume(), 'close')
  await once(socket, 'connect')
  await other.close()
  await closed
  const again = await createProbeServer(views, { host: '127.0.0.1', port: other.port })
  await again.close()
})
