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

test('what Cilium writes into a CiliumNode beside its prefixes is of any length', () => {
  const of = (count: number, entry: (i: number) => string): string =>
    Array.from({ length: count }, (_, i) => entry(i)).join(', ')
  const ipam = {
    // Prefix delegation (eni): 15 interfaces with 49 prefixes of 16 addresses.
    pool: `{${of(11_760, (i) => `"10.9.${i >> 8}.${i & 255}": {resource: eni-1}`)}}`,
    pools: `{allocated: [{pool: default, cidrs: [${of(12_000, (i) => `10.${i >> 8}.${i & 255}.0/28`)}]}]}`,
  }
  for (const [field, value] of Object.entries(ipam)) {
    const written = ciliumNode('[10.0.1.0/24]').replace('pools: {}', `${field}: ${value}`)
    const { podCidrs, problems = [] } = translatorWith(smallestPolicy + node + written).flush()
    assert.deepEqual([podCidrs?.map(({ prefix }) => prefix), codesOf(problems)], [['10.0.1.0/24'], []], field)
  }
})

test('a node without PodCIDRs is told whose they would be', () => {
  const remedyOf = (manifests: string): readonly string[] =>
    (translatorWith(smallestPolicy + manifests).flush().problems ?? []).map(
      ({ message, remedy }) => `${message}: ${remedy}`,
    )
  assert.match(remedyOf(node + ciliumNode('[]')).join('\n'), /by its CiliumNode, .*Turn exportPodCIDR off/)
  assert.match(
    remedyOf(node.replace('spec: {podCIDR: 10.244.1.0/24}', 'spec: {}')).join('\n'),
    /has no PodCIDR: Give the Node spec.podCIDRs/,
  )
})

test('a CiliumNode that is deleted while its prefixes are in force is told, until it is there again', () => {
  const translator = translatorWith(smallestPolicy + node + ciliumNode('[10.0.1.0/24]'))
  translator.flush()
  translator.remove(key('node-a'))
  assert.deepEqual(codesOf(translator.flush().problems), ['PodCidrsKept'])
  assert.deepEqual(codesOf(change(translator, ciliumNode('[10.0.1.0/24]')).problems), [])
})

test('a prefix that draws the traffic of others is none of pods, whoever says so', () => {
  const none = ['0.0.0.0/0', '128.0.0.0/1', '10.0.0.0/7', '0.0.0.0/8', '127.0.0.0/8', '169.254.1.0/24', '224.0.0.0/24']
  const others = ['::/0', '2000::/3', 'fe80::/64', 'ff02::/64', '::1/128', '::ffff:10.0.1.0/120']
  for (const prefix of [...none, ...others]) {
    const asNode = node.replaceAll('10.244.1.0/24', prefix)
    for (const manifests of [asNode.replace(prefix, `"${prefix}"`), node + ciliumNode(`["${prefix}"]`)]) {
      const delta = translatorWith(smallestPolicy + manifests).flush()
      assert.deepEqual([prefixes(delta) ?? [], codesOf(delta.problems)], [[], ['InvalidPrefix', 'NoPodCidr']], prefix)
    }
  }
  for (const prefix of ['10.0.0.0/8', '100.64.0.0/10', '240.1.2.0/24', 'fd00::/8', '2001:db8::/32', '192.0.2.7/32'])
    assert.deepEqual(prefixes(translatorWith(smallestPolicy + node + ciliumNode(`["${prefix}"]`)).flush()), [prefix])
})
