/** Backends on other nodes: which of them a node serves, by what their nodes say, and what is told of the others. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DesiredService, Verdict } from '../../src/desired/model.ts'
import { tunnelLeaseName, tunnelMetadata } from '../../src/k8s/kinds/tunnel-lease.ts'
import type { Translator } from '../../src/k8s/translate/translator.ts'
import {
  change,
  deliver,
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
import { processorMs } from '../processor-time.ts'

const base = smallestPolicy + node + pool
const dualPool = pool.replace('name: pool', 'name: six').replace('198.51.100.0/28', '"2001:db8:5::/64"')

interface LeaseText {
  readonly formats?: string
  readonly created?: string
}

/** As the agent of a node writes it. */
function lease(name: string, addresses: string, { formats = '1', created = '2026-01-01T00:00:00Z' }: LeaseText = {}) {
  const end = { addresses: addresses === '' ? [] : addresses.split(','), formats: [formats] }
  const metadata = {
    ...tunnelMetadata(name, end, undefined),
    name: tunnelLeaseName(name),
    namespace: 'leases',
    creationTimestamp: created,
  }
  const object = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata, spec: { holderIdentity: name } }
  return `---\n${JSON.stringify(object)}\n`
}

function nodeNamed(name: string, address: string, annotations = '{}'): string {
  return `---
apiVersion: v1
kind: Node
metadata: {name: ${name}, labels: {kubernetes.io/os: linux}, annotations: ${annotations}}
status: {addresses: [{type: InternalIP, address: "${address}"}]}
`
}

const own = lease('node-a', '192.168.1.10')
const web = base + service('web')
const away = slice('web', 'node-b')

interface Endpoint {
  readonly address: string
  readonly on?: string
  readonly conditions?: string
}

/** One slice of `web` with these endpoints. */
function endpoints(...all: readonly Endpoint[]): string {
  const text = all.map(
    ({ address, on, conditions = 'ready: true' }) =>
      `{addresses: ["${address}"]${on === undefined ? '' : `, nodeName: ${on}`}, conditions: {${conditions}}}`,
  )
  return slice('web').replace(/endpoints: .*/, `endpoints: [${text.join(', ')}]`)
}

const byLeases = (text: string): Translator => translatorWith(text, { tunnels: 'leases' })
const byNodes = (text: string): Translator => translatorWith(text, { tunnels: 'nodes' })
const webOf = (translator: Translator): DesiredService => serviceOf(flushAll(translator), 'web')
const eligible = (found: DesiredService): Verdict | undefined => verdictOf(found, 'eligible')
const prefixes = (found: DesiredService): readonly string[] => found.routes.map(({ prefix }) => prefix)
/** `10.244.2.5:8080 via 192.0.2.1`, of the first frontend. */
function backends({ frontends: [first] }: DesiredService, which: 'backends' | 'resting' = 'backends') {
  return (first?.[which] ?? []).map(
    ({ address, port, node: via }) => `${address}:${port}${via === undefined ? '' : ` via ${via}`}`,
  )
}

test('with policy Cluster a node announces and serves a Service whose only endpoint is on another node', () => {
  const found = webOf(byLeases(web + away + own + lease('node-b', '192.168.1.20')))
  assert.deepEqual([prefixes(found), backends(found)], [['198.51.100.0/32'], ['10.244.1.5:8080 via 192.168.1.20']])
  assert.deepEqual(
    [eligible(found)?.code, eligible(found)?.message],
    ['HasBackends', '1 usable backend in the cluster, 0 on node-a'],
  )
})

test('with policy Local only the backends of the node count, whatever other nodes take', () => {
  const text = base + service('web', ', externalTrafficPolicy: Local') + own + lease('node-b', '192.168.1.20')
  const found = webOf(byLeases(text + away))
  assert.deepEqual([prefixes(found), backends(found), eligible(found)?.code], [[], [], 'NoLocalBackends'])
  assert.doesNotMatch(eligible(found)?.message ?? '', /not served/)
  const here = webOf(
    byLeases(text + endpoints({ address: '10.244.1.5', on: 'node-a' }, { address: '10.244.2.5', on: 'node-b' })),
  )
  assert.deepEqual([prefixes(here).length, backends(here)], [1, ['10.244.1.5:8080']])
})

