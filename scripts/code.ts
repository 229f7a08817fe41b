/**
 * `node scripts/code.ts FOLDER`: has the engine compile the built program in a folder, and keeps what it made of it
 * (src/sys/parts.ts). The agent is run as it runs on a node: on an API server in this process that has some objects,
 * until all of them are in force. A process of its own, since whoever builds waits for it.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { AgentOptions } from '../src/agent/options.ts'
import { agentFlags, withOptions } from '../src/cli/hand-over.ts'
import { HeraldError } from '../src/errors.ts'
import { certificate, FakeApiServer } from '../test/k8s/apiserver/fake-server.ts'

/** So that functions are called often enough to be compiled whole. */
const services = 50
/** On the busiest of machines. */
const patienceMs = 120_000
const keepCode = fileURLToPath(new URL('keep-code.ts', import.meta.url))

function fill(server: FakeApiServer): void {
  const named = (name: string): object => ({ name, namespace: 'default', uid: name })
  server.store('/api/v1/nodes', {
    metadata: { ...named('node1'), namespace: undefined },
    spec: { podCIDRs: ['10.1.1.0/24'] },
    status: { addresses: [{ type: 'InternalIP', address: '192.0.2.9' }] },
  })
  server.store('/apis/cilium.io/v2/ciliumloadbalancerippools', {
    metadata: { ...named('pool'), namespace: undefined },
    spec: { blocks: [{ cidr: '198.51.100.0/24' }] },
  })
  const neighbors = [{ peerAddress: '192.0.2.1/32', peerASN: 65000, families: [{ afi: 'ipv4', safi: 'unicast' }] }]
  server.store('/apis/cilium.io/v2alpha1/ciliumbgppeeringpolicies', {
    metadata: { ...named('rack'), namespace: undefined },
    spec: { nodeSelector: {}, virtualRouters: [{ localASN: 65001, serviceSelector: {}, neighbors }] },
  })
  for (let i = 0; i < services; i++) {
    server.store('/api/v1/services', {
      metadata: named(`web-${i}`),
      spec: { type: 'LoadBalancer', externalTrafficPolicy: 'Local', ipFamilies: ['IPv4'], ports: [{ port: 80 }] },
      status: { loadBalancer: { ingress: [{ ip: `198.51.100.${i + 1}`, ipMode: 'VIP' }] } },
    })
    server.store('/apis/discovery.k8s.io/v1/endpointslices', {
      metadata: { ...named(`web-${i}`), labels: { 'kubernetes.io/service-name': `web-${i}` } },
      addressType: 'IPv4',
      endpoints: [{ addresses: ['10.1.1.5'], nodeName: 'node1', conditions: { ready: true } }],
      ports: [{ port: 8080, protocol: 'TCP' }],
    })
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

/** Rejects with ERR_USAGE where the program does not run. */
async function compile(program: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'herald-code-'))
  const server = new FakeApiServer()
  fill(server)
  const kubeconfig = kubeconfigFor((await server.start()).server, folder)
  const options: AgentOptions = {
    nodeName: 'node1',
    source: { kind: 'kubernetes', kubeconfig },
    ...{
      datapath: 'none',
      attach: 'auto',
      datapathMode: 'stack',
      bpffs: join(folder, 'bpf'),
      remoteBackends: 'tunnel',
      flowEvents: 'observed',
    },
    ...{ stateDir: join(folder, 'state'), socket: join(folder, 'herald.sock'), leaseNamespace: 'default' },
    ...{ bgpSecretsNamespace: 'default', requireLoadBalancerClass: false, ignoreExcludeLb: false, withdrawOn: [] },
    ...{ kubeProxyReplacement: false, nodeportAddresses: 'primary' },
    ...{ metricAliases: false, socketLb: false, cgroupRoot: '/sys/fs/cgroup', logLevel: 'info', logFormat: 'json' },
  }
  const words = [...agentFlags, '--import', keepCode, join(program, 'start.cjs')]
  const agent = spawn(process.execPath, words, {
    env: withOptions({ PATH: process.env['PATH'] }, options),
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
  await server.stop()
  rmSync(folder, { recursive: true, force: true })
  if (code !== 0) throw new HeraldError('ERR_USAGE', `the built agent ended with ${code}:\n${said}`)
}

await compile(process.argv[2] ?? '.')
