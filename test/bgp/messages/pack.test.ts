/** Many prefixes with one attribute set become few messages, none too long, and together exactly what was asked for. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Prefix, prefixLength } from '../../../src/ip/prefix.ts'
import { decodeMessage } from '../../../src/bgp/messages/decode.ts'
import { frameMessage } from '../../../src/bgp/messages/header.ts'
import { encodeAttributes } from '../../../src/bgp/messages/update.ts'
import { packAnnouncements, packWithdrawals, type Packed } from '../../../src/bgp/messages/pack.ts'
import {
  type CodecContext,
  ipv4Unicast,
  ipv6Unicast,
  type PathAttributes,
  type UpdateMessage,
} from '../../../src/bgp/messages/types.ts'
import { addressFromBytes } from '../../../src/ip/address.ts'
import { attributesOf, contexts, ctxOf, ipv4Prefix, ipv6Prefix } from './arbitraries.ts'

const nextHop4 = 0x0a000001
const nextHop6 = addressFromBytes(Uint8Array.of(0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1))

/** The UPDATEs of a packed buffer, each within the negotiated length and without a problem. */
function updatesOf({ bytes, count }: Packed, ctx: CodecContext): UpdateMessage[] {
  const updates: UpdateMessage[] = []
  let at = 0
  while (at < bytes.length) {
    const frame = frameMessage(bytes, at, bytes.length, ctx.maxMessageBytes)
    assert.ok(frame.kind === 'frame', JSON.stringify(frame))
    const result = decodeMessage(frame.type, frame.body, ctx)
    assert.ok(result.ok && result.value.message.type === 'update', JSON.stringify(result))
    assert.deepEqual(result.value.problems, [])
    updates.push(result.value.message)
    at += frame.length
  }
  assert.equal(updates.length, count)
  return updates
}

/** Whether a message holds a prefix beside so many octets of attributes (RFC 4271 4.1, 4.3). */
const whatFits =
  (attributeBytes: number, { maxMessageBytes }: CodecContext): ((prefix: Prefix) => boolean) =>
  (prefix) =>
    19 + 2 + 2 + attributeBytes + 1 + Math.ceil(prefixLength(prefix) / 8) <= maxMessageBytes

/** The UPDATEs that announce; those behind them withdraw what fits into none (RFC 4271 9.2). */
function announced(
  packed: Packed,
  prefixes: readonly Prefix[],
  fits: (prefix: Prefix) => boolean,
  ctx: CodecContext,
): UpdateMessage[] {
  const updates = updatesOf(packed, ctx)
  const isWithdrawal = ({ withdrawn, mpUnreach }: UpdateMessage): boolean =>
    withdrawn.length > 0 || mpUnreach !== undefined
  const tooLarge = prefixes.filter((prefix) => !fits(prefix))
  assert.deepEqual(packed.tooLarge, tooLarge)
  assert.deepEqual(
    updates.filter(isWithdrawal).flatMap(({ withdrawn, mpUnreach }) => [...withdrawn, ...(mpUnreach?.prefixes ?? [])]),
    tooLarge,
  )
  return updates.filter((update) => !isWithdrawal(update))
}

const many = (count: number): Prefix[] => Array.from({ length: count }, (_, i) => (0x0a000000 + i) * 64 + 32)
const few: PathAttributes = {
  origin: 0,
  asPath: [{ type: 2, asns: [65010] }],
  nextHop: nextHop4,
  communities: [0xfde80064],
}

const lengths = fc.constantFrom(4096, 65535)
const cases = fc.tuple(contexts, lengths).chain(([base, maxMessageBytes]) => {
  const ctx = { ...base, maxMessageBytes }
  return attributesOf(ctx).map((attributes) => ({ ctx, attributes: structuredClone(attributes) }))
})

