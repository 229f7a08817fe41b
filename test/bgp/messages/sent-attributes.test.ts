/**
 * What goes out beside the plain values: what must not be sent, what must be added for a two-octet speaker, what does
 * not fit.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Prefix } from '../../../src/ip/prefix.ts'
import { decodeMessage } from '../../../src/bgp/messages/decode.ts'
import { formatAsPath, formatCommunity } from '../../../src/bgp/messages/format.ts'
import { frameMessage } from '../../../src/bgp/messages/header.ts'
import { packAnnouncements } from '../../../src/bgp/messages/pack.ts'
import {
  type CodecContext,
  ipv4Unicast,
  ipv6Unicast,
  type PathAttributes,
  type UpdateMessage,
} from '../../../src/bgp/messages/types.ts'
import { encodeAttributes, encodeUpdate } from '../../../src/bgp/messages/update.ts'
import { addressFromBytes } from '../../../src/ip/address.ts'
import { prefixOf } from '../../../src/ip/prefix.ts'
import { ctxOf } from './arbitraries.ts'

const route: PathAttributes = { origin: 0, asPath: [{ type: 2, asns: [65010] }], nextHop: 0x0a000001 }
const prefix: Prefix = prefixOf(0x0a640000, 24)

function decoded(bytes: Uint8Array, ctx: CodecContext): UpdateMessage[] {
  const all: UpdateMessage[] = []
  for (let at = 0; at < bytes.length; ) {
    const frame = frameMessage(bytes, at, bytes.length, ctx.maxMessageBytes)
    assert.ok(frame.kind === 'frame', JSON.stringify(frame))
    const result = decodeMessage(frame.type, frame.body, ctx)
    assert.ok(result.ok && result.value.message.type === 'update', JSON.stringify(result))
    assert.deepEqual(result.value.problems, [])
    all.push(result.value.message)
    at += frame.length
  }
  return all
}

const sent = (attributes: PathAttributes, ctx: CodecContext): PathAttributes | undefined =>
  decoded(encodeUpdate({ type: 'update', withdrawn: [], attributes, nlri: [prefix] }, ctx), ctx)[0]?.attributes

test('LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST do not leave the AS (RFC 4271 5.1.5, RFC 4456 8)', () => {
  const inside = { ...route, localPref: 200, originatorId: 1, clusterList: [1] }
  assert.deepEqual(sent(inside, ctxOf({ isExternal: true })), route)
  assert.deepEqual(sent(inside, ctxOf({ isExternal: false })), inside)
})

/** Values of the attributes 17 and 18 as they go out, hexadecimal. */
function as4Of(attributes: PathAttributes, ctx: CodecContext): readonly (readonly [number, string])[] {
  const block = encodeAttributes(attributes, ctx)
  const found: (readonly [number, string])[] = []
  for (let at = 0; at < block.length; at += 3 + (block[at + 2] ?? 0)) {
    const type = block[at + 1] ?? 0
    if (type === 17 || type === 18)
      found.push([type, Buffer.from(block.subarray(at + 3, at + 3 + (block[at + 2] ?? 0))).toString('hex')])
  }
  return found
}

test(
  'a two-octet speaker gets AS_TRANS, and the large ASes in AS4_PATH and AS4_AGGREGATOR, which put together ' +
    'are the same (RFC 6793 4.2.2, 4.2.3)',
  () => {
    const large: PathAttributes = {
      ...route,
      asPath: [
        { type: 2, asns: [4200000001, 65010] },
        { type: 1, asns: [65020] },
      ],
      aggregator: { asn: 4200000001, address: 0x0a000001 },
    }
    const old = ctxOf({ fourOctetAs: false })
    assert.deepEqual(as4Of(large, old), [
      [17, '0202fa56ea010000fdf201010000fdfc'],
      [18, 'fa56ea010a000001'],
    ])
    assert.deepEqual(sent(large, old), large)
    assert.deepEqual(sent(large, ctxOf({ fourOctetAs: true })), large)
  },
)

