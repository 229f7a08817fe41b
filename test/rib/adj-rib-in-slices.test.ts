/** Adj-RIB-In while something goes over it in slices: refreshes, restarts, walks, and its bounds. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type CodecContext, ipv4Unicast, ipv6Unicast } from '../../src/bgp/messages/types.ts'
import { decodeUpdate, encodeUpdate } from '../../src/bgp/messages/update.ts'
import { type Prefix, prefixOf } from '../../src/ip/prefix.ts'
import { AdjRibIn } from '../../src/rib/adj-rib-in.ts'

const codec: CodecContext = {
  fourOctetAs: true,
  isExternal: true,
  families: [ipv4Unicast, ipv6Unicast],
  maxMessageBytes: 65_535,
  extendedNextHop: false,
  addPathReceive: [],
}
const everything = Number.POSITIVE_INFINITY
const hosts = (from: number, to: number): readonly Prefix[] =>
  Array.from({ length: to - from }, (_, i) => prefixOf(0x0a000000 + from + i, 32))

function say(rib: AdjRibIn, announced: readonly Prefix[], withdrawn: readonly Prefix[] = [], med = 0): void {
  const attributes = { origin: 0, asPath: [{ type: 2, asns: [65_001] }], nextHop: 0x0a000001, med }
  const update = { type: 'update', withdrawn, attributes, nlri: announced } as const
  const decoded = decodeUpdate(encodeUpdate(update, codec).subarray(19), codec)
  if (!decoded.ok) return assert.fail(decoded.fault.reason)
  rib.apply(decoded.value, codec, 1)
}

const held = (rib: AdjRibIn): readonly Prefix[] => [...rib.entries()].map(([prefix]) => prefix).sort()

/** Slices until nothing is due; answers the prefixes that went, and how many slices it took. */
function sweep(rib: AdjRibIn, slots: number, between: (slice: number) => void = () => {}) {
  const gone: Prefix[] = []
  let slices = 0
  for (; rib.isSweepDue; slices++) {
    assert.ok(slices < 100_000, 'a removal comes to an end')
    const before = gone.length
    rib.sweep(slots, (prefix) => gone.push(prefix))
    assert.ok(gone.length - before <= slots)
    between(slices)
  }
  return { gone, slices }
}

test('what a refresh left over goes in slices, each prefix once, and what comes meanwhile stays (RFC 7313 4)', () => {
  const rib = new AdjRibIn({ seed: 9 })
  say(rib, hosts(0, 5_000))
  rib.beginRefresh(ipv4Unicast)
  say(rib, hosts(0, 100))
  rib.endRefresh(ipv4Unicast)
  assert.equal(rib.count('ipv4'), 5_000, 'nothing goes before there is time for it')
  const { gone, slices } = sweep(rib, 64, (slice) => {
    if (slice < 50) say(rib, [prefixOf(0x0a000000 + 4_999 - slice, 32)], [prefixOf(0x0a000000 + slice, 32)])
  })
  assert.ok(slices > 50)
  assert.equal(new Set(gone).size, gone.length)
  assert.deepEqual(held(rib), [...hosts(50, 100), ...hosts(4_950, 5_000)].sort())
  assert.equal(rib.count('ipv4'), 100)
})

test('a BoRR while what the last one left over is removed marks the rest anew, and takes nothing with it', () => {
  const rib = new AdjRibIn({ seed: 9 })
  say(rib, hosts(0, 1_000))
  rib.beginRefresh(ipv4Unicast)
  say(rib, hosts(0, 500))
  rib.endRefresh(ipv4Unicast)
  rib.sweep(32)
  rib.beginRefresh(ipv4Unicast)
  sweep(rib, 32)
  assert.deepEqual(held(rib), [...hosts(0, 500)].sort(), 'what the second one has marked is not gone before its EoRR')
  say(rib, hosts(0, 10))
  rib.endRefresh(ipv4Unicast)
  sweep(rib, 32)
  assert.deepEqual(held(rib), [...hosts(0, 10)].sort())
})

