/** Services of policy Local that share an address and select other pods: each node serves the ports of all of them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { DesiredService } from '../../src/desired/model.ts'
import { tunnelLeaseName, tunnelMetadata } from '../../src/k8s/kinds/tunnel-lease.ts'
import type { TranslatorOptions } from '../../src/k8s/translate/types.ts'
import {
  flushAll,
  node,
  pool,
  service,
  serviceOf,
  slice,
  smallestPolicy,
  translatorWith,
  verdictOf,
} from './manifests.ts'

const nodes = [
  ['node-a', '192.168.1.10'],
  ['node-b', '192.168.1.20'],
] as const

const leases = nodes
  .map(([name, address]) => {
    const metadata = {
      ...tunnelMetadata(name, { addresses: [address], formats: ['1'] }, undefined),
      name: tunnelLeaseName(name),
      namespace: 'leases',
      creationTimestamp: '2026-01-01T00:00:00Z',
    }
    const spec = { holderIdentity: name }
    return `---\n${JSON.stringify({ apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata, spec })}\n`
  })
  .join('')

const other = `---
apiVersion: v1
kind: Node
metadata: {name: node-b, labels: {kubernetes.io/os: linux}}
spec: {podCIDR: 10.244.2.0/24}
status: {addresses: [{type: InternalIP, address: 192.168.1.20}]}
`
const base = smallestPolicy + node + other + pool + leases

interface Made {
  readonly port: number
  readonly permits?: string
  readonly policy?: 'Local' | 'Cluster'
  readonly selector?: string
}

/** Its pods are those of `app: NAME`. */
function made(name: string, { port, permits = '"true"', policy = 'Local', selector = name }: Made): string {
  const permit = permits === '' ? '' : `, lbipam.cilium.io/sharing-permit-different-pods: ${permits}`
  const spec = `, externalTrafficPolicy: ${policy}, selector: {app: ${selector}}`
  return service(name, spec, `{lbipam.cilium.io/sharing-key: k${permit}}`).replace('port: 80', `port: ${port}`)
}

const byLeases: Partial<TranslatorOptions> = { tunnels: 'leases' }

function seen(text: string, nodeName: string, options = byLeases) {
  const delta = flushAll(translatorWith(text, { nodeName, ...options }))
  return (name: string): DesiredService => serviceOf(delta, name)
}
const prefixes = (found: DesiredService): readonly string[] => found.routes.map(({ prefix }) => prefix)
const backends = ({ frontends }: DesiredService): readonly string[] =>
  frontends.flatMap(({ backends: all }) => all.map((each) => `${each.address}${each.node ? ` via ${each.node}` : ''}`))

const web = made('web', { port: 80 }) + slice('web', 'node-a').replace('10.244.1.5', '10.244.1.7')
const dns = made('dns', { port: 53 }) + slice('dns', 'node-b').replace('10.244.1.5', '10.244.2.7')

test('two of policy Local with pods on nodes apart share: either node announces for its own, and serves both', () => {
  for (const [nodeName, own, its, away, handed] of [
    ['node-a', 'web', '10.244.1.7', 'dns', '10.244.2.7 via 192.168.1.20'],
    ['node-b', 'dns', '10.244.2.7', 'web', '10.244.1.7 via 192.168.1.10'],
  ] as const) {
    const at = seen(base + web + dns, nodeName)
    assert.deepEqual([at(own).addresses, at(away).addresses], [['198.51.100.0'], ['198.51.100.0']])
    assert.deepEqual([prefixes(at(own)), backends(at(own))], [['198.51.100.0/32'], [its]])
    assert.deepEqual([prefixes(at(away)), backends(at(away))], [[], [handed]])
    assert.equal(verdictOf(at(away), 'eligible')?.code, 'NoLocalBackends')
    assert.match(verdictOf(at(away), 'supported')?.message ?? '', /to a node without a pod of it is handed on$/)
  }
})

test('where the node has a pod of it the others take nothing: the policy is still Local', () => {
  const both = slice('web', 'node-a').replace(
    'endpoints: [',
    'endpoints: [{addresses: ["10.244.2.9"], nodeName: node-b}, ',
  )
  const at = seen(base + made('web', { port: 80 }) + both + dns, 'node-a')
  assert.deepEqual(backends(at('web')), ['10.244.1.5'])
  const there = seen(base + made('web', { port: 80 }) + both + dns, 'node-b')
  assert.deepEqual([backends(there('web')), prefixes(there('web'))], [['10.244.2.9'], ['198.51.100.0/32']])
})

