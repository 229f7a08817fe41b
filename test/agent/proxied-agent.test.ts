/** The place of kube-proxy through the loop of a node: what kernel, sockets and load balancers are told, and when. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Agent } from '../../src/agent/agent.ts'
import { MemoryLog } from '../../src/agent/agent-log.ts'
import { InForceRecord } from '../../src/agent/in-force.ts'
import type { KubeProxyMode } from '../../src/agent/kube-proxy.ts'
import { MemoryLinks } from '../../src/agent/links.ts'
import { ProxyWatch } from '../../src/agent/proxy-watch.ts'
import { RestartMarker } from '../../src/agent/restart-marker.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import type { ClusterNodes } from '../../src/datapath/datapath.ts'
import { createFakeDatapath, type FakeDatapath } from '../../src/datapath/fake.ts'
import { readDocuments } from '../../src/k8s/documents.ts'
import { MemorySource } from '../../src/k8s/memory-source.ts'
import { createTranslator } from '../../src/k8s/translate/translator.ts'
import { InMemorySpeakerThread } from '../../src/speaker/in-memory-thread.ts'
import { node, pool, service, slice, smallestPolicy } from '../k8s/manifests.ts'

const local = ', externalTrafficPolicy: Local, healthCheckNodePort: 30100, externalIPs: [203.0.113.7]'
const web = service('web', local).replace('port: 80}', 'port: 80, nodePort: 30080}') + slice('web')
const own = ['198.51.100.0:80/TCP', '203.0.113.7:80/TCP', '0.0.0.0:30080/TCP']

/** `maps`: those that an earlier process has left. */
async function agentOf(context: TestContext, maps?: FakeDatapath['maps']) {
  const stateDir = mkdtempSync(join(tmpdir(), 'herald-proxied-'))
  context.after(() => rmSync(stateDir, { recursive: true }))
  const [clock, source, speaker, links] = [
    new VirtualClock(),
    new MemorySource(),
    new InMemorySpeakerThread(),
    new MemoryLinks(),
  ]
  const here = { mode: 'absent' as KubeProxyMode, listeners: new Set<string>() }
  const watch = new ProxyWatch({ kubeProxy: () => here.mode, listeners: () => here.listeners, clock })
  const [datapath, checks] = [createFakeDatapath(maps === undefined ? {} : { maps }), new Map<string, unknown>()]
  const [told, { setNodes }] = [[] as (readonly string[])[], datapath]
  Object.assign(datapath, {
    setNodes: (nodes: ClusterNodes) => {
      told.push(nodes.nodePorts ?? [])
      setNodes(nodes)
    },
  })
  links.set([{ index: 2, name: 'eth0' }])
  const translator = createTranslator({
    ...{ nodeName: 'node-a', datapath: 'ebpf', secretsNamespace: 'kube-system', tunnels: 'nodes' },
    localAddresses: () => [{ interface: 'eth0', address: '192.168.1.10' }],
    proxying: () => watch.look(),
  })
  const agent = new Agent({
    ...{ source, translator, datapath, speaker, links, clock, log: new MemoryLog() },
    ...{ marker: new RestartMarker(stateDir), record: new InForceRecord(stateDir) },
    healthChecks: { want: (key, check) => void checks.set(key, check) },
  })
  context.after(() => agent.stop())
  source.put(...readDocuments('test.yaml', smallestPolicy + node + pool + web).flatMap(({ objects }) => objects))
  await agent.start()
  clock.settle()
  const served = (): readonly string[] => datapath.readAll().map(({ id }) => id)
  /** What runs on the node is looked at within some seconds; what is wanted no more drains first. */
  const pass = (ms: number): void => {
    for (let passed = 0; passed < ms; passed += 1_000) {
      clock.advance(1_000)
      clock.settle()
    }
  }
  return { agent, datapath, speaker, checks, here, served, pass, told }
}

test('node ports and external IPs are in the kernel with the load balancer, which is announced with all of them', async (context) => {
  const { agent, speaker, checks, served } = await agentOf(context)
  assert.deepEqual([...served()].sort(), [...own].sort())
  assert.deepEqual(agent.nodePorts, ['192.168.1.10'])
  assert.deepEqual(agent.order.verdict('default/web').code, 'Programmed')
  assert.deepEqual(
    [...speaker.announced.keys()].filter((prefix) => !prefix.startsWith('10.244')),
    ['198.51.100.0/32'],
  )
  assert.deepEqual(checks.get('default/web'), { port: 30_100, localEndpoints: 1 })
})

test('a process that listens on a node port is said within seconds, and takes no frontend', async (context) => {
  const { agent, here, served, pass } = await agentOf(context)
  const isSaid = (): boolean =>
    agent.order.services.get('default/web')?.verdicts.some(({ code }) => code === 'ProxiedInPart') === true
  here.listeners = new Set(['30080/TCP'])
  pass(20_000)
  assert.deepEqual([[...served()].sort(), isSaid()], [[...own].sort(), true])
  here.listeners = new Set()
  pass(10_000)
  assert.deepEqual([served().length, isSaid()], [3, false])
})

test('kube-proxy that comes is left its place, and the load balancer stays announced; it goes, and it is taken again', async (context) => {
  const { agent, speaker, checks, here, served, pass } = await agentOf(context)
  here.mode = 'nftables'
  pass(20_000)
  assert.deepEqual([served(), agent.nodePorts], [own.slice(0, 1), []])
  assert.ok(speaker.announced.has('198.51.100.0/32'))
  assert.equal(checks.get('default/web'), undefined)
  here.mode = 'absent'
  pass(15_000)
  assert.deepEqual([[...served()].sort(), agent.nodePorts], [[...own].sort(), ['192.168.1.10']])
  assert.deepEqual(checks.get('default/web'), { port: 30_100, localEndpoints: 1 })
})

test('an agent that starts again takes node ports from no flow, not for a moment: they stay where they are wanted', async (context) => {
  const before = await agentOf(context)
  await before.agent.stop()
  const { served, told, pass } = await agentOf(context, before.datapath.maps)
  pass(70_000)
  assert.ok(told.length > 1)
  assert.deepEqual(
    told.filter((each) => !each.includes('192.168.1.10')),
    [],
  )
  assert.deepEqual([...served()].sort(), [...own].sort())
})
