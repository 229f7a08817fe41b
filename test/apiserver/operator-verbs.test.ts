/**
 * The roles of the operator as they are shipped, on a real API server: with them nothing is missed, and each verb that
 * is taken away is missed, and said.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { parseAllDocuments } from 'yaml'
import { systemClock } from '../../src/clock/system-clock.ts'
import { loadCredentials } from '../../src/k8s/apiserver/credentials.ts'
import { leaseOnServer } from '../../src/k8s/apiserver/lease.ts'
import { ApiRequests } from '../../src/k8s/apiserver/requests.ts'
import { apiServerSource } from '../../src/k8s/apiserver/source.ts'
import { objectsOnServer, statusOnServer } from '../../src/k8s/apiserver/status-writer.ts'
import { connectTransport } from '../../src/k8s/apiserver/transport.ts'
import { kinds } from '../../src/k8s/kinds/table.ts'
import { nodeReportKey, nodeReportObject, nodeReportResource } from '../../src/k8s/dialects/node-report.ts'
import type { ObjectVersionRef } from '../../src/k8s/status.ts'
import { operatorKinds } from '../../src/operator/allocation.ts'
import { Election } from '../../src/operator/election.ts'
import { MemoryOperatorLog } from '../../src/operator/log.ts'
import { Operator } from '../../src/operator/operator.ts'
import { waitFor } from '../wait.ts'
import { presentBinaries } from './binaries.ts'
import { type Cluster, startCluster } from './cluster.ts'
import { stateCrd } from './crds.ts'

interface Rule {
  readonly resources: readonly string[]
  readonly verbs: readonly string[]
}

interface Role {
  readonly kind: 'ClusterRole' | 'Role'
  readonly metadata: { readonly labels?: Readonly<Record<string, string>> }
  readonly rules: readonly Rule[]
}

const binaries = presentBinaries()
const skip = binaries === undefined ? 'no kube-apiserver here (see test/apiserver/binaries.ts)' : false
const shipped = parseAllDocuments(readFileSync(new URL('../../deploy/herald.yaml', import.meta.url), 'utf8'))
  .map((document): Role => document.toJS())
  .filter(({ kind, metadata }) => {
    const component = metadata?.labels?.['app.kubernetes.io/component']
    return (kind === 'ClusterRole' || kind === 'Role') && component === 'operator'
  })
const list = (items: readonly object[]): string => JSON.stringify({ apiVersion: 'v1', kind: 'List', items })

let cluster: Cluster

before(async () => {
  if (binaries === undefined) return
  cluster = await startCluster(binaries)
  const crds = [...operatorKinds].flatMap((kind) => {
    const { versions, resource, scope } = kinds[kind]
    const [group = '', ...rest] = versions[0].split('/')
    return rest.length === 0 ? [] : [crdOf(group, versions, kind, resource, scope)]
  })
  await cluster.apply(list([{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'herald' } }, ...crds, stateCrd]))
  await cluster.kubectl(['wait', '--for=condition=Established', '--timeout=60s', 'crd', '--all'])
  // The server fills its cache of an established kind with the first who asks, and answers 429 until it has.
  for (const kind of operatorKinds) {
    const { versions, resource } = kinds[kind]
    const root = versions[0].includes('/') ? `/apis/${versions[0]}` : `/api/${versions[0]}`
    const isListed = (): Promise<boolean> =>
      cluster.kubectl(['get', '--raw', `${root}/${resource}?resourceVersion=0`]).then(
        () => true,
        () => false,
      )
    await waitFor(`${kind} is listed`, isListed, { deadlineMs: 60_000 })
  }
  const user = ['--user=operator']
  await cluster.kubectl(['create', 'clusterrolebinding', 'operator', '--clusterrole=operator', ...user])
  await cluster.kubectl(['create', 'rolebinding', 'operator', '-n', 'herald', '--role=operator', ...user])
  const web = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace: 'default' },
    spec: { type: 'LoadBalancer', allocateLoadBalancerNodePorts: false, ports: [{ port: 80 }] },
  }
  const blue = { apiVersion: 'cilium.io/v2', kind: 'CiliumLoadBalancerIPPool', metadata: { name: 'blue' } }
  const green = {
    apiVersion: 'metallb.io/v1beta1',
    kind: 'IPAddressPool',
    metadata: { name: 'green', namespace: 'herald' },
    spec: { addresses: ['198.51.100.0/28'] },
  }
  await cluster.apply(list([web, { ...blue, spec: { blocks: [{ cidr: '203.0.113.0/28' }] } }, green]))
})

after(async () => {
  await cluster?.stop()
})

function crdOf(group: string, versions: readonly string[], kind: string, plural: string, scope: string): object {
  const schema = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } }
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope,
      names: { kind, plural, singular: kind.toLowerCase() },
      versions: versions.map((name, index) => ({
        name: name.split('/')[1],
        served: true,
        storage: index === 0,
        schema,
        subresources: { status: {} },
      })),
    },
  }
}

/** The shipped roles, without one verb of one rule where it is said. */
async function grant(without?: { readonly rule: Rule; readonly verb: string }): Promise<void> {
  const roles = shipped.map(({ kind, rules }) => ({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind,
    metadata: { name: 'operator', ...(kind === 'Role' ? { namespace: 'herald' } : {}) },
    rules: rules
      .map((rule) =>
        rule === without?.rule ? { ...rule, verbs: rule.verbs.filter((each) => each !== without.verb) } : rule,
      )
      .filter(({ verbs }) => verbs.length > 0),
  }))
  await cluster.apply(list(roles))
}

