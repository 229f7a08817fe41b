/** Who we are to the server: files and plugins whose answers change, and servers that are none. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createSecureServer, createServer } from 'node:http2'
import { createServer as createHttpsServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { loadCredentials } from '../../../src/k8s/apiserver/credentials.ts'
import { placeOfContext } from '../../../src/k8s/apiserver/kubeconfig-files.ts'
import { reasonOf } from '../../../src/k8s/apiserver/rejected.ts'
import { connectTransport } from '../../../src/k8s/apiserver/transport.ts'
import { waitFor } from '../../wait.ts'
import { agentCertificate, agentKey } from '../../apiserver/client-certificate.ts'
import { certificate, listening, privateKey } from './fake-server.ts'

let folder: string
const file = (name: string): string => join(folder, name)

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'herald-credentials-'))
})

afterEach(() => rmSync(folder, { recursive: true }))

interface Parts {
  readonly server?: string
  readonly cluster?: object
  readonly user: object
}

function kubeconfig({ server = 'https://127.0.0.1:1', cluster = {}, user }: Parts): string {
  const config = {
    'current-context': 'c',
    clusters: [{ name: 'c', cluster: { server, ...cluster } }],
    users: [{ name: 'c', user }],
    contexts: [{ name: 'c', context: { cluster: 'c', user: 'c' } }],
  }
  writeFileSync(file('kubeconfig'), JSON.stringify(config))
  return file('kubeconfig')
}

/** A plugin that counts its runs and hands out `token-<run>`. */
function plugin(expirationTimestamp?: string, then = ''): object {
  const expiry = expirationTimestamp === undefined ? '' : `,"expirationTimestamp":"${expirationTimestamp}"`
  const answer = `{"kind":"ExecCredential","status":{"token":"token-'$n'"${expiry}}}`
  const script = `#!/bin/sh\necho x >> ${file('runs')}\nn=$(wc -l < ${file('runs')})\n${then}\necho '${answer}'\n`
  writeFileSync(file('plugin'), script, { mode: 0o755 })
  return { exec: { apiVersion: 'client.authentication.k8s.io/v1', command: file('plugin') } }
}

const runs = (): number => readFileSync(file('runs'), 'utf8').split('\n').length - 1
const bearer = (token: string): object => ({ authorization: `Bearer ${token}` })

test('a plugin is run once for requests of one moment, and its answer is kept until it expires', async () => {
  const credentials = loadCredentials(kubeconfig({ user: plugin(new Date(Date.now() + 3_600_000).toISOString()) }))
  const all = await Promise.all([credentials.headers(), credentials.headers(), credentials.tls()])
  assert.deepEqual(all[0], bearer('token-1'))
  await credentials.headers()
  assert.equal(runs(), 1)
})

test('a plugin whose answer has expired is run again', async () => {
  const credentials = loadCredentials(kubeconfig({ user: plugin('2020-01-01T00:00:00Z') }))
  assert.deepEqual(await credentials.headers(), bearer('token-1'))
  assert.deepEqual(await credentials.headers(), bearer('token-2'))
})

test('credentials that the server refused are not used again, however long they say they are good', async () => {
  const credentials = loadCredentials(kubeconfig({ user: plugin() }))
  assert.deepEqual(await credentials.headers(), bearer('token-1'))
  credentials.renew()
  assert.deepEqual(await credentials.headers(), bearer('token-2'))
})

test('they are not used again while the kubeconfig cannot be read either: the plugin that is known is asked', async () => {
  const credentials = loadCredentials(kubeconfig({ user: plugin() }))
  assert.deepEqual(await credentials.headers(), bearer('token-1'))
  writeFileSync(file('kubeconfig'), '{"clusters": [')
  credentials.renew()
  assert.deepEqual(await credentials.headers(), bearer('token-2'))
  rmSync(file('kubeconfig'))
  credentials.renew()
  assert.deepEqual(await credentials.headers(), bearer('token-3'))
  assert.deepEqual(await credentials.headers(), bearer('token-3'))
})

test('a token that the server refused is not used again, however short a while it was read before', async () => {
  const credentials = loadCredentials(kubeconfig({ user: { token: 'first' } }))
  assert.deepEqual(await credentials.headers(), bearer('first'))
  const during = credentials.headers()
  kubeconfig({ user: { token: 'second' } })
  credentials.renew()
  await during
  assert.deepEqual(await credentials.headers(), bearer('second'))
})