test('a session that is lost within a refresh ends the refresh, not the routes (RFC 4724 4.2)', () => {
  const rib = new AdjRibIn()
  say(rib, hosts(0, 10))
  rib.beginRefresh(ipv4Unicast)
  rib.markStale()
  rib.endRefresh(ipv4Unicast)
  assert.equal(rib.isSweepDue, false, 'an EoRR of the next session ends nothing')
  say(rib, hosts(0, 4))
  rib.sweepStale(ipv6Unicast)
  sweep(rib, everything)
  assert.equal(rib.count('ipv4'), 10, 'End-of-RIB of one family leaves the other alone')
  assert.equal([...rib.entries()].filter(([, { isStale }]) => isStale).length, 6)
  rib.sweepStale(ipv4Unicast)
  sweep(rib, everything)
  assert.deepEqual(held(rib), [...hosts(0, 4)].sort())
})

test('a table that is thrown away is empty at once, and whoever walks it comes to an end', () => {
  const rib = new AdjRibIn()
  say(rib, hosts(0, 1_000))
  const walk = rib.prefixes()
  walk.next()
  rib.beginRefresh(ipv4Unicast)
  rib.endRefresh(ipv4Unicast)
  rib.clear()
  assert.deepEqual([rib.count('ipv4'), rib.attributeSets, rib.isSweepDue, rib.isIncomplete], [0, 0, false, false])
  assert.ok([...walk].length <= 1_000)
  say(rib, hosts(0, 1))
  assert.equal(rib.count('ipv4'), 1)
})

test('what a table had is given back when it is thrown away, not when the engine next collects', () => {
  const rib = new AdjRibIn()
  for (let med = 0; med < 60; med++) say(rib, hosts(med * 2_000, (med + 1) * 2_000), [], med)
  const [{ arrayBuffers: before }, bytes] = [process.memoryUsage(), rib.bytes]
  assert.ok(bytes > 1_000_000)
  rib.clear()
  // As garbage it lay beside the table of the next session.
  assert.ok(before - process.memoryUsage().arrayBuffers > bytes * 0.95)
})

const change = fc.record({
  host: fc.nat({ max: 60 }),
  isAnnounced: fc.boolean(),
  steps: fc.nat({ max: 30 }),
})

test('a walk misses nothing that is there all along, whatever is announced and withdrawn meanwhile', () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 80, size: 'max' }), fc.nat(), (changes, seed) => {
      const rib = new AdjRibIn({ seed })
      // These stay; those below 100 come and go, and make the table larger and smaller.
      const fixed = hosts(100, 140)
      say(rib, fixed)
      const seen = new Set<Prefix>()
      const walk = rib.prefixes()
      for (const { host, isAnnounced, steps } of changes) {
        const prefixes = hosts(host, host + 20)
        if (isAnnounced) say(rib, prefixes)
        else say(rib, [], prefixes)
        for (let i = 0; i < steps; i++) {
          const { value } = walk.next()
          if (value !== undefined) seen.add(value)
        }
      }
      for (const prefix of walk) seen.add(prefix)
      for (const prefix of fixed) assert.ok(seen.has(prefix))
    }),
  )
})

test('what has no room is counted as long as it is announced, and what has room is there', () => {
  const step = fc.record({ host: fc.nat({ max: 9 }), isAnnounced: fc.boolean() })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const rib = new AdjRibIn({ maxPrefixes: 6 })
      const announced = new Set<number>()
      for (const { host, isAnnounced } of steps) {
        // Said twice it would count twice where there is no room.
        if (isAnnounced === announced.has(host)) continue
        if (isAnnounced) announced.add(host)
        else announced.delete(host)
        say(rib, isAnnounced ? hosts(host, host + 1) : [], isAnnounced ? [] : hosts(host, host + 1))
        assert.ok(held(rib).length <= 6)
        assert.ok(rib.count('ipv4') <= announced.size)
        if (!rib.isIncomplete) assert.deepEqual(held(rib), [...announced].flatMap((one) => hosts(one, one + 1)).sort())
      }
    }),
  )
})
