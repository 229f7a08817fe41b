/** What nodes say of their tunnels: in a Lease, and in an annotation of a Node. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import { tunnelPort } from '../../src/datapath/datapath.ts'
import { parseNode } from '../../src/k8s/kinds/node.ts'
import {
  parseTunnelLease,
  type TunnelLease,
  tunnelEnd,
  tunnelLeaseName,
  tunnelMetadata,
  tunnelSelector,
} from '../../src/k8s/kinds/tunnel-lease.ts'

const said = tunnelEnd(['192.0.2.11', '2001:db8::11'])

function leaseOf(annotations: Readonly<Record<string, string>> = {}, spec: object = { holderIdentity: 'node-b' }) {
  const own = tunnelMetadata('node-b', said, 'u-1')
  const metadata = { ...own, name: 'herald-tunnel-node-b', namespace: 'leases' }
  return { metadata: { ...metadata, annotations: { ...own.annotations, ...annotations } }, spec }
}

function parsed(raw: Parameters<typeof parseTunnelLease>[0], before?: TunnelLease): TunnelLease {
  return parseTunnelLease(raw, before).value ?? assert.fail('no value')
}

test('what a node writes is what others read, and its labels are those that they select by', () => {
  const { value, faults } = parseTunnelLease(leaseOf())
  assert.deepEqual([value?.node, value?.end, faults], ['node-b', said, []])
  const { labels = {}, ownerReferences } = tunnelMetadata('node-b', said, 'u-1')
  assert.equal(
    tunnelSelector,
    Object.entries(labels)
      .map(([name, word]) => `${name}=${word}`)
      .join(),
  )
  assert.deepEqual(ownerReferences, [{ apiVersion: 'v1', kind: 'Node', name: 'node-b', uid: 'u-1' }])
  assert.equal(tunnelMetadata('node-b', said, undefined).ownerReferences, undefined)
})

test('the format that a node says it takes is the one that its programs unwrap, at the port that operators are told', () => {
  const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
  const version = /#define TUNNEL_VERSION (\d+)/.exec(read('src/datapath/bpf/layout.h'))?.[1]
  assert.deepEqual(tunnelEnd(['192.0.2.11']).formats, [version])
  for (const page of ['docs/operate.md', 'README.md'])
    assert.match(read(page), new RegExp(`UDP (port )?${tunnelPort}\\b`))
})

test('a node that takes nothing says so, and that is read as nothing', () => {
  const nothing = { addresses: [], formats: [] }
  assert.deepEqual(tunnelEnd([]), nothing)
  const own = tunnelMetadata('node-b', nothing, undefined)
  const metadata = { ...own, name: tunnelLeaseName('node-b') }
  assert.deepEqual(parsed({ metadata, spec: { holderIdentity: 'node-b' } }).end, nothing)
})

test('any other Lease is none of a tunnel, and no fault', () => {
  const { value, faults } = parseTunnelLease({
    metadata: {
      name: 'kube-scheduler',
      namespace: 'kube-system',
      annotations: { 'herald.dev/tunnel-addresses': '::' },
    },
    spec: { holderIdentity: 'x' },
  })
  assert.deepEqual([value?.node, value?.end.addresses, faults], ['', [], []])
})

test('a Lease speaks for the node that it is named after, and for no other', () => {
  for (const holderIdentity of ['node-c', '', null, undefined]) {
    const { value, faults } = parseTunnelLease(leaseOf({}, { holderIdentity }))
    assert.deepEqual([value?.node, value?.end.addresses.length], ['', 0])
    assert.match(faults[0]?.message ?? '', /^it is named herald-tunnel-node-b and held by (nobody|node-c)/)
    const kept = parsed(leaseOf({}, { holderIdentity }), parsed(leaseOf()))
    assert.deepEqual([kept.node, kept.end], ['node-b', said], 'the last good one stays')
  }
})

test('an address that nothing is forwarded to, or two of a family, leaves the last good ones in force', () => {
  const before = parsed(leaseOf())
  for (const text of [
    ...['192.0.2.1, 192.0.2.2', '2001:db8::1,2001:db8::2', '192.0.2.1,::ffff:192.0.2.2', '192.0.2.1,'],
    ...['127.0.0.1', '::1', '224.0.0.1', 'ff02::1', 'fe80::1', '0.0.0.0', '::', '169.254.1.1', '255.255.255.255'],
    ...['192.0.2', '192.0.2.1/32', 'node-b', '192.0.2.1 2001:db8::1', '1'.repeat(1000), `${'192.0.2.1,'.repeat(50)}`],
  ]) {
    const raw = leaseOf({ 'herald.dev/tunnel-addresses': text })
    const { value, faults } = parseTunnelLease(raw)
    assert.deepEqual([value?.end.addresses, faults.map(({ code }) => code)], [[], ['InvalidAnnotation']], text)
    assert.ok((faults[0]?.message.length ?? 0) < 300)
    assert.deepEqual(parsed(raw, before).end.addresses, said.addresses, text)
  }
})

test('addresses are values: however they are written and in whatever order, they are the same', () => {
  for (const text of ['2001:DB8:0::11 , 192.0.2.11', '::ffff:192.0.2.11,2001:db8::11', ' 192.0.2.11,2001:db8:0:0::11'])
    assert.deepEqual(parsed(leaseOf({ 'herald.dev/tunnel-addresses': text })).end.addresses, said.addresses, text)
})

test('what is written of formats is read or passed over, and never grows', () => {
  const formatsOf = (text: string): readonly string[] =>
    parsed(leaseOf({ 'herald.dev/tunnel-formats': text })).end.formats
  assert.deepEqual(formatsOf('2, 1'), ['2', '1'])
  assert.deepEqual(formatsOf('geneve,,0,-1,1.5,99999999'), [])
  assert.equal(formatsOf('1,'.repeat(10_000)).length, 16)
})

test('whatever stands in a Lease is no exception', () => {
  const anything = fc.jsonValue({ maxDepth: 3 })
  fc.assert(
    fc.property(anything, anything, anything, (annotations, labels, spec) => {
      parseTunnelLease({ metadata: { name: 'herald-tunnel-x', annotations, labels }, spec } as never)
    }),
    { numRuns: 300 },
  )
})

test('a Node says where it is reached in its annotation, which keeps its last good value', () => {
  const nodeWith = (text: string) => ({
    metadata: { name: 'node-b', annotations: { 'herald.dev/tunnel-addresses': text } },
  })
  const good = parseNode(nodeWith('2001:db8::11, 192.0.2.11')).value
  assert.deepEqual(good?.tunnelAddresses, said.addresses)
  assert.deepEqual(parseNode(nodeWith('none')).value?.tunnelAddresses, [])
  assert.equal(parseNode(nodeWith('')).value?.tunnelAddresses, undefined)
  const { value, faults } = parseNode(nodeWith('192.0.2'), good)
  assert.deepEqual([value?.tunnelAddresses, faults.map(({ code }) => code)], [said.addresses, ['InvalidAnnotation']])
  assert.match(faults[0]?.remedy ?? '', /what was good before stays in force/)
})
