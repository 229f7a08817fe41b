/** The chart on a real API server: installed, upgraded, uninstalled, beside what others have put there. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { presentBinaries } from '../apiserver/binaries.ts'
import { type Cluster, startCluster } from '../apiserver/cluster.ts'
import { poolCrd } from '../apiserver/crds.ts'
import { waitFor } from '../wait.ts'
import { argumentsOf, pairwise } from './switches.ts'
import { chart, helm, type Manifest, nameOf, objectsOf, skip as noHelm } from './helm.ts'

const binaries = presentBinaries()
const skip = binaries === undefined ? 'no kube-apiserver here (see test/apiserver/binaries.ts)' : noHelm
const values = new URL('values/', import.meta.url)
const namespace = 'herald-system'
const leaseNamespace = 'herald-system-herald-node-lease'

let cluster: Cluster

/** Of the Prometheus operator: any field goes. */
const monitoringCrd = (kind: string): object => ({
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: `${kind.toLowerCase()}s.monitoring.coreos.com` },
  spec: {
    group: 'monitoring.coreos.com',
    scope: 'Namespaced',
    names: { kind, plural: `${kind.toLowerCase()}s`, singular: kind.toLowerCase() },
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      },
    ],
  },
})
const named = (name: string): object => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
const list = (items: readonly object[]): string => JSON.stringify({ apiVersion: 'v1', kind: 'List', items })

before(async () => {
  if (skip !== false || binaries === undefined) return
  cluster = await startCluster(binaries)
  const kinds = ['PodMonitor', 'ServiceMonitor', 'PrometheusRule'].map(monitoringCrd)
  const spaces = ['metallb-system', 'monitoring', 'bgp-secrets', 'node-leases']
  const leases = ['herald', 'lb'].map((name) => `monitoring-${name}-node-lease`)
  await cluster.apply(list([...kinds, ...[...spaces, ...leases].map(named)]))
  await cluster.kubectl(['wait', '--for=condition=Established', '--timeout=60s', '--all', 'crd'])
})
after(() => cluster?.stop())

const run = (...args: readonly string[]): Promise<string> => helm(...args, '--kubeconfig', cluster.kubeconfig)
const install = (release: string, into: string, ...args: readonly string[]): Promise<string> =>
  run('install', release, chart, '--namespace', into, '--create-namespace', ...args)
/** Names of what is there, as `kind/name`. */
async function names(...args: readonly string[]): Promise<readonly string[]> {
  const text = await cluster.kubectl(['get', ...args, '-o', 'name'])
  return text.split('\n').filter((line) => line !== '')
}
const ofRelease = (release: string): Promise<readonly string[]> =>
  names(
    'clusterroles,clusterrolebindings,roles,rolebindings,daemonsets,deployments,serviceaccounts,networkpolicies,pdb',
    '--all-namespaces',
    '--selector',
    `app.kubernetes.io/instance=${release}`,
  )
async function jsonOf<T = unknown>(...args: readonly string[]): Promise<T> {
  return JSON.parse(await cluster.kubectl(['get', ...args, '-o', 'json']))
}
interface DaemonSet {
  readonly spec: {
    readonly updateStrategy: unknown
    readonly template: { readonly spec: { readonly containers: readonly { readonly args: readonly string[] }[] } }
  }
}

for (const name of ['(defaults)', ...readdirSync(values)])
  test(`the API server takes what the chart makes of ${name}`, { skip }, async () => {
    const file = name === '(defaults)' ? [] : ['--values', fileURLToPath(new URL(name, values))]
    // What helm itself refuses is none of this test: the objects go to the server by kubectl, which is strict.
    const made = await helm('template', 'herald', chart, '--namespace', 'monitoring', ...file)
    await cluster.kubectl(['apply', '--dry-run=server', '--validate=strict', '-f', '-'], made)
  })

test('the API server takes what the chart makes, with any two of its switches in whatever way', { skip }, async () => {
  const manifests = await Promise.all(
    pairwise().map((row) => helm('template', 'herald', chart, '--namespace', 'monitoring', ...argumentsOf(row))),
  )
  const made = manifests.flatMap(objectsOf)
  const different = [...new Map(made.map((object) => [JSON.stringify(object), object])).values()]
  assert.ok(different.length > 40, String(different.length))
  await cluster.kubectl(['apply', '--dry-run=server', '--validate=strict', '-f', '-'], list(different))
})

