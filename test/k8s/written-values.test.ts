/**
 * Values as people write them into objects: durations, communities, blocks of addresses, names that are nearly right.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import IPCIDR from 'ip-cidr'
import {
  checkBlock,
  hostBitsOf,
  overlapFaults,
  prefixMeantBy,
  rangeOfBlock,
} from '../../src/k8s/kinds/address-blocks.ts'
import { largeCommunity, standardCommunity, wellKnownCommunity } from '../../src/k8s/kinds/communities.ts'
import { duplicateFaults, selectorFaults } from '../../src/k8s/kinds/duplicates.ts'
import { parseExtendedCommunity } from '../../src/k8s/kinds/extended-communities.ts'
import { optionalDuration } from '../../src/k8s/kinds/go-duration.ts'
import { nearest } from '../../src/k8s/kinds/nearest.ts'
import { hostFaults } from '../../src/k8s/kinds/peer-host.ts'
import { parseAddress } from '../../src/ip/address.ts'

test('a duration means what it means to Go, and what is none says what to write', () => {
  const good: readonly (readonly [unknown, number | undefined])[] = [
    ['0', 0],
    ['90s', 90],
    ['1m30s', 90],
    ['1.5h', 5_400],
    ['.5s', 0.5],
    ['1.s', 1],
    ['+3s', 3],
    ['100ms', 0.1],
    ['0.1s0.2s', 0.3],
    ['250us', 0.000_25],
    ['250µs', 0.000_25],
    ['250μs', 0.000_25],
    ['1h1m1s1ms', 3_661.001],
    ['  3s ', 3],
    ...['', null, undefined].map((absent) => [absent, undefined] as const),
  ]
  for (const [written, seconds] of good) assert.equal(optionalDuration.parse(written), seconds, String(written))
  const bad: readonly (readonly [unknown, RegExp, string])[] = [
    ['90', /^"90" has no unit$/, 'Write 90s'],
    [90, /^90 has no unit$/, 'Write 90s'],
    ['.s', /is no duration/, 'Write 90s'],
    ['-5s', /is no duration/, 'Write 90s'],
    ['1 m', /is no duration/, 'Write 90s'],
    ['1d', /is no duration/, 'Write 90s'],
    ['1S', /is no duration/, 'Write 90s'],
    ['s', /is no duration/, 'Write 90s'],
    ['1m30', /is no duration/, 'Write 90s'],
    [true, /^it is no duration$/, 'Write 90s'],
    [{}, /^it is no duration$/, 'Write 90s'],
    ['x'.repeat(10_000), /^"x{59} is no duration$/, 'Write 90s'],
  ]
  for (const [written, message, remedy] of bad) {
    const [issue, ...more] = optionalDuration.safeParse(written).error?.issues ?? []
    assert.match(issue?.message ?? '', message, String(written).slice(0, 20))
    assert.deepEqual([issue?.code === 'custom' ? issue.params?.['remedy'] : undefined, more], [remedy, []])
  }
})

test('durations add up part by part, to the nanosecond', () => {
  const units = { h: 3_600_000_000_000n, m: 60_000_000_000n, s: 1_000_000_000n, ms: 1_000_000n, us: 1_000n, ns: 1n }
  const part = fc.tuple(fc.nat(999), fc.constantFrom(...(Object.keys(units) as (keyof typeof units)[])))
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 5 }), (parts) => {
      const nanoseconds = parts.reduce((sum, [count, unit]) => sum + BigInt(count) * units[unit], 0n)
      const read = optionalDuration.parse(parts.map(([count, unit]) => `${count}${unit}`).join(''))
      assert.equal(read, Number(nanoseconds) / 1e9)
    }),
  )
})

test('communities: each half, part and name within its bounds, and nothing that only looks like one', () => {
  for (const [written, value] of [
    ['65000:100', 65_000 * 65_536 + 100],
    ['0:0', 0],
    ['65535:65535', 0xffff_ffff],
    ['4294967295', 0xffff_ffff],
    [100, 100],
  ] as const)
    assert.equal(standardCommunity.parse(written), value)
  for (const written of [
    '65536:0',
    '0:65536',
    '4294967296',
    '1:2:3',
    '',
    ':',
    '1:',
    '-1:1',
    '01:1',
    '1.5:1',
    '0x1:1',
    1.5,
  ])
    assert.equal(standardCommunity.safeParse(written).success, false, String(written))
  for (const written of ['65000:1:2', '4294967295:4294967295:0']) assert.equal(largeCommunity.parse(written), written)
  for (const written of ['1:2', '1:2:3:4', '4294967296:1:1', '1: 2:3', '1:2:03'])
    assert.equal(largeCommunity.safeParse(written).success, false, written)
  // RFC 1997, RFC 7999, RFC 8326 and IANA's registry.
  assert.deepEqual(
    ['no-export', 'no-advertise', 'blackhole', 'no-peer'].map((name) => wellKnownCommunity.parse(name)),
    [0xffff_ff01, 0xffff_ff02, 0xffff_029a, 0xffff_ff04],
  )
  for (const name of ['No-Export', 'toString', '', 'no-export '])
    assert.equal(wellKnownCommunity.safeParse(name).success, false, name)
})

test('extended communities have the type that their administrator needs (RFC 4360, RFC 5668)', () => {
  const table: readonly (readonly [string, string | undefined])[] = [
    ['rt:65000:100', '0002fde800000064'],
    ['soo:65000:4294967295', '0003fde8ffffffff'],
    ['rt:192.0.2.1:7', '0102c00002010007'],
    ['rt:4200000000:7', '0202fa56ea000007'],
    // 12 500 000 octets a second as an IEEE 754 number: 0x4b3ebc20.
    ['lb:65000:12500000', '4004fde84b3ebc20'],
    ['0002FDE800000064', '0002fde800000064'],
    ...['rt:65000:4294967296', 'rt:192.0.2.1:65536', 'rt:4200000000:65536', 'rt:4294967296:1', 'lb:65536:1'].map(
      (tooMuch) => [tooMuch, undefined] as const,
    ),
    ...['rt:65000', 'rt:65000:1:2', 'xx:65000:1', 'rt:65000:-1', 'rt::1', '0002fde80000006', 'rt:192.0.2:1', ''].map(
      (none) => [none, undefined] as const,
    ),
  ]
  for (const [written, value] of table) assert.equal(parseExtendedCommunity(written), value, written)
})

test('a block is the range that another implementation makes of it', () => {
  const group = fc.nat(0xffff).map((value) => value.toString(16))
  const groups = fc.array(group, { minLength: 8, maxLength: 8 }).map((all) => all.join(':'))
  const prefix = fc.oneof(
    fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 32 })),
    fc.tuple(groups, fc.integer({ min: 0, max: 128 })),
  )
  fc.assert(
    fc.property(prefix, ([address, length]) => {
      const cidr = `${address}/${length}`
      const range = rangeOfBlock({ cidr })
      const other = new IPCIDR(cidr)
      const [first, last] = [other.start({ type: 'bigInteger' }), other.end({ type: 'bigInteger' })].map(String)
      assert.deepEqual([String(range?.first), String(range?.last)], [first, last], cidr)
      // And written as its ends it is the same.
      const ends = { start: String(other.start()), stop: String(other.end()) }
      assert.deepEqual(rangeOfBlock(ends), range, cidr)
      assert.deepEqual(checkBlock(ends, []), [])
    }),
  )
})

test('what is wrong with a block is told with what to write', () => {
  const told = (block: Parameters<typeof checkBlock>[0]): readonly (readonly [string, string])[] =>
    checkBlock(block, ['blocks', 0]).map(({ code, remedy }) => [code, remedy] as const)
  assert.deepEqual(told({ cidr: '192.0.2.0/28', start: '192.0.2.1' }), [['InvalidBlock', 'Write two blocks.']])
  assert.deepEqual(told({ cidr: '192.0.2.9' }), [['InvalidPrefix', 'Write 192.0.2.9/32, or the length that is meant.']])
  assert.deepEqual(told({ cidr: '192.0.2.1 - 192.0.2.9' }), [
    ['InvalidPrefix', 'Write start: 192.0.2.1 and stop: 192.0.2.9.'],
  ])
  assert.deepEqual(told({ cidr: '192.0.2.0/255.255.255.240' }), [['InvalidPrefix', 'Write 192.0.2.0/28.']])
  assert.deepEqual(told({ cidr: '192.0.2.5/28' }), [
    ['HostBits', 'Write start and stop if you mean 192.0.2.5-192.0.2.20, or 192.0.2.0/28.'],
  ])
  assert.deepEqual(told({ start: '192.0.2.9', stop: '192.0.2.1' }), [['ReversedRange', 'Swap start and stop.']])
  assert.deepEqual(told({ start: '192.0.2.9', stop: '2001:db8::' }), [
    ['MixedFamilies', 'Write both ends in one family.'],
  ])
  assert.equal(told({})[0]?.[0], 'InvalidAddress')
  assert.equal(told({ start: '192.0.2.1', stop: 'x' })[0]?.[0], 'InvalidAddress')
  assert.deepEqual(told({ start: '192.0.2.1' }), [])
  // Beyond the last address there is none.
  assert.equal(hostBitsOf('255.255.255.250/28')?.meant, '255.255.255.250-255.255.255.255')
  assert.equal(hostBitsOf('192.0.2.0/28'), undefined)
  assert.equal(prefixMeantBy('192.0.2.0 / 28'), 'Write 192.0.2.0/28.')
  assert.equal(prefixMeantBy('192.0.2.0/255.0.255.0'), undefined)
  assert.equal(prefixMeantBy('nonsense'), undefined)
})

test('blocks that overlap are told once each, in whatever order they stand, and never across families', () => {
  const blocks = [
    { cidr: '192.0.2.0/28' },
    { start: '192.0.2.15', stop: '192.0.2.16' },
    { cidr: '192.0.2.16/28' },
    { cidr: '2001:db8::/64' },
    { cidr: '192.0.3.0/28' },
  ]
  fc.assert(
    fc.property(fc.shuffledSubarray(blocks, { minLength: blocks.length }), (shuffled) => {
      const faults = overlapFaults(
        shuffled.map((block, index) => ({ block, path: ['spec', 'blocks', index] })),
        'error',
      )
      // The second meets the first, and the third the second; the fields are where they stand.
      assert.deepEqual(
        faults
          .map(({ path }) => shuffled[Number(path.at(-1))])
          .sort((a, b) => (a === blocks[1] ? -1 : b === a ? 0 : 1)),
        [blocks[1], blocks[2]],
      )
    }),
  )
})

/** Word by word as it is defined, slowly. */
function distance(a: string, b: string): number {
  if (a === '' || b === '') return a.length + b.length
  const [head, rest] = [a[0], a.slice(1)]
  if (head === b[0]) return distance(rest, b.slice(1))
  return 1 + Math.min(distance(rest, b), distance(a, b.slice(1)), distance(rest, b.slice(1)))
}

