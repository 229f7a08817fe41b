/** A key never leaves the agent: not in an answer, a line of the log or of a verb, whatever is broken around it. */
import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { fetchStatus } from '../../src/api/client.ts'
import { waitFor } from '../wait.ts'

const herald = fileURLToPath(new URL('../../bin/herald', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'herald-secrets-'))
const manifests = join(folder, 'manifests')
const socket = join(folder, 'herald.sock')
const key = 'hunter2-very-secret'
const base64 = Buffer.from(key).toString('base64')
const spoken = [key, base64, base64.replace(/=+$/, '')]

/** Where somebody may have put it, and what may be broken there. */
const files: Readonly<Record<string, string>> = {
  'node.yaml': `apiVersion: v1
kind: Node
metadata: {name: node1}
status: {addresses: [{type: InternalIP, address: 192.0.2.9}]}
`,
  'policy.yaml': `apiVersion: cilium.io/v2alpha1
kind: CiliumBGPPeeringPolicy
metadata: {name: rack0}
spec:
  nodeSelector: {}
  virtualRouters:
  - localASN: 65001
    neighbors:
    - {peerAddress: 127.0.0.91/32, peerASN: 65000, authSecretRef: good}
    - {peerAddress: 127.0.0.92/32, peerASN: 65000, authSecretRef: long}
    - {peerAddress: 127.0.0.94/32, peerASN: 65000, authSecretRef: odd}
`,
  'good.yaml': `apiVersion: v1
kind: Secret
metadata: {name: good, namespace: kube-system}
data: {password: ${base64}}
`,
  'long.yaml': `apiVersion: v1
kind: Secret
metadata: {name: long, namespace: kube-system}
data: {password: ${Buffer.from(key.repeat(10)).toString('base64')}}
`,
  'odd.yaml': `apiVersion: v1
kind: Secret
metadata: {name: odd, namespace: kube-system, annotations: {note: ${key}}}
stringData: {password: [${key}]}
data: {password: {nested: ${key}}}
`,
  'alias.yaml': `apiVersion: v1
kind: Secret
metadata: {name: alias, namespace: kube-system}
data:
  password: *${key}
`,
  'cut.yaml': `apiVersion: v1
kind: Secret
metadata: {name: cut, namespace: kube-system}
data:
  password: "${key}
  other: ${base64}
`,
  'tabs.yaml': `apiVersion: v1
kind: Secret
metadata: {name: tabs, namespace: kube-system}
data:
\tpassword: ${key}: ${key}: [${base64}
`,
  'twice.yaml': `apiVersion: v1
kind: Secret
metadata: {name: twice, namespace: kube-system}
data: {password: ${base64}, password: ${base64}, ? [${key}] : x}
`,
  'tag.yaml': `apiVersion: v1
kind: Secret
metadata: {name: tag, namespace: kube-system}
data: {password: !!int ${key}}
---
apiVersion: v1
kind: Secret
metadata: {name: "${key}", namespace: kube-system}
data: !${key} {}
`,
  'json.json': `{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "json"}, "data": {"password": "${key}"`,
  'applied.yaml': `apiVersion: v1
kind: Secret
metadata:
  name: applied
  namespace: kube-system
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: '{"data":{"password":"${base64}"}}'
data: {password: 7}
`,
}

let log = ''
let agent: ChildProcess | undefined
const output = join(folder, 'record.jsonl')
before(async () => {
  mkdirSync(manifests)
  for (const [name, text] of Object.entries(files)) writeFileSync(join(manifests, name), text)
  const words = ['agent', '--node-name', 'node1', '--manifests', manifests, '--datapath', 'none', '--socket', socket]
  const more = ['--bgp-listen', '127.0.0.90:11791', '--http', 'none', '--log-level', 'debug', '--record', output]
  agent = spawn(herald, [...words, ...more, '--state-dir', join(folder, 'state')], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  for (const stream of [agent.stdout, agent.stderr]) stream?.on('data', (chunk: Buffer) => (log += chunk.toString()))
  await waitFor('all objects', async () => {
    const found = await fetchStatus({ socket }).catch(() => undefined)
    return found?.source.synced === true && found.sessions.configured > 0 && found.problems.length > 3
  })
})

after(() => {
  agent?.kill('SIGKILL')
  rmSync(folder, { recursive: true })
})

function isSilent(text: string, what: string): void {
  for (const word of spoken)
    assert.ok(
      !text.includes(word),
      `${what}: ${text.slice(Math.max(0, text.indexOf(word) - 200), text.indexOf(word) + 40)}`,
    )
}

const get = (path: string): Promise<string> =>
  new Promise((resolve, reject) => {
    http
      .get({ socketPath: socket, path, agent: false }, (response) => {
        let body = ''
        response
          .setEncoding('utf8')
          .on('data', (chunk: string) => (body += chunk))
          .on('end', () => resolve(body))
      })
      .on('error', reject)
  })

test('no answer of the API has it', async () => {
  const paths = [
    '/metrics',
    '/readyz',
    '/api/v1/status',
    '/api/v1/peers',
    '/api/v1/services',
    ...['available', 'advertised', 'received'].map((table) => `/api/v1/routes?table=${table}`),
    ...['127.0.0.91', '127.0.0.92', '127.0.0.94'].map((name) => `/api/v1/explain?kind=peer&name=${name}`),
    '/api/v1/explain?kind=service&name=kube-system/good',
  ]
  for (const path of paths) {
    const body = await get(path)
    assert.ok(body.length > 2 || path.includes('routes') || path.includes('services'), path)
    isSilent(body, path)
  }
})

test('no verb prints it, in no format, validate of every file included', { timeout: 120_000 }, async () => {
  const run = (...words: string[]): Promise<string> =>
    new Promise((resolve) => {
      const env = { PATH: process.env['PATH'], HERALD_SOCKET: socket }
      execFile(herald, words, { env, timeout: 60_000 }, (_error, stdout, stderr) => resolve(stdout + stderr))
    })
  const verbs = [
    ['status'],
    ['status', '-o', 'yaml'],
    ['bgp', 'peers', '-o', 'wide'],
    ['bgp', 'peers', '-o', 'json'],
    ['explain', 'peer', '127.0.0.92'],
    ['validate', manifests],
    ['validate', manifests, '-o', 'json'],
  ]
  for (const words of verbs) isSilent(await run(...words), words.join(' '))
})

test('neither the log at its finest nor a recording has it', () => {
  assert.match(log, /agent started/)
  isSilent(log, 'log')
  isSilent(readFileSync(output, 'utf8'), 'recording')
})
