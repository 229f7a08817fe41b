import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { PathAttributes, UpdateMessage } from '../../src/bgp/messages/types.ts'
import { ipv6Unicast } from '../../src/bgp/messages/types.ts'
import { type Prefix, parsePrefix } from '../../src/ip/prefix.ts'
import { AdjRibIn } from '../../src/rib/adj-rib-in.ts'
import { AttributeTable } from '../../src/rib/attribute-table.ts'

const prefix = (text: string): Prefix => parsePrefix(text) ?? assert.fail(text)
const attributes: PathAttributes = { origin: 0, asPath: [{ type: 2, asns: [65001] }], nextHop: 0x0a000001 }
const update = (part: Partial<UpdateMessage>): UpdateMessage => ({ type: 'update', withdrawn: [], attributes, nlri: [], ...part })

test('attribute sets of equal content are one object, whatever the order of their fields', () => {
  const table = new AttributeTable()
  const one = table.intern({ med: 1, communities: [2], unknown: [{ flags: 0xc0, type: 99, value: Uint8Array.of(1, 2) }] })
  assert.equal(table.intern({ unknown: [{ flags: 0xc0, type: 99, value: Uint8Array.of(1, 2) }], communities: [2], med: 1 }), one)
  assert.notEqual(table.intern({ med: 1, communities: [2], unknown: [{ flags: 0xc0, type: 99, value: Uint8Array.of(1, 3) }] }), one)
  table.keepOnly(new Set([one]))
  assert.equal(table.size, 1)
})

test('announcements replace, withdrawals remove, both families count', () => {
  const rib = new AdjRibIn()
  rib.apply(update({ nlri: [prefix('192.0.2.0/24'), prefix('198.51.100.0/24')] }), [], 1)
  rib.apply(update({ nlri: [prefix('192.0.2.0/24')], attributes: { ...attributes, med: 5 } }), [], 2)
  rib.apply(update({ mpReach: { family: ipv6Unicast, nextHop: 'x'.repeat(16), prefixes: [prefix('2001:db8::/64')] } }), [], 3)
  assert.equal(rib.count('ipv4'), 2)
  assert.equal(rib.count('ipv6'), 1)
  assert.deepEqual(rib.get(prefix('192.0.2.0/24')), { attributes: { ...attributes, med: 5 }, at: 2 })
  assert.equal(rib.get(prefix('2001:db8::/64'))?.attributes.nextHop, 'x'.repeat(16))
  rib.apply(update({ withdrawn: [prefix('192.0.2.0/24')], mpUnreach: { family: ipv6Unicast, prefixes: [prefix('2001:db8::/64')] } }), [], 4)
  assert.equal(rib.count('ipv4'), 1)
  assert.equal(rib.count('ipv6'), 0)
})

test('a treat-as-withdraw error withdraws the prefixes that the UPDATE announces (RFC 7606 2)', () => {
  const rib = new AdjRibIn()
  rib.apply(update({ nlri: [prefix('192.0.2.0/24')] }), [], 1)
  rib.apply(update({ nlri: [prefix('192.0.2.0/24')] }), [{ action: 'attribute-discard', reason: 'x' }], 2)
  assert.equal(rib.count('ipv4'), 1)
  rib.apply(update({ nlri: [prefix('192.0.2.0/24')] }), [{ action: 'treat-as-withdraw', reason: 'x' }], 3)
  assert.equal(rib.count('ipv4'), 0)
})

test('prefixes beyond the bound are counted and not kept', () => {
  const rib = new AdjRibIn(2)
  const four = ['192.0.2.0/32', '192.0.2.1/32', '192.0.2.2/32', '192.0.2.3/32'].map(prefix)
  rib.apply(update({ nlri: four }), [], 1)
  assert.equal([...rib.entries()].length, 2)
  assert.equal(rib.count('ipv4'), 4)
  rib.apply(update({ withdrawn: four }), [], 2)
  assert.equal(rib.count('ipv4'), 0)
})

test('a peer that makes attribute sets without end is held to the bound, and what it replaced is not shown', () => {
  const rib = new AdjRibIn(100, 4)
  const hosts = Array.from({ length: 50 }, (_, i) => prefix(`192.0.2.${i}/32`))
  hosts.forEach((host, med) => rib.apply(update({ nlri: [host], attributes: { ...attributes, med } }), [], 1))
  assert.equal([...rib.entries()].length, 4)
  assert.equal(rib.count('ipv4'), 50)
  rib.apply(update({ nlri: [hosts[0] as Prefix], attributes: { ...attributes, med: 999 } }), [], 2)
  assert.equal(rib.get(hosts[0] as Prefix), undefined)
  rib.apply(update({ withdrawn: hosts }), [], 3)
  assert.equal(rib.count('ipv4'), 0)
  rib.apply(update({ nlri: [hosts[0] as Prefix] }), [], 4)
  assert.equal(rib.get(hosts[0] as Prefix)?.at, 4)
})
