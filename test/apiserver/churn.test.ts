/**
 * What a large and a long-lived cluster does to whoever watches it, on a real kube-apiserver: heartbeats of hundreds of
 * nodes, a store that forgot the versions we know, and credentials that end.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { ApiClient } from '../../bench/api-client.ts'
import { systemClock } from '../../src/clock/system-clock.ts'
import { loadCredentials } from '../../src/k8s/apiserver/credentials.ts'
import { apiServerSource, type ApiServerOptions } from '../../src/k8s/apiserver/source.ts'
import { connectTransport, type Answer, type Transport } from '../../src/k8s/apiserver/transport.ts'
import type { ObjectSource, RawObject, SourceEvents } from '../../src/k8s/source.ts'
import { createTranslator } from '../../src/k8s/translate/translator.ts'
import { HeraldError } from '../../src/errors.ts'
import { allOf } from '../../src/allocation/work.ts'
import { Allocation, operatorKinds } from '../../src/operator/allocation.ts'
import { waitFor } from '../wait.ts'
import { presentBinaries } from './binaries.ts'
import { agentCertificate, agentKey } from './client-certificate.ts'
import { type Cluster, startCluster } from './cluster.ts'

const binaries = presentBinaries()
const skip = binaries === undefined ? 'no kube-apiserver here (see test/apiserver/binaries.ts)' : false
const nodes = 500
const rounds = 3
const folder = mkdtempSync(join(tmpdir(), 'herald-churn-'))
const services = '/api/v1/namespaces/default/services'

let cluster: Cluster
let client: ApiClient
const open = new Set<ObjectSource>()

before(async () => {
  if (binaries === undefined) return
  const authority = join(folder, 'clients.crt')
  writeFileSync(authority, agentCertificate)
  // Compaction is asked for by name here.
  cluster = await startCluster(binaries, ['--client-ca-file', authority, '--etcd-compaction-interval', '0'])
  client = new ApiClient(cluster.url)
})

after(async () => {
  for (const source of open) await source.stop()
  client?.close()
  await cluster?.stop()
  rmSync(folder, { recursive: true })
})

const service = (name: string): object => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace: 'default' },
  spec: { type: 'LoadBalancer', allocateLoadBalancerNodePorts: false, ports: [{ port: 80 }] },
})

function sourceOf(options: Partial<ApiServerOptions>): ObjectSource {
  const transport = connectTransport(loadCredentials(cluster.kubeconfig), 1_000)
  const source = apiServerSource({ transport, clock: systemClock, random: () => 0.5, ...options })
  open.add(source)
  return source
}

const silent: SourceEvents = {
  upsert: () => undefined,
  remove: () => undefined,
  problems: () => undefined,
  flush: () => undefined,
  synced: () => undefined,
  note: () => undefined,
}

/** What somebody who reads Services believes to be there. */
class Reader {
  readonly names = new Set<string>()
  readonly removed: string[] = []
  isSynced = false
  readonly source: ObjectSource

  constructor(options: Partial<ApiServerOptions>) {
    this.source = sourceOf({ kinds: new Set(['Service']), ...options })
  }

  async start(): Promise<void> {
    await this.source.start({
      ...silent,
      upsert: ({ name }) => void this.names.add(name),
      remove: ({ name }) => {
        this.names.delete(name)
        this.removed.push(name)
      },
      synced: () => {
        this.isSynced = true
      },
    })
  }
}

const nodeOf = (i: number, round: number): RawObject => {
  const time = new Date(1_800_000_000_000 + round * 10_000).toISOString().replace(/\.\d+Z/, 'Z')
  const condition = { type: 'Ready', status: 'True', reason: 'KubeletReady', message: 'kubelet is posting' }
  const said = { ...condition, lastHeartbeatTime: time, lastTransitionTime: '2026-01-01T00:00:00Z' }
  const address = { type: 'InternalIP', address: `192.168.${i >> 8}.${i & 255}` }
  const status = { conditions: [said], addresses: [address] }
  return { apiVersion: 'v1', kind: 'Node', metadata: { name: `node${i}` }, status }
}
const leases = '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases'
const leaseAt = (i: number): string => `${leases}/node${i}?fieldManager=kubelet&force=true`
const leaseOf = (i: number, round: number): RawObject => ({
  apiVersion: 'coordination.k8s.io/v1',
  kind: 'Lease',
  metadata: { name: `node${i}`, namespace: 'kube-node-lease' },
  spec: { holderIdentity: `node${i}`, leaseDurationSeconds: 40, renewTime: `2026-11-29T00:00:${10 + round}.000000Z` },
})

