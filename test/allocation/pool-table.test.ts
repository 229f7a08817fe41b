import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { fromInteger, IntervalIndex, toInteger, without } from '../../src/allocation/intervals.ts'
import { type Pool, PoolTable } from '../../src/allocation/pool-table.ts'
import { Reserved, skippedOf } from '../../src/allocation/reserved.ts'
import { type Family, formatAddress, parseAddress } from '../../src/ip/address.ts'
import { pool, range } from './requests.ts'

const nothingReserved = new Reserved()

/** The next addresses that a pool gives, each held from then on. */
function given(table: PoolTable, from: Pool, family: Family, count: number): readonly string[] {
  const held = new Set<string>()
  for (let i = 0; i < count; i++) {
    const address = table.lowest(from, family, (each) => held.has(each))
    if (address === undefined) break
    held.add(address)
  }
  return [...held]
}

const ends = (place: string): readonly string[] => {
  const found = pool('p', [], { ranges: [range(place, true)] })
  return given(new PoolTable([found], nothingReserved), found, place.includes(':') ? 'ipv6' : 'ipv4', 8)
}

test('a range that spares its ends gives those between', () => {
  assert.deepEqual(ends('10.0.0.0/30'), ['10.0.0.1', '10.0.0.2'])
  assert.deepEqual(ends('10.0.0.0/29').length, 6)
  assert.deepEqual(ends('2001:db8::/126'), ['2001:db8::1', '2001:db8::2'])
})

test('a pool of 2^64 or of 2^96 addresses costs what its Services cost', () => {
  const huge = pool('huge', ['2001:db8::/64', 'fd00::/32'])
  const table = new PoolTable([huge], nothingReserved)
  assert.deepEqual(given(table, huge, 'ipv6', 3), ['2001:db8::', '2001:db8::1', '2001:db8::2'])
  assert.deepEqual(
    table.poolsOf('2001:db8::ffff:ffff:ffff:ffff').map(({ name }) => name),
    ['huge'],
  )
  assert.deepEqual(table.poolsOf('2001:db8:0:1::'), [])
})

test('what is reserved is stepped over at once, however large', () => {
  const wide = pool('wide', ['126.255.255.254-128.0.0.1'])
  const table = new PoolTable([wide], new Reserved([{ place: '128.0.0.0', reason: 'the address of node a' }]))
  assert.deepEqual(given(table, wide, 'ipv4', 9), ['126.255.255.254', '126.255.255.255', '128.0.0.1'])
  assert.deepEqual(
    [table.gives(wide, '127.0.0.1'), table.gives(wide, '128.0.0.0'), table.gives(wide, '128.0.0.1')],
    [false, false, true],
  )
})

test('addresses of special use are reserved, in both families', () => {
  for (const address of [
    '0.0.0.0',
    '0.1.2.3',
    '127.0.0.1',
    '127.255.255.255',
    '169.254.169.254',
    '224.0.0.5',
    '239.255.255.255',
    '240.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    '::ffff:10.0.0.1',
    'fe80::1',
    'febf::1',
    'ff02::1',
    'not an address',
  ])
    assert.notEqual(nothingReserved.reasonOf(address), undefined, address)
  for (const address of ['1.0.0.0', '126.255.255.255', '128.0.0.0', '169.253.0.1', '223.255.255.255', '192.0.2.1'])
    assert.equal(nothingReserved.reasonOf(address), undefined, address)
  for (const address of ['::2', '2001:db8::', 'fc00::1', 'fec0::1', '::fffe:10.0.0.1'])
    assert.equal(nothingReserved.reasonOf(address), undefined, address)
})

test('what a pool cannot give is named with its reason, and the list is bounded', () => {
  const reserved = new Reserved([
    { place: '10.0.0.9', reason: 'the address of node a' },
    { place: '10.1.0.0/16', reason: 'of pods on node a' },
    { place: 'a host name', reason: 'no address at all' },
  ])
  assert.deepEqual(skippedOf(pool('p', ['10.0.0.0-10.1.0.3']).ranges, reserved, 9), [
    '10.0.0.9 (the address of node a)',
    '10.1.0.0-10.1.0.3 (of pods on node a)',
  ])
  assert.deepEqual(skippedOf(pool('p', ['10.2.0.0/24']).ranges, reserved, 9), [])
  const many = new Reserved(Array.from({ length: 100 }, (_, i) => ({ place: `10.2.0.${i}`, reason: 'taken' })))
  assert.equal(skippedOf(pool('p', ['10.2.0.0/24']).ranges, many, 4).length, 4)
})

