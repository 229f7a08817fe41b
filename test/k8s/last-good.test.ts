/** The last good version is kept for an object and for each of its parts; what was never good is left out and said. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DesiredDelta, Neighbor } from '../../src/desired/model.ts'
import type { Translator } from '../../src/k8s/translate/translator.ts'
import { change, codesOf, node, policyWith, pool, service, serviceOf, slice, translatorWith } from './manifests.ts'

const tor1 = '{peerAddress: 192.168.1.1/32, peerASN: 65000, holdTimeSeconds: 30}'
const tor2 = '{peerAddress: 192.168.1.2/32, peerASN: 65000, holdTimeSeconds: 60}'
const rest = node + pool + service('web') + slice('web')
const secret = (data: string, name = 'tor'): string =>
  `---\napiVersion: v1\nkind: Secret\nmetadata: {name: ${name}, namespace: kube-system}\n${data}\n`
const annotated = (annotation: string, ...peers: readonly string[]): string =>
  policyWith(...peers).replace(
    'name: bgp-peering',
    `name: bgp-peering, annotations: {herald.dev/neighbors: ${JSON.stringify(annotation)}}`,
  )
const onNode = (annotations: string, text = node): string =>
  text.replace('name: node-a,', `name: node-a, annotations: {${annotations}},`)

/** Follows what is in force. */
class Force {
  readonly translator: Translator
  neighbors: readonly Neighbor[] = []
  isDraining = false
  last: DesiredDelta

  constructor(text: string) {
    this.translator = translatorWith(text)
    this.last = this.#take(this.translator.flush())
  }

  change(text: string): this {
    this.last = this.#take(change(this.translator, text))
    return this
  }

  remove(kind: 'Node' | 'Secret', name: string): this {
    this.translator.remove({ apiVersion: 'v1', kind, namespace: kind === 'Node' ? '' : 'kube-system', name })
    this.last = this.#take(this.translator.flush())
    return this
  }

  get holds(): readonly string[] {
    return this.neighbors.map(({ id, holdTimeSec }) => `${id} ${holdTimeSec}`)
  }

  #take(delta: DesiredDelta): DesiredDelta {
    this.neighbors = delta.speaker?.neighbors ?? this.neighbors
    this.isDraining = delta.speaker?.isDraining ?? this.isDraining
    return delta
  }
}

test('a broken neighbor stays as it was while the others follow, whatever is broken in it', () => {
  const broken = [
    tor2.replace('holdTimeSeconds: 60', 'holdTimeSeconds: 60, keepAliveTimeSeconds: 61'),
    tor2.replace('192.168.1.2/32', '192.168.1.2'),
    tor2.replace('192.168.1.2/32', '192.168.1.2/24'),
    tor2.replace('192.168.1.2/32', '192.168.1.2000/32'),
    tor2.replace('peerASN: 65000', 'peerASN: "65000"'),
    tor2.replace('peerASN: 65000', 'peerASN: 65000, families: [{afi: ipv9, safi: unicast}]'),
    tor2.replace('peerASN: 65000', 'peerASN: 65000, serviceSelector: {matchExpressions: [{key: a, operator: In}]}'),
    'null',
  ]
  for (const text of broken) {
    const force = new Force(policyWith(tor1, tor2) + rest).change(policyWith(tor1.replace('30', '33'), text))
    assert.deepEqual(force.holds, ['65001/192.168.1.1 33', '65001/192.168.1.2 60'], text)
    const error = force.last.problems?.find(({ severity }) => severity === 'error')
    assert.match(`${error?.message} ${error?.remedy}`, /last good version of this neighbor stays/, text)
    assert.deepEqual(force.change(policyWith(tor1, tor2.replace('60', '66'))).holds[1], '65001/192.168.1.2 66')
  }
})

test('a neighbor that is removed from a valid list goes at once, also beside a broken one', () => {
  const force = new Force(policyWith(tor1, tor2) + rest)
  assert.deepEqual(force.change(policyWith(tor1)).holds, ['65001/192.168.1.1 30'])
  const other = new Force(policyWith(tor1, tor2) + rest).change(policyWith(tor2.replace('60', '2')))
  assert.deepEqual(other.holds, ['65001/192.168.1.2 60'])
})

