/**
 * An agent in the place of kube-proxy, on the real kernel: external IPs and node ports for a client outside and for
 * sockets on the node, while everything else of the node stays its own.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { findCgroup } from '../../src/sys/cgroup.ts'
import { waitFor } from '../wait.ts'
import { whyNoKernel } from './fixture.ts'
import { type Actor, client, deployRack, ipv6, pods, type Rack, uplink } from './rack.ts'

const skip = whyNoKernel()
const herald = fileURLToPath(new URL('../../bin/herald', import.meta.url))
const nodeAddress = '198.51.100.1'
const nodeAddress6 = '2001:db8:51:100::1'
const external = '203.0.113.7'
const [nodePort, listened] = [30_080, 8_022]

const slice = (name: string, type: 'IPv4' | 'IPv6', address: string): string => `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ${name}-${type.toLowerCase()}, labels: {kubernetes.io/service-name: ${name}}}
addressType: ${type}
endpoints: [{addresses: ["${address}"], nodeName: node1}]
ports: [{name: http, port: 8080}, {name: echo, protocol: UDP, port: 8080}]
`
const manifests = `apiVersion: v1
kind: Node
metadata: {name: node1}
status:
  addresses: [{type: InternalIP, address: ${nodeAddress}}, {type: InternalIP, address: "${nodeAddress6}"}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  clusterIP: 10.96.0.10
  ipFamilies: [IPv4, IPv6]
  externalIPs: [${external}]
  ports:
  - {name: http, port: 80, nodePort: ${nodePort}}
  - {name: echo, protocol: UDP, port: 53, nodePort: ${nodePort}}
${slice('web', 'IPv4', pods[0])}${slice('web', 'IPv6', ipv6.pods[0])}---
apiVersion: v1
kind: Service
metadata: {name: taker}
spec: {type: NodePort, clusterIP: 10.96.0.11, ports: [{name: http, port: 80, nodePort: ${listened}}]}
${slice('taker', 'IPv4', pods[1])}---
apiVersion: v1
kind: Service
metadata: {name: thief}
spec: {clusterIP: 10.96.0.12, externalIPs: [${nodeAddress}], ports: [{name: http, port: ${listened}}]}
${slice('thief', 'IPv4', pods[1])}`

interface Status {
  readonly services: { readonly served?: number }
  readonly kubeProxy: { readonly isReplaced: boolean; readonly nodePortAddresses: readonly string[] }
  readonly datapath: { readonly interfaces: readonly string[] }
  readonly socketLb: { readonly isDone: boolean; readonly frontends: number }
}

interface World {
  readonly rack: Rack
  readonly group: string
  /** The agent. */
  start(): void
  ask(...words: readonly string[]): Promise<string>
  status(): Promise<Status | undefined>
}

function world(t: TestContext): World {
  const rack = deployRack(t)
  const folder = mkdtempSync(join(tmpdir(), 'herald-kube-proxy-'))
  const group = join(findCgroup('/sys/fs/cgroup').path, `herald-kube-proxy-${process.pid}`)
  const file = (name: string): string => join(folder, name)
  mkdirSync(group)
  mkdirSync(file('manifests'))
  writeFileSync(file('manifests/all.yaml'), manifests)
  t.after(() => {
    rmdirSync(group)
    rmSync(folder, { recursive: true, force: true })
  })
  const ask: World['ask'] = (...words) =>
    new Promise((resolve) => execFile(herald, [...words, '--socket', file('sock')], (_, stdout) => resolve(stdout)))
  const start = (): void => {
    const replacing = ['--kube-proxy-replacement', '--cgroup-root', group, '--interfaces', `^${uplink}$`]
    const places = ['--state-dir', file('state'), '--socket', file('sock'), '--bpffs', rack.bpffs]
    const rest = ['--node-name', 'node1', '--http', 'none', '--bgp-listen', 'none', '--datapath', 'ebpf']
    rack.start('node', [herald, 'agent', '--manifests', file('manifests'), ...rest, ...places, ...replacing])
  }
  const status = async (): Promise<Status | undefined> => {
    const text = await ask('status', '-o', 'json')
    return text === '' ? undefined : JSON.parse(text)
  }
  return { rack, group, start, ask, status }
}

/** Sockets of who serves or asks on the node are in the group that is led, as pods are in that of the node. */
function inGroup(group: string, actor: Actor): Actor {
  writeFileSync(join(group, 'cgroup.procs'), String(actor.process.pid))
  return actor
}

