/** For whom endpoints are meant: the hints of EndpointSlices, as kube-proxy takes them (pkg/proxy/topology.go). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DesiredDelta } from '../../src/desired/model.ts'
import { change, node, pool, service, smallestPolicy, translatorWith } from './manifests.ts'

const zoned = (zone: string): string =>
  node.replace('kubernetes.io/os: linux', `kubernetes.io/os: linux, topology.kubernetes.io/zone: ${zone}`)
const policy = smallestPolicy + pool
const own = ', clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10]'
const clusterIP = '10.96.0.10:80/TCP'
const leading = { leadsSockets: true } as const

interface Written {
  readonly at?: string
  readonly ready?: boolean
  readonly serving?: boolean
  /** As it is written. */
  readonly hints?: string
}

/** A slice of endpoints 10.244.1.1, .2, ... */
function slice(...endpoints: readonly Written[]): string {
  const lines = endpoints.map(
    ({ at = 'node-b', ready = true, serving = ready, hints }, index) =>
      `- {addresses: [10.244.1.${index + 1}], nodeName: ${at}, ` +
      `conditions: {ready: ${ready}, serving: ${serving}}${hints === undefined ? '' : `, hints: ${hints}`}}\n`,
  )
  return `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints:
${lines.join('')}ports: [{name: http, port: 8080}]
`
}

const zones = (...names: readonly string[]): string => `{forZones: [${names.map((name) => `{name: ${name}}`).join()}]}`
const nodes = (...names: readonly string[]): string => `{forNodes: [${names.map((name) => `{name: ${name}}`).join()}]}`
const bothOf = (zone: string, name: string): string => `{forZones: [{name: ${zone}}], forNodes: [{name: ${name}}]}`

/** The last octets of those that are led to, and of those that keep what they have. */
function led(delta: DesiredDelta, id = clusterIP): readonly [string, string] {
  const frontend = delta.sockets?.get(id)
  assert.ok(frontend, id)
  const last = (list: readonly { readonly address: string }[] = []): string =>
    list.map(({ address }) => address.split('.')[3]).join(' ')
  return [last(frontend.backends), last(frontend.resting)]
}

const cases: Readonly<Record<string, { endpoints: readonly Written[]; expected: readonly [string, string] }>> = {
  'all ready ones are hinted for zones, one for ours': {
    endpoints: [{ hints: zones('one') }, { hints: zones('two') }, { hints: zones('two', 'one') }],
    expected: ['1 3', '2'],
  },
  'one ready one has no hint': {
    endpoints: [{ hints: zones('one') }, { hints: zones('two') }, {}],
    expected: ['1 2 3', ''],
  },
  'none is for our zone': { endpoints: [{ hints: zones('two') }, { hints: zones('three') }], expected: ['1 2', ''] },
  'one that is not ready has no hint': {
    endpoints: [{ hints: zones('one') }, { hints: zones('two') }, { ready: false }],
    expected: ['1', '2 3'],
  },
  'all are hinted for nodes, one for this one': {
    endpoints: [{ hints: bothOf('one', 'node-b') }, { hints: bothOf('two', 'node-a') }],
    expected: ['2', '1'],
  },
  'all are hinted for nodes, none for this one, and for zones': {
    endpoints: [{ hints: bothOf('one', 'node-b') }, { hints: bothOf('two', 'node-c') }],
    expected: ['1', '2'],
  },
  'one is not hinted for a node': {
    endpoints: [{ hints: nodes('node-a') }, { hints: zones('one') }],
    expected: ['1 2', ''],
  },
  'hints are for nodes alone, none for this one': {
    endpoints: [{ hints: nodes('node-b') }, { hints: nodes('node-c') }],
    expected: ['1 2', ''],
  },
  'none is ready: those that still serve, wherever': {
    endpoints: [
      { ready: false, serving: true, hints: zones('two') },
      { ready: false, serving: true, hints: zones('one') },
    ],
    expected: ['1 2', ''],
  },
  'the pod here is not meant for our zone': {
    endpoints: [{ at: 'node-a', hints: zones('two') }, { hints: zones('one') }],
    expected: ['2', '1'],
  },
  'hints of another form say nothing': {
    endpoints: [{ hints: zones('one') }, { hints: '{forZones: two}' }],
    expected: ['1 2', ''],
  },
  'hints of no form say nothing': { endpoints: [{ hints: zones('one') }, { hints: '[7]' }], expected: ['1 2', ''] },
}

for (const [name, { endpoints, expected }] of Object.entries(cases))
  test(`clients in zone one of node-a: ${name}`, () => {
    const text = policy + zoned('one') + service('web', own) + slice(...endpoints)
    const delta = translatorWith(text, leading).flush()
    assert.deepEqual(led(delta), expected)
    assert.deepEqual(led(delta, '198.51.100.0:80/TCP'), expected)
  })

test('with internalTrafficPolicy Local hints do not count, nor for packets from outside, on any node the same', () => {
  const endpoints = slice({ at: 'node-a', hints: zones('two') }, { hints: zones('one') })
  const local = `${own}, internalTrafficPolicy: Local`
  const delta = translatorWith(policy + zoned('one') + service('web', local) + endpoints, leading).flush()
  assert.deepEqual(led(delta), ['1', ''])
  const [frontend] = delta.services.get('default/web')?.frontends ?? []
  assert.deepEqual(
    frontend?.backends.map(({ address }) => address),
    ['10.244.1.1'],
  )
})

test('a node of no zone takes all; as it gets one, or another, its clients follow', () => {
  const endpoints = slice({ hints: zones('one') }, { hints: zones('two') })
  const translator = translatorWith(policy + node + service('web', own) + endpoints, leading)
  assert.deepEqual(led(translator.flush()), ['1 2', ''])
  assert.deepEqual(led(change(translator, zoned('one'))), ['1', '2'])
  assert.deepEqual(led(change(translator, zoned('two'))), ['2', '1'])
  assert.deepEqual(led(change(translator, node)), ['1 2', ''])
  assert.equal(change(translator, node).sockets, undefined)
})

test('endpoints whose hints come or go are another list', () => {
  const translator = translatorWith(policy + zoned('one') + service('web', own) + slice({}, {}), leading)
  assert.deepEqual(led(translator.flush()), ['1 2', ''])
  assert.deepEqual(led(change(translator, slice({ hints: zones('one') }, { hints: zones('two') }))), ['1', '2'])
  assert.deepEqual(led(change(translator, slice({}, {}))), ['1 2', ''])
})
