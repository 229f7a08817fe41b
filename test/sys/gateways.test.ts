import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatAddress } from '../../src/ip/address.ts'
import { defaultGateways, gatewayIn } from '../../src/sys/gateways.ts'
import { listLinks } from '../../src/sys/links.ts'
import type { NetlinkMessage } from '../../src/sys/netlink.ts'

const word = (value: number): readonly number[] => [...new Uint8Array(Uint32Array.of(value).buffer)]
const attribute = (type: number, value: readonly number[]): readonly number[] => [
  4 + value.length,
  0,
  type,
  0,
  ...value,
]
const gateway = (...address: readonly number[]): readonly number[] => attribute(5, address)
const over = (index: number): readonly number[] => attribute(4, word(index))
const metric = (value: number): readonly number[] => attribute(6, word(value))

/** struct rtmsg and its attributes; a default route of the main table unless told otherwise. */
const route = (
  found: readonly (readonly number[])[],
  { length = 0, table = 254, type = 1 }: { length?: number; table?: number; type?: number } = {},
): NetlinkMessage => ({
  type: 24,
  body: Uint8Array.from([2, length, 0, 0, table, 0, 0, type, 0, 0, 0, 0, ...found.flat()]),
})
const names = new Map([
  [2, 'eth0'],
  [3, 'eth1'],
])
const shown = (...routes: readonly NetlinkMessage[]): string | undefined => {
  const found = gatewayIn(routes, names)
  return found === undefined ? undefined : `${formatAddress(found.address)} ${found.device}`
}

test('the gateway is that of the default route with the lowest metric; none written is 0', () => {
  const [first, second] = [route([gateway(10, 0, 0, 1), over(2), metric(100)]), route([gateway(10, 0, 1, 1), over(3)])]
  assert.equal(shown(first), '10.0.0.1 eth0')
  assert.equal(shown(first, second), '10.0.1.1 eth1')
  assert.equal(shown(), undefined)
})

test('routes of other tables, kinds and lengths, without a router or over no known interface, are none', () => {
  const whole = [gateway(10, 0, 0, 1), over(2)]
  assert.equal(shown(route(whole, { length: 8 })), undefined)
  assert.equal(shown(route(whole, { table: 100 })), undefined)
  assert.equal(shown(route(whole, { type: 6 })), undefined, 'a blackhole')
  assert.equal(shown(route([over(2)])), undefined)
  assert.equal(shown(route([gateway(10, 0, 0, 1), over(9)])), undefined)
  assert.equal(shown(route([gateway(10, 0, 0), over(2)])), undefined)
  assert.equal(shown({ type: 24, body: new Uint8Array(3) }), undefined)
})

test('of several next hops of one route the first counts, and a torn one is none (struct rtnexthop)', () => {
  const hop = (index: number, ...address: readonly number[]): readonly number[] => [
    16,
    0,
    0,
    0,
    ...word(index),
    ...gateway(...address),
  ]
  const several = attribute(9, [...hop(2, 10, 0, 0, 1), ...hop(3, 10, 0, 1, 1)])
  assert.equal(shown(route([several])), '10.0.0.1 eth0')
  assert.equal(shown(route([attribute(9, [255, 0, 0, 0, ...word(2), ...gateway(10, 0, 0, 1)])])), undefined)
  assert.equal(shown(route([attribute(9, [1, 2])])), undefined)
})

test('what the kernel says here is read, and each gateway is on an interface of this machine', () => {
  const links = listLinks().map(({ name }) => name)
  for (const { device } of defaultGateways()) assert.ok(links.includes(device), device)
})
