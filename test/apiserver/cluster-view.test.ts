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
import { serviceStatusCrd } from './crds.ts'
import { leaseRules, roleOf, type Rule, statusRules } from './operator-role.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const herald = join(root, 'bin/herald')
const binaries = presentBinaries()
const skip = binaries === undefined ? 'no kube-apiserver here (see test/apiserver/binaries.ts)' : false
const port = 20_000 + (process.pid % 12_000)
const routers = new Map([
  ['node1', new Router('127.0.0.51', port)],
  ['node2', new Router('127.0.0.52', port)],
])
const namespaceOf = (name: string): object => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
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
  const flags = ['--datapath', 'none', '--bgp-listen', 'none', '--http', 'none', '--service-status-namespace', 'herald']
  const own = ['--node-name', name, '--state-dir', file('state'), '--socket', file('sock')]
  run(name, ['agent', ...own, ...flags, '--lease-namespace', 'leases', '--kubeconfig', cluster.kubeconfigOf('agent')])
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
    list([...['herald', 'leases'].map(namespaceOf), ...kinds.map((kind) => crdOf(kind)), serviceStatusCrd]),
  )
  await cluster.kubectl(['wait', '--for=condition=Established', '--timeout=60s', '--all', 'crd'])
  const secrets = { apiGroups: [''], resources: ['secrets'], verbs: ['list', 'watch'] }
  await cluster.apply(
    list([
      roleOf('agent', [...chartRules('agent'), secrets]),
      roleOf('operator', chartRules('operator')),
      roleOf('operator', leaseRules, 'herald'),
      roleOf('agent', leaseRules, 'leases'),
      roleOf('agent', statusRules, 'herald'),
    ]),
  )
  for (const user of ['agent', 'operator'])
    await cluster.kubectl(['create', 'clusterrolebinding', user, `--clusterrole=${user}`, `--user=${user}`])
  for (const [user, space] of [
    ['operator', 'herald'],
    ['agent', 'leases'],
    ['agent', 'herald'],
  ] as const)
    await cluster.kubectl(['create', 'rolebinding', user, '-n', space, `--role=${user}`, `--user=${user}`])
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
      ['herald.dev/ServicesRefused', 'False'],
      ['herald.dev/PastNetfilter', 'Unknown'],
      ['herald.dev/Drained', 'False'],
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
  // Nothing is asked of a node that no configuration selects.
  await cluster.apply(list([node('node3')]))
  const three = await ask('status')
  assert.equal(three.code, 0, three.stdout)
  assert.match(three.stdout, /^node3 +ok +0\/0 +0 +no agent is known to run; no CiliumBGP\w+ selects node node3/m)
  assert.equal((await ask('status', '--context', 'nowhere')).code, 2)
})

interface NodeView {
  readonly node: string
  readonly health: string
  readonly message: string
  readonly silentSeconds?: number
}

async function viewOf(name: string): Promise<NodeView> {
  const { stdout } = await ask('status', '-o', 'json')
  const views: readonly NodeView[] = JSON.parse(stdout)
  return views.find(({ node: each }) => each === name) ?? assert.fail(stdout)
}

const leaseOf = async (name: string): Promise<{ readonly metadata: Record<string, unknown>; readonly spec: object }> =>
  JSON.parse(await cluster.kubectl(['get', 'lease', `herald-agent-${name}`, '-n', 'leases', '-o', 'json']))

test('each agent renews a Lease that goes with its Node, and is told by it', { skip }, async () => {
  const renewals = new Set<unknown>()
  await eventually('the Lease is renewed', async () => {
    renewals.add(Reflect.get((await leaseOf('node1')).spec, 'renewTime'))
    return renewals.size > 1
  })
  const { metadata, spec } = await leaseOf('node1')
  const uid = (await cluster.kubectl(['get', 'node', 'node1', '-o', 'jsonpath={.metadata.uid}'])).trim()
  assert.deepEqual(metadata['ownerReferences'], [{ apiVersion: 'v1', kind: 'Node', name: 'node1', uid }])
  assert.deepEqual([Reflect.get(spec, 'holderIdentity'), Reflect.get(spec, 'leaseDurationSeconds')], ['node1', 40])
  const { silentSeconds } = await viewOf('node1')
  assert.ok(silentSeconds !== undefined && silentSeconds < 20, String(silentSeconds))
})