/** Runs an operator from nothing until `isOver` of its complaints, and answers those. */
async function complaints(isOver: (log: readonly string[]) => boolean): Promise<readonly string[]> {
  await cluster.kubectl(['delete', 'lease,configurationstate', '-n', 'herald', '--all'])
  const clear = ['--subresource=status', '--type=json', '-p', '[{"op":"replace","path":"/status","value":{}}]']
  await cluster.kubectl(['patch', 'service', 'web', ...clear])
  for (const pool of ['ciliumloadbalancerippool/blue', 'ipaddresspool/green'])
    await cluster
      .kubectl(['patch', pool, '-n', 'herald', '--subresource=status', '--type=merge', '-p', '{"status":null}'])
      .catch(() => undefined)
  const [reading, writing] = [1, 2].map(() => connectTransport(loadCredentials(cluster.kubeconfigOf('operator'))))
  assert.ok(reading !== undefined && writing !== undefined)
  const requests = new ApiRequests(writing, 4_000)
  const log = new MemoryOperatorLog()
  const sink = statusOnServer(requests, 'op')
  const parts = { clock: systemClock, random: () => 0.5, log }
  const election = new Election({
    ...parts,
    store: leaseOnServer(requests, 'herald', 'herald-operator'),
    identity: 'op',
    onLeading: () => void operator.start(),
    onLost: () => undefined,
  })
  const operator = new Operator({
    ...parts,
    sink,
    objects: objectsOnServer(requests),
    namespace: 'herald',
    source: apiServerSource({ ...parts, transport: reading, kinds: operatorKinds }),
    isLeader: () => election.isLeader,
  })
  // A leader takes away what no configuration asks for.
  const ofObjects = await objectFaults(requests)
  election.start()
  // Quotes in fields are escaped.
  const warnings = (): readonly string[] =>
    log.lines.filter((line) => line.startsWith('warn')).map((line) => line.replaceAll('\\', ''))
  // Nothing is wrong with the objects, so that nothing else has an event to write.
  const said = [...ofObjects, ...(await eventFaults(sink))]
  await waitFor('it is over', () => isOver([...warnings(), ...said]) || undefined).catch((error: unknown) =>
    assert.fail(`${String(error)}: ${log.lines.join('\n')}`),
  )
  await operator.stop()
  await election.stop()
  await writing.close()
  return [...warnings(), ...said]
}

