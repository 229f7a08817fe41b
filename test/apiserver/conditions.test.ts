/**
 * What the server took and nobody can read, on a real API server and with the shipped roles: each object says so itself
 * by condition and event, kinds as the chart brings them and as their own projects do.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { parseAllDocuments } from 'yaml'
import { crdOf } from '../../scripts/crds.ts'
import { systemClock } from '../../src/clock/system-clock.ts'
import { loadCredentials } from '../../src/k8s/apiserver/credentials.ts'
import { ApiRequests } from '../../src/k8s/apiserver/requests.ts'
import { apiServerSource } from '../../src/k8s/apiserver/source.ts'
import { objectsOnServer, statusOnServer } from '../../src/k8s/apiserver/status-writer.ts'
import { connectTransport, type Transport } from '../../src/k8s/apiserver/transport.ts'
import { operatorKinds } from '../../src/operator/allocation.ts'
import { MemoryOperatorLog } from '../../src/operator/log.ts'
import { Operator } from '../../src/operator/operator.ts'
import { waitFor } from '../wait.ts'
import { presentBinaries } from './binaries.ts'
import { type Cluster, startCluster } from './cluster.ts'
import { stateCrd } from './crds.ts'

const binaries = presentBinaries()
const skip = binaries === undefined ? 'no kube-apiserver here (see test/apiserver/binaries.ts)' : false
const list = (items: readonly object[]): string => JSON.stringify({ apiVersion: 'v1', kind: 'List', items })
const namespace = 'metallb-system'
/** Of the operator. */
const ownNamespace = 'herald-system'

interface Condition {
  readonly type: string
  readonly status: string
  readonly reason: string
  readonly message: string
  readonly observedGeneration?: number
}

/** A definition as another project ships it: `status` as its schema has it, undefined for none at all. */
function foreign(kind: Parameters<typeof crdOf>[0], status: object | undefined): object {
  const crd = JSON.parse(JSON.stringify(crdOf(kind)))
  for (const version of crd.spec.versions) {
    if (status === undefined) delete version.subresources
    const { properties } = version.schema.openAPIV3Schema
    if (status === undefined) delete properties.status
    else properties.status = status
  }
  return crd
}

const counter = { type: 'integer', format: 'int64' }
const crds: readonly object[] = [
  stateCrd,
  crdOf('CiliumBGPPeeringPolicy'),
  crdOf('CiliumBGPNodeConfig'),
  crdOf('CiliumBGPClusterConfig'),
  crdOf('CiliumBGPPeerConfig'),
  crdOf('CiliumBGPNodeConfigOverride'),
  crdOf('CiliumLoadBalancerIPPool'),
  crdOf('BGPAdvertisement'),
  crdOf('Community'),
  crdOf('BFDProfile'),
  crdOf('L2Advertisement'),
  foreign('CiliumBGPAdvertisement', undefined),
  foreign('BGPPeer', { type: 'object' }),
  foreign('IPAddressPool', {
    type: 'object',
    required: ['assignedIPv4', 'assignedIPv6', 'availableIPv4', 'availableIPv6'],
    properties: { assignedIPv4: counter, assignedIPv6: counter, availableIPv4: counter, availableIPv6: counter },
  }),
]

const object = (apiVersion: string, kind: string, name: string, spec: object): object => ({
  apiVersion,
  kind,
  metadata: { name, ...(apiVersion.startsWith('metallb') ? { namespace } : {}) },
  spec,
})
const cilium = (kind: string, name: string, spec: object): object => object('cilium.io/v2', kind, name, spec)
const policy = (localASN: number): object =>
  object('cilium.io/v2alpha1', 'CiliumBGPPeeringPolicy', 'rack', {
    nodeSelector: {},
    virtualRouters: [{ localASN, neighbors: [{ peerAddress: '192.0.2.1/32', peerASN: 65000, authSecretRef: 'k' }] }],
  })
const selected = (values: readonly string[] | undefined): object =>
  cilium('CiliumBGPClusterConfig', 'row', {
    nodeSelector: { matchExpressions: [{ key: 'row', operator: 'In', ...(values === undefined ? {} : { values }) }] },
    bgpInstances: [
      {
        name: 'i',
        localASN: 65001,
        peers: [{ name: 'p', peerAddress: '192.0.2.2', peerASN: 65000, peerConfigRef: { name: 'none' } }],
      },
    ],
  })

