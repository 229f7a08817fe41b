/**
 * The judge that makes no values against the decoder: what it takes, the decoder takes without a problem and with the
 * same values; that it takes what a table is made of; and that whatever is odd is left to the decoder. The mutated
 * messages of test/fuzz go through both as well.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { frameMessage, wholeUpdate } from '../../../src/bgp/messages/header.ts'
import { type PlainUpdate, readPlainUpdate } from '../../../src/bgp/messages/plain-update.ts'
import {
  type CodecContext,
  ipv4Unicast,
  ipv6Unicast,
  type PathAttributes,
  type UpdateMessage,
} from '../../../src/bgp/messages/types.ts'
import { decodeUpdate, encodeUpdate } from '../../../src/bgp/messages/update.ts'
import { prefixOf } from '../../../src/ip/prefix.ts'
import { attributesOf, ctxOf, ipv4Prefix, receivingContexts, updateOf } from './arbitraries.ts'

const headerBytes = 19

/** Somewhere in a larger buffer, as the socket has it. */
function readAmongOthers(message: Uint8Array, ctx: CodecContext): PlainUpdate | undefined {
  const bytes = new Uint8Array(message.length + 20).fill(0x18)
  bytes.set(message, 10)
  return readPlainUpdate(bytes, 10 + headerBytes, 10 + message.length, ctx)
}

function assertSame(plain: PlainUpdate, message: Uint8Array, ctx: CodecContext): void {
  const decoded = decodeUpdate(message.subarray(headerBytes), ctx)
  if (!decoded.ok) return assert.fail(decoded.fault.reason)
  assert.deepEqual(
    { message: plain.message, problems: plain.problems, block: [...plain.block] },
    { ...decoded.value, block: [...decoded.value.block] },
  )
  const { withdrawn, nlri, attributes } = decoded.value.message
  assert.deepEqual([plain.count, plain.nlriCount], [withdrawn.length + nlri.length, nlri.length])
  const asns = attributes.asPath?.[0]?.asns ?? []
  assert.ok((attributes.asPath ?? []).length <= 1)
  assert.equal(plain.firstAs, asns[0] ?? 0)
  for (const asn of asns) assert.ok(plain.passes(asn))
  for (const other of [0, 23_456, 4_294_967_295]) assert.equal(plain.passes(other), asns.includes(other))
}

test('an UPDATE of any form is left to the decoder, or what that makes of it', () => {
  fc.assert(
    fc.property(
      receivingContexts.chain((ctx) => fc.tuple(fc.constant(ctx), updateOf(ctx))),
      ([ctx, update]) => {
        const message = encodeUpdate(update, ctx)
        const plain = readAmongOthers(message, ctx)
        if (plain !== undefined) assertSame(plain, message, ctx)
      },
    ),
  )
})

/** What routers send of a table: attributes that are known, one AS_SEQUENCE, four octets to an AS. */
const ordinary = fc.boolean().chain((isExternal) => {
  const ctx = ctxOf({ isExternal, maxMessageBytes: 65_535 })
  return fc
    .tuple(
      attributesOf(ctx),
      fc.array(fc.integer({ min: 1, max: 0xffffffff }), { maxLength: 255 }),
      fc.array(ipv4Prefix, { minLength: 1, maxLength: 60 }),
      fc.array(ipv4Prefix, { maxLength: 60 }),
    )
    .map(([{ unknown: _, ...attributes }, asns, nlri, withdrawn]): [CodecContext, UpdateMessage] => [
      ctx,
      {
        type: 'update',
        withdrawn,
        attributes: { ...attributes, nextHop: 0x0a000001, asPath: asns.length === 0 ? [] : [{ type: 2, asns }] },
        nlri,
      },
    ])
})

test('what routers send of a table is taken as it lies, on sessions of both kinds', () => {
  fc.assert(
    fc.property(ordinary, ([ctx, update]) => {
      const message = encodeUpdate(update, ctx)
      const plain = readAmongOthers(message, ctx)
      assert.ok(plain !== undefined)
      assertSame(plain, message, ctx)
      assert.equal(wholeUpdate(message, 0, message.length, ctx.maxMessageBytes), message.length)
    }),
  )
})

