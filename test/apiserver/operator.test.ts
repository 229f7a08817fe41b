/**
 * `herald operator` as processes on a real API server: leading, paused, killed, refused and in a burst. Every address
 * is written once and belongs to one Service.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { loadCredentials } from '../../src/k8s/apiserver/credentials.ts'
import { ApiRequests } from '../../src/k8s/apiserver/requests.ts'
import { connectTransport } from '../../src/k8s/apiserver/transport.ts'
import { waitFor } from '../wait.ts'
import { presentBinaries } from './binaries.ts'
import { type Cluster, startCluster } from './cluster.ts'
import { poolCrd } from './crds.ts'
import { operatorRules, ownRules, roleOf } from './operator-role.ts'

const herald = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'bin/herald')
const binaries = presentBinaries()
const skip = binaries === undefined ? 'no kube-apiserver here (see test/apiserver/binaries.ts)' : false
const list = (items: readonly object[]): string => JSON.stringify({ apiVersion: 'v1', kind: 'List', items })

interface Ingress {
  readonly ip: string
  readonly ipMode?: string
}

interface Listed {
  readonly metadata: { readonly name: string; readonly uid: string }
  readonly status: {
    readonly loadBalancer: { readonly ingress?: readonly Ingress[] }
    readonly conditions?: readonly { readonly type: string; readonly status: string; readonly reason: string }[]
  }
}

class Process {
  readonly child: ChildProcess
  readonly name: string
  output = ''

  constructor(name: string) {
    this.name = name
    const flags = ['--kubeconfig', cluster.kubeconfigOf('operator'), '--http', 'none', '--identity', name]
    const args = ['operator', ...flags, '--lease-namespace', 'herald']
    this.child = spawn(herald, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text
      })
    running.add(this)
  }

  get leads(): boolean {
    return this.output.includes('this operator leads')
  }

  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill(signal)
      await once(this.child, 'exit')
    }
    running.delete(this)
    return this.child.exitCode
  }
}

let cluster: Cluster
const running = new Set<Process>()

const service = (name: string, spec: object = {}): object => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace: 'default' },
  spec: { type: 'LoadBalancer', allocateLoadBalancerNodePorts: false, ports: [{ port: 80 }], ...spec },
})

async function services(): Promise<readonly Listed[]> {
  const { items }: { readonly items: readonly Listed[] } = JSON.parse(
    await cluster.kubectl(['get', 'services', '-n', 'default', '-o', 'json']),
  )
  return items.filter(({ metadata: { name } }) => name !== 'kubernetes')
}

const addressOf = ({ status }: Listed): string => (status.loadBalancer.ingress ?? []).map(({ ip }) => ip).join()
const reasonOf = ({ status }: Listed): string =>
  status.conditions?.find(({ type }) => type === 'herald.dev/AddressAllocated')?.reason ?? ''

async function named(name: string): Promise<Listed> {
  return JSON.parse(await cluster.kubectl(['get', 'service', name, '-n', 'default', '-o', 'json']))
}

async function given(name: string): Promise<string> {
  return waitFor(`${name} has an address`, async () => addressOf(await named(name)) || undefined).catch(
    (error: unknown) =>
      assert.fail(`${String(error)}\n${[...running].map(({ output }) => output.slice(-3000)).join('\n')}`),
  )
}

before(async () => {
  if (binaries === undefined) return
  cluster = await startCluster(binaries)
  await cluster.apply(list([{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'herald' } }, poolCrd]))
  await cluster.kubectl(['wait', '--for=condition=Established', 'crd/ciliumloadbalancerippools.cilium.io'])
  await cluster.apply(list([roleOf('operator', operatorRules), roleOf('operator', ownRules, 'herald')]))
  const user = ['--user=operator']
  await cluster.kubectl(['create', 'clusterrolebinding', 'operator', '--clusterrole=operator', ...user])
  await cluster.kubectl(['create', 'rolebinding', 'operator', '-n', 'herald', '--role=operator', ...user])
  const spec = { blocks: [{ cidr: '203.0.112.0/21' }] }
  await cluster.apply(
    list([{ apiVersion: 'cilium.io/v2', kind: 'CiliumLoadBalancerIPPool', metadata: { name: 'blue' }, spec }]),
  )
})

after(async () => {
  for (const each of running) each.child.kill('SIGKILL')
  await cluster?.stop()
})

test('one of two operators leads, imports what is there and gives addresses; a stop hands over at once', {
  skip,
}, async () => {
  await cluster.apply(list([service('old'), service('imported')]))
  const patch = JSON.stringify({ status: { loadBalancer: { ingress: [{ ip: '203.0.112.0' }] } } })
  await cluster.kubectl(['patch', 'service', 'imported', '--subresource=status', '--type=merge', '-p', patch])
  const first = new Process('op-1')
  await waitFor('the first leads', () => first.leads)
  const second = new Process('op-2')
  assert.equal(await given('old'), '203.0.112.1')
  await waitFor('the import is confirmed', async () => reasonOf(await named('imported')) === 'Allocated')
  assert.deepEqual((await named('old')).status.loadBalancer.ingress, [{ ip: '203.0.112.1', ipMode: 'VIP' }])
  const managers = await cluster.kubectl(['get', 'service', 'imported', '-o', 'json', '--show-managed-fields'])
  assert.match(managers, /"herald-operator"/)
  assert.equal(second.leads, false)
  assert.equal(await first.end('SIGTERM'), 0)
  await waitFor('the second leads', () => second.leads, { deadlineMs: 12_000 })
  await cluster.apply(list([service('next')]))
  assert.equal(await given('next'), '203.0.112.2')
  const lease = JSON.parse(await cluster.kubectl(['get', 'lease', '-n', 'herald', 'herald-operator', '-o', 'json']))
  assert.equal(lease.spec.holderIdentity, 'op-2')
  const statusOfPool = (): Promise<string> =>
    cluster.kubectl(['get', 'ciliumloadbalancerippool', 'blue', '-o', 'jsonpath={.status.conditions[3].message}'])
  await waitFor('the pool counts', async () => (await statusOfPool()) === '3')
})

test('a leader that is paused past its lease and goes on writes nothing, says why and ends', { skip }, async () => {
  const [old] = [...running]
  assert.ok(old !== undefined)
  const next = new Process('op-3')
  await waitFor('it looks', () => next.output.includes('another operator holds the Lease'))
  old.child.kill('SIGSTOP')
  await cluster.apply(list(['p1', 'p2', 'p3'].map((name) => service(name))))
  await waitFor('the other one leads', () => next.leads, { deadlineMs: 40_000 })
  const before = [await given('p1'), await given('p2'), await given('p3')]
  const ended = once(old.child, 'exit')
  old.child.kill('SIGCONT')
  assert.deepEqual(await ended, [1, null])
  running.delete(old)
  assert.match(old.output, /the Lease was not renewed in time/)
  const now = await services()
  assert.deepEqual(
    ['p1', 'p2', 'p3'].map((name) => addressOf(now.find(({ metadata }) => metadata.name === name) as Listed)),
    before,
  )
  assert.equal(new Set(now.map(addressOf)).size, now.length)
})

test('a server that was killed and started again gets what happened meanwhile, and moves nothing', {
  skip,
}, async () => {
  const before = new Map((await services()).map((each) => [each.metadata.name, addressOf(each)]))
  cluster.signal('apiserver', 'SIGKILL')
  await cluster.restart('apiserver')
  await cluster.apply(list([service('after-restart')]))
  const ip = await given('after-restart')
  for (const each of await services())
    if (before.has(each.metadata.name)) assert.equal(addressOf(each), before.get(each.metadata.name))
  assert.equal([...before.values()].includes(ip), false)
})

test('a status that another manager owns is not forced: condition and event say so', { skip }, async () => {
  const ip = await given('next')
  const patch = JSON.stringify({ status: { loadBalancer: { ingress: [{ ip: '198.51.100.77' }] } } })
  await cluster.kubectl(['patch', 'service', 'next', '--subresource=status', '--type=merge', '-p', patch])
  const told = await waitFor('it is told', async () => {
    const found = await named('next')
    return reasonOf(found) === 'StatusOwned' && found
  })
  assert.equal(addressOf(told), '198.51.100.77')
  const events = await waitFor('an event', async () => {
    const text = await cluster.kubectl(['get', 'events', '-n', 'default', '-o', 'json'])
    return text.includes('StatusOwned') && text
  })
  const { items }: { readonly items: readonly Readonly<Record<string, unknown>>[] } = JSON.parse(events)
  assert.equal(items.filter(({ reason }) => reason === 'StatusOwned').length, 1)
  const clear = JSON.stringify({ status: { loadBalancer: { ingress: [] } } })
  await cluster.kubectl(['patch', 'service', 'next', '--subresource=status', '--type=merge', '-p', clear])
  assert.equal(await given('next'), ip, 'it was held meanwhile')
})

test('without the verb on services/status nothing is lost: it is said, tried again, and the rest goes on', {
  skip,
}, async () => {
  const rules = operatorRules.filter(({ resources }) => !resources.includes('services/status'))
  await cluster.apply(list([roleOf('operator', rules)]))
  await cluster.apply(list([service('forbidden')]))
  const [leader] = [...running]
  assert.ok(leader !== undefined)
  await waitFor('the log says so', () => /services\/status.*forbidden|forbidden.*services\/status/.test(leader.output))
  await cluster.apply(list([roleOf('operator', operatorRules)]))
  await given('forbidden')
})

test('1 000 Services created at once each get an address of their own', { skip }, async (t) => {
  const names = Array.from({ length: 1000 }, (_, index) => `burst-${index}`)
  const started = performance.now()
  // kubectl takes half a minute for them.
  const transport = connectTransport(loadCredentials(cluster.kubeconfig))
  const requests = new ApiRequests(transport, 60_000)
  const [path, contentType] = ['/api/v1/namespaces/default/services', 'application/json']
  const queue = [...names]
  const create = async (): Promise<void> => {
    for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
      const body = JSON.stringify(service(name))
      assert.equal((await requests.change({ method: 'POST', path, contentType, body })).status, 201)
    }
  }
  await Promise.all(Array.from({ length: 50 }, create))
  await transport.close()
  const created = performance.now()
  const all = await waitFor(
    'all of them have one',
    async () => {
      const now = (await services()).filter(({ metadata }) => metadata.name.startsWith('burst-'))
      return now.length === 1000 && now.every((each) => addressOf(each) !== '') && now
    },
    { deadlineMs: 120_000, everyMs: 500 },
  )
  const ended = performance.now()
  t.diagnostic(`created in ${Math.round(created - started)} ms, all written ${Math.round(ended - created)} ms later`)
  assert.equal(new Set([...(await services())].map(addressOf)).size, (await services()).length)
  assert.equal(all.length, 1000)
})

test('a Service that becomes a ClusterIP loses its address, which is kept for it while others are free', {
  skip,
}, async () => {
  const ip = await given('old')
  await cluster.kubectl(['patch', 'service', 'old', '-p', JSON.stringify({ spec: { type: 'ClusterIP' } })])
  await waitFor('it is cleared', async () => {
    const found = await named('old')
    return addressOf(found) === '' && reasonOf(found) === ''
  })
  await cluster.apply(list([service('heir')]))
  assert.notEqual(await given('heir'), ip)
  const [leader] = [...running]
  assert.equal(await leader?.end('SIGTERM'), 0)
})

test('who had a port of a shared address keeps it on a real server, over a kill of the operator', {
  skip,
}, async () => {
  const annotations = { 'metallb.io/allow-shared-ip': 'k' }
  const sharing = (name: string, ...ports: readonly number[]): object => ({
    ...service(name, { ports: ports.map((port) => ({ port, name: `p${port}` })) }),
    metadata: { name, namespace: 'default', annotations },
  })
  const held = async (name: string): Promise<string> => {
    const { conditions = [] } = (await named(name)).status
    const found = conditions.find(({ type }) => type === 'herald.dev/PortsHeld') as { message?: string } | undefined
    return found?.message ?? ''
  }
  await cluster.apply(list([sharing('aaa-old', 81)]))
  const first = new Process('op-ports')
  await waitFor('the first leads', () => first.leads, { deadlineMs: 60_000 })
  await given('aaa-old')
  await cluster.apply(list([sharing('young', 80)]))
  assert.equal(await given('young'), await given('aaa-old'))
  await waitFor('it is recorded', async () => (await held('young')).startsWith('80/TCP of '))
  await first.end('SIGKILL')
  await cluster.apply(list([sharing('aaa-old', 81, 80)]))
  const second = new Process('op-ports-2')
  await waitFor('the second leads', () => second.leads, { deadlineMs: 90_000 })
  await waitFor('it is told', async () => reasonOf(await named('aaa-old')) === 'SomePortsTaken')
  assert.match(await held('aaa-old'), /^81\/TCP of /)
  assert.match(await held('young'), /^80\/TCP of /)
  assert.equal(reasonOf(await named('young')), 'Allocated')
  await second.end('SIGTERM')
  await cluster.kubectl(['delete', 'service', '-n', 'default', 'aaa-old', 'young'])
})

test('an older Service into whose status its tenant writes the address of another gets it from no leader', {
  skip,
}, async () => {
  await cluster.apply(list([service('aaa-thief')]))
  const first = new Process('op-theft')
  await waitFor('the first leads', () => first.leads, { deadlineMs: 60_000 })
  await given('aaa-thief')
  await cluster.apply(list([service('zzz-victim')]))
  const ip = await given('zzz-victim')
  await waitFor('it is said', async () => reasonOf(await named('zzz-victim')) === 'Allocated')
  await first.end('SIGKILL')
  const forged = {
    ...{ type: 'herald.dev/AddressAllocated', status: 'True', reason: 'Allocated' },
    ...{ message: `${ip} of pool blue`, lastTransitionTime: '2020-01-01T00:00:00Z' },
  }
  const patch = JSON.stringify({ status: { loadBalancer: { ingress: [{ ip, ipMode: 'VIP' }] }, conditions: [forged] } })
  const forge = ['--subresource=status', '--type=merge', '--field-manager=herald-operator', '-p', patch]
  await cluster.kubectl(['patch', 'service', 'aaa-thief', '-n', 'default', ...forge])
  const second = new Process('op-theft-2')
  await waitFor('the second leads', () => second.leads, { deadlineMs: 90_000 })
  // Who is new is given an address when everybody's status was settled and written.
  await cluster.apply(list([service('zzz-witness')]))
  assert.notEqual(await given('zzz-witness'), ip)
  const there = await named('zzz-victim')
  assert.deepEqual([addressOf(there), reasonOf(there)], [ip, 'Allocated'])
  await second.end('SIGTERM')
  await cluster.kubectl(['delete', 'service', '-n', 'default', 'aaa-thief', 'zzz-victim', 'zzz-witness'])
})
