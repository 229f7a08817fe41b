/**
 * The agent as a process on a real API server, with a router beside it: addresses that another allocator wrote into
 * the status are announced, and what the server does takes no route down.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Router } from '../e2e/router.ts'
import { waitFor } from '../wait.ts'
import { presentBinaries } from './binaries.ts'
import { type Cluster, startCluster } from './cluster.ts'
import { policyCrd, poolCrd } from './crds.ts'

const herald = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'bin/herald')
const binaries = presentBinaries()
const skip = binaries === undefined ? 'no kube-apiserver here (see test/apiserver/binaries.ts)' : false
const port = 20_000 + (process.pid % 12_000)
const routerAddress = '127.0.0.31'

const policy = {
  apiVersion: 'cilium.io/v2alpha1',
  kind: 'CiliumBGPPeeringPolicy',
  metadata: { name: 'rack', annotations: { 'herald.dev/neighbors': '{"*": {nextHop: 192.0.2.9}}' } },
  spec: {
    nodeSelector: {},
    virtualRouters: [
      {
        localASN: 65001,
        exportPodCIDR: true,
        serviceSelector: {},
        neighbors: [
          {
            peerAddress: `${routerAddress}/32`,
            peerPort: port,
            peerASN: 65000,
            holdTimeSeconds: 9,
            keepAliveTimeSeconds: 3,
            families: [{ afi: 'ipv4', safi: 'unicast' }],
          },
        ],
      },
    ],
  },
}
const pool = {
  apiVersion: 'cilium.io/v2alpha1',
  kind: 'CiliumLoadBalancerIPPool',
  metadata: { name: 'blue' },
  spec: { blocks: [{ cidr: '203.0.113.0/28' }] },
}
const node = {
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name: 'node1' },
  spec: { podCIDRs: ['10.1.1.0/24'] },
}
const status = { addresses: [{ type: 'InternalIP', address: '192.0.2.9' }] }

const serviceOf = (name: string): readonly object[] => [
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'default' },
    spec: { type: 'LoadBalancer', allocateLoadBalancerNodePorts: false, ports: [{ port: 80 }] },
  },
  {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: `${name}-1`, namespace: 'default', labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['10.1.1.5'], nodeName: 'node1', conditions: { ready: true } }],
    ports: [{ port: 8080, protocol: 'TCP' }],
  },
]
const list = (objects: readonly object[]): string => JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects })

let cluster: Cluster
let agent: ChildProcess | undefined
let output = ''
const router = new Router(routerAddress, port)

function startAgent(): void {
  const file = (name: string): string => join(cluster.folder, name)
  const flags = ['--datapath', 'none', '--bgp-listen', 'none', '--http', 'none', '--state-dir', file('state')]
  agent = spawn(
    herald,
    [
      'agent',
      '--node-name',
      'node1',
      '--kubeconfig',
      cluster.kubeconfigOf('agent'),
      '--socket',
      file('sock'),
      ...flags,
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  for (const stream of [agent.stdout, agent.stderr])
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
}

/** What a verb prints, and its exit code. */
function ask(...words: readonly string[]): Promise<{ readonly code: number; readonly stdout: string }> {
  const args = [...words, '--socket', join(cluster.folder, 'sock')]
  return new Promise((resolve) => {
    execFile(herald, args, (error, stdout) => resolve({ code: Number(error?.code ?? 0), stdout }))
  })
}

/** Kinds that the agent cannot read now, as status has them. */
async function unread(): Promise<readonly string[]> {
  const { problems }: { readonly problems: readonly { readonly code: string; readonly object: string }[] } = JSON.parse(
    (await ask('status', '-o', 'json')).stdout,
  )
  return problems.filter(({ code }) => code === 'Unreadable').map(({ object }) => object)
}

const give = (name: string, ip: string): Promise<unknown> =>
  cluster.kubectl([
    ...['patch', 'service', name, '--subresource=status', '--type=merge', '-p'],
    JSON.stringify({ status: { loadBalancer: { ingress: [{ ip }] } } }),
  ])

