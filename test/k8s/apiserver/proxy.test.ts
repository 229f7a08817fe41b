/** An API server behind an HTTP proxy: who decides that, and a real proxy that takes CONNECT (RFC 9110 9.3.6). */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { connect, createServer as createTcpServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { loadCredentials } from '../../../src/k8s/apiserver/credentials.ts'
import { proxyOf } from '../../../src/k8s/apiserver/proxy.ts'
import { connectTransport } from '../../../src/k8s/apiserver/transport.ts'
import { openTunnel } from '../../../src/k8s/apiserver/tunnel.ts'
import { certificate, FakeApiServer, listening, privateKey } from './fake-server.ts'

const never = new AbortController().signal
const server = new URL('https://api.example.org:6443')
const byEnvironment = (variables: Record<string, string>, url = server): string | undefined =>
  proxyOf(url, undefined, variables)?.href

test('HTTPS_PROXY is used in either spelling and without a scheme, and proxy-url goes before it', () => {
  assert.equal(byEnvironment({}), undefined)
  assert.equal(byEnvironment({ HTTP_PROXY: 'http://proxy:3128' }), undefined, 'that one is for plain HTTP')
  assert.equal(byEnvironment({ HTTPS_PROXY: 'http://proxy:3128' }), 'http://proxy:3128/')
  assert.equal(byEnvironment({ https_proxy: 'proxy.example.org:3128' }), 'http://proxy.example.org:3128/')
  assert.equal(byEnvironment({ HTTPS_PROXY: '', https_proxy: 'https://proxy' }), 'https://proxy/')
  assert.equal(byEnvironment({ HTTPS_PROXY: '10.0.0.1:3128' }), 'http://10.0.0.1:3128/')
  const both = { HTTPS_PROXY: 'http://proxy:3128', NO_PROXY: '*' }
  assert.equal(proxyOf(server, 'http://other:8080', both)?.href, 'http://other:8080/')
  assert.equal(proxyOf(new URL('https://127.0.0.1:6443'), 'http://other:8080', {})?.href, 'http://other:8080/')
  assert.equal(proxyOf(server, '', both), undefined)
})

test('NO_PROXY names addresses, prefixes, names and what is below them, with a port or without', () => {
  const cases: readonly (readonly [noProxy: string, url: string, isDirect: boolean])[] = [
    ['*', 'https://10.96.0.1', true],
    ['example.org', 'https://api.example.org:6443', true],
    ['example.org', 'https://example.org', true],
    ['.example.org', 'https://api.example.org', true],
    ['.example.org', 'https://example.org', false],
    ['*.example.org', 'https://api.example.org', true],
    ['*.example.org', 'https://example.org', false],
    ['ample.org', 'https://example.org', false],
    ['API.Example.ORG', 'https://api.example.org', true],
    ['example.org:6443', 'https://api.example.org:6443', true],
    ['example.org:6443', 'https://api.example.org', false],
    ['example.org:443', 'https://api.example.org', true],
    ['10.96.0.1', 'https://10.96.0.1', true],
    ['10.96.0.1', 'https://10.96.0.10', false],
    ['10.96.0.0/12', 'https://10.100.1.2:6443', true],
    ['10.96.0.0/12', 'https://10.112.1.2:6443', false],
    ['10.96.0.1:6443', 'https://10.96.0.1:6443', true],
    ['10.96.0.1:6443', 'https://10.96.0.1', false],
    ['2001:db8::/32', 'https://[2001:0DB8:0::1]:6443', true],
    ['2001:DB8:0::1', 'https://[2001:db8::1]', true],
    ['[2001:db8::1]:6443', 'https://[2001:db8::1]:6443', true],
    ['[2001:db8::1]:6443', 'https://[2001:db8::1]', false],
    [' one.example , ,two.example ,', 'https://two.example', true],
    ['10.0.0.0/99', 'https://10.0.0.1', false],
    ['/8', 'https://10.0.0.1', false],
    ['', 'https://10.0.0.1', false],
    // Never through a proxy that is not asked for by name: it could not reach this machine.
    ['', 'https://localhost:6443', true],
    ['', 'https://127.9.9.9:6443', true],
    ['', 'https://[::1]:6443', true],
  ]
  for (const [noProxy, url, isDirect] of cases) {
    for (const name of ['NO_PROXY', 'no_proxy']) {
      const proxy = byEnvironment({ HTTPS_PROXY: 'proxy:3128', [name]: noProxy }, new URL(url))
      assert.equal(proxy === undefined, isDirect, `${name}=${noProxy} for ${url}`)
    }
  }
})

test('a proxy that cannot be used is refused by name, with what to write and without its password', () => {
  for (const [text, message] of [
    [
      'socks5://u:secret@proxy:1080',
      /^proxy-url names a proxy of the kind socks5, .* an HTTP proxy that takes CONNECT/,
    ],
    ['ftp://proxy', /kind ftp/],
    ['http://', /^proxy-url is no URL: write http:\/\/HOST:PORT/],
    ['http://u%zz:secret@proxy', /is no URL/],
    ['no url with secret', /is no URL/],
  ] as const)
    assert.throws(
      () => proxyOf(server, text, {}),
      (error: Error) => {
        assert.equal(Object(error).code, 'ERR_KUBECONFIG')
        assert.match(error.message, message)
        assert.doesNotMatch(error.message, /secret/)
        return true
      },
    )
  assert.throws(() => byEnvironment({ https_proxy: 'socks5://proxy' }), { message: /^https_proxy names a proxy/ })
})

interface Proxy {
  readonly url: URL
  /** Authority and credentials of each CONNECT. */
  readonly asked: { readonly target: string; readonly credentials: string | undefined }[]
}

/** A proxy that knows one name beside addresses, as a proxy of a company does. */
async function openProxy(t: TestContext, scheme: 'http' | 'https', names: Record<string, string> = {}): Promise<Proxy> {
  const proxy: Server = scheme === 'http' ? createServer() : createHttpsServer({ key: privateKey, cert: certificate })
  const asked: Proxy['asked'] = []
  const sockets = new Set<Socket>()
  proxy.on('connect', (request: IncomingMessage, client: Socket, head: Buffer) => {
    const target = request.url ?? ''
    asked.push({ target, credentials: request.headers['proxy-authorization'] })
    const [host = '', port = ''] = /^\[?([^\]]*?)\]?:(\d+)$/.exec(target)?.slice(1) ?? []
    const there = connect({ host: names[host] ?? host, port: Number(port) }, () => {
      client.write('HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n')
      there.write(head)
      there.pipe(client).pipe(there)
    })
    for (const socket of [there, client]) {
      sockets.add(socket)
      socket.on('error', () => socket.destroy())
    }
  })
  const port = await listening(proxy)
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    proxy.closeAllConnections()
    return new Promise((resolve) => proxy.close(resolve))
  })
  return { url: new URL(`${scheme}://127.0.0.1:${port}`), asked }
}

