/**
 * MetalLB's and Cilium's kinds in the whole agent, with a router beside it: a route with its community, and its end.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { waitFor } from '../wait.ts'
import { Router } from './router.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const herald = join(root, 'bin/herald')
// MetalLB's peerPort ends at 16384.
const port = 10_000 + (process.pid % 6_000)
const nextHop = `herald.dev/neighbors: '{"*": {nextHop: 192.0.2.9}}'`

const node = `---
apiVersion: v1
kind: Node
metadata: {name: node1, labels: {kubernetes.io/os: linux}}
status: {addresses: [{type: InternalIP, address: 192.0.2.9}]}
`
const web = `---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default, labels: {app: web}}
spec: {type: LoadBalancer, ports: [{port: 80, protocol: TCP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.1.1.5], nodeName: node1, conditions: {ready: true}}]
ports: [{port: 8080, protocol: TCP}]
`
const inMetallb = (kind: string, name: string, spec: string, version = 'v1beta1', more = ''): string =>
  `---\napiVersion: metallb.io/${version}\nkind: ${kind}\n` +
  `metadata: {name: ${name}, namespace: metallb-system${more}}\nspec: {${spec}}\n`
const inCilium = (kind: string, name: string, spec: string, more = ''): string =>
  `---\napiVersion: cilium.io/v2\nkind: ${kind}\nmetadata: {name: ${name}${more}}\nspec: {${spec}}\n`

/** What a user of each family has, and the file that ends the announcement when its content goes. */
const families = [
  {
    name: 'MetalLB',
    router: '127.0.0.31',
    sessions: (address: string): string =>
      inMetallb(
        'BGPPeer',
        'tor',
        `myASN: 65001, peerASN: 65000, peerAddress: ${address}, peerPort: ${port}, holdTime: 9s`,
        'v1beta2',
        `, annotations: {${nextHop}}`,
      ) +
      inMetallb('IPAddressPool', 'production', 'addresses: [203.0.113.10-203.0.113.20]') +
      inMetallb('Community', 'names', 'communities: [{name: edge, value: "65001:7"}]'),
    announced: inMetallb('BGPAdvertisement', 'edge', 'communities: [edge], ipAddressPools: [production]'),
  },
  {
    name: "Cilium's v2",
    router: '127.0.0.32',
    sessions: (address: string): string =>
      inCilium(
        'CiliumBGPClusterConfig',
        'rack',
        'bgpInstances: [{name: rack, localASN: 65001, peers: [{name: tor, peerASN: 65000, ' +
          `peerAddress: ${address}, peerConfigRef: {name: tor}}]}]`,
        `, annotations: {${nextHop}}`,
      ) +
      inCilium(
        'CiliumBGPPeerConfig',
        'tor',
        `transport: {peerPort: ${port}}, timers: {holdTimeSeconds: 9, keepAliveTimeSeconds: 3}, ` +
          'families: [{afi: ipv4, safi: unicast, advertisements: {matchLabels: {advertise: bgp}}}]',
      ) +
      inCilium('CiliumLoadBalancerIPPool', 'pool', 'blocks: [{start: 203.0.113.10, stop: 203.0.113.20}]'),
    announced: inCilium(
      'CiliumBGPAdvertisement',
      'edge',
      'advertisements: [{advertisementType: Service, service: {addresses: [LoadBalancerIP]}, ' +
        'selector: {matchLabels: {app: web}}, attributes: {communities: {standard: ["65001:7"]}}}]',
      ', labels: {advertise: bgp}',
    ),
  },
] as const

for (const { name, router: address, sessions, announced } of families)
  test(`${name} kinds: Established, the prefix with its community, withdrawn when asked, and a slip ends nothing`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'herald-families-'))
    const manifests = join(folder, 'manifests')
    mkdirSync(manifests)
    const write = (file: string, text: string): void => {
      writeFileSync(join(manifests, `.${file}`), text)
      renameSync(join(manifests, `.${file}`), join(manifests, file))
    }
    const socket = join(folder, 'herald.sock')
    const run = async (...args: string[]): Promise<{ readonly code: number; readonly stdout: string }> => {
      const found = await promisify(execFile)(herald, [...args, '--socket', socket]).catch(
        (error: { code: number; stdout: string }) => error,
      )
      return { code: 'code' in found ? found.code : 0, stdout: found.stdout }
    }
    const router = new Router(address, port)
    await router.start()
    write('sessions.yaml', sessions(address) + node)
    write('announced.yaml', announced)
    write('web.yaml', web)
    const places = ['--manifests', manifests, '--state-dir', join(folder, 'state'), '--socket', socket]
    const switches = ['--node-name', 'node1', '--datapath', 'none', '--bgp-listen', 'none', '--http', '127.0.0.1:0']
    const agent: ChildProcess = spawn(herald, ['agent', ...places, ...switches], { stdio: 'ignore' })
    const ended = new Promise((resolve) => agent.once('exit', resolve))
    t.after(async () => {
      agent.kill('SIGKILL')
      await ended
      router.speaker.handle({ type: 'stop', mode: 'shutdown', text: '' })
      rmSync(folder, { recursive: true, force: true })
    })
    const holds = (expected: readonly string[]): Promise<boolean> =>
      waitFor(
        `the router to hold ${expected.join() || 'nothing'}`,
        async () => JSON.stringify(await router.receivedCommunities()) === JSON.stringify(expected),
      )
    await holds(['203.0.113.10/32 65001:7'])
    assert.equal(router.peer?.state, 'Established')
    const explained = await run('explain', 'service', 'default/web')
    assert.equal(explained.code, 0, explained.stdout)
    const before = router.transitions.length
    write('sessions.yaml', (sessions(address) + node).replace('peerASN: 65000', 'peerASN: "65000"'))
    const refused = await waitFor('the error', async () => {
      const status = await run('status', '-o', 'json')
      return status.code === 1 && status.stdout.includes('peerASN') && status
    })
    assert.match(refused.stdout, /Write it without quotes, peerASN: 65000/)
    assert.deepEqual(await router.receivedCommunities(), ['203.0.113.10/32 65001:7'])
    write('sessions.yaml', sessions(address) + node)
    await waitFor('health again', async () => (await run('status')).code === 0)
    rmSync(join(manifests, 'announced.yaml'))
    await holds([])
    assert.equal((await run('explain', 'service', 'default/web')).code, 1)
    assert.equal(router.transitions.length, before, 'the session is the same all the time')
  })