async function eventFaults(sink: ReturnType<typeof statusOnServer>): Promise<readonly string[]> {
  const regarding: ObjectVersionRef = {
    apiVersion: 'v1',
    kind: 'Service',
    resource: 'services',
    namespace: 'default',
    name: 'web',
    uid: 'u',
    resourceVersion: '1',
  }
  const time = new Date().toISOString().replace('Z', '000Z')
  const name = `web.${Date.now().toString(16)}`
  const event = {
    regarding,
    type: 'Warning',
    reason: 'Tried',
    action: 'Try',
    note: 'x',
    eventTime: time,
    name,
  } as const
  const made = await sink.createEvent(event)
  const counted = await sink.repeatEvent('default', name, { count: 2, lastObservedTime: time })
  return [made, counted].flatMap((outcome) => (outcome.kind === 'refused' ? [`event: ${outcome.message}`] : []))
}

/** Of the object of a node that is made, changed and taken away. */
async function objectFaults(requests: ApiRequests): Promise<readonly string[]> {
  const objects = objectsOnServer(requests)
  const key = nodeReportKey('tried')
  const [first, second] = ['a', 'b'].map((name) => nodeReportObject('tried', key.apiVersion, [], [name]))
  assert.ok(first !== undefined && second !== undefined)
  const made = await objects.create(nodeReportResource, first)
  // It may be that of the round before, which took no verb away but this.
  if (made.kind === 'refused')
    await cluster.kubectl(['create', '-f', '-'], JSON.stringify(first)).catch(() => undefined)
  const read = async (): Promise<ObjectVersionRef> => {
    const { metadata } = JSON.parse(await cluster.kubectl(['get', nodeReportResource, 'tried', '-o', 'json']))
    return { ...key, resource: nodeReportResource, uid: metadata.uid, resourceVersion: metadata.resourceVersion }
  }
  const changed = await objects.change(await read(), second)
  const removed = await objects.remove(await read())
  return [made, changed, removed].flatMap((each) => (each.kind === 'refused' ? [`object: ${each.message}`] : []))
}

/** All that there is to say is in the statuses. */
async function isWritten(): Promise<boolean> {
  const [web, blue, green, state] = await Promise.all([
    cluster.kubectl(['get', 'service', 'web', '-o', 'jsonpath={.status.loadBalancer.ingress[0].ip}']),
    cluster.kubectl(['get', 'ciliumloadbalancerippool', 'blue', '-o', 'jsonpath={.status.conditions[1].message}']),
    cluster.kubectl(['get', 'ipaddresspool', 'green', '-n', 'herald', '-o', 'jsonpath={.status.availableIPv4}']),
    cluster.kubectl(['get', 'configurationstate', '-n', 'herald', '-o', 'jsonpath={.items[*].status.result}']),
  ])
  return web !== '' && blue === '16' && green === '16' && state === 'Valid'
}

test('with the shipped roles nothing is missed', { skip }, async () => {
  await grant()
  let isDone = false
  const polling = waitFor('everything is written', isWritten, { deadlineMs: 60_000, everyMs: 300 }).then(() => {
    isDone = true
  })
  assert.deepEqual(await complaints(() => isDone), [])
  await polling
})

for (const { rules } of shipped)
  for (const rule of rules)
    for (const verb of rule.verbs)
      test(`without ${verb} on ${rule.resources.join(', ')} it is said what is missed`, { skip }, async () => {
        await grant({ rule, verb })
        const isForbidden = (line: string): boolean =>
          line.includes(`cannot ${verb} resource`) && rule.resources.some((resource) => line.includes(`"${resource}"`))
        const said = await complaints((lines) => lines.some(isForbidden))
        assert.ok(said.some(isForbidden), said.join('\n'))
      })
