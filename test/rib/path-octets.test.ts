/** What is packed of an Adj-RIB-In is read as what lies in it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type CodecContext, ipv4Unicast, ipv6Unicast, type PathAttributes } from '../../src/bgp/messages/types.ts'
import { decodeUpdate, encodeUpdate } from '../../src/bgp/messages/update.ts'
import type { Family } from '../../src/ip/address.ts'
import { formatPrefix, type Prefix, prefixFamily, prefixOf } from '../../src/ip/prefix.ts'
import { AdjRibIn, type ReceivedPath } from '../../src/rib/adj-rib-in.ts'
import { Slots } from '../../src/rib/columns.ts'
import { PathOctets, readPaths } from '../../src/rib/path-octets.ts'

const multipath: CodecContext = {
  fourOctetAs: true,
  isExternal: true,
  families: [ipv4Unicast, ipv6Unicast],
  maxMessageBytes: 65_535,
  extendedNextHop: false,
  addPathReceive: [ipv4Unicast, ipv6Unicast],
}
const shortAses: CodecContext = { ...multipath, fourOctetAs: false }
const v6NextHop = String.fromCharCode(0x20, 1, 0xd, 0xb8, ...Array.from({ length: 11 }, () => 0), 9)

function announce(rib: AdjRibIn, prefix: Prefix, pathId: number, set: number, ctx: CodecContext, now: number): void {
  const attributes: PathAttributes = {
    origin: set % 3,
    asPath: [{ type: 2, asns: [65_001, set] }],
    // Sets of other lengths, beyond what is copied octet by octet.
    communities: Array.from({ length: set % 50 }, (_, i) => i),
  }
  const update =
    prefixFamily(prefix) === 'ipv4'
      ? { attributes: { ...attributes, nextHop: 0x0a000001 }, nlri: [prefix], nlriPathIds: [pathId] }
      : {
          attributes,
          nlri: [],
          mpReach: { family: ipv6Unicast, nextHop: v6NextHop, prefixes: [prefix], pathIds: [pathId] },
        }
  const decoded = decodeUpdate(encodeUpdate({ type: 'update', withdrawn: [], ...update }, ctx).subarray(19), ctx)
  if (!decoded.ok) return assert.fail(decoded.fault.reason)
  rib.apply(decoded.value, ctx, now)
}

type Found = readonly [Prefix, ReceivedPath]
const inOrder = (all: Iterable<Found>): readonly Found[] =>
  [...all].sort(
    ([a, { pathId: x = 0 }], [b, { pathId: y = 0 }]) => formatPrefix(a).localeCompare(formatPrefix(b)) || x - y,
  )

/** Place by place. */
function packed(rib: AdjRibIn, family: Family): PathOctets {
  const [here, all] = [new Slots(), new PathOctets(family)]
  let cursor = 0
  do {
    here.clear()
    cursor = rib.place(family, cursor, here)
    for (let i = 0; i < here.count; i++) {
      assert.equal(rib.slotOf(rib.keyAt(family, here.at(i))), here.at(i))
      rib.pack(family, here.at(i), all, all.count > 0)
    }
  } while (cursor !== 0)
  return all
}

function read(rib: AdjRibIn, family: Family): readonly Found[] {
  const found: Found[] = []
  const { octets, count } = packed(rib, family)
  const end = readPaths(octets, 0, count, family, rib.contexts, (prefix, path) => found.push([prefix, path]))
  assert.equal(end, octets.length)
  return found
}

test('paths that are packed are read as they are: prefix, attributes, time, identifier, and whether they are stale', () => {
  const octets16 = fc.array(fc.integer({ min: 0, max: 255 }), { minLength: 16, maxLength: 16 })
  const prefixes = fc.oneof(
    fc.tuple(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.integer({ min: 0, max: 32 })).map(([a, l]) => prefixOf(a, l)),
    fc.tuple(octets16, fc.integer({ min: 0, max: 128 })).map(([o, l]) => prefixOf(String.fromCharCode(...o), l)),
  )
  const one = fc.record({
    prefix: prefixes,
    pathId: fc.constantFrom(0, 1, 2 ** 32 - 1),
    set: fc.integer({ min: 0, max: 120 }),
    ctx: fc.constantFrom(multipath, shortAses),
    sec: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  })
  fc.assert(
    fc.property(fc.array(one, { maxLength: 40 }), fc.array(one, { maxLength: 10 }), (before, after) => {
      const rib = new AdjRibIn({ seed: 7 })
      for (const { prefix, pathId, set, ctx, sec } of before) announce(rib, prefix, pathId, set, ctx, sec * 1000)
      rib.markStale()
      for (const { prefix, pathId, set, ctx, sec } of after) announce(rib, prefix, pathId, set, ctx, sec * 1000)
      const all = inOrder([...read(rib, 'ipv4'), ...read(rib, 'ipv6')])
      assert.deepEqual(all, inOrder(rib.entries()))
    }),
    { numRuns: 200 },
  )
})

test('of paths that follow each other with one set, its octets are packed once', () => {
  const octetsOf = (sets: readonly number[]): number => {
    const rib = new AdjRibIn()
    for (const [i, set] of sets.entries()) announce(rib, prefixOf(i * 256, 24), 0, set, multipath, 0)
    return packed(rib, 'ipv4').length
  }
  const one = octetsOf([49])
  assert.ok(octetsOf([49, 49, 49, 49, 49]) < 1.5 * one, 'five with one set')
  assert.ok(octetsOf([49, 99, 149, 199, 249]) === 5 * one, 'five with sets of the same length')
})
