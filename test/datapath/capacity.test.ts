import assert from 'node:assert/strict'
import { test } from 'node:test'
import { mapLimits, openingsPerSec, socketLimits } from '../../src/datapath/capacity.ts'
import { Growth } from '../../src/datapath/growth.ts'
import { tableLength } from '../../src/datapath/maglev.ts'
import { MemoryMaps } from '../../src/datapath/memory-maps.ts'
import { ServiceTable } from '../../src/datapath/tables/services.ts'
import type { Frontend } from '../../src/desired/model.ts'
import { frontendOf } from './fixture.ts'
import { socketMapShapes, socketStoreNames } from '../../src/datapath/socket-layout.ts'

test('maps of flows are sized by the memory of the machine, in powers of two, and never below a usable size', () => {
  const gibibyte = 2 ** 30
  for (const [memory, connections] of [
    [0, 1 << 16],
    [gibibyte / 2, 1 << 16],
    [4 * gibibyte, 1 << 19],
    [5.9 * gibibyte, 1 << 19],
    [64 * gibibyte, 1 << 23],
    [2048 * gibibyte, 1 << 23],
  ] as const) {
    const limits = mapLimits(memory, 4)
    assert.deepEqual(limits.connections, { entries: connections, most: connections })
    for (const name of ['openings', 'datagrams'] as const)
      assert.deepEqual(limits[name], { entries: connections / 4, most: connections / 4 })
  }
})

test('no map that fills takes more than a fiftieth of the memory, that of tables more than a sixteenth', () => {
  const gibibyte = 2 ** 30
  for (const [memory, cpus] of [
    [gibibyte, 1],
    [2 * gibibyte, 128],
    [24 * gibibyte, 2],
    [512 * gibibyte, 128],
  ] as const)
    for (const [name, { entries, most }] of Object.entries(mapLimits(memory, cpus))) {
      assert.ok(entries <= most && Number.isInteger(Math.log2(most)), name)
      if (name === 'counters' || name === 'backend_counts')
        assert.ok(most * cpus * 40 <= Math.max(memory / 50, 16_384 * cpus * 40))
      if (name === 'tables') assert.ok(most * 8 <= memory / 16 && most >= 1 << 22)
    }
})

test('on a machine of 8 GB a Service of 1 000 ports with 100 pods each finds room for its tables twice', () => {
  // What the kernel leaves of 8 GiB.
  const { most } = mapLimits(7.7 * 2 ** 30, 4).tables ?? assert.fail('tables have a limit')
  assert.ok(most >= 2 * 1_000 * tableLength(100))
})

test('10 000 Services with two pods each are written without a map being made larger: programs are not loaded twice', () => {
  const limits = mapLimits(7.7 * 2 ** 30, 4)
  const sizes = Object.fromEntries(Object.entries(limits).map(([name, { entries }]) => [name, entries]))
  const table = new ServiceTable(new MemoryMaps(sizes), times)
  const grown: string[] = []
  const growth = new Growth(
    () => 2 ** 26,
    () => {},
  )
  const [count, inARow] = [10_000, 50]
  for (let first = 0; first < count; first += inARow) {
    const row = Array.from({ length: inARow }, (_, n) => serviceOf(first + n))
    const written = growth.withRoom(
      () => table.usage(),
      (larger) => grown.push(...larger.keys()),
      () => table.upsertAll(row),
    )
    assert.ok(written.every((each) => each !== undefined))
  }
  assert.deepEqual([table.usage().find(({ name }) => name === 'backends')?.entries, grown], [2 * count, []])
})

const times = { nowNs: () => 1n, drainNs: 0n, settleNs: 0n, previousNs: 0n }

function serviceOf(n: number): Frontend {
  const backends = [1, 2].map((i) => ({ address: `10.1.${(n >> 6) & 255}.${((n & 63) << 1) + i}`, port: 8080 }))
  return frontendOf(`10.${128 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`, 80, backends)
}

test('what a value for each CPU takes from the start is a five-hundredth of the memory, or as little as a node needs', () => {
  for (const [gibibytes, cpus, entries] of [
    [1, 2, 1 << 14],
    [4, 2, 1 << 15],
    [24, 2, 1 << 15],
    [64, 128, 1 << 14],
    [512, 128, 1 << 15],
    [2048, 2, 1 << 15],
  ] as const)
    assert.equal(
      mapLimits(gibibytes * 2 ** 30, cpus).backend_counts?.entries,
      entries,
      `${gibibytes} GiB, ${cpus} CPUs`,
    )
})

test('maps of sockets are sized by the memory too: 1 000 ports with 1 000 endpoints find room on 8 GB', () => {
  const gibibyte = 2 ** 30
  for (const memory of [0, gibibyte, 7.7 * gibibyte, 64 * gibibyte, 2048 * gibibyte]) {
    const limits = socketLimits(memory)
    assert.deepEqual(Object.keys(limits).sort(), socketStoreNames.filter((name) => name !== 'socket_counts').sort())
    for (const [name, entries] of Object.entries(limits)) {
      const { keyBytes, valueBytes } = socketMapShapes[name as keyof typeof limits]
      const most = Math.max(memory / 50, (1 << 14) * (64 + keyBytes + valueBytes))
      assert.ok(entries * (64 + keyBytes + valueBytes) <= most, name)
      assert.ok(Number.isInteger(Math.log2(entries)) && entries <= 1 << 21, name)
    }
  }
  const { socket_backends = 0, socket_members = 0 } = socketLimits(7.7 * gibibyte)
  const free = 15 / 16
  assert.ok(socket_backends * free >= 980_000 && socket_members * free >= 980_000)
  const large = socketLimits(16 * gibibyte)
  assert.ok((large.socket_backends ?? 0) * free >= 1_000_000 && (large.socket_members ?? 0) * free >= 1_000_000)
})

test('in a second all CPUs make state for no more new flows of each kind than there is room for, and no CPU for few', () => {
  for (const [memory, cpus] of [
    [0, 1],
    [8 * 2 ** 30, 2],
    [64 * 2 ** 30, 16],
    [512 * 2 ** 30, 128],
  ] as const) {
    const openings = mapLimits(memory, cpus).openings?.entries ?? assert.fail('openings have a size')
    const perSec = openingsPerSec(openings, cpus)
    assert.ok(perSec >= 1_000, `${perSec}`)
    // Three kinds, two entries for each flow.
    assert.ok(perSec === 1_000 || perSec * cpus * 3 * 2 <= openings, `${perSec} on ${cpus} CPUs of ${openings}`)
  }
})
