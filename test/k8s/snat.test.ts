/** Which Services are served by SNAT on nodes that take no packets, and what is told of it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type DesiredService, translatedNode, type Verdict } from '../../src/desired/model.ts'
import { tunnelLeaseName, tunnelMetadata } from '../../src/k8s/kinds/tunnel-lease.ts'
import { nodeLifeOf, lifeMetadata, type AgentFacts } from '../../src/k8s/node-life.ts'
import type { TranslatorOptions } from '../../src/k8s/translate/types.ts'
import {
  change,
  flushAll,
  node,
  pool,
  service,
  serviceOf,
  slice,
  slice6,
  smallestPolicy,
  translatorWith,
  verdictOf,
} from './manifests.ts'

const base = smallestPolicy + node + pool
const annotation = 'herald.dev/remote-backends'

/** As the agent of a node writes it. */
function lease(name: string, addresses: readonly string[], format = '1'): string {
  const metadata = {
    ...tunnelMetadata(name, { addresses, formats: [format] }, undefined),
    name: tunnelLeaseName(name),
    namespace: 'leases',
    creationTimestamp: '2026-01-01T00:00:00Z',
  }
  const object = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata, spec: { holderIdentity: name } }
  return `---\n${JSON.stringify(object)}\n`
}

const own = lease('node-a', ['192.168.1.10'])
/** A Service that says so. */
const asking = (way = 'tunnel-or-snat', spec = '', more = ''): string =>
  service('web', spec, `{${more}${annotation}: "${way}"}`)
const away = slice('web', 'node-b')

const webOf = (text: string, options: Partial<TranslatorOptions> = {}): DesiredService =>
  serviceOf(flushAll(translatorWith(text, { tunnels: 'leases', ...options })), 'web')
const eligible = (found: DesiredService): Verdict | undefined => verdictOf(found, 'eligible')
const nodesOf = ({ frontends: [first] }: DesiredService): readonly (string | undefined)[] =>
  (first?.backends ?? []).map((each) => each.node)

test('a Service that allows it is served by SNAT where a node takes no packets, and told how many, where and why', () => {
  for (const [text, why] of [
    ['', /1 on node-b by SNAT, and the client is node-a there: no agent there has said that it takes them$/],
    [lease('node-b', []), /the client is node-a there: it takes none$/],
    [lease('node-b', ['192.168.1.20'], '2'), /it takes packets of format 2, and this node sends 1$/],
    [lease('node-b', ['2001:db8::20']), /IPv4 is not spoken by both nodes$/],
  ] as const) {
    const found = webOf(base + asking() + away + own + text)
    assert.deepEqual([nodesOf(found), found.routes.length], [[translatedNode], 1], text)
    assert.deepEqual([eligible(found)?.ok, eligible(found)?.code], [true, 'HasBackends'])
    assert.match(eligible(found)?.message ?? '', /^1 usable backend in the cluster, 0 on node-a; /)
    assert.match(eligible(found)?.message ?? '', why)
  }
})

test('a node that takes packets gets them in the tunnel, whatever the Service allows, from then on too', () => {
  const translator = translatorWith(base + asking() + away + own, { tunnels: 'leases' })
  assert.deepEqual(nodesOf(serviceOf(flushAll(translator), 'web')), [translatedNode])
  const told = serviceOf(change(translator, lease('node-b', ['192.168.1.20'])), 'web')
  assert.deepEqual(
    [nodesOf(told), eligible(told)?.message],
    [['192.168.1.20'], '1 usable backend in the cluster, 0 on node-a'],
  )
})

test('without the annotation, with another value, under Local and without remote backends nothing is by SNAT', () => {
  for (const text of [
    service('web'),
    asking('tunnel'),
    asking('snat'),
    asking('tunnel-or-snat', ', externalTrafficPolicy: Local'),
  ]) {
    const found = webOf(base + text + away + own)
    assert.deepEqual([nodesOf(found), found.routes.length], [[], 0], text)
    assert.doesNotMatch(eligible(found)?.message ?? '', /SNAT/)
  }
  const none = serviceOf(flushAll(translatorWith(base + asking() + away + own)), 'web')
  assert.deepEqual([nodesOf(none), eligible(none)?.code], [[], 'NoLocalBackends'])
})

test('a Local Service that shares its address with others hands nothing on by SNAT', () => {
  const shared = 'lbipam.cilium.io/sharing-key: k, lbipam.cilium.io/sharing-permit-different-pods: "true", '
  const local = asking('tunnel-or-snat', ', externalTrafficPolicy: Local', shared)
  assert.deepEqual(nodesOf(webOf(base + local + away + own)), [])
})

