/** The prefixes of pods where Cilium gives them: what a CiliumNode says goes before the Node. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DesiredDelta } from '../../src/desired/model.ts'
import { change, codesOf, node, pool, service, serviceOf, slice, smallestPolicy, translatorWith } from './manifests.ts'

const ciliumNode = (podCidrs: string, name = 'node-a'): string => `---
apiVersion: cilium.io/v2
kind: CiliumNode
metadata: {name: ${name}, labels: {kubernetes.io/os: linux}, annotations: {a.example.org/b: c}}
spec:
  addresses: [{ip: 192.168.1.10, type: InternalIP}, {ip: 10.0.1.7, type: CiliumInternalIP}]
  health: {ipv4: 10.0.1.9}
  ipam: {podCIDRs: ${podCidrs}, pools: {}}
status: {ipam: {operator-status: {}}}
`
const key = (name: string) => ({ apiVersion: 'cilium.io/v2', kind: 'CiliumNode', namespace: '', name })
const prefixes = ({ podCidrs }: DesiredDelta): readonly string[] | undefined => podCidrs?.map(({ prefix }) => prefix)

test('pods have their addresses of the CiliumNode where there is one, and of the Node where there is none', () => {
  const translator = translatorWith(smallestPolicy + node)
  assert.deepEqual(prefixes(translator.flush()), ['10.244.1.0/24'])
  const said = change(translator, ciliumNode('[10.0.1.0/24, "FD00:0:1::/64"]'))
  assert.deepEqual([prefixes(said), said.problems], [['10.0.1.0/24', 'fd00:0:1::/64'], undefined])
  assert.equal(change(translator, ciliumNode('[10.0.9.0/24]', 'node-b')).podCidrs, undefined)
  assert.deepEqual(prefixes(change(translator, ciliumNode('[10.0.2.0/24]'))), ['10.0.2.0/24'])
})

test('a CiliumNode without a prefix is a node none of whose pods has an address of one, and that is told', () => {
  const delta = translatorWith(smallestPolicy + node + ciliumNode('[]')).flush()
  assert.deepEqual([prefixes(delta) ?? [], codesOf(delta.problems)], [[], ['NoPodCidr']])
})

test('a prefix that is none keeps those of before, and a moment without the CiliumNode changes nothing', () => {
  const translator = translatorWith(smallestPolicy + node + ciliumNode('[10.0.1.0/24]'))
  translator.flush()
  const broken = change(translator, ciliumNode('[10.0.2.0/24, 10.0.300.0/24]'))
  assert.deepEqual([broken.podCidrs, codesOf(broken.problems)], [undefined, ['InvalidPrefix']])
  translator.remove(key('node-a'))
  assert.equal(translator.flush().podCidrs, undefined)
})

test('no Service has an address of the pods that a CiliumNode names, of whatever node', () => {
  const inPods = pool.replace('198.51.100.0/28', '10.0.1.0/28')
  const given = (more: string): readonly string[] =>
    serviceOf(translatorWith(smallestPolicy + node + inPods + service('web') + slice('web') + more).flush(), 'web')
      .addresses
  assert.deepEqual(given(''), ['10.0.1.0'])
  for (const name of ['node-a', 'node-b']) {
    const other = node
      .replaceAll('node-a', name)
      .replace('192.168.1.10', '192.168.1.11')
      .replace('10.244.1', '10.244.2')
    assert.deepEqual(given(ciliumNode('[10.0.1.0/24]', name) + (name === 'node-b' ? other : '')), [], name)
  }
})