test('without tunnels nothing is different from a version that has none, and the verdict names the switch', () => {
  const found = webOf(translatorWith(web + away + own + lease('node-b', '192.168.1.20')))
  assert.deepEqual([prefixes(found), backends(found), eligible(found)?.code], [[], [], 'NoLocalBackends'])
  assert.match(eligible(found)?.message ?? '', /backends on other nodes are not served \(--remote-backends\)$/)
})

test('every node has the backends in one order, each its own without a tunnel', () => {
  const all = endpoints(
    { address: '10.244.3.9', on: 'node-c' },
    { address: '10.244.2.5', on: 'node-b' },
    { address: '10.244.1.5', on: 'node-a' },
    { address: '10.244.1.50', on: 'node-a' },
  )
  const leases = own + lease('node-b', '192.168.1.20') + lease('node-c', '192.168.1.30')
  const nodes = [
    ['node-a', '192.168.1.10'],
    ['node-b', '192.168.1.20'],
    ['node-c', '192.168.1.30'],
  ] as const
  const seen = nodes.map(([nodeName, address]) => {
    const text = smallestPolicy + pool + nodeNamed(nodeName, address) + service('web') + all + leases
    return backends(webOf(translatorWith(text, { tunnels: 'leases', nodeName })))
  })
  const order = ['10.244.1.5:8080', '10.244.1.50:8080', '10.244.2.5:8080', '10.244.3.9:8080']
  for (const list of seen)
    assert.deepEqual(
      list.map((each) => each.split(' ')[0]),
      order,
    )
  const ways = [undefined, undefined, '192.168.1.20', '192.168.1.30']
  assert.deepEqual(
    seen[0]?.map((each) => each.split(' via ')[1]),
    ways,
  )
  assert.deepEqual(
    seen[1]?.map((each) => each.split(' via ')[1]),
    ['192.168.1.10', '192.168.1.10', undefined, '192.168.1.30'],
  )
})

test('ready endpoints anywhere go before those that only serve, and these rest with what ends', () => {
  const leases = own + lease('node-b', '192.168.1.20')
  const ending = 'ready: false, serving: true, terminating: true'
  const found = webOf(
    byLeases(
      web +
        leases +
        endpoints(
          { address: '10.244.1.5', on: 'node-a', conditions: ending },
          { address: '10.244.2.5', on: 'node-b' },
          { address: '10.244.2.6', on: 'node-b', conditions: 'ready: false, serving: false' },
        ),
    ),
  )
  assert.deepEqual(backends(found), ['10.244.2.5:8080 via 192.168.1.20'])
  assert.deepEqual(backends(found, 'resting'), ['10.244.1.5:8080', '10.244.2.6:8080 via 192.168.1.20'])
  const last = webOf(byLeases(web + leases + endpoints({ address: '10.244.2.5', on: 'node-b', conditions: ending })))
  assert.deepEqual([backends(last), prefixes(last).length], [['10.244.2.5:8080 via 192.168.1.20'], 1])
})

test('a pod that slices put on two nodes is where this node has it', () => {
  const twice = endpoints({ address: '10.244.1.5', on: 'node-b' }, { address: '10.244.1.5', on: 'node-a' })
  assert.deepEqual(backends(webOf(byLeases(web + twice + own + lease('node-b', '192.168.1.20')))), ['10.244.1.5:8080'])
})

test('backends of a node that takes nothing are left out, and the verdict says which and why', () => {
  const both = endpoints({ address: '10.244.1.5', on: 'node-a' }, { address: '10.244.2.5', on: 'node-b' })
  const cases: readonly (readonly [string, RegExp])[] = [
    ['', /1 on node-b left out: no agent there has said that it takes them$/],
    [lease('node-b', ''), /it takes none$/],
    [lease('node-b', '192.168.1.20', { formats: '2' }), /it takes packets of format 2, and this node sends 1$/],
    [lease('node-b', '2001:db8::20'), /IPv4 is not spoken by both nodes$/],
    [lease('node-b', '192.168.1.10'), /its address is refused$/],
    [lease('node-b', '198.51.100.7'), /its address is refused$/],
  ]
  for (const [text, why] of cases) {
    const found = webOf(byLeases(web + both + own + text))
    assert.deepEqual([prefixes(found).length, backends(found)], [1, ['10.244.1.5:8080']], text)
    assert.deepEqual([eligible(found)?.ok, eligible(found)?.code], [true, 'SomeBackendsLeftOut'])
    assert.match(eligible(found)?.message ?? '', /^1 usable backend in the cluster, 1 on node-a; /)
    assert.match(eligible(found)?.message ?? '', why)
    const alone = webOf(byLeases(web + away + own + text))
    assert.deepEqual([prefixes(alone), backends(alone)], [[], []], text)
    assert.deepEqual([eligible(alone)?.ok, eligible(alone)?.code], [false, 'NoReachableBackends'])
    assert.match(eligible(alone)?.message ?? '', why)
    assert.match(eligible(alone)?.remedy ?? '', /herald status/)
  }
})

