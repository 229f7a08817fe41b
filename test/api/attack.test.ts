/** What a client can do to the HTTP port beyond asking properly, and that those who ask properly never notice. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, test } from 'node:test'
import { Connections, connectionLimits } from '../../src/api/connections.ts'
import { Gate } from '../../src/api/gate.ts'
import { laneLimits } from '../../src/api/lane.ts'
import { type ApiServer, createApiServer } from '../../src/api/server.ts'
import type { AgentViews } from '../../src/api/types.ts'
import { HeraldError } from '../../src/errors.ts'
import { standStill, waitFor } from '../wait.ts'
import { memoryViews, peers } from './memory-views.ts'

const folder = mkdtempSync(join(tmpdir(), 'herald-attack-'))
const sockets = new Set<net.Socket>()
/** What the views are doing: looks at peers under way, the most of them, all of them; held until `let go`. */
const work = { now: 0, most: 0, all: 0, gate: Promise.resolve(), open: (): void => {} }
const views: AgentViews = {
  ...memoryViews(),
  peers: async () => {
    work.all++
    work.most = Math.max(work.most, ++work.now)
    await work.gate
    work.now--
    return peers
  },
  explain: async ({ name }) => {
    await work.gate
    throw new HeraldError('ERR_EXPIRED', name)
  },
}
let server: ApiServer
let port = 0

before(async () => {
  server = await createApiServer({ views, socket: join(folder, 'herald.sock'), http: { host: '127.0.0.1', port: 0 } })
  port = server.port ?? 0
})

afterEach(() => {
  work.open()
  for (const socket of sockets) socket.destroy()
  Object.assign(work, { now: 0, most: 0, all: 0 })
})

after(async () => {
  await server.close()
  rmSync(folder, { recursive: true })
})

const hold = (): void => void (work.gate = new Promise((resolve) => (work.open = resolve)))

async function connect(to = port, from = '127.0.0.1'): Promise<net.Socket> {
  const socket = net.connect({ port: to, host: '127.0.0.1', localAddress: from })
  sockets.add(socket)
  // Being cut off is what most of them are for.
  socket.on('error', () => socket.destroy())
  socket.on('close', () => sockets.delete(socket))
  await once(socket, 'connect')
  return socket
}

/** The status of each answer that came, and how it ended. */
function listen(socket: net.Socket): { readonly statuses: number[]; text: string } {
  const heard = { statuses: [] as number[], text: '' }
  socket.on('data', (chunk: Buffer) => {
    heard.text += chunk.toString('latin1')
    const codes = [...heard.text.matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, code]) => Number(code))
    heard.statuses.splice(0, heard.statuses.length, ...codes)
  })
  return heard
}

const healthz = async (to = port): Promise<number> => (await fetch(`http://127.0.0.1:${to}/healthz`)).status
const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`

test('a thousand pipelined requests are answered, in order, one at a time', async () => {
  const socket = await connect()
  const heard = listen(socket)
  socket.write(Array.from({ length: 1_000 }, (_, i) => get(i % 2 === 0 ? '/api/v1/peers' : '/nothing')).join(''))
  await waitFor('all answers', () => heard.statuses.length === 1_000)
  assert.deepEqual(
    heard.statuses,
    Array.from({ length: 1_000 }, (_, i) => (i % 2 === 0 ? 200 : 404)),
  )
  assert.deepEqual([work.most, work.all], [1, 500])
})

test('what is no request of HTTP is answered with 400, a head that is too long with 431, and the connection ends', async () => {
  const wrong: readonly (readonly [string, number])[] = [
    ['nonsense\r\n\r\n', 400],
    ['GET /healthz HTTP/1.1\r\n\r\n', 400],
    ['GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n', 400],
    ['GET /healthz HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n', 400],
    ['\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400],
    [`GET /healthz HTTP/1.1\r\nHost: x\r\nCookie: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
  ]
  for (const [text, status] of wrong) {
    const socket = await connect()
    const heard = listen(socket)
    const ended = once(socket, 'end')
    socket.write(text, 'latin1')
    await ended
    assert.deepEqual(heard.statuses, [status], JSON.stringify(text.slice(0, 60)))
    assert.match(heard.text, /connection: close/i)
  }
  assert.equal(await healthz(), 200)
})