test(
  'announcements in NEXT_HOP and NLRI hold every prefix once and the same attributes in each message (RFC ' +
    '4271 4.3)',
  () => {
    fc.assert(
      fc.property(
        cases,
        fc.uniqueArray(ipv4Prefix, { maxLength: 2500, size: 'max' }),
        ({ ctx, attributes }, prefixes) => {
          const path = { ...attributes, nextHop: nextHop4 }
          const packed = packAnnouncements(path, prefixes, ipv4Unicast, ctx)
          const fits = whatFits(encodeAttributes(path, ctx).length, ctx)
          const updates = announced(packed, prefixes, fits, ctx)
          assert.deepEqual(
            updates.flatMap(({ nlri }) => nlri),
            prefixes.filter(fits),
          )
          for (const update of updates)
            assert.deepEqual({ ...update, nlri: [] }, { type: 'update', withdrawn: [], attributes: path, nlri: [] })
        },
      ),
      { numRuns: 60 },
    )
  },
)

test(
  'announcements in MP_REACH_NLRI hold every prefix once, IPv6 and IPv4 over an IPv6 next hop (RFC 4760, RFC ' +
    '8950)',
  () => {
    const families = fc
      .constantFrom(ipv4Unicast, ipv6Unicast)
      .chain((family) =>
        fc
          .uniqueArray(family === ipv4Unicast ? ipv4Prefix : ipv6Prefix, { maxLength: 1200, size: 'max' })
          .map((prefixes) => ({ family, prefixes })),
      )
    fc.assert(
      fc.property(cases, families, ({ ctx: base, attributes }, { family, prefixes }) => {
        const ctx = { ...base, extendedNextHop: true }
        const packed = packAnnouncements({ ...attributes, nextHop: nextHop6 }, prefixes, family, ctx)
        // Flags, type, length of two octets, AFI, SAFI, length of the next hop, next hop, reserved.
        const mpReachBytes = 4 + 2 + 1 + 1 + 16 + 1
        const fits = whatFits(encodeAttributes(attributes, ctx).length + mpReachBytes, ctx)
        const updates = announced(packed, prefixes, fits, ctx)
        assert.deepEqual(
          updates.flatMap(({ mpReach }) => mpReach?.prefixes ?? []),
          prefixes.filter(fits),
        )
        for (const update of updates) {
          assert.deepEqual([update.attributes, update.nlri, update.withdrawn], [attributes, [], []])
          assert.deepEqual(
            { ...update.mpReach, prefixes: [] },
            { family: { ...family }, nextHop: nextHop6, prefixes: [] },
          )
        }
      }),
      { numRuns: 60 },
    )
  },
)

test('withdrawals hold every prefix once and no attributes but MP_UNREACH_NLRI', () => {
  const families = fc
    .constantFrom(ipv4Unicast, ipv6Unicast)
    .chain((family) =>
      fc
        .uniqueArray(family === ipv4Unicast ? ipv4Prefix : ipv6Prefix, { maxLength: 2500, size: 'max' })
        .map((prefixes) => ({ family, prefixes })),
    )
  fc.assert(
    fc.property(contexts, lengths, families, (base, maxMessageBytes, { family, prefixes }) => {
      const ctx = { ...base, maxMessageBytes }
      const updates = updatesOf(packWithdrawals(prefixes, family, ctx), ctx)
      assert.deepEqual(
        updates.flatMap(({ withdrawn, mpUnreach }) => [...withdrawn, ...(mpUnreach?.prefixes ?? [])]),
        prefixes,
      )
      for (const update of updates)
        assert.deepEqual([update.attributes, update.nlri, update.mpReach], [{}, [], undefined])
    }),
    { numRuns: 60 },
  )
})

test('n IPv4 /32 take at most 2 + n/800 messages of 4096 octets, announced or withdrawn', () => {
  const ctx = ctxOf()
  for (const n of [0, 1, 799, 800, 801, 4000, 65536]) {
    for (const { bytes, count } of [
      packAnnouncements(few, many(n), ipv4Unicast, ctx),
      packWithdrawals(many(n), ipv4Unicast, ctx),
    ]) {
      assert.ok(count <= 2 + n / 800, `${n} prefixes in ${count} messages`)
      assert.equal(count === 0, n === 0)
      assert.ok(bytes.length <= n * 5 + count * 64)
    }
  }
})

test('a message is as full as it can be: the next prefix would not have fitted', () => {
  const ctx = ctxOf()
  const { bytes } = packWithdrawals(many(2000), ipv4Unicast, ctx)
  const length = ((bytes[16] ?? 0) << 8) | (bytes[17] ?? 0)
  assert.ok(length <= 4096 && length + 5 > 4096, `${length} octets`)
})
