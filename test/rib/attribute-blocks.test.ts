/** Interned attribute blocks against a Map of texts with their references. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type CodecContext, ipv4Unicast, type PathAttributes } from '../../src/bgp/messages/types.ts'
import { decodeUpdate, encodeUpdate } from '../../src/bgp/messages/update.ts'
import { prefixOf } from '../../src/ip/prefix.ts'
import { AttributeBlocks, noBlock } from '../../src/rib/attribute-blocks.ts'
import { halfSipHash } from '../../src/rib/half-sip-hash.ts'

const ctx: CodecContext = {
  fourOctetAs: true,
  isExternal: true,
  families: [ipv4Unicast],
  maxMessageBytes: 65_535,
  extendedNextHop: false,
  addPathReceive: [],
}

/** The attributes of an UPDATE as octets, with a MED to know them by and some ballast. */
function blockOf(med: number, ballast: number): Uint8Array {
  const attributes: PathAttributes = {
    origin: 0,
    asPath: [{ type: 2, asns: [65_001] }],
    nextHop: 0x0a000001,
    med,
    ...(ballast === 0 ? {} : { unknown: [{ flags: 0xc0, type: 200, value: new Uint8Array(ballast) }] }),
  }
  const update = { type: 'update', withdrawn: [], attributes, nlri: [prefixOf(0x0a000000, 8)] } as const
  const decoded = decodeUpdate(encodeUpdate(update, ctx).subarray(19), ctx)
  return decoded.ok ? decoded.value.block : assert.fail(decoded.fault.reason)
}

const medOf = (blocks: AttributeBlocks, id: number): number | undefined => blocks.decode(id, ipv4Unicast).med

const operation = fc.record({
  med: fc.nat({ max: 30 }),
  isHeld: fc.boolean(),
  ballast: fc.constantFrom(0, 100, 60_000),
})

test('equal octets are one id while somebody refers to them, and every id says what it was given', () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 200 }), fc.nat(), (operations, seed) => {
      const blocks = new AttributeBlocks(1 << 24, seed)
      const held = new Map<string, { id: number; references: number; med: number }>()
      for (const { med, isHeld, ballast } of operations) {
        const key = `${med} ${ballast}`
        const known = held.get(key)
        if (isHeld) {
          const id = blocks.intern(blockOf(med, ballast), ctx)
          if (known !== undefined) assert.equal(id, known.id)
          blocks.hold(id)
          held.set(key, { id, med, references: (known?.references ?? 0) + 1 })
        } else if (known !== undefined) {
          blocks.release(known.id)
          if (--known.references === 0) held.delete(key)
        }
        assert.equal(blocks.size, held.size)
      }
      for (const { id, med } of held.values()) assert.equal(medOf(blocks, id), med)
      assert.equal(new Set([...held.values()].map(({ id }) => id)).size, held.size)
    }),
  )
})

test('what is released is room again: chunks that are mostly waste are given back, a few at a time', () => {
  const blocks = new AttributeBlocks(1 << 26, 5)
  const ids = Array.from({ length: 20_000 }, (_, med) => {
    const id = blocks.intern(blockOf(med, 1_000), ctx)
    blocks.hold(id)
    return id
  })
  const full = blocks.bytes
  for (const [med, id] of ids.entries()) if (med % 50 !== 0) blocks.release(id)
  assert.ok(blocks.bytes < full / 4, `${blocks.bytes} of ${full} octets for one in fifty`)
  for (const [med, id] of ids.entries()) if (med % 50 === 0) assert.equal(medOf(blocks, id), med)
  // And they are still found.
  assert.equal(blocks.intern(blockOf(50, 1_000), ctx), ids[50])
})

test('there is a bound, what is in use counts, and an interned block that nobody holds is discarded', () => {
  const blocks = new AttributeBlocks(10_000, 5)
  const big = Array.from({ length: 12 }, (_, med) => {
    const id = blocks.intern(blockOf(med, 1_000), ctx)
    if (id !== noBlock) blocks.hold(id)
    return id
  })
  assert.equal(big.filter((id) => id === noBlock).length, 3)
  blocks.release(big[0] as number)
  const another = blocks.intern(blockOf(99, 1_000), ctx)
  assert.notEqual(another, noBlock)
  const { size } = blocks
  blocks.discard(another)
  blocks.discard(noBlock)
  assert.equal(blocks.size, size - 1)
  blocks.clear()
  assert.equal(blocks.size, 0)
  assert.notEqual(blocks.intern(blockOf(1, 0), ctx), noBlock)
})

test('octets mean what they mean on their session: one context never reads those of another', () => {
  const blocks = new AttributeBlocks(1 << 20, 5)
  const block = blockOf(7, 0)
  const one = blocks.intern(block, ctx)
  assert.notEqual(blocks.intern(block, { ...ctx, isExternal: false }), one)
  assert.equal(blocks.intern(block, { ...ctx }), one, 'an equal context is the same')
})

test('the context of a session is looked for once, of a later session with an equal one too', () => {
  const blocks = new AttributeBlocks(1 << 20, 5)
  let compared = 0
  const session = (): CodecContext => ({
    ...ctx,
    get families() {
      compared++
      return [ipv4Unicast]
    },
  })
  for (let sessions = 1; sessions <= 3; sessions++) {
    const own = session()
    compared = 0
    for (let med = 0; med < 100; med++) blocks.hold(blocks.intern(blockOf(med, 0), own))
    assert.ok(compared <= sessions, `session ${sessions}: compared ${compared} times for 100 blocks`)
    blocks.clear()
  }
})

/**
 * Two words are changed, or not: the uppermost bit of one, and of the next one that bit and what a shift by 15 makes of
 * it. A hash that multiplies, shifts and xors cannot tell them apart, whatever it began with.
 */
function twins(pairs: number): readonly Uint8Array[] {
  return Array.from({ length: 1 << pairs }, (_, chosen) => {
    const words = new Uint32Array(2 * pairs).fill(0x01010101)
    for (let pair = 0; pair < pairs; pair++) {
      if (((chosen >> pair) & 1) === 0) continue
      words[2 * pair] = 0x81010101
      words[2 * pair + 1] = 0x81000101
    }
    return new Uint8Array(words.buffer)
  })
}

test('blocks that were made to collide are spread as others are, by a key that a peer does not know', () => {
  for (const seed of [0, 1, 0x12345678, 0xffffffff]) {
    const blocks = new AttributeBlocks(1 << 24, seed)
    const ids = twins(12).map((block) => {
      const id = blocks.intern(block, ctx)
      blocks.hold(id)
      return id
    })
    assert.equal(new Set(ids).size, 4_096)
    assert.ok(blocks.passed < 4 * ids.length, `seed ${seed}: ${blocks.passed} others passed by ${ids.length} blocks`)
  }
})

test('the hash of octets is HalfSipHash-1-3, with the values of the Linux kernel, wherever they lie', () => {
  const bytes = Uint8Array.from({ length: 70 }, (_, i) => (i < 3 ? 0xee : i - 3))
  const expected: readonly (readonly [number, number])[] = [
    [0, 0x5814c896],
    [1, 0xe7e864ca],
    [3, 0x01539939],
    [4, 0x7e059ea6],
    [63, 0x87178304],
  ]
  for (const [length, hash] of expected)
    assert.equal(halfSipHash(bytes, 3, 3 + length, 0x03020100, 0x07060504), hash, `${length} octets`)
})
