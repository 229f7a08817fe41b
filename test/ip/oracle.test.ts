/** Prefixes beside ip-cidr, whose arithmetic is not ours: both must draw the same lines. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import IPCIDR from 'ip-cidr'
import { addressBytes, addressFromBytes, formatAddress, parseAddress } from '../../src/ip/address.ts'
import {
  formatPrefix,
  hasHostBits,
  parsePrefix,
  prefixAddress,
  prefixContains,
  prefixOf,
  splitPrefix,
} from '../../src/ip/prefix.ts'

const octets = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length })
const withLength = (bytes: number): fc.Arbitrary<readonly [Uint8Array, number]> =>
  fc.tuple(octets(bytes), fc.integer({ min: 0, max: bytes * 8 }))
const written = fc.oneof(withLength(4), withLength(16)).map(([bytes, length]) => ({
  text: `${formatAddress(addressFromBytes(bytes))}/${length}`,
  address: addressFromBytes(bytes),
  length,
}))

const integerOf = (octetsOf: Uint8Array): bigint => octetsOf.reduce((value, octet) => value * 256n + BigInt(octet), 0n)
const endOf = (cidr: IPCIDR, which: 'start' | 'end'): bigint => {
  const range = cidr.toRange({ type: 'bigInteger' }) as readonly unknown[]
  return BigInt(String(range[which === 'start' ? 0 : 1]))
}

test('the first address of a prefix is the one that ip-cidr finds', () => {
  fc.assert(
    fc.property(written, ({ text, address, length }) => {
      const first = integerOf(addressBytes(prefixAddress(prefixOf(address, length))))
      assert.equal(first, endOf(new IPCIDR(text), 'start'), text)
    }),
  )
})

test('an address is inside a prefix exactly when ip-cidr says so', () => {
  const pair = fc.oneof(fc.tuple(withLength(4), octets(4)), fc.tuple(withLength(16), octets(16)))
  fc.assert(
    fc.property(pair, fc.nat(), ([[bytes, length], other], near) => {
      // An address beside the prefix's end tells more than a random one, which is nearly never inside.
      const flipped = Uint8Array.from(bytes)
      const bit = near % (bytes.length * 8)
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (0x80 >> (bit & 7))
      const prefix = prefixOf(addressFromBytes(bytes), length)
      const cidr = new IPCIDR(`${formatAddress(addressFromBytes(bytes))}/${length}`)
      for (const candidate of [bytes, other, flipped]) {
        const value = integerOf(candidate)
        const isInside = value >= endOf(cidr, 'start') && value <= endOf(cidr, 'end')
        assert.equal(prefixContains(prefix, addressFromBytes(candidate)), isInside)
      }
    }),
  )
})

test('host bits are there exactly where the address is not the first of its prefix', () => {
  fc.assert(
    fc.property(written, ({ text, address }) => {
      assert.equal(hasHostBits(text), integerOf(addressBytes(address)) !== endOf(new IPCIDR(text), 'start'), text)
    }),
  )
})

test('text that one of the two cannot read is no prefix for us', () => {
  const digits = fc.constantFrom('0', '1', '8', '32', '33', '64', '128', '129', '', '08', '-1', '1e1', ' 8')
  const hosts = fc.constantFrom('10.0.0.1', '10.0.0', '256.1.1.1', '2001:db8::1', '2001:db8:::1', '::', '1::2::3', '')
  fc.assert(
    fc.property(hosts, digits, fc.constantFrom('/', '', '//'), (host, length, slash) => {
      const text = `${host}${slash}${length}`
      const parsed = parsePrefix(text)
      if (parsed === undefined) return assert.equal(splitPrefix(text), undefined)
      assert.ok(IPCIDR.isValidCIDR(text), text)
      assert.equal(parsePrefix(formatPrefix(parsed)), parsed)
      assert.notEqual(parseAddress(host), undefined)
    }),
  )
})