interface ServiceView {
  readonly ok: boolean
  readonly exists: boolean
  readonly addresses: readonly string[]
  readonly verdicts: readonly { readonly step: string; readonly ok: boolean; readonly code: string }[]
  readonly nodes: readonly {
    readonly node: string
    readonly announces: string
    readonly announcedTo: readonly string[]
    readonly verdicts: readonly { readonly ok: boolean; readonly code: string }[]
  }[]
}

async function explained(...words: readonly string[]): Promise<ServiceView & { readonly code: number }> {
  const { code, stdout } = await ask('explain', 'service', ...words, '-o', 'json')
  return { code, ...JSON.parse(stdout) }
}

const announces = ({ nodes }: ServiceView): string =>
  nodes.map((each) => `${each.node} ${each.announces} ${each.announcedTo.join()}`.trim()).join(', ')

test('explain service --cluster says what every node does with a Service, and why not', { skip }, async () => {
  const web = await explained('web')
  assert.equal(announces(web), 'node1 yes 127.0.0.51, node2 yes 127.0.0.52, node3 no')
  assert.deepEqual([web.code, web.ok, web.addresses.length], [0, true, 1])
  assert.deepEqual(
    web.nodes[2]?.verdicts.filter(({ ok }) => !ok).map(({ code }) => code),
    ['NoPolicy'],
  )
  const local = await explained('local', '-n', 'default')
  assert.equal(announces(local), 'node1 no, node2 yes 127.0.0.52, node3 no')
  assert.equal(local.code, 0, 'a node without an endpoint of it is no failure')
  const { code, stdout } = await ask('explain', 'service', 'default/local')
  assert.equal(code, 0)
  assert.match(stdout, /^service default\/local: announced by 1 of 3 nodes {2}203\.0\.113\.\d of pool blue$/m)
  assert.match(stdout, /^node1 +no +- +\S/m)
  assert.match(stdout, /^node2 +yes +127\.0\.0\.52 +-$/m)
})

/** What the objects of MetalLB's kind say: `node service peers`. */
async function statuses(): Promise<readonly string[]> {
  const fields = ['.status.node', '.status.serviceName', '.status.peers[*]'].map((field) => `{${field}}`).join(' ')
  const text = await cluster.kubectl([
    ...['get', 'servicebgpstatuses', '-n', 'herald', '-o'],
    `jsonpath={range .items[*]}${fields}{"\\n"}{end}`,
  ])
  return text.trim().split('\n').sort()
}

test('agents that are told to say in ServiceBGPStatuses to whom they announce each Service', { skip }, async () => {
  const always = ['node1 web 127.0.0.51', 'node2 local tor', 'node2 web tor']
  await eventually('what there is', async () => (await statuses()).join() === always.join())
  const one = ['-l', 'metallb.io/node=node1,metallb.io/service-name=web,metallb.io/service-namespace=default']
  const get = ['get', 'servicebgpstatuses', '-n', 'herald']
  const columns = await cluster.kubectl([...get, ...one])
  assert.match(columns, /^NAME +NODE +SERVICE NAME +SERVICE NAMESPACE\nbgp-\w+ +node1 +web +default\n$/)
  await cluster.apply(list(serviceOf('more', 'node1')))
  await eventually('one more', async () => (await statuses()).includes('node1 more 127.0.0.51'))
  const versions = [...get, '-o', 'jsonpath={.items[*].metadata.resourceVersion}']
  await end('node1', 'SIGTERM')
  await cluster.kubectl(['delete', 'service', 'more'])
  await eventually('the other node follows', async () => (await statuses()).length === 4)
  const before = await cluster.kubectl([...versions, ...one])
  runAgent('node1')
  await eventually('what is gone meanwhile', async () => (await statuses()).join() === always.join())
  assert.equal(await cluster.kubectl([...versions, ...one]), before)
})

