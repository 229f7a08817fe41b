/** The source of objects against a real kube-apiserver with etcd. */
import assert from 'node:assert/strict'
import { cpSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { Clock } from '../../src/clock/clock.ts'
import { systemClock } from '../../src/clock/system-clock.ts'
import { loadCredentials } from '../../src/k8s/apiserver/credentials.ts'
import { apiServerSource } from '../../src/k8s/apiserver/source.ts'
import { connectTransport } from '../../src/k8s/apiserver/transport.ts'
import { type ObjectSource, type RawObject, recordOf } from '../../src/k8s/source.ts'
import { fasterClock } from '../k8s/apiserver/reflector-world.ts'
import { waitFor } from '../wait.ts'
import { presentBinaries } from './binaries.ts'
import { type Cluster, startCluster } from './cluster.ts'
import { policyCrd, poolCrd } from './crds.ts'

const binaries = presentBinaries()
const skip = binaries === undefined ? 'no kube-apiserver here (see test/apiserver/binaries.ts)' : false

/** What a translator would name. */
const wantedSecrets: ReadonlySet<string> = new Set(['kube-system/tor'])
let cluster: Cluster
const open = new Set<ObjectSource>()

before(async () => {
  if (binaries === undefined) return
  cluster = await startCluster(binaries)
  await cluster.apply(JSON.stringify(policyCrd))
})

after(async () => {
  for (const source of open) await source.stop()
  await cluster?.stop()
})

class View {
  readonly objects = new Map<string, RawObject>()
  readonly removed: string[] = []
  readonly notes: string[] = []
  isSynced = false
  flushes = 0

  has(id: string): boolean {
    return this.objects.has(id)
  }
}

async function follow(
  kubeconfig: string,
  clock: Clock = systemClock,
): Promise<{ readonly source: ObjectSource; readonly view: View }> {
  const source = apiServerSource({
    transport: connectTransport(loadCredentials(kubeconfig), 1_000),
    clock,
    random: () => 0.5,
    nodeName: 'node1',
  })
  const view = new View()
  const idOf = (key: { readonly kind: string; readonly namespace: string; readonly name: string }): string =>
    [key.kind, key.namespace, key.name].filter((part) => part !== '').join('/')
  open.add(source)
  await source.start({
    upsert: (key, object) => void view.objects.set(idOf(key), object),
    remove: (key) => {
      view.objects.delete(idOf(key))
      view.removed.push(idOf(key))
    },
    problems: () => undefined,
    flush: () => void view.flushes++,
    secrets: () => wantedSecrets,
    synced: () => {
      view.isSynced = true
    },
    note: (message) => void view.notes.push(message),
  })
  return { source, view }
}

const service = (name: string, port = 80): object => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace: 'default' },
  spec: { type: 'LoadBalancer', allocateLoadBalancerNodePorts: false, ports: [{ port }] },
})

test('what is there is delivered, what changes follows, a foreign Node and Secret are not read', { skip }, async () => {
  await cluster.apply(
    [
      service('web'),
      { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node1' } },
      { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node2' } },
      { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'tor', namespace: 'kube-system' } },
      { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'other', namespace: 'kube-system' } },
    ]
      .map((object) => JSON.stringify(object))
      .join('\n---\n'),
  )
  const { view } = await follow(cluster.kubeconfig)
  await waitFor('everything was read', () => view.isSynced)
  assert.ok(view.has('Service/default/web') && view.has('Node/node1') && view.has('Secret/kube-system/tor'))
  assert.ok(!view.has('Node/node2') && !view.has('Secret/kube-system/other'))
  const { managedFields } = recordOf(view.objects.get('Service/default/web')?.['metadata'])
  assert.deepEqual(managedFields, [], 'of who wrote what nothing is kept but whose a status is')
  await cluster.apply(JSON.stringify(service('later')))
  await waitFor('the new Service', () => view.has('Service/default/later'))
  await cluster.kubectl(['delete', 'service', 'later'])
  await waitFor('its end', () => !view.has('Service/default/later'))
})

test('a kind that is installed later is found, in whichever version, and goes with its definition', {
  skip,
}, async () => {
  const { source, view } = await follow(cluster.kubeconfig)
  await waitFor('everything was read', () => view.isSynced)
  await cluster.apply(JSON.stringify(poolCrd))
  await cluster.kubectl(['wait', '--for=condition=Established', 'crd/ciliumloadbalancerippools.cilium.io'])
  const pool = { apiVersion: 'cilium.io/v2', kind: 'CiliumLoadBalancerIPPool', metadata: { name: 'blue' }, spec: {} }
  await cluster.apply(JSON.stringify(pool))
  source.rescan()
  await waitFor('the pool', () => view.has('CiliumLoadBalancerIPPool/blue'))
  assert.equal(view.objects.get('CiliumLoadBalancerIPPool/blue')?.['apiVersion'], 'cilium.io/v2')
  await cluster.kubectl(['delete', 'crd', 'ciliumloadbalancerippools.cilium.io'])
  await waitFor('its end', () => !view.has('CiliumLoadBalancerIPPool/blue'))
})

test('a server and an etcd that die and come back take nothing away, and what happened meanwhile arrives', {
  skip,
}, async () => {
  const { view } = await follow(cluster.kubeconfig)
  await waitFor('everything was read', () => view.isSynced)
  const before = [...view.objects.keys()].sort()
  await cluster.restart('apiserver')
  await cluster.apply(JSON.stringify(service('after-apiserver')))
  await waitFor('news after the server', () => view.has('Service/default/after-apiserver'), { deadlineMs: 60_000 })
  await cluster.restart('etcd')
  await cluster.apply(JSON.stringify(service('after-etcd')))
  await waitFor('news after etcd', () => view.has('Service/default/after-etcd'), { deadlineMs: 60_000 })
  assert.deepEqual(view.removed, [])
  assert.ok(before.every((id) => view.has(id)))
})