test('tokenFile of a kubeconfig, beside it or elsewhere, goes before token, and is read again when it is refused', async () => {
  for (const name of ['token', file('token')]) {
    writeFileSync(file('token'), 'first\n')
    const credentials = loadCredentials(kubeconfig({ user: { tokenFile: name, token: 'in the kubeconfig' } }))
    assert.deepEqual(await credentials.headers(), bearer('first'))
    writeFileSync(file('token'), 'second')
    assert.deepEqual(await credentials.headers(), bearer('first'), 'for a minute')
    credentials.renew()
    assert.deepEqual(await credentials.headers(), bearer('second'))
    // A mount that is being replaced: the token may still be good.
    rmSync(file('token'))
    credentials.renew()
    assert.deepEqual(await credentials.headers(), bearer('second'))
  }
})

/** The volume of a pod, as the kubelet writes it: a folder for each version, and a link that is replaced. */
function project(version: string, token: string): void {
  const folder = file('var/run/secrets/kubernetes.io/serviceaccount')
  const own = join(folder, `..${version}`)
  mkdirSync(own, { recursive: true })
  for (const [name, text] of Object.entries({ token, 'ca.crt': certificate, namespace: 'herald' }))
    writeFileSync(join(own, name), text)
  symlinkSync(own, join(folder, '..data_tmp'))
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
  if (version !== '1') return
  for (const name of ['token', 'ca.crt', 'namespace']) symlinkSync(join('..data', name), join(folder, name))
}

test("a pod's token is read again when it is refused, and one that is no whole line, or away, is not taken", async (t) => {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = process.env
  Object.assign(process.env, { KUBERNETES_SERVICE_HOST: '192.0.2.1', KUBERNETES_SERVICE_PORT: '6443' })
  t.after(() => {
    for (const [name, value] of Object.entries({ KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port }))
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
  })
  project('1', '')
  const credentials = loadCredentials(undefined, undefined, folder)
  assert.equal(credentials.detail, "https://192.0.2.1:6443 by the pod's service account")
  await assert.rejects(credentials.headers(), { code: 'ERR_KUBECONFIG', message: /holds no token/ })
  project('2', 'first')
  assert.deepEqual(await credentials.headers(), bearer('first'))
  assert.equal(String((await credentials.tls()).ca), String(certificate))
  project('3', 'second\n')
  assert.deepEqual(await credentials.headers(), bearer('first'), 'for a minute')
  credentials.renew()
  assert.deepEqual(await credentials.headers(), bearer('second'))
  for (const [version, token] of [
    ['4', ''],
    ['5', '\0\0\0'],
  ] as const) {
    project(version, token)
    credentials.renew()
    assert.deepEqual(await credentials.headers(), bearer('second'))
  }
  rmSync(file('var/run/secrets/kubernetes.io/serviceaccount/..data/token'))
  credentials.renew()
  assert.deepEqual(await credentials.headers(), bearer('second'))
})

test('merge keys of a kubeconfig are merged, as kubectl does, for clusters, contexts, users and what we read', async () => {
  const text = [
    'x-name: &name {name: c}',
    'x-server: &server {server: "https://127.0.0.1:1", proxy-url: "http://192.0.2.9:3128"}',
    'current-context: c',
    'clusters: [{<<: *name, cluster: {<<: *server, certificate-authority: ca.pem}}]',
    'contexts: [{<<: *name, context: {cluster: c, user: c}}]',
    'users: [{<<: *name, user: {<<: [{tokenFile: token}, {token: unused}]}}]',
  ]
  writeFileSync(file('kubeconfig'), text.join('\n'))
  writeFileSync(file('token'), 'file-token')
  writeFileSync(file('ca.pem'), certificate)
  assert.deepEqual(placeOfContext([file('kubeconfig'), file('kubeconfig')], undefined), {
    path: file('kubeconfig'),
    context: 'c',
  })
  const credentials = loadCredentials(file('kubeconfig'))
  assert.deepEqual(await credentials.headers(), bearer('file-token'))
  assert.equal(credentials.proxy?.host, '192.0.2.9:3128')
  assert.equal(String((await credentials.tls()).ca), String(certificate), 'beside the kubeconfig')
})