test('a node that has a pod serves what is handed on to it, though nothing selects the Service there', () => {
  const at = seen(node + other + pool + leases + web + dns, 'node-b')
  assert.deepEqual([backends(at('dns')), prefixes(at('dns'))], [['10.244.2.7'], []])
  assert.deepEqual(backends(at('web')), [], 'nobody sends packets for it here')
})

test('both have to permit it, and both under Local; else each has an address of its own', () => {
  const cases: readonly (readonly [string, string, boolean])[] = [
    [made('web', { port: 80 }), made('dns', { port: 53 }), true],
    [made('web', { port: 80, permits: '' }), made('dns', { port: 53 }), false],
    [made('web', { port: 80 }), made('dns', { port: 53, permits: '"false"' }), false],
    [made('web', { port: 80 }), made('dns', { port: 53, permits: '"yes"' }), false],
    [made('web', { port: 80, permits: '"T"' }), made('dns', { port: 53, permits: '"1"' }), true],
    [made('web', { port: 80 }), made('dns', { port: 53, policy: 'Cluster' }), false],
    [made('web', { port: 80, policy: 'Cluster' }), made('dns', { port: 53, policy: 'Cluster' }), true],
    [made('web', { port: 80 }), made('dns', { port: 80 }), false],
    [made('web', { port: 80, permits: '' }), made('dns', { port: 53, permits: '', selector: 'web' }), true],
  ]
  for (const [index, [one, two, isShared]] of cases.entries()) {
    const at = seen(base + one + slice('web') + two + slice('dns'), 'node-a')
    const [first, second] = [at('web').addresses[0], at('dns').addresses[0]]
    assert.ok(first !== undefined && second !== undefined, `case ${index}`)
    assert.equal(first === second, isShared, `case ${index}`)
  }
})

test('what is neither true nor false is said, and permits nothing', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, maxLength: 200 }), (text) => {
      const isBoolean = /^(1|t|T|true|TRUE|True|0|f|F|false|FALSE|False)$/.test(text)
      const permits = JSON.stringify(text)
      const delta = flushAll(translatorWith(base + made('web', { port: 80, permits }) + slice('web')))
      const told = delta.problems?.filter(({ code }) => code === 'InvalidAnnotation') ?? []
      assert.equal(told.length, isBoolean ? 0 : 1)
      assert.ok(told.every(({ message }) => message.length < 400))
    }),
  )
})

test('asked for by address, the refusal says what would let them share', () => {
  const asking = (text: string): string => text.replace('{lbipam', '{lbipam.cilium.io/ips: 198.51.100.0, lbipam')
  const older = asking(web).replace(
    'namespace: default',
    'namespace: default, creationTimestamp: "2026-01-01T00:00:00Z"',
  )
  const asked = asking(made('dns', { port: 53, permits: '' }))
  const refused = verdictOf(seen(base + older + asked + slice('dns'), 'node-a')('dns'), 'allocated')
  assert.deepEqual([refused?.ok, refused?.code], [false, 'IncompatibleService'])
  assert.match(refused?.remedy ?? '', /permit different pods on both/)
})

test('without tunnels, or without a datapath of ours, nothing is handed on and nobody says so', () => {
  for (const options of [{}, { datapath: 'none' as const }]) {
    const at = seen(base + web + dns, 'node-a', options)
    assert.deepEqual([backends(at('dns')), prefixes(at('dns'))], [[], []])
    assert.doesNotMatch(verdictOf(at('dns'), 'supported')?.message ?? '', /handed on/)
    assert.deepEqual(prefixes(at('web')), ['198.51.100.0/32'])
  }
})

test('a port of SCTP that leads to another port of a pod is refused by nodes without a pod too, by name', () => {
  const over = (text: string): string => text.replace('name: http, port', 'name: http, protocol: SCTP, port')
  const diameter = (target: number): string =>
    over(made('dns', { port: 3868 })) + over(slice('dns', 'node-b')).replace('8080', String(target))
  for (const nodeName of ['node-a', 'node-b']) {
    const same = seen(base + diameter(3868), nodeName)('dns')
    assert.deepEqual([same.frontends.length, verdictOf(same, 'supported')?.code], [1, 'Supported'], nodeName)
    const changed = seen(base + diameter(3869), nodeName)('dns')
    assert.deepEqual([changed.frontends, verdictOf(changed, 'supported')?.code], [[], 'SctpPortChanged'], nodeName)
  }
})