test('of the pools that contain an address the open ones come first, then the order of priority and age', () => {
  const table = new PoolTable(
    [
      pool('closed', ['10.0.0.0/24'], { closed: 'disabled' }),
      pool('later', ['10.0.0.0/24'], { priority: 5 }),
      pool('first', ['10.0.0.128/25']),
    ],
    nothingReserved,
  )
  assert.deepEqual(
    table.poolsOf('10.0.0.200').map(({ name }) => name),
    ['first', 'later', 'closed'],
  )
  assert.deepEqual(
    table.poolsOf('10.0.0.1').map(({ name }) => name),
    ['later', 'closed'],
  )
})

test('addresses are compared as values: any form of one is found', () => {
  const table = new PoolTable([pool('p', ['2001:db8::/64'])], nothingReserved)
  for (const form of ['2001:DB8:0:0:0:0:0:1', '2001:db8::1', '2001:0db8::0001'])
    assert.equal(table.poolsOf(form).length, 1)
})

test('whatever is given away and given back, in ranges that overlap: the lowest free address is next', () => {
  const step = fc.record({ back: fc.boolean(), pick: fc.nat(30) })
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(20), fc.nat(6)), { minLength: 1, maxLength: 4 }),
      fc.array(step, { maxLength: 60 }),
      (ranges, steps) => {
        const places = ranges.map(([first, size]) => `10.0.0.${first}-10.0.0.${first + size}`)
        const own = pool('p', places)
        const table = new PoolTable([own], nothingReserved)
        // In the order of ranges as they are written, which is the order of giving.
        const order = ranges.flatMap(([first, size]) =>
          Array.from({ length: size + 1 }, (_, i) => `10.0.0.${first + i}`),
        )
        const held = new Set<string>()
        for (const { back, pick } of steps) {
          const some = [...held][pick % Math.max(1, held.size)]
          if (back && some !== undefined) {
            held.delete(some)
            table.giveBack(some)
          } else {
            const found = table.lowest(own, 'ipv4', (each) => held.has(each))
            assert.equal(
              found,
              order.find((address) => !held.has(address)),
            )
            if (found !== undefined) held.add(found)
          }
        }
      },
    ),
    { numRuns: 200 },
  )
})

test('an index of intervals answers as a look at each of them would', () => {
  const interval = fc.tuple(fc.nat(60), fc.nat(20)).map(([first, size]) => ({
    family: 'ipv4' as const,
    first: BigInt(first),
    last: BigInt(first + size),
  }))
  fc.assert(
    fc.property(fc.array(interval, { maxLength: 12 }), fc.nat(90), (intervals, at) => {
      const value = BigInt(at)
      const index = new IntervalIndex(intervals)
      assert.deepEqual(
        index.at('ipv4', value),
        intervals.filter(({ first, last }) => first <= value && value <= last),
      )
      assert.deepEqual(index.at('ipv6', value), [])
    }),
  )
})

test('an interval without others has exactly the values that none of them has', () => {
  const interval = fc.tuple(fc.nat(30), fc.nat(12)).map(([first, size]) => ({
    family: 'ipv6' as const,
    first: BigInt(first),
    last: BigInt(first + size),
  }))
  const isIn = (value: number) => (each: { readonly first: bigint; readonly last: bigint }) =>
    each.first <= BigInt(value) && BigInt(value) <= each.last
  fc.assert(
    fc.property(interval, fc.array(interval, { maxLength: 5 }), (own, others) => {
      const left = without(own, others)
      for (let value = 0; value < 45; value++)
        assert.equal(left.some(isIn(value)), isIn(value)(own) && !others.some(isIn(value)))
    }),
  )
})

test('addresses and integers are each other, up to the last one', () => {
  for (const text of ['0.0.0.0', '255.255.255.255', '10.1.2.3', '::', '2001:db8::5', 'ffff::ffff']) {
    const address = parseAddress(text)
    if (address === undefined) throw new TypeError(text)
    assert.equal(formatAddress(fromInteger(toInteger(address), text.includes(':') ? 'ipv6' : 'ipv4')), text)
  }
})
