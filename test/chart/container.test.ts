/**
 * The pods of the chart in a container runtime, on the image: with the root file system, capabilities, system calls and
 * mounts that a kubelet would give them, and a real API server. A router and a client are beside the node.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { errorTable } from '../../src/errors.ts'
import { mountBpffs, unmountBpffs } from '../../src/sys/mount.ts'
import { presentBinaries } from '../apiserver/binaries.ts'
import { type Cluster, startCluster } from '../apiserver/cluster.ts'
import { enterNetwork, ip } from '../datapath/network.ts'
import { Router } from '../e2e/router.ts'
import { waitFor } from '../wait.ts'
import { chart, helm, skip as noHelm } from './helm.ts'
import { layOutImage, listOf, skip as noImage } from './image.ts'
import { Pod, type Place, type PodSpec, whyNoPods } from './pod.ts'

const binaries = presentBinaries()
const skip = whyNot()

function whyNot(): string | false {
  if (binaries === undefined) return 'no kube-apiserver here (see test/apiserver/binaries.ts)'
  if (noHelm !== false) return noHelm
  if (noImage !== false) return noImage
  return whyNoPods() ?? false
}

const namespace = 'herald-system'
const [host, nodeAddress] = ['192.0.2.2', '192.0.2.1']
const router = new Router(host, 179, nodeAddress)
const routes = [`10.1.1.0/24 via ${nodeAddress}`, `203.0.113.0/32 via ${nodeAddress}`]
/** Roots of images that an engine has built, the older one first (CONTRIBUTING.md); else one is laid out here. */
const built = process.env['HERALD_IMAGES']?.split(':') ?? []

const objects: readonly object[] = [
  {
    ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumLoadBalancerIPPool', metadata: { name: 'blue' } },
    spec: { blocks: [{ cidr: '203.0.113.0/28' }] },
  },
  {
    ...{ apiVersion: 'cilium.io/v2alpha1', kind: 'CiliumBGPPeeringPolicy', metadata: { name: 'rack' } },
    spec: {
      nodeSelector: {},
      virtualRouters: [
        {
          localASN: 65001,
          exportPodCIDR: true,
          serviceSelector: {},
          neighbors: [
            {
              peerAddress: `${host}/32`,
              peerASN: 65000,
              gracefulRestart: { enabled: true, restartTimeSeconds: 60 },
              families: [{ afi: 'ipv4', safi: 'unicast' }],
            },
          ],
        },
      ],
    },
  },
  {
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'web', namespace: 'default' } },
    spec: { type: 'LoadBalancer', allocateLoadBalancerNodePorts: false, ports: [{ port: 80 }] },
  },
  {
    ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice' },
    metadata: { name: 'web-1', namespace: 'default', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['10.1.1.5'], nodeName: 'node1', conditions: { ready: true } }],
    ports: [{ port: 8080, protocol: 'TCP' }],
  },
]

let work: string
let image: string
let cluster: Cluster
let spaces: readonly ChildProcess[] = []
const pods = new Set<Pod>()
const file = (name: string): string => join(work, name)
const networkOf = (child: ChildProcess | undefined): string => `/proc/${child?.pid}/ns/net`

/** A network of its own, held until its standard input ends. */
async function makeNetwork(): Promise<ChildProcess> {
  const child = spawn('unshare', ['--net', 'sh', '-c', 'ip link set lo up && echo made && exec cat'])
  await once(child.stdout, 'data')
  return child
}

