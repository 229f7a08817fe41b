import assert from 'node:assert/strict'
import { test } from 'node:test'
import { mapLimits } from '../../src/datapath/capacity.ts'
import { tableLength } from '../../src/datapath/maglev.ts'

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
