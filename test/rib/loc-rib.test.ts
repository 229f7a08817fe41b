import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Prefix, parsePrefix } from '../../src/ip/prefix.ts'
import { LocRib } from '../../src/rib/loc-rib.ts'

const one = parsePrefix('192.0.2.1/32') as Prefix
const two = parsePrefix('192.0.2.2/32') as Prefix
const routes = (med?: number) => [{ neighbors: ['65000/10.0.0.1'], attributes: med === undefined ? {} : { med } }]

test('saying the same again is no change, other attributes and other neighbors are', () => {
  const rib = new LocRib()
  assert.equal(rib.set(one, routes(), 1), true)
  assert.equal(rib.set(one, routes(), 2), false)
  assert.equal(rib.get(one)?.since, 1)
  assert.equal(rib.set(one, routes(0), 3), true)
  assert.equal(rib.set(one, [{ neighbors: [], attributes: { med: 0 } }], 4), true)
})

test('no routes remove a prefix, once', () => {
  const rib = new LocRib()
  rib.set(one, routes(), 1)
  assert.equal(rib.set(one, [], 2), true)
  assert.equal(rib.set(one, [], 3), false)
  assert.equal(rib.size, 0)
})

test('prefixes with equal routes share one list', () => {
  const rib = new LocRib()
  rib.set(one, routes(7), 1)
  rib.set(two, routes(7), 1)
  assert.equal(rib.get(one)?.routes, rib.get(two)?.routes)
})

test('lists that nothing uses any more do not pile up', () => {
  const rib = new LocRib()
  for (let med = 0; med < 5_000; med++) rib.set(one, routes(med), med)
  rib.set(two, routes(4_999), 0)
  assert.equal(rib.get(two)?.routes, rib.get(one)?.routes)
})