async function hears(what: string, routes: readonly string[]): Promise<void> {
  let heard: readonly string[] = []
  const isHeard = async (): Promise<boolean> => {
    heard = await router.received()
    return heard.join() === routes.join()
  }
  await waitFor(what, isHeard).catch((error: unknown) => {
    assert.fail(`${String(error)}; heard: ${heard.join()}; the agent: ${output.slice(-2000)}`)
  })
}

before(async () => {
  if (binaries === undefined) return
  cluster = await startCluster(binaries)
  await cluster.apply(list([policyCrd, poolCrd]))
  for (const crd of ['ciliumbgppeeringpolicies', 'ciliumloadbalancerippools'])
    await cluster.kubectl(['wait', '--for=condition=Established', `crd/${crd}.cilium.io`])
  const core = '--resource=services,nodes,namespaces,secrets'
  await cluster.kubectl(['create', 'clusterrole', 'agent', '--verb=list,watch', core])
  const more = [
    { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list', 'watch'] },
    { apiGroups: ['cilium.io', 'metallb.io'], resources: ['*'], verbs: ['list', 'watch'] },
  ]
  const metadata = { name: 'agent-more' }
  await cluster.apply(
    JSON.stringify({ apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRole', metadata, rules: more }),
  )
  for (const role of ['agent', 'agent-more'])
    await cluster.kubectl(['create', 'clusterrolebinding', role, `--clusterrole=${role}`, '--user=agent'])
  await cluster.apply(list([policy, pool, node]))
  const patch = JSON.stringify({ status })
  await cluster.kubectl(['patch', 'node', 'node1', '--subresource=status', '--type=merge', '-p', patch])
  await router.start()
  startAgent()
})

after(async () => {
  agent?.kill('SIGKILL')
  if (skip === false) router.speaker.handle({ type: 'stop', mode: 'shutdown', text: '' })
  await cluster?.stop()
})

test('an address in the status is announced, one of no pool is not, and the PodCIDR is', { skip }, async () => {
  await cluster.apply(list([...serviceOf('web'), ...serviceOf('stray'), ...serviceOf('waits')]))
  await give('web', '203.0.113.5')
  await give('stray', '198.51.100.5')
  await hears('the routes', ['10.1.1.0/24 via 192.0.2.9', '203.0.113.5/32 via 192.0.2.9'])
  assert.match((await ask('explain', 'service', 'default/stray')).stdout, /NotInPool|is in no pool/)
  assert.match((await ask('explain', 'service', 'default/waits')).stdout, /no allocator has given it one/)
  const { source } = JSON.parse((await ask('status', '-o', 'json')).stdout)
  assert.equal(source.kind, 'kubernetes')
})

test('a server that is gone takes no route down, status says so, and what happened meanwhile follows', {
  skip,
}, async () => {
  const before = router.transitions.length
  cluster.signal('apiserver', 'SIGKILL')
  await waitFor('status says so', async () => (await unread()).includes('Service'))
  assert.equal((await ask('status')).code, 1)
  assert.deepEqual(await router.received(), ['10.1.1.0/24 via 192.0.2.9', '203.0.113.5/32 via 192.0.2.9'])
  await cluster.restart('apiserver')
  await give('waits', '203.0.113.6')
  await hears(
    'the third route',
    ['10.1.1.0/24', '203.0.113.5/32', '203.0.113.6/32'].map((prefix) => `${prefix} via 192.0.2.9`),
  )
  assert.equal(router.transitions.length, before, 'the session stayed')
  await waitFor('all is read again', async () => (await unread()).length === 0, { deadlineMs: 60_000 })
})

test('a deleted Service is withdrawn, and a policy that is deleted ends its session', { skip }, async () => {
  await cluster.kubectl(['delete', 'service', 'waits'])
  await hears('the withdrawal', ['10.1.1.0/24 via 192.0.2.9', '203.0.113.5/32 via 192.0.2.9'])
  await cluster.kubectl(['delete', 'ciliumbgppeeringpolicy', 'rack'])
  await waitFor('the end', () => router.peer?.state !== 'Established')
})
