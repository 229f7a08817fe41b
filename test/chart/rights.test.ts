/**
 * Agent and operator as processes under the ServiceAccounts of an installed chart: they work with the rights that it
 * gives, and with each of these taken away they say so and take nothing away.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { presentBinaries } from '../apiserver/binaries.ts'
import { type Cluster, startCluster } from '../apiserver/cluster.ts'
import { ciliumNodeCrd, serviceStatusCrd } from '../apiserver/crds.ts'
import { Router } from '../e2e/router.ts'
import { waitFor } from '../wait.ts'
import { chart, helm, skip as noHelm } from './helm.ts'

const binaries = presentBinaries()
const skip = binaries === undefined ? 'no kube-apiserver here (see test/apiserver/binaries.ts)' : noHelm
const herald = fileURLToPath(new URL('../../bin/herald', import.meta.url))
const namespace = 'herald-system'
const leaseNamespace = 'herald-system-herald-node-lease'
const port = 20_000 + (process.pid % 12_000)
const router = new Router('127.0.0.41', port)

interface Rule {
  readonly apiGroups: readonly string[]
  readonly resources: readonly string[]
  readonly verbs: readonly string[]
}
interface Role {
  readonly metadata: { readonly name: string; readonly namespace?: string }
  readonly rules: readonly Rule[]
}

const objects: readonly object[] = [
  { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node1' }, spec: { podCIDRs: ['10.1.1.0/24'] } },
  {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'key', namespace: 'kube-system' },
    stringData: { password: 'a' },
  },
  {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumLoadBalancerIPPool',
    metadata: { name: 'blue' },
    spec: { blocks: [{ cidr: '203.0.113.0/28' }] },
  },
  {
    apiVersion: 'cilium.io/v2alpha1',
    kind: 'CiliumBGPPeeringPolicy',
    metadata: { name: 'rack', annotations: { 'herald.dev/neighbors': '{"*": {nextHop: 192.0.2.9}}' } },
    spec: {
      nodeSelector: {},
      virtualRouters: [
        {
          localASN: 65001,
          exportPodCIDR: true,
          serviceSelector: {},
          neighbors: [
            {
              peerAddress: '127.0.0.41/32',
              peerPort: port,
              peerASN: 65000,
              families: [{ afi: 'ipv4', safi: 'unicast' }],
            },
            // Nobody is there: its key is read all the same.
            { peerAddress: '127.0.0.42/32', peerPort: port, peerASN: 65000, authSecretRef: 'key' },
          ],
        },
      ],
    },
  },
]
const serviceOf = (name: string): readonly object[] => [
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'default' },
    spec: { type: 'LoadBalancer', allocateLoadBalancerNodePorts: false, ports: [{ port: 80 }] },
  },
  {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: `${name}-1`, namespace: 'default', labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['10.1.1.5'], nodeName: 'node1', conditions: { ready: true } }],
    ports: [{ port: 8080, protocol: 'TCP' }],
  },
]
const list = (items: readonly object[]): string => JSON.stringify({ apiVersion: 'v1', kind: 'List', items })

let cluster: Cluster
const running = new Set<Process>()

class Process {
  readonly child: ChildProcess
  output = ''

  constructor(args: readonly string[]) {
    this.child = spawn(herald, [...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text
      })
    running.add(this)
  }

  async end(): Promise<void> {
    running.delete(this)
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    this.child.kill('SIGTERM')
    await once(this.child, 'exit')
  }

  /** What it says, in the end. */
  async says(what: string, pattern: RegExp): Promise<void> {
    await waitFor(what, () => pattern.test(this.output)).catch((error: unknown) =>
      assert.fail(`${String(error)}\n${this.output.slice(-3000)}`),
    )
  }
}

const file = (name: string): string => join(cluster.folder, name)

/** Logs in as the ServiceAccount that the chart has made. */
async function kubeconfigOf(component: string): Promise<string> {
  const token = (await cluster.kubectl(['create', 'token', `herald-${component}`, '-n', namespace])).trim()
  const path = file(`kubeconfig-of-${component}`)
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': component,
    clusters: [{ name: 'test', cluster: { server: cluster.url, 'certificate-authority': cluster.caFile } }],
    users: [{ name: component, user: { token } }],
    contexts: [{ name: component, context: { cluster: 'test', user: component } }],
  }
  writeFileSync(path, JSON.stringify(config))
  return path
}

async function startAgent(): Promise<Process> {
  const to = ['--datapath', 'none', '--bgp-listen', 'none', '--http', 'none', '--state-dir', file('state')]
  const from = ['--node-name', 'node1', '--kubeconfig', await kubeconfigOf('agent'), '--socket', file('sock')]
  const lives = ['--lease-namespace', leaseNamespace]
  return new Process(['agent', ...from, ...lives, '--service-status-namespace', namespace, ...to])
}