/** This process is the router's and the client's host; behind the node is a pod of the Service. */
async function layNetworks(): Promise<void> {
  enterNetwork()
  spaces = [await makeNetwork(), await makeNetwork()]
  const [node, pod] = spaces
  const inside = (space: ChildProcess | undefined, ...words: readonly string[]): unknown =>
    execFileSync('nsenter', [`--net=${networkOf(space)}`, ...words])
  ip('link', 'add', 'up1', 'type', 'veth', 'peer', 'name', 'up0', 'netns', String(node?.pid))
  inside(node, 'ip', 'link', 'add', 'pod0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(pod?.pid))
  ip('address', 'add', `${host}/24`, 'dev', 'up1')
  ip('link', 'set', 'up1', 'up')
  for (const [space, device, address] of [
    [node, 'up0', `${nodeAddress}/24`],
    [node, 'pod0', '10.1.1.1/24'],
    [pod, 'eth0', '10.1.1.5/24'],
  ] as const) {
    inside(space, 'ip', 'address', 'add', address, 'dev', device)
    inside(space, 'ip', 'link', 'set', device, 'up')
  }
  inside(node, 'ip', 'route', 'add', 'default', 'via', host)
  inside(node, 'sysctl', '-qw', 'net.ipv4.ip_forward=1')
  inside(pod, 'ip', 'route', 'add', 'default', 'via', '10.1.1.1')
  ip('route', 'add', '203.0.113.0/28', 'via', nodeAddress)
}

/** The backend: it answers, as long as its network is there. */
async function startBackend(): Promise<ChildProcess> {
  const program = "require('node:http').createServer((_, to) => to.end('served')).listen(8080, () => console.log('up'))"
  const child = spawn('nsenter', [`--net=${networkOf(spaces[1])}`, process.execPath, '-e', program])
  await once(child.stdout, 'data')
  return child
}

/** The pod template of a workload, as the API server has it. */
async function templateOf(kind: string, name: string): Promise<PodSpec> {
  const text = await cluster.kubectl(['get', kind, name, '-n', namespace, '-o', 'json'])
  const { spec }: { readonly spec: { readonly template: { readonly spec: PodSpec } } } = JSON.parse(text)
  return spec.template.spec
}

async function startPod(
  part: 'agent' | 'operator',
  name: string,
  more: Partial<Place> = {},
  template?: PodSpec,
): Promise<Pod> {
  const spec = template ?? (await templateOf(part === 'agent' ? 'daemonset' : 'deployment', `herald-${part}`))
  const pod = new Pod(spec, {
    folder: file(name),
    node: file('node'),
    image,
    entrypoint: listOf('ENTRYPOINT'),
    network: part === 'agent' ? networkOf(spaces[0]) : `/proc/${process.pid}/ns/net`,
    fields: { 'spec.nodeName': 'node1', 'metadata.name': name, 'metadata.namespace': namespace },
    server: { host, port: new URL(cluster.url).port },
    token: (await cluster.kubectl(['create', 'token', `herald-${part}`, '-n', namespace])).trim(),
    authority: readFileSync(cluster.caFile, 'utf8'),
    runtime: 'containerd',
    ...more,
  })
  pods.add(pod)
  return pod
}

/** With what every pod has said. */
function seen<T>(what: string, read: () => T | Promise<T>): Promise<Exclude<T, undefined | false>> {
  const said = (): string => [...pods].map(({ output }) => output.slice(-3000)).join('\n')
  return waitFor(what, read, { deadlineMs: 90_000 }).catch((error: unknown) =>
    assert.fail(`${String(error)}\n${said()}`),
  )
}

/** One connection, one request. */
function ask(): Promise<string> {
  return new Promise((resolve) => {
    const request = get({ host: '203.0.113.0', agent: false, timeout: 2000 }, (answer) => {
      let text = ''
      answer.setEncoding('utf8').on('data', (part: string) => (text += part))
      answer.on('end', () => resolve(text))
    })
    request.on('timeout', () => request.destroy(new Error('no answer within 2 s')))
    request.on('error', (error) => resolve(error.message))
  })
}

before(async () => {
  if (skip !== false || binaries === undefined) return
  work = mkdtempSync(join(tmpdir(), 'herald-container-'))
  image = built[0] ?? layOutImage(work)
  await layNetworks()
  spaces = [...spaces, await startBackend()]
  mkdirSync(file('node/sys/fs/bpf'), { recursive: true })
  mountBpffs(file('node/sys/fs/bpf'))
  cluster = await startCluster(binaries, [], host)
  const into = ['--namespace', namespace, '--create-namespace', '--kubeconfig', cluster.kubeconfig]
  await helm('install', 'herald', chart, ...into, '--set', 'crds.cilium=true,agent.datapath=ebpf')
  await cluster.kubectl(['wait', '--for=condition=Established', '--timeout=60s', 'crd', '--all'])
  const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node1' }, spec: { podCIDRs: ['10.1.1.0/24'] } }
  await cluster.apply(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [node, ...objects] }))
  const status = JSON.stringify({ status: { addresses: [{ type: 'InternalIP', address: nodeAddress }] } })
  await cluster.kubectl(['patch', 'node', 'node1', '--subresource=status', '-p', status])
  await router.start()
})
after(async () => {
  for (const pod of pods) await pod.end('KILL')
  if (skip === false) router.speaker.handle({ type: 'stop', mode: 'shutdown', text: '' })
  await cluster?.stop()
  for (const child of spaces.toReversed()) child.kill('SIGKILL')
  if (work === undefined) return
  if (existsSync(file('node/sys/fs/bpf'))) unmountBpffs(file('node/sys/fs/bpf'))
  rmSync(work, { recursive: true, force: true })
})