test('what is no fault of the other node makes no SNAT: this one is not known yet, or an address is refused', () => {
  const early = webOf(base + asking() + away)
  assert.deepEqual([nodesOf(early), eligible(early)?.code], [[], 'NoReachableBackends'])
  for (const claimed of ['192.168.1.10', '198.51.100.7'])
    assert.deepEqual(nodesOf(webOf(base + asking() + away + own + lease('node-b', [claimed]))), [])
  const homeless = away.replace(', nodeName: node-b', '')
  assert.notEqual(homeless, away)
  assert.deepEqual(nodesOf(webOf(base + asking() + homeless + own)), [])
})

test('a port of SCTP has none of these pods behind it: its ports cannot be others', () => {
  const sctp = (text: string): string => text.replace('name: http, port', 'name: http, protocol: SCTP, port')
  assert.deepEqual(nodesOf(webOf(base + sctp(asking()) + sctp(away) + own)), [])
})

test('a family of which the node has no address of its own is left out', () => {
  const six = pool.replace('name: pool', 'name: six').replace('198.51.100.0/28', '"2001:db8:5::/64"')
  const dual = asking('tunnel-or-snat', ', ipFamilyPolicy: RequireDualStack')
  const found = webOf(base + six + dual + away + slice6('web', 'node-b') + own)
  assert.deepEqual(
    found.routes.map(({ prefix }) => prefix),
    ['198.51.100.0/32'],
  )
  const both = node.replace(']}\n', ', {type: InternalIP, address: "2001:db8::10"}]}\n')
  const whole = webOf(
    base.replace(node, both) +
      six +
      dual +
      away +
      slice6('web', 'node-b') +
      lease('node-a', ['192.168.1.10', '2001:db8::10']),
  )
  assert.deepEqual(
    whole.frontends.map(({ backends: [first] }) => first?.node),
    [translatedNode, translatedNode],
  )
})

test('a node that may not do it leaves them out, and says why beside the reason of the other one', () => {
  const found = webOf(base + asking() + away + own, { whyNoSnat: 'its sockets get these ports too' })
  assert.deepEqual([nodesOf(found), eligible(found)?.code], [[], 'NoReachableBackends'])
  assert.match(
    eligible(found)?.message ?? '',
    /1 on node-b left out: no agent there has said that it takes them, and no SNAT: its sockets get these ports too$/,
  )
})

test('a value that means nothing, and one that has no effect, are told with what to write', () => {
  const said = (text: string): readonly string[] =>
    (flushAll(translatorWith(base + text + away + own, { tunnels: 'leases' })).problems ?? [])
      .filter(({ field }) => field.includes('remote-backends'))
      .map(({ code, severity, message }) => `${severity} ${code}: ${message}`)
  assert.deepEqual(said(asking('snat')), [
    'warning InvalidAnnotation: "snat" is neither tunnel nor tunnel-or-snat: taken as tunnel',
  ])
  assert.match(said(asking('x'.repeat(9_000)))[0] ?? '', /^warning InvalidAnnotation: "x{40}\.\.\." is neither/)
  assert.deepEqual(said(asking('tunnel-or-snat', ', externalTrafficPolicy: Local')), [
    'warning ConflictingRequest: with externalTrafficPolicy Local no backend on another node is served: it has no effect',
  ])
  for (const value of ['tunnel', ' tunnel-or-snat ', '']) assert.deepEqual(said(asking(value)), [], value)
})

test('whoever asks about a node from elsewhere knows what its agent told, and one that told nothing does none', () => {
  const facts: AgentFacts = {
    ...{ version: '0.1.0', datapath: 'ebpf', secretsNamespace: 'kube-system', ignoreExcludeLb: false, withdrawOn: [] },
    ...{ isClassRequired: false, remoteBackends: 'tunnel', whyNoSnat: '' },
  }
  const read = (told: Partial<AgentFacts>): string | undefined =>
    nodeLifeOf({
      metadata: lifeMetadata('node-a', { ...facts, ...told }, undefined),
      spec: { holderIdentity: 'node-a' },
    })?.facts?.whyNoSnat
  assert.deepEqual([read({}), read({ whyNoSnat: 'no ports' })], ['', 'no ports'])
  assert.match(read({ whyNoSnat: undefined as never }) ?? '', /of a version that does none/)
})
