/** herald.dev/neighbors and herald.dev/drain: what they make of a policy's neighbors and routes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DesiredDelta } from '../../src/desired/model.ts'
import { parseExtendedCommunity } from '../../src/k8s/kinds/extended-communities.ts'
import { change, codesOf, node, policyWith, pool, service, serviceOf, slice, translatorWith } from './manifests.ts'

const first = '{peerAddress: 192.168.1.1/32, peerASN: 65000}'
const second = '{peerAddress: 192.168.1.2/32, peerASN: 65000}'
const rest = node + pool + service('web') + slice('web')
const annotated = (text: string, ...peers: readonly string[]): string =>
  policyWith(...(peers.length === 0 ? [first, second] : peers)).replace(
    'name: bgp-peering',
    `name: bgp-peering, annotations: {herald.dev/neighbors: '${text}'}`,
  )
const deltaOf = (text: string, ...peers: readonly string[]): DesiredDelta =>
  translatorWith(annotated(text, ...peers) + rest).flush()

test('every key of the contract becomes a field of the neighbor', () => {
  const { speaker, problems } = deltaOf(
    '{"192.168.1.1": {passive: true, ttlSecurity: 2, sourceAddress: 192.168.1.9, interface: eth0, localAs: ' +
      '64999, role: customer, addPathReceive: true, delayOpen: 3, tcpUserTimeout: 20, maxPrefixes: 10, ' +
      'maxPrefixesOut: 5, enforceFirstAs: false, rejectAsSets: false, allowAsIn: 1, importPrefixes: [10.0.0.0/8 ' +
      'ge 16 le 24, "2001:db8::/32"], nextHop: {ipv4: 192.0.2.7, ipv6: "2001:db8::7"}}}',
  )
  assert.deepEqual(codesOf(problems), ['NotOwnAddress', 'NotOwnAddress', 'NotOwnAddress'])
  const [{ id, source: _source, password: _password, ...neighbor } = { id: '', source: {} }] = speaker?.neighbors ?? []
  assert.equal(id, '65001/192.168.1.1')
  assert.deepEqual(neighbor, {
    virtualRouter: '65001',
    localAsn: 65001,
    peerAsn: 65000,
    peerAddress: '192.168.1.1',
    peerPort: 179,
    routerId: '192.168.1.10',
    nodeAddresses: { 'ipv4-unicast': '192.168.1.10' },
    families: ['ipv4-unicast', 'ipv6-unicast'],
    holdTimeSec: 90,
    keepaliveSec: 30,
    connectRetrySec: 120,
    multihopTtl: 1,
    passive: true,
    ttlSecurityHops: 2,
    sourceAddress: '192.168.1.9',
    interface: 'eth0',
    localAs: 64999,
    role: 'customer',
    addPathReceive: true,
    delayOpenSec: 3,
    tcpUserTimeoutSec: 20,
    maxPrefixes: 10,
    maxPrefixesOut: 5,
    enforceFirstAs: false,
    rejectAsSets: false,
    allowAsIn: 1,
    importPrefixes: [{ prefix: '10.0.0.0/8', ge: 16, le: 24 }, { prefix: '2001:db8::/32' }],
    nextHops: { 'ipv4-unicast': '192.0.2.7', 'ipv6-unicast': '2001:db8::7' },
  })
})

test('attributes per neighbor and per family end in the routes and change no neighbor', () => {
  const translator = translatorWith(
    annotated(
      '{"*": {med: 5}, "192.168.1.2": {med: {ipv4: 7}, asPathPrepend: 2, extendedCommunities: ["rt:65000:100", ' +
        '"lb:65000:12500000"]}}',
    ) + rest,
  )
  const before = translator.flush()
  assert.deepEqual(
    serviceOf(before, 'web').routes.map(({ neighbors, attributes }) => [neighbors, attributes]),
    [
      [['65001/192.168.1.1'], { med: 5 }],
      [
        ['65001/192.168.1.2'],
        { med: 7, asPathPrepend: 2, extendedCommunities: ['0002fde800000064', '4004fde84b3ebc20'] },
      ],
    ],
  )
  const after = change(translator, annotated('{"*": {med: 6}}'))
  assert.equal(after.speaker, undefined, 'no session has anything to do with it')
  assert.deepEqual(
    serviceOf(after, 'web').routes.map(({ attributes }) => attributes),
    [{ med: 6 }],
  )
})

test('a key that is wrong costs itself and not its neighbor', () => {
  const { speaker, problems } = deltaOf(
    '{"192.168.1.1": {passive: true, maxPrefixes: -1, rolle: peer, importPrefixes: [10.0.0.0/8 le 4]}}',
  )
  assert.equal(speaker?.neighbors[0]?.passive, true)
  assert.equal(speaker?.neighbors[0]?.maxPrefixes, undefined)
  assert.deepEqual([...codesOf(problems)].sort(), ['InvalidField', 'InvalidField', 'UnknownField'])
  assert.ok(
    problems?.every(({ field }) => field.startsWith('metadata.annotations.herald.dev/neighbors.192.168.1.1.')),
    JSON.stringify(problems),
  )
  assert.ok(problems?.some(({ remedy }) => remedy === 'Did you mean role?'))
})

test('a link-local neighbor needs an interface, which its key may carry, and has it in its name', () => {
  const linkLocal = '{peerAddress: "fe80::1/128", peerASN: 65000}'
  const without = deltaOf('{}', linkLocal, second)
  assert.deepEqual(
    [codesOf(without.problems), without.speaker?.neighbors.map(({ id }) => id)],
    [['NoInterface'], ['65001/192.168.1.2']],
  )
  for (const text of ['{"fe80::1": {interface: eth1}}', '{"fe80::1%eth1": {}}']) {
    const [neighbor] = deltaOf(text, linkLocal).speaker?.neighbors ?? []
    assert.deepEqual([neighbor?.id, neighbor?.interface], ['65001/fe80::1%eth1', 'eth1'], text)
  }
})

test('keys with several interfaces make one neighbor on each, with what the address alone has in common', () => {
  const sessions = (text: string, peer: string): readonly unknown[] =>
    deltaOf(text, peer).speaker?.neighbors.map(({ id, passive = false, maxPrefixes = 0 }) => [
      id,
      passive,
      maxPrefixes,
    ]) ?? []
  const unnumbered = '{peerAddress: "::/128", peerASN: 65000}'
  assert.deepEqual(
    sessions('{"::": {maxPrefixes: 9}, "::%eth0": {}, "::%eth1": {passive: true, maxPrefixes: 7}}', unnumbered),
    [
      ['65001/::%eth0', false, 9],
      ['65001/::%eth1', true, 7],
    ],
  )
  assert.deepEqual(
    sessions('{"fe80::1": {interface: eth0}, "fe80::1%eth1": {}}', '{peerAddress: "fe80::1/128", peerASN: 65000}'),
    [
      ['65001/fe80::1%eth0', false, 0],
      ['65001/fe80::1%eth1', false, 0],
    ],
  )
})

test('the Node annotation herald.dev/drain drains and, taken away, ends it; a cordon does not (RFC 8326)', () => {
  const marked = (value: string): string =>
    node.replace('metadata: {', `metadata: {annotations: {herald.dev/drain: ${value}}, `)
  const translator = translatorWith(policyWith(first) + rest)
  assert.equal(translator.flush().speaker?.isDraining, false)
  assert.equal(change(translator, marked('"true"')).speaker?.isDraining, true)
  assert.equal(change(translator, node).speaker?.isDraining, false)
  const wrong = change(translator, marked('"yes"'))
  assert.deepEqual([wrong.speaker, codesOf(wrong.problems)], [undefined, ['InvalidAnnotation']])
})

test('extended communities as people write them (RFC 4360 3, RFC 5668 2)', () => {
  const cases: readonly (readonly [string, string | undefined])[] = [
    ['rt:65000:100', '0002fde800000064'],
    ['soo:65000:4294967295', '0003fde8ffffffff'],
    ['rt:192.0.2.1:7', '0102c00002010007'],
    ['rt:4200000001:9', '0202fa56ea010009'],
    ['lb:65000:12500000', '4004fde84b3ebc20'],
    ['0002FDE800000064', '0002fde800000064'],
    ['rt:65000', undefined],
    ['rt:4200000001:65536', undefined],
    ['xx:1:2', undefined],
    ['rt:192.0.2.1:65536', undefined],
    ['rt:a:1', undefined],
    ['lb:70000:1', undefined],
    ['', undefined],
  ]
  for (const [text, expected] of cases) assert.equal(parseExtendedCommunity(text), expected, text)
})