test('explain --cluster of what is not there, has no address, or is no LoadBalancer is a no', { skip }, async () => {
  const none = await explained('nothing')
  assert.deepEqual([none.code, none.exists, none.verdicts[0]?.code], [1, false, 'NotFound'])
  assert.deepEqual([(await explained('web', '-n', 'kube-system')).exists], [false])
  const spec = { type: 'LoadBalancer', loadBalancerIP: '198.51.100.1', ports: [{ port: 80 }] }
  const metadata = { name: 'outside', namespace: 'default' }
  await cluster.apply(list([{ apiVersion: 'v1', kind: 'Service', metadata, spec }]))
  await eventually('the operator says no', async () => {
    const { code, verdicts } = await explained('outside')
    const refused = verdicts.filter(({ step, ok }) => step === 'allocated' && !ok)
    // Not beside what the agents say, which is that no allocator gave it an address yet.
    return code === 1 && refused.map((each) => each.code).join() === 'NoPool'
  })
  const plain = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'plain', namespace: 'default' } }
  await cluster.apply(list([{ ...plain, spec: { ports: [{ port: 80 }] } }]))
  const other = await explained('plain')
  assert.deepEqual([other.code, other.exists, other.nodes.length], [1, true, 0])
  await cluster.kubectl(['delete', 'service', 'outside', 'plain'])
  assert.equal((await ask('explain', 'route', '203.0.113.0/32')).code, 2)
})

test('explain peer --cluster says the session of every node with it', { skip }, async () => {
  const { code, stdout } = await ask('explain', 'peer', '127.0.0.51')
  assert.equal(code, 0)
  assert.match(stdout, /^node1 +65001 +65000 +127\.0\.0\.51 +Established/m)
  assert.doesNotMatch(stdout, /node2/)
  assert.equal((await ask('explain', 'peer', '192.0.2.99')).code, 1)
  assert.equal((await ask('explain', 'peer', 'tor')).code, 2)
})

test('an agent that was killed is no node that is ok, whatever it said last', { skip }, async () => {
  await end('node1', 'SIGKILL')
  const { message } = await viewOf('node1')
  assert.match(message, /1 of 1 sessions are established/)
  // The server's own clock decides: that of the one who asks may be anywhere. Nobody has to wait here for 40 s.
  const { metadata, spec } = await leaseOf('node1')
  const shorter = { ...spec, leaseDurationSeconds: 10, renewTime: '2019-01-01T00:00:00.000000Z' }
  await cluster.kubectl(
    ['replace', '-f', '-'],
    JSON.stringify({ apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata, spec: shorter }),
  )
  const atOnce = await viewOf('node1')
  assert.equal(atOnce.health, 'ok', 'the time that a node wrote says nothing')
  await eventually('node1 is missed', async () => (await viewOf('node1')).health === 'degraded')
  const said = await viewOf('node1')
  assert.match(said.message, /^no word for \d+ s; it said last: 1 of 1 sessions are established/)
  const status = await ask('status')
  assert.equal(status.code, 1)
  assert.match(status.stdout, /^node1 +degraded +1\/1 +1 +no word for \d+ s/m)
  assert.match((await ask('bgp', 'peers')).stdout, /^node1 +65001 +65000 +127\.0\.0\.51 +no word for \d+ s +-/m)
  const web = await explained('web')
  assert.equal(announces(web), 'node1 unknown, node2 yes 127.0.0.52, node3 no')
  assert.equal(web.code, 1)
  assert.equal((await ask('explain', 'peer', '127.0.0.51')).code, 1)
  runAgent('node1')
  await eventually('node1 is back', async () => (await viewOf('node1')).health === 'ok')
})

test('a session that ends is told within seconds', { skip }, async () => {
  routers.get('node2')?.speaker.handle({ type: 'stop', mode: 'shutdown', text: 'for a test' })
  await eventually('node2', async () => !peersOf(await statusOf('node2')).includes('established'))
  assert.equal(announces(await explained('local')), 'node1 no, node2 no, node3 no')
  assert.equal((await explained('local')).code, 1)
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
