/**
 * Moving in, on a real API server: `herald migrate` with the rights that docs/migrate.md gives it, and every command
 * of its recipes. What MetalLB and Cilium leave in a cluster (kinds, objects, webhooks, statuses under their own field
 * managers) is put there; operator, agent and router are real.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { networkInterfaces } from 'node:os'
import { after, before, test } from 'node:test'
import { crdOf } from '../../scripts/crds.ts'
import { loadCredentials } from '../../src/k8s/apiserver/credentials.ts'
import { ApiRequests } from '../../src/k8s/apiserver/requests.ts'
import { connectTransport, type Transport } from '../../src/k8s/apiserver/transport.ts'
import type { MovingReport } from '../../src/k8s/dialects/moving/report.ts'
import { Router } from '../e2e/router.ts'
import { waitFor } from '../wait.ts'
import { presentBinaries } from './binaries.ts'
import { type Cluster, startCluster } from './cluster.ts'
import { herald, readingRole, recipe, Release } from './moving-world.ts'

const binaries = presentBinaries()
const port = 10_000 + (process.pid % 6_000)
// A peer on loopback is warned about: an address of this machine, which packets leave as little.
const address = Object.values(networkInterfaces())
  .flatMap((all) => all ?? [])
  .find(({ internal, family }) => !internal && family === 'IPv4')?.address
const router = new Router(address ?? '', port, address)
const skip =
  binaries === undefined
    ? 'no kube-apiserver here (see test/apiserver/binaries.ts)'
    : address === undefined
      ? 'no IPv4 address beside loopback here'
      : false
const list = (items: readonly object[]): string => JSON.stringify({ apiVersion: 'v1', kind: 'List', items })
const neighbors = { 'herald.dev/neighbors': '{"*": {nextHop: 192.0.2.9}}' }

const metallb = (kind: string, name: string, spec: object, more: object = {}): object => ({
  apiVersion: kind === 'BGPPeer' ? 'metallb.io/v1beta2' : 'metallb.io/v1beta1',
  kind,
  metadata: { name, namespace: 'metallb-system', ...more },
  spec,
})
const peer = metallb(
  'BGPPeer',
  'tor',
  { myASN: 65001, peerASN: 65000, peerAddress: address, peerPort: port, holdTime: '9s', routerID: '192.0.2.9' },
  { annotations: neighbors },
)

const workload = (kind: 'DaemonSet' | 'Deployment', name: string, image: string, env: readonly object[] = []) => {
  const labels = { app: name }
  const template = { metadata: { labels }, spec: { containers: [{ name: 'main', image, env }] } }
  const metadata = { name, namespace: 'metallb-system' }
  return { apiVersion: 'apps/v1', kind, metadata, spec: { selector: { matchLabels: labels }, template } }
}

const client = { service: { namespace: 'metallb-system', name: 'metallb-webhook-service', path: '/x' } }
const hooks = {
  apiVersion: 'admissionregistration.k8s.io/v1',
  kind: 'ValidatingWebhookConfiguration',
  metadata: { name: 'metallb-webhook-configuration' },
  webhooks: [
    {
      name: 'ipaddresspoolvalidationwebhook.metallb.io',
      rules: [
        { apiGroups: ['metallb.io'], apiVersions: ['v1beta1'], operations: ['CREATE', 'UPDATE'], resources: ['*'] },
      ],
      clientConfig: client,
      failurePolicy: 'Fail',
      sideEffects: 'None',
      timeoutSeconds: 2,
      admissionReviewVersions: ['v1'],
    },
  ],
}

let cluster: Cluster
let release: Release
let transport: Transport
let requests: ApiRequests

const service = (name: string, more: object = {}): object => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace: 'default' },
  spec: { type: 'LoadBalancer', allocateLoadBalancerNodePorts: false, ports: [{ port: 80 }], ...more },
})
const slice = (name: string): object => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { name: `${name}-1`, namespace: 'default', labels: { 'kubernetes.io/service-name': name } },
  addressType: 'IPv4',
  endpoints: [{ addresses: ['10.1.1.5'], nodeName: 'node1', conditions: { ready: true } }],
  ports: [{ port: 8080, protocol: 'TCP' }],
})

async function sent(method: 'POST' | 'PUT', path: string, body: object): Promise<void> {
  const answer = await requests.change({ method, path, contentType: 'application/json', body: JSON.stringify(body) })
  assert.ok(answer.status < 300, `${path}: ${answer.status} ${answer.message}`)
}

/** As a controller of another allocator does: PUT of the status, under its name. */
async function assign(name: string, ip: string, manager = 'controller'): Promise<void> {
  const path = `/api/v1/namespaces/default/services/${name}`
  const { object } = await requests.get(path)
  const status = { ...(object['status'] as object), loadBalancer: { ingress: [{ ip }] } }
  await sent('PUT', `${path}/status?fieldManager=${manager}`, { ...object, status })
}