test(`heartbeats of ${nodes} nodes reach an agent as those of its own, and move neither it nor an operator`, {
  skip,
}, async () => {
  await waitFor('the namespace of the Leases', () =>
    cluster.kubectl(['get', 'namespace', 'kube-node-lease']).then(
      () => true,
      () => false,
    ),
  )
  await client.all(nodes, async (i) => {
    await client.send('POST', '/api/v1/nodes', nodeOf(i, 0))
    await client.send('PUT', `/api/v1/nodes/node${i}/status`, nodeOf(i, 0))
    await client.send('PATCH', leaseAt(i), leaseOf(i, 0))
  })
  await client.send('POST', services, service('web'))
  const translator = createTranslator({ nodeName: 'node7', datapath: 'none', secretsNamespace: 'kube-system' })
  const told: string[] = []
  let moved = 0
  let isSynced = false
  await sourceOf({ nodeName: 'node7' }).start({
    ...silent,
    upsert: (key, object) => {
      if (key.kind === 'Node') told.push(key.name)
      translator.upsert(key, object, undefined)
    },
    flush: () => void (moved += translator.flush().services.size),
    secrets: () => translator.secrets,
    synced: () => {
      translator.synced()
      isSynced = true
    },
  })
  const allocation = new Allocation({})
  const seen = new Map<string, number>()
  let plans = 0
  await sourceOf({ kinds: operatorKinds }).start({
    ...silent,
    upsert: (key, object) => {
      if (key.kind === 'Node') seen.set(key.name, (seen.get(key.name) ?? 0) + 1)
      allocation.upsert(key, object)
    },
    flush: () => {
      const { arePlansNew, arePoolsNew, moved: others } = allOf(allocation.flush(() => ({ addresses: [] })))
      plans += Number(arePlansNew) + Number(arePoolsNew) + others.length
    },
    synced: () => allocation.synced(),
  })
  const heard = (): number => [...seen.values()].reduce((sum, count) => sum + count, 0)
  await waitFor('both have read everything', () => isSynced && heard() === nodes, { deadlineMs: 60_000 })
  await waitFor('what was read is settled', () => translator.flush().services.size === 0 && !translator.hasMore)
  allOf(allocation.flush(() => ({ addresses: [] })))
  moved = plans = 0
  const before = told.length
  for (let round = 1; round <= rounds; round++)
    await client.all(nodes, async (i) => {
      await client.send('PUT', `/api/v1/nodes/node${i}/status`, nodeOf(i, round))
      await client.send('PATCH', leaseAt(i), leaseOf(i, round))
    })
  await waitFor('the operator heard all', () => heard() === nodes * (rounds + 1), { deadlineMs: 60_000 })
  await waitFor('the agent heard its own', () => told.length === before + rounds)
  assert.ok(told.every((name) => name === 'node7'))
  assert.deepEqual([moved, plans], [0, 0])
})

/** A connection that can be cut, and that says what the server answered. */
class CutTransport implements Transport {
  readonly #inner = connectTransport(loadCredentials(cluster.kubeconfig), 1_000)
  isCut = false
  /** Runs before each request. */
  before: ((path: string) => Promise<void>) | undefined
  /** 410 as a status or in an ERROR event. */
  expired = 0

  async get(path: string, signal: AbortSignal): Promise<Answer> {
    await this.before?.(path)
    if (this.isCut) throw new HeraldError('ERR_API_SERVER', 'the connection is cut')
    const answer = await this.#inner.get(path, signal)
    if (answer.status === 410) this.expired++
    return { ...answer, body: this.#read(answer.body) }
  }

  async *#read(body: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
    for await (const chunk of body) {
      if (this.isCut) throw new HeraldError('ERR_API_SERVER', 'the connection is cut')
      if (/"type":"ERROR".*"code":410/.test(Buffer.from(chunk).toString())) this.expired++
      yield chunk
    }
  }

  change: Transport['change'] = (change, signal) => this.#inner.change(change, signal)
  renew = (): void => this.#inner.renew()
  close = (): Promise<void> => this.#inner.close()
}

/** What etcd knew before is forgotten, and the server's memory of it with a restart. */
async function compact(): Promise<void> {
  const revision = Number(JSON.parse(await cluster.kubectl(['get', '--raw', services])).metadata.resourceVersion)
  const asked = { method: 'POST', body: JSON.stringify({ revision: String(revision), physical: true }) }
  const answer = await fetch(`${cluster.etcdUrl}/v3/kv/compaction`, asked)
  assert.equal(answer.status, 200, await answer.text())
  await cluster.restart('apiserver')
  client.close()
  client = new ApiClient(cluster.url)
}

test('a watch whose version was compacted away is answered with 410: it lists, and takes nothing away', {
  skip,
}, async () => {
  const transport = new CutTransport()
  const reader = new Reader({ transport })
  await client.send('POST', services, service('goes'))
  await reader.start()
  await waitFor('everything was read', () => reader.isSynced && reader.names.has('goes'))
  transport.isCut = true
  await client.send('DELETE', `${services}/goes`)
  await client.send('POST', services, service('comes'))
  await compact()
  transport.isCut = false
  await waitFor('what happened meanwhile', () => reader.names.has('comes'), { deadlineMs: 60_000 })
  await waitFor('what went meanwhile', () => !reader.names.has('goes'), { deadlineMs: 60_000 })
  assert.ok(transport.expired > 0, 'the server said 410')
  assert.deepEqual(reader.removed, ['goes'])
  assert.equal(reader.source.state.unconfirmed, 0)
})