let agent: Pod
let operator: Pod

test('where the runtime keeps bpf(2) from it the agent says so, and what to write in the chart', { skip }, async () => {
  const pod = await startPod('agent', 'refused', { runtime: 'cri-o' })
  await seen('the remedy', () => pod.output.includes(errorTable.ERR_BPF_REFUSED))
  await pod.end()
})

test('the operator runs as nobody and gives an address, the agent serves it and tells the router', {
  skip,
}, async () => {
  operator = await startPod('operator', 'operator')
  agent = await startPod('agent', 'first')
  await seen('both routes', async () => (await router.received()).join() === routes.join())
  assert.equal(await ask(), 'served')
  assert.doesNotMatch(agent.output + operator.output, /EPERM|EACCES|EROFS|permission/i)
})

test('every verb runs by exec, and there is nothing else to run', { skip }, async () => {
  const herald = (...words: readonly string[]): ReturnType<Pod['exec']> => agent.exec('herald', ...words)
  for (const words of [
    ['status'],
    ['explain', 'service', 'default/web'],
    ['bgp', 'peers'],
    ['lb', 'list'],
    ['lb', 'maps'],
  ])
    assert.equal((await herald(...words)).code, 0, `${words.join(' ')}: ${(await herald(...words)).output}`)
  assert.match((await herald('lb', 'maps')).output, /^frontends\s/m)
  assert.match((await herald('lb', 'unload')).output, /agent/)
  assert.notEqual((await agent.exec('sh', '-c', 'true')).code, 0)
})

test('an agent of the next image takes over while requests are answered, and no route is withdrawn', {
  skip,
}, async () => {
  let isOver = false
  const answers: string[] = []
  const lost: string[] = []
  const asking = (async () => {
    while (!isOver) answers.push(await ask())
  })()
  const watching = (async () => {
    while (!isOver) {
      const heard = await router.received()
      lost.push(...routes.filter((each) => !heard.includes(each)))
      await new Promise(setImmediate)
    }
  })()
  assert.equal(await agent.end(), 0, agent.output)
  const before = answers.length
  await seen('requests without an agent', () => answers.length > before + 5)
  image = built.at(-1) ?? image
  agent = await startPod('agent', 'second')
  await seen('a session again', () => router.peer?.state === 'Established')
  await seen('the routes again', async () => !(await router.hasStale()))
  const after = answers.length
  await seen('requests with the next agent', () => answers.length > after + 5)
  isOver = true
  await Promise.all([asking, watching])
  assert.deepEqual([...new Set(answers)], ['served'])
  assert.deepEqual(lost, [])
})

test('both end by themselves when they are told to', { skip }, async () => {
  assert.equal(await agent.end(), 0, agent.output)
  assert.equal(await operator.end(), 0, operator.output)
})