test('helm install makes the release, and the CRD of the policy with it', { skip }, async () => {
  const notes = await install('herald', namespace)
  assert.match(notes, /exec ds\/herald-agent -- herald status/)
  assert.match(notes, /no kind for pools in this cluster/)
  assert.equal((await ofRelease('herald')).length, 16)
  await cluster.kubectl(['wait', '--for=condition=Established', '--timeout=60s', 'crd', '--all'])
  // A kind is established before the server says so wherever it lists its kinds.
  const explained = (): Promise<string | undefined> => cluster.kubectl(['explain', 'bgpp.spec']).catch(() => undefined)
  assert.match(await waitFor('bgpp is known', explained), /virtualRouters/)
  const crds = await names('crd')
  assert.ok(!crds.some((name) => name.includes('loadbalancerippools')))
})

type Question = readonly [who: 'agent' | 'operator', verb: string, resource: string, space?: string]

const allowed: readonly Question[] = [
  ...[
    'services',
    'nodes',
    'endpointslices.discovery.k8s.io',
    'ciliumbgppeeringpolicies.cilium.io',
    'ciliumbgpclusterconfigs.cilium.io',
  ].flatMap((resource): Question[] => [
    ['agent', 'list', resource],
    ['agent', 'watch', resource],
  ]),
  ['agent', 'list', 'secrets', 'kube-system'],
  ['agent', 'watch', 'ciliumbgpnodeconfigs.cilium.io'],
  ['agent', 'patch', 'ciliumbgpnodeconfigs.cilium.io/status'],
  ...['get', 'create', 'update', 'list', 'watch'].map(
    (verb): Question => ['agent', verb, 'leases.coordination.k8s.io', leaseNamespace],
  ),
  ...['watch', 'create', 'patch', 'delete'].map(
    (verb): Question => ['operator', verb, 'ciliumbgpnodeconfigs.cilium.io'],
  ),
  ['operator', 'patch', 'services/status'],
  ['operator', 'watch', 'services'],
  ['operator', 'create', 'events.events.k8s.io'],
  ['operator', 'create', 'leases.coordination.k8s.io', namespace],
  ['operator', 'update', 'leases.coordination.k8s.io/herald-operator', namespace],
  ['operator', 'list', 'configurationstates.metallb.io', namespace],
  ['operator', 'create', 'configurationstates.metallb.io', namespace],
  ['operator', 'patch', 'configurationstates.metallb.io/status', namespace],
]
const denied: readonly Question[] = [
  ['agent', 'list', 'secrets'],
  ['agent', 'list', 'secrets', namespace],
  ['agent', 'get', 'secrets', 'kube-system'],
  ['agent', 'patch', 'services/status'],
  ['agent', 'patch', 'ciliumbgpnodeconfigs.cilium.io'],
  ['agent', 'delete', 'ciliumbgpnodeconfigs.cilium.io'],
  ['operator', 'patch', 'ciliumbgpnodeconfigs.cilium.io/status'],
  ['agent', 'update', 'services'],
  ['agent', 'patch', 'nodes'],
  ['agent', 'delete', 'ciliumbgppeeringpolicies.cilium.io'],
  ['agent', 'list', 'pods'],
  ['agent', 'list', 'configmaps', namespace],
  ['agent', 'create', 'events.events.k8s.io'],
  ['agent', 'update', 'leases.coordination.k8s.io/herald-operator', namespace],
  ['agent', 'create', 'leases.coordination.k8s.io', namespace],
  ['agent', 'delete', 'leases.coordination.k8s.io', leaseNamespace],
  ['agent', 'update', 'leases.coordination.k8s.io', 'kube-node-lease'],
  ['agent', 'list', 'leases.coordination.k8s.io'],
  ['agent', 'watch', 'leases.coordination.k8s.io', 'kube-node-lease'],
  ['operator', 'update', 'leases.coordination.k8s.io', leaseNamespace],
  ['operator', 'list', 'secrets'],
  ['operator', 'list', 'secrets', 'kube-system'],
  ['operator', 'patch', 'services'],
  ['operator', 'update', 'services'],
  ['operator', 'delete', 'services'],
  ['operator', 'patch', 'nodes'],
  ['operator', 'update', 'leases.coordination.k8s.io/another', namespace],
  ['operator', 'update', 'leases.coordination.k8s.io/herald-operator', 'kube-system'],
  ['operator', 'create', 'configurationstates.metallb.io', 'metallb-system'],
  ['operator', 'delete', 'configurationstates.metallb.io', namespace],
  ['agent', 'create', 'configurationstates.metallb.io', namespace],
  ['agent', 'create', 'servicebgpstatuses.metallb.io', namespace],
  ['operator', 'create', 'pods', namespace],
  ['operator', 'list', 'pods'],
  ['operator', 'escalate', 'clusterroles.rbac.authorization.k8s.io'],
]

