/**
 * `node scripts/code.ts FOLDER`: has the engine compile the built program in a folder, and keeps what it made of it
 * (src/sys/parts.ts). The agent is run as it runs on a node: on an API server in this process that has some objects,
 * and on a folder of the same, until all of them are in force. A process of its own, since whoever builds waits for it.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import { agentFlags } from '../src/cli/hand-over.ts'
import { HeraldError } from '../src/errors.ts'
import { certificate, FakeApiServer } from '../test/k8s/apiserver/fake-server.ts'

/** So that functions are called often enough to be compiled whole. */
const services = 50
/** On the busiest of machines. */
const patienceMs = 120_000
const keepCode = fileURLToPath(new URL('keep-code.ts', import.meta.url))

interface Stored {
  /** Under which an API server has objects of its kind. */
  readonly path: string
  readonly object: Readonly<Record<string, unknown>>
}

function* objects(): Generator<Stored> {
  const named = (name: string): object => ({ name, namespace: 'default', uid: name })
  const wide = (name: string): object => ({ name, uid: name })
  yield {
    path: '/api/v1/nodes',
    object: {
      ...{ apiVersion: 'v1', kind: 'Node', metadata: wide('node1') },
      spec: { podCIDRs: ['10.1.1.0/24'] },
      status: { addresses: [{ type: 'InternalIP', address: '192.0.2.9' }] },
    },
  }
  yield {
    path: '/apis/cilium.io/v2/ciliumloadbalancerippools',
    object: {
      ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumLoadBalancerIPPool', metadata: wide('pool') },
      spec: { blocks: [{ cidr: '198.51.100.0/24' }] },
    },
  }
  const neighbors = [{ peerAddress: '192.0.2.1/32', peerASN: 65000, families: [{ afi: 'ipv4', safi: 'unicast' }] }]
  const annotations = { 'herald.dev/neighbors': '{"*": {nextHop: 192.0.2.9}}' }
  yield {
    path: '/apis/cilium.io/v2alpha1/ciliumbgppeeringpolicies',
    object: {
      ...{ apiVersion: 'cilium.io/v2alpha1', kind: 'CiliumBGPPeeringPolicy' },
      metadata: { ...wide('rack'), annotations },
      spec: { nodeSelector: {}, virtualRouters: [{ localASN: 65001, serviceSelector: {}, neighbors }] },
    },
  }
  for (let i = 0; i < services; i++) {
    yield {
      path: '/api/v1/services',
      object: {
        ...{ apiVersion: 'v1', kind: 'Service', metadata: named(`web-${i}`) },
        spec: { type: 'LoadBalancer', externalTrafficPolicy: 'Local', ipFamilies: ['IPv4'], ports: [{ port: 80 }] },
        status: { loadBalancer: { ingress: [{ ip: `198.51.100.${i + 1}`, ipMode: 'VIP' }] } },
      },
    }
    yield {
      path: '/apis/discovery.k8s.io/v1/endpointslices',
      object: {
        ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice' },
        metadata: { ...named(`web-${i}`), labels: { 'kubernetes.io/service-name': `web-${i}` } },
        addressType: 'IPv4',
        endpoints: [{ addresses: ['10.1.1.5'], nodeName: 'node1', conditions: { ready: true } }],
        ports: [{ port: 8080, protocol: 'TCP' }],
      },
    }
  }
}

function kubeconfigFor(server: URL, folder: string): string {
  const path = join(folder, 'kubeconfig')
  const authority = Buffer.from(certificate).toString('base64')
  const named = { cluster: 'c', context: 'x', user: 'u' }
  const config = {
    'current-context': named.context,
    contexts: [{ name: named.context, context: named }],
    clusters: [{ name: named.cluster, cluster: { server: server.href, 'certificate-authority-data': authority } }],
    users: [{ name: named.user, user: { token: 'one' } }],
  }
  writeFileSync(path, JSON.stringify(config))
  return path
}

/** Has the agent keep its code beside the program. Rejects with ERR_USAGE where the program does not run. */
async function run(program: string, folder: string, source: readonly string[]): Promise<void> {
  const places = ['--state-dir', join(folder, 'state'), '--socket', join(folder, 'herald.sock')]
  const words = ['agent', '--node-name', 'node1', ...source, '--datapath', 'none', ...places]
  const quiet = ['--bgp-listen', 'none', '--http', 'none']
  const flags = [...agentFlags, '--import', keepCode]
  const agent = spawn(process.execPath, [...flags, join(program, 'start.cjs'), ...words, ...quiet], {
    env: { PATH: process.env['PATH'] },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: patienceMs,
  })
  let said = ''
  let isDone = false
  const hear = (text: string): void => {
    said += text
    if (isDone || !said.includes('all objects read and applied')) return
    isDone = true
    agent.kill('SIGTERM')
  }
  for (const stream of [agent.stdout, agent.stderr]) stream.setEncoding('utf8').on('data', hear)
  const [code] = await once(agent, 'close')
  if (code !== 0) throw new HeraldError('ERR_USAGE', `the built agent ended with ${code}:\n${said}`)
}

/** What the first run kept is the code of the second, which keeps that beside its own. */
async function compile(program: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'herald-code-'))
  const server = new FakeApiServer()
  try {
    const manifests = join(folder, 'manifests')
    mkdirSync(manifests)
    const all = [...objects()]
    for (const { path, object } of all) server.store(path, object)
    writeFileSync(join(manifests, 'all.yaml'), all.map(({ object }) => stringify(object)).join('---\n'))
    const kubeconfig = kubeconfigFor((await server.start()).server, folder)
    await run(program, folder, ['--kubeconfig', kubeconfig])
    await run(program, folder, ['--manifests', manifests])
  } finally {
    await server.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

await compile(process.argv[2] ?? '.')