test('an ordinary UPDATE with any octet changed, cut or longer is the same to both, or left to the decoder', () => {
  fc.assert(
    fc.property(
      ordinary,
      fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 3 }),
      fc.integer({ min: -3, max: 3 }),
      ([ctx, update], changes, surplus) => {
        const whole = encodeUpdate(update, ctx)
        const message = new Uint8Array(Math.max(23, whole.length + surplus))
        message.set(whole.subarray(0, message.length))
        const span = message.length - headerBytes
        for (const [at, octet] of changes) message[headerBytes + (at % span)] = octet
        const plain = readAmongOthers(message, ctx)
        if (plain !== undefined) assertSame(plain, message, ctx)
      },
    ),
    { numRuns: 3_000 },
  )
})

const ctx = ctxOf()
const attributes: PathAttributes = { origin: 0, asPath: [{ type: 2, asns: [65_010] }], nextHop: 0x0a000001 }
const nlri = [prefixOf(0xc0000200, 24)]
const isTaken = (part: Partial<UpdateMessage>, context: CodecContext = ctx): boolean =>
  readAmongOthers(encodeUpdate({ type: 'update', withdrawn: [], attributes, nlri, ...part }, context), context) !==
  undefined

test('whatever needs a closer look is left to the decoder: each thing alone makes the difference', () => {
  assert.ok(isTaken({}))
  assert.ok(isTaken({ attributes: {}, nlri: [], withdrawn: nlri }), 'withdrawals alone')
  const left: Readonly<Record<string, boolean>> = {
    'End-of-RIB (RFC 4724 2)': isTaken({ attributes: {}, nlri: [] }),
    'attributes without routes (RFC 7606 5.2)': isTaken({ nlri: [] }),
    'attributes beside withdrawals alone': isTaken({ nlri: [], withdrawn: nlri }),
    'no NEXT_HOP (RFC 7606 3 d)': isTaken({ attributes: { origin: 0, asPath: [] } }),
    'an unknown attribute': isTaken({
      attributes: { ...attributes, unknown: [{ flags: 0xc0, type: 99, value: Uint8Array.of(1) }] },
    }),
    'an AS_SET (RFC 9774 3)': isTaken({ attributes: { ...attributes, asPath: [{ type: 1, asns: [1, 2] }] } }),
    'a next hop that is no host': isTaken({ attributes: { ...attributes, nextHop: 0x7f000001 } }),
    'routes in MP_REACH_NLRI': isTaken({
      mpReach: { family: ipv4Unicast, nextHop: 0x0a000001, prefixes: nlri },
    }),
    'two octets to an AS (RFC 6793)': isTaken({}, ctxOf({ fourOctetAs: false })),
    'a session that has IPv6 only (RFC 4760 8)': isTaken({}, ctxOf({ families: [ipv6Unicast] })),
    'path identifiers (RFC 7911)': isTaken({ nlriPathIds: [1] }, ctxOf({ addPathReceive: [ipv4Unicast] })),
  }
  assert.deepEqual(
    Object.keys(left).filter((what) => left[what]),
    [],
  )
})

test('a session inside the AS wants LOCAL_PREF, one with an outside AS must not have it (RFC 7606 7.5)', () => {
  const withPreference = { attributes: { ...attributes, localPref: 100 } }
  const inside = ctxOf({ isExternal: false })
  assert.deepEqual([isTaken(withPreference, inside), isTaken({}, inside)], [true, false])
  // Encoded for the inside, come from the outside.
  const message = encodeUpdate({ type: 'update', withdrawn: [], ...withPreference, nlri }, inside)
  assert.equal(readAmongOthers(message, ctx), undefined)
})

test('an UPDATE is whole exactly where framing finds it, with every octet of its header changed (RFC 4271 6.1)', () => {
  const message = encodeUpdate({ type: 'update', withdrawn: [], attributes, nlri }, ctx)
  for (let at = 0; at < headerBytes; at++) {
    for (const octet of [0, 1, 2, 3, 19, 22, 23, message.length, message.length + 1, 254, 255]) {
      const changed = message.slice()
      changed[at] = octet
      for (const end of [0, 18, 22, message.length - 1, message.length]) {
        const frame = frameMessage(changed, 0, end, 4_096)
        const expected = frame.kind === 'frame' && frame.type === 2 ? frame.length : 0
        assert.equal(wholeUpdate(changed, 0, end, 4_096), expected, `octet ${at} is ${octet}, ${end} octets are there`)
      }
    }
  }
})