test('a context that is not there is told from one without a cluster, and those that are there are named', () => {
  const path = kubeconfig({ user: { token: 'own' } })
  const config = JSON.parse(readFileSync(path, 'utf8'))
  config.contexts.push({ name: 'lost', context: { cluster: 'gone', user: 'c' } })
  writeFileSync(path, JSON.stringify(config))
  const code = 'ERR_KUBECONFIG'
  assert.throws(() => loadCredentials(path, 'prod'), { code, message: `${path}: it has no context prod, but c, lost` })
  assert.throws(() => loadCredentials(path, 'lost'), { code, message: /its context lost names a cluster that it/ })
})

test('a tokenFile that cannot be read, or holds no token, is an error that names it', () => {
  const load = (tokenFile: string) => () => loadCredentials(kubeconfig({ user: { tokenFile } }))
  assert.throws(load('nowhere'), { code: 'ERR_KUBECONFIG', message: /tokenFile cannot be read: ENOENT.*nowhere/ })
  assert.throws(load('.'), { code: 'ERR_KUBECONFIG', message: /tokenFile cannot be read: EISDIR/ })
  for (const content of ['', '\n', 'two words', 'line\nline', 'gr\u00fcn']) {
    writeFileSync(file('token'), content)
    assert.throws(load('token'), { code: 'ERR_KUBECONFIG', message: /tokenFile .*token holds no token/ })
  }
})

test('a kubeconfig that was written anew is read again; one that is broken, or of another server, is not', async () => {
  const credentials = loadCredentials(kubeconfig({ user: { token: 'first' } }))
  assert.deepEqual(await credentials.headers(), bearer('first'))
  kubeconfig({ user: { token: 'second' } })
  credentials.renew()
  assert.deepEqual(await credentials.headers(), bearer('second'))
  kubeconfig({ server: 'https://192.0.2.1:6443', user: { token: 'third' } })
  credentials.renew()
  assert.deepEqual(await credentials.headers(), bearer('second'))
  writeFileSync(file('kubeconfig'), '{"clusters": [')
  credentials.renew()
  assert.deepEqual(await credentials.headers(), bearer('second'))
})

test('a plugin that fails says what it said, and is tried again with the next request', async () => {
  const fails = `[ $n = 1 ] && { echo no such profile >&2; exit 1; }`
  const credentials = loadCredentials(kubeconfig({ user: plugin(undefined, fails) }))
  await assert.rejects(credentials.headers(), { code: 'ERR_KUBECONFIG', message: /no such profile/ })
  assert.deepEqual(await credentials.headers(), bearer('token-2'))
})

test("a client's certificate is read from its file for each connection", async () => {
  for (const name of ['cert', 'key']) writeFileSync(file(name), `${name} 1`)
  const user = { 'client-certificate': file('cert'), 'client-key': file('key') }
  const credentials = loadCredentials(kubeconfig({ user }))
  assert.equal(String((await credentials.tls()).cert), 'cert 1')
  writeFileSync(file('cert'), 'cert 2')
  assert.equal(String((await credentials.tls()).cert), 'cert 2')
})

const base64 = (text: string): string => Buffer.from(text).toString('base64')
const trusting = (text: string): object => ({ 'certificate-authority-data': base64(text) })

for (const [what, before, after] of [
  ['another certificate authority', trusting(agentCertificate), trusting(certificate)],
  [
    "another client's certificate, which the server asks for",
    trusting(certificate),
    {
      ...trusting(certificate),
      user: { 'client-certificate-data': base64(agentCertificate), 'client-key-data': base64(agentKey) },
    },
  ],
] as const) {
  test(`a kubeconfig that was written anew with ${what} is read where no connection came about`, async (t) => {
    const asks = 'user' in after ? { requestCert: true, rejectUnauthorized: true, ca: agentCertificate } : {}
    const server = createSecureServer({ key: privateKey, cert: certificate, ...asks })
    server.on('stream', (stream) => {
      stream.respond({ ':status': 200 })
      stream.end('{}')
    })
    const place = { server: `https://127.0.0.1:${await listening(server)}` }
    const user = plugin()
    const transport = connectTransport(loadCredentials(kubeconfig({ ...place, cluster: before, user })))
    t.after(async () => {
      await transport.close()
      await new Promise((resolve) => server.close(resolve))
    })
    const statusOf = async (): Promise<number> => {
      const { status, body } = await transport.get('/', AbortSignal.timeout(10_000))
      for await (const chunk of body) assert.ok(chunk.length > 0)
      return status
    }
    for (let each = 0; each < 3; each++) await assert.rejects(statusOf(), { code: 'ERR_API_SERVER' })
    assert.equal(runs(), 1, 'what a plugin said is no worse for that')
    const { user: own = {}, ...cluster }: { readonly user?: object } = after
    kubeconfig({ ...place, cluster, user: { ...user, ...own } })
    await waitFor('the server answers', async () => (await statusOf().catch(() => 0)) === 200)
  })
}

