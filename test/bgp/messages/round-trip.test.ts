/**
 * What is encoded comes back as it was: every message, every attribute, in both AS number widths, however it is cut.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type DecodedMessage, decodeMessage } from '../../../src/bgp/messages/decode.ts'
import { frameMessage } from '../../../src/bgp/messages/header.ts'
import { keepaliveBytes } from '../../../src/bgp/messages/keepalive.ts'
import { encodeNotification } from '../../../src/bgp/messages/notification.ts'
import { decodePrefixes, encodePrefixes } from '../../../src/bgp/messages/nlri.ts'
import { encodeOpen } from '../../../src/bgp/messages/open.ts'
import { encodeEndOfRib } from '../../../src/bgp/messages/pack.ts'
import { encodeRouteRefresh } from '../../../src/bgp/messages/route-refresh.ts'
import {
  type CodecContext,
  ipv4Unicast,
  ipv6Unicast,
  type Message,
  type OpenMessage,
} from '../../../src/bgp/messages/types.ts'
import { encodeUpdate } from '../../../src/bgp/messages/update.ts'
import { Reader } from '../../../src/bgp/messages/reader.ts'
import { Writer } from '../../../src/bgp/messages/writer.ts'
import { addressFromBytes, formatAddress } from '../../../src/ip/address.ts'
import { formatPrefix, parsePrefix } from '../../../src/ip/prefix.ts'
import {
  receivingContexts,
  ctxOf,
  notificationMessage,
  openMessage,
  routeRefreshMessage,
  updateOf,
} from './arbitraries.ts'

/** The one message that `bytes` are, which must decode without a problem. */
function decoded(bytes: Uint8Array, ctx: CodecContext = ctxOf()): Message {
  return decodedWhole(bytes, ctx).message
}

function decodedWhole(bytes: Uint8Array, ctx: CodecContext): DecodedMessage {
  const frame = frameMessage(bytes, 0, bytes.length, ctx.maxMessageBytes)
  assert.ok(frame.kind === 'frame', JSON.stringify(frame))
  assert.equal(frame.length, bytes.length)
  const result = decodeMessage(frame.type, frame.body, ctx)
  assert.ok(result.ok, JSON.stringify(result))
  assert.deepEqual(result.value.problems, [])
  return result.value
}

const openWith = (capabilities: OpenMessage['capabilities']): OpenMessage => ({
  type: 'open',
  version: 4,
  myAs: 65010,
  holdTimeSec: 90,
  bgpId: 0x0a000001,
  capabilities,
})

test('an OPEN with any capabilities comes back as it was (RFC 4271 4.2, RFC 5492)', () => {
  fc.assert(fc.property(openMessage, (open) => assert.deepEqual(decoded(encodeOpen(open)), open)))
})

test('an OPEN changes to extended optional parameters where they no longer fit in one octet (RFC 9072)', () => {
  for (const size of [0, 1, 250, 251, 252, 253, 254, 255]) {
    const open = openWith([{ type: 'unknown', code: 200, value: new Uint8Array(size).fill(7) }])
    const bytes = encodeOpen(open)
    assert.deepEqual(decoded(bytes), open)
    // Two octets of capability head and two of parameter head go with the value.
    assert.equal(bytes[29] === 255, size + 4 >= 255, `${size} octets`)
  }
  const many = openWith(Array.from({ length: 60 }, (_, afi) => ({ type: 'multiprotocol', family: { afi, safi: 1 } })))
  assert.deepEqual(decoded(encodeOpen(many)), many)
})

test(
  'an UPDATE with any attributes comes back as it was, with two-octet and four-octet ASes (RFC 4271 4.3, RFC ' +
    '4760, RFC 6793)',
  () => {
    const cases = receivingContexts.chain((ctx) => updateOf(ctx).map((update) => ({ ctx, update })))
    fc.assert(
      fc.property(cases, ({ ctx, update }) => assert.deepEqual(decoded(encodeUpdate(update, ctx), ctx), update)),
      { numRuns: 500 },
    )
  },
)

test('an AS_PATH segment of more than 255 ASes is sent as two (RFC 4271 4.3)', () => {
  const asns = Array.from({ length: 300 }, (_, i) => 64512 + i)
  for (const fourOctetAs of [true, false]) {
    const ctx = ctxOf({ fourOctetAs })
    const message = decoded(
      encodeUpdate(
        {
          type: 'update',
          withdrawn: [],
          attributes: { origin: 0, asPath: [{ type: 2, asns }], nextHop: 0x0a000001 },
          nlri: [0x0a000000 * 64 + 8],
        },
        ctx,
      ),
      ctx,
    )
    assert.ok(message.type === 'update')
    assert.deepEqual(
      message.attributes.asPath?.map(({ asns: part }) => part.length),
      [255, 45],
    )
    assert.deepEqual(
      message.attributes.asPath.flatMap((segment) => segment.asns),
      asns,
    )
  }
})

test('a NOTIFICATION comes back as it was (RFC 4271 4.5)', () => {
  fc.assert(
    fc.property(notificationMessage, (notification) =>
      assert.deepEqual(decoded(encodeNotification(notification)), notification),
    ),
  )
})