async function fakeServer(t: TestContext) {
  const fake = new FakeApiServer()
  const credentials = await fake.start()
  t.after(() => fake.stop())
  return { fake, credentials }
}

for (const scheme of ['http', 'https'] as const)
  test(`lists and watches go by HTTP/2 through an ${scheme} proxy to a server that only the proxy can find`, async (t) => {
    const { fake, credentials } = await fakeServer(t)
    const paths = ['/api/v1/services', '/api/v1/nodes']
    for (const each of paths) fake.serve(each)
    const { url, asked } = await openProxy(t, scheme, { 'api.example.org': '127.0.0.1' })
    url.username = 'agent'
    url.password = 'p%40ss'
    const folder = mkdtempSync(join(tmpdir(), 'herald-proxy-'))
    t.after(() => rmSync(folder, { recursive: true }))
    const path = join(folder, 'kubeconfig')
    const cluster = {
      server: `https://api.example.org:${credentials.server.port}`,
      'certificate-authority-data': Buffer.from(certificate).toString('base64'),
      'tls-server-name': 'localhost',
      'proxy-url': url.href,
    }
    writeFileSync(
      path,
      JSON.stringify({
        'current-context': 'c',
        clusters: [{ name: 'c', cluster }],
        users: [{ name: 'c', user: { token: 't' } }],
        contexts: [{ name: 'c', context: { cluster: 'c', user: 'c' } }],
      }),
    )
    const loaded = loadCredentials(path)
    assert.match(loaded.detail, /through the proxy 127\.0\.0\.1:\d+$/)
    assert.doesNotMatch(loaded.detail, /p(@|%40)ss/)
    const transport = connectTransport(loaded)
    t.after(() => transport.close())
    const answers = await Promise.all(paths.map((each) => transport.get(each, AbortSignal.timeout(10_000))))
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200, 200],
    )
    for (const { body } of answers) for await (const chunk of body) assert.ok(chunk.length > 0)
    const target = `api.example.org:${credentials.server.port}`
    const user = `Basic ${Buffer.from('agent:p@ss').toString('base64')}`
    assert.deepEqual(asked, [{ target, credentials: user }], 'one connection for both')
  })

