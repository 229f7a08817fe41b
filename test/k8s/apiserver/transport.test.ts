/** The connection itself: when it is made, given up and ended, whatever is under way. */
import assert from 'node:assert/strict'
import { constants, type ServerHttp2Stream } from 'node:http2'
import { connect, createServer, type Socket } from 'node:net'
import { afterEach, beforeEach, test } from 'node:test'
import type { Credentials } from '../../../src/k8s/apiserver/credentials.ts'
import { connectTransport, type Transport } from '../../../src/k8s/apiserver/transport.ts'
import { waitFor } from '../../wait.ts'
import { FakeApiServer, listening } from './fake-server.ts'

const path = '/api/v1/services'
const never = new AbortController().signal
let server: FakeApiServer
let credentials: Credentials
let transport: Transport

beforeEach(async () => {
  server = new FakeApiServer()
  server.put(path, 'a')
  credentials = await server.start()
  transport = connectTransport(credentials, 200)
})

afterEach(async () => {
  await transport.close()
  await server.stop()
})

async function textOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = []
  for await (const chunk of body) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

async function watch(): Promise<{ readonly ended: Promise<string> }> {
  const { body, status } = await transport.get(`${path}?watch=1&resourceVersion=101`, never)
  assert.equal(status, 200)
  return { ended: textOf(body).catch(String) }
}

test('what is asked while credentials are renewed goes over a new connection, the one before ends when it is idle', async () => {
  const { ended } = await watch()
  transport.renew()
  assert.equal((await transport.get(`${path}?limit=1`, never)).status, 200)
  assert.equal(server.sessions.size, 2)
  server.put(path, 'later')
  server.endWatches()
  assert.match(await ended, /"later"/)
  await waitFor('the first connection ends', () => server.sessions.size === 1)
})

test('what is asked while an idle connection is given up goes over the next one, whichever came first', async () => {
  for (let turns = 0; turns < 20; turns++) {
    await textOf((await transport.get(`${path}?limit=1`, never)).body)
    await new Promise(setImmediate)
    const asked = transport.get(`${path}?limit=1`, never)
    for (let turn = 0; turn < turns; turn++) await undefined
    transport.renew()
    const { status, body } = await asked
    assert.equal(status, 200)
    await textOf(body)
  }
})

test('a connection that a server leaves politely and that falls silent then is given up', async () => {
  const { ended } = await watch()
  for (const session of server.sessions) session.goaway()
  const another = async (): Promise<boolean> => {
    await textOf((await transport.get(`${path}?limit=1`, never)).body)
    return server.sessions.size === 2
  }
  await waitFor('what follows goes over another connection', another)
  server.silence()
  await ended
})

test('what is under way ends with the transport, over whichever connection', async () => {
  const first = await watch()
  transport.renew()
  const second = await watch()
  await transport.close()
  await Promise.all([first.ended, second.ended])
  await waitFor('the server has no connection left', () => server.sessions.size === 0)
})

test('of an answer that nobody reads a bounded part is taken, and all of it when somebody does', async () => {
  const whole = 'x'.repeat(2_000_000)
  let sending: ServerHttp2Stream | undefined
  server.fault = ({ query, stream }) => {
    if (query.has('limit')) return false
    sending = stream
    stream.respond({ ':status': 200 })
    stream.end(whole)
    return true
  }
  const { body } = await transport.get(path, never)
  for (let i = 0; i < 3; i++) await textOf((await transport.get(`${path}?limit=1`, never)).body)
  assert.ok((sending?.writableLength ?? 0) > 1_000_000, 'the server waits with most of it')
  assert.equal(await textOf(body), whole)
})

for (const [what, end] of [
  ['has ended before it is read is whole', undefined],
  ['was reset is told to be broken off', (stream) => stream.destroy(new Error('the store is gone'))],
  ['ends with its connection is told to be broken off', (stream) => stream.session?.destroy()],
] as const satisfies readonly (readonly [string, ((stream: ServerHttp2Stream) => void) | undefined])[]) {
  test(`an answer that ${what}`, async () => {
    let answering: ServerHttp2Stream | undefined
    server.fault = ({ query, stream }) => {
      if (query.has('limit')) return false
      answering = stream
      stream.respond({ ':status': 200 })
      if (end === undefined) stream.end('all of it')
      else stream.write('a part of it', () => end(stream))
      return true
    }
    const { body } = await transport.get(path, never)
    await waitFor('it has ended', () => answering?.destroyed === true)
    await textOf((await transport.get(`${path}?limit=1`, never)).body)
    if (end === undefined) assert.equal(await textOf(body), 'all of it')
    else await assert.rejects(textOf(body), /broken off|NGHTTP2_INTERNAL_ERROR/)
  })
}

test('an error of one stream has no effect on who asked for another', async () => {
  const { ended } = await watch()
  server.fault = ({ stream }) => {
    stream.close(constants.NGHTTP2_CANCEL)
    return true
  }
  await assert.rejects(transport.get(`${path}?limit=1`, never), { code: 'ERR_API_SERVER' })
  server.fault = () => false
  server.put(path, 'later')
  server.endWatches()
  assert.match(await ended, /"later"/)
})

test('who is given up while the connection is made is told at once, and nothing of it is sent when it stands', async (t) => {
  const held: Socket[] = []
  const front = createServer((socket) => void held.push(socket.on('error', () => undefined)))
  const port = await listening(front)
  const slow = connectTransport({ ...credentials, server: new URL(`https://127.0.0.1:${port}`) })
  t.after(async () => {
    await slow.close()
    for (const socket of held) socket.destroy()
    front.close()
  })
  const late = new AbortController()
  const change = { method: 'PATCH', path, contentType: 'application/json', body: '{}' } as const
  const asked = slow.change(change, late.signal)
  const other = slow.get(`${path}?limit=1`, never)
  await waitFor('it connects', () => held.length > 0)
  late.abort()
  await assert.rejects(asked, { code: 'ERR_API_SERVER' })
  for (const socket of held) {
    const far = connect(Number(credentials.server.port), '127.0.0.1')
    socket.pipe(far.on('error', () => undefined)).pipe(socket)
  }
  assert.equal((await other).status, 200)
  assert.deepEqual(
    server.requests.map(({ query }) => query.toString()),
    ['limit=1'],
  )
})