async function created(names: readonly string[], ipOf: (index: number) => string, manager?: string): Promise<void> {
  const queue = names.map((name, index) => ({ name, ip: ipOf(index) }))
  const work = async (): Promise<void> => {
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
      await sent('POST', '/api/v1/namespaces/default/services', service(next.name))
      await assign(next.name, next.ip, manager)
    }
  }
  await Promise.all(Array.from({ length: 20 }, work))
}

interface Listed {
  readonly metadata: { readonly name: string; readonly resourceVersion: string }
  readonly spec: { readonly loadBalancerClass?: string }
  readonly status: {
    readonly loadBalancer: { readonly ingress?: readonly { readonly ip: string }[] }
    readonly conditions?: readonly { readonly type: string; readonly reason: string }[]
  }
}

async function services(): Promise<readonly Listed[]> {
  const text = await cluster.kubectl(['get', 'services', '-n', 'default', '-o', 'json'])
  const { items }: { readonly items: readonly Listed[] } = JSON.parse(text)
  return items.filter(({ metadata }) => metadata.name !== 'kubernetes')
}

const addressesOf = (all: readonly Listed[]): ReadonlyMap<string, string> =>
  new Map(
    all.map(({ metadata, status }) => [metadata.name, (status.loadBalancer.ingress ?? []).map(({ ip }) => ip).join()]),
  )
const reasonOf = ({ status }: Listed): string =>
  status.conditions?.find(({ type }) => type === 'herald.dev/AddressAllocated')?.reason ?? ''

/** As the user of the reading role. */
function migrate(...words: readonly string[]): Promise<{ readonly code: number; readonly report: MovingReport }> {
  const args = ['migrate', ...words, '--kubeconfig', cluster.kubeconfigOf('nobody'), '-o', 'json']
  return new Promise((resolve, reject) => {
    execFile(herald, args, { maxBuffer: 64 * 2 ** 20 }, (error, stdout, stderr) => {
      if (stdout === '') return reject(new Error(stderr))
      resolve({ code: Number(error?.code ?? 0), report: JSON.parse(stdout) })
    })
  })
}

const codes = ({ preflight }: MovingReport): readonly string[] => [...new Set(preflight.map(({ code }) => code))].sort()