test('AS4_PATH is left out where every AS fits, and of a confederation (RFC 6793 3, 4.2.2)', () => {
  assert.deepEqual(as4Of(route, ctxOf({ fourOctetAs: false })), [])
  const inside = ctxOf({ fourOctetAs: false, isExternal: false })
  const asPath = [
    { type: 3, asns: [4200000009] },
    { type: 2, asns: [4200000001] },
  ]
  assert.deepEqual(as4Of({ ...route, localPref: 100, asPath }, inside), [[17, '0201fa56ea01']])
  assert.deepEqual(as4Of({ ...route, localPref: 100, asPath: asPath.slice(0, 1) }, inside), [])
})

test('attributes are sent in ascending order of their type (RFC 4271 5)', () => {
  const all: PathAttributes = {
    largeCommunities: [[1, 2, 3]],
    extendedCommunities: ['0002fde800000064'],
    communities: [1],
    aggregator: { asn: 4200000001, address: 1 },
    atomicAggregate: true,
    med: 1,
    nextHop: 0x0a000001,
    asPath: [{ type: 2, asns: [4200000001] }],
    origin: 0,
  }
  const block = encodeAttributes(all, ctxOf({ fourOctetAs: false }))
  const types: number[] = []
  for (let at = 0; at < block.length; at += 3 + (block[at + 2] ?? 0)) types.push(block[at + 1] ?? 0)
  assert.deepEqual(types, [1, 2, 3, 4, 6, 7, 8, 16, 17, 18, 32])
})

test('a route whose attributes leave no room is withdrawn, never sent in a message that is too long (RFC 4271 9.2)', () => {
  const long: PathAttributes = { ...route, communities: Array.from({ length: 1100 }, (_, i) => i) }
  const packed = packAnnouncements(long, [prefix], ipv4Unicast, ctxOf())
  assert.deepEqual(packed.tooLarge, [prefix])
  assert.deepEqual(decoded(packed.bytes, ctxOf()), [{ type: 'update', withdrawn: [prefix], attributes: {}, nlri: [] }])
  assert.equal(packed.count, 1)
  const extended = packAnnouncements(long, [prefix], ipv4Unicast, ctxOf({ maxMessageBytes: 65535 }))
  assert.deepEqual(
    [extended.tooLarge, decoded(extended.bytes, ctxOf({ maxMessageBytes: 65535 }))[0]?.nlri],
    [[], [prefix]],
  )
})

test('at every length of attributes, each prefix is announced or withdrawn, exactly once', () => {
  const nextHop = addressFromBytes(Uint8Array.of(0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1))
  const prefixes = [128, 64, 48, 8, 0].map((length) => prefixOf(nextHop, length))
  const outcomes = new Set<number>()
  for (let octets = 3950; octets < 4060; octets++) {
    const attributes: PathAttributes = {
      ...route,
      nextHop,
      unknown: [{ flags: 0xc0, type: 99, value: new Uint8Array(octets) }],
    }
    const { bytes, tooLarge } = packAnnouncements(attributes, prefixes, ipv6Unicast, ctxOf())
    const updates = decoded(bytes, ctxOf())
    const announced = updates.flatMap(({ mpReach }) => mpReach?.prefixes ?? [])
    assert.deepEqual(
      updates.flatMap(({ mpUnreach }) => mpUnreach?.prefixes ?? []),
      tooLarge,
    )
    assert.deepEqual([...tooLarge, ...announced], prefixes)
    outcomes.add(tooLarge.length)
  }
  assert.deepEqual([...outcomes].sort(), [0, 1, 2, 3, 4, 5])
})

test('attributes are shown as people write them', () => {
  assert.equal(
    formatAsPath([
      { type: 3, asns: [65100] },
      { type: 4, asns: [65101, 65102] },
      { type: 2, asns: [65001, 65002] },
      { type: 1, asns: [65003, 65004] },
    ]),
    '(65100) [65101 65102] 65001 65002 {65003 65004}',
  )
  assert.equal(formatAsPath([]), '')
  assert.deepEqual([0xfde80064, 0xffffff01, 0xffff0000].map(formatCommunity), [
    '65000:100',
    'no-export',
    'graceful-shutdown',
  ])
})