test('external IPs and node ports are served from outside and for sockets, and the node keeps what is its', {
  skip,
}, async (t) => {
  const { rack, group, start, ask, status } = world(t)
  const [pod, user, local, process] = [rack.actor('pod'), rack.actor('client'), rack.actor('node'), rack.actor('node')]
  await Promise.all([pod.tell({ do: 'serve', port: 8080 }), process.tell({ do: 'serve', port: listened })])
  await user.tell({ do: 'serve', port: 7_000 })
  start()
  const ready = await waitFor('everything is served', async () => {
    const now = await status()
    const isReady = now?.services.served === 1 && now.kubeProxy.isReplaced && now.socketLb.isDone
    return isReady && now.datapath.interfaces.length === 1 ? now : undefined
  })
  assert.deepEqual(ready.kubeProxy.nodePortAddresses, [nodeAddress, nodeAddress6])

  const outside = (address: string, port: number): Promise<string> =>
    user.tell({ do: 'tcp', address, port, size: 5_000 })
  assert.equal(await outside(nodeAddress, nodePort), `${client} ${pods[0]}`)
  assert.equal(await outside(nodeAddress6, nodePort), `${ipv6.client} ${ipv6.pods[0]}`)
  assert.equal(await outside(external, 80), `${client} ${pods[0]}`)
  for (const [address, port] of [
    [nodeAddress, nodePort],
    [nodeAddress6, nodePort],
    [external, 53],
  ] as const)
    assert.equal(await user.tell({ do: 'udp', address, port, size: 900 }), 900)
  // A process listens there: neither who names the port nor who names the address takes it.
  assert.equal(await outside(nodeAddress, listened), `${client} ${nodeAddress}`)
  await assert.rejects(outside(nodeAddress, nodePort + 1), /ECONNREFUSED/)
  rack.run('client', ['ping', '-c', '2', '-i', '0.01', '-W', '1', nodeAddress])
  // The node itself begins a connection from a port that is a node port.
  const own = { do: 'tcp', address: client, port: 7_000, size: 5_000, localPort: nodePort } as const
  assert.equal(await process.tell(own), `${nodeAddress} ${client}`)

  // A process takes a node port: what is established with a pod goes on, and the next one is the process's.
  const late = rack.actor('node')
  await user.tell({ do: 'connect', address: nodeAddress, port: nodePort })
  await late.tell({ do: 'serve', port: nodePort })
  await waitFor('it is said', async () => /30080\/TCP: a process/.test(await ask('explain', 'service', 'default/web')))
  assert.equal(await user.tell({ do: 'transfer', size: 50_000 }), 'the same')
  assert.equal(await outside(nodeAddress, nodePort), `${client} ${nodeAddress}`)
  await late.kill('SIGKILL')
  await waitFor(
    'it is the Service again',
    async () => !/a process/.test(await ask('explain', 'service', 'default/web')),
  )
  assert.equal(await user.tell({ do: 'transfer', size: 50_000 }), 'the same')
  assert.equal(await outside(nodeAddress, nodePort), `${client} ${pods[0]}`)

  const inside = inGroup(group, local)
  const here = (address: string, port: number): Promise<string> =>
    inside.tell({ do: 'tcp', address, port, size: 5_000 })
  for (const [address, port] of [
    [nodeAddress, nodePort],
    [external, 80],
    ['10.96.0.10', 80],
  ] as const)
    assert.match(await here(address, port), new RegExp(` ${pods[0].replaceAll('.', '\\.')}$`), address)
  assert.match(await here(nodeAddress6, nodePort), new RegExp(` ${ipv6.pods[0]}$`))
  assert.match(await here(nodeAddress, listened), new RegExp(` ${nodeAddress.replaceAll('.', '\\.')}$`))
  await assert.rejects(here('127.0.0.1', nodePort), /ECONNREFUSED/)

  const [web, taker, thief, list, screen] = await Promise.all([
    ...['web', 'taker', 'thief'].map((name) => ask('explain', 'service', `default/${name}`)),
    ask('lb', 'list'),
    ask('status'),
  ])
  assert.match(web ?? '', /external IP 203\.0\.113\.7, node port 30080\/TCP, node port 30080\/UDP/)
  assert.match(taker ?? '', /node port 8022\/TCP: a process of this node listens there: not served/)
  assert.match(thief ?? '', /198\.51\.100\.1 is the address of node node1: not served/)
  assert.match(list ?? '', /0\.0\.0\.0:30080/)
  assert.match(screen ?? '', /replaced; node ports at 198\.51\.100\.1 2001:db8:51:100::1/)

  // Rules of kube-proxy come: it is one owner again, and cluster IPs are led all the same.
  const netfilter = fileURLToPath(new URL('netfilter.ts', import.meta.url))
  const adding = `import(${JSON.stringify(netfilter)}).then(({ addNftables }) => addNftables())`
  rack.run('node', [globalThis.process.execPath, '-e', adding])
  await waitFor('it is left to kube-proxy', async () => {
    const now = await status()
    return now?.kubeProxy.isReplaced === false && now.kubeProxy.nodePortAddresses.length === 0
  })
  await assert.rejects(outside(nodeAddress, nodePort), /ECONNREFUSED/)
  assert.match(await here('10.96.0.10', 80), new RegExp(` ${pods[0].replaceAll('.', '\\.')}$`))
  assert.match(await ask('status'), /not replaced: rules of kube-proxy \(nftables\) are there/)
})