test('a server that stalls (SIGSTOP) is noticed, and takes nothing away', { skip }, async () => {
  const { source, view } = await follow(cluster.kubeconfig)
  await waitFor('everything was read', () => view.isSynced)
  cluster.signal('apiserver', 'SIGSTOP')
  try {
    await waitFor('it is noticed', () => !source.state.isReachable, { deadlineMs: 40_000 })
  } finally {
    cluster.signal('apiserver', 'SIGCONT')
  }
  await waitFor('it is over', () => source.state.isReachable, { deadlineMs: 60_000 })
  assert.deepEqual(view.removed, [])
})

test('an etcd restored from a backup takes nothing away, and what happens afterwards arrives', { skip }, async () => {
  const [data, backup] = ['etcd', 'backup'].map((name) => join(cluster.folder, name)) as [string, string]
  await cluster.apply(JSON.stringify(service('before-backup')))
  await cluster.pause(() => cpSync(data, backup, { recursive: true }))
  // Faster, but not so fast that the server's 3 s before a 504 count as silence.
  const { source, view } = await follow(cluster.kubeconfig, fasterClock(4))
  await waitFor('everything was read', () => view.isSynced)
  // Enough versions that the server stays behind for a while.
  for (let port = 1; port <= 20; port++) await cluster.apply(JSON.stringify(service('lost', port)))
  await waitFor('it is there', () => view.has('Service/default/lost'))
  await cluster.pause(() => {
    rmSync(data, { recursive: true })
    renameSync(backup, data)
  })
  await cluster.apply(JSON.stringify(service('after-restore')))
  await waitFor('news', () => view.has('Service/default/after-restore'), { deadlineMs: 150_000 })
  // Said once the watch is open again; until then the server's own refusal is.
  await waitFor('it is said', () => /went back in time/.test(source.state.ofKind('Service').problem ?? ''))
  assert.deepEqual([view.removed, source.state.unconfirmed > 0], [[], true])
  source.rescan()
  await waitFor('it is let go', () => !view.has('Service/default/lost'))
  assert.ok(view.has('Service/default/before-backup'))
})

test('a right that is taken away degrades its kind and takes nothing away', { skip }, async () => {
  const rules = [
    { apiGroups: [''], resources: ['services', 'nodes', 'namespaces', 'secrets'], verbs: ['list', 'watch'] },
    { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list', 'watch'] },
    { apiGroups: ['cilium.io', 'metallb.io'], resources: ['*'], verbs: ['list', 'watch'] },
  ]
  const role = (all: readonly object[]): string =>
    JSON.stringify({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: { name: 'agent' },
      rules: all,
    })
  await cluster.apply(role(rules))
  await cluster.kubectl(['create', 'clusterrolebinding', 'agent', '--clusterrole=agent', '--user=agent'])
  const { source, view } = await follow(cluster.kubeconfigOf('agent'))
  await waitFor('everything was read', () => view.isSynced)
  await cluster.apply(role(rules.slice(1)))
  // The authorizer hears of it a moment later.
  await waitFor('it is said', () => {
    source.rescan()
    return /forbidden/.test(source.state.ofKind('Service').problem ?? '')
  })
  assert.equal(source.state.ofKind('EndpointSlice').problem, undefined)
  assert.deepEqual(view.removed, [])
  await cluster.apply(role(rules))
  await waitFor('it is over', () => source.state.ofKind('Service').problem === undefined, { deadlineMs: 60_000 })
})

test('a kubeconfig that is not there, names nothing, or whose plugin fails says which file and why', {
  skip,
}, async () => {
  assert.throws(() => loadCredentials('/nonexistent'), { code: 'ERR_KUBECONFIG', message: /\/nonexistent/ })
  const file = join(cluster.folder, 'odd')
  const write = (config: object): string => {
    writeFileSync(file, JSON.stringify(config))
    return file
  }
  assert.throws(() => loadCredentials(write({ 'current-context': 'gone' })), {
    code: 'ERR_KUBECONFIG',
    message: /gone/,
  })
  const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: '/bin/false' }
  const credentials = loadCredentials(
    write({
      'current-context': 'c',
      clusters: [{ name: 'c', cluster: { server: cluster.url } }],
      users: [{ name: 'c', user: { exec } }],
      contexts: [{ name: 'c', context: { cluster: 'c', user: 'c' } }],
    }),
  )
  await assert.rejects(credentials.headers(), { code: 'ERR_KUBECONFIG' })
})

test('an exec plugin gives the token', { skip }, async () => {
  const file = join(cluster.folder, 'exec')
  const tokenFile = join(cluster.folder, 'token')
  const script = join(cluster.folder, 'plugin.sh')
  const says = (token: string): void => {
    const expirationTimestamp = new Date(Date.now() + 61_000).toISOString()
    const status = { token, expirationTimestamp }
    const answer = { apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential', status }
    writeFileSync(tokenFile, JSON.stringify(answer))
  }
  writeFileSync(script, `#!/bin/sh\ncat ${tokenFile}\n`, { mode: 0o755 })
  const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: script, interactiveMode: 'Never' }
  const config = {
    'current-context': 'c',
    clusters: [{ name: 'c', cluster: { server: cluster.url, 'certificate-authority': cluster.caFile } }],
    users: [{ name: 'c', user: { exec } }],
    contexts: [{ name: 'c', context: { cluster: 'c', user: 'c' } }],
  }
  writeFileSync(file, JSON.stringify(config))
  says('token-admin')
  const { view } = await follow(file)
  await waitFor('everything was read', () => view.isSynced)
  assert.ok(view.has('Service/default/kubernetes'))
})