test('what is pipelined behind a request that takes long stays with the client', async () => {
  hold()
  const socket = await connect()
  const heard = listen(socket)
  socket.write(get('/api/v1/peers').repeat(400_000))
  await waitFor('the first is worked on', () => work.all === 1)
  // 18 MB were written: the kernel has some of it, the client the rest, and the server one request.
  await waitFor('the client is told to wait', () => socket.writableLength > 0)
  assert.deepEqual([work.all, heard.statuses], [1, []])
  socket.destroy()
})

test('140 half-open connections, also with half a request each, do not keep a probe out', async () => {
  for (const begun of ['', 'GET /healthz HTTP/1.1\r\nHost: x\r\n']) {
    for (let i = 0; i < 140; i++) (await connect(port, `127.0.0.${1 + (i % 2)}`)).write(begun)
    for (let i = 0; i < 5; i++) assert.equal(await healthz(), 200)
    for (const socket of sockets) socket.destroy()
  }
})

test('who holds the most connections loses the oldest of them, not the one who holds one', async () => {
  const modest = await connect(port, '127.0.0.3')
  const heard = listen(modest)
  const greedy: net.Socket[] = []
  for (let i = 0; i < connectionLimits.maxConnections + 20; i++) greedy.push(await connect(port, '127.0.0.4'))
  await waitFor('the oldest gone', () => greedy.slice(0, 20).every((socket) => socket.destroyed))
  modest.write(get('/healthz'))
  await waitFor('an answer', () => heard.statuses.length === 1)
  assert.equal(greedy.at(-1)?.destroyed, false)
})

test('while everything that may wait waits, probes are answered and the next is told to come again', async () => {
  hold()
  const agent = new http.Agent({ keepAlive: false })
  const ask = (path: string): Promise<{ status: number | undefined; after: string | undefined }> =>
    new Promise((resolve, reject) => {
      http
        .get({ port, host: '127.0.0.1', path, agent }, (response) => {
          response.resume()
          resolve({ status: response.statusCode, after: response.headers['retry-after'] })
        })
        .on('error', reject)
    })
  const { maxRunning, maxWaiting } = laneLimits
  const asked = Array.from({ length: maxRunning + maxWaiting }, (_, i) => ask(`/api/v1/explain?kind=peer&name=${i}`))
  await waitFor('the lane full', async () => (await ask('/api/v1/explain?kind=peer&name=more')).status === 503)
  assert.deepEqual(await ask('/api/v1/status'), { status: 503, after: '1' })
  for (const path of ['/healthz', '/readyz']) assert.equal((await ask(path)).status, 200)
  work.open()
  // The walk that they ask to go on with is not kept.
  for (const { status } of await Promise.all(asked)) assert.equal(status, 410)
})

test('equal questions at the same time are one look', async () => {
  hold()
  const asked = Array.from({ length: 40 }, async () => (await fetch(`http://127.0.0.1:${port}/api/v1/peers`)).status)
  await waitFor('the look', () => work.all === 1)
  assert.equal(await healthz(), 200)
  work.open()
  assert.deepEqual(new Set(await Promise.all(asked)), new Set([200]))
  assert.ok(work.all <= 2, `${work.all} looks`)
})

/** A server of its own with times that a test can wait for. */
async function impatient(body: string): Promise<{ readonly port: number; close(): Promise<void> }> {
  const parser = http.createServer((request, response) => {
    const gate = request.socket
    assert.ok(gate instanceof Gate)
    gate.requested()
    response.once('close', () => gate.answered())
    gate.answering()
    response.end(body)
  })
  const connections = new Connections(parser, { maxConnections: 8, requestMs: 200, idleMs: 600, answerMs: 400 })
  connections.listener.listen(0, '127.0.0.1')
  await once(connections.listener, 'listening')
  const address = connections.listener.address()
  assert.ok(typeof address === 'object' && address !== null)
  return { port: address.port, close: () => connections.close() }
}

test('a header that comes an octet at a time, and one that never ends, are cut off', async () => {
  const { port: to, close } = await impatient('ok')
  const slow = await connect(to)
  const dripping = setInterval(() => slow.write('a'), 20)
  const silent = await connect(to)
  silent.write('GET / HTTP/1.1\r\nHo')
  await waitFor('both are gone', () => slow.destroyed && silent.destroyed)
  clearInterval(dripping)
  await close()
})