test('a list whose next page was compacted away is read in one piece', { skip }, async () => {
  await client.all(600, (i) => client.send('POST', services, service(`many-${i}`)))
  const transport = new CutTransport()
  const reader = new Reader({ transport })
  let pages = 0
  transport.before = async (path) => {
    if (!path.includes('continue=') || pages++ > 0) return
    await client.send('POST', services, service('between'))
    await compact()
  }
  await reader.start()
  await waitFor('everything was read', () => reader.isSynced, { deadlineMs: 60_000 })
  assert.equal(pages, 1, 'there was a second page, once')
  assert.ok(transport.expired > 0, 'the server said 410')
  assert.ok(reader.names.has('between') && reader.names.has('many-599') && reader.names.size >= 601)
  assert.deepEqual(reader.removed, [])
})

function kubeconfig(name: string, user: object): string {
  const path = join(folder, name)
  const config = {
    'current-context': 'c',
    clusters: [{ name: 'c', cluster: { server: cluster.url, 'certificate-authority': cluster.caFile } }],
    users: [{ name: 'c', user }],
    contexts: [{ name: 'c', context: { cluster: 'c', user: 'c' } }],
  }
  writeFileSync(path, JSON.stringify(config))
  return path
}

test('a user with a client certificate is who it says', { skip }, async () => {
  const rules = [{ apiGroups: [''], resources: ['services'], verbs: ['list', 'watch'] }]
  const metadata = { name: 'reader' }
  await cluster.apply(
    JSON.stringify({ apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRole', metadata, rules }),
  )
  await cluster.kubectl(['create', 'clusterrolebinding', 'reader', '--clusterrole=reader', '--user=agent'])
  const data = (text: string): string => Buffer.from(text).toString('base64')
  const user = { 'client-certificate-data': data(agentCertificate), 'client-key-data': data(agentKey) }
  const named = (file: string, given: object): Transport => connectTransport(loadCredentials(kubeconfig(file, given)))
  const reader = new Reader({ transport: named('certificate', user) })
  await reader.start()
  await waitFor('everything was read', () => reader.isSynced)
  assert.ok(reader.names.has('kubernetes'))
  const stranger = new Reader({ transport: named('nobody', {}) })
  await stranger.start()
  await waitFor('it is refused', () => /anonymous|nauthorized/.test(problemOf(stranger)))
  assert.equal(stranger.isSynced, false)
})

const problemOf = ({ source }: Reader): string => source.state.ofKind('Service').problem ?? ''

test('a token of a service account that ends is replaced by what the plugin says then, and nothing is taken away', {
  skip,
}, async () => {
  await cluster.kubectl(['create', 'serviceaccount', 'watcher'])
  await cluster.kubectl([
    ...['create', 'clusterrolebinding', 'watcher', '--clusterrole=cluster-admin'],
    '--serviceaccount=default:watcher',
  ])
  // Bound to a Secret, a token ends with it.
  for (const name of ['first', 'second']) await cluster.kubectl(['create', 'secret', 'generic', name])
  const tokenFile = join(folder, 'token')
  const give = async (secret: string): Promise<void> => {
    const bound = ['--bound-object-kind=Secret', `--bound-object-name=${secret}`]
    const token = (await cluster.kubectl(['create', 'token', 'watcher', '--duration=1h', ...bound])).trim()
    const expirationTimestamp = new Date(Date.now() + 3_600_000).toISOString()
    const status = { token, expirationTimestamp }
    const kind = 'ExecCredential'
    writeFileSync(tokenFile, JSON.stringify({ apiVersion: 'client.authentication.k8s.io/v1', kind, status }))
  }
  await give('first')
  const command = join(folder, 'plugin.sh')
  writeFileSync(command, `#!/bin/sh\ncat ${tokenFile}\n`, { mode: 0o755 })
  const exec = { apiVersion: 'client.authentication.k8s.io/v1', command, interactiveMode: 'Never' }
  const reader = new Reader({ transport: connectTransport(loadCredentials(kubeconfig('exec', { exec }))) })
  await reader.start()
  await waitFor('everything was read', () => reader.isSynced)
  await cluster.kubectl(['delete', 'secret', 'first'])
  // The plugin goes on with the token that ended: the server says 401 after its restart.
  await cluster.restart('apiserver')
  await waitFor('the server refuses it', () => /nauthorized/.test(problemOf(reader)), { deadlineMs: 60_000 })
  await give('second')
  await cluster.apply(JSON.stringify(service('afterwards')))
  await waitFor('news with the new one', () => reader.names.has('afterwards'), { deadlineMs: 60_000 })
  await waitFor('it is over', () => problemOf(reader) === '', { deadlineMs: 60_000 })
  assert.deepEqual(reader.removed, [])
})