test('a ROUTE-REFRESH comes back as it was (RFC 2918, RFC 7313)', () => {
  fc.assert(
    fc.property(routeRefreshMessage, (refresh) => assert.deepEqual(decoded(encodeRouteRefresh(refresh)), refresh)),
  )
})

test('End-of-RIB is what RFC 4724 2 says, octet for octet, and reads as one', () => {
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
  assert.equal(hex(encodeEndOfRib(ipv4Unicast)), `${'ff'.repeat(16)}00170200000000`)
  assert.equal(hex(encodeEndOfRib(ipv6Unicast)), `${'ff'.repeat(16)}001d0200000006800f03000201`)
  for (const family of [ipv4Unicast, ipv6Unicast])
    assert.deepEqual(decodedWhole(encodeEndOfRib(family), ctxOf()).endOfRib, { ...family })
})

test('a stream of messages reads the same wherever it is cut', () => {
  const ctx = ctxOf()
  const update = fc
    .sample(updateOf(ctx), { numRuns: 8, seed: 4271 })
    .map((message) => encodeUpdate(message, ctx))
    .filter((bytes) => bytes.length <= 600)
  const messages = [
    encodeOpen(openWith([])),
    keepaliveBytes,
    ...update,
    encodeRouteRefresh({ type: 'routeRefresh', family: ipv6Unicast, subtype: 0 }),
    encodeEndOfRib(ipv4Unicast),
    encodeNotification({ code: 6, subcode: 2, data: Uint8Array.of(0) }),
  ]
  const stream = Uint8Array.from(messages.flatMap((message) => [...message]))
  assert.ok(messages.length > 6)
  for (let cut = 0; cut <= stream.length; cut++) {
    // A receive buffer is longer than what has arrived; what lies beyond must not be looked at.
    const buffer = new Uint8Array(stream.length + 8)
    buffer.set(stream.subarray(0, cut))
    let at = 0
    let count = 0
    for (;;) {
      const frame = frameMessage(buffer, at, cut, ctx.maxMessageBytes)
      if (frame.kind === 'more') break
      assert.ok(frame.kind === 'frame', `cut at ${cut}: ${JSON.stringify(frame)}`)
      assert.deepEqual(buffer.subarray(at, at + frame.length), messages[count])
      at += frame.length
      count++
    }
    assert.ok(cut - at < (messages[count]?.length ?? 1), `cut at ${cut}: a whole message was not seen`)
  }
})

test('no decoded value is a view of the receive buffer', () => {
  const ctx = ctxOf()
  const samples = [
    encodeOpen(openWith([{ type: 'unknown', code: 200, value: Uint8Array.of(1, 2, 3) }])),
    encodeUpdate(
      {
        type: 'update',
        withdrawn: [],
        attributes: {
          origin: 0,
          asPath: [],
          nextHop: 0x0a000001,
          unknown: [{ flags: 0xc0, type: 99, value: Uint8Array.of(1, 2, 3) }],
        },
        nlri: [0x0a000000 * 64 + 8],
      },
      ctx,
    ),
    encodeNotification({ code: 6, subcode: 2, data: Uint8Array.of(3, 65, 66, 67) }),
  ]
  for (const bytes of samples) {
    const before = decoded(bytes, ctx)
    const text = JSON.stringify(before)
    bytes.fill(0)
    assert.equal(JSON.stringify(before), text)
  }
})

test('prefixes are what their octets say, bits beyond the length cleared, whatever stands beside them (RFC 4271 4.3)', () => {
  const written = fc
    .record({ length: fc.integer({ min: 0, max: 128 }), octets: fc.uint8Array({ minLength: 16, maxLength: 16 }) })
    .map(({ length, octets }) => ({ length, octets: octets.subarray(0, Math.ceil(length / 8)) }))
  fc.assert(
    fc.property(fc.array(written, { maxLength: 40 }), fc.constantFrom(1, 2), (all, afi) => {
      const list = all.filter(({ length }) => afi === 2 || length <= 32)
      const bytes = Uint8Array.from(list.flatMap(({ length, octets }) => [length, ...octets]))
      const found = decodePrefixes(new Reader(bytes), afi)
      assert.ok(typeof found !== 'string')
      const expected = list.map(({ length, octets }) => {
        const address = new Uint8Array(afi === 1 ? 4 : 16)
        // Bit by bit, as the figure has it.
        for (let bit = 0; bit < length; bit++) {
          const octet = bit >> 3
          address[octet] = (address[octet] ?? 0) | ((octets[octet] ?? 0) & (0x80 >> (bit & 7)))
        }
        return `${formatAddress(addressFromBytes(address))}/${length}`
      })
      assert.deepEqual(found.prefixes.map(formatPrefix), expected)
      assert.deepEqual(
        found.prefixes,
        expected.map((text) => parsePrefix(text)),
      )
      const out = new Writer()
      encodePrefixes(found, out)
      const again = decodePrefixes(new Reader(out.finish()), afi)
      assert.deepEqual(again, found)
    }),
  )
})
