import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { decodeBlock, decodeUpdate, encodeUpdate } from '../../../src/bgp/messages/update.ts'
import { ipv4Unicast, ipv6Unicast } from '../../../src/bgp/messages/types.ts'
import { receivingContexts, ctxOf, updateOf } from './arbitraries.ts'

test('a block gives the attributes of its UPDATE back, for each family with its own next hop', () => {
  fc.assert(
    fc.property(
      receivingContexts.chain((ctx) => fc.tuple(fc.constant(ctx), updateOf(ctx))),
      ([ctx, update]) => {
        const decoded = decodeUpdate(encodeUpdate(update, ctx).subarray(19), ctx)
        if (!decoded.ok) return assert.fail(decoded.fault.reason)
        const { message, block, problems } = decoded.value
        fc.pre(problems.length === 0)
        const { mpReach, attributes } = message
        for (const family of [ipv4Unicast, ipv6Unicast]) {
          const expected = mpReach?.family.afi === family.afi ? { ...attributes, nextHop: mpReach.nextHop } : attributes
          assert.deepEqual(decodeBlock(block, family, ctx), expected)
        }
      },
    ),
  )
})

test('equal routes of different prefixes have equal blocks, and a block without multiprotocol attributes is no copy', () => {
  const ctx = ctxOf()
  const blockOf = (prefixes: readonly number[]): Uint8Array => {
    const body = encodeUpdate(
      {
        type: 'update',
        withdrawn: [],
        attributes: { origin: 0, asPath: [{ type: 2, asns: [65001] }], nextHop: 0x0a000001 },
        nlri: prefixes,
      },
      ctx,
    ).subarray(19)
    const decoded = decodeUpdate(body, ctx)
    if (!decoded.ok) return assert.fail()
    assert.equal(decoded.value.block.buffer, body.buffer)
    return decoded.value.block
  }
  assert.deepEqual([...blockOf([0x0a000000 * 64 + 24])], [...blockOf([0x0b000000 * 64 + 24, 0x0c000000 * 64 + 8])])
  const reach = (prefix: string): Uint8Array => {
    const decoded = decodeUpdate(
      encodeUpdate(
        {
          type: 'update',
          withdrawn: [],
          attributes: { origin: 0, asPath: [{ type: 2, asns: [65001] }] },
          nlri: [],
          mpReach: { family: ipv6Unicast, nextHop: ' '.repeat(16), prefixes: [prefix] },
          mpUnreach: { family: ipv6Unicast, prefixes: [prefix] },
        },
        ctx,
      ).subarray(19),
      ctx,
    )
    return decoded.ok ? decoded.value.block : assert.fail(decoded.fault.reason)
  }
  assert.deepEqual([...reach(`${'a'.repeat(16)}\u0080`)], [...reach(`${'b'.repeat(16)}\u0080`)])
})
