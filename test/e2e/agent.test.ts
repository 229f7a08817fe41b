/**
 * The whole agent as a process, as its user runs it, with a router beside it: manifests in, routes and answers out.
 * Needs no privileges (`--datapath none`); the kernel's part is in test/datapath and in the lab.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { waitFor } from '../wait.ts'
import { Router } from './router.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const herald = join(root, 'bin/herald')
const port = 20_000 + (process.pid % 12_000)
const routerAddress = '127.0.0.21'

const policy = `apiVersion: cilium.io/v2alpha1
kind: CiliumBGPPeeringPolicy
metadata:
  name: bgp-peering
  annotations: {herald.dev/neighbors: '{"*": {nextHop: 192.0.2.9}}'}
spec:
  nodeSelector: {matchLabels: {kubernetes.io/os: linux}}
  virtualRouters:
  - localASN: 65001
    exportPodCIDR: true
    serviceSelector: {matchLabels: {expose-via-bgp: "true"}}
    neighbors:
    - peerAddress: ${routerAddress}/32
      peerPort: ${port}
      peerASN: 65000
      holdTimeSeconds: 9
      keepAliveTimeSeconds: 3
      gracefulRestart: {enabled: true}
      families: [{afi: ipv4, safi: unicast}]
`
const node = `apiVersion: v1
kind: Node
metadata: {name: node1, labels: {kubernetes.io/os: linux}}
spec: {podCIDRs: [10.1.1.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.9}]}
---
apiVersion: cilium.io/v2
kind: CiliumLoadBalancerIPPool
metadata: {name: pool}
spec: {blocks: [{start: 203.0.113.10, stop: 203.0.113.20}]}
`

function service(name: string, extra = ''): string {
  return `apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: default, labels: {expose-via-bgp: "true"}}
spec: {type: LoadBalancer, ports: [{port: 80, protocol: TCP}]${extra}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ${name}-1, namespace: default, labels: {kubernetes.io/service-name: ${name}}}
addressType: IPv4
endpoints: [{addresses: [10.1.1.5], nodeName: node1, conditions: {ready: true}}]
ports: [{port: 8080, protocol: TCP}]
`
}

const folder = mkdtempSync(join(tmpdir(), 'herald-e2e-'))
const manifests = join(folder, 'manifests')
const socket = join(folder, 'herald.sock')
let agent: ChildProcess | undefined
let output = ''

const router = new Router(routerAddress, port)

function startAgent(): void {
  output = ''
  agent = spawn(
    herald,
    [
      'agent',
      '--node-name',
      'node1',
      '--manifests',
      manifests,
      '--datapath',
      'none',
      '--bgp-listen',
      'none',
      '--state-dir',
      join(folder, 'state'),
      '--socket',
      socket,
      '--http',
      '127.0.0.1:0',
      '--log-level',
      'debug',
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  agent.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()))
  agent.stderr?.on('data', (chunk: Buffer) => (output += chunk.toString()))
}

/** Replaces a manifest as an editor does. */
function write(name: string, text: string): void {
  writeFileSync(join(manifests, `.${name}.new`), text)
  renameSync(join(manifests, `.${name}.new`), join(manifests, name))
}

async function run(...args: string[]): Promise<{ readonly code: number; readonly stdout: string }> {
  const result = await promisify(execFile)(herald, [...args, '--socket', socket]).catch(
    (error: { code: number; stdout: string }) => error,
  )
  return { code: 'code' in result ? result.code : 0, stdout: result.stdout }
}

const routes = (expected: readonly string[]): Promise<boolean> =>
  waitFor(
    `the router to hold ${expected.join(', ') || 'nothing'}`,
    async () => JSON.stringify(await router.received()) === JSON.stringify(expected),
  )

async function exited(): Promise<number | null> {
  const child = agent
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null
  return new Promise((resolve) => child.once('exit', (code) => resolve(code)))
}

before(async () => {
  const { mkdirSync } = await import('node:fs')
  mkdirSync(manifests)
  write('policy.yaml', policy)
  write('node.yaml', node)
  write('web.yaml', service('web'))
  await router.start()
  startAgent()
})

after(async () => {
  agent?.kill('SIGKILL')
  await exited()
  router.speaker.handle({ type: 'stop', mode: 'shutdown', text: '' })
  rmSync(folder, { recursive: true, force: true })
})

test('PodCIDR and Service address arrive at the router, the address from the pool', async () => {
  await routes(['10.1.1.0/24 via 192.0.2.9', '203.0.113.10/32 via 192.0.2.9'])
  const status = await waitFor('a healthy status', async () => {
    const found = await run('status', '-o', 'json')
    return found.code === 0 && found
  })
  const view = JSON.parse(status.stdout)
  assert.deepEqual([view.sessions.established, view.services.announced, view.datapath.kind], [1, 1, 'none'])
})

test('explain says yes to the end, and no with a remedy where there is one', async () => {
  const yes = await run('explain', 'service', 'default/web', '-o', 'json')
  assert.equal(yes.code, 0)
  assert.deepEqual(
    JSON.parse(yes.stdout)
      .verdicts.map((verdict: { ok: boolean }) => verdict.ok)
      .includes(false),
    false,
  )
  const no = await run('explain', 'service', 'default/nothing', '-o', 'json')
  assert.equal(no.code, 1)
  assert.ok(JSON.parse(no.stdout).verdicts[0].remedy)
})

