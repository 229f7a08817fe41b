/** What is made of the kernel's words about links, filters, addresses and routes, also where they are cut or odd. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { formatAddress } from '../../src/ip/address.ts'
import { addressesIn } from '../../src/sys/addresses.ts'
import { filtersIn, isIngressAmong, linksIn, routeInterfaces } from '../../src/sys/links.ts'
import type { NetlinkMessage } from '../../src/sys/netlink.ts'

const word = (value: number): readonly number[] => [...new Uint8Array(Uint32Array.of(value).buffer)]
const text = (value: string): readonly number[] => [...Buffer.from(`${value}\0`)]

/** struct rtattr, padded to 4. */
function attribute(type: number, value: readonly number[]): readonly number[] {
  const length = 4 + value.length
  return [length & 0xff, length >> 8, type & 0xff, type >> 8, ...value, ...new Uint8Array(-length & 3)]
}

const message = (type: number, ...body: readonly (readonly number[])[]): NetlinkMessage => ({
  type,
  body: Uint8Array.from(body.flat()),
})
/** struct ifinfomsg: family, pad, type:u16 index:s32 flags:u32 change:u32 */
const link = (index: number, ...more: readonly (readonly number[])[]): NetlinkMessage =>
  message(16, [0, 0, 1, 0], word(index), word(0), word(0), ...more)
/** struct tcmsg: family, 3 of padding, index, handle, parent, info. */
const tcmsg = (index: number, handle: number, priority: number): readonly number[] => [
  ...[0, 0, 0, 0, ...word(index), ...word(handle), ...word(0xffff_fff1)],
  ...word(priority * 65_536 + 8),
]
/** struct ifaddrmsg: family, length of the prefix, flags, scope, index. */
const ifaddrmsg = (family: number, flags: number, scope: number, index: number): readonly number[] => [
  ...[family, 24, flags, scope],
  ...word(index),
]
const rtmsg: readonly number[] = [2, 24, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0]

/** Of each octet that may be missing: never an error, and never more than the whole says. */
function whenCut(whole: NetlinkMessage, look: (cut: NetlinkMessage, length: number) => void): void {
  for (let length = 0; length <= whole.body.length; length++)
    look({ type: whole.type, body: whole.body.subarray(0, length) }, length)
}

test('a link has the index and the name of the kernel; messages of other types are none', () => {
  const eth0 = link(7, attribute(3, text('eth0')))
  assert.deepEqual(linksIn([eth0]), [{ index: 7, name: 'eth0' }])
  // RTM_DELLINK, RTM_NEWADDR and a type that nobody has named.
  for (const type of [17, 20, 0x7777]) assert.deepEqual(linksIn([{ ...eth0, type }]), [])
  // A name without its zero, with octets behind it, and of no length.
  assert.deepEqual(linksIn([link(7, attribute(3, [...Buffer.from('eth0')]))]), [{ index: 7, name: 'eth0' }])
  assert.deepEqual(linksIn([link(7, attribute(3, [...text('eth0'), 65, 65]))]), [{ index: 7, name: 'eth0' }])
  assert.deepEqual(linksIn([link(7, attribute(3, []))]), [{ index: 7, name: '' }])
  assert.deepEqual(linksIn([link(7)]), [{ index: 7, name: '' }])
})

test('a link that is cut at any octet is a link without a name, or none', () => {
  const whole = link(7, attribute(3, text('eth0')), attribute(4, word(1500)))
  whenCut(whole, (cut, length) => {
    const expected = length < 16 ? [] : [{ index: 7, name: length < 16 + 9 ? '' : 'eth0' }]
    assert.deepEqual(linksIn([cut]), expected, `cut at ${length}`)
  })
})

test('a link beside a broken one is read all the same', () => {
  const good = link(3, attribute(3, text('lan0')))
  for (const broken of [message(16), link(2, [3, 0, 3, 0]), link(2, [0xff, 0xff, 3, 0, 65]), link(2, [0, 0, 0, 0])])
    assert.ok(linksIn([broken, good, broken]).some(({ index, name }) => index === 3 && name === 'lan0'))
})

test('filters come in the order in which packets meet them, each with kind and handle', () => {
  const filter = (priority: number, handle: number, kind: string): NetlinkMessage =>
    message(44, tcmsg(2, handle, priority), attribute(1, text(kind)))
  assert.deepEqual(filtersIn([filter(49_152, 1, 'bpf'), filter(7, 0x8000_0000, 'flower'), filter(7, 2, 'bpf')]), [
    { priority: 7, handle: 0x8000_0000, kind: 'flower' },
    { priority: 7, handle: 2, kind: 'bpf' },
    { priority: 49_152, handle: 1, kind: 'bpf' },
  ])
  assert.deepEqual(filtersIn([filter(0xffff, 1, 'bpf')])[0]?.priority, 0xffff)
  // RTM_DELTFILTER, RTM_NEWCHAIN
  for (const type of [45, 100]) assert.deepEqual(filtersIn([{ ...filter(1, 1, 'bpf'), type }]), [])
  whenCut(filter(5, 1, 'bpf'), (cut, length) => {
    const expected = length < 20 ? [] : [{ priority: 5, handle: 1, kind: length < 20 + 8 ? '' : 'bpf' }]
    assert.deepEqual(filtersIn([cut]), expected, `cut at ${length}`)
  })
})