async function startOperator(name: string): Promise<Process> {
  const flags = ['--kubeconfig', await kubeconfigOf('operator'), '--http', 'none', '--identity', name]
  return new Process(['operator', ...flags, '--lease-namespace', namespace])
}

/** Kinds that the agent says it cannot read. */
async function unread(): Promise<readonly string[]> {
  const stdout = await new Promise<string>((resolve) =>
    execFile(herald, ['status', '-o', 'json', '--socket', file('sock')], (_, text) => resolve(text)),
  )
  if (stdout === '') return ['no agent']
  const { problems }: { readonly problems: readonly { readonly code: string; readonly object: string }[] } =
    JSON.parse(stdout)
  return problems.filter(({ code }) => code === 'Unreadable').map(({ object }) => object)
}

async function roles(component: string): Promise<readonly Role[]> {
  const args = ['get', 'clusterroles,roles', '-A', '-o', 'json', '-l', `app.kubernetes.io/component=${component}`]
  const { items }: { readonly items: readonly Role[] } = JSON.parse(await cluster.kubectl(args))
  return items
}

/** Takes away what `isTaken` says; the answer gives it back. */
async function without(
  component: string,
  isTaken: (resource: string, verb: string) => boolean,
): Promise<() => Promise<void>> {
  const whole = await roles(component)
  const cut = whole.map((role) => ({
    ...role,
    rules: role.rules
      .flatMap((rule) => rule.resources.map((resource) => ({ ...rule, resources: [resource] })))
      .map((rule) => ({ ...rule, verbs: rule.verbs.filter((verb) => !isTaken(rule.resources[0] ?? '', verb)) }))
      .filter(({ verbs }) => verbs.length > 0),
  }))
  assert.notDeepEqual(
    cut.map(({ rules }) => rules.flatMap(({ verbs }) => verbs).length),
    whole.map(({ rules }) => rules.flatMap(({ verbs, resources }) => resources.flatMap(() => verbs)).length),
    'nothing was taken away',
  )
  // Another version of a role is none of a test that gives it back.
  const written = (each: readonly Role[]): string =>
    list(each.map((role) => ({ ...role, metadata: { ...role.metadata, resourceVersion: undefined } })))
  await cluster.kubectl(['replace', '-f', '-'], written(cut))
  // The server's authorizer follows by a watch of its own: what is done right after may still be let through.
  for (const role of whole)
    for (const { apiGroups, resources, verbs } of role.rules)
      for (const resource of resources)
        for (const verb of verbs.filter((each) => isTaken(resource, each)))
          await waitFor(
            `${verb} of ${resource} is refused`,
            async () => !(await may(component, verb, apiGroups[0] ?? '', resource, role.metadata.namespace)),
          )
  return async () => void (await cluster.kubectl(['replace', '-f', '-'], written(whole)))
}

async function may(
  component: string,
  verb: string,
  group: string,
  path: string,
  namespaceOf: string | undefined,
): Promise<boolean> {
  const [resource, subresource] = path.split('/')
  const user = `system:serviceaccount:${namespace}:herald-${component}`
  const resourceAttributes = { verb, group, resource, subresource, namespace: namespaceOf }
  const review = {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SubjectAccessReview',
    spec: { user, resourceAttributes },
  }
  const args = ['create', '-f', '-', '-o', 'jsonpath={.status.allowed}']
  return (await cluster.kubectl(args, JSON.stringify(review))) === 'true'
}

async function hears(what: string, routes: readonly string[]): Promise<void> {
  let heard: readonly string[] = []
  const isHeard = async (): Promise<boolean> => {
    heard = await router.received()
    return heard.join() === routes.join()
  }
  await waitFor(what, isHeard).catch((error: unknown) =>
    assert.fail(`${String(error)}; heard: ${heard.join()}\n${[...running].map(({ output }) => output).join('\n')}`),
  )
}

const routes = ['10.1.1.0/24 via 192.0.2.9', '203.0.113.0/32 via 192.0.2.9']