before(async () => {
  if (binaries === undefined || address === undefined) return
  cluster = await startCluster(binaries)
  const kinds = ['IPAddressPool', 'BGPPeer', 'BGPAdvertisement', 'Community', 'BFDProfile', 'L2Advertisement'] as const
  const ours = ['CiliumBGPPeeringPolicy', 'CiliumLoadBalancerIPPool', 'CiliumBGPClusterConfig'] as const
  const names = [...ours, 'CiliumBGPPeerConfig', 'CiliumBGPAdvertisement', 'CiliumBGPNodeConfigOverride'] as const
  const nodeConfig = {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: 'ciliumnodeconfigs.cilium.io' },
    spec: {
      group: 'cilium.io',
      scope: 'Namespaced',
      names: { kind: 'CiliumNodeConfig', plural: 'ciliumnodeconfigs', singular: 'ciliumnodeconfig' },
      versions: [
        {
          name: 'v2',
          served: true,
          storage: true,
          schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
        },
      ],
    },
  }
  const namespaces = ['metallb-system', 'herald-system'].map((name) => ({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name },
  }))
  const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node1' }, spec: { podCIDRs: ['10.1.1.0/24'] } }
  await cluster.apply(list([...namespaces, node, ...[...kinds, ...names].map(crdOf), nodeConfig]))
  await cluster.kubectl(['wait', '--for=condition=Established', '--timeout=60s', 'crd', '--all'])
  const addresses = JSON.stringify({ status: { addresses: [{ type: 'InternalIP', address: '192.0.2.9' }] } })
  await cluster.kubectl(['patch', 'node', 'node1', '--subresource=status', '--type=merge', '-p', addresses])
  await cluster.apply(
    list([
      peer,
      metallb('IPAddressPool', 'production', { addresses: ['198.18.0.0/20'] }),
      metallb('IPAddressPool', 'other', { addresses: ['198.18.16.0/24'], autoAssign: false }),
      metallb('BGPAdvertisement', 'everywhere', {}),
      workload('Deployment', 'metallb-controller', 'quay.io/metallb/controller:v0.16.1'),
      workload('DaemonSet', 'metallb-speaker', 'quay.io/metallb/speaker:v0.16.1', [
        { name: 'METALLB_BGP_TYPE', value: 'frr' },
      ]),
    ]),
  )
  const conversion = { strategy: 'Webhook', webhook: { conversionReviewVersions: ['v1'], clientConfig: client } }
  const patch = JSON.stringify({
    metadata: { annotations: { 'meta.helm.sh/release-name': 'metallb' } },
    spec: { conversion },
  })
  await cluster.kubectl(['patch', 'crd', 'bgppeers.metallb.io', '--type=merge', '-p', patch])
  await cluster.apply(list([hooks]))
  await cluster.apply(readingRole())
  await cluster.kubectl(['create', 'clusterrolebinding', 'nobody', '--clusterrole=herald-migrate', '--user=nobody'])
  transport = connectTransport(loadCredentials(cluster.kubeconfig))
  requests = new ApiRequests(transport, 60_000)
  release = new Release(cluster, binaries)
  await router.start()
})

after(async () => {
  await release?.stop()
  await transport?.close()
  if (skip === false) router.speaker.handle({ type: 'stop', mode: 'shutdown', text: '' })
  await cluster?.stop()
})

const count = 500
const names = Array.from({ length: count }, (_, index) => `web-${index}`)
/** MetalLB takes pools in any order: what it gave cannot be worked out again. */
const given = (index: number): string => {
  const value = (index * 1_237) % 4_000
  return `198.18.${value >> 8}.${value & 255}`
}
let addressesBefore: ReadonlyMap<string, string> = new Map()

test('a cluster is read with rights to read alone: what is found first, and 500 of 500 addresses are kept', {
  skip,
}, async () => {
  await created(names, given)
  addressesBefore = addressesOf(await services())
  assert.doesNotMatch(readingRole(), /create|update|patch|delete|watch|\*"?\], verbs: \["?\*/)
  const lists = 'services,nodes,ipaddresspools,bgppeers,crds'
  const versions = async (): Promise<string> =>
    (await cluster.kubectl(['get', lists, '-A', '-o', 'jsonpath={..resourceVersion}'])).trim().split(/ +/).sort().join()
  const untouched = await versions()
  const { code, report } = await migrate('metallb')
  assert.equal(await versions(), untouched)
  assert.equal(code, 1)
  assert.deepEqual([report.backend, report.nodes, report.sessions.length], ['frr', ['node1'], 1])
  assert.deepEqual(report.sessions[0]?.before, report.sessions[0]?.after)
  assert.equal(report.services.filter((each) => each.before.join() === each.after.join()).length, count)
  const found = codes(report)
  for (const each of ['CrdOfRelease', 'WebhookRefuses', 'ConversionWebhook', 'SpeakerRuns', 'AllocatorRuns'])
    assert.ok(found.includes(each), `${each} is not among ${found.join()}`)
  assert.equal(found.includes('Unreadable'), false)
})

test('a right that is missing is said, and the rest is shown', { skip }, async () => {
  await cluster.apply(readingRole().replace('daemonsets, deployments', 'deployments'))
  const { code, report } = await migrate('metallb', '--backend', 'frr')
  assert.equal(code, 1)
  assert.deepEqual(
    report.preflight.filter((each) => each.code === 'Unreadable').map(({ object }) => object),
    ['daemonsets'],
  )
  assert.equal(report.sessions.length, 1)
  await cluster.apply(readingRole())
})

