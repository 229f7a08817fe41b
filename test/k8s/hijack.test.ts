/** No route hijack: only what a pool contains is announced, and never what something else in the cluster has. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LocalAddress } from '../../src/k8s/translate/types.ts'
import {
  addressesOf,
  change,
  codesOf,
  node,
  policyWith,
  pool,
  remove,
  service,
  serviceOf,
  slice,
  smallestPolicy,
  translatorWith,
  verdictOf,
} from './manifests.ts'

const wide = pool.replace('cidr: 198.51.100.0/28', 'start: 0.0.0.0, stop: 255.255.255.255}, {cidr: "::/0"')
const withStatus = (ip: string, more = ''): string =>
  `${service('web', more)}status: {loadBalancer: {ingress: [{ip: "${ip}"}]}}\n`

test('addresses of special use, nodes, pods and neighbors are not announced, whoever wrote them into the status', () => {
  const other = node
    .replace('name: node-a', 'name: node-b')
    .replace('10.244.1.0/24', '10.244.2.0/24')
    .replace('.1.10', '.1.11')
  for (const ip of [
    '0.0.0.0',
    '0.0.0.7',
    '127.0.0.1',
    '127.8.8.8',
    '169.254.1.1',
    '224.0.0.1',
    '240.0.0.1',
    '255.255.255.255',
    '192.168.1.1',
    '192.168.1.10',
    '192.168.1.11',
    '10.244.1.77',
    '10.244.2.77',
    '::',
    '::1',
    // The IPv4 address that it maps, by value.
    '::ffff:127.0.0.1',
    '::ffff:192.168.1.10',
    '::ffff:10.244.2.77',
    'fe80::5',
    'ff02::1',
  ]) {
    const families = ip.includes(':') && !ip.includes('.') ? ', ipFamilies: [IPv6]' : ''
    const text = smallestPolicy + node + other + wide + withStatus(ip, families) + slice('web')
    for (const isAllocatedElsewhere of [false, true]) {
      const web = serviceOf(translatorWith(text, { datapath: 'none', isAllocatedElsewhere }).flush(), 'web')
      const verdict = verdictOf(web, 'allocated')
      assert.deepEqual([web.routes, web.frontends, verdict?.ok, verdict?.code], [[], [], false, 'ReservedAddress'], ip)
      assert.match(verdict?.message ?? '', /it is not announced/)
    }
  }
})

test('an address outside of every pool is not announced; inside a disabled one it is', () => {
  for (const isAllocatedElsewhere of [false, true]) {
    const of = (pools: string): readonly unknown[] => {
      const text = smallestPolicy + node + pools + withStatus('198.51.100.3') + slice('web')
      const web = serviceOf(translatorWith(text, { isAllocatedElsewhere }).flush(), 'web')
      return [web.routes.length, verdictOf(web, 'allocated')?.code]
    }
    assert.deepEqual(of(''), [0, 'NotInPool'])
    assert.deepEqual(of(pool.replace('blocks:', 'disabled: true, blocks:')), [1, 'Allocated'])
    assert.deepEqual(of(pool), [1, 'Allocated'])
  }
})

test('the status is parsed strictly: what is no address is said and takes no part', () => {
  for (const ip of [
    ' 198.51.100.3',
    '198.51.100.3 ',
    '198.51.100.3/32',
    '198.51.100.03',
    'fe80::1%eth0',
    '::ffff:1.2.3',
  ]) {
    const delta = translatorWith(smallestPolicy + node + pool + withStatus(ip) + slice('web')).flush()
    assert.deepEqual([addressesOf(delta, 'web'), codesOf(delta.problems)], [['198.51.100.0'], ['InvalidAddress']], ip)
  }
  const empty = translatorWith(smallestPolicy + node + pool + withStatus('') + slice('web')).flush()
  assert.equal(empty.problems, undefined)
})

test('a pool is told what of it is given to nobody, and gives the rest', () => {
  const text =
    policyWith('{peerAddress: 198.51.100.1/32, peerASN: 65000}') + node.replace('192.168.1.10', '198.51.100.0') + pool
  const delta = translatorWith(text + service('a') + service('b', ', loadBalancerIP: 198.51.100.1')).flush()
  assert.deepEqual(addressesOf(delta, 'a', 'b'), ['198.51.100.2', ''])
  assert.match(
    verdictOf(serviceOf(delta, 'b'), 'allocated')?.message ?? '',
    /198.51.100.1 is the address of a neighbor/,
  )
  const told = delta.problems?.find(({ code }) => code === 'ReservedAddresses')
  assert.deepEqual([told?.severity, told?.object.name, told?.field], ['warning', 'pool', 'spec.blocks'])
  assert.match(
    told?.message ?? '',
    /198.51.100.0 \(the address of node node-a\), 198.51.100.1 \(the address of a neighbor\)/,
  )
})

test('what a pool cannot give is named in four parts, and where there are more of them that is said', () => {
  const told = (...blocks: readonly string[]): string => {
    const list = blocks.map((cidr) => `{cidr: ${cidr}}`).join(', ')
    const delta = translatorWith(smallestPolicy + node + pool.replace('{cidr: 198.51.100.0/28}', list)).flush()
    return delta.problems?.find(({ code }) => code === 'ReservedAddresses')?.message ?? ''
  }
  const four = ['127.4.0.0/16', '224.1.0.0/24', '0.4.0.0/16', '169.254.9.0/30']
  assert.match(told(...four), /169\.254\.9\.0-169\.254\.9\.3 \([^)]*\)$/)
  assert.match(told(...four, '255.255.255.0/24'), /169\.254\.9\.0-169\.254\.9\.3 \([^)]*\), and more$/)
})

test('a node that comes with the address of a Service takes the route away, and gives it back when it goes', () => {
  const translator = translatorWith(smallestPolicy + node + pool + service('web') + slice('web'))
  assert.equal(serviceOf(translator.flush(), 'web').routes.length, 1)
  const intruder = node
    .replace('name: node-a', 'name: node-z')
    .replace('192.168.1.10', '198.51.100.0')
    .replace('10.244.1', '10.244.9')
  const taken = serviceOf(change(translator, intruder), 'web')
  assert.deepEqual(
    [taken.routes, taken.addresses, verdictOf(taken, 'allocated')?.code],
    [[], ['198.51.100.0'], 'ReservedAddress'],
  )
  translator.remove({ apiVersion: 'v1', kind: 'Node', namespace: '', name: 'node-z' })
  assert.equal(serviceOf(translator.flush(), 'web').routes.length, 1)
})

test('an address of an interface of this node is given to nobody, nor announced while the node has it', () => {
  const local: LocalAddress[] = [
    { interface: 'docker0', address: '198.51.100.0' },
    { interface: 'lo', address: '198.51.100.1' },
    { interface: 'kube-ipvs0', address: '198.51.100.2' },
  ]
  const options = { localAddresses: () => [...local] }
  const text = smallestPolicy + node + pool + service('a') + service('b') + slice('a') + slice('b')
  const translator = translatorWith(text, options)
  const first = translator.flush()
  assert.deepEqual(addressesOf(first, 'a', 'b'), ['198.51.100.1', '198.51.100.2'], 'where VIPs are bound they may be')
  const told = first.problems?.find(({ code }) => code === 'ReservedAddresses')
  assert.match(told?.message ?? '', /198\.51\.100\.0 \(an address of this node, on docker0\)/)
  local.push({ interface: 'eth1', address: '198.51.100.1' })
  const taken = serviceOf(translator.flush(), 'a')
  assert.deepEqual([taken.routes, verdictOf(taken, 'allocated')?.code], [[], 'ReservedAddress'])
  local.pop()
  const back = serviceOf(translator.flush(), 'a')
  assert.deepEqual([back.addresses, back.routes.length], [['198.51.100.1'], 1])
  assert.equal(translator.flush().services.size, 0, 'no change costs nothing')
})

test('the address of an endpoint is not announced as that of its Service', () => {
  const own = slice('web').replace('10.244.1.5', '198.51.100.0')
  const web = serviceOf(translatorWith(smallestPolicy + node + pool + service('web') + own).flush(), 'web')
  assert.deepEqual([web.routes, verdictOf(web, 'allocated')?.code], [[], 'ReservedAddress'])
})

test('of two addresses only the one that nothing else has is announced, and the other is named', () => {
  const two = service('web', '', '{lbipam.cilium.io/ips: "198.51.100.4,198.51.100.5"}')
  const translator = translatorWith(smallestPolicy + node + pool + two + slice('web'))
  translator.flush()
  const intruder = node.replace('name: node-a', 'name: node-z').replace('192.168.1.10', '198.51.100.5')
  const web = serviceOf(change(translator, intruder), 'web')
  assert.deepEqual(
    web.routes.map(({ prefix }) => prefix),
    ['198.51.100.4/32'],
  )
  const verdict = verdictOf(web, 'allocated')
  assert.equal(verdict?.ok, true)
  assert.match(verdict?.message ?? '', /198.51.100.5 is the address of node node-z/)
})

test('a pool that goes takes the route away: no answer outlives it', () => {
  const translator = translatorWith(smallestPolicy + node + pool + service('web') + slice('web'))
  translator.flush()
  const gone = serviceOf(remove(translator, 'CiliumLoadBalancerIPPool', 'pool'), 'web')
  assert.deepEqual([gone.routes, gone.frontends], [[], []])
})