test('a server that refuses us, or is away, is told of with why the kubeconfig of now is not used', async (t) => {
  const server = createSecureServer({ key: privateKey, cert: certificate })
  server.on('stream', (stream) => {
    stream.respond({ ':status': 401 })
    stream.end('{"kind": "Status", "message": "Unauthorized"}')
  })
  const place = { server: `https://127.0.0.1:${await listening(server)}`, cluster: trusting(certificate) }
  const transport = connectTransport(loadCredentials(kubeconfig({ ...place, user: { token: 'old' } })))
  t.after(() => transport.close())
  const said = async (): Promise<string> => reasonOf('Node', await transport.get('/', AbortSignal.timeout(10_000)))
  assert.equal(await said(), 'Node: Unauthorized')
  const path = kubeconfig({ server: 'https://192.0.2.1:6443', user: { token: 'new' } })
  const elsewhere = `${path} names the server 192.0.2.1:6443 now, which only a restart follows`
  assert.equal(await said(), `Node: Unauthorized (${elsewhere})`)
  writeFileSync(path, '{"clusters": [')
  assert.match(await said(), /^Node: Unauthorized \(.*kubeconfig cannot be read: /)
  kubeconfig({ ...place, user: { token: 'new' } })
  assert.equal(await said(), 'Node: Unauthorized')
  kubeconfig({ server: 'https://192.0.2.1:6443', user: { token: 'new' } })
  await transport.close()
  await new Promise((resolve) => server.close(resolve))
  const away = connectTransport(loadCredentials(kubeconfig({ ...place, user: {} })))
  t.after(() => away.close())
  kubeconfig({ server: 'https://192.0.2.1:6443', user: {} })
  const isSaid = (): Promise<boolean> =>
    away.get('/', AbortSignal.timeout(10_000)).then(
      () => false,
      (error: Error) => error.message.endsWith(`(${elsewhere})`),
    )
  await waitFor('what is away says so', isSaid)
})

for (const [what, write] of [
  ['a tokenFile', (token: string) => writeFileSync(file('token'), token)],
  ['a kubeconfig', undefined],
] as const)
  test(`of ${what} that holds a part of a token the last whole one stays in use, for as long as it is taken`, async (t) => {
    const server = createSecureServer({ key: privateKey, cert: certificate })
    const taken = new Set(['whole-1'])
    const asked: string[] = []
    server.on('stream', (stream, { authorization = '' }) => {
      const token = authorization.replace('Bearer ', '')
      asked.push(token)
      stream.respond({ ':status': taken.has(token) ? 200 : 401 })
      stream.end('{}')
    })
    const place = { server: `https://127.0.0.1:${await listening(server)}`, cluster: trusting(certificate) }
    const say = (token: string): void =>
      void (write === undefined ? kubeconfig({ ...place, user: { token } }) : write(token))
    say('whole-1')
    if (write !== undefined) kubeconfig({ ...place, user: { tokenFile: 'token' } })
    const transport = connectTransport(loadCredentials(file('kubeconfig')))
    t.after(async () => {
      await transport.close()
      await new Promise((resolve) => server.close(resolve))
    })
    const change = { method: 'PUT', path: '/', contentType: 'application/json', body: '{}' } as const
    /** What is answered, and who we said that we are. */
    const ask = async (): Promise<readonly [number, readonly string[]]> => {
      const { status, body } = await transport.change(change, AbortSignal.timeout(10_000))
      for await (const chunk of body) assert.ok(chunk.length > 0)
      return [status, asked.splice(0)]
    }
    assert.deepEqual(await ask(), [200, ['whole-1']])
    say('whole-')
    transport.renew()
    assert.deepEqual(await ask(), [200, ['whole-', 'whole-1']])
    assert.deepEqual(await ask(), [200, ['whole-1']], 'a part is asked with once')
    // The next one is whole when the last one is not good any more.
    say('whole-2')
    taken.clear()
    taken.add('whole-2')
    assert.deepEqual(await ask(), [200, ['whole-1', 'whole-2']])
    taken.clear()
    assert.deepEqual(await ask(), [401, ['whole-2']])
    say('whole-3')
    assert.deepEqual(await ask(), [401, ['whole-2', 'whole-3']], 'what was refused last is nothing to go back to')
  })

test('a plugin whose tokens are all refused is run once for each request', async (t) => {
  const server = createSecureServer({ key: privateKey, cert: certificate })
  const asked: unknown[] = []
  server.on('stream', (stream, { authorization }) => {
    asked.push(authorization)
    stream.respond({ ':status': 401 })
    stream.end('{}')
  })
  const place = { server: `https://127.0.0.1:${await listening(server)}`, cluster: trusting(certificate) }
  const transport = connectTransport(loadCredentials(kubeconfig({ ...place, user: plugin() })))
  t.after(async () => {
    await transport.close()
    await new Promise((resolve) => server.close(resolve))
  })
  for (let i = 0; i < 4; i++) {
    const { status, body } = await transport.get('/', AbortSignal.timeout(10_000))
    for await (const chunk of body) assert.ok(chunk.length > 0)
    assert.equal(status, 401)
  }
  assert.deepEqual([runs(), asked.length], [5, 8])
})

test('what was refused once is used when the server takes it later, and what is there again at once', async (t) => {
  const server = createSecureServer({ key: privateKey, cert: certificate })
  let taken = ['old']
  const asked: string[] = []
  server.on('stream', (stream, { authorization = '', 'impersonate-user': other = 'nobody' }) => {
    const token = authorization.replace('Bearer ', '')
    asked.push(`${token} for ${String(other)}`)
    stream.respond({ ':status': taken.includes(token) ? 200 : 401 })
    stream.end('{}')
  })
  const place = { server: `https://127.0.0.1:${await listening(server)}`, cluster: trusting(certificate) }
  const say = (user: object): void => void kubeconfig({ ...place, user })
  say({ token: 'old' })
  const transport = connectTransport(loadCredentials(file('kubeconfig')))
  let laterMs = 0
  const now = performance.now.bind(performance)
  t.mock.method(performance, 'now', () => now() + laterMs)
  t.after(async () => {
    await transport.close()
    await new Promise((resolve) => server.close(resolve))
  })
  /** Who we said that we are; it is read again first. */
  const ask = async (): Promise<readonly string[]> => {
    transport.renew()
    const { status, body } = await transport.get('/', AbortSignal.timeout(10_000))
    for await (const chunk of body) assert.ok(chunk.length > 0)
    assert.equal(status, 200)
    return asked.splice(0)
  }
  assert.deepEqual(await ask(), ['old for nobody'])
  say({ token: 'new', as: 'herald' })
  assert.deepEqual(await ask(), ['new for herald', 'old for nobody'], 'one token is not used for the name of another')
  taken = ['old', 'new']
  assert.deepEqual(await ask(), ['old for nobody'])
  laterMs += 61_000
  assert.deepEqual(await ask(), ['new for herald'])
  // The server refuses all for a moment, as with a webhook that is away: what it takes again counts as taken.
  taken = []
  await assert.rejects(ask(), /401/)
  asked.splice(0)
  taken = ['old', 'new']
  assert.deepEqual(await ask(), ['new for herald'])
  say({ token: 'old' })
  assert.deepEqual(await ask(), ['old for nobody'])
  say({ token: 'new' })
  assert.deepEqual(await ask(), ['new for nobody'])
})

for (const [what, make] of [
  ['speaks HTTP/1.1 only', () => createHttpsServer({ key: privateKey, cert: certificate })],
  ['speaks no TLS', () => createServer()],
] as const) {
  test(`a server that ${what} is said to be none`, async () => {
    const server = make()
    const port = await listening(server)
    const transport = connectTransport({
      server: new URL(`https://127.0.0.1:${port}`),
      detail: 'a test',
      headers: async () => ({}),
      tls: async () => ({ ca: certificate }),
      judged: () => undefined,
      renew: () => undefined,
    })
    await assert.rejects(transport.get('/', AbortSignal.timeout(5_000)), {
      code: 'ERR_API_SERVER',
      message: new RegExp(`^127.0.0.1:${port}: .*(HTTP/2|disconnected|SSL|wrong version|reset)`),
    })
    await transport.close()
    await new Promise((resolve) => server.close(resolve))
  })
}
