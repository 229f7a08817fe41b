import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ItemSplitter, LineSplitter, maxObjectBytes, StreamFault } from '../../../src/k8s/apiserver/json-stream.ts'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

/** The octets in pieces of the given sizes, again and again. */
function* pieces(all: Uint8Array, sizes: readonly number[]): Generator<Uint8Array> {
  for (let at = 0, turn = 0; at < all.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1
    // One buffer for all reads, as a socket has it.
    const piece = Uint8Array.from(all.subarray(at, at + size))
    yield piece
    piece.fill(0x7b)
    at += size
  }
}

function split(text: string, sizes: readonly number[] = [65_536]): { items: unknown[]; around: unknown } {
  const splitter = new ItemSplitter()
  const items: unknown[] = []
  for (const piece of pieces(bytes(text), sizes)) splitter.push(piece, (item) => items.push(item))
  return { items, around: splitter.end() }
}

const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 })

test('a list comes apart into its items and what is around them, however it arrives', () => {
  const item = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 }))
  const list = fc.record({
    kind: fc.constantFrom('ServiceList', 'items', '"items":['),
    metadata: fc.record({ resourceVersion: fc.string(), items: fc.array(fc.jsonValue({ maxDepth: 1 })) }),
    items: fc.array(item),
    after: fc.jsonValue({ maxDepth: 2 }),
  })
  fc.assert(
    fc.property(list, sizes, fc.constantFrom(0, 2), (value, cut, indent) => {
      const { items, around } = split(JSON.stringify(value, null, indent), cut)
      const plain: typeof value = JSON.parse(JSON.stringify(value))
      assert.deepEqual(items, plain.items)
      assert.deepEqual(around, { ...plain, items: [] })
    }),
  )
})

test('a list without items, with none, or with null is around and nothing else', () => {
  assert.deepEqual(split('{"kind":"NodeList"}'), { items: [], around: { kind: 'NodeList' } })
  assert.deepEqual(split('{"items":[]}'), { items: [], around: { items: [] } })
  assert.deepEqual(split('{"items":null}'), { items: [], around: { items: null } })
})

test('an answer that ends early, or is no JSON, is a fault and never half a list', () => {
  const whole = '{"items":[{"a":1},{"b":2}],"metadata":{}}'
  for (let length = 0; length < whole.length; length++) assert.throws(() => split(whole.slice(0, length)), StreamFault)
  assert.throws(() => split('{"items":[{"a":}]}'), StreamFault)
  assert.throws(() => split('<html>'), StreamFault)
})

test('lines come apart however they arrive, and half a line is nothing', () => {
  fc.assert(
    fc.property(fc.array(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 }))), sizes, (values, cut) => {
      const splitter = new LineSplitter()
      const found: unknown[] = []
      const text = `${values.map((value) => `${JSON.stringify(value)}\n`).join('')}\n{"half":`
      for (const piece of pieces(bytes(text), cut)) splitter.push(piece, (value) => found.push(value))
      assert.deepEqual(found, JSON.parse(JSON.stringify(values)))
    }),
  )
})

test('an object or a line without end is refused before it fills the memory', () => {
  const endless = new Uint8Array(2 ** 20).fill(0x61)
  const splitter = new ItemSplitter()
  splitter.push(bytes('{"items":[{"a":"'), () => {})
  assert.throws(() => {
    for (let sent = 0; sent <= maxObjectBytes; sent += endless.length) splitter.push(endless, () => {})
  }, StreamFault)
  const lines = new LineSplitter()
  assert.throws(() => {
    for (let sent = 0; sent <= maxObjectBytes; sent += endless.length) lines.push(endless, () => {})
  }, StreamFault)
})

test('what comes octet by octet costs few times its octets, and a piece holds nothing beside it', () => {
  const most = 300_000
  const heldBy = (make: () => Uint8Array, count: number): number => {
    const lines = new LineSplitter()
    const before = process.memoryUsage()
    lines.push(bytes('"'), () => {})
    for (let n = 0; n < count; n++) lines.push(make(), () => {})
    const after = process.memoryUsage()
    const found: unknown[] = []
    lines.push(bytes('"\n'), (value) => found.push(value))
    assert.deepEqual(found, ['a'.repeat(count)])
    return after.arrayBuffers - before.arrayBuffers
  }
  const alone = Buffer.from('a')
  assert.ok(heldBy(() => alone, most) < 8 * most)
  assert.ok(heldBy(() => Buffer.alloc(65_536, 'a').subarray(7, 8), 2_000) < 64 * 2 ** 20)
})

test('text that is not UTF-8 is a fault', () => {
  const lines = new LineSplitter()
  assert.throws(() => lines.push(Uint8Array.of(0x22, 0xff, 0x22, 0x0a), () => {}), StreamFault)
})

test('items whose key is written with an escape are a fault, and no list of nothing', () => {
  assert.throws(() => split('{"kind":"ServiceList","\\u0069tems":[{"metadata":{"name":"web"}}]}'), StreamFault)
  assert.deepEqual(split('{"\\u0069tems":[]}'), { items: [], around: { items: [] } })
})
