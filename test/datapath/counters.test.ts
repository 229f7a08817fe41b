import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Frontend } from '../../src/desired/model.ts'
import type { FrontendCounters } from '../../src/datapath/datapath.ts'
import { decodeFrontend, encodeFrontend, mapShapes, sizes } from '../../src/datapath/layout.ts'
import { indexKey, indexOf } from '../../src/datapath/maps.ts'
import { MemoryMaps } from '../../src/datapath/memory-maps.ts'
import { servedOver } from '../../src/datapath/served.ts'
import { frontendOf } from './fixture.ts'

const places = 8
const times = { nowNs: () => 0n, drainNs: 0n, settleNs: 0n, previousNs: 0n }
const frontend = (n: number): Frontend => frontendOf('192.0.2.10', 1000 + n, [{ address: '10.1.0.5', port: 8080 }])
const idOf = (n: number): string => frontend(n).id
const smallMaps = (): MemoryMaps => new MemoryMaps({ counters: places, tables: 1024, backends: 64 })

/** As many packets came in as this says. */
function countOf(packetsIn: number): Uint8Array {
  const value = new Uint8Array(mapShapes.counters.valueBytes)
  new DataView(value.buffer).setBigUint64(0, BigInt(packetsIn), true)
  return value
}

test('a Service begins at nothing, whatever stood at its place', () => {
  const maps = smallMaps()
  for (let service = 0; service < places; service++) maps.store('counters').put(indexKey(service), countOf(7))
  const served = servedOver(maps, times)
  const { serviceId } = served.upsert(frontend(0))
  assert.equal(served.counters(idOf(0))?.packetsIn, 0)
  maps.store('counters').put(indexKey(serviceId), countOf(3))
  assert.equal(served.counters(idOf(0))?.packetsIn, 3)
  served.remove(idOf(0))
  assert.equal(served.counters(idOf(0)), undefined)
})

test('every Service has a place of its own, also after many came and went', () => {
  const served = servedOver(smallMaps(), times)
  for (let n = 0; n < 5 * places; n++) {
    served.upsert(frontend(n))
    if (n >= places - 1) served.remove(idOf(n - places + 1))
    const ids = served.readAll().map(({ serviceId }) => serviceId)
    assert.equal(new Set(ids).size, ids.length)
    assert.ok(
      ids.every((id) => id < places),
      ids.join(),
    )
  }
})

test('ids that an earlier schema gave beyond the counters are replaced when it is taken over, and no other', () => {
  const maps = smallMaps()
  const before = servedOver(maps, times)
  for (let n = 0; n < 4; n++) before.upsert(frontend(n))
  const frontends = maps.store('frontends')
  for (const [key, value] of [...frontends.entries()]) {
    const record = decodeFrontend(value)
    if (record.service >= 2) frontends.put(key, encodeFrontend({ ...record, service: record.service + 70_000 }))
  }
  const served = servedOver(maps, times)
  const ids = new Map(served.readAll().map(({ id, serviceId }) => [id, serviceId]))
  assert.deepEqual([ids.get(idOf(0)), ids.get(idOf(1))], [0, 1])
  assert.deepEqual([...ids.values()].sort(), [0, 1, 2, 3])
  const written = [...frontends.entries()].map(([, value]) => decodeFrontend(value).service)
  assert.deepEqual(written.sort(), [0, 1, 2, 3])
  served.upsert(frontend(4))
  assert.deepEqual(maps.check(), [])
})

test('counters in memory have what those of the kernel have: every place exists and none goes away', () => {
  const store = smallMaps().store('counters')
  assert.deepEqual(
    [...store.entries()].map(([key]) => indexOf(key)),
    [...Array(places).keys()],
  )
  assert.equal(store.get(indexKey(places)), undefined)
  assert.equal(store.get(indexKey(places - 1))?.length, sizes.counters)
  assert.throws(() => store.delete(indexKey(0)), /EINVAL/)
  assert.throws(() => store.put(indexKey(places), countOf(1)), { code: 'ERR_MAP_FULL' })
})