test('who asked while the process stood still is answered: its question was there, and nobody read it', async () => {
  const { port: to, close } = await impatient('ok')
  const [half, idle] = [await connect(to), await connect(to)]
  const heard = [half, idle].map((socket) => listen(socket))
  idle.write(get('/'))
  half.write('GET / HTTP/1.1\r\nHo')
  await waitFor('both are known', () => heard[1]?.statuses.length === 1)
  half.write('st: x\r\n\r\n')
  idle.write(get('/'))
  // Longer than any limit; both questions lie in the kernel.
  standStill(1_000)
  await waitFor('both answers', () => heard[0]?.statuses.length === 1 && heard[1]?.statuses.length === 2)
  assert.deepEqual(
    heard.map(({ statuses }) => statuses),
    [[200], [200, 200]],
  )
  await close()
})

test('a connection on which nothing is asked is closed after a while, and one that asks is kept', async () => {
  const { port: to, close } = await impatient('ok')
  const busy = await connect(to)
  const heard = listen(busy)
  const idle = await connect(to)
  const asking = setInterval(() => busy.write(get('/')), 50)
  await waitFor('the idle one is gone', () => idle.destroyed)
  assert.ok(!busy.destroyed && heard.statuses.length > 1)
  clearInterval(asking)
  await close()
})

test('a client that does not take its answer is cut off', async () => {
  const { port: to, close } = await impatient('x'.repeat(32 * 1024 * 1024))
  const deaf = await connect(to)
  deaf.pause()
  deaf.write(get('/'))
  let isClosed = false
  // Nothing is read, so the end shows in a write that fails.
  const writing = setInterval(() => deaf.write('x'), 50)
  deaf.on('error', () => (isClosed = true))
  await waitFor('cut off', () => isClosed || deaf.destroyed)
  clearInterval(writing)
  await close()
})

test('a client that closes its side after asking gets its answer', async () => {
  const socket = await connect()
  const heard = listen(socket)
  socket.end(`${get('/healthz')}GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
  await once(socket, 'close')
  assert.deepEqual(heard.statuses, [200, 200])
})

test('clients that leave in the middle of their question or its answer cost nothing that stays', async () => {
  hold()
  for (let i = 0; i < 300; i++) {
    const socket = await connect()
    socket.write(i % 2 === 0 ? get('/api/v1/peers') : 'GET /api/v1/peers HTTP/1.1\r\nHos')
    socket.destroy()
  }
  work.open()
  await waitFor('all work done', () => work.now === 0)
  assert.equal((await fetch(`http://127.0.0.1:${port}/api/v1/peers`)).status, 200)
})

test('what is no HTTP, too much of it, and bytes that are no UTF-8 end that connection and nothing else', async () => {
  const bad: (string | Buffer)[] = [
    'GET /%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n',
    Buffer.from('474554202fff fe20485454502f312e310d0a0d0a'.replace(' ', ''), 'hex'),
    `GET / HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(70_000)}\r\n\r\n`,
    `GET /${'a'.repeat(70_000)} HTTP/1.1\r\nHost: x\r\n\r\n`,
    `GET / HTTP/1.1\r\n${Array.from({ length: 3_000 }, (_, i) => `X${i}: 1\r\n`).join('')}\r\n`,
    Buffer.alloc(70_000),
    Buffer.alloc(70_000, '\r\n\r\n'),
    '\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n',
    'CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET /healthz HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n',
  ]
  for (const bytes of bad) {
    const socket = await connect()
    const heard = listen(socket)
    socket.end(bytes)
    await waitFor('the end', () => socket.closed)
    assert.ok(
      heard.statuses.every((status) => status < 500),
      heard.text,
    )
    assert.equal(await healthz(), 200)
  }
})

test('a page of a list is asked for with numbers that make sense', async () => {
  const ask = async (query: string): Promise<number> =>
    (await fetch(`http://127.0.0.1:${port}/api/v1/services?${query}`)).status
  for (const query of ['limit=0', 'limit=-1', 'limit=1e3', 'limit=', 'limit=5000000000', 'continue='])
    assert.equal(await ask(query), 400, query)
  assert.equal(await ask('limit=100000'), 200)
})

test('a list that is longer than a page says so in a header, and the pages together are all of it', async () => {
  const first = await fetch(`http://127.0.0.1:${port}/api/v1/services?limit=1`)
  const page: { items: { service: string }[]; continue: string } = JSON.parse(await first.text())
  const rest = await fetch(`http://127.0.0.1:${port}/api/v1/services?limit=1&continue=${page.continue}`)
  const last: typeof page = JSON.parse(await rest.text())
  assert.deepEqual(
    [...page.items, ...last.items].map(({ service }) => service),
    ['default/web', 'default/shop'],
  )
  assert.equal(last.continue, undefined)
})
