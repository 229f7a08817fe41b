/** Routes as they are shown: each its own, though what many have in common is made once. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { serialize } from 'node:v8'
import type { PathAttributes } from '../../src/bgp/messages/types.ts'
import { parsePrefix, type Prefix } from '../../src/ip/prefix.ts'
import { pathSnapshot } from '../../src/speaker/route-snapshot.ts'
import { neighborOf } from './pair.ts'

const neighbor = neighborOf(65_001, 65_002, '192.0.2.1')
const prefix = (text: string): Prefix => parsePrefix(text) ?? assert.fail(text)
const plain: PathAttributes = {
  origin: 0,
  asPath: [{ type: 2, asns: [65_002, 65_010] }],
  nextHop: 0xc0000201,
  communities: [(65_002 << 16) >>> 0, 0xffff0000],
}
const rich: PathAttributes = {
  origin: 2,
  asPath: [{ type: 2, asns: [65_003] }],
  nextHop: 0xc0000202,
  med: 0,
  localPref: 300,
  largeCommunities: [[65_003, 1, 2]],
  extendedCommunities: ['0002fde800000064'],
}

test('of sets and times that alternate each route shows its own', () => {
  const shown = [plain, rich, rich, plain].map((attributes, i) =>
    pathSnapshot(neighbor, prefix(`198.51.100.${i}/32`), {
      attributes,
      at: i < 3 ? 1_000 * i : 0,
      ...(i === 2 ? { pathId: 7, isStale: true } : {}),
    }),
  )
  const common = { peer: neighbor.id, virtualRouter: neighbor.virtualRouter }
  const plainRoute = {
    ...{ ...common, nextHop: '192.0.2.1', origin: 'IGP', asPath: '65002 65010' },
    ...{ communities: ['65002:0', 'graceful-shutdown'], largeCommunities: [], extendedCommunities: [] },
  }
  const richRoute = {
    ...{ ...common, nextHop: '192.0.2.2', origin: 'INCOMPLETE', asPath: '65003', med: 0, localPreference: 300 },
    ...{ communities: [], largeCommunities: ['65003:1:2'], extendedCommunities: ['0002fde800000064'] },
  }
  assert.deepEqual(shown, [
    { ...plainRoute, prefix: '198.51.100.0/32', since: '1970-01-01T00:00:00.000Z' },
    { ...richRoute, prefix: '198.51.100.1/32', since: '1970-01-01T00:00:01.000Z' },
    { ...richRoute, prefix: '198.51.100.2/32', since: '1970-01-01T00:00:02.000Z', pathId: 7, stale: true },
    { ...plainRoute, prefix: '198.51.100.3/32', since: '1970-01-01T00:00:00.000Z' },
  ])
})

test('a path without any attribute is shown with nothing', () => {
  const { nextHop, asPath, communities, med } = pathSnapshot(neighbor, prefix('2001:db8::/32'), {
    attributes: {},
    at: 0,
  })
  assert.deepEqual([nextHop, asPath, communities, med], ['', '', [], undefined])
})

test('of routes that follow each other with one set, what is shown of it goes to the other thread once', () => {
  const communities = Array.from({ length: 40 }, (_, i) => ((65_002 << 16) | i) >>> 0)
  const answer = (sets: readonly PathAttributes[]): number =>
    serialize(sets.map((attributes, i) => pathSnapshot(neighbor, prefix(`198.51.100.${i}/32`), { attributes, at: 0 })))
      .length
  const shared = { ...plain, communities }
  const one = answer([shared])
  const five = answer([shared, shared, shared, shared, shared])
  const apart = answer(Array.from({ length: 5 }, () => ({ ...shared })))
  assert.ok(apart > 4 * one, `${apart} octets, ${one} for one`)
  assert.ok(five < 2.5 * one, `${five} octets, ${one} for one`)
})