test('the nearest name is one that is near, and the first of those that are nearest', () => {
  const word = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 6 })
  fc.assert(
    fc.property(word, fc.array(word, { maxLength: 6 }), (name, known) => {
      const within = Math.floor(Math.max(2, name.length / 3))
      const distances = known.map((each) => distance(name, each))
      const least = Math.min(...distances, Number.POSITIVE_INFINITY)
      assert.equal(nearest(name, known), least <= within ? known[distances.indexOf(least)] : undefined)
    }),
    { numRuns: 300 },
  )
  assert.equal(nearest('PEERASN', ['peerAddress', 'peerASN']), 'peerASN')
  assert.equal(nearest('peerAsn', ['peerASN'], 0), 'peerASN', 'letters of another case do not count')
  assert.equal(nearest('x'.repeat(100_000), ['x'.repeat(253)]), 'x'.repeat(253), 'of a huge name its beginning counts')
})

test('what stands twice is told where, and by what it is like', () => {
  assert.deepEqual(duplicateFaults(['a', 'b', 'c'], []), [])
  const found = duplicateFaults(['a', { x: 1 }, 'a', { x: 1 }, 'a'], ['spec', 'peers'])
  assert.deepEqual(
    found.map(({ path, message }) => [path.at(-1), message]),
    [
      [2, 'a stands there already, as number 1'],
      [3, 'it stands there already, as number 2'],
      [4, 'a stands there already, as number 1'],
    ],
  )
  const inner = selectorFaults([{ matchExpressions: [{ values: ['x', 'y', 'x'] }, {}] }, {}], ['nodeSelectors'])
  assert.deepEqual(
    inner.map(({ path }) => path),
    [['nodeSelectors', 0, 'matchExpressions', 0, 'values', 2]],
  )
})

test('a router has an address of one host; loopback is told, and everything of many is refused', () => {
  const codeOf = (text: string): string | undefined => hostFaults(parseAddress(text) ?? 0, [])[0]?.code
  for (const host of ['192.0.2.1', '10.0.0.255', '2001:db8::1', 'fe80::1', '::']) assert.equal(codeOf(host), undefined)
  for (const loopback of ['127.0.0.1', '127.255.255.254', '::1']) assert.equal(codeOf(loopback), 'LoopbackPeer')
  for (const many of ['0.0.0.0', '224.0.0.5', '255.255.255.255', '240.0.0.1', 'ff02::5'])
    assert.equal(codeOf(many), 'InvalidPeerAddress', many)
})