before(async () => {
  if (skip !== false || binaries === undefined) return
  cluster = await startCluster(binaries)
  const into = ['--namespace', namespace, '--create-namespace', '--kubeconfig', cluster.kubeconfig]
  await helm(
    'install',
    'herald',
    chart,
    ...into,
    '--set',
    'crds.cilium=true,crds.metallb=true,agent.serviceStatuses=true',
  )
  await cluster.apply(list([serviceStatusCrd, ciliumNodeCrd]))
  await cluster.kubectl(['wait', '--for=condition=Established', '--timeout=60s', 'crd', '--all'])
  await cluster.apply(list([...objects, ...serviceOf('web')]))
  await cluster.kubectl([
    ...['patch', 'node', 'node1', '--subresource=status', '-p'],
    JSON.stringify({ status: { addresses: [{ type: 'InternalIP', address: '192.0.2.9' }] } }),
  ])
  await router.start()
})
after(async () => {
  for (const { child } of running) child.kill('SIGKILL')
  if (skip === false) router.speaker.handle({ type: 'stop', mode: 'shutdown', text: '' })
  await cluster?.stop()
})

/** What was announced at first still is, whatever has come since. */
async function keepsRoutes(): Promise<void> {
  const heard = await router.received()
  assert.deepEqual(
    routes.filter((each) => heard.includes(each)),
    routes,
  )
}

let agent: Process
let operator: Process

test('with the rights of the chart the operator gives an address and the agent announces it', { skip }, async () => {
  operator = await startOperator('op-1')
  agent = await startAgent()
  await hears('PodCIDR and Service', routes)
  assert.deepEqual(await unread(), [])
  assert.doesNotMatch(operator.output + agent.output, /forbidden/)
})

for (const verb of ['list', 'watch'])
  test(`an agent without ${verb} says so of every kind, and takes no route down`, { skip }, async () => {
    // ServiceBGPStatuses are listed to be written, and nothing is read out of them.
    const isRead = (rule: Rule): boolean => !rule.resources.includes('servicebgpstatuses')
    const rules = (await roles('agent')).flatMap((role) => role.rules.filter(isRead))
    const read = rules.filter(({ verbs }) => verbs.includes(verb)).flatMap(({ resources }) => resources)
    // Without a datapath nothing is handed on between nodes, and nobody asks who takes packets.
    const kinds = new Set(read.filter((resource) => resource !== 'leases')).size
    const giveBack = await without('agent', (_, each) => each === verb)
    agent.child.kill('SIGHUP')
    await waitFor(`${kinds} kinds are unread`, async () => (await unread()).length === kinds, { deadlineMs: 60_000 })
    await keepsRoutes()
    await giveBack()
    agent.child.kill('SIGHUP')
    await waitFor('all is read again', async () => (await unread()).length === 0, { deadlineMs: 60_000 })
    await keepsRoutes()
  })

test('an agent that starts without a right waits, announces nothing else and removes nothing', { skip }, async () => {
  await agent.end()
  const giveBack = await without('agent', (resource, verb) => resource === 'services' && verb === 'list')
  agent = await startAgent()
  await waitFor('Service is unread', async () => (await unread()).includes('Service'), { deadlineMs: 60_000 })
  await giveBack()
  await hears('both again', routes)
})

for (const verb of ['create', 'update'])
  test(`an agent without ${verb} of its Lease says so, and announces as before`, { skip }, async () => {
    await agent.end()
    if (verb === 'create') await cluster.kubectl(['delete', 'lease', '--all', '-n', leaseNamespace])
    const giveBack = await without('agent', (resource, of) => resource === 'leases' && of === verb)
    agent = await startAgent()
    await agent.says('it is told', /the Lease by which the cluster knows that this agent lives.*forbidden/)
    await hears('both again', routes)
    assert.deepEqual(await unread(), [])
    await giveBack()
    await agent.says('it is renewed', /heartbeat: mended/)
  })

test('an agent that starts without a right to tell the cluster something says so of each, and announces as before', {
  skip,
}, async () => {
  await agent.end()
  // What it finds is nothing that it would not have to say anew.
  await cluster.kubectl(['delete', 'ciliumbgpnodeconfig', 'node1'])
  const taken = ['get leases', 'patch ciliumbgpnodeconfigs/status', 'list servicebgpstatuses']
  const giveBack = await without('agent', (resource, verb) => taken.includes(`${verb} ${resource}`))
  agent = await startAgent()
  await hears('both again', routes)
  for (const what of [
    'the Lease by which the cluster knows that this agent lives cannot be renewed',
    'what this node says of its sessions cannot be written',
    'to whom Services are announced cannot be told',
  ])
    await agent.says(what, new RegExp(`${what}.*forbidden`))
  assert.deepEqual(await unread(), [])
  await giveBack()
  for (const what of ['heartbeat', 'node status', 'service statuses'])
    await agent.says(`${what} again`, new RegExp(`${what}: mended`))
})