test('a broken virtual router keeps its neighbors, and the routers beside it follow', () => {
  const two = (first: string, second: string): string =>
    `${policyWith(tor1).replace(/ {2}- localASN[\s\S]*/, '')}  - ${first}\n  - ${second}\n`
  const router = (asn: string, peer: string, more = ''): string =>
    `{localASN: ${asn}, serviceSelector: {}, ${more} neighbors: [${peer}]}`
  const force = new Force(two(router('65001', tor1), router('65002', tor2)) + rest)
  for (const second of [
    router('65002', tor2, 'exportPodCIDR: yes please,'),
    '{localASN: 65002, serviceSelector: {}, neighbors: []}',
    router('"65002"', tor2),
    router('65002', tor2).replace('serviceSelector: {}', 'serviceSelector: {matchLabels: {"a b": c}}'),
  ]) {
    force.change(two(router('65001', tor1.replace('30', '33')), second))
    assert.deepEqual(force.holds, ['65001/192.168.1.1 33', '65002/192.168.1.2 60'], second)
  }
  assert.deepEqual(force.change(two(router('65001', tor1), router('65003', tor2))).holds, [
    '65001/192.168.1.1 30',
    '65003/192.168.1.2 60',
  ])
})

test('an annotation that cannot be read any more keeps what it said, key by key', () => {
  const good = '{"*": {med: 5}, "192.168.1.1": {ttlSecurity: 1, sourceAddress: 192.168.1.10, localAs: 64999}}'
  const read = ({ neighbors: [first] }: Force): readonly unknown[] => [
    first?.ttlSecurityHops,
    first?.sourceAddress,
    first?.localAs,
  ]
  const all = [1, '192.168.1.10', 64999]
  for (const [text, expected] of [
    [good.slice(0, -1), all],
    ['- a list', all],
    [good.replace('"192.168.1.1": {', '"192.168.1.": {'), all],
    [good.replace('ttlSecurity: 1', 'ttlSecurity: 300'), all],
    [good.replace('localAs: 64999', 'localAs: many'), all],
    ['{"192.168.1.1": 7}', all],
    [good.replace('ttlSecurity: 1, ', ''), [undefined, '192.168.1.10', 64999]],
    ['', [undefined, undefined, undefined]],
  ] as const) {
    const force = new Force(annotated(good, tor1) + rest).change(annotated(text, tor1))
    assert.deepEqual(read(force), expected, text)
    if (expected === all) assert.ok((force.last.problems?.length ?? 0) > 0, text)
  }
})

test('a Secret that is deleted or broken keeps the key in force, and says so', () => {
  const keyed = '{peerAddress: 192.168.1.1/32, peerASN: 65000, authSecretRef: tor}'
  const force = new Force(policyWith(keyed) + rest + secret('stringData: {password: first}'))
  assert.equal(force.neighbors[0]?.password, 'first')
  for (const [data, code] of [
    ['stringData: {password: ""}', 'InvalidKey'],
    ['data: {password: "&&&"}', 'InvalidKey'],
    ['data: {}', 'InvalidKey'],
    ['stringData: {password: 17}', 'InvalidKey'],
    [`stringData: {password: ${'k'.repeat(81)}}`, 'KeyTooLong'],
  ] as const) {
    force.change(secret(data))
    assert.deepEqual([force.neighbors[0]?.password, codesOf(force.last.problems)], ['first', [code]], data)
    assert.match(force.last.problems?.[0]?.remedy ?? '', /stays in force/)
  }
  force.remove('Secret', 'tor')
  assert.deepEqual([force.neighbors[0]?.password, codesOf(force.last.problems)], ['first', ['SecretGone']])
  force.change(secret('stringData: {password: second}'))
  assert.deepEqual([force.neighbors[0]?.password, force.last.problems], ['second', []])
})