test('node by node from MetalLB: the recipe, with 0 of 500 Services renumbered and their routes at the router', {
  skip,
}, async () => {
  const [save = '', install = '', label = '', look = '', finish = ''] = recipe('From MetalLB, node by node')
  await assert.rejects(cluster.kubectl(['get', 'bgppeers.v1beta1.metallb.io', '-A']), /conversion webhook/)
  await assert.rejects(
    cluster.kubectl(['annotate', 'ipaddresspool', 'production', '-n', 'metallb-system', 'a=b']),
    /webhook/,
  )
  await release.run(save)
  await cluster.kubectl(['get', 'bgppeers.v1beta1.metallb.io', '-A'])
  await cluster.kubectl(['annotate', 'ipaddresspool', 'production', '-n', 'metallb-system', 'a=b'])
  await release.run(install)
  assert.deepEqual([release.isRunning('operator'), release.isRunning('agent')], [true, false])
  const speaker = await cluster.kubectl(['get', 'daemonset', 'metallb-speaker', '-n', 'metallb-system', '-o', 'json'])
  assert.match(speaker, /"key": "herald.dev\/speaker",\s*"operator": "DoesNotExist"/)
  const imported = async (): Promise<boolean> => (await services()).every((each) => reasonOf(each) === 'Allocated')
  await waitFor('all are imported', imported, { deadlineMs: 60_000, everyMs: 500 })
  assert.deepEqual(addressesOf(await services()), addressesBefore)
  await cluster.apply(list([slice('web-1'), slice('web-2')]))
  await release.run(label)
  assert.equal(release.isRunning('agent'), true)
  assert.match(await release.run(look), /Established/)
  const routes = [given(1), given(2)].map((ip) => `${ip}/32 via 192.0.2.9`).sort()
  await waitFor('the routes', async () => (await router.received()).join() === routes.join())
  assert.deepEqual(addressesOf(await services()), addressesBefore)
  const { report } = await migrate('metallb')
  const left = codes(report).filter((each) => /Crd|Webhook/.test(each))
  assert.deepEqual(left, [])
  assert.match(await release.run(finish), /bgppeer.metallb.io\/tor/)
})

test('pool by pool: another advertisement takes the routes of the pool over, and none goes meanwhile', {
  skip,
}, async () => {
  const changes = router.transitions.length
  const [move = ''] = recipe('Pool by pool')
  await release.run(move)
  const routes = [given(1), given(2)].map((ip) => `${ip}/32 via 192.0.2.9`).sort()
  assert.equal((await router.received()).join(), routes.join())
  assert.equal(router.transitions.length, changes)
  await cluster.kubectl(['delete', 'bgpadvertisement', 'moved', '-n', 'metallb-system'])
  await waitFor('the other is for the other pool', async () => (await router.received()).length === 0)
  await cluster.apply(list([metallb('BGPAdvertisement', 'everywhere', { ipAddressPools: [] })]))
})

test('by class: a Service moves with its address, and one without a class is left to the other allocator', {
  skip,
}, async () => {
  const [install = '', move = ''] = recipe('Service by Service, by class')
  await release.run(install)
  await created(['web', 'other'], (index) => `198.18.15.${index + 1}`)
  await cluster.apply(list([service('late')]))
  await release.run(move)
  const named = async (name: string): Promise<Listed | undefined> =>
    (await services()).find(({ metadata }) => metadata.name === name)
  await waitFor('it has its address again', async () => addressesOf(await services()).get('web') === '198.18.15.1')
  const moved = await named('web')
  assert.deepEqual([moved?.spec.loadBalancerClass, moved && reasonOf(moved)], ['herald.dev/bgp', 'Allocated'])
  const late = await named('late')
  assert.deepEqual([addressesOf(await services()).get('late'), late && reasonOf(late)], ['', ''])
  await assign('late', '198.18.15.3')
  assert.equal(addressesOf(await services()).get('other'), '198.18.15.2')
})