const pods = [1, 2, 3, 4].map((n) => ({ address: `10.1.0.${n}`, port: 8080 }))

/** As many packets came in for a backend as this says. */
function backendCount(generation: number, packetsIn: number): Uint8Array {
  const value = new Uint8Array(sizes.backendCounters)
  const view = new DataView(value.buffer)
  view.setUint32(0, generation, true)
  view.setBigUint64(8, BigInt(packetsIn), true)
  return value
}

const packetsByPod = (counters: FrontendCounters | undefined): readonly (readonly [string, number])[] =>
  counters?.backends.map(({ backend, packetsIn }) => [backend.address, packetsIn] as const).sort() ?? []

/** Nothing rests: what is removed is gone at once. */
const counted = (maps: MemoryMaps): ReturnType<typeof servedOver> => servedOver(maps, times)

test('a backend begins at nothing, whatever stood at its place, and what an earlier one counts is not counted for it', () => {
  const maps = new MemoryMaps({ counters: places, tables: 1024, backends: 1, backend_counts: 1 })
  const store = maps.store('backend_counts')
  store.put(indexKey(0), backendCount(1, 7))
  const served = counted(maps)
  served.upsert(frontendOf('192.0.2.10', 80, pods.slice(0, 1)))
  const id = '192.0.2.10:80/TCP'
  assert.deepEqual(packetsByPod(served.counters(id)), [['10.1.0.1', 0]])
  store.put(indexKey(0), backendCount(1, 5))
  assert.deepEqual(packetsByPod(served.counters(id)), [['10.1.0.1', 5]])
  served.remove(id)
  assert.equal(served.counters(id), undefined)
  served.upsert(frontendOf('192.0.2.10', 80, pods.slice(1, 2)))
  assert.deepEqual(packetsByPod(served.counters(id)), [['10.1.0.2', 0]])
  // The program finds the generation of the former one no more; were it written, it would not be read.
  store.put(indexKey(0), backendCount(1, 9))
  assert.deepEqual(packetsByPod(served.counters(id)), [])
})

test('what backends have counted stays for a successor; where a version counted nothing, they begin', () => {
  const maps = new MemoryMaps({ counters: places, tables: 1024, backends: 64, backend_counts: 64 })
  const before = counted(maps)
  before.upsert(frontendOf('192.0.2.10', 80, pods))
  const store = maps.store('backend_counts')
  store.put(indexKey(1), backendCount(1, 11))
  store.put(indexKey(2), backendCount(0, 0))
  const after = counted(maps)
  const id = '192.0.2.10:80/TCP'
  assert.deepEqual(packetsByPod(after.counters(id)), [
    ['10.1.0.1', 0],
    ['10.1.0.2', 11],
    ['10.1.0.3', 0],
    ['10.1.0.4', 0],
  ])
})

test('more backends than have a place are served, said to fill the map, and those without one have no figures', () => {
  const maps = new MemoryMaps({ counters: places, tables: 1024, backends: 64, backend_counts: 2 })
  const served = counted(maps)
  const id = '192.0.2.10:80/TCP'
  served.upsert(frontendOf('192.0.2.10', 80, pods))
  assert.deepEqual(served.read(id)?.backends, pods)
  assert.deepEqual(packetsByPod(served.counters(id)), [
    ['10.1.0.1', 0],
    ['10.1.0.2', 0],
  ])
  const usage = served.usage().find(({ name }) => name === 'backend_counts')
  assert.deepEqual(usage, { name: 'backend_counts', entries: 2, maxEntries: 2 })
  // The two that have a place leave: who comes next gets one.
  served.upsert(frontendOf('192.0.2.10', 80, pods.slice(2)))
  served.upsert(frontendOf('192.0.2.10', 80, [...pods.slice(2), { address: '10.1.0.9', port: 8080 }]))
  assert.deepEqual(packetsByPod(served.counters(id)), [['10.1.0.9', 0]])
})
