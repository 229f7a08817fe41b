import assert from 'node:assert/strict'
import { isIP } from 'node:net'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  addressBytes,
  addressFromBytes,
  compareAddresses,
  formatAddress,
  isUnicastIpv4,
  parseAddress,
  parseIpv4,
  unmapped,
} from '../../src/ip/address.ts'

test('IPv4 text parses to a number and back', () => {
  assert.equal(parseAddress('192.0.2.1'), 0xc0000201)
  assert.equal(formatAddress(0xc0000201), '192.0.2.1')
  assert.equal(parseAddress('255.255.255.255'), 0xffffffff)
})

test('text that is no address is refused', () => {
  for (const text of [
    '',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.',
    '1.2.3.4.',
    '.1.2.3.4',
    '1..2.3',
    '1.2.3.00',
    '1.2.3.4\n',
    '1.2.3.1e1',
    '1.2.3.999999999999',
    '256.0.0.1',
    '01.2.3.4',
    '1.2.3.4/32',
    ' 1.2.3.4',
    '::g',
    'fe80::1%eth0',
    '1::2::3',
    '2001:db8::/32',
    '0x7f.0.0.1',
  ]) {
    assert.equal(parseAddress(text), undefined, text)
  }
})

test('IPv6 text is canonical (RFC 5952)', () => {
  const cases: readonly [string, string][] = [
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['::ffff:192.0.2.1', '::ffff:192.0.2.1'],
  ]
  for (const [text, canonical] of cases) assert.equal(formatAddress(parseAddress(text) ?? 0), canonical, text)
})

test('octets round-trip through value and text for both families', () => {
  const octets = fc.oneof(
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
  )
  fc.assert(
    fc.property(octets, (bytes) => {
      const address = addressFromBytes(bytes)
      const text = formatAddress(address)
      assert.equal(isIP(text), bytes.length === 4 ? 4 : 6)
      assert.equal(parseAddress(text), address)
      assert.deepEqual([...addressBytes(address)], [...bytes])
    }),
  )
})

test('order is numeric and IPv4 comes first', () => {
  const texts = ['::2', '10.0.0.9', '::1', '9.0.0.10']
  const sorted = texts
    .map((text) => parseAddress(text) ?? 0)
    .sort(compareAddresses)
    .map(formatAddress)
  assert.deepEqual(sorted, ['9.0.0.10', '10.0.0.9', '::1', '::2'])
})

test('an IPv4-mapped address is the IPv4 address that it stands for, any other is itself (RFC 4291 2.5.5.2)', () => {
  for (const [written, expected] of [
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::FFFF:C000:201', '192.0.2.1'],
    ['0:0:0:0:0:ffff:0:0', '0.0.0.0'],
    ['::192.0.2.1', '::c000:201'],
    ['::fffe:c000:201', '::fffe:c000:201'],
    ['1::ffff:c000:201', '1::ffff:c000:201'],
    ['192.0.2.1', '192.0.2.1'],
    ['::', '::'],
  ] as const) {
    const address = parseAddress(written)
    assert.ok(address !== undefined)
    assert.equal(formatAddress(unmapped(address)), expected, written)
  }
})

test('unicast IPv4 addresses are those of 1/8 to 223/8 without 127/8 (RFC 6890)', () => {
  for (let first = 0; first <= 255; first++) {
    const isUnicast = first >= 1 && first <= 223 && first !== 127
    for (const rest of ['0.0.0', '255.255.255'])
      assert.equal(isUnicastIpv4(parseIpv4(`${first}.${rest}`) ?? 0), isUnicast, `${first}.${rest}`)
  }
})