test('back to MetalLB: agents and operator go, statuses stay, and its controller writes as before', {
  skip,
}, async () => {
  const now = addressesOf(await services())
  const [back = ''] = recipe('Back to MetalLB')
  assert.match(await release.run(back), /198\.18\./)
  assert.deepEqual([release.isRunning('operator'), release.isRunning('agent')], [false, false])
  assert.deepEqual(addressesOf(await services()), now)
  for (const name of names) assert.equal(now.get(name), addressesBefore.get(name))
  await assign('web-1', given(1))
  await assign('web-2', '198.18.15.99')
  assert.equal(addressesOf(await services()).get('web-2'), '198.18.15.99')
})

const policy = (kind: 'v1' | 'v2'): readonly object[] => {
  const metadata = { name: 'rack', annotations: neighbors }
  const timers = { holdTimeSeconds: 9, keepAliveTimeSeconds: 3 }
  if (kind === 'v1') {
    const families = [{ afi: 'ipv4', safi: 'unicast' }]
    const neighbor = { peerAddress: `${address}/32`, peerPort: port, peerASN: 65000, families, ...timers }
    const spec = { nodeSelector: {}, virtualRouters: [{ localASN: 65001, serviceSelector: {}, neighbors: [neighbor] }] }
    return [{ apiVersion: 'cilium.io/v2alpha1', kind: 'CiliumBGPPeeringPolicy', metadata, spec }]
  }
  const peers = [{ name: 'tor', peerAddress: address, peerASN: 65000, peerConfigRef: { name: 'tor' } }]
  const own = { apiVersion: 'cilium.io/v2' }
  const advertised = { matchLabels: { bgp: 'yes' } }
  const addresses = { addresses: ['LoadBalancerIP'] }
  return [
    {
      ...own,
      kind: 'CiliumBGPClusterConfig',
      metadata,
      spec: { bgpInstances: [{ name: 'main', localASN: 65001, peers }] },
    },
    {
      ...own,
      kind: 'CiliumBGPPeerConfig',
      metadata: { name: 'tor' },
      spec: {
        timers,
        transport: { peerPort: port },
        families: [{ afi: 'ipv4', safi: 'unicast', advertisements: advertised }],
      },
    },
    {
      ...own,
      kind: 'CiliumBGPAdvertisement',
      metadata: { name: 'lb', labels: { bgp: 'yes' } },
      spec: { advertisements: [{ advertisementType: 'Service', service: addresses, selector: {} }] },
    },
  ]
}

for (const kind of ['v1', 'v2'] as const)
  test(`from Cilium, ${kind === 'v1' ? 'by a policy' : 'by the v2 kinds'}: the recipe, and back; LB-IPAM keeps giving`, {
    skip,
  }, async () => {
    await cluster.kubectl(['delete', 'bgppeers,bgpadvertisements,ipaddresspools', '--all', '-n', 'metallb-system'])
    const pool = { apiVersion: 'cilium.io/v2', kind: 'CiliumLoadBalancerIPPool', metadata: { name: 'blue' } }
    await cluster.apply(list([...policy(kind), { ...pool, spec: { blocks: [{ cidr: '203.0.113.0/24' }] } }]))
    const name = `of-${kind}`
    await created([name], () => '203.0.113.5', 'cilium-operator-generic')
    await cluster.apply(list([slice(name)]))
    const { report } = await migrate('cilium', '--node', 'node1')
    assert.deepEqual(
      report.sessions.map(({ before: was, after: is }) => [was?.holdTimeSeconds, is?.holdTimeSeconds]),
      [[9, 9]],
    )
    const [install = '', label = '', look = '', save = '', back = ''] = recipe('From Cilium')
    await release.run(install)
    assert.equal(release.isRunning('operator'), false)
    await release.run(label)
    assert.match(await release.run(look), /Established/)
    const routes = '203.0.113.5/32 via 192.0.2.9'
    await waitFor('the route', async () => (await router.received()).join() === routes)
    await release.run(save)
    await release.run(back)
    assert.equal(release.isRunning('agent'), false)
    assert.equal(addressesOf(await services()).get(name), '203.0.113.5')
    const kinds = 'ciliumbgppeeringpolicies,ciliumbgpclusterconfigs,ciliumbgppeerconfigs,ciliumbgpadvertisements'
    await cluster.kubectl(['delete', kinds, '--all'])
    await cluster.kubectl(['delete', 'service', name])
  })
