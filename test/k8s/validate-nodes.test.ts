/** `validate` says what the agent of each node would say, by the same translation. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { validateManifests, type ValidateOptions } from '../../src/k8s/validate.ts'
import { codesOf, node, policyWith, pool, service, slice, smallestPolicy, translatorWith } from './manifests.ts'

const codes = (text: string, options: ValidateOptions = {}): readonly string[] =>
  codesOf(validateManifests([{ name: 'f.yaml', text }], options)).toSorted()
const tor = '{peerAddress: 192.168.1.1/32, peerASN: 65000}'
const annotated = (annotation: string, ...peers: readonly string[]): string =>
  policyWith(...peers).replace(
    'name: bgp-peering',
    `name: bgp-peering, annotations: {herald.dev/neighbors: '${annotation}'}`,
  )
const second = node.replace('node-a', 'node-b').replace('192.168.1.10', '192.168.1.11').replace('10.244.1', '10.244.2')

test('agent and validate say the same of one node', () => {
  const texts = [
    policyWith('{peerAddress: "fe80::1/128", peerASN: 65000}', tor) + node,
    annotated('{"192.168.1.1": {ttlSecurity: 400, bfd: {}}}', tor) + node,
    annotated('{"192.168.1.1": {nextHop: 203.0.113.9}}', tor) + node,
    policyWith('{peerAddress: 192.168.1.1/32, peerASN: 65000, authSecretRef: absent}') + node,
    policyWith('{peerAddress: 192.168.1.10/32, peerASN: 65000}', tor) + node,
    smallestPolicy + node.replace('spec: {podCIDR: 10.244.1.0/24}', 'spec: {}'),
    smallestPolicy + node.replace('192.168.1.10', 'fd00::10'),
    smallestPolicy + `---\n${smallestPolicy.replace('name: bgp-peering', 'name: twin')}` + node,
    smallestPolicy + node + pool + pool.replace('name: pool', 'name: twin'),
    smallestPolicy + node.replace('name: node-a,', 'name: node-a, annotations: {herald.dev/drain: "maybe"},'),
  ]
  for (const text of texts) {
    const agent = codesOf(translatorWith(text, { nodeName: 'node-a' }).flush().problems).toSorted()
    assert.ok(agent.length > 0, text)
    assert.deepEqual(codes(text), agent, text)
  }
})

test('every Node is judged; what several would say is said once', () => {
  const policy = annotated('{"192.168.1.1": {sourceAddress: 192.168.1.10}}', tor)
  assert.deepEqual(codes(policy + node), [])
  assert.deepEqual(codes(policy + node + second), ['NotOwnAddress'])
  assert.deepEqual(codes(policy + node + second, { nodeName: 'node-a' }), [])
  assert.deepEqual(codes(policyWith('{peerAddress: "::/128", peerASN: 65000}') + node + second), ['NoInterface'])
  assert.deepEqual(codes(policy + node, { nodeName: 'node-x' }), ['NoNode'])
})

test('without a Node each policy is judged for whatever node it is for, and what is elsewhere is not missed', () => {
  assert.deepEqual(codes(smallestPolicy), [])
  assert.deepEqual(codes(policyWith('{peerAddress: 192.168.1.1/32, peerASN: 65000, authSecretRef: elsewhere}')), [])
  assert.deepEqual(codes(policyWith('{peerAddress: "fe80::1/128", peerASN: 65000}')), ['NoInterface'])
  assert.deepEqual(codes(annotated('{"192.168.1.1": {med: -1}}', tor)), ['InvalidField'])
  const twins = `${smallestPolicy}---\n${policyWith('{peerAddress: "::/128", peerASN: 1}').replace('bgp-peering', 'twin')}`
  assert.deepEqual(codes(twins), ['NoInterface'], 'each is for other nodes perhaps')
  assert.deepEqual(codes(service('web') + slice('web')), [])
})

test('problems come in the order of files and lines, with the line of the field', () => {
  const problems = validateManifests([
    { name: 'b.yaml', text: node.replace('10.244.1.0/24', 'x') },
    {
      name: 'a.yaml',
      text: `${pool.replace('198.51.100.0/28', 'none')}---\n${policyWith('{peerAddress: z, peerASN: 1}', tor)}`,
    },
  ])
  assert.deepEqual(
    problems.map(({ code, object: { file, line } }) => [code, file, line]),
    [
      ['InvalidPrefix', 'b.yaml', 5],
      ['InvalidPrefix', 'a.yaml', 5],
      ['NoPodCidr', 'a.yaml', 13],
      ['InvalidPeerAddress', 'a.yaml', 17],
    ],
  )
})

test('an object in several versions of its kind is judged once', () => {
  const old = pool.replace('cilium.io/v2', 'cilium.io/v2alpha1').replace('blocks:', 'size: 1, blocks:')
  assert.deepEqual(codes(`${old}${node}${second}---\n${smallestPolicy}`), ['UnknownField'])
})
