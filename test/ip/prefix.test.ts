import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { addressFromBytes, parseAddress } from '../../src/ip/address.ts'
import {
  formatPrefix,
  hasHostBits,
  hostPrefix,
  parsePrefix,
  prefixAddress,
  prefixContains,
  prefixLength,
  prefixOf,
} from '../../src/ip/prefix.ts'

test('a prefix is masked, so that equal prefixes are the same value', () => {
  assert.equal(parsePrefix('10.1.2.3/8'), parsePrefix('10.0.0.0/8'))
  assert.equal(parsePrefix('2001:db8::1/33'), parsePrefix('2001:db8::/33'))
  assert.notEqual(parsePrefix('10.0.0.0/8'), parsePrefix('10.0.0.0/9'))
  assert.ok(hasHostBits('10.1.2.3/8'))
  assert.ok(!hasHostBits('10.0.0.0/8'))
})

test('text that is no prefix is refused', () => {
  for (const text of [
    '10.0.0.0',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/08',
    '::/129',
    '/8',
    '10.0.0.0/',
    '10.0.0.0/8/9',
  ]) {
    assert.equal(parsePrefix(text), undefined, text)
  }
})

test('the default routes and host routes are prefixes like others', () => {
  assert.equal(formatPrefix(parsePrefix('0.0.0.0/0') ?? -1), '0.0.0.0/0')
  assert.equal(formatPrefix(parsePrefix('::/0') ?? ''), '::/0')
  assert.equal(formatPrefix(hostPrefix(parseAddress('192.0.2.1') ?? 0)), '192.0.2.1/32')
  assert.equal(formatPrefix(hostPrefix(parseAddress('2001:db8::1') ?? 0)), '2001:db8::1/128')
})

test('text, parts and containment agree for every address and length', () => {
  const cases = fc.oneof(
    fc.tuple(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.integer({ min: 0, max: 32 })),
    fc.tuple(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.integer({ min: 0, max: 128 })),
  )
  fc.assert(
    fc.property(cases, ([bytes, length]) => {
      const address = addressFromBytes(bytes)
      const prefix = prefixOf(address, length)
      assert.equal(prefixLength(prefix), length)
      assert.equal(parsePrefix(formatPrefix(prefix)), prefix)
      assert.equal(prefixOf(prefixAddress(prefix), length), prefix)
      assert.ok(prefixContains(prefix, address))
    }),
  )
})
