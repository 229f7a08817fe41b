/**
 * Row 10 of docs/acceptance.md on the wire: a thousand Services come and go in the folder of an agent, and the router
 * sees neither the session nor a route of any other Service move.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { waitFor } from '../wait.ts'
import { Router } from './router.ts'

const herald = fileURLToPath(new URL('../../bin/herald', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'herald-churn-'))
const manifests = join(folder, 'manifests')
const port = 20_000 + (process.pid % 12_000)
const router = new Router('127.0.0.61', port)
let agent: ChildProcess | undefined

const configuration = `apiVersion: cilium.io/v2alpha1
kind: CiliumBGPPeeringPolicy
metadata: {name: rack, annotations: {herald.dev/neighbors: '{"*": {nextHop: 192.0.2.9}}'}}
spec:
  nodeSelector: {}
  virtualRouters:
  - localASN: 65001
    serviceSelector: {}
    neighbors:
    - {peerAddress: 127.0.0.61/32, peerPort: ${port}, peerASN: 65000, families: [{afi: ipv4, safi: unicast}]}
---
apiVersion: v1
kind: Node
metadata: {name: node1}
---
apiVersion: cilium.io/v2
kind: CiliumLoadBalancerIPPool
metadata: {name: pool}
spec: {blocks: [{cidr: 20.0.0.0/20}]}
`
const serviceOf = (name: string): string => `apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: default}
spec: {type: LoadBalancer, ports: [{port: 80, protocol: TCP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ${name}-1, namespace: default, labels: {kubernetes.io/service-name: ${name}}}
addressType: IPv4
endpoints: [{addresses: [10.1.1.5], nodeName: node1, conditions: {ready: true}}]
ports: [{port: 8080, protocol: TCP}]
`
const write = (name: string, services: readonly string[]): void => {
  writeFileSync(join(folder, 'next'), services.map(serviceOf).join('---\n'))
  renameSync(join(folder, 'next'), join(manifests, `${name}.yaml`))
}

after(async () => {
  if (agent !== undefined && agent.exitCode === null) {
    agent.kill('SIGKILL')
    await once(agent, 'exit')
  }
  router.speaker.handle({ type: 'stop', mode: 'shutdown', text: '' })
  rmSync(folder, { recursive: true, force: true })
})

test('1 000 Services come and go: the session stays, and no route of another Service is ever away', async () => {
  mkdirSync(manifests)
  writeFileSync(join(manifests, 'configuration.yaml'), configuration)
  write(
    'steady',
    Array.from({ length: 20 }, (_, n) => `a-steady-${n}`),
  )
  await router.start()
  const own = ['--manifests', manifests, '--socket', join(folder, 'sock'), '--state-dir', join(folder, 'state')]
  const flags = ['--node-name', 'node1', '--datapath', 'none', '--bgp-listen', 'none', '--http', 'none']
  agent = spawn(herald, ['agent', ...own, ...flags], { stdio: 'ignore' })
  let heard: readonly string[] = []
  let steady: readonly string[] = []
  const hears = (count: number) => async (): Promise<boolean> => {
    heard = await router.received()
    // Whoever asks in the middle of it sees them all the same.
    const missing = steady.filter((route) => !heard.includes(route))
    assert.deepEqual(missing, [])
    return heard.length === count
  }
  await waitFor('the steady ones', hears(20), { deadlineMs: 60_000 })
  steady = heard
  const moves = router.transitions.length
  const batches = Array.from({ length: 10 }, (_, batch) =>
    Array.from({ length: 100 }, (_, n) => `churn-${batch * 100 + n}`),
  )
  for (const [index, batch] of batches.entries()) {
    write(`churn-${index}`, batch)
    await waitFor(`batch ${index} is there`, hears(20 + (index + 1) * 100), { deadlineMs: 60_000, everyMs: 20 })
  }
  for (const index of batches.keys()) rmSync(join(manifests, `churn-${index}.yaml`))
  await waitFor('all of them are gone', hears(20), { deadlineMs: 120_000, everyMs: 20 })
  assert.deepEqual(router.transitions.slice(moves), [], 'the session moved')
  assert.equal(router.peer?.flaps, 0)
})
