/** Which Leases an agent reads of an API server, and what of it when they cannot be read. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { systemClock } from '../../../src/clock/system-clock.ts'
import { VirtualClock } from '../../../src/clock/virtual-clock.ts'
import type { DesiredTunnels, Problem } from '../../../src/desired/model.ts'
import { apiServerSource } from '../../../src/k8s/apiserver/source.ts'
import { connectTransport } from '../../../src/k8s/apiserver/transport.ts'
import { tunnelLeaseName, tunnelMetadata, tunnelSelector } from '../../../src/k8s/kinds/tunnel-lease.ts'
import type { ObjectSource } from '../../../src/k8s/source.ts'
import { createTranslator } from '../../../src/k8s/translate/translator.ts'
import { waitFor } from '../../wait.ts'
import { FakeApiServer, status } from './fake-server.ts'

const leasesPath = '/apis/coordination.k8s.io/v1/namespaces/leases/leases'

let server: FakeApiServer
let source: ObjectSource | undefined
let tunnels: DesiredTunnels | undefined
let problems: readonly Problem[]
let isSynced: boolean

beforeEach(async () => {
  server = new FakeApiServer()
  for (const path of ['/api/v1/services', '/apis/discovery.k8s.io/v1/endpointslices', leasesPath]) server.serve(path)
  server.store('/api/v1/nodes', {
    metadata: { name: 'node1' },
    status: { addresses: [{ type: 'InternalIP', address: '192.0.2.9' }] },
  })
  tunnels = undefined
  problems = []
  isSynced = false
})

afterEach(async () => {
  await source?.stop()
  await server.stop()
})

async function begin(tunnelNamespace?: string, clock: VirtualClock | typeof systemClock = systemClock): Promise<void> {
  source = apiServerSource({
    transport: connectTransport(await server.start()),
    clock,
    random: () => 0.5,
    nodeName: 'node1',
    mayLackKinds: true,
    ...(tunnelNamespace === undefined ? {} : { tunnelNamespace }),
  })
  const translator = createTranslator({
    nodeName: 'node1',
    datapath: 'ebpf',
    secretsNamespace: 'kube-system',
    ...(tunnelNamespace === undefined ? {} : { tunnels: 'leases' }),
  })
  const flush = (): void => {
    const delta = translator.flush()
    tunnels = delta.tunnels ?? tunnels
  }
  await source.start({
    upsert: (key, object, origin) => translator.upsert(key, object, origin),
    remove: (key) => translator.remove(key),
    problems: (list) => {
      problems = list
    },
    flush,
    secrets: () => translator.secrets,
    synced: () => {
      isSynced = true
      translator.synced()
      flush()
    },
  })
}

function storeLease(node: string, address: string): void {
  const own = tunnelMetadata(node, { addresses: [address], formats: ['1'] }, undefined)
  const metadata = { ...own, name: tunnelLeaseName(node), namespace: 'leases' }
  server.store(leasesPath, { metadata, spec: { holderIdentity: node } })
}

test('the Leases of one namespace are read by their label alone, and followed', async () => {
  storeLease('node2', '192.0.2.2')
  await begin('leases')
  await waitFor('they are read', () => tunnels?.senders.join() === '192.0.2.2')
  const asked = server.requests.filter(({ path }) => path.includes('coordination'))
  assert.ok(asked.length >= 2)
  for (const { path, query } of asked)
    assert.deepEqual([path, query.get('labelSelector'), query.get('fieldSelector')], [leasesPath, tunnelSelector, null])
  assert.equal(tunnels?.isTold, false)
  storeLease('node1', '192.0.2.9')
  await waitFor('its own is read', () => tunnels?.isTold === true)
  server.delete(leasesPath, tunnelLeaseName('node2'))
  await waitFor('one that goes is gone', () => tunnels?.senders.length === 0)
})

test('where backends on other nodes are not served no Lease is asked for', async () => {
  await begin()
  await waitFor('all is read', () => isSynced)
  assert.deepEqual(
    server.requests.filter(({ path }) => path.includes('coordination')),
    [],
  )
})

test('Leases that may not be read hold nothing up for longer than half a minute, and it is said', async () => {
  server.fault = ({ path, stream }) => {
    const isRefused = path === leasesPath
    if (isRefused) status(stream, 403, 'leases is forbidden')
    return isRefused
  }
  const clock = new VirtualClock()
  await begin('leases', clock)
  await waitFor('it is said', () => {
    clock.advance(100)
    return problems.some(({ object }) => object.kind === 'Lease')
  })
  await waitFor('the rest goes on', () => {
    clock.advance(1_000)
    return isSynced
  })
  assert.match(problems.find(({ object }) => object.kind === 'Lease')?.remedy ?? '', /It counts as absent until then/)
  assert.deepEqual(tunnels, { own: ['192.0.2.9'], isTold: false, senders: [] })
})

test('what was read stays when the server refuses it later', async () => {
  storeLease('node2', '192.0.2.2')
  await begin('leases')
  await waitFor('they are read', () => tunnels?.senders.join() === '192.0.2.2')
  server.fault = ({ path, stream }) => {
    if (path === leasesPath) status(stream, 403, 'leases is forbidden')
    return path === leasesPath
  }
  server.endWatches()
  await waitFor('it is said', () => problems.some(({ object }) => object.kind === 'Lease'))
  assert.deepEqual(tunnels?.senders, ['192.0.2.2'])
})
