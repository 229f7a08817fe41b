/** What the kernel says of links, addresses and routes that iproute2 made, in namespaces of their own. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const canIsolate = spawnSync('unshare', ['-mn', 'ip', 'link']).status === 0
const skip = canIsolate ? false : 'needs root and namespaces'
const script = fileURLToPath(new URL('namespace-process.ts', import.meta.url))
const steps = canIsolate
  ? (JSON.parse(
      execFileSync('unshare', ['-mn', process.execPath, script], { encoding: 'utf8', timeout: 60_000 }),
    ) as Record<string, unknown>)
  : {}

test('links are listed with the indexes of the kernel, and one that is not there is ENODEV', { skip }, () => {
  assert.deepEqual(steps['links'], ['lo', 'far0', 'lan0', 'far1', 'lan1', 'veth1', 'veth0'])
  assert.equal(steps['indexes'], true)
  assert.deepEqual(steps['no such link'], ['ERR_SYSCALL', 'ENODEV'])
})

test('of a point-to-point link our own end is the address; secondary, deprecated and link-local are not global', {
  skip,
}, () => {
  assert.deepEqual(steps['addresses'], [
    'lan0 192.0.2.1 global',
    'lan0 192.0.2.9',
    'lan1 198.51.100.1 global',
    'lan0 2001:db8::9',
    'lan0 2001:db8::1 global',
    'lan0 fe80::1',
  ])
})

test('a packet leaves over the route that the kernel would take: on the link, by a gateway, or not at all', {
  skip,
}, () => {
  assert.deepEqual(steps['no route'], [null, null, []])
  assert.deepEqual(steps['on the link'], { device: 'lan0', isSilent: true })
  assert.deepEqual(steps['by a gateway'], [
    { device: 'lan0', isSilent: true, gateway: '192.0.2.254' },
    { device: 'lan0', isSilent: true, gateway: '2001:db8::fe' },
  ])
  assert.equal(steps['unreachable'], undefined)
  assert.deepEqual(steps['bound to an interface'], { device: 'lan0', isSilent: true })
})

test('an interface that is not there leads nowhere, and not over another one', { skip }, () => {
  assert.deepEqual(steps['bound to none'], [null, null])
})

test('on a tunnel and on the loopback nobody is asked for an address, and nobody is silent', { skip }, () => {
  const loopback = { device: 'lo' }
  assert.deepEqual(steps['not asked'], [
    { device: 'tun0' },
    { device: 'tun0', gateway: '2001:db8:9::2' },
    loopback,
    loopback,
    loopback,
  ])
})

test('packets of a tunnel begin without an Ethernet header, and those of no interface are asked for in vain', {
  skip,
}, () => {
  assert.deepEqual(steps['Ethernet'], [true, true, false])
  assert.deepEqual(steps['no Ethernet'], ['ERR_SYSCALL', 'ENODEV'])
})

test('a neighbor that answered ARP or ND is not silent, nor what lies behind it (RFC 826, RFC 4861 7.2)', {
  skip,
}, () => {
  assert.deepEqual(steps['answering'], [
    { device: 'lan0', isSilent: false },
    { device: 'lan0', isSilent: false, gateway: '2001:db8::fe' },
  ])
})

test('uplinks hold a default route or lead to a neighbor; a pattern alone decides where it is given', { skip }, () => {
  assert.deepEqual(steps['uplinks'], {
    byDefault: ['lan0'],
    byRoute: ['lan0', 'lan1'],
    byPattern: ['veth0', 'veth1'],
    none: [],
  })
})

test('the router of each family is that of the default route with the lowest metric, of the main table alone', {
  skip,
}, () => {
  assert.deepEqual(steps['gateways'], [
    ['192.0.2.254 lan0'],
    ['192.0.2.254 lan0', 'fe80::fe lan0'],
    ['192.0.2.253 lan0', 'fe80::fe lan0'],
    // A blackhole, and a route of another table.
    ['192.0.2.253 lan0', 'fe80::fe lan0'],
  ])
})

test('of a default route with several next hops all interfaces are uplinks, and the first is the router', {
  skip,
}, () => {
  assert.deepEqual(steps['several'], [['lan0', 'lan1'], ['192.0.2.254 lan0'], ['far0', 'far1']])
})

test('the older ingress qdisc is told from clsact, which is none, and of one interface from another', { skip }, () => {
  assert.deepEqual(steps['qdiscs'], [
    [false, false, false, []],
    [false, true, false, []],
  ])
})

test('the filters of one interface and direction are listed in the order in which packets meet them', { skip }, () => {
  assert.deepEqual(steps['filters'], [
    [
      [7, 'bpf', 1],
      [9, 'bpf', 1],
    ],
    [[0xffff, 'bpf', 1]],
    [],
  ])
})

test('news that come faster than they are read are said to be lost, and later ones are heard (netlink(7), ENOBUFS)', {
  skip,
}, () => {
  assert.deepEqual(steps['a flood'], [[], 4_001])
})

test('news that are longer than their memory are lost ones, and not none', { skip }, () => {
  assert.deepEqual(steps['long news'], ['EMSGSIZE', false])
})

test('news of links, addresses and routes of both families are heard', { skip }, () => {
  assert.deepEqual(steps['news'], [true, true, true, true, true, true])
})

test('news that another process sends to the socket are not of the kernel, and not heard (netlink(7))', {
  skip,
}, () => {
  assert.deepEqual(steps['forged'], [16, false])
})

test('bpffs is mounted once where there is none, folders made, and errors carry their errno', { skip }, () => {
  assert.deepEqual(steps['bpffs'], [false, null, true, null, null, false, ['ERR_BPFFS', 'EINVAL'], ['ERR_BPFFS', null]])
})