test('the ingress qdisc is looked for on the interface that is asked for, though the kernel lists all of them', () => {
  const qdisc = (index: number, kind: string): NetlinkMessage =>
    message(36, tcmsg(index, 0xffff_0000, 0), attribute(1, text(kind)))
  const all = [qdisc(1, 'noqueue'), qdisc(2, 'clsact'), qdisc(3, 'ingress'), qdisc(4, 'ingress-like')]
  assert.deepEqual(
    [1, 2, 3, 4, 5].map((index) => isIngressAmong(all, index)),
    [false, false, true, false, false],
  )
  assert.equal(isIngressAmong([{ ...qdisc(3, 'ingress'), type: 37 }], 3), false, 'one that is being removed')
  whenCut(qdisc(3, 'ingress'), (cut, length) => assert.equal(isIngressAmong([cut], 3), length >= 20 + 12, `${length}`))
})

const names = new Map([[2, 'eth0']])
const shown = (...messages: readonly NetlinkMessage[]): readonly string[] =>
  addressesIn(messages, names).map(
    ({ device, address, isGlobal }) => `${device} ${formatAddress(address)}${isGlobal ? ' global' : ''}`,
  )

test('an address is IFA_LOCAL, which of a point-to-point link is not the other end, else IFA_ADDRESS', () => {
  const [own, other] = [
    [10, 0, 0, 1],
    [10, 0, 0, 2],
  ]
  assert.deepEqual(shown(message(20, ifaddrmsg(2, 0, 0, 2), attribute(1, other), attribute(2, own))), [
    'eth0 10.0.0.1 global',
  ])
  const six = [0xfe, 0x80, ...new Uint8Array(13), 9]
  // RT_SCOPE_LINK
  assert.deepEqual(shown(message(20, ifaddrmsg(10, 0, 253, 2), attribute(1, six))), ['eth0 fe80::9'])
})

test('of an address the long flags count where they are given, and the short ones where not', () => {
  const of = (short: number, long?: readonly number[]): readonly string[] =>
    shown(
      message(
        20,
        ifaddrmsg(2, short, 0, 2),
        attribute(2, [10, 0, 0, 1]),
        ...(long === undefined ? [] : [attribute(8, long)]),
      ),
    )
  const [fit, unfit] = [['eth0 10.0.0.1 global'], ['eth0 10.0.0.1']]
  // Secondary or temporary, DAD failed, deprecated, tentative; permanent alone is fine.
  for (const flag of [0x01, 0x08, 0x20, 0x40]) {
    assert.deepEqual([of(flag), of(0, word(flag)), of(flag | 0x80)], [unfit, unfit, unfit])
    assert.deepEqual(of(flag, word(0)), fit, 'the long ones count')
    assert.deepEqual(of(flag, []), unfit, 'long ones of no length are none')
  }
  for (const flag of [0, 0x80, 0x100, 0x800]) assert.deepEqual(of(0, word(flag)), fit)
})

test('an address of no length that addresses have, of an unknown interface, or cut, is none', () => {
  for (const octets of [[], [10], [10, 0, 0], [10, 0, 0, 1, 0], Array.from({ length: 15 }, () => 1)])
    assert.deepEqual(shown(message(20, ifaddrmsg(2, 0, 0, 2), attribute(2, octets))), [])
  assert.deepEqual(shown(message(20, ifaddrmsg(2, 0, 0, 9), attribute(2, [10, 0, 0, 1]))), [])
  // RTM_DELADDR
  assert.deepEqual(shown(message(21, ifaddrmsg(2, 0, 0, 2), attribute(2, [10, 0, 0, 1]))), [])
  whenCut(message(20, ifaddrmsg(2, 0, 0, 2), attribute(2, [10, 0, 0, 1])), (cut, length) =>
    assert.deepEqual(shown(cut), length < 16 ? [] : ['eth0 10.0.0.1 global'], `cut at ${length}`),
  )
})

test('a route leads over its interface, or over each of its next hops up to a broken one (struct rtnexthop)', () => {
  const hop = (index: number, length = 16): readonly number[] => [
    ...[length & 0xff, length >> 8, 0, 0, ...word(index)],
    ...attribute(5, [10, 0, 0, index]),
  ]
  const route = (...more: readonly (readonly number[])[]): number[] => routeInterfaces(message(24, rtmsg, ...more))
  assert.deepEqual(route(), [])
  assert.deepEqual(route(attribute(4, word(2))), [2])
  assert.deepEqual(route(attribute(4, [])), [], 'an attribute of length 0')
  assert.deepEqual(route(attribute(4, [2])), [])
  assert.deepEqual(route(attribute(9, [...hop(2), ...hop(3), ...hop(4)])), [2, 3, 4])
  for (const length of [0, 7, 33, 0xffff])
    assert.deepEqual(route(attribute(9, [...hop(2), ...hop(3, length), ...hop(4)])), [2], String(length))
  whenCut(message(24, rtmsg, attribute(9, [...hop(2), ...hop(3)])), (cut, length) =>
    assert.deepEqual(routeInterfaces(cut), length < 48 ? [] : [2, 3], `cut at ${length}`),
  )
})

test('whatever octets come, nothing is thrown and no interface is made up of what is not there', () => {
  fc.assert(
    fc.property(fc.constantFrom(16, 20, 24, 36, 44), fc.uint8Array({ maxLength: 120 }), (type, body) => {
      const messages = [{ type, body }]
      for (const { name } of linksIn(messages)) assert.ok(!name.includes('\0'))
      for (const { device } of addressesIn(messages, names)) assert.equal(device, 'eth0')
      for (const { priority } of filtersIn(messages)) assert.ok(priority >= 0 && priority <= 0xffff)
      assert.ok(routeInterfaces({ type, body }).length <= body.length / 4)
      isIngressAmong(messages, 3)
    }),
  )
})