test('an endpoint without a node is left out; with nothing else there is nothing to announce', () => {
  const leases = own + lease('node-b', '192.168.1.20')
  const some = webOf(
    byLeases(web + leases + endpoints({ address: '10.244.2.5', on: 'node-b' }, { address: '10.244.2.6' })),
  )
  assert.deepEqual(
    [backends(some), eligible(some)?.code],
    [['10.244.2.5:8080 via 192.168.1.20'], 'SomeBackendsLeftOut'],
  )
  assert.match(eligible(some)?.message ?? '', /1 without nodeName left out: no slice says on which node$/)
  const none = webOf(byLeases(web + leases + endpoints({ address: '10.244.2.6' })))
  assert.deepEqual([prefixes(none), eligible(none)?.code], [[], 'EndpointsWithoutNode'])
})

test('the families are kept apart: an address is announced where its own family has a way', () => {
  const dual = base + dualPool + service('web', ', ipFamilyPolicy: RequireDualStack')
  const both = slice('web', 'node-b') + slice6('web', 'node-b')
  const ownDual = node.replace(']}\n', ', {type: InternalIP, address: "2001:db8::10"}]}\n')
  const text = dual.replace(node, ownDual) + both + lease('node-a', '192.168.1.10,2001:db8::10')
  const four = webOf(byLeases(text + lease('node-b', '192.168.1.20')))
  assert.deepEqual(prefixes(four), ['198.51.100.0/32'])
  assert.match(eligible(four)?.message ?? '', /2001:db8:5:: has no IPv6 backend here and is not announced/)
  assert.match(eligible(four)?.message ?? '', /1 on node-b left out: IPv6 is not spoken by both nodes/)
  const six = webOf(byLeases(text + lease('node-b', '2001:db8::20')))
  assert.deepEqual(prefixes(six), ['2001:db8:5::/128'])
  const whole = webOf(byLeases(text + lease('node-b', '192.168.1.20,2001:db8::20')))
  assert.deepEqual(prefixes(whole), ['198.51.100.0/32', '2001:db8:5::/128'])
  assert.deepEqual(
    whole.frontends.map(({ backends: [first] }) => first?.node),
    ['192.168.1.20', '2001:db8::20'],
  )
})

test('a node forwards only when the others have heard of it: they take packets of nodes that they know', () => {
  const theirs = lease('node-b', '192.168.1.20')
  const translator = byLeases(web + away + theirs)
  const first = flushAll(translator)
  assert.deepEqual(first.tunnels, { own: ['192.168.1.10'], isTold: false, senders: ['192.168.1.20'] })
  assert.deepEqual(
    [prefixes(serviceOf(first, 'web')), eligible(serviceOf(first, 'web'))?.code],
    [[], 'NoReachableBackends'],
  )
  assert.match(eligible(serviceOf(first, 'web'))?.message ?? '', /the others have yet to hear at which address node-a/)
  const told = change(translator, own)
  assert.deepEqual([told.tunnels?.isTold, prefixes(serviceOf(told, 'web')).length], [true, 1])
  const other = change(translator, lease('node-a', '192.168.1.99'))
  assert.deepEqual([other.tunnels?.isTold, prefixes(serviceOf(other, 'web'))], [false, []])
  const nowhere = byLeases(web.replace('192.168.1.10', '127.0.0.1') + away + theirs)
  assert.match(eligible(webOf(nowhere))?.message ?? '', /node-a has no address at which it takes packets itself/)
})

