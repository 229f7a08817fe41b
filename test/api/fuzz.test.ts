/** Whatever arrives on the API's socket, the server answers the next one who asks properly. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import fc from 'fast-check'
import { fetchPeers } from '../../src/api/client.ts'
import { type ApiServer, createApiServer } from '../../src/api/server.ts'
import { memoryViews, peers } from './memory-views.ts'

const folder = mkdtempSync(join(tmpdir(), 'herald-fuzz-'))
const socket = join(folder, 'herald.sock')
let server: ApiServer

before(async () => {
  server = await createApiServer({ views: memoryViews(), socket })
})

after(async () => {
  await server.close()
  rmSync(folder, { recursive: true })
})

/** Sends, closes its own side, and returns all that comes back. */
function exchange(bytes: Uint8Array): Promise<string> {
  return new Promise((resolve) => {
    let answer = ''
    const connection = net.connect(socket, () => void connection.end(bytes))
    connection.on('data', (chunk: Buffer) => (answer += chunk.toString('latin1')))
    connection.on('error', (error) => (answer += error.message))
    connection.on('close', () => resolve(answer))
  })
}

const method = fc.constantFrom('GET', 'HEAD', 'POST', 'CONNECT', 'OPTIONS', 'get')
const target = fc.oneof(
  fc.webPath(),
  fc.string(),
  fc.constantFrom(
    '/api/v1/routes?table=%',
    '/api/v1/explain?kind=service&name=%00%ff',
    '/api/v1/routes?peer=' + 'a'.repeat(4_000),
    '//',
    '/%2e%2e/',
    '/metrics#x',
  ),
)
const header = fc.constantFrom(
  'Host: x',
  'Upgrade: websocket',
  'Connection: upgrade',
  'Expect: 100-continue',
  'Content-Length: -1',
  'Content-Length: 3',
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: gzip',
)
const request = fc
  .tuple(method, target, fc.array(header, { maxLength: 4 }))
  .map(([verb, path, headers]) => Buffer.from(`${verb} ${path} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n`))

test('neither bytes nor malformed requests get a 5xx or take the server down', { timeout: 60_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.uint8Array({ maxLength: 300 }), request), async (bytes) => {
      assert.doesNotMatch(await exchange(bytes), /^HTTP\/1\.1 5/)
    }),
    { numRuns: 300 },
  )
  assert.deepEqual(await fetchPeers({ socket }), peers)
})
