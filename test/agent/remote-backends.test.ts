/** Backends on other nodes through the loop of a node: kernel first, then the route; and out again when they go. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { Agent } from '../../src/agent/agent.ts'
import { MemoryLog } from '../../src/agent/agent-log.ts'
import { InForceRecord } from '../../src/agent/in-force.ts'
import { MemoryLinks } from '../../src/agent/links.ts'
import { RestartMarker } from '../../src/agent/restart-marker.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import type { ClusterNodes } from '../../src/datapath/datapath.ts'
import { createFakeDatapath } from '../../src/datapath/fake.ts'
import { decodeAddressKey } from '../../src/datapath/address-octets.ts'
import { offsets } from '../../src/datapath/layout.ts'
import { readDocuments } from '../../src/k8s/documents.ts'
import { MemorySource } from '../../src/k8s/memory-source.ts'
import { createTranslator } from '../../src/k8s/translate/translator.ts'
import { InMemorySpeakerThread } from '../../src/speaker/in-memory-thread.ts'
import { node, pool, service, slice, smallestPolicy } from '../k8s/manifests.ts'

const other = node.replace('node-a', 'node-b').replace('192.168.1.10', '192.168.1.20').replace('10.244.1', '10.244.2')
const web = service('web') + slice('web', 'node-b')
const base = smallestPolicy + node + pool

/** An agent that reads a folder, with what its kernel was told of the nodes in the order in which it was told. */
async function agentOf(context: TestContext, text: string, tunnels: 'nodes' | 'none' = 'nodes') {
  const stateDir = mkdtempSync(join(tmpdir(), 'herald-remote-'))
  context.after(() => rmSync(stateDir, { recursive: true }))
  const [clock, source, speaker, links] = [
    new VirtualClock(),
    new MemorySource(),
    new InMemorySpeakerThread(),
    new MemoryLinks(),
  ]
  const kernel = createFakeDatapath()
  const log: string[] = []
  const datapath = {
    ...kernel,
    get status() {
      return kernel.status
    },
    setNodes: (nodes: ClusterNodes) => {
      log.push(`nodes ${nodes.own.join()} from ${nodes.others.join()}`)
      kernel.setNodes(nodes)
    },
    upsertAll: (frontends: Parameters<typeof kernel.upsertAll>[0]) => {
      for (const { backends } of frontends) log.push(`program ${backends.map((each) => each.node ?? 'here').join()}`)
      return kernel.upsertAll(frontends)
    },
  }
  links.set([{ index: 2, name: 'eth0' }])
  const translator = createTranslator({
    nodeName: 'node-a',
    datapath: 'ebpf',
    secretsNamespace: 'kube-system',
    ...(tunnels === 'none' ? {} : { tunnels }),
  })
  const marker = new RestartMarker(stateDir)
  const record = new InForceRecord(stateDir)
  const agent = new Agent({ source, translator, datapath, speaker, marker, record, links, clock, log: new MemoryLog() })
  context.after(() => agent.stop())
  const put = (more: string): void => {
    source.put(...readDocuments('test.yaml', more).flatMap(({ objects }) => objects))
    source.flush()
    clock.settle()
  }
  source.put(...readDocuments('test.yaml', text).flatMap(({ objects }) => objects))
  await agent.start()
  clock.settle()
  const services = (): readonly string[] => [...speaker.announced.keys()].filter((prefix) => prefix.startsWith('198.'))
  return { agent, kernel, log, put, services, clock }
}

test('the kernel knows the nodes before it sends a packet to one, and the route follows', async (context) => {
  const { agent, kernel, log, services } = await agentOf(context, base + other + web)
  assert.deepEqual(log, ['nodes 192.168.1.10 from 192.168.1.20', 'program 192.168.1.20'])
  assert.deepEqual(services(), ['198.51.100.0/32'])
  assert.deepEqual(kernel.readAll()[0]?.backends, [{ address: '10.244.1.5', port: 8080, node: '192.168.1.20' }])
  assert.equal(agent.order.verdict('default/web').ok, true)
  assert.deepEqual(agent.tunnels?.senders, ['192.168.1.20'])
})

test('a pod that moves between nodes is written anew, with its route in force', async (context) => {
  const { kernel, put, services, log } = await agentOf(context, base + other + web)
  put(slice('web', 'node-a'))
  assert.deepEqual(kernel.readAll()[0]?.backends, [{ address: '10.244.1.5', port: 8080 }])
  assert.equal(log.at(-1), 'program here')
  put(slice('web', 'node-b'))
  assert.equal(kernel.readAll()[0]?.backends[0]?.node, '192.168.1.20')
  assert.deepEqual(services(), ['198.51.100.0/32'])
})

test('a node that takes no more ends the route before the kernel forgets where it was', async (context) => {
  const { put, services, kernel } = await agentOf(context, base + other + web)
  put(other.replace('labels: {', 'annotations: {herald.dev/tunnel-addresses: none}, labels: {'))
  assert.deepEqual(services(), [])
  assert.deepEqual(kernel.readAll()[0]?.backends, [], 'what still comes is refused')
})

test('what somebody takes out of the maps of the nodes is there again within half a minute, and what he puts in is not', async (context) => {
  const { kernel, clock } = await agentOf(context, base + other + web)
  const nodes = kernel.maps.store('nodes')
  const [entry] = nodes.entries()
  assert.ok(entry !== undefined)
  const [key, value] = entry
  nodes.delete(key)
  nodes.put(
    key.map((octet, at) => (at === 15 ? 99 : octet)),
    value,
  )
  const tunnel = kernel.maps.memory('tunnels')
  const port = tunnel.getUint16(offsets.tunnel.port)
  tunnel.setUint16(offsets.tunnel.port, 9)
  clock.advance(31_000)
  assert.deepEqual(
    [...nodes.entries()].map(([one]) => decodeAddressKey(one)),
    [decodeAddressKey(key)],
  )
  assert.equal(tunnel.getUint16(offsets.tunnel.port), port)
})

test('where backends elsewhere are not served, the kernel is told so once, and nothing of them is written', async (context) => {
  const { agent, log, services } = await agentOf(context, base + other + web, 'none')
  assert.deepEqual(
    log.filter((line) => line.startsWith('nodes')),
    ['nodes  from '],
  )
  assert.deepEqual([services(), agent.tunnels], [[], undefined])
})