test('a Lease costs the Services with an endpoint on its node, and no others', () => {
  const names = Array.from({ length: 300 }, (_, i) => `s${i}`)
  const placed = names.map((name, i) => service(name) + slice(name, `node-${i % 30}`)).join('')
  const leases = Array.from({ length: 30 }, (_, i) => lease(`node-${i}`, `192.168.2.${i + 1}`)).join('')
  const translator = byLeases(base.replace('/28', '/16') + placed + own + leases)
  assert.equal(flushAll(translator).services.size, 300)
  const moved = change(translator, lease('node-7', '192.168.2.100'))
  const expected = names.filter((_, i) => i % 30 === 7).map((name) => `default/${name}`)
  assert.deepEqual([...moved.services.keys()].sort(), expected.sort())
  assert.ok(moved.tunnels?.senders.includes('192.168.2.100'))
  assert.deepEqual(change(translator, lease('node-7', '192.168.2.100')), { services: new Map() }, 'an equal one')
  const fresh = change(translator, lease('node-99', '192.168.2.200'))
  assert.deepEqual([fresh.services.size, fresh.tunnels?.senders.length], [0, 31], 'a node without endpoints')
})

test('a Lease that goes takes the backends of its node out, and nothing else', () => {
  const both = endpoints({ address: '10.244.2.5', on: 'node-b' }, { address: '10.244.3.5', on: 'node-c' })
  const translator = byLeases(web + both + own + lease('node-b', '192.168.1.20') + lease('node-c', '192.168.1.30'))
  assert.equal(backends(webOf(translator)).length, 2)
  const key = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', namespace: 'leases' }
  translator.remove({ ...key, name: tunnelLeaseName('node-b') })
  const found = serviceOf(flushAll(translator), 'web')
  assert.deepEqual([prefixes(found).length, backends(found)], [1, ['10.244.3.5:8080 via 192.168.1.30']])
})

test('an address that two nodes claim is of the one who claimed it first, in whatever order they are read', () => {
  const both = endpoints({ address: '10.244.2.5', on: 'node-b' }, { address: '10.244.3.5', on: 'node-c' })
  const older = lease('node-c', '192.168.1.20', { created: '2026-01-01T00:00:00Z' })
  const younger = lease('node-b', '192.168.1.20', { created: '2026-02-01T00:00:00Z' })
  for (const leases of [older + younger, younger + older]) {
    const delta = flushAll(byLeases(web + both + own + leases))
    assert.deepEqual(backends(serviceOf(delta, 'web')), ['10.244.3.5:8080 via 192.168.1.20'])
    assert.deepEqual(delta.tunnels?.senders, ['192.168.1.20'])
    const [problem] = delta.problems ?? []
    assert.deepEqual([problem?.code, problem?.object.name], ['TunnelRefused', 'herald-tunnel-node-b'])
    assert.match(
      problem?.message ?? '',
      /node node-b says that it takes packets at 192.168.1.20, which is of node node-c/,
    )
  }
})

test('nobody takes an address of this node, of its pods or of a Service by a Lease', () => {
  const text = base.replace('{podCIDR: 10.244.1.0/24}', '{podCIDRs: [10.244.1.0/24, "fd00:10::/64"]}') + service('web')
  const local = [{ interface: 'eth9', address: '203.0.113.9' }]
  for (const [address, why] of [
    ['192.168.1.10', /is of node node-a/],
    ['203.0.113.9', /is of node node-a/],
    ['10.244.1.77', /is of pods on node node-a/],
    ['fd00:10::77', /is of pods on node node-a/],
    ['198.51.100.0', /is in a pool, for Services/],
  ] as const) {
    const options = { tunnels: 'leases', localAddresses: () => local } as const
    const before = translatorWith(text + slice('web') + own, options)
    const quiet = serviceOf(flushAll(before), 'web')
    const delta = change(before, lease('node-b', address))
    assert.deepEqual([...delta.services.keys()], [], `${address}: nobody else is touched`)
    assert.equal(prefixes(quiet).length, 1)
    assert.match(delta.problems?.find(({ code }) => code === 'TunnelRefused')?.message ?? '', why)
    assert.deepEqual(delta.tunnels?.senders ?? [], [])
  }
})

