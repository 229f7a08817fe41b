/** TLS with the API server: certificates and authorities that are renewed, and servers that end it at its begin. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createSecureServer, type Http2SecureServer, type ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { createServer, type TlsOptions, type TLSSocket } from 'node:tls'
import type { Credentials } from '../../../src/k8s/apiserver/credentials.ts'
import { loadCredentials } from '../../../src/k8s/apiserver/credentials.ts'
import { connectTransport } from '../../../src/k8s/apiserver/transport.ts'
import { certificate, listening, privateKey } from './fake-server.ts'

/** Another one of 127.0.0.1 that signs itself, good until 2126, for nothing but these tests. */
const renewedCertificate = `-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIUcWnd31BYn0TpyU8ria7VtyUAlvUwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEzMDExNDA0NVoYDzIxMjYxMTA2
MTE0MDQ1WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASW9W8wFu75kDD9Rnn8mRXdfZgwbPuXrbZSOXcJzQ/uNRoAk7OEehhk
0QZbwlwCcUw+HWVXM5fj55NLYO3caz5qo28wbTAdBgNVHQ4EFgQUcorW+hx35a/E
ENgowxNZ4ys77mYwHwYDVR0jBBgwFoAUcorW+hx35a/EENgowxNZ4ys77mYwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARhwR/AAABgglsb2NhbGhvc3QwCgYIKoZI
zj0EAwIDSQAwRgIhAI34sNbwYVtj/K2V56XRsmbSCBVshdb8Y+mSfr6kA/VaAiEA
yTuUGGyjnJt5cIqGsAwt5g8bZ6oniUvxGX4dNQW+pZA=
-----END CERTIFICATE-----
`
const renewedKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgJKgCRc0CFGV1ZUaG
onMakIews98FLkAdJZ267bw7/w6hRANCAASW9W8wFu75kDD9Rnn8mRXdfZgwbPuX
rbZSOXcJzQ/uNRoAk7OEehhk0QZbwlwCcUw+HWVXM5fj55NLYO3caz5q
-----END PRIVATE KEY-----
`

let folder: string
const file = (name: string): string => join(folder, name)

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'herald-tls-'))
})

afterEach(() => rmSync(folder, { recursive: true }))

async function textOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = []
  for await (const chunk of body) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

interface RenewedServer {
  readonly server: Http2SecureServer
  readonly credentials: Credentials
  /** Of the watches that are open. */
  readonly watches: ServerHttp2Stream[]
}

/** By a kubeconfig that names its authority as a file, as the volume of a pod has it. */
async function renewable(): Promise<RenewedServer> {
  const server = createSecureServer({ key: privateKey, cert: certificate })
  const watches: ServerHttp2Stream[] = []
  server.on('stream', (stream, { ':path': path }) => {
    stream.on('error', () => undefined)
    stream.respond({ ':status': 200 })
    if (path === '/watch') watches.push(stream)
    else stream.end('{}')
  })
  const place = { server: `https://127.0.0.1:${await listening(server)}`, 'certificate-authority': 'ca.crt' }
  writeFileSync(file('ca.crt'), certificate)
  const config = {
    'current-context': 'c',
    clusters: [{ name: 'c', cluster: place }],
    users: [{ name: 'c', user: { token: 'us' } }],
    contexts: [{ name: 'c', context: { cluster: 'c', user: 'c' } }],
  }
  writeFileSync(file('kubeconfig'), JSON.stringify(config))
  return { server, credentials: loadCredentials(file('kubeconfig')), watches }
}

for (const [what, between] of [
  ['before the file of authorities is', undefined],
  ['while that file is being written in place', certificate.slice(0, 200)],
  ['while that file is empty', ''],
] as const)
  test(`a certificate and its authority that are renewed ${what}: what is open goes on, what is new follows`, async (t) => {
    const { server, credentials, watches } = await renewable()
    const transport = connectTransport(credentials)
    const sessions = new Set<{ destroy(): void }>()
    server.on('session', (session) => sessions.add(session))
    t.after(async () => {
      await transport.close()
      for (const session of sessions) session.destroy()
      await new Promise((resolve) => server.close(resolve))
    })
    const ask = async (): Promise<number> => {
      const { status, body } = await transport.get('/', AbortSignal.timeout(10_000))
      await textOf(body)
      return status
    }
    const { body } = await transport.get('/watch', new AbortController().signal)
    const heard = textOf(body)
    server.setSecureContext({ key: renewedKey, cert: renewedCertificate })
    // Over the connection that stands.
    assert.equal(await ask(), 200)
    if (between !== undefined) writeFileSync(file('ca.crt'), between)
    transport.renew()
    for (let each = 0; each < 2; each++)
      await assert.rejects(ask(), { code: 'ERR_API_SERVER', message: /self-signed certificate/ })
    writeFileSync(file('ca.crt'), renewedCertificate)
    assert.equal(await ask(), 200, 'without a word to us')
    watches[0]?.end('told to the last')
    assert.equal(await heard, 'told to the last')
    assert.equal(sessions.size, 2)
  })

/** What is told of a server, each time that it is asked, and how many connections it had for that. */
async function told(
  options: TlsOptions,
  onConnection: (socket: TLSSocket) => void,
): Promise<{ readonly messages: readonly string[]; readonly connections: number }> {
  let connections = 0
  const server = createServer({ key: privateKey, cert: certificate, ...options }, (socket) => {
    socket.on('error', () => undefined)
    onConnection(socket)
  })
  const sockets = new Set<Socket>()
  server.on('connection', (socket) => {
    connections++
    sockets.add(socket)
  })
  const transport = connectTransport({
    server: new URL(`https://127.0.0.1:${await listening(server)}`),
    detail: 'a test',
    headers: async () => ({}),
    judged: () => undefined,
    tls: async () => ({ ca: certificate }),
    renew: () => undefined,
  })
  const messages: string[] = []
  for (let each = 0; each < 3; each++)
    await transport.get('/', AbortSignal.timeout(10_000)).then(
      () => messages.push('answered'),
      (error: Error) => messages.push(error.message),
    )
  await transport.close()
  for (const socket of sockets) socket.destroy()
  await new Promise((resolve) => server.close(resolve))
  return { messages, connections }
}

for (const [what, end] of [
  ['ends', (socket: TLSSocket) => socket.end()],
  ['resets', (socket: TLSSocket) => socket.destroy()],
  ['talks of something else', (socket: TLSSocket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')],
] as const)
  test(`a server that ${what} right after the handshake costs one connection for each request, and an error`, async () => {
    const { messages, connections } = await told({ ALPNProtocols: ['h2'] }, end)
    assert.equal(connections, 3)
    for (const message of messages) assert.match(message, /ended without an answer|Protocol error/)
  })

for (const [what, protocols] of [
  ['HTTP/1.1 alone', ['http/1.1']],
  ['nothing that we speak', ['spdy/3']],
  ['no protocol', undefined],
] as const)
  test(`a server that names ${what} by ALPN is said to speak no HTTP/2`, async () => {
    const { messages } = await told(protocols === undefined ? {} : { ALPNProtocols: [...protocols] }, () => undefined)
    for (const message of messages) assert.match(message, /^127\.0\.0\.1:\d+: it does not speak HTTP\/2 over TLS/)
  })