let cluster: Cluster
let operator: Operator
let writing: Transport
const log = new MemoryOperatorLog()

before(async () => {
  if (binaries === undefined) return
  cluster = await startCluster(binaries)
  await cluster.apply(list([{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } }, ...crds]))
  await cluster.kubectl(['wait', '--for=condition=Established', '--timeout=60s', 'crd', '--all'])
  const shipped = parseAllDocuments(readFileSync(new URL('../../deploy/herald.yaml', import.meta.url), 'utf8')).map(
    (document) => document.toJS(),
  )
  const roles = shipped.filter(
    ({ kind, metadata }) => /Role$/.test(kind) && metadata.labels['app.kubernetes.io/component'] === 'operator',
  )
  const named = roles.map((role) => ({ ...role, metadata: { name: 'operator', namespace: role.metadata.namespace } }))
  const space = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: ownNamespace } }
  await cluster.apply(list([space, ...named]))
  const user = '--user=operator'
  await cluster.kubectl(['create', 'clusterrolebinding', 'operator', '--clusterrole=operator', user])
  await cluster.kubectl(['create', 'rolebinding', 'operator', '-n', ownNamespace, '--role=operator', user])
  await cluster.apply(list([{ apiVersion: 'v1', kind: 'Node', metadata: { name: 'node1' } }]))
  writing = connectTransport(loadCredentials(cluster.kubeconfigOf('operator')))
  operator = operatorOf()
  await operator.start()
})
after(async () => {
  await operator?.stop()
  await writing?.close()
  await cluster?.stop()
})

function operatorOf(): Operator {
  const requests = new ApiRequests(writing, 4_000)
  const reading = connectTransport(loadCredentials(cluster.kubeconfigOf('operator')))
  const parts = { clock: systemClock, random: () => 0.5, log }
  return new Operator({
    ...parts,
    sink: statusOnServer(requests, 'op'),
    objects: objectsOnServer(requests),
    namespace: ownNamespace,
    source: apiServerSource({ ...parts, transport: reading, kinds: operatorKinds }),
    isLeader: () => true,
  })
}

async function conditions(resource: string, name: string): Promise<readonly Condition[]> {
  const { status } = JSON.parse(await cluster.kubectl(['get', resource, name, '-n', namespace, '-o', 'json']))
  return status?.conditions ?? []
}

async function says(resource: string, name: string, pattern: RegExp, type = 'herald.dev/Accepted'): Promise<Condition> {
  let last = ''
  const found = async (): Promise<Condition | undefined> => {
    const condition = (await conditions(resource, name)).find((each) => each.type === type)
    last = condition === undefined ? 'nothing' : `${condition.status} ${condition.reason}: ${condition.message}`
    return pattern.test(last) ? condition : undefined
  }
  const what = `${resource}/${name} says ${String(pattern)}`
  return waitFor(what, found, { everyMs: 200 }).catch((error: unknown) =>
    assert.fail(`${String(error)}, it says ${last}\n${log.lines.slice(-10).join('\n')}`),
  )
}

async function hasEvent(kind: string, name: string, pattern: RegExp): Promise<void> {
  const find = async (): Promise<boolean> => {
    const { items } = JSON.parse(await cluster.kubectl(['get', 'events.v1.events.k8s.io', '-A', '-o', 'json']))
    return items.some(
      (each: { readonly regarding: { readonly kind: string; readonly name: string }; readonly note: string }) =>
        each.regarding.kind === kind && each.regarding.name === name && pattern.test(each.note),
    )
  }
  await waitFor(`an event of ${kind} ${name}`, find, { everyMs: 200 })
}

test('a selector that the server takes and nobody can read: condition and event; mended, the condition is True', {
  skip,
}, async () => {
  await cluster.apply(list([selected(undefined)]))
  const broken = await says('ciliumbgpclusterconfig', 'row', /^False \w+: spec\.nodeSelector\S* .*\. [A-Z]/)
  assert.equal(broken.observedGeneration, 1)
  await hasEvent('CiliumBGPClusterConfig', 'row', /spec\.nodeSelector/)
  await cluster.apply(list([selected(['a'])]))
  const mended = await says('ciliumbgpclusterconfig', 'row', /^True Accepted: /)
  assert.equal(mended.observedGeneration, 2)
  const columns = await cluster.kubectl(['get', 'ciliumbgpclusterconfig', 'row'])
  assert.match(columns, /ACCEPTED/)
  assert.match(columns, /True/)
})

