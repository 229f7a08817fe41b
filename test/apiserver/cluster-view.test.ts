/**
 * An operator and two agents as processes on a real API server, with the roles of the chart: what each node does is
 * told to the cluster, whoever asks.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parseAllDocuments } from 'yaml'
import { Router } from '../e2e/router.ts'
import { waitFor } from '../wait.ts'
import { presentBinaries } from './binaries.ts'
import { type Cluster, startCluster } from './cluster.ts'
import { crdOf } from '../../scripts/crds.ts'
import { leaseRules, roleOf, type Rule } from './operator-role.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const herald = join(root, 'bin/herald')
const binaries = presentBinaries()
const skip = binaries === undefined ? 'no kube-apiserver here (see test/apiserver/binaries.ts)' : false
const port = 20_000 + (process.pid % 20_000)
const routers = new Map([
  ['node1', new Router('127.0.0.51', port)],
  ['node2', new Router('127.0.0.52', port)],
])
const list = (items: readonly object[]): string => JSON.stringify({ apiVersion: 'v1', kind: 'List', items })

const node = (name: string): object => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name, labels: { rack: name } },
})
/** The session of node1 is of the first family of Cilium's kinds, that of node2 of the second. */
const policy = {
  apiVersion: 'cilium.io/v2alpha1',
  kind: 'CiliumBGPPeeringPolicy',
  metadata: { name: 'rack', annotations: { 'herald.dev/neighbors': '{"*": {nextHop: 192.0.2.1}}' } },
  spec: {
    nodeSelector: { matchLabels: { rack: 'node1' } },
    virtualRouters: [
      {
        localASN: 65001,
        serviceSelector: {},
        neighbors: [
          {
            peerAddress: '127.0.0.51/32',
            peerPort: port,
            peerASN: 65000,
            families: [{ afi: 'ipv4', safi: 'unicast' }],
          },
        ],
      },
    ],
  },
}
const clusterConfig = {
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumBGPClusterConfig',
  metadata: { name: 'rack2', annotations: { 'herald.dev/neighbors': '{"*": {nextHop: 192.0.2.2}}' } },
  spec: {
    nodeSelector: { matchLabels: { rack: 'node2' } },
    bgpInstances: [
      {
        name: 'main',
        localASN: 65001,
        peers: [{ name: 'tor', peerASN: 65000, peerAddress: '127.0.0.52', peerConfigRef: { name: 'tor' } }],
      },
    ],
  },
}
const peerConfig = {
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumBGPPeerConfig',
  metadata: { name: 'tor' },
  spec: { transport: { peerPort: port }, families: [{ afi: 'ipv4', safi: 'unicast', advertisements: {} }] },
}
const advertisement = {
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumBGPAdvertisement',
  metadata: { name: 'all' },
  spec: {
    advertisements: [{ advertisementType: 'Service', service: { addresses: ['LoadBalancerIP'] }, selector: {} }],
  },
}
const pool = {
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumLoadBalancerIPPool',
  metadata: { name: 'blue' },
  spec: { blocks: [{ cidr: '203.0.113.0/28' }] },
}
const serviceOf = (name: string, nodeName: string, spec: object = {}): readonly object[] => [
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'default' },
    spec: { type: 'LoadBalancer', allocateLoadBalancerNodePorts: false, ports: [{ port: 80 }], ...spec },
  },
  {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: `${name}-1`, namespace: 'default', labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['10.1.1.5'], nodeName, conditions: { ready: true } }],
    ports: [{ port: 8080, protocol: 'TCP' }],
  },
]

interface Status {
  readonly bgpInstances?: readonly {
    readonly name: string
    readonly peers: readonly {
      readonly name: string
      readonly peeringState: string
      readonly routeCount?: readonly { readonly advertised: number }[]
    }[]
  }[]
  readonly conditions?: readonly { readonly type: string; readonly status: string; readonly message: string }[]
}

