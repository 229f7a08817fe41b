/**
 * Plugins of kubeconfigs: run as kubectl runs them, and whatever they do, nobody waits for ever and nothing is left.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { loadCredentials } from '../../../src/k8s/apiserver/credentials.ts'
import { ExecPlugin } from '../../../src/k8s/apiserver/exec-plugin.ts'
import { waitFor } from '../../wait.ts'

let folder: string
const at = (name: string): string => join(folder, name)
const kubeconfig = (): string => at('kubeconfig')
const apiVersion = 'client.authentication.k8s.io/v1'

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'herald-plugin-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

function script(body: string, name = 'plugin'): string {
  writeFileSync(at(name), `#!/bin/sh\n${body}\n`, { mode: 0o755 })
  return at(name)
}
const prints = (status: object): string =>
  `printf %s '${JSON.stringify({ apiVersion, kind: 'ExecCredential', status })}'`
const pluginOf = (spec: object, endsWithinMs = 5_000): ExecPlugin =>
  new ExecPlugin({ apiVersion, ...spec }, kubeconfig(), () => ({ server: 'https://192.0.2.1:6443' }), endsWithinMs)
const fails = (message: RegExp): object => ({ code: 'ERR_KUBECONFIG', message })

test('a path is relative to the kubeconfig, a name is looked for in PATH, and arguments and variables are given', async () => {
  mkdirSync(at('bin'))
  const body = `echo "$0 $1 $REGION" > ${at('seen')}\n${prints({ token: 'a' })}`
  script(body, 'bin/plugin')
  const env = [{ name: 'REGION', value: 'north' }]
  for (const command of ['./bin/plugin', 'bin/plugin', at('bin/plugin')]) {
    assert.deepEqual(await pluginOf({ command, args: ['get-token'], env }).credentials(), { token: 'a' })
    assert.equal(readFileSync(at('seen'), 'utf8'), `${at('bin/plugin')} get-token north\n`)
  }
  const inPath = [...env, { name: 'PATH', value: `${at('bin')}:${process.env['PATH']}` }]
  assert.deepEqual(await pluginOf({ command: 'plugin', env: inPath }).credentials(), { token: 'a' })
  await assert.rejects(
    pluginOf({ command: 'no-such-plugin' }).credentials(),
    fails(/no-such-plugin cannot be run: .*ENOENT/),
  )
})

test('it is told that nobody can be asked, and of the server where the kubeconfig wants that', async () => {
  const command = script(`printf %s "$KUBERNETES_EXEC_INFO" > ${at('info')}\n${prints({ token: 'a' })}`)
  await pluginOf({ command }).credentials()
  const told = (): object => JSON.parse(readFileSync(at('info'), 'utf8'))
  assert.deepEqual(told(), { apiVersion, kind: 'ExecCredential', spec: { interactive: false } })
  await pluginOf({ command, provideClusterInfo: true }).credentials()
  const cluster = { server: 'https://192.0.2.1:6443' }
  assert.deepEqual(told(), { apiVersion, kind: 'ExecCredential', spec: { interactive: false, cluster } })
})

test('one that hangs is ended with all that it started, and the next request runs it again', async () => {
  const command = script(`echo x >> ${at('runs')}\nsleep 600 &\necho $! > ${at('child')}\nwait`)
  const plugin = pluginOf({ command }, 300)
  for (const run of [1, 2]) {
    await assert.rejects(plugin.credentials(), fails(/has not ended within 0\.3 s: it must not ask anybody/))
    assert.equal(readFileSync(at('runs'), 'utf8').length, run * 2)
    const child = readFileSync(at('child'), 'utf8').trim()
    await waitFor('it is gone', () => !isRunning(child))
  }
})

test('what one that ends well leaves running goes on, as under kubectl', async () => {
  const leaves = `sleep 600 > /dev/null 2>&1 &\necho $! > ${at('child')}\n${prints({ token: 'a' })}`
  assert.deepEqual(await pluginOf({ command: script(leaves) }).credentials(), { token: 'a' })
  const child = readFileSync(at('child'), 'utf8').trim()
  assert.ok(isRunning(child))
  process.kill(Number(child), 'SIGKILL')
})

/** A process that has ended and was not waited for is none. */
function isRunning(pid: string): boolean {
  return existsSync(`/proc/${pid}`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
}

test('one that reads what nobody types gets the end of its input, and has no terminal to ask on', async () => {
  const command = script(
    `read line\n[ -z "$line" ] || exit 1\n(: < /dev/tty) 2>/dev/null && exit 2\n${prints({ token: 'a' })}`,
  )
  assert.deepEqual(await pluginOf({ command }).credentials(), { token: 'a' })
  assert.throws(() => pluginOf({ command, interactiveMode: 'Always' }), fails(/wants to ask a person/))
})

for (const [what, body, words] of [
  ['fails', 'echo the session has expired >&2; exit 1', /plugin ends with 1: the session has expired$/],
  ['fails without a word', 'exit 7', /plugin ends with 7$/],
  ['is killed', 'kill -9 $$', /plugin ends with SIGKILL$/],
  ['prints nothing', 'true', /prints no JSON$/],
  ['prints a page', 'echo "<html>secret</html>"', /prints no JSON$/],
  ['prints no credentials', prints({}), /neither a token nor a certificate with its key$/],
  ['prints half of them', prints({ clientCertificateData: 'c' }), /neither a token nor a certificate with its key$/],
  ['prints a token of two lines', prints({ token: 'a\nb' }), /a token that is none$/],
  [
    'prints without an end',
    'while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done',
    /without an end$/,
  ],
] as const)
  test(`a plugin that ${what} is an error that says so, and never what may be a key`, async () => {
    const said = await pluginOf({ command: script(body) })
      .credentials()
      .then(
        () => assert.fail('it was taken'),
        (error: unknown) => error as Error & { readonly code: string },
      )
    assert.equal(said.code, 'ERR_KUBECONFIG')
    assert.match(said.message, words)
    assert.ok(said.message.startsWith(kubeconfig()) && !said.message.includes('secret'))
    assert.ok(said.message.length < 800)
  })

test('an answer holds until it expires, and a certificate is given with its key', async () => {
  const status = { clientCertificateData: 'certificate', clientKeyData: 'key' }
  const run = (expirationTimestamp?: string): string =>
    script(`echo x >> ${at('runs')}\n${prints({ ...status, expirationTimestamp })}`)
  const runs = (): number => readFileSync(at('runs'), 'utf8').length / 2
  for (const [expiry, after] of [
    [undefined, 1],
    [new Date(Date.now() + 60_000).toISOString(), 1],
    ['2020-01-01T00:00:00Z', 3],
    ['soon', 1],
  ] as const) {
    rmSync(at('runs'), { force: true })
    const plugin = pluginOf({ command: run(expiry) })
    for (let i = 0; i < 3; i++) assert.deepEqual(await plugin.credentials(), { certificate: 'certificate', key: 'key' })
    assert.equal(runs(), after, String(expiry))
  }
})

function write(context: string, more: object = {}): string {
  const cluster = (name: string): object => ({
    name,
    cluster: { server: `https://${name}.example:6443`, 'certificate-authority': 'ca.crt' },
  })
  const config = {
    'current-context': context,
    clusters: [cluster('one'), cluster('two')],
    users: [
      { name: 'one', user: { exec: { apiVersion, command: './plugin', provideClusterInfo: true } } },
      { name: 'two', user: { token: 'two', 'client-certificate': 'certs/cert', 'client-key': 'certs/key' } },
    ],
    contexts: ['one', 'two'].map((name) => ({ name, context: { cluster: name, user: name, namespace: `of-${name}` } })),
    ...more,
  }
  writeFileSync(kubeconfig(), JSON.stringify(config))
  return kubeconfig()
}

test('of two contexts the one that is asked for counts, with its own server, user, namespace and files beside it', async () => {
  script(`printf %s "$KUBERNETES_EXEC_INFO" > ${at('info')}\n${prints({ token: 'from the-plugin'.replace(' ', '-') })}`)
  mkdirSync(at('certs'))
  for (const name of ['ca.crt', 'certs/cert', 'certs/key']) writeFileSync(at(name), name)
  const one = loadCredentials(write('one'))
  assert.deepEqual([one.server.host, one.namespace], ['one.example:6443', 'of-one'])
  assert.deepEqual(await one.headers(), { authorization: 'Bearer from-the-plugin' })
  assert.equal(String((await one.tls()).ca), 'ca.crt', 'a path is relative to the kubeconfig')
  const { spec } = JSON.parse(readFileSync(at('info'), 'utf8'))
  assert.equal(Buffer.from(spec.cluster['certificate-authority-data'], 'base64').toString(), 'ca.crt')
  const two = loadCredentials(write('one'), 'two')
  assert.deepEqual([two.server.host, two.namespace], ['two.example:6443', 'of-two'])
  assert.deepEqual(await two.headers(), { authorization: 'Bearer two' })
  const { cert, key } = await two.tls()
  assert.deepEqual([String(cert), String(key)], ['certs/cert', 'certs/key'])
  assert.throws(() => loadCredentials(write('one'), 'three'), fails(/three/))
})

test('a CA file that is not there is said by its path, with a plugin and without', async () => {
  script(prints({ token: 'a' }))
  assert.throws(() => loadCredentials(write('one')), fails(/certificate-authority cannot be read: .*ca\.crt/))
  mkdirSync(at('certs'))
  await assert.rejects(loadCredentials(write('two')).tls(), fails(/ca\.crt/))
})
