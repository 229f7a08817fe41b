/**
 * What a Service means on a node that is not this one: with the flags that its agent told, and where nodes are reached.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FoundObject } from '../../src/k8s/dialects/moving/report.ts'
import { readDocuments } from '../../src/k8s/documents.ts'
import { tunnelEnd, tunnelLeaseName, tunnelMetadata } from '../../src/k8s/kinds/tunnel-lease.ts'
import type { AgentFacts } from '../../src/k8s/node-life.ts'
import { serviceElsewhere, tunnelLeasesQuery } from '../../src/k8s/service-elsewhere.ts'
import { node, pool, service, slice, smallestPolicy } from './manifests.ts'

const foundIn = (text: string): readonly FoundObject[] =>
  readDocuments('test.yaml', text).flatMap(({ objects }) => objects)

const given = `---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default, labels: {expose-via-bgp: "true"}}
spec: {type: LoadBalancer, ports: [{name: http, port: 80}]}
status: {loadBalancer: {ingress: [{ip: 198.51.100.3}]}}
`
const around = foundIn(smallestPolicy + pool + node + given + slice('web', 'node-b'))

function lease(name: string, address: string): FoundObject {
  const key = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', namespace: 'leases', name: tunnelLeaseName(name) }
  const own = tunnelMetadata(name, tunnelEnd([address]), undefined)
  const metadata = { ...own, name: key.name, namespace: 'leases' }
  return { ...foundIn(node)[0], key, object: { metadata, spec: { holderIdentity: name } } } as FoundObject
}

const facts: AgentFacts = {
  version: '1.2.3',
  datapath: 'ebpf',
  secretsNamespace: 'kube-system',
  ignoreExcludeLb: false,
  withdrawOn: [],
  isClassRequired: false,
  remoteBackends: 'tunnel',
  whyNoSnat: '',
}
const leases = [lease('node-a', '192.168.1.10'), lease('node-b', '192.168.1.20')]

function codeOf(objects: readonly FoundObject[], told: AgentFacts | undefined): string | undefined {
  const { service: found } = serviceElsewhere(objects, 'default/web', 'node-a', told)
  return found?.verdicts.find(({ step }) => step === 'eligible')?.code
}

test('an agent that serves backends on other nodes is told as such, by the Leases of all nodes', () => {
  const { service: found } = serviceElsewhere([...around, ...leases], 'default/web', 'node-a', facts)
  assert.deepEqual(
    found?.routes.map(({ prefix }) => prefix),
    ['198.51.100.3/32'],
  )
  assert.deepEqual(found?.frontends[0]?.backends, [{ address: '10.244.1.5', port: 8080, node: '192.168.1.20' }])
  assert.equal(codeOf([...around, ...leases], facts), 'HasBackends')
})

test('one that does not, or has no datapath, or said nothing of it, announces what is its own', () => {
  assert.equal(codeOf([...around, ...leases], { ...facts, remoteBackends: 'none' }), 'NoLocalBackends')
  assert.equal(codeOf([...around, ...leases], { ...facts, datapath: 'none' }), 'HasEndpoints')
  assert.equal(codeOf([...around, ...leases], undefined), 'HasEndpoints')
})

test('a Lease that is missing is what is wrong, of the node with the backend or of the node itself', () => {
  const [own, other] = leases
  assert.ok(own !== undefined && other !== undefined)
  assert.equal(codeOf([...around, own], facts), 'NoReachableBackends')
  assert.equal(codeOf([...around, other], facts), 'NoReachableBackends')
})

test('the Leases are asked for by the label that agents write', () => {
  const selector = decodeURIComponent(tunnelLeasesQuery.replace('labelSelector=', ''))
  const { labels } = tunnelMetadata('node-a', tunnelEnd([]), undefined)
  for (const [name, word] of Object.entries(labels)) assert.ok(selector.split(',').includes(`${name}=${word}`))
  assert.equal(serviceElsewhere(foundIn(service('api')), 'default/web', 'node-a', facts).service, undefined)
})