for (const [verb, resource] of [
  ['create', 'servicebgpstatuses'],
  ['patch', 'servicebgpstatuses/status'],
  ['delete', 'servicebgpstatuses'],
] as const)
  test(`an agent without ${verb} of ${resource} says so, and does it when it may`, { skip }, async () => {
    const name = `brief-${verb}`
    const label = `metallb.io/service-name=${name}`
    const get = ['get', 'servicebgpstatus', '-n', namespace, '-l', label, '-o', 'jsonpath={.items[*].status.peers}']
    const isThere = async (): Promise<boolean> => (await cluster.kubectl(get)) !== ''
    const [come, go] = [list(serviceOf(name)), ['delete', 'service', name]]
    if (verb === 'delete') {
      await cluster.apply(come)
      await waitFor('its status', isThere, { deadlineMs: 60_000 })
    }
    const giveBack = await without('agent', (each, of) => each === resource && of === verb)
    agent.output = ''
    await (verb === 'delete' ? cluster.kubectl(go) : cluster.apply(come))
    await agent.says('it is told', /to whom Services are announced cannot be told.*forbidden/)
    await giveBack()
    await waitFor('it is done', async () => (await isThere()) === (verb !== 'delete'), { deadlineMs: 60_000 })
    if (verb !== 'delete') await cluster.kubectl(go)
    await keepsRoutes()
  })

/** What was counted a second ago may be what is counted after the next Service: then there is nothing to write. */
async function poolIsCounted(): Promise<void> {
  const ingress = '{range .items[*].status.loadBalancer.ingress[*]}{.ip}{" "}{end}'
  const used = '{.status.conditions[?(@.type=="cilium.io/IPsUsed")].message}'
  const isCounted = async (): Promise<boolean> => {
    const held = (await cluster.kubectl(['get', 'services', '-A', '-o', `jsonpath=${ingress}`])).trim().split(/\s+/)
    return Number(await cluster.kubectl(['get', 'ippools', 'blue', '-o', `jsonpath=${used}`])) === held.length
  }
  await waitFor('the pool says how many are held', isCounted)
}

for (const [resource, verb] of [
  ['services/status', 'patch'],
  ['ciliumloadbalancerippools/status', 'patch'],
  ['events', 'create'],
] as const)
  test(`an operator without ${verb} of ${resource} says so, and the rest goes on`, { skip }, async () => {
    await poolIsCounted()
    const giveBack = await without('operator', (each, of) => each === resource && of === verb)
    operator.output = ''
    const name = `of-${resource.replace(/\W/g, '-')}`
    // One that wants an address, and one that cannot have what it asks for: of that there is an event.
    const impossible = { 'lbipam.cilium.io/ips': '198.51.100.1' }
    const [service, slice] = serviceOf(name)
    const [other] = serviceOf(`${name}-2`)
    assert.ok(service !== undefined && slice !== undefined && other !== undefined)
    const metadata = { name: `${name}-2`, namespace: 'default', annotations: impossible }
    await cluster.apply(list([service, slice, { ...other, metadata }]))
    await operator.says('it is told', new RegExp(`forbidden|${resource.split('/')[0]}.*cannot ${verb}`))
    await keepsRoutes()
    await giveBack()
    const given = async (): Promise<boolean> =>
      /203\.0\.113\./.test(await cluster.kubectl(['get', 'service', name, '-o', 'jsonpath={.status.loadBalancer}']))
    await waitFor('its address', given, { deadlineMs: 60_000 })
    await cluster.kubectl(['delete', 'service', name, `${name}-2`])
  })

for (const verb of ['get', 'create', 'update'])
  test(`an operator without ${verb} of its Lease leads nothing, says why, and takes no address`, { skip }, async () => {
    await operator.end()
    if (verb === 'create') await cluster.kubectl(['delete', 'lease', 'herald-operator', '-n', namespace])
    const giveBack = await without('operator', (resource, of) => resource === 'leases' && of === verb)
    operator = await startOperator(`op-${verb}`)
    await operator.says('it is told', /leases.*forbidden/)
    assert.doesNotMatch(operator.output, /this operator leads/)
    await keepsRoutes()
    await giveBack()
    await operator.says('it leads', /this operator leads/)
  })

for (const verb of ['list', 'watch'])
  test(`an operator that starts without ${verb} gives no address before it has it`, { skip }, async () => {
    await operator.end()
    const giveBack = await without('operator', (_, of) => of === verb)
    operator = await startOperator(`op-${verb}`)
    await cluster.apply(list(serviceOf(`late-${verb}`)))
    await operator.says('it is told', /forbidden/)
    const address = (): Promise<string> =>
      cluster.kubectl(['get', 'service', `late-${verb}`, '-o', 'jsonpath={.status.loadBalancer.ingress[*].ip}'])
    if (verb === 'list') assert.equal(await address(), '')
    await keepsRoutes()
    await giveBack()
    await waitFor('its address', async () => (await address()) !== '', { deadlineMs: 60_000 })
  })