test('an address that somebody wrote for this node, and that it has not, is said; where nothing is known nothing is', () => {
  const local = [
    { interface: 'eth0', address: '192.168.1.10' },
    { interface: 'eth1', address: '10.0.0.10' },
  ]
  const saying = (annotation: string, known = local): readonly string[] => {
    const text = web.replace(node, nodeNamed('node-a', '192.168.1.10', annotation))
    const translator = translatorWith(text, { tunnels: 'leases', localAddresses: () => known })
    const problems = flushAll(translator).problems ?? []
    return problems
      .filter(({ code }) => code === 'NotOwnAddress')
      .map(({ object, message }) => `${object.name}: ${message}`)
  }
  const annotated = (addresses: string): string => `{herald.dev/tunnel-addresses: "${addresses}"}`
  assert.deepEqual(saying(annotated('10.0.0.11')), [
    'node-a: other nodes are to send packets for backends to 10.0.0.11, which is no address of this node',
  ])
  assert.deepEqual([saying(annotated('10.0.0.10')), saying(annotated('10.0.0.11'), []), saying('{}')], [[], [], []])
  const text = web.replace(node, nodeNamed('node-a', '192.168.1.10', annotated('10.0.0.11')))
  let now = local
  const translator = translatorWith(text, { tunnels: 'leases', localAddresses: () => now })
  flushAll(translator)
  now = [...local, { interface: 'eth1', address: '10.0.0.11' }]
  assert.deepEqual(
    flushAll(translator).problems?.filter(({ code }) => code === 'NotOwnAddress'),
    [],
    'the interface has it by now',
  )
})

test('an address of a node may lie in a pool, where it is kept from Services', () => {
  const wide = smallestPolicy + node + pool.replace('198.51.100.0/28', '192.168.1.0/24') + service('web')
  const reserved = `---
apiVersion: cilium.io/v2
kind: CiliumBGPNodeConfig
metadata: {name: node-a, annotations: {herald.dev/reserved: "192.168.1.20"}}
spec: {bgpInstances: [{name: x}]}
`
  const translator = byLeases(wide + away + own + lease('node-b', '192.168.1.20'))
  assert.deepEqual(prefixes(webOf(translator)), [])
  const found = serviceOf(change(translator, reserved), 'web')
  assert.deepEqual([prefixes(found).length, backends(found)], [1, ['10.244.1.5:8080 via 192.168.1.20']])
})

test('in a folder the Nodes say where packets go, and a Lease says nothing', () => {
  const text = web + away + nodeNamed('node-b', '192.168.1.20')
  const found = flushAll(byNodes(text + lease('node-b', '192.168.1.99')))
  assert.deepEqual(found.tunnels, { own: ['192.168.1.10'], isTold: true, senders: ['192.168.1.20'] })
  assert.deepEqual(backends(serviceOf(found, 'web')), ['10.244.1.5:8080 via 192.168.1.20'])
  const elsewhere = text.replace('192.168.1.20', '192.168.1.20"}, {type: ExternalIP, address: "203.0.113.1')
  assert.deepEqual(backends(webOf(byNodes(elsewhere))), ['10.244.1.5:8080 via 192.168.1.20'])
})

test('the annotation of a Node goes before its InternalIP, and none ends it', () => {
  const withText = (text: string): string =>
    web + away + nodeNamed('node-b', '192.168.1.20', `{herald.dev/tunnel-addresses: "${text}"}`)
  assert.deepEqual(backends(webOf(byNodes(withText('10.0.0.20')))), ['10.244.1.5:8080 via 10.0.0.20'])
  const none = webOf(byNodes(withText('none')))
  assert.deepEqual([backends(none), eligible(none)?.code], [[], 'NoReachableBackends'])
  assert.match(eligible(none)?.message ?? '', /1 on node-b left out: it takes none/)
  const mine = node.replace('labels:', 'annotations: {herald.dev/tunnel-addresses: "10.0.0.10"}, labels:')
  const delta = flushAll(byLeases(smallestPolicy + mine + pool + service('web')))
  assert.deepEqual(delta.tunnels, { own: ['10.0.0.10'], isTold: false, senders: [] })
})