let cluster: Cluster
const running = new Map<string, ChildProcess>()
const outputs = new Map<string, string>()

function run(name: string, args: readonly string[]): void {
  const child = spawn(herald, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  running.set(name, child)
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      outputs.set(name, `${outputs.get(name) ?? ''}${text}`)
    })
}

function runAgent(name: string): void {
  const file = (what: string): string => join(cluster.folder, `${name}-${what}`)
  const flags = ['--datapath', 'none', '--bgp-listen', 'none', '--http', 'none']
  const own = ['--node-name', name, '--state-dir', file('state'), '--socket', file('sock')]
  run(name, ['agent', ...own, ...flags, '--kubeconfig', cluster.kubeconfigOf('agent')])
}

function runOperator(): void {
  const flags = ['--kubeconfig', cluster.kubeconfigOf('operator'), '--http', 'none', '--identity', 'one']
  run('operator', ['operator', ...flags, '--lease-namespace', 'herald'])
}

async function end(name: string, signal: NodeJS.Signals): Promise<void> {
  const child = running.get(name)
  running.delete(name)
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
  child.kill(signal)
  await once(child, 'exit')
}

async function statusOf(name: string): Promise<Status> {
  const text = await cluster.kubectl(['get', 'cbgpnode', name, '-o', 'json', '--ignore-not-found'])
  return text === '' ? {} : (JSON.parse(text).status ?? {})
}

async function eventually(what: string, check: () => Promise<boolean>): Promise<void> {
  await waitFor(what, check, { deadlineMs: 45_000, everyMs: 300 }).catch((error: unknown) => {
    const said = [...outputs].map(([name, text]) => `${name}: ${text.slice(-1500)}`)
    assert.fail(`${String(error)}\n${said.join('\n')}`)
  })
}

const peersOf = ({ bgpInstances = [] }: Status): string =>
  bgpInstances
    .flatMap(({ name, peers }) =>
      peers.map((peer) => `${name}/${peer.name} ${peer.peeringState} ${peer.routeCount?.[0]?.advertised ?? '-'}`),
    )
    .join()

async function says(name: string, what: string): Promise<void> {
  let said = ''
  const isSaid = async (): Promise<boolean> => {
    said = peersOf(await statusOf(name))
    return said === what
  }
  await eventually(name, isSaid).catch((error: unknown) => assert.fail(`said: ${said}; ${String(error)}`))
}

/** The rules of a ClusterRole of the chart. */
function chartRules(component: string): readonly Rule[] {
  const text = readFileSync(join(root, 'deploy/herald.yaml'), 'utf8')
  const found = parseAllDocuments(text)
    .map((document): { kind?: string; metadata?: { name?: string }; rules?: readonly Rule[] } => document.toJS() ?? {})
    .find(({ kind, metadata }) => kind === 'ClusterRole' && metadata?.name?.endsWith(component))
  assert.ok(found?.rules)
  return found.rules
}

before(async () => {
  if (binaries === undefined) return
  cluster = await startCluster(binaries)
  const kinds = [
    'CiliumBGPPeeringPolicy',
    'CiliumBGPNodeConfig',
    'CiliumLoadBalancerIPPool',
    'CiliumBGPClusterConfig',
    'CiliumBGPPeerConfig',
    'CiliumBGPAdvertisement',
  ] as const
  await cluster.apply(
    list([{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'herald' } }, ...kinds.map((kind) => crdOf(kind))]),
  )
  await cluster.kubectl(['wait', '--for=condition=Established', '--timeout=60s', '--all', 'crd'])
  const secrets = { apiGroups: [''], resources: ['secrets'], verbs: ['list', 'watch'] }
  await cluster.apply(
    list([
      roleOf('agent', [...chartRules('agent'), secrets]),
      roleOf('operator', chartRules('operator')),
      roleOf('operator', leaseRules, 'herald'),
    ]),
  )
  for (const user of ['agent', 'operator'])
    await cluster.kubectl(['create', 'clusterrolebinding', user, `--clusterrole=${user}`, `--user=${user}`])
  await cluster.kubectl(['create', 'rolebinding', 'operator', '-n', 'herald', '--role=operator', '--user=operator'])
  await cluster.apply(list([node('node1'), node('node2'), policy, clusterConfig, peerConfig, advertisement, pool]))
  await cluster.apply(
    list([...serviceOf('web', 'node1'), ...serviceOf('local', 'node2', { externalTrafficPolicy: 'Local' })]),
  )
  for (const router of routers.values()) await router.start()
  runOperator()
  runAgent('node1')
  runAgent('node2')
})