test("Cilium's conditions follow nodes and peer configurations, beside those of others", { skip }, async () => {
  await says('ciliumbgpclusterconfig', 'row', /^True NoMatchingNode: No node/, 'cilium.io/NoMatchingNode')
  const seen = { type: 'example.com/Seen', status: 'True', reason: 'Seen', message: '' }
  const patch = [
    { op: 'add', path: '/status/conditions/-', value: { ...seen, lastTransitionTime: '2024-01-01T00:00:00Z' } },
  ]
  const args = ['--subresource=status', '--type=json', '-p', JSON.stringify(patch)]
  await cluster.kubectl(['patch', 'ciliumbgpclusterconfig', 'row', ...args])
  await cluster.kubectl(['label', 'node', 'node1', 'row=a'])
  await says('ciliumbgpclusterconfig', 'row', /^False NoMatchingNode/, 'cilium.io/NoMatchingNode')
  await says('ciliumbgpclusterconfig', 'row', /^True .*: \[none\]$/, 'cilium.io/MissingPeerConfigs')
  await says('ciliumbgpclusterconfig', 'row', /^False NoPeerConfig: .*there is no CiliumBGPPeerConfig none/)
  await cluster.apply(list([cilium('CiliumBGPPeerConfig', 'none', {})]))
  await says('ciliumbgpclusterconfig', 'row', /^False MissingPeerConfigs/, 'cilium.io/MissingPeerConfigs')
  await says('ciliumbgpclusterconfig', 'row', /^True/, 'example.com/Seen')
  const types = (await conditions('ciliumbgpclusterconfig', 'row')).map(({ type }) => type).sort()
  assert.deepEqual(types, [
    'cilium.io/ConflictingClusterConfig',
    'cilium.io/MissingPeerConfigs',
    'cilium.io/NoMatchingNode',
    'example.com/Seen',
    'herald.dev/Accepted',
  ])
})

test('what another manager applied with other values stays his, and nothing is written over and over', {
  skip,
}, async () => {
  const status = {
    conditions: [
      {
        ...{ type: 'cilium.io/MissingPeerConfigs', status: 'Unknown', reason: 'Theirs', message: 'theirs' },
        lastTransitionTime: '2024-01-01T00:00:00Z',
      },
    ],
  }
  const theirs = cilium('CiliumBGPClusterConfig', 'row', {})
  const apply = [
    'apply',
    '--server-side',
    '--force-conflicts',
    '--field-manager=cilium-operator',
    '--subresource=status',
  ]
  const { spec: _, ...of } = Object(theirs)
  await cluster.kubectl([...apply, '-f', '-'], JSON.stringify({ ...of, status }))
  await says('ciliumbgpclusterconfig', 'row', /^Unknown Theirs/, 'cilium.io/MissingPeerConfigs')
  // A change of the spec has all of it written anew.
  await cluster.apply(list([selected(['a', 'b'])]))
  await waitFor('it is judged', async () => (await says('ciliumbgpclusterconfig', 'row', /./)).observedGeneration === 3)
  await says('ciliumbgpclusterconfig', 'row', /^Unknown Theirs/, 'cilium.io/MissingPeerConfigs')
  const versionOf = (): Promise<string> =>
    cluster.kubectl(['get', 'ciliumbgpclusterconfig', 'row', '-o', 'jsonpath={.metadata.resourceVersion}'])
  const outcomes = (): string => JSON.stringify(operator.figures.outcomes.configuration)
  const [version, before] = [await versionOf(), outcomes()]
  // Another object that is written shows that a round went by.
  await cluster.apply(list([policy(65001)]))
  await says('ciliumbgppeeringpolicy', 'rack', /^(True|False)/)
  assert.equal(await versionOf(), version)
  assert.notEqual(outcomes(), before, 'the policy was written')
})