test('a heartbeat of another Node in the folder, or a label of its own, costs no Service', () => {
  const many = Array.from({ length: 50 }, (_, i) => service(`s${i}`) + slice(`s${i}`, 'node-b')).join('')
  const other = nodeNamed('node-b', '192.168.1.20')
  const translator = byNodes(base.replace('/28', '/16') + many + other)
  assert.equal(flushAll(translator).services.size, 50)
  for (const text of [
    other.replace('status: {', 'status: {conditions: [{type: MemoryPressure, status: "True"}], '),
    other.replace('labels: {', 'labels: {rack: a, '),
  ]) {
    const delta = change(translator, text)
    assert.deepEqual([delta.services.size, delta.tunnels], [0, undefined])
  }
  assert.equal(change(translator, nodeNamed('node-b', '192.168.1.21')).services.size, 50)
})

test('what keeps the node from announcing keeps it, and what is forwarded is served on', () => {
  const excluded = node.replace('labels: {', 'labels: {node.kubernetes.io/exclude-from-external-load-balancers: "", ')
  const text = smallestPolicy + excluded + pool + service('web') + away + own + lease('node-b', '192.168.1.20')
  const found = webOf(byLeases(text))
  assert.deepEqual([prefixes(found), eligible(found)?.code], [[], 'NodeExcluded'])
  assert.deepEqual(backends(found), ['10.244.1.5:8080 via 192.168.1.20'])
})

test('a node that has a backend serves what is handed on to it, though nothing selects the Service there', () => {
  const others = own + lease('node-b', '192.168.1.20')
  const both = endpoints({ address: '10.244.1.5', on: 'node-a' }, { address: '10.244.2.5', on: 'node-b' })
  const unlabelled = service('web').replace('expose-via-bgp', 'other')
  for (const [text, code] of [
    [base + unlabelled, 'NotSelected'],
    [node + pool + service('web'), 'NoPolicy'],
  ] as const) {
    const found = webOf(byLeases(text + both + others))
    assert.deepEqual([prefixes(found), verdictOf(found, 'selected')?.code], [[], code])
    assert.deepEqual(backends(found), ['10.244.1.5:8080', '10.244.2.5:8080 via 192.168.1.20'])
    const ending = endpoints(
      { address: '10.244.1.5', on: 'node-a', conditions: 'ready: false, serving: true, terminating: true' },
      { address: '10.244.2.5', on: 'node-b' },
    )
    assert.deepEqual(backends(webOf(byLeases(text + ending + others)), 'resting'), ['10.244.1.5:8080'])
    assert.deepEqual(webOf(byLeases(text + away + others)).frontends, [], 'it has none: nobody hands on to it')
    const local = text.replace('port: 80}]', 'port: 80}], externalTrafficPolicy: Local')
    assert.deepEqual(webOf(byLeases(local + both + others)).frontends, [], 'nobody hands on')
    assert.deepEqual(webOf(translatorWith(text + both)).frontends, [], 'without tunnels as ever')
  }
})

test('publishNotReadyAddresses is what the slices make of it: their endpoints are ready', () => {
  const text = base + service('web', ', publishNotReadyAddresses: true') + own + lease('node-b', '192.168.1.20')
  const ready = 'ready: true, serving: false, terminating: true'
  const found = webOf(byLeases(text + endpoints({ address: '10.244.2.5', on: 'node-b', conditions: ready })))
  assert.deepEqual([prefixes(found).length, backends(found)], [1, ['10.244.2.5:8080 via 192.168.1.20']])
})

test('500 Leases that come while everything runs cost less than a slice each', () => {
  const many = Array.from({ length: 2000 }, (_, i) => service(`s${i}`) + slice(`s${i}`, `node-${i % 500}`)).join('')
  const translator = byLeases(base.replace('/28', '/16') + many + own)
  flushAll(translator)
  let seen = 0
  const durations = Array.from({ length: 500 }, (_, i) => {
    deliver(translator, lease(`node-${i}`, `10.9.${Math.floor(i / 250)}.${(i % 250) + 1}`))
    return processorMs(() => (seen += flushAll(translator).services.size))
  })
  assert.equal(seen, 2000)
  // The median, as one of them may be that of a collection.
  assert.ok((durations.sort((a, b) => a - b)[250] ?? 0) < 10, `${durations[250]?.toFixed(2)} ms`)
})