test('a proxy that refuses, says nonsense or ends the connection is said to, and the server is never dialled', async (t) => {
  const { fake, credentials } = await fakeServer(t)
  const answers: readonly (readonly [answer: string, message: RegExp])[] = [
    ['HTTP/1.1 403 Forbidden\r\n\r\n', /refuses to connect to 127\.0\.0\.1:\d+: 403 Forbidden$/],
    ['HTTP/1.1 407 Proxy Authentication Required\r\n\r\n', /407 .*USER:PASSWORD@HOST:PORT/],
    ['SSH-2.0-OpenSSH_9.2\r\n\r\n', /answers with no HTTP/],
    ['x'.repeat(20_000), /answers with no HTTP/],
    ['', /ended the connection/],
  ]
  for (const [answer, message] of answers) {
    const odd = createTcpServer((socket) => {
      socket.on('error', () => socket.destroy())
      socket.once('data', () => socket.end(answer))
    })
    const proxy = new URL(`http://127.0.0.1:${await listening(odd)}`)
    const transport = connectTransport({ ...credentials, proxy })
    await assert.rejects(transport.get('/api/v1/nodes', AbortSignal.timeout(10_000)), (error: Error) => {
      assert.equal(Object(error).code, 'ERR_API_SERVER')
      assert.match(error.message, new RegExp(`the proxy 127\\.0\\.0\\.1:${proxy.port} `))
      assert.match(error.message, message)
      return true
    })
    await transport.close()
    await new Promise((resolve) => odd.close(resolve))
  }
  assert.deepEqual(fake.requests, [])
})

test('a proxy that takes the connection and then says nonsense or ends it is named, in one line without its password', async (t) => {
  const { fake, credentials } = await fakeServer(t)
  const answers: readonly (readonly [answer: string, message: RegExp])[] = [
    ['<html>you are not logged in to this network</html>', /: TLS: [a-z ]+$/],
    ['', /: Client network socket disconnected/],
  ]
  for (const [answer, message] of answers) {
    const odd = createTcpServer((socket) => {
      socket.on('error', () => socket.destroy())
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n')
        socket.once('data', () => socket.end(answer))
      })
    })
    const proxy = new URL(`http://agent:secret@127.0.0.1:${await listening(odd)}`)
    const transport = connectTransport({ ...credentials, proxy })
    await assert.rejects(transport.get('/api/v1/nodes', AbortSignal.timeout(10_000)), (error: Error) => {
      assert.match(error.message, message)
      assert.ok(error.message.startsWith(`${credentials.server.host} through the proxy 127.0.0.1:${proxy.port}: `))
      assert.doesNotMatch(error.message, /secret|\n|error:/)
      return true
    })
    await transport.close()
    await new Promise((resolve) => odd.close(resolve))
  }
  assert.deepEqual(fake.requests, [])
})

test('a proxy that nobody listens at, or that never answers, is given up', async (t) => {
  const silent = createTcpServer((socket) => void socket.on('error', () => socket.destroy()).resume())
  const port = await listening(silent)
  t.after(() => silent.close())
  const target = { hostname: '192.0.2.1', port: 6443 }
  await assert.rejects(openTunnel(new URL(`http://127.0.0.1:${port}`), target, undefined, 50, never), {
    code: 'ERR_API_SERVER',
    message: `the proxy 127.0.0.1:${port} did not answer within 0.05 s`,
  })
  await assert.rejects(openTunnel(new URL('http://127.0.0.1:1'), target, undefined, 5_000, never), {
    code: 'ERR_API_SERVER',
    message: /^the proxy 127\.0\.0\.1:1 cannot be used: .*ECONNREFUSED/,
  })
})

test('a proxy that takes the connection and says nothing holds nobody up who ends', async (t) => {
  const silent = createTcpServer((socket) => void socket.on('error', () => socket.destroy()).resume())
  const port = await listening(silent)
  t.after(() => silent.close())
  const over = new AbortController()
  const target = { hostname: '192.0.2.1', port: 6443 }
  const opening = openTunnel(new URL(`http://127.0.0.1:${port}`), target, undefined, 3_600_000, over.signal)
  silent.once('connection', () => over.abort())
  await assert.rejects(opening, {
    code: 'ERR_API_SERVER',
    message: `the proxy 127.0.0.1:${port} is not needed any more`,
  })
  await assert.rejects(openTunnel(new URL(`http://127.0.0.1:${port}`), target, undefined, 3_600_000, over.signal), {
    code: 'ERR_API_SERVER',
  })
})

test('an address of IPv6 is asked for in brackets (RFC 9110 9.3.6)', async (t) => {
  const { url, asked } = await openProxy(t, 'http', { '2001:db8::1': '127.0.0.1' })
  const there = createTcpServer((socket) => void socket.end('hello'))
  const port = await listening(there)
  t.after(() => there.close())
  const tunnel = await openTunnel(url, { hostname: '2001:db8::1', port }, undefined, 5_000, never)
  const heard: Buffer[] = []
  for await (const chunk of tunnel) heard.push(chunk as Buffer)
  assert.equal(Buffer.concat(heard).toString(), 'hello')
  assert.equal(asked[0]?.target, `[2001:db8::1]:${port}`)
})
