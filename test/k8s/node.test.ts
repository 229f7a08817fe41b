/** What a Node is to its agent: router ID, next hops, source addresses, the neighbor that it is itself. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { DesiredDelta, Problem } from '../../src/desired/model.ts'
import { isUnicastIpv4, parseIpv4 } from '../../src/ip/address.ts'
import { derivedRouterId } from '../../src/k8s/translate/router-id.ts'
import type { LocalAddress } from '../../src/k8s/translate/types.ts'
import { change, codesOf, node, policyWith, smallestPolicy, translatorWith } from './manifests.ts'

const tor = '{peerAddress: 192.168.1.1/32, peerASN: 65000}'
const onPolicy = (annotation: string, ...peers: readonly string[]): string =>
  policyWith(...peers).replace(
    'name: bgp-peering',
    `name: bgp-peering, annotations: {herald.dev/neighbors: '${annotation}'}`,
  )
const nodeOf = (name: string, addresses: readonly string[], annotation = ''): string =>
  node
    .replace('name: node-a,', `name: ${name}, annotations: {herald.dev/neighbors: '${annotation}'},`)
    .replace(/\[\{type: Int.*\]/, `[${addresses.map((each) => `{type: InternalIP, address: "${each}"}`).join(', ')}]`)
const onEth0 = (...addresses: readonly string[]): readonly LocalAddress[] =>
  addresses.map((address) => ({ interface: 'eth0', address }))
const codes = ({ problems }: DesiredDelta): readonly string[] => codesOf(problems)
const errors = (problems: readonly Problem[] | undefined): readonly Problem[] =>
  (problems ?? []).filter(({ severity }) => severity === 'error')

test('a derived router ID is unicast for every name, and is what it was where it was so (RFC 4271 6.2, RFC 6286 2.1)', () => {
  const known = { node7: '13.78.37.78' }
  for (const [name, expected] of Object.entries(known)) assert.equal(derivedRouterId(name), expected)
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ minLength: 1 }),
        fc.nat(5000).map((n) => `k8s-node-${n}`),
      ),
      (name) => {
        const parsed = parseIpv4(derivedRouterId(name))
        assert.ok(parsed !== undefined && isUnicastIpv4(parsed), `${name} ${derivedRouterId(name)}`)
      },
    ),
    { numRuns: 2000 },
  )
  const series = Array.from({ length: 100 }, (_, i) => derivedRouterId(`worker-${i}.example.org`))
  assert.equal(new Set(series).size, 100)
})

test('an InternalIP that is no unicast address is no router ID', () => {
  for (const address of ['127.0.0.1', '0.0.0.0', '239.1.1.1', '255.255.255.255']) {
    const delta = translatorWith(smallestPolicy + nodeOf('node-a', [address, '10.0.0.7'])).flush()
    assert.equal(delta.speaker?.neighbors[0]?.routerId, '10.0.0.7', address)
  }
})

test('the InternalIP of each family is the last resort of a next hop, in canonical form', () => {
  const delta = translatorWith(smallestPolicy + nodeOf('node-a', ['FD00:0::B', '::ffff:10.0.0.7', 'fd00::c'])).flush()
  assert.deepEqual(delta.speaker?.neighbors[0]?.nodeAddresses, {
    'ipv4-unicast': '10.0.0.7',
    'ipv6-unicast': 'fd00::b',
  })
})

test('a next hop of a policy is warned about on the node whose address it is not', () => {
  const policy = onPolicy('{"192.168.1.1": {nextHop: {ipv6: "fd77:1::b"}, sourceAddress: 10.0.0.1}}', tor)
  const nodes = nodeOf('n1', ['10.0.0.1', 'fd77:1:0::B']) + nodeOf('n2', ['10.0.0.2', 'fd77:1::c'])
  assert.deepEqual(codes(translatorWith(policy + nodes, { nodeName: 'n1' }).flush()), [])
  const { problems } = translatorWith(policy + nodes, { nodeName: 'n2' }).flush()
  assert.deepEqual(
    problems?.map(({ code, severity }) => [code, severity]),
    [
      ['NotOwnAddress', 'warning'],
      ['NotOwnAddress', 'warning'],
    ],
  )
  assert.match(problems[0]?.message ?? '', /fd77:1::b of neighbor 192\.168\.1\.1 is no address of node n2/)
  const local = translatorWith(policy + nodes, {
    nodeName: 'n2',
    localAddresses: () => onEth0('10.0.0.1', 'fd77:1::b'),
  })
  assert.deepEqual(codes(local.flush()), [], 'its interfaces have them')
  const addresses: LocalAddress[] = []
  const later = translatorWith(policy + nodes, { nodeName: 'n2', localAddresses: () => addresses })
  assert.equal(codes(later.flush()).length, 2)
  assert.equal(later.flush().problems, undefined, 'said once')
  addresses.push(...onEth0('10.0.0.1', 'fd77:1::b'))
  assert.deepEqual(later.flush().problems, [], 'the warning goes with its cause')
})

test('a Node says next hop and source address for itself, before the policy, and without a warning', () => {
  const policy = onPolicy('{"*": {med: 7}, "192.168.1.1": {nextHop: {ipv6: "fd77:1::b"}, ttlSecurity: 1}}', tor)
  const own = '{"192.168.1.1": {nextHop: {ipv6: "FD77:1::99"}, sourceAddress: 10.255.0.2}}'
  const delta = translatorWith(policy + nodeOf('n2', ['10.0.0.2'], own), { nodeName: 'n2' }).flush()
  const [neighbor] = delta.speaker?.neighbors ?? []
  assert.deepEqual(
    [neighbor?.nextHops, neighbor?.sourceAddress, neighbor?.ttlSecurityHops, codes(delta)],
    [{ 'ipv6-unicast': 'fd77:1::99' }, '10.255.0.2', 1, []],
  )
  assert.equal(delta.podCidrs?.[0]?.routes[0]?.attributes.med, 7)
  const everyone = translatorWith(policy + nodeOf('n2', ['10.0.0.2'], '{"*": {sourceAddress: 10.255.0.3}}'), {
    nodeName: 'n2',
  }).flush()
  assert.equal(everyone.speaker?.neighbors[0]?.sourceAddress, '10.255.0.3')
})

test('an interface may be said by the Node, where names differ from node to node', () => {
  const delta = translatorWith(
    policyWith('{peerAddress: "::/128", peerASN: 65000}') + nodeOf('node-a', ['10.0.0.2'], '{"::": {interface: eno1}}'),
  ).flush()
  assert.deepEqual(
    delta.speaker?.neighbors.map(({ id }) => id),
    ['65001/::%eno1'],
  )
})

test('a neighbor that is this node is left out and said, by the value of any of its addresses', () => {
  const others = '{peerAddress: "2001:DB8:0::7/128", peerASN: 65001}'
  const delta = translatorWith(
    policyWith('{peerAddress: 10.0.0.2/32, peerASN: 65001}', others, tor) +
      nodeOf('node-a', ['10.0.0.2', '2001:db8::7']),
  ).flush()
  assert.deepEqual(
    delta.speaker?.neighbors.map(({ id }) => id),
    ['65001/192.168.1.1'],
  )
  assert.deepEqual(
    delta.problems?.map(({ code, severity }) => [code, severity]),
    [
      ['SelfNeighbor', 'warning'],
      ['SelfNeighbor', 'warning'],
    ],
  )
})

test('a neighbor that is an address of an interface here is dialled, since another daemon may have it, and said', () => {
  const text =
    policyWith('{peerAddress: 10.9.9.1/32, peerASN: 65001}', '{peerAddress: 127.0.0.1/32, peerASN: 65001}', tor) +
    nodeOf('node-a', ['10.0.0.2'])
  const delta = translatorWith(text, { localAddresses: () => onEth0('10.9.9.1', '127.0.0.1') }).flush()
  assert.equal(delta.speaker?.neighbors.length, 3)
  assert.deepEqual(
    delta.problems?.map(({ code, severity, message }) => [code, severity, message]),
    [
      ['LoopbackPeer', 'warning', '127.0.0.1 is a loopback address: only a router on the same host is there'],
      [
        'SelfNeighbor',
        'warning',
        '10.9.9.1 is an address of an interface of node node-a: only a router on this host would answer',
      ],
    ],
  )
})

test('without its Node an agent is degraded, and the name that may be meant is said', () => {
  const all = smallestPolicy + nodeOf('worker-1', ['10.0.0.1'])
  const missing = (nodeName: string): Problem | undefined =>
    errors(translatorWith(all, { nodeName }).flush().problems).find(({ code }) => code === 'NoNode')
  assert.match(missing('worker-l')?.remedy ?? '', /--node-name worker-1\?/)
  assert.match(missing('something-else')?.remedy ?? '', /there is worker-1\./)
  assert.equal(missing('worker-1'), undefined)
  const broken = translatorWith(smallestPolicy + nodeOf('worker-1', ['10.0.0.1']).replace('os: linux', 'os: 7'), {
    nodeName: 'worker-1',
  }).flush()
  assert.match(errors(broken.problems).at(-1)?.message ?? '', /Node worker-1 is not understood/)
})

test('local-port is a port on which neighbors of the AS are awaited; with the Node it follows', () => {
  const at = (text: string): string =>
    node.replace('name: node-a,', `name: node-a, annotations: {cilium.io/bgp-virtual-router.65001: "${text}"},`)
  const translator = translatorWith(smallestPolicy + at('local-port=1790'))
  assert.equal(translator.flush().speaker?.neighbors[0]?.listenPort, 1790)
  assert.equal(change(translator, at(' local-port = 1791 , ')).speaker?.neighbors[0]?.listenPort, 1791)
  assert.equal(change(translator, at('')).speaker?.neighbors[0]?.listenPort, undefined)
  const odd = change(translator, at('local_port=1,router-id=10.0.0.9'))
  assert.deepEqual([odd.speaker?.neighbors[0]?.routerId, codes(odd)], ['10.0.0.9', ['InvalidAnnotation']])
  assert.match(odd.problems?.[0]?.message ?? '', /did you mean local-port/)
})

test('addresses are values: one router is one neighbor and one key, however it is written', () => {
  const spellings = ['2001:db8::1', '2001:DB8:0::1', '2001:0db8:0000::0001', '2001:db8:0:0:0:0:0.0.0.1']
  for (const written of spellings)
    for (const key of spellings) {
      const { speaker } = translatorWith(
        onPolicy(`{"${key}": {ttlSecurity: 3}}`, `{peerAddress: "${written}/128", peerASN: 65000}`) + node,
      ).flush()
      assert.deepEqual(
        speaker?.neighbors.map(({ id, ttlSecurityHops }) => [id, ttlSecurityHops]),
        [['65001/2001:db8::1', 3]],
      )
    }
  const twice = translatorWith(
    policyWith(
      '{peerAddress: 192.168.1.1/32, peerASN: 65000}',
      '{peerAddress: "::ffff:192.168.1.1/128", peerASN: 65000}',
    ) + node,
  ).flush()
  assert.deepEqual([twice.speaker?.neighbors.length, codes(twice)], [1, ['DuplicateNeighbor']])
  const mapped = onPolicy('{"::ffff:c0a8:101": {ttlSecurity: 2, nextHop: "::ffff:192.168.1.10"}}', tor)
  const [neighbor] = translatorWith(mapped + node).flush().speaker?.neighbors ?? []
  assert.deepEqual([neighbor?.ttlSecurityHops, neighbor?.nextHops], [2, { 'ipv4-unicast': '192.168.1.10' }])
})

test('PodCIDRs are values: written twice they are announced once', () => {
  const text = node.replace(
    'podCIDR: 10.244.1.0/24',
    'podCIDRs: [10.244.1.0/24, 10.244.1.3/24, "FD00:10::/64", "fd00:10:0::/64"]',
  )
  const delta = translatorWith(smallestPolicy + text).flush()
  assert.deepEqual(
    delta.podCidrs?.map(({ prefix }) => prefix),
    ['10.244.1.0/24', 'fd00:10::/64'],
  )
  assert.deepEqual(codes(delta), ['HostBits'])
})