test('a Service that appears is announced, one that goes is withdrawn, and the session stays', async () => {
  const before = router.transitions.length
  write('shop.yaml', service('shop'))
  await routes(['10.1.1.0/24 via 192.0.2.9', '203.0.113.10/32 via 192.0.2.9', '203.0.113.11/32 via 192.0.2.9'])
  rmSync(join(manifests, 'shop.yaml'))
  await routes(['10.1.1.0/24 via 192.0.2.9', '203.0.113.10/32 via 192.0.2.9'])
  assert.equal(router.transitions.length, before)
})

test('a file that breaks keeps its last good objects in force and names file, line and remedy', async () => {
  const before = router.transitions.length
  write('policy.yaml', policy.replace('localASN: 65001', 'localASN: 4294967296'))
  write('web.yaml', `${service('web')}\n  broken: [`)
  const status = await waitFor('both problems', async () => {
    const found = await run('status', '-o', 'json')
    const { problems }: { problems: { severity: string }[] } = JSON.parse(found.stdout)
    return found.code === 1 && problems.filter(({ severity }) => severity === 'error').length >= 2 && found
  })
  const problems: { file?: string; line?: number; field: string; remedy: string }[] = JSON.parse(status.stdout).problems
  assert.ok(
    problems.some(
      (problem) => problem.field.includes('localASN') && problem.line === 9 && problem.file?.endsWith('policy.yaml'),
    ),
    JSON.stringify(problems),
  )
  assert.ok(problems.some((problem) => problem.file?.endsWith('web.yaml') && problem.remedy !== ''))
  assert.deepEqual(await router.received(), ['10.1.1.0/24 via 192.0.2.9', '203.0.113.10/32 via 192.0.2.9'])
  write('policy.yaml', policy)
  write('web.yaml', service('web'))
  await waitFor('health again', async () => (await run('status')).code === 0)
  assert.equal(router.transitions.length, before)
})

test('what cannot be enforced is not announced, and explain says so', async () => {
  write(
    'ranges.yaml',
    service('ranges', ', loadBalancerSourceRanges: [192.0.2.0/24], loadBalancerClass: nobody.example/class'),
  )
  const found = await waitFor('the verdict', async () => {
    const answer = await run('explain', 'service', 'default/ranges', '-o', 'json')
    return JSON.parse(answer.stdout).exists === true && answer
  })
  assert.equal(found.code, 1)
  const refused = JSON.parse(found.stdout).verdicts.find((verdict: { ok: boolean }) => !verdict.ok)
  assert.match(refused.message, /nobody\.example\/class/)
  rmSync(join(manifests, 'ranges.yaml'))
})

test('a second agent with the same state directory refuses to start and leaves the first alone', async () => {
  const second = await run(
    'agent',
    '--node-name',
    'node1',
    '--manifests',
    manifests,
    '--datapath',
    'none',
    '--bgp-listen',
    'none',
    '--state-dir',
    join(folder, 'state'),
  )
  assert.notEqual(second.code, 0)
  assert.equal((await run('status')).code, 0)
})

test('a killed agent comes back as a restart: same addresses, R and F set, routes never withdrawn by us', async () => {
  agent?.kill('SIGKILL')
  await exited()
  startAgent()
  await waitFor(
    'the session again',
    () =>
      router.peer?.state === 'Established' &&
      router.transitions.filter((state) => state === 'Established').length === 2,
  )
  await waitFor('every route again', async () => !(await router.hasStale()))
  assert.deepEqual(await router.received(), ['10.1.1.0/24 via 192.0.2.9', '203.0.113.10/32 via 192.0.2.9'])
  assert.match(output, /"restart":true/)
})

test(
  'an agent that restarts while a manifest is broken waits for it with End-of-RIB: the routes of that ' +
    'manifest stay at the router (RFC 4724 4.1)',
  async () => {
    agent?.kill('SIGKILL')
    await exited()
    write('web.yaml', 'kind: Service\n  broken: [')
    startAgent()
    await waitFor('the wait', () => output.includes('in force before the restart and not now'))
    await waitFor('the session', () => router.peer?.state === 'Established')
    const both = ['10.1.1.0/24 via 192.0.2.9', '203.0.113.10/32 via 192.0.2.9']
    assert.deepEqual(await router.received(), both)
    write('web.yaml', service('web'))
    await waitFor('everything read', () => output.includes('all objects read and applied'))
    await waitFor('every route again', async () => !(await router.hasStale()))
    assert.deepEqual(await router.received(), both)
  },
)

test('SIGTERM closes silently for a graceful restart, SIGINT says Administrative Shutdown', async () => {
  agent?.kill('SIGTERM')
  assert.equal(await exited(), 0)
  await waitFor('the loss', () => router.peer?.state !== 'Established')
  assert.equal(router.peer?.lastReset?.direction, 'local', router.peer?.lastReset?.text)
  startAgent()
  await waitFor('the session again', () => router.peer?.state === 'Established')
  agent?.kill('SIGINT')
  assert.equal(await exited(), 0)
  await waitFor('the Cease', () => router.peer?.lastReset?.code === 6 && router.peer.lastReset.subcode === 2)
  assert.match(router.peer?.lastReset?.text ?? '', /agent was stopped/)
})

test('the record of allocations lies beside the manifests and is never read as one', () => {
  assert.match(readFileSync(join(manifests, '.herald/allocations.yaml'), 'utf8'), /203\.0\.113\.10/)
})