/** As the API server decides it. `resource/name` names an object, `services/status` a subresource. */
function reviewOf([who, verb, resource, space = '']: Question): object {
  const [kind = '', more = ''] = resource.split('/')
  const [plural, ...group] = kind.split('.')
  const attributes = { verb, group: group.join('.'), resource: plural, namespace: space }
  return {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SubjectAccessReview',
    spec: {
      user: `system:serviceaccount:${namespace}:herald-${who}`,
      resourceAttributes: { ...attributes, ...(more === 'status' ? { subresource: more } : { name: more }) },
    },
  }
}

test('agent and operator may do what they must, and nothing else', { skip }, async () => {
  const questions = [...allowed.map((each) => [each, true] as const), ...denied.map((each) => [each, false] as const)]
  const reviews = questions.map(([question]) => JSON.stringify(reviewOf(question))).join('\n---\n')
  const answers = (await cluster.kubectl(['create', '-f', '-', '-o', 'jsonpath={.status.allowed}{"\\n"}'], reviews))
    .trim()
    .split('\n')
  assert.equal(answers.length, questions.length)
  const wrong = questions.filter(([, isAllowed], index) => answers[index] !== String(isAllowed))
  assert.deepEqual(wrong, [])
})

test('an upgrade changes what changed, and replaces pods one by one', { skip }, async () => {
  const before = await jsonOf<DaemonSet>('ds', 'herald-agent', '-n', namespace)
  await run('upgrade', 'herald', chart, '-n', namespace, '--reuse-values', '--set', 'logLevel=debug')
  const { spec } = await jsonOf<DaemonSet>('ds', 'herald-agent', '-n', namespace)
  assert.ok(spec.template.spec.containers[0]?.args.includes('--log-level=debug'))
  assert.deepEqual(spec.updateStrategy, {
    type: 'RollingUpdate',
    rollingUpdate: { maxUnavailable: 1, maxSurge: 0 },
  })
  const again = await run('upgrade', 'herald', chart, '-n', namespace, '--reset-values')
  assert.match(again, /REVISION: 3/)
  const after = await jsonOf<DaemonSet>('ds', 'herald-agent', '-n', namespace)
  assert.deepEqual(after.spec.template, before.spec.template)
})

test('a key of an older version is refused before anything changes', { skip }, async () => {
  const changing = run('upgrade', 'herald', chart, '-n', namespace, '--reuse-values', '--set', 'agent.oldKey=1')
  await assert.rejects(changing, /additional properties 'oldKey' not allowed/)
  assert.match(await run('status', 'herald', '-n', namespace), /REVISION: 3\n/)
})

test('a second operator in another namespace is refused, agents alone are not', { skip }, async () => {
  await assert.rejects(install('second', 'other'), /operator of Herald is there already: Deployment herald-operator/)
  await install('second', 'other', '--set', 'operator.enabled=false', '--set', 'agent.nodeSelector.rack=b')
  assert.equal((await ofRelease('herald')).length, 16)
  await run('uninstall', 'second', '-n', 'other')
  assert.deepEqual(await ofRelease('second'), [])
  assert.equal((await ofRelease('herald')).length, 16)
})

