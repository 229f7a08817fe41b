/** Waits of many that were told the same in one moment. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { backOff, spread, spreadBehind } from '../../src/clock/spread.ts'

const chances = [0, 0.25, 0.5, 0.999] as const

test('a wait is sooner or later by up to a quarter, and one that was asked for is never sooner', () => {
  assert.deepEqual(
    chances.map((chance) => Math.round(spread(1_000, () => chance))),
    [750, 875, 1_000, 1_250],
  )
  assert.deepEqual(
    chances.map((chance) => Math.round(spreadBehind(1_000, () => chance))),
    [1_000, 1_125, 1_250, 1_500],
  )
})

test('each failure doubles the wait up to the longest one, however many there are', () => {
  const waits = [0, 1, 2, 5, 6, 1_000].map((failures) => backOff({ first: 500, most: 30_000 }, failures, () => 0.5))
  assert.deepEqual(waits, [500, 1_000, 2_000, 16_000, 30_000, 30_000])
})