test('a neighbor that names a Secret which was never good is not dialled; a running one stays as it was', () => {
  const named = (name: string): string => `{peerAddress: 192.168.1.1/32, peerASN: 65000, authSecretRef: ${name}}`
  const never = new Force(policyWith(named('absent'), tor2) + rest)
  assert.deepEqual([never.holds, codesOf(never.last.problems)], [['65001/192.168.1.2 60'], ['NoPassword']])
  const force = new Force(policyWith(named('tor')) + rest + secret('stringData: {password: first}'))
  force.change(policyWith(named('tro')))
  assert.deepEqual([force.neighbors[0]?.password, codesOf(force.last.problems)], ['first', ['NoPassword']])
})

test('a link-local neighbor that loses its interface keeps the session that it has', () => {
  const peer = '{peerAddress: "fe80::1/128", peerASN: 65000}'
  const force = new Force(annotated('{"fe80::1": {interface: eth1}}', peer) + rest)
  force.change(annotated('{"fe80::1": {passive: true}}', peer))
  assert.deepEqual([force.neighbors[0]?.id, codesOf(force.last.problems)], ['65001/fe80::1%eth1', ['NoInterface']])
})

test('a Node that breaks or vanishes changes nothing; each annotation of it is a part', () => {
  const settings = (text: string): string => onNode(`cilium.io/bgp-virtual-router.65001: "${text}"`)
  const force = new Force(policyWith(tor1) + rest.replace(node, settings('router-id=10.0.0.1,local-port=1790')))
  const state = (): readonly unknown[] => [force.neighbors[0]?.routerId, force.neighbors[0]?.listenPort]
  assert.deepEqual(state(), ['10.0.0.1', 1790])
  for (const text of [
    settings('router-id=10.0.0,local-port=1790'),
    settings('router-id=10.0.0.1,local-port=0'),
    settings('router-id=10.0.0.1,local-port=1790').replace('10.244.1.0/24', '10.244.1/24'),
    settings('router-id=10.0.0.1,local-port=1790').replace('192.168.1.10', '192.168.1'),
    settings('router-id=10.0.0.1,local-port=1790').replace('os: linux', 'os: 7'),
  ]) {
    force.change(text)
    assert.deepEqual(
      [force.last.speaker, force.last.podCidrs, state()],
      [undefined, undefined, ['10.0.0.1', 1790]],
      text,
    )
    assert.ok(
      force.last.problems?.some(({ severity }) => severity === 'error'),
      text,
    )
  }
  force.remove('Node', 'node-a')
  assert.deepEqual([force.last.speaker, force.last.podCidrs], [undefined, undefined])
  assert.deepEqual(codesOf(force.last.problems), ['NoNode'])
  assert.deepEqual(force.change(settings('local-port=1790')).neighbors[0]?.routerId, '192.168.1.10')
})

test('a broken drain annotation neither drains nor ends a drain', () => {
  const force = new Force(policyWith(tor1) + rest)
  assert.equal(force.change(onNode('herald.dev/drain: "on"')).isDraining, false)
  assert.equal(force.change(onNode('herald.dev/drain: "true"')).isDraining, true)
  assert.equal(force.change(onNode('herald.dev/drain: "tru"')).isDraining, true)
  assert.equal(force.change(onNode('herald.dev/drain: "false"')).isDraining, false)
})

test('another uid is another object: nothing of the one before it holds', () => {
  const named = (uid: string, peer: string): string =>
    policyWith(tor1, peer).replace('name: bgp-peering', `name: bgp-peering, uid: ${uid}`)
  const force = new Force(named('one', tor2) + rest)
  assert.equal(force.change(named('one', tor2.replace('60', '2'))).holds.length, 2)
  assert.deepEqual(force.change(named('two', tor2.replace('60', '2'))).holds, ['65001/192.168.1.1 30'])
})

test('what a Service is announced to stays through a broken policy', () => {
  const force = new Force(policyWith(tor1, tor2) + rest)
  force.change(policyWith(tor1, tor2.replace('peerASN', 'peerAs')))
  assert.equal(force.last.services.size, 0)
  const moved = force.change(slice('web').replace('10.244.1.5', '10.244.1.6')).last
  assert.deepEqual(serviceOf(moved, 'web').routes[0]?.neighbors, ['65001/192.168.1.1', '65001/192.168.1.2'])
})
