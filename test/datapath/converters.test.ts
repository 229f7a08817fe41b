import assert from 'node:assert/strict'
import { test } from 'node:test'
import { converters, type Conversion, type Entry } from '../../src/datapath/converters.ts'
import {
  decodeFrontend,
  decodeFrontendKey,
  mapNames,
  mapShapes,
  readBackend,
  schema,
  type MapName,
} from '../../src/datapath/layout.ts'

/** Keys and values of schema 2, in octets. */
const former: Readonly<Partial<Record<MapName, readonly [key: number, value: number]>>> = {
  frontends: [8, 48],
  backends: [4, 24],
  openings: [16, 40],
  connections: [16, 40],
  datagrams: [16, 40],
  fragments: [12, 4],
}
const of2 = converters.find(({ from }) => from === 2)
const numbered = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => i + 1)
function converted(name: MapName, key: Uint8Array, value: Uint8Array): Entry {
  const conversion: Conversion | undefined = of2?.maps[name]
  const entry = typeof conversion === 'function' ? conversion(key, value) : undefined
  assert.ok(entry !== undefined, name)
  return entry
}

test('the schema before this one is taken over, each map in keys and values of this one', () => {
  assert.ok(converters.some(({ from }) => from === schema - 1))
  for (const name of mapNames) {
    const sizes = former[name]
    if (sizes === undefined) continue
    const [key, value] = converted(name, numbered(sizes[0]), numbered(sizes[1]))
    assert.deepEqual([key.length, value.length], [mapShapes[name].keyBytes, mapShapes[name].valueBytes], name)
  }
})

test('what a schema held is taken over, but the counters of Services, which had no place each before schema 4', () => {
  const kept = ['frontends', 'backends', 'tables', 'openings', 'connections', 'datagrams', 'fragments', 'drops']
  for (const { from, maps } of converters) assert.deepEqual(Object.keys(maps).sort(), kept.sort(), `schema ${from}`)
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
  const rest = ['backends', 'tables', 'openings', 'connections', 'datagrams', 'fragments', 'drops'] as const
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
