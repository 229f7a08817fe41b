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

test('text that is not UTF-8 is a fault', () => {
  const lines = new LineSplitter()
  assert.throws(() => lines.push(Uint8Array.of(0x22, 0xff, 0x22, 0x0a), () => {}), StreamFault)
})

test('who wrote which field is left out of each object, and nothing else is, whatever texts look like it', () => {
  const strange = fc.constantFrom('"managedFields":[', '\\"managedFields":[', 'managedFields', ']}', '\\', '"', 'é')
  const text = fc.oneof(
    fc.string(),
    fc.array(strange, { maxLength: 4 }).map((parts) => parts.join('')),
  )
  const before = fc.dictionary(text, text)
  const managedFields = fc.array(fc.dictionary(text, fc.jsonValue({ maxDepth: 3 })))
  const item = fc.record({ metadata: fc.record({ labels: before, managedFields, name: text }), spec: before })
  fc.assert(
    fc.property(fc.array(item), sizes, (items, cut) => {
      const plain: typeof items = JSON.parse(JSON.stringify(items))
      const without = plain.map(({ metadata, spec }) => ({ metadata: { ...metadata, managedFields: [] }, spec }))
      const lines = new LineSplitter()
      const found: unknown[] = []
      const written = items.map((each) => `${JSON.stringify(each)}\n`).join('')
      for (const piece of pieces(bytes(written), cut)) lines.push(piece, (value) => found.push(value))
      const listed = split(JSON.stringify({ items }), cut).items
      for (const [index, value] of without.entries())
        for (const read of [found, listed]) {
          // A label that looks like it may have it read in full.
          const { metadata } = read[index] as typeof value
          assert.deepEqual({ ...(read[index] as object), metadata: { ...metadata, managedFields: [] } }, value)
        }
    }),
  )
})

test('of an object as the API server writes it nothing of managedFields is made', () => {
  const fieldsV1 = { 'f:spec': { 'f:ports': { 'k:{"port":80,"protocol":"TCP"}': { '.': {}, 'f:port': {} } } } }
  const metadata = { name: 'web', managedFields: [{ manager: 'kubectl', fieldsV1 }, { manager: 'other' }] }
  const lines = new LineSplitter()
  const found: unknown[] = []
  const event = { type: 'ADDED', object: { metadata, spec: { type: 'LoadBalancer' } } }
  lines.push(bytes(`${JSON.stringify(event)}\n`), (value) => found.push(value))
  const object = { metadata: { name: 'web', managedFields: [] }, spec: { type: 'LoadBalancer' } }
  assert.deepEqual(found, [{ type: 'ADDED', object }])
})

test('a list of that name that is somewhere else is read in full, whatever the metadata have of their own', () => {
  const own = [{ manager: 'kubectl', fieldsV1: { 'f:spec': {} } }]
  const spec = { managedFields: [1, [2], { managedFields: ['x'] }] }
  const objects = [
    { metadata: { name: 'a' }, spec },
    { metadata: { name: 'a', managedFields: [] }, spec },
    { metadata: { name: 'a', managedFields: own }, spec },
    { spec, metadata: { name: 'a', managedFields: own } },
    { spec, metadata: { name: 'a', managedFields: [] } },
    { metadata: { labels: { managedFields: own } }, managedFields: own },
    { managedFields: own, metadata: { annotations: { managedFields: '"managedFields":[' } } },
  ]
  // What the metadata have is nobody's affair.
  const withoutOwn = (read: unknown): string =>
    JSON.stringify(read, (key, value: unknown) =>
      key === 'metadata' ? { ...(value as object), managedFields: undefined } : value,
    )
  for (const object of objects)
    for (const size of [1, 7, 65_536]) {
      const lines = new LineSplitter()
      const found: unknown[] = []
      const event = { type: 'ADDED', object }
      for (const piece of pieces(bytes(`${JSON.stringify(event)}\n`), [size])) lines.push(piece, (it) => found.push(it))
      assert.equal(withoutOwn(found), withoutOwn([event]))
      assert.equal(withoutOwn(split(JSON.stringify({ items: [object] }), [size]).items), withoutOwn([object]))
    }
})

test('items whose key is written with an escape are a fault, and no list of nothing', () => {
  assert.throws(() => split('{"kind":"ServiceList","\\u0069tems":[{"metadata":{"name":"web"}}]}'), StreamFault)
  assert.deepEqual(split('{"\\u0069tems":[]}'), { items: [], around: { items: [] } })
})

test('managedFields without an end is no JSON, as anything without an end', () => {
  const lines = new LineSplitter()
  assert.throws(() => lines.push(bytes('{"metadata":{"managedFields":[{"a":"]}}\n'), () => {}), StreamFault)
})
