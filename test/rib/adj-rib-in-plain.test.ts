/** A table that takes UPDATEs as they lie against one that takes them decoded: the same, whatever comes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { PlainUpdate, readPlainUpdate } from '../../src/bgp/messages/plain-update.ts'
import { ipv4Unicast, ipv6Unicast, type CodecContext } from '../../src/bgp/messages/types.ts'
import { decodeUpdate, encodeUpdate } from '../../src/bgp/messages/update.ts'
import { type Prefix, prefixOf } from '../../src/ip/prefix.ts'
import { AdjRibIn } from '../../src/rib/adj-rib-in.ts'
import { PathShards } from '../../src/rib/path-shards.ts'
import { PathTable } from '../../src/rib/path-table.ts'

const ctx: CodecContext = {
  fourOctetAs: true,
  isExternal: true,
  families: [ipv4Unicast, ipv6Unicast],
  maxMessageBytes: 65_535,
  extendedNextHop: false,
  addPathReceive: [],
}

/** Few enough that they come again, of all lengths, and on both sides of 128.0.0.0. */
const prefix: fc.Arbitrary<Prefix> = fc
  .tuple(
    fc.constantFrom(0, 0x0a000000, 0x0a001000, 0x7fffff00, 0x80000000, 0xc0a80000, 0xffffff00),
    fc.nat({ max: 15 }),
  )
  .chain(([network, host]) =>
    fc.constantFrom(0, 1, 7, 8, 9, 16, 23, 24, 25, 31, 32).map((length) => prefixOf(network + host, length)),
  )

interface Said {
  readonly withdrawn: readonly Prefix[]
  readonly nlri: readonly Prefix[]
  readonly med: number
  readonly long: boolean
}

const said: fc.Arbitrary<Said> = fc
  .record({
    withdrawn: fc.array(prefix, { maxLength: 4 }),
    nlri: fc.array(prefix, { maxLength: 12 }),
    med: fc.nat({ max: 3 }),
    long: fc.boolean(),
  })
  .filter(({ withdrawn, nlri }) => withdrawn.length + nlri.length > 0)

function bodyOf({ withdrawn, nlri, med, long }: Said): Uint8Array {
  const communities = long ? { communities: Array.from({ length: 60 }, (_, i) => i) } : {}
  const attributes = { origin: 0, asPath: [{ type: 2, asns: [65_010] }], nextHop: 0x0a000001, med, ...communities }
  return encodeUpdate({ type: 'update', withdrawn, attributes: nlri.length === 0 ? {} : attributes, nlri }, ctx).slice(
    19,
  )
}

test('taken as it lies or decoded, an UPDATE makes the same table, and tells of the same prefixes', () => {
  fc.assert(
    fc.property(
      fc.array(said, { minLength: 1, maxLength: 40, size: 'max' }),
      fc.constantFrom(1_000, 12, 0),
      fc.constantFrom(1_000_000, 300, 0),
      fc.nat(),
      (all, maxPrefixes, maxAttributeBytes, seed) => {
        const options = { maxPrefixes, maxAttributeBytes, seed }
        const [plain, decoded] = [new AdjRibIn(options), new AdjRibIn(options)]
        const told: readonly [Prefix[], Prefix[]] = [[], []]
        for (const [i, one] of all.entries()) {
          const bytes = bodyOf(one)
          const update = readPlainUpdate(bytes, 0, bytes.length, ctx)
          const whole = decodeUpdate(bytes.slice(), ctx)
          assert.ok(update instanceof PlainUpdate && whole.ok)
          plain.apply(update, ctx, i * 1_000, (touched) => told[0].push(touched))
          // The buffer of the socket is read into again.
          bytes.fill(0)
          decoded.apply(whole.value, ctx, i * 1_000, (touched) => told[1].push(touched))
        }
        assert.deepEqual(told[0], told[1])
        assert.deepEqual([...plain.entries()], [...decoded.entries()])
        assert.deepEqual(
          [plain.count('ipv4'), plain.attributeSets, plain.isIncomplete, plain.bytes],
          [decoded.count('ipv4'), decoded.attributeSets, decoded.isIncomplete, decoded.bytes],
        )
      },
    ),
  )
})

test('nobody is told where nobody wants to know, and the table is the same', () => {
  const rib = new AdjRibIn()
  const bytes = bodyOf({
    withdrawn: [],
    nlri: [prefixOf(0xc0000200, 24), prefixOf(0xc0000200, 24)],
    med: 1,
    long: false,
  })
  const update = readPlainUpdate(bytes, 0, bytes.length, ctx) ?? assert.fail()
  rib.apply(update, ctx, 5_000)
  assert.deepEqual([rib.count('ipv4'), rib.attributeSets], [1, 1])
  rib.markStale()
  rib.sweepStale(ipv4Unicast)
  rib.sweep(Number.POSITIVE_INFINITY)
  assert.deepEqual([rib.count('ipv4'), rib.attributeSets], [0, 0], 'its set goes with the last of its paths')
})

test('an address and a length are put where their prefix is looked for, with a sign or without', () => {
  const address = fc.oneof(fc.nat({ max: 0xffffffff }), fc.constantFrom(0, 0x7fffffff, 0x80000000, 0xffffffff))
  fc.assert(
    fc.property(
      fc.array(fc.tuple(address, fc.nat({ max: 32 })), { maxLength: 300, size: 'max' }),
      fc.nat(),
      fc.constantFrom(PathTable, PathShards),
      (all, seed, Table) => {
        const [one, other] = [new Table(1, seed), new Table(1, seed)]
        for (const [i, [from, length]] of all.entries()) {
          const same = prefixOf(from, length)
          const network = Math.floor(Number(same) / 64)
          assert.equal(one.setIpv4(i % 2 === 0 ? network : network | 0, length, i, i), other.set(same, 0, i, i))
          assert.equal(one.find(same, 0), other.find(same, 0))
          assert.equal(one.blockAt(one.find(same, 0)), i)
        }
        assert.equal(one.size, other.size)
      },
    ),
  )
})
