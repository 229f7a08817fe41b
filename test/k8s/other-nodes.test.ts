/** Node ports that clients on this node ask of other nodes: at which addresses sockets are led to them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TranslatorOptions } from '../../src/k8s/translate/types.ts'
import { change, deliver, node, service, slice, translatorWith } from './manifests.ts'

const local = [
  { interface: 'lo', address: '127.0.0.1' },
  { interface: 'eth0', address: '192.168.1.10' },
]
const options: Partial<TranslatorOptions> = {
  leadsSockets: true,
  localAddresses: () => local,
  proxying: () => ({ listeners: new Set() }),
  tunnels: 'nodes',
}
const other = (name: string, ...addresses: readonly string[]): string =>
  node
    .replace('node-a', name)
    .replace('10.244.1.0/24', '10.244.9.0/24')
    .replace(
      '{type: InternalIP, address: 192.168.1.10}',
      addresses.map((address) => `{type: InternalIP, address: "${address}"}`).join(', '),
    )
const web = (more = ''): string =>
  service('web', more)
    .replace('type: LoadBalancer', 'type: NodePort')
    .replace('{name: http, port: 80}', '{name: http, port: 80, nodePort: 30080}') + slice('web')

test('sockets that ask another node for a node port are led as at an address of their own, of either family', () => {
  const dual = ', ipFamilies: [IPv4, IPv6]'
  const delta = translatorWith(node + other('node-b', '192.168.1.11', 'fd00::11') + web(dual), options).flush()
  assert.deepEqual(delta.otherNodes, ['192.168.1.11', 'fd00::11'])
  assert.deepEqual(delta.sockets?.get('0.0.0.0:30080/TCP')?.backends, [{ address: '10.244.1.5', port: 8080 }])
  // As at its own: nobody there is a refusal, not a time-out.
  assert.deepEqual(delta.sockets?.get('[::]:30080/TCP')?.backends, [])
})

test('a Service with externalTrafficPolicy Local is asked of the node itself: it serves pods of its own alone', () => {
  const delta = translatorWith(node + other('node-b', '192.168.1.11') + web(', externalTrafficPolicy: Local'), options)
  const { sockets, otherNodes } = delta.flush()
  assert.deepEqual([...(sockets ?? new Map()).keys()], ['192.168.1.10:30080/TCP'])
  assert.deepEqual(otherNodes, ['192.168.1.11'])
})

test('nodes that come, move and go are followed, and one that says nothing new is nothing new', () => {
  const translator = translatorWith(node + web(), options)
  assert.equal(translator.flush().otherNodes, undefined)
  assert.deepEqual(change(translator, other('node-b', '192.168.1.11')).otherNodes, ['192.168.1.11'])
  assert.equal(change(translator, other('node-b', '192.168.1.11').replace('linux', 'other')).otherNodes, undefined)
  const moved = change(translator, other('node-b', '192.168.1.12') + other('node-c', '192.168.1.13'))
  assert.deepEqual(moved.otherNodes, ['192.168.1.12', '192.168.1.13'])
  for (const name of ['node-b', 'node-c']) translator.remove({ apiVersion: 'v1', kind: 'Node', namespace: '', name })
  assert.deepEqual(translator.flush().otherNodes, [])
})

test('neither an own address, nor one to which nothing is forwarded, nor a name is an address of another node', () => {
  const odd = other('node-b', '192.168.1.10', '127.0.0.1', '169.254.1.1', 'ff02::1', '0.0.0.0', '192.168.1.11')
  const delta = translatorWith(node + odd + web(), options).flush()
  assert.deepEqual(delta.otherNodes, ['192.168.1.11'])
})

test('with addresses for node ports by prefixes those of other nodes are of the same ones', () => {
  const nodes = node + other('node-b', '192.168.1.11', '10.9.9.9')
  const of = (nodePortAddresses: readonly string[]): readonly string[] | undefined =>
    translatorWith(nodes, { ...options, nodePortAddresses }).flush().otherNodes
  assert.deepEqual(of(['10.9.0.0/16']), ['10.9.9.9'])
  assert.equal(of(['172.16.0.0/12']), undefined)
})

test('while kube-proxy serves node ports nothing is led at other nodes, and from the moment on that it does not', () => {
  let isOn = false
  const turned = { ...options, proxying: () => (isOn ? { listeners: new Set<string>() } : undefined) }
  const translator = translatorWith(node + other('node-b', '192.168.1.11') + web(), turned)
  const off = translator.flush()
  assert.deepEqual([off.otherNodes, off.sockets], [undefined, undefined])
  isOn = true
  const on = translator.flush()
  assert.deepEqual([on.otherNodes, on.sockets?.has('0.0.0.0:30080/TCP')], [['192.168.1.11'], true])
  isOn = false
  const again = translator.flush()
  assert.deepEqual([again.otherNodes, again.sockets?.get('0.0.0.0:30080/TCP')], [[], undefined])
})

test('a node port on which a process of this node listens is led nowhere, at no node', () => {
  const listeners = new Set<string>()
  const translator = translatorWith(node + other('node-b', '192.168.1.11') + web(), {
    ...options,
    proxying: () => ({ listeners: new Set(listeners) }),
  })
  assert.equal(translator.flush().sockets?.get('0.0.0.0:30080/TCP')?.backends.length, 1)
  listeners.add('30080/TCP')
  deliver(translator, '')
  const { sockets } = translator.flush()
  assert.deepEqual([sockets?.has('0.0.0.0:30080/TCP'), sockets?.get('0.0.0.0:30080/TCP')], [true, undefined])
})