test('agents for nodes that have agents already are refused, in whatever namespace', { skip }, async () => {
  const withoutOperator = ['--set', 'operator.enabled=false']
  const words = /agents of Herald are there already for the same nodes: DaemonSet herald-agent in namespace/
  for (const into of [namespace, 'other']) await assert.rejects(install('third', into, ...withoutOperator), words)
  assert.deepEqual(await ofRelease('third'), [])
})

test('a namespace of Secrets that is not there is said before anything is made', { skip }, async () => {
  const elsewhere = ['--set', 'bgpControlPlane.secretsNamespace.name=nowhere', '--set', 'agent.nodeSelector.rack=c']
  await assert.rejects(install('fourth', namespace, ...elsewhere), /there is no namespace nowhere/)
  assert.deepEqual(await ofRelease('fourth'), [])
})

test('CRDs of others are left alone, those that are missing come, stay with an upgrade and are kept', {
  skip,
}, async () => {
  const foreign = { ...poolCrd, metadata: { name: 'ciliumloadbalancerippools.cilium.io', labels: { owner: 'cilium' } } }
  await cluster.apply(JSON.stringify(foreign))
  const crd = (name: string): Promise<{ readonly metadata: { readonly annotations: Record<string, string> } }> =>
    jsonOf('crd', name)
  const before = await crd('ciliumloadbalancerippools.cilium.io')
  const upgrade = (...args: readonly string[]): Promise<string> =>
    run('upgrade', 'herald', chart, '-n', namespace, '--reset-values', ...args)
  await upgrade('--set', 'crds.cilium=true')
  assert.deepEqual(await crd('ciliumloadbalancerippools.cilium.io'), before)
  await upgrade()
  assert.deepEqual(await crd('ciliumloadbalancerippools.cilium.io'), before)
  await cluster.kubectl(['delete', 'crd', 'ciliumloadbalancerippools.cilium.io'])
  for (const _ of [1, 2]) await upgrade('--set', 'crds.cilium=true')
  const { metadata } = await crd('ciliumloadbalancerippools.cilium.io')
  assert.equal(metadata.annotations['helm.sh/resource-policy'], 'keep')
  await upgrade('--set', 'crds.cilium=false')
  assert.ok((await names('crd')).some((name) => name.includes('ciliumloadbalancerippools')))
})

test('helm uninstall leaves the CRDs and what users wrote, and nothing else', { skip }, async () => {
  const pool = { apiVersion: 'cilium.io/v2', kind: 'CiliumLoadBalancerIPPool', metadata: { name: 'blue' }, spec: {} }
  await cluster.apply(JSON.stringify(pool))
  await run('uninstall', 'herald', '-n', namespace)
  assert.deepEqual(await ofRelease('herald'), [])
  assert.deepEqual(await names('ciliumloadbalancerippools'), ['ciliumloadbalancerippool.cilium.io/blue'])
  assert.ok((await names('crd')).some((name) => name.includes('ciliumbgppeeringpolicies')))
})

test('a release of another name is installed where one was, and takes no CRD over', { skip }, async () => {
  await install('lb', 'kube-system', '--set', 'crds.cilium=true')
  assert.equal((await ofRelease('lb')).length, 16)
  await run('uninstall', 'lb', '-n', 'kube-system')
  assert.deepEqual(await names('ciliumloadbalancerippools'), ['ciliumloadbalancerippool.cilium.io/blue'])
})

test('plain manifests and the kustomize base are taken, and give the same', { skip }, async () => {
  const deploy = fileURLToPath(new URL('../../deploy/', import.meta.url))
  const built = objectsOf(await cluster.kubectl(['kustomize', `${deploy}base`]))
  const plain = objectsOf(readFileSync(`${deploy}herald.yaml`, 'utf8'))
  const sorted = (objects: readonly Manifest[]): readonly Manifest[] =>
    objects.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1))
  assert.deepEqual(sorted(built), sorted(plain))
  await cluster.kubectl(['apply', '-k', `${deploy}base`])
  await cluster.kubectl(['apply', '-f', `${deploy}herald.yaml`])
  assert.ok((await names('daemonsets', '-n', namespace)).includes('daemonset.apps/herald-agent'))
  await cluster.kubectl(['delete', '--wait=false', '-k', `${deploy}base`])
})