after(async () => {
  for (const name of [...running.keys()]) await end(name, 'SIGKILL')
  if (skip === false)
    for (const { speaker } of routers.values()) speaker.handle({ type: 'stop', mode: 'shutdown', text: '' })
  await cluster?.stop()
})

test('each agent tells the cluster of its sessions, whichever family of configuration asks for them', {
  skip,
}, async () => {
  await says('node1', '65001/127.0.0.51 established 1')
  await says('node2', 'main/tor established 2')
  const { conditions = [] } = await statusOf('node1')
  assert.deepEqual(
    conditions.map(({ type, status }) => [type, status]),
    [
      ['herald.dev/Healthy', 'True'],
      ['cilium.io/BGPReconcileError', 'False'],
    ],
  )
  const columns = await cluster.kubectl(['get', 'cbgpnode'])
  assert.match(columns, /node1 +65001 +127\.0\.0\.51 +established +True/)
})

/** What a verb prints, and its exit code. */
function ask(...words: readonly string[]): Promise<{ readonly code: number; readonly stdout: string }> {
  const args = [...words, '--cluster', '--kubeconfig', cluster.kubeconfig]
  return new Promise((resolve) => {
    execFile(herald, args, (error, stdout) => resolve({ code: Number(error?.code ?? 0), stdout }))
  })
}

test('one question is enough: --cluster says what every node does', { skip }, async () => {
  const peers = await ask('bgp', 'peers')
  assert.equal(peers.code, 0)
  assert.match(peers.stdout, /^node1 +65001 +65000 +127\.0\.0\.51 +Established +\d+s +ipv4\/unicast +0 +1$/m)
  assert.match(peers.stdout, /^node2 +65001 +65000 +127\.0\.0\.52 +Established +\d+s +ipv4\/unicast +0 +2$/m)
  const status = await ask('status', '-o', 'json', '--context', 'admin')
  assert.equal(status.code, 0)
  assert.deepEqual(
    JSON.parse(status.stdout).map(({ node: name, health }: { node: string; health: string }) => [name, health]),
    [
      ['node1', 'ok'],
      ['node2', 'ok'],
    ],
  )
  await cluster.apply(list([node('node3')]))
  const three = await ask('status')
  assert.equal(three.code, 1)
  assert.match(three.stdout, /^node3 +unknown +0\/0 +0 +no configuration applies to this node/m)
  assert.equal((await ask('status', '--context', 'nowhere')).code, 1)
})

test('a session that ends is told within seconds', { skip }, async () => {
  routers.get('node2')?.speaker.handle({ type: 'stop', mode: 'shutdown', text: 'for a test' })
  await eventually('node2', async () => !peersOf(await statusOf('node2')).includes('established'))
  const { conditions = [] } = await statusOf('node2')
  assert.match(conditions[0]?.message ?? '', /^0 of 1 sessions are established; peer 127\.0\.0\.52: /)
})

test('what nobody configures any more says nothing any more', { skip }, async () => {
  await cluster.kubectl(['delete', 'ciliumbgpclusterconfig', 'rack2'])
  await eventually(
    'node2',
    async () => (await cluster.kubectl(['get', 'cbgpnode', '-o', 'name'])).trim().split('\n').length === 1,
  )
})
