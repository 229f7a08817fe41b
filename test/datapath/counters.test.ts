import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Frontend } from '../../src/desired/model.ts'
import { decodeFrontend, encodeFrontend, mapShapes, sizes } from '../../src/datapath/layout.ts'
import { indexKey, indexOf } from '../../src/datapath/maps.ts'
import { MemoryMaps } from '../../src/datapath/memory-maps.ts'
import { servedOver } from '../../src/datapath/served.ts'
import { frontendOf } from './fixture.ts'

const places = 8
const times = { nowNs: () => 0n, drainNs: 0n, settleNs: 0n }
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
