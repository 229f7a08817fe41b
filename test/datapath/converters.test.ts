import assert from 'node:assert/strict'
import { test } from 'node:test'
import { converters, type Conversion, type Converter, type Entry } from '../../src/datapath/converters.ts'
import {
  decodeFrontend,
  decodeFrontendKey,
  mapNames,
  mapShapes,
  readBackend,
  schema,
  type MapName,
} from '../../src/datapath/layout.ts'

/** Keys and values of earlier schemas, in octets. */
type Sizes = Readonly<Partial<Record<MapName, readonly [key: number, value: number]>>>
const of2Sizes: Sizes = {
  frontends: [8, 48],
  backends: [4, 24],
  openings: [16, 40],
  connections: [16, 40],
  datagrams: [16, 40],
  fragments: [12, 4],
}
const of3Sizes: Sizes = { frontends: [20, 48], backends: [4, 32] }
const of4Sizes: Sizes = { frontends: [20, 72] }
const from = (schema: number): Converter | undefined => converters.find((each) => each.from === schema)
const numbered = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => i + 1)
function converted(name: MapName, key: Uint8Array, value: Uint8Array, schema = 2): Entry {
  const conversion: Conversion | undefined = from(schema)?.maps[name]
  const entry = typeof conversion === 'function' ? conversion(key, value) : undefined
  assert.ok(entry !== undefined, name)
  return entry
}

test('the schemas before this one are taken over, each map in keys and values of this one', () => {
  assert.ok(from(schema - 1) !== undefined)
  for (const [former, sizes] of [
    [2, of2Sizes],
    [3, of3Sizes],
    [4, of4Sizes],
  ] as const)
    for (const name of mapNames) {
      const [keyBytes, valueBytes] = sizes[name] ?? [0, 0]
      if (keyBytes === 0) continue
      const [key, value] = converted(name, numbered(keyBytes), numbered(valueBytes), former)
      assert.deepEqual([key.length, value.length], [mapShapes[name].keyBytes, mapShapes[name].valueBytes], name)
    }
})

test('what the schemas before had and is not converted has the size that it has here', () => {
  const of4 = ['nodes', 'tunnels', 'forwards', 'ranges', 'affinity', 'counters', 'backends'] as const
  const of3 = ['tables', 'openings', 'connections', 'datagrams', 'fragments', 'drops'] as const
  for (const name of [...of4, ...of3]) assert.equal(from(4)?.maps[name], 'same', name)
  for (const name of of3) assert.equal(from(3)?.maps[name], 'same', name)
  assert.deepEqual(
    [...of4, ...of3].map((name) => [mapShapes[name].keyBytes, mapShapes[name].valueBytes]),
    [
      ...[
        [16, 4],
        [4, 40],
        [40, 16],
        [24, 4],
        [20, 16],
        [4, 56],
        [4, 48],
      ],
      ...[
        [4, 8],
        [40, 52],
        [40, 52],
        [40, 52],
        [40, 8],
        [4, 8],
      ],
    ],
  )
})

test('the table before of a frontend of schema 4 has no end yet, which is for whoever adopts it', () => {
  const [, value] = converted('frontends', numbered(20), numbered(72), 4)
  assert.deepEqual([...value.subarray(0, 72)], [...numbered(72)])
  assert.equal(decodeFrontend(value).previousUntilNs, 0xffff_ffff_ffff_ffffn)
  for (const former of [2, 3])
    assert.equal(
      decodeFrontend(converted('frontends', numbered(former === 2 ? 8 : 20), numbered(48), former)[1]).previousUntilNs,
      0xffff_ffff_ffff_ffffn,
    )
})

test('every backend of schema 3 is on this node', () => {
  const held = new DataView(new ArrayBuffer(32))
  new Uint8Array(held.buffer).set([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 1, 0, 5, 0x1f, 0x90, 17])
  held.setUint32(20, 7, true)
  held.setBigUint64(24, 99n, true)
  const [, backend] = converted('backends', Uint8Array.of(1, 0, 0, 0), new Uint8Array(held.buffer), 3)
  assert.deepEqual(readBackend(new DataView(backend.buffer), 0), {
    address: '10.1.0.5',
    port: 8080,
    protocol: 'UDP',
    generation: 7,
    drainUntilNs: 99n,
  })
})

test('what a schema held is taken over, but the counters of Services, which had no place each before schema 4', () => {
  const kept = ['frontends', 'backends', 'tables', 'openings', 'connections', 'datagrams', 'fragments', 'drops']
  const of4 = [...kept, 'nodes', 'tunnels', 'forwards', 'ranges', 'affinity', 'counters', 'backend_counts']
  for (const { from, maps } of converters)
    assert.deepEqual(Object.keys(maps).sort(), (from === 4 ? of4 : kept).toSorted(), `schema ${from}`)
})

test('a frontend of schema 3 is the same one here, lets in everybody, and has no affinity', () => {
  const of3 = converters.find(({ from }) => from === 3)?.maps
  const conversion = of3?.frontends
  assert.ok(typeof conversion === 'function')
  const [key, value] = conversion(numbered(20), numbered(48)) ?? assert.fail()
  assert.deepEqual([...key], [...numbered(20)])
  assert.deepEqual([...value.subarray(0, 48)], [...numbered(48)])
  const { ranges, affinitySec, members, affinitySinceNs } = decodeFrontend(value)
  assert.deepEqual([ranges, affinitySec, members, affinitySinceNs], [0, 0, { offset: 0, length: 0 }, 0n])
  const rest = ['tables', 'openings', 'connections', 'datagrams', 'fragments', 'drops'] as const
  for (const name of rest) assert.equal(of3?.[name], 'same', name)
})

test('frontends, backends and flows of schema 2 are the same ones here, with mapped addresses', () => {
  const [frontend] = converted('frontends', Uint8Array.of(192, 0, 2, 10, 0, 80, 17, 0), numbered(48))
  assert.deepEqual(decodeFrontendKey(frontend), { address: '192.0.2.10', port: 80, protocol: 'UDP' })
  const held = new DataView(new ArrayBuffer(24))
  new Uint8Array(held.buffer).set([10, 1, 0, 5, 0x1f, 0x90, 6])
  held.setUint32(8, 7, true)
  held.setBigUint64(16, 99n, true)
  const [, backend] = converted('backends', Uint8Array.of(1, 0, 0, 0), new Uint8Array(held.buffer))
  assert.deepEqual(readBackend(new DataView(backend.buffer), 0), {
    address: '10.1.0.5',
    port: 8080,
    protocol: 'TCP',
    generation: 7,
    drainUntilNs: 99n,
  })
  const mapped = (...octets: readonly number[]): readonly number[] => [
    ...new Array<number>(10).fill(0),
    255,
    255,
    ...octets,
  ]
  const [key, flow] = converted('connections', numbered(16), numbered(40))
  assert.deepEqual([...key], [...mapped(1, 2, 3, 4), ...mapped(5, 6, 7, 8), ...numbered(16).slice(8)])
  assert.deepEqual([...flow], [...mapped(1, 2, 3, 4), ...numbered(40).slice(4)])
  const [fragment, ports] = converted('fragments', numbered(12), numbered(4))
  assert.deepEqual([...fragment.slice(32)], [9, 10, 0, 0, 11, 0, 0, 0])
  assert.deepEqual([...ports], [1, 2, 3, 4, 11, 0, 0, 0])
})