test('kinds whose own definition takes no condition: events say it, and counts are written all the same', {
  skip,
}, async () => {
  const ofMetalLb = (kind: string, name: string, spec: object, version = 'v1beta1'): object =>
    object(`metallb.io/${version}`, kind, name, spec)
  await cluster.apply(
    list([
      ofMetalLb('BGPPeer', 'tor', { myASN: 65001, peerASN: 65000, peerAddress: 'tor' }, 'v1beta2'),
      ofMetalLb('IPAddressPool', 'green', { addresses: ['198.51.100.0/28'] }),
      ofMetalLb('IPAddressPool', 'red', { addresses: ['nonsense'] }),
      cilium('CiliumBGPAdvertisement', 'web', {
        advertisements: [
          {
            advertisementType: 'Service',
            service: { addresses: ['LoadBalancerIP'] },
            selector: { matchExpressions: [{ key: 'a', operator: 'In' }] },
          },
        ],
      }),
      ofMetalLb('Community', 'names', { communities: [{ name: 'x', value: 'nonsense' }] }),
      ofMetalLb('L2Advertisement', 'layer2', {}),
    ]),
  )
  await hasEvent('BGPPeer', 'tor', /spec\.peerAddress/)
  await hasEvent('IPAddressPool', 'red', /spec\.addresses\[0\]/)
  await hasEvent('CiliumBGPAdvertisement', 'web', /selector/)
  await says('community', 'names', /^False \w+: spec\.communities\[0\]/)
  await says('l2advertisement', 'layer2', /^False NotServed/)
  const counted = ['get', 'ipaddresspool', 'green', '-n', namespace, '-o', 'jsonpath={.status.availableIPv4}']
  await waitFor('it is counted', async () => (await cluster.kubectl(counted)) === '16')
  assert.deepEqual(await conditions('ipaddresspool', 'green'), [])
  assert.deepEqual(
    log.lines.filter((line) => /refuses a write|had no answer/.test(line)),
    [],
    'what a kind cannot take is no failure',
  )
})

/** `Result ErrorSummary` of a state, as its columns have it. */
async function stateOf(name: string): Promise<string> {
  const columns = '-o=jsonpath={.status.result} {.status.errorSummary}'
  return (await cluster.kubectl(['get', 'configurationstate', name, '-n', ownNamespace, columns])).trim()
}

test('the states of MetalLB say what is wrong, of the operator and of each node, whoever leads', { skip }, async () => {
  const bad = /^Invalid .*BGPPeer\/metallb-system\/tor spec\.peerAddress: .*IPAddressPool\/metallb-system\/red spec/
  await waitFor('the node is invalid', async () => bad.test(await stateOf('speaker-node1')))
  assert.match(await stateOf('controller'), /^Invalid IPAddressPool\/metallb-system\/red spec[^;]*$/)
  const get = ['get', 'configurationstate', '-n', ownNamespace]
  const selected = await cluster.kubectl([...get, '-l', 'metallb.io/node-name=node1', '-o', 'json'])
  const [{ metadata }] = JSON.parse(selected).items
  const node = JSON.parse(await cluster.kubectl(['get', 'node', 'node1', '-o', 'json']))
  assert.deepEqual(metadata.ownerReferences, [
    { apiVersion: 'v1', kind: 'Node', name: 'node1', uid: node.metadata.uid },
  ])
  await cluster.kubectl(['delete', 'ipaddresspool', 'red', '-n', namespace])
  await waitFor('the operator is valid', async () => (await stateOf('controller')) === 'Valid')
  assert.match(await stateOf('speaker-node1'), /^Invalid .*spec\.peerAddress/)
  const version = (): Promise<string> =>
    cluster.kubectl([...get, 'controller', '-o', 'jsonpath={.metadata.resourceVersion}'])
  const before = await version()
  await operator.stop()
  operator = operatorOf()
  await operator.start()
  await cluster.kubectl(['delete', 'bgppeer', 'tor', '-n', namespace])
  const isTold = async (): Promise<boolean> => !/spec\.peerAddress/.test(await stateOf('speaker-node1'))
  await waitFor('the next leader judges', isTold)
  assert.equal(await version(), before, 'it says nothing anew')
})
