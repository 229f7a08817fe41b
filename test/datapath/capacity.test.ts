import assert from 'node:assert/strict'
import { test } from 'node:test'
import { flowCapacity } from '../../src/datapath/capacity.ts'

test('maps of flows are sized by the memory of the machine, in powers of two, and never below a usable size', () => {
  const gibibyte = 2 ** 30
  for (const [memory, connections] of [
    [0, 1 << 16],
    [gibibyte / 2, 1 << 16],
    [4 * gibibyte, 1 << 19],
    [5.9 * gibibyte, 1 << 19],
    [64 * gibibyte, 1 << 23],
    [2048 * gibibyte, 1 << 23],
  ] as const)
    assert.deepEqual(flowCapacity(memory), { connections, openings: connections / 4, datagrams: connections / 4 })
})
